"""The hardware: VTA's core, generated from the same configuration as compiler and simulator."""
