"""Hardware descriptions: VTA configurations, boards, clusters; parsed and checked."""
