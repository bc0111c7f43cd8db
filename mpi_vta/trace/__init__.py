"""Traces: schema, per-rank writer, merge, reader. The only room that imports h5py."""
