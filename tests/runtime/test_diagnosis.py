"""The doctor's judgement: each fault is found, named with its rank, and has a remedy."""

import json
from dataclasses import replace

import pytest

from mpi_vta.runtime.diagnosis import EVERYWHERE, diagnose, guarded_network
from mpi_vta.runtime.host_facts import HostFacts, collect, ipv4_addresses

HEALTHY = HostFacts(
    rank=0,
    host="n0",
    launched=2,
    world=2,
    mpi="MPICH 5.0.2",
    addresses={"eth0": "10.0.0.1"},
    interface="",
    machine="aarch64",
    sources="0123456789abcdef",
    versions={"python": "3.10.4", "mpi_vta": "0.1.0", "numpy": "1.26", "mpi4py": "4.1", "h5py": "3.9", "pynq": "3.0.1"},
    board="Pynq-Z1",
    fpga=True,
    bitstream="ab" * 32,
    clock_mhz=100.0,
    free_mib=300,
    cma_free_mib=120,
    sensor="",
)
OTHER = replace(HEALTHY, rank=1, host="n1", addresses={"eth0": "10.0.0.2"})


def without(package):
    return replace(HEALTHY, versions={**HEALTHY.versions, package: ""})


def test_healthy_hosts_have_no_fault():
    assert diagnose([HEALTHY, OTHER], needs_board=True) == []


@pytest.mark.parametrize(
    ("sick", "what", "remedy"),
    [
        (replace(HEALTHY, world=1), "the launcher started 2 processes, MPI sees 1", "mpirun of the MPI"),
        (without("mpi4py"), "mpi4py is not installed", "--no-binary mpi4py"),
        (without("h5py"), "h5py is not installed", "apt install python3-h5py"),
        (without("pynq"), "pynq is not installed", "PYNQ image"),
        (replace(HEALTHY, mpi=""), "mpi4py finds no MPI library", "pip install mpich"),
        (replace(HEALTHY, free_mib=12), "12 MiB of memory are free", "stop Jupyter"),
        (replace(HEALTHY, fpga=False), "Linux shows no FPGA", "--device sim"),
        (replace(HEALTHY, bitstream="(No such file)"), "the bitstream cannot be read", "provision.sh"),
    ],
)
def test_fault_of_one_rank_names_it_and_has_a_remedy(sick, what, remedy):
    (fault,) = diagnose([sick, replace(OTHER, mpi=sick.mpi)], needs_board=True)[:1]
    assert fault.rank == 0
    assert what in fault.what
    assert remedy in fault.remedy


@pytest.mark.parametrize(
    ("odd", "what"),
    [
        (replace(OTHER, versions={**OTHER.versions, "mpi_vta": "0.2.0"}), "mpi_vta differs: 0.1.0 on rank 0; 0.2.0"),
        (replace(OTHER, mpi="Open MPI 5.0.11"), "the MPI library differs"),
        (
            replace(OTHER, sources="fedcba9876543210"),
            "the hash of mpi_vta's sources differs: 0123456789ab on rank 0; fedcba987654 on rank 1",
        ),
        (replace(OTHER, machine="armv7l"), "the processor differs: 64 bit on rank 0; armv7l on rank 1"),
        (replace(OTHER, bitstream="cd" * 32), "the bitstream differs"),
    ],
)
def test_what_must_be_equal_everywhere_is_compared(odd, what):
    (fault,) = diagnose([HEALTHY, odd], needs_board=True)
    assert fault.rank == EVERYWHERE
    assert what in fault.what


def with_alias(facts, interface=""):
    return replace(facts, addresses={**facts.addresses, "eth0:1": "192.168.2.99"}, interface=interface)


def test_duplicate_addresses_of_pynq_images_are_flagged():
    (fault,) = diagnose([with_alias(HEALTHY), with_alias(OTHER)], needs_board=False)
    assert fault.what == "2 hosts have the address 192.168.2.99 (eth0:1), and MPI may choose it"
    assert "UCX_NET_DEVICES=eth0" in fault.remedy


def test_one_board_alone_is_warned_of_its_known_addresses():
    (fault,) = diagnose([replace(with_alias(HEALTHY), launched=1, world=1)], needs_board=False)
    assert "every PYNQ board has the address 192.168.2.99" in fault.what


def test_environment_that_picks_the_interface_is_enough():
    assert diagnose([with_alias(HEALTHY, "eth0"), with_alias(OTHER, "eth0")], needs_board=False) == []
    (fault,) = diagnose([with_alias(HEALTHY, "eth0:1"), with_alias(OTHER, "eth0")], needs_board=False)
    assert "192.168.2.99" in fault.what


def test_two_ranks_of_one_host_share_its_address():
    assert diagnose([HEALTHY, replace(HEALTHY, rank=1)], needs_board=False) == []


def test_facts_are_read_from_the_system(tmp_path):
    (tmp_path / "proc/device-tree/chosen").mkdir(parents=True)
    (tmp_path / "proc/device-tree/chosen/pynq_board").write_text("Pynq-Z2\0")
    (tmp_path / "proc/meminfo").write_text("MemTotal: 500000 kB\nMemAvailable:   204800 kB\nCmaFree: 102400 kB\nx: 3\n")
    bit = tmp_path / "a.bit"
    bit.write_bytes(b"")
    facts = collect(
        rank=3,
        launched=4,
        world=4,
        mpi="MPICH 5",
        environ={"UCX_NET_DEVICES": "eth0"},
        bitstream=str(bit),
        root=tmp_path,
    )
    assert (facts.board, facts.free_mib, facts.cma_free_mib, facts.interface) == ("Pynq-Z2", 200, 100, "eth0")
    assert (facts.fpga, facts.clock_mhz, facts.sensor) == (False, None, "")
    assert facts.bitstream.startswith("e3b0c442")
    assert facts.versions["numpy"]
    assert json.dumps(vars(facts))


def test_loopback_is_no_interface():
    assert not any(address.startswith("127.") for address in ipv4_addresses().values())


def test_doctor_itself_avoids_the_duplicate_addresses():
    board = {"usb0": "192.168.3.1", "eth0": "10.0.0.1", "eth0:1": "192.168.2.99"}
    assert guarded_network(board, {})["UCX_NET_DEVICES"] == "eth0"
    assert guarded_network(board, {"UCX_NET_DEVICES": "eth1"}) == {}
    assert guarded_network({"eth0": "10.0.0.1"}, {}) == {}
    assert guarded_network({"usb0": "192.168.3.1"}, {}) == {}
