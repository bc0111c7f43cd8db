"""What is wrong with the hosts of a job, and what to do about each fault."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mpi_vta.runtime.host_facts import INTERFACE_VARIABLES, HostFacts

LEAST_FREE_MIB = 64
# identical on every PYNQ image: an alias of eth0, and the USB gadget
PYNQ_ADDRESSES = ("192.168.2.99", "192.168.3.1")
EVERYWHERE = -1
PICK_INTERFACE = "start with jobs/launch.sh, or set UCX_TLS=tcp,self UCX_NET_DEVICES=eth0 HYDRA_IFACE=eth0"


@dataclass(frozen=True)
class Fault:
    """Something that has to be mended.

    Attributes
    ----------
    rank : int
        Where; `EVERYWHERE` for the job as a whole.
    what, remedy : str
        The fault, and what to do.
    """

    rank: int
    what: str
    remedy: str


def diagnose(facts: Sequence[HostFacts], *, needs_board: bool) -> list[Fault]:
    """Return everything that is wrong, rank by rank, then what concerns several ranks.

    Parameters
    ----------
    facts : sequence of HostFacts
        One per rank.
    needs_board : bool
        Whether the job is for real boards, so that pynq and an FPGA must be there.
    """
    faults = [fault for entry in facts for fault in _rank_faults(entry, needs_board)]
    faults += [fault for check in _JOB_CHECKS for fault in check(facts)]
    return faults


def _rank_faults(facts: HostFacts, needs_board: bool) -> Iterator[Fault]:
    rank = facts.rank
    if facts.mpi and facts.launched != facts.world:
        yield Fault(
            rank,
            f"the launcher started {facts.launched} processes, MPI sees {facts.world}",
            "start with the mpirun of the MPI that mpi4py was built with (for Slurm: srun --mpi=pmi2)",
        )
    for package, remedy in (
        ("mpi4py", "pip install mpi4py mpich; on armv7l: MPICC=mpicc.mpich pip install --no-binary mpi4py mpi4py"),
        ("h5py", "pip install h5py; on armv7l: apt install python3-h5py"),
    ):
        if not facts.versions[package]:
            yield Fault(rank, f"{package} is not installed", remedy)
    if facts.versions["mpi4py"] and not facts.mpi:
        yield Fault(rank, "mpi4py finds no MPI library", "pip install mpich, or build mpi4py against the installed MPI")
    if facts.free_mib is not None and facts.free_mib < LEAST_FREE_MIB:
        yield Fault(rank, f"{facts.free_mib} MiB of memory are free", "stop Jupyter and other services on the board")
    if facts.bitstream.startswith("("):
        yield Fault(rank, f"the bitstream cannot be read {facts.bitstream}", "copy it to the board: jobs/provision.sh")
    if needs_board and not facts.versions["pynq"]:
        yield Fault(rank, "pynq is not installed", "use the Python of the PYNQ image: source /etc/profile")
    if needs_board and not facts.fpga:
        yield Fault(rank, "Linux shows no FPGA", "run this rank on a PYNQ board, or choose --device sim")


def _duplicate_addresses(facts: Sequence[HostFacts]) -> Iterator[Fault]:
    holders: dict[str, dict[str, HostFacts]] = defaultdict(dict)
    for entry in facts:
        for address in entry.addresses.values():
            holders[address].setdefault(entry.host, entry)
    for address, hosts in sorted(holders.items()):
        unguarded = [entry for entry in hosts.values() if not _avoids(entry, address)]
        shared = len(hosts) > 1 or address in PYNQ_ADDRESSES
        if shared and unguarded:
            names = sorted({name for e in unguarded for name, held in e.addresses.items() if held == address})
            where = f"{len(hosts)} hosts have" if len(hosts) > 1 else "every PYNQ board has"
            yield Fault(
                EVERYWHERE,
                f"{where} the address {address} ({', '.join(names)}), and MPI may choose it",
                PICK_INTERFACE,
            )


def guarded_network(addresses: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return what to add to the environment so that MPI works here in spite of PYNQ's duplicate addresses.

    Nothing, if there are none or an interface is chosen already; else the first interface that has its own address.
    """
    if any(environ.get(name) for name in INTERFACE_VARIABLES) or not set(addresses.values()) & set(PYNQ_ADDRESSES):
        return {}
    own = [name for name, address in addresses.items() if address not in PYNQ_ADDRESSES]
    return {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": own[0], "FI_TCP_IFACE": own[0]} if own else {}


def _avoids(facts: HostFacts, address: str) -> bool:
    """Tell whether the environment keeps MPI from an address: it names interfaces, and their first is another."""
    chosen = facts.interface.split(",") if facts.interface else []
    return bool(chosen) and all(facts.addresses.get(name) != address for name in chosen)


def _differences(
    what: str, value: Callable[[HostFacts], str], remedy: str
) -> Callable[[Sequence[HostFacts]], Iterator[Fault]]:
    def check(facts: Sequence[HostFacts]) -> Iterator[Fault]:
        ranks: dict[str, list[int]] = defaultdict(list)
        for entry in facts:
            if value(entry):
                ranks[value(entry)].append(entry.rank)
        if len(ranks) > 1:
            parts = "; ".join(f"{key} on rank {', '.join(map(str, held))}" for key, held in ranks.items())
            yield Fault(EVERYWHERE, f"{what} differs: {parts}", remedy)

    return check


_JOB_CHECKS = (
    _duplicate_addresses,
    _differences("mpi_vta", lambda facts: facts.versions["mpi_vta"], "install the same release everywhere"),
    _differences(
        "the hash of mpi_vta's sources", lambda facts: facts.sources[:12], "install the same release everywhere"
    ),
    _differences("the MPI library", lambda facts: facts.mpi, "install the same MPI and version on every host"),
    _differences(
        "the processor",
        lambda facts: "armv7l" if facts.machine == "armv7l" else "64 bit",
        "32-bit and 64-bit hosts cannot share a job: start on the armv7l boards alone, rank 0 too",
    ),
    _differences(
        "the bitstream",
        lambda facts: "" if facts.bitstream.startswith("(") else facts.bitstream[:16],
        "copy the same file to every board of a kind: jobs/provision.sh",
    ),
)
