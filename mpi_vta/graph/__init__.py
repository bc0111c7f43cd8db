"""The graph: operators, values, verifier, DRAM layout and the integer reference that defines every result."""
