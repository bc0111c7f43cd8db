"""Faults of a running job: who is there, who is missed, who says so, and how every rank then ends."""
