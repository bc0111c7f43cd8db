"""What every rank tells rank 0 after a run, as bytes; the first rank of a plan adds times and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta import artifact
from mpi_vta.trace.schema import IMAGE_DTYPE

FORMAT_VERSION = 1
_OUTPUT = "output."


@dataclass(frozen=True, eq=False)
class RankReport:
    """One rank's report.

    Attributes
    ----------
    facts : dict
        ``host``, and ``wall_s``, the real seconds that its part took.
    times : ndarray of IMAGE_DTYPE or None
        Of every image, from the first rank of a plan.
    outputs : mapping of str to ndarray of int8, shape (n, C, H, W), or None
        By graph output, from the first rank of a plan.
    """

    facts: dict[str, Any]
    times: NDArray[Any] | None = None
    outputs: Mapping[str, NDArray[np.int8]] | None = None

    def to_bytes(self) -> bytes:
        """Serialise the report."""
        arrays: dict[str, NDArray[Any]] = {}
        if self.times is not None:
            arrays["times"] = np.frombuffer(self.times.tobytes(), np.uint8)
        for name, values in (self.outputs or {}).items():
            arrays[_OUTPUT + name] = values
        return artifact.pack("report", FORMAT_VERSION, self.facts, arrays)

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> RankReport:
        """Read what `to_bytes` wrote; raises `ArtifactError` on damage."""
        facts, arrays = artifact.unpack(data, "report", FORMAT_VERSION, where)
        if "times" not in arrays:
            return cls(facts)
        outputs = {name.removeprefix(_OUTPUT): values for name, values in arrays.items() if name.startswith(_OUTPUT)}
        return cls(facts, np.frombuffer(arrays["times"].tobytes(), IMAGE_DTYPE), outputs or None)
