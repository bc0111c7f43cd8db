"""Quantisation: float `Graph` and calibration images in, int8 `Graph` out."""
