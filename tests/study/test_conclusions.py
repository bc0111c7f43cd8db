"""Questions over studies: answers hold the figures of the rows, and the verdicts turn with them."""

from dataclasses import replace

import pytest
from study_cases import group_of, latency_rows, row, study_of, throughput_rows

from mpi_vta.study.board_conclusions import how_many_boards, mixed_boards, several_models, small_memories, what_energy
from mpi_vta.study.build_conclusions import gemm_batch, gemm_shape, which_build
from mpi_vta.study.conclusions import conclusions
from mpi_vta.study.groups import groups_of
from mpi_vta.study.strategy_conclusions import best_strategy, how_soon, other_strategies, what_sets_the_pace
from mpi_vta.trace.study_rows import BoardTypeRow, ModelRow


def answer(question, *rows):
    return " ".join(map(str, question([group_of(of_group) for of_group in rows])))


def rates(figures, start=0, **other):
    """Return rows of (boards, strategy, images/s)."""
    return [
        row(start + i, boards, name, rate, 100.0, 0.5, **{"stages": 1, "cycles": 100, "boards_used": boards, **other})
        for i, (boards, name, rate) in enumerate(figures)
    ]


WHOLE = [(1, "a", 10.0), (1, "b", 10.0), (2, "a", 20.0), (2, "b", 12.0), (3, "a", 30.0), (3, "b", 12.0)]


def test_every_question_that_has_an_answer_is_asked_once():
    found = conclusions([group_of(throughput_rows()), group_of(latency_rows())])
    assert list(found) == [
        "Which strategy gives most images a second?",
        "What do the others lose?",
        "Is it VTA or the network?",
        "How soon is an image done?",
        "Where do more boards stop to pay?",
        "What does an image cost?",
    ]


def test_nothing_valid_teaches_nothing():
    assert conclusions([group_of(throughput_rows()[-2:])]) == {}


def test_best_strategy_with_what_it_reaches_of_the_ideal():
    found = answer(best_strategy, rates(WHOLE))
    assert "`a` is best, or level with the best, wherever tried: in 2 cases" in found
    assert "In all 2 cases the best plan is the whole model on every board" in found
    assert "That reaches 100 % of what the boards would do each for itself." in found


def test_same_case_in_two_studies_counts_once():
    assert "in 2 cases" in answer(best_strategy, rates(WHOLE), rates(WHOLE[:4], images=96))


def test_no_strategy_is_called_best_everywhere_if_it_is_not():
    turned = [(boards, name, 40.0 if (boards, name) == (3, "b") else rate) for boards, name, rate in WHOLE]
    found = answer(best_strategy, rates(turned, stages=5))
    assert "Best, or level with it, are `a` in 1 of 2 and `b` in 1 of 2 cases." in found
    assert "In none of 2 cases the best plan is the whole model" in found


def test_others_lose_by_waiting_or_by_more_work():
    rows = rates(WHOLE)
    assert "On all boards `b` reaches 40 % of the best: it takes the same cycles" in answer(other_strategies, rows)
    rows[-1] = replace(rows[-1], cycles=150, boards_used=1)
    found = answer(other_strategies, rows)
    assert "it takes 1.50 times the cycles for an image, as boards share layers, and its VTA are busy 50 %" in found
    assert "of the 3 boards of stack it finds work for 1 with net." in found
    assert "`a` reaches" not in found


def test_pace_counts_plans_by_their_busiest_resource():
    found = answer(what_sets_the_pace, throughput_rows(), latency_rows())
    assert "the busiest resource of the job is a VTA in 3 of 6 and a port in in 3 of 6 plans." in found
    assert "It is a port in with net on stack on 1 to 3 boards (`pipeline`: 18 images/s at most)." in found
    assert "in the plans of least latency VTA run 50 % of the time with net on 6 boards;" in found


