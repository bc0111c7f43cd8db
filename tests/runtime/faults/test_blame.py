"""Who is to blame, from what rank 0 has heard."""

from dataclasses import replace

import pytest

from mpi_vta.runtime.faults.blame import Heard, judge, patience_s
from mpi_vta.runtime.faults.rank_position import RankPosition
from mpi_vta.runtime.faults.watchdog import DONE, LOADING, WAITING, WORKING

PATIENCE = 6.0


def heard(rank, at_s=100.0, phase=WORKING, waited_s=0.0, moved_s=100.0):
    return Heard(at_s, phase, f"an edge of {rank}", waited_s, 7, moved_s, RankPosition(rank, f"n{rank}", "pynq_z1"))


def ranks(*entries):
    return {entry.who.rank: entry for entry in entries}


def no_fault(rank):
    return ""


def test_nobody_is_blamed_while_all_are_heard():
    assert judge(ranks(heard(0), heard(1, 95)), 100.0, PATIENCE, no_fault) is None


def test_silent_rank_is_named_with_all_who_are():
    faults = {1: "the process is gone", 2: "process, host or link is gone"}
    everyone = ranks(heard(0), heard(1, 93.5), heard(2, 93.9))
    blame = judge(everyone, 100.0, PATIENCE, lambda rank: faults.get(rank, ""))
    assert blame.who.rank == 1
    assert blame.text == "nothing heard for 6.5 s, nor from rank 2: the process is gone"


@pytest.mark.parametrize("phase", [WORKING, LOADING])
def test_rank_that_works_may_take_as_long_as_it_takes(phase):
    everyone = ranks(heard(0, phase=WAITING, waited_s=500, moved_s=0), heard(1, phase=phase, moved_s=0))
    assert judge(everyone, 100.0, PATIENCE, no_fault) is None


def test_message_that_is_lost_is_named_by_who_has_waited_longest_for_it():
    everyone = ranks(
        heard(0, phase=WAITING, waited_s=7, moved_s=90),
        heard(1, phase=WAITING, waited_s=9, moved_s=90),
        heard(2, phase=DONE, moved_s=90),
    )
    blame = judge(everyone, 100.0, PATIENCE, no_fault)
    assert blame.who.rank == 1
    assert blame.text == "waited more than 9.0 s for an edge of 1, and no rank gets on"
    assert judge({**everyone, 2: replace(everyone[2], moved_s=95)}, 100.0, PATIENCE, no_fault) is None


def test_handing_in_long_traces_is_no_fault():
    everyone = ranks(heard(0, phase=DONE, moved_s=0), heard(1, phase=DONE, moved_s=0))
    assert judge(everyone, 100.0, PATIENCE, no_fault) is None


@pytest.mark.parametrize(("limit_s", "expected_s"), [(10, 6), (300, 296), (4, 2), (1, 0.5)])
def test_patience_leaves_time_to_end_the_job_within_the_limit(limit_s, expected_s):
    assert patience_s(limit_s) == expected_s
