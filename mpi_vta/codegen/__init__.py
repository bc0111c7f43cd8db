"""Code generation: int8 graph and VTA configuration in, `Program` out."""
