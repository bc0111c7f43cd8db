"""What a kind of VTA build spends its cycles on: the constants of the timing model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TimingProfile:
    """Constants of the timing model, in cycles unless named otherwise.

    Attributes
    ----------
    name : str
        ``rtl``, ``hls`` or ``own``, or another.
    memory_latency_cycles : int
        From an accepted read request to the first beat.
    bus_bits : int or None
        Width of the memory bus; None takes that of the configuration's target.
    beat_cycles : float
        Cycles that the memory takes per beat of the bus.
    burst_beats : int
        Longest burst; bursts also end at addresses that are multiples of it.
    alu_imm_ii, alu_reg_ii : int
        Initiation interval of the ALU with an immediate and with a register operand.
    shared_channel : bool
        True: one pipelined read channel for all units (RTL). False: each unit has a port of its own and
        moves row after row (HLS).
    requests_in_flight : int
        Reads that the shared channel keeps open.
    queue_depth : int
        Instructions that a unit's queue holds, the running one included.
    fetch_burst_beats : int
        Longest fetch: 128 instructions on a bus of 64 bits, 256 on one of 128 bits.
    row_setup_cycles : float
        Own port: start of one row's transfer (fitted).
    port_bytes_per_cycle : float
        Own port: effective bandwidth of a running transfer (fitted).
    move_setup_cycles : int
        Own port: start of a LOAD or STORE (fitted).
    own_core : bool
        Whether the build is this project's own core (`mpi_vta.gateware`); its units, fetch and read channel are timed
        by `simulator.core_timing`, with the constants below and those of memory, queues and fetch above.
    pipeline_cycles : int
        Own core: from the last micro-op of a GEMM or ALU instruction to its tokens.
    write_latency_cycles : int
        Own core: from the last beat of a written burst to the memory's answer.
    """

    name: str
    memory_latency_cycles: int = 16
    bus_bits: int | None = None
    beat_cycles: float = 1.0
    burst_beats: int = 256
    alu_imm_ii: int = 1
    alu_reg_ii: int = 2
    shared_channel: bool = True
    requests_in_flight: int = 16
    queue_depth: int = 512
    fetch_burst_beats: int = 256
    row_setup_cycles: float = 0.0
    port_bytes_per_cycle: float = 8.0
    move_setup_cycles: int = 0
    own_core: bool = False
    pipeline_cycles: int = 0
    write_latency_cycles: int = 16


# VTA's Chisel RTL, cycle by cycle
RTL = TimingProfile("rtl")

# VTA's HLS source: initiation intervals, burst length and row order are facts of its pragmas. The last three are
# fitted to board times of ten convolutions on a Pynq (docs/methodology.md, benchmarks/hls_fit.py), never measured
HLS = TimingProfile(
    "hls",
    burst_beats=16,
    alu_imm_ii=2,
    alu_reg_ii=2,
    shared_channel=False,
    row_setup_cycles=0.0,
    port_bytes_per_cycle=6.07,
    move_setup_cycles=386,
)

# this project's own core on a memory that is always ready: every cycle is that of the Verilated core
OWN = TimingProfile("own", own_core=True, pipeline_cycles=10)

PROFILES = {profile.name: profile for profile in (RTL, HLS, OWN)}
