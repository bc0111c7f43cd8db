"""Link constants written into the text of a cluster file, which keeps its comments and boards."""

from __future__ import annotations

import re

from mpi_vta.errors import ConfigError
from mpi_vta.hw.cluster import Link


def with_link(text: str, link: Link, where: str) -> str:
    """Return a cluster file's text with another link; the switch's latency is part of it then, so it becomes 0.

    Raises
    ------
    ConfigError
        If a key of ``[link]`` or ``[switch]`` is not on a line of its own.
    """
    values = {
        ("link", "bandwidth_mb_s"): f"{link.bandwidth_mb_s:.2f}",
        ("link", "latency_ns"): str(link.latency_ns),
        ("link", "per_message_ns"): str(link.per_message_ns),
        ("link", "per_byte_ns"): f"{link.per_byte_ns:.4f}",
        ("switch", "latency_ns"): "0",
    }
    table, lines = "", []
    for line in text.splitlines():
        header = re.match(r"\s*\[+\s*([^\]\s]+)\s*\]+", line)
        if header:
            table = header[1]
        key = re.match(r"\s*(\w+)(\s*=\s*)[^#]*?(\s*#.*)?$", line)
        if key and (table, key[1]) in values:
            line = f"{key[1]}{key[2]}{values.pop((table, key[1]))}{key[3] or ''}"
        lines.append(line)
    if values:
        missing = ", ".join(f"[{table}] {key}" for table, key in values)
        raise ConfigError(f"no line for {missing}", where=where, remedy="write each key on a line of its own")
    return "\n".join(lines) + "\n"
