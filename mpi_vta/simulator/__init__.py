"""The simulator of one VTA: results bit for bit, and cycles."""