def test_one_image_and_what_makes_it_no_faster():
    still = [
        row(10 + i, boards, "whole", 12.0, 80.0, 0.4 * boards, objective="latency") for i, boards in enumerate((1, 6))
    ]
    found = answer(how_soon, [*latency_rows(), *still])
    assert "One image of net takes 80 ms on 1 board of stack and 19.8 ms on 6 with `fused`" in found
    assert "Beyond 4 boards none gains 3 % more." in found
    assert "`whole` makes one image no faster on any number of boards." in found
    assert "no faster" not in answer(how_soon, latency_rows())


def test_latency_while_images_stream():
    found = answer(how_soon, throughput_rows())
    assert "less with `pipeline` than with the plan of most images a second in 2 of 2 cases (on 2 to 3 boards)" in found
    assert "at best with net on 3 boards of stack, 70 instead of 100 ms, at 60 % of the rate." in found
    assert "`scatter-gather`" not in found


def test_boards_that_no_longer_pay():
    found = answer(how_many_boards, rates(WHOLE))
    assert "the last boards still bring 3 % or more in all 1 cases (a model or mix on a cluster)." in found
    assert (
        "Soonest it ends for `b` with net on stack: 12 images/s on 2 boards, and no more on 3, where the best" in found
    )
    level = [(1, "a", 10.0), (2, "a", 20.0), (3, "a", 20.1)]
    assert "in none of 1 cases (a model or mix on a cluster); they do not for net on stack beyond 2." in answer(
        how_many_boards, rates(level)
    )


@pytest.mark.parametrize(("rate", "told"), [(24.0, True), (30.0, False)])
def test_last_round_of_a_job_is_spoken_of_if_it_costs(rate, told):
    found = answer(how_many_boards, rates([(1, "a", 10.0), (2, "a", 20.0), (3, "a", rate)]))
    assert ("their number divides the job's images, 100 % of the ideal is reached, else 80 %" in found) == told


def test_energy_of_few_and_many_boards_and_of_clusters():
    rows = [row(i, boards, "a", 10.0 * boards, 1.0, joule) for i, (boards, joule) in enumerate([(1, 0.8), (2, 0.4)])]
    other = [replace(entry, cluster="c", energy_j_per_image=2 * entry.energy_j_per_image) for entry in rows]
    found = answer(what_energy, rows, other)
    assert (
        "Speed and energy mostly agree: in all 2 cases an image of the fastest plan costs less than 10 % more" in found
    )
    assert "An image of net costs least on 2 boards of stack (0.4 J) and 2 boards of c (0.8 J)." in found
    assert "One board alone takes 2.00 times the least" in found
    rows[1] = replace(rows[1], energy_j_per_image=2.0)
    assert "Speed costs energy: in none of 1 cases" in answer(what_energy, rows)


def test_energy_of_one_image_at_a_time():
    found = answer(what_energy, throughput_rows(), latency_rows())
    assert (
        "costs least on 1 board of stack, 0.4 J in 80 ms; the least latency, 19.8 ms on 6 boards, costs 3.00" in found
    )


def test_small_memories_need_divided_layers():
    reason = "the whole model fits no board's memory"
    small = rates([(2, "fused", 12.0), (2, "pipeline", 6.0)], cluster="small")
    lost = replace(small[0], point=9, strategy="scatter-gather", valid=False, reason=reason)
    roomy = rates([(2, "scatter-gather", 15.0), (2, "pipeline", 6.0)])
    found = answer(small_memories, [*small, lost], roomy)
    assert (
        f"On small `scatter-gather` cannot run net ({reason}). Layers divided over 2 boards or more can be run" in found
    )
    assert "on 2 boards `fused` gives 12 images/s, `pipeline` 50 % of it." in found
    assert "Whole images, where there is room, give 15 on stack: divided layers reach 80 % of that." in found
    assert answer(small_memories, roomy) == ""


