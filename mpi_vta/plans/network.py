"""How long a message takes: host overhead, the port out, the switch, the port in, host overhead again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from mpi_vta.hw.cluster import Cluster
from mpi_vta.json_fields import Count, Positive, from_json


@dataclass(frozen=True)
class NetworkModel:
    """A LogGP-like model of equal ports on a non-blocking switch; all results in whole nanoseconds.

    The sender's processor spends `host_ns`, then the message occupies the sender's port out for
    `wire_ns`, travels for `latency_ns`, occupies the receiver's port in for `wire_ns` (cut through:
    the two overlap when the port in is free), then the receiver's processor spends `host_ns`.
    `mpi_vta.schedule.clock.RankClock` keeps the processor and the ports of one rank.

    Attributes
    ----------
    bytes_per_s : int
        Bandwidth of one direction of a port.
    latency_ns : int
        From leaving the port out to reaching the port in, switch included.
    per_message_ns : int
        Processor time per message, at each end.
    per_byte_ps : int
        Processor time per byte in picoseconds, at each end.
    """

    bytes_per_s: Positive
    latency_ns: Count
    per_message_ns: Count
    per_byte_ps: Count

    @classmethod
    def of(cls, cluster: Cluster) -> NetworkModel:
        """Return the model of a cluster's link and switch."""
        link = cluster.link
        return cls(
            round(link.bandwidth_mb_s * 1e6),
            link.latency_ns + cluster.switch_latency_ns,
            link.per_message_ns,
            round(link.per_byte_ns * 1000),
        )

    @classmethod
    def from_json(cls, text: str) -> NetworkModel:
        """Read the constants from a JSON object, as traces hold them; raises `ValueError` where one is none."""
        return from_json(cls, json.loads(text))

    @overload
    def wire_ns(self, size_bytes: int) -> int: ...

    @overload
    def wire_ns(self, size_bytes: NDArray[np.int64]) -> NDArray[np.int64]: ...

    def wire_ns(self, size_bytes: int | NDArray[np.int64]) -> int | NDArray[np.int64]:
        """Return how long a message, or each of an array of them, occupies a port, rounded up."""
        return -(-size_bytes * 1_000_000_000 // self.bytes_per_s)

    @overload
    def host_ns(self, size_bytes: int) -> int: ...

    @overload
    def host_ns(self, size_bytes: NDArray[np.int64]) -> NDArray[np.int64]: ...

    def host_ns(self, size_bytes: int | NDArray[np.int64]) -> int | NDArray[np.int64]:
        """Return how long a message, or each of an array, occupies the processor at either end, rounded up."""
        return self.per_message_ns - (-size_bytes * self.per_byte_ps // 1000)

    def message_ns(self, size_bytes: int) -> int:
        """Return the time of one message between two idle ranks."""
        return 2 * self.host_ns(size_bytes) + self.wire_ns(size_bytes) + self.latency_ns
