"""Transports: MPI between processes, or a local one for tests. The only room that imports mpi4py."""
