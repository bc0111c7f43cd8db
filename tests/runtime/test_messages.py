"""Verified messages: one flipped bit is found, and named with edge, image and ranks."""

import numpy as np
import pytest
from memory_outputs import MemoryOutputs
from runtime.test_load import NoTrace
from runtime.test_virtual import BOARD, CONFIG, NETWORK, SHAPE, Adder, chain, expected, program

from mpi_vta.errors import IntegrityError
from mpi_vta.runtime.endpoint import Endpoint
from mpi_vta.runtime.faults.watchdog import Watchdog
from mpi_vta.runtime.rank import RankJob
from mpi_vta.runtime.transport.local import LocalWorld, run_ranks
from mpi_vta.runtime.virtual import VirtualRun
from mpi_vta.runtime.wall import WallClock, WallRun

IMAGES = 5
PLAN = chain([(0,), (1,), (2,)], 3)


class Flipping(LocalWorld):
    """Flips one bit of one message of one edge on its way."""

    def __init__(self, size, tag, number, bit):
        super().__init__(size)
        self._tag, self._number, self._bit, self._seen = tag, number, bit, 0

    def put(self, key, data):
        if key[2] == self._tag:
            if self._seen == self._number:
                changed = bytearray(data)
                changed[self._bit // 8 % len(changed)] ^= 1 << self._bit % 8
                data = bytes(changed)
            self._seen += 1
        return super().put(key, data)


def run(world, *, verify, wall=False, seed=0):
    """Run a chain of three ranks, and return rank 0's times, its outputs and what they should be."""
    images = np.random.default_rng(seed).integers(-128, 128, (IMAGES, *SHAPE[1:])).astype(np.int8)
    store = MemoryOutputs(IMAGES, {"v2": SHAPE})

    def work(transport):
        rank = transport.rank
        own = {rank: program(rank, [f"v{rank - 1}"], [f"v{rank}"])}
        job = RankJob(
            PLAN, NETWORK, BOARD, own, -(-IMAGES // PLAN.group_images), tuple(range(transport.size)), verify=verify
        )
        endpoint = None
        if rank == 0:
            endpoint = Endpoint({"v-1": images}, {"v2": SHAPE}, IMAGES, PLAN.group_images, CONFIG, store)
        fixed = (job, transport, Adder(), NoTrace(), Watchdog(rank, "here"))
        (WallRun(*fixed, WallClock(), endpoint) if wall else VirtualRun(*fixed, endpoint)).run()
        return endpoint

    times = run_ranks(3, work, world)[0].times
    return times, store.arrays["v2"], expected(PLAN, images)


@pytest.mark.parametrize("wall", [False, True])
@pytest.mark.parametrize("bit", [0, 63, 64, 64 + 7 * 13, -1, -64])
def test_a_flipped_bit_is_found_and_named(bit, wall):
    edge = next(index for index, edge in enumerate(PLAN.edges) if (edge.producer, edge.consumer) == (1, 2))
    with pytest.raises(IntegrityError) as caught:
        run(Flipping(3, edge, 2, bit), verify=True, wall=wall)
    assert str(caught.value).startswith(
        "v1 (stage 1 to stage 2): image 2 came from rank 1 to rank 2 with a wrong checksum; what was sent is not"
    )


def test_without_verification_a_flipped_bit_is_in_the_outputs():
    edge = next(index for index, edge in enumerate(PLAN.edges) if (edge.producer, edge.consumer) == (1, 2))
    _, found, wanted = run(Flipping(3, edge, 2, 64), verify=False)
    assert not np.array_equal(found, wanted)


def test_verification_changes_neither_outputs_nor_modelled_times():
    plain, verified = (run(LocalWorld(3), verify=verify) for verify in (False, True))
    assert np.array_equal(plain[0], verified[0])
    assert np.array_equal(verified[1], verified[2])


def test_a_message_of_another_image_is_found():
    class Swapping(LocalWorld):
        """Sends the first message of every edge out of stage 1 twice."""

        first = None

        def put(self, key, data):
            if key[:2] == (1, 2) and key[2] >= 0:
                self.first = self.first or data
                data = self.first
            return super().put(key, data)

    with pytest.raises(IntegrityError, match="image 1 came from rank 1 to rank 2"):
        run(Swapping(3), verify=True)
