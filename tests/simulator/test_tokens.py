import pytest
from strategies import SMALL

from mpi_vta.errors import SimulationError
from mpi_vta.isa.assembly import assemble
from mpi_vta.isa.codec import decode_columns
from mpi_vta.simulator.tokens import describe, execution_order, match_tokens


def columns_of(text):
    return decode_columns(assemble(text, SMALL), SMALL)


LOAD = "LOAD memory_type=INP"


def test_kth_pop_takes_the_token_of_the_kth_push():
    columns = columns_of(f"{LOAD} push_next\n{LOAD}\n{LOAD} push_next\nLOAD pop_prev\nLOAD\nFINISH pop_prev")
    match = match_tokens(columns)
    assert [pushers.tolist() for pushers in match.pushers] == [[0, 2], [], [], []]
    assert [poppers.tolist() for poppers in match.poppers] == [[3, 5], [], [], []]
    assert match.producer[:, 0].tolist() == [-1, -1, -1, 0, -1, 2]


def test_program_order_is_kept_where_it_works():
    columns = columns_of(f"{LOAD} push_next\nLOAD pop_prev push_next\nSTORE pop_prev push_prev\nFINISH pop_next")
    assert execution_order(columns, match_tokens(columns)).tolist() == [0, 1, 2, 3]


def test_consumer_listed_before_its_producer_runs_after_it():
    columns = columns_of(f"LOAD pop_prev\n{LOAD} push_next\nFINISH")
    assert execution_order(columns, match_tokens(columns)).tolist() == [1, 0, 2]


def test_deadlock_says_what_each_unit_waits_for():
    columns = columns_of(
        f"{LOAD} pop_next push_next\nLOAD pop_prev push_prev push_next\nSTORE pop_prev push_prev\nFINISH pop_next"
    )
    with pytest.raises(SimulationError) as caught:
        execution_order(columns, match_tokens(columns))
    message = str(caught.value)
    assert message.startswith("the program deadlocks: load waits at instruction 0 (LOAD pop_next push_next")
    assert "for the token 'compute to load' of instruction 1" in message
    assert "compute waits at instruction 1 (LOAD pop_prev push_prev push_next memory_type=UOP)" in message
    assert "for the token 'load to compute' of instruction 0" in message
    assert "store waits at instruction 2 (STORE pop_prev push_prev memory_type=UOP)" in message
    assert "give every pop a push" in message


def test_token_that_never_comes_is_named():
    columns = columns_of("FINISH pop_next")
    with pytest.raises(
        SimulationError, match=r"load has finished, compute waits .* 'store to compute' that is never pushed"
    ):
        execution_order(columns, match_tokens(columns))


def test_description_holds_index_and_assembly():
    assert describe(columns_of("FINISH\nFINISH pop_next"), 1) == "instruction 1 (FINISH pop_next)"
