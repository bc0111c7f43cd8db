"""The instruction set: one table, and what is derived from it."""
