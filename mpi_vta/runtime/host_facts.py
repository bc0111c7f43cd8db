"""What one rank's host is and has: read from the running system, needing neither MPI, pynq nor h5py."""

from __future__ import annotations

import fcntl
import hashlib
import platform
import socket
import struct
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

from mpi_vta import __version__
from mpi_vta.errors import DeviceError
from mpi_vta.runtime.devices.sensor import HWMON, find_sensor
from mpi_vta.runtime.introduction import own_facts

PACKAGES = ("numpy", "mpi4py", "h5py", "pynq")
INTERFACE_VARIABLES = ("UCX_NET_DEVICES", "FI_TCP_IFACE", "OMPI_MCA_btl_tcp_if_include")
_SIOCGIFCONF = 0x8912
_IFREQ_BYTES = 40 if struct.calcsize("P") == 8 else 32
_MOST_ADDRESSES = 64


@dataclass(frozen=True)
class HostFacts:
    """One rank's answers.

    Attributes
    ----------
    rank : int
        In the job, 0 without one.
    host : str
        Name of the machine.
    launched, world : int
        Processes that the launcher says it has started, and that MPI sees.
    mpi : str
        The MPI library, empty if mpi4py cannot be imported.
    addresses : dict of str to str
        IPv4 address by interface, loopback left out.
    interface : str
        Interface that the environment tells MPI to use, empty if it says nothing.
    machine : str
        Processor architecture.
    sources : str
        SHA-256 of the package's sources.
    versions : dict of str to str
        Of python, mpi_vta and `PACKAGES`; empty for what is not installed.
    board : str
        What the device tree says, empty off a board.
    fpga : bool
        Whether Linux manages an FPGA here.
    bitstream : str
        SHA-256 of the bitstream asked for; an explanation in brackets if it cannot be read; empty if none was named.
    clock_mhz : float or None
        Of the programmable logic; None where it cannot be read.
    free_mib, cma_free_mib : int or None
        Memory for programs, and contiguous memory for VTA's buffers.
    sensor : str
        Power sensor, empty if there is none.
    """

    rank: int
    host: str
    launched: int
    world: int
    mpi: str
    addresses: dict[str, str]
    interface: str
    machine: str
    sources: str
    versions: dict[str, str]
    board: str
    fpga: bool
    bitstream: str
    clock_mhz: float | None
    free_mib: int | None
    cma_free_mib: int | None
    sensor: str


def collect(
    *,
    rank: int,
    launched: int,
    world: int,
    mpi: str,
    environ: Mapping[str, str],
    bitstream: str,
    root: Path = Path("/"),
) -> HostFacts:
    """Read everything about this host.

    Parameters
    ----------
    rank, launched, world, mpi
        As in `HostFacts`: the transport knows them.
    environ : mapping
        The process's environment.
    bitstream : str
        A file to hash, or empty.
    root : Path
        Where ``proc`` and ``sys`` are.
    """
    memory = memory_mib(root / "proc/meminfo")
    sensor = find_sensor(root / HWMON.relative_to("/"))
    fpga = (root / "sys/class/fpga_manager/fpga0").exists()
    return HostFacts(
        rank=rank,
        host=socket.gethostname(),
        launched=launched,
        world=world,
        mpi=mpi,
        addresses=ipv4_addresses(),
        interface=next((environ[name] for name in INTERFACE_VARIABLES if environ.get(name)), ""),
        machine=platform.machine(),
        sources=own_facts()["sources"],
        versions={
            "python": platform.python_version(),
            "mpi_vta": __version__,
            **{name: package_version(name) for name in PACKAGES},
        },
        board=image_name(root),
        fpga=fpga,
        bitstream=_hash(bitstream),
        clock_mhz=_clock_mhz() if fpga else None,
        free_mib=memory.get("MemAvailable"),
        cma_free_mib=memory.get("CmaFree"),
        sensor=sensor.name if sensor else "",
    )


def ipv4_addresses() -> dict[str, str]:
    """Return the IPv4 address of every interface and alias (``eth0:1``) but loopback."""
    entries = array("B", bytes(_IFREQ_BYTES * _MOST_ADDRESSES))
    where, size = entries.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        answer = fcntl.ioctl(probe.fileno(), _SIOCGIFCONF, struct.pack("iP", size, where))
    used, _ = struct.unpack("iP", answer)
    found = {}
    for at in range(0, used, _IFREQ_BYTES):
        entry = entries[at : at + _IFREQ_BYTES].tobytes()
        address = socket.inet_ntoa(entry[20:24])
        if not address.startswith("127."):
            found[entry[:16].split(b"\0")[0].decode()] = address
    return found


def package_version(package: str) -> str:
    """Return the version of an installed package; empty if there is none."""
    if find_spec(package) is None:
        return ""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        # a distribution's package may come without metadata
        return str(getattr(import_module(package), "__version__", "unknown"))


def memory_mib(path: Path) -> dict[str, int]:
    """Return the sizes that a ``meminfo`` file lists, in MiB; empty without the file."""
    found = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        name, _, rest = line.partition(":")
        if rest.endswith("kB"):
            found[name] = int(rest.split()[0]) // 1024
    return found


def image_name(root: Path = Path("/")) -> str:
    """Return what this board's Linux image calls it, empty off a board."""
    return _device_tree(root / "proc/device-tree")


def _device_tree(root: Path) -> str:
    for name in ("chosen/pynq_board", "model"):
        path = root / name
        if path.is_file():
            return path.read_text().rstrip("\0\n")
    return ""


def _hash(path: str) -> str:
    if not path:
        return ""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as fault:
        return f"({fault.strerror})"


def _clock_mhz() -> float | None:
    from mpi_vta.runtime.devices.pynq import logic_clock_mhz

    try:
        return logic_clock_mhz()
    except DeviceError:
        return None
