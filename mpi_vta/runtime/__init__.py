"""The runtime: what one rank does with its stage, its device and its neighbours."""
