"""The transport of threads: the same contract as MPI's."""

import numpy as np
import pytest

from mpi_vta.errors import InputError
from mpi_vta.runtime.transport.local import run_ranks
from mpi_vta.runtime.transport.protocol import wait


def test_messages_of_one_edge_keep_their_order():
    def work(transport):
        if transport.rank == 0:
            for value in range(10):
                wait(transport.isend(np.full(4, value, np.uint8), 1, 5))
            return []
        buffers = [np.zeros(4, np.uint8) for _ in range(10)]
        for buffer in buffers:
            wait(transport.irecv(buffer, 0, 5))
        return [int(buffer[0]) for buffer in buffers]

    assert run_ranks(2, work)[1] == list(range(10))


def test_collectives_reach_every_rank():
    def work(transport):
        root = transport.rank == 0
        shared = transport.broadcast(b"all" if root else None)
        own = transport.scatter([bytes([r]) for r in range(transport.size)] if root else None)
        transport.barrier()
        return shared, own, transport.gather(own * 2)

    results = run_ranks(3, work)
    assert [shared for shared, _, _ in results] == [b"all"] * 3
    assert [own for _, own, _ in results] == [b"\0", b"\1", b"\2"]
    assert results[0][2] == [b"\0\0", b"\1\1", b"\2\2"]
    assert results[1][2] is None


def test_failure_of_one_rank_ends_the_others_and_is_raised():
    def work(transport):
        if transport.rank == 1:
            raise InputError("a fault of rank 1")
        wait(transport.irecv(np.zeros(1, np.uint8), 1, 0))

    with pytest.raises(InputError, match="a fault of rank 1"):
        run_ranks(3, work)


def test_groups_have_networks_of_their_own():
    def work(transport):
        group = transport.split([0, 1, 0, 1, 1])
        everyone = group.gather(bytes([transport.rank]))
        group.barrier()
        name = group.broadcast(
            b"even" if group.rank == 0 and transport.rank == 0 else b"odd" if not group.rank else None
        )
        return group.rank, group.size, everyone, name

    found = run_ranks(5, work)
    assert [entry[:2] for entry in found] == [(0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert found[0][2] == [b"\x00", b"\x02"]
    assert found[1][2] == [b"\x01", b"\x03", b"\x04"]
    assert [entry[3] for entry in found] == [b"even", b"odd", b"even", b"odd", b"odd"]
