"""Scheduling: costs, network model, strategies and the `Plan` they produce."""
