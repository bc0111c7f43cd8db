"""Counts of what was emitted for a kernel."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Work:
    """Micro-ops executed and bytes moved."""

    gemm_uops: int = 0
    alu_uops: int = 0
    load_bytes: int = 0
    store_bytes: int = 0
