"""Scheduling: costs, clocks, strategies and the `Plan` they produce."""
