"""Devices: what runs a linked program, simulated or real."""