def mixed(types_by_boards):
    rows = [
        replace(entry, types=tuple(BoardTypeRow(name, n, n, 0.5) for name, n in types_by_boards[entry.boards].items()))
        for entry in rates([(boards, "a", 10.0 * boards) for boards in types_by_boards])
    ]
    return group_of(rows)


def test_boards_of_another_type_are_compared_with_those_that_were_there():
    first, second = map(str, mixed_boards([mixed({2: {"z": 2}, 4: {"z": 2, "u": 2}})]))
    assert first.startswith("To 2 z, 2 u for net: 20 images/s become 40; each adds 1.0 times the rate of one that was")
    assert second == "By strategy the rate grows so: `a` 2.00 times."


@pytest.mark.parametrize("types", [{1: {"z": 1}, 3: {"z": 1, "u": 2}}, {2: {"z": 2}, 4: {"z": 4}}])
def test_one_board_and_boards_alike_are_no_mixture(types):
    assert [*mixed_boards([mixed(types)])] == []


@pytest.mark.parametrize(
    ("makespan_ms", "verdict"), [(8.0, "is 25 % sooner"), (12.5, "is 20 % later"), (10.01, "takes as long")]
)
def test_models_at_once_against_one_after_the_other(makespan_ms, verdict):
    alone = [row(i, 4, "a", 1.0, 1.0, 0.5, models=name, makespan_ms=5.0) for i, name in enumerate("mn")]
    parts = tuple(ModelRow(model=name, ranks="0,1") for name in "mn")
    together = row(2, 4, "a", 1.0, 1.0, 0.25, models="m+n", makespan_ms=makespan_ms, parts=parts)
    groups = groups_of(study_of([*alone, together]))
    (found,) = map(str, several_models(groups))
    assert (
        f"take {makespan_ms:g} ms and 0.25 J an image; one after the other, each on all boards, 10 ms and 0.5 J"
        in found
    )
    assert found.endswith(f"at once {verdict}.")
    assert [*several_models([group for group in groups if group.models != "n"])] == []


def test_best_build_for_sure_in_doubt_and_for_one_image():
    builds = {"pynq_2x16_i8": 40.0, "pynq_4x8_i8": 30.0, "pynq_1x16_i8": 20.0, "pynq_1x8_i8": 5.0}
    rows = [row(i, 1, "a", rate, 1.0, 1.0, config=name) for i, (name, rate) in enumerate(builds.items())]
    rows[0] = replace(rows[0], fit_doubt="many LUTs that P has (modelled)")
    found = answer(which_build, rows)
    assert (
        "Of 4 builds on 1 board of stack most images a second come from `pynq_2x16_i8` (net: 40 images/s, median"
        in found
    )
    assert "Whether `pynq_2x16_i8` fits is in doubt: many LUTs that P has (modelled)." in found
    assert "Of those that surely fit it is `pynq_4x8_i8` (net: 30 images/s" in found
    assert "With one image in a launch it is `pynq_1x16_i8` (net: 20 images/s" in found
    sure = answer(which_build, rows[2:])
    assert "fit" not in sure
    assert "one image" not in sure


def test_builds_of_several_models_are_told_together():
    rows = [
        row(i, 1, "a", rate, 1.0, 1.0, config=config, models=models)
        for i, (models, config, rate) in enumerate([("m", "x", 2.0), ("m", "y", 1.0), ("n", "x", 4.0), ("n", "y", 3.0)])
    ]
    (text,) = map(str, which_build(groups_of(study_of(rows))))
    assert "from `x` (m: 2 images/s, median latency 1 ms, 1 J; n: 4 images/s, median latency 1 ms, 1 J)." in text


def test_gemm_shape_is_read_from_the_usual_name():
    assert (gemm_shape("pynq_16x4_i8w8a32_15_17_15_18"), gemm_batch("pynq_16x4_i8w8a32_15_17_15_18")) == ("16x4", 16)
    assert gemm_batch("mine") is None
