"""Sentences hold the figures of the rows, and their words depend on them."""

import pytest
from study_cases import group_of, latency_rows, row, throughput_rows

from mpi_vta.study.group_findings import findings
from mpi_vta.trace.study_rows import ModelRow


def text(rows):
    return " ".join(map(str, findings(group_of(rows))))


def test_best_strategy_and_what_the_others_reach():
    found = text(throughput_rows())
    assert "On 3 boards `scatter-gather` is best: 30 images/s, 3.00 times the first board alone and 100.0 %" in found
    assert "Best by number of boards: `scatter-gather`/`pipeline` on 1, `scatter-gather` on 2 to 3." in found
    assert "From 1 to 3 boards the rate grows 3.00 times, power 3.00 times." in found
    assert "The VTA of rank 1 sets the pace with 12.5 ms an image, and VTA are busy 50 % of the job." in found
    assert "`pipeline` reaches 60.0 % of that: the port in of rank 1 sets the pace with 12.5 ms an image, and" in found
    assert "middle half" not in found


def test_short_jobs_say_what_the_middle_would_do():
    found = text([row(0, 2, "a", 10.0, 1.0, 1.0, steady_images_per_s=12.5)])
    assert "In the middle half of the job the rate is 12.5 images/s" in found
    assert "in a job of 64 images." in found


def test_level_strategies_are_named_together_and_not_called_behind():
    rows = [row(i, 2, name, 10.0, 1.0, 1.0) for i, name in enumerate("ab")]
    found = text(rows)
    assert "On 2 boards `a` and `b` are best" in found
    assert "reaches" not in found


def test_last_gain_is_where_boards_stop_to_pay():
    assert "The last boards still pay: 3 are at least 3 % better than fewer." in text(throughput_rows())
    assert "Beyond 4 boards none gains 3 % more." in text(latency_rows())


@pytest.mark.parametrize(
    ("joule", "words"),
    [
        (
            0.4,
            "An image costs least on 2 boards with `a`, 0.4 J, where it is fastest too; 25 % of it is the network's.",
        ),
        (0.52, "on 1 board with `a`, 0.5 J; the fastest on 2 boards takes 0.52 J, so speed costs little energy, 25 %"),
        (1.0, "the fastest on 2 boards takes 1 J, 2.00 times as much, 25 % of it the network's, and draws 20.0 W."),
    ],
)
def test_energy_in_words(joule, words):
    assert words in text([row(0, 1, "a", 10.0, 1.0, 0.5), row(1, 2, "a", 20.0, 1.0, joule)])


def test_one_image_at_a_time():
    part = ModelRow(split_runs=7, split_launches_ms=2.0, split_overhead_ms=0.5, split_waiting_ms=1.0)
    last = row(1, 2, "a", 1.0, 3.0, 1.0, objective="latency", parts=(part,))
    found = text(latency_rows())
    assert (
        "takes 80 ms on 1 board of stack and 19.8 ms on 6 with `fused`: 4.04 times as fast at 3.00 times the en"
        in found
    )
    assert "On 6 boards the layers are divided so: `a..b x2; c`." in found
    bounded = text([row(0, 1, "a", 1.0, 5.0, 1.0, objective="latency"), last])
    assert "What bounds it: the slowest parts of 7 runs of layers take 2.000 ms, 0.500 ms of that to launch;" in bounded
    assert "What bounds it" not in found
    slower = [row(0, 1, "a", 1.0, 5.0, 1.0, objective="latency"), row(1, 2, "a", 1.0, 6.0, 1.0, objective="latency")]
    assert "One image of net gains nothing from more boards of stack." in text(slower)


def test_models_that_share_the_boards():
    parts = tuple(
        ModelRow(model=name, ranks=ranks, throughput_images_per_s=rate)
        for name, ranks, rate in (("m", "0,1,2", 6.0), ("n", "3", 4.0))
    )
    found = text([row(0, 4, "a", 10.0, 1.0, 1.0, models="m+n", speedup=float("nan"), parts=parts)])
    assert "Of these 4 boards the models have: m 6 images/s on 3 boards; n 4 images/s on 1 board." in found
    assert "first board alone" not in found


def test_builds_are_named_where_they_are_compared():
    rows = [row(i, 1, "a", rate, 1.0, rate, config=f"pynq_1x{8 * i + 8}_i8") for i, rate in enumerate((5.0, 9.0))]
    assert [str(finding) for finding in findings(group_of(rows))] == [
        "Of 2 builds on 1 board of stack most images a second come from `pynq_1x16_i8` (net: 9 images/s, median "
        "latency 1 ms, 9 J).",
        "An image costs least with `pynq_1x8_i8`, 5 J.",
    ]


def test_nothing_to_say_where_nothing_can_be_run():
    assert text(throughput_rows()[-2:]) == "No point of it can be run."
