"""Quantised CNNs over a cluster of VTA boards: compiler, MPI runtime, simulator, traces."""

__version__ = "0.1.0"
