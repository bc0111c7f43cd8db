"""Groups of rows, who is best, and the front."""

from study_cases import group_of, latency_rows, row, study_of, throughput_rows

from mpi_vta.study.groups import groups_of


def test_rows_with_other_models_clusters_or_objectives_are_apart():
    rows = [
        *throughput_rows(),
        row(90, 1, "fused", 1.0, 1.0, 1.0, models="b"),
        row(91, 1, "fused", 1.0, 1.0, 1.0, cluster="c"),
    ]
    found = [(group.models, group.cluster, len(group.rows)) for group in groups_of(study_of(rows))]
    assert found == [("net", "stack", 8), ("b", "stack", 1), ("net", "c", 1)]


def test_best_by_boards_and_strategy():
    group = group_of(throughput_rows())
    assert group.boards == (1, 2, 3)
    assert group.strategies == ("scatter-gather", "pipeline")
    assert group.best().throughput_images_per_s == 30
    assert group.best(2, "pipeline").throughput_images_per_s == 16
    assert group.best(4) is None
    assert group_of(latency_rows()).best().latency_ms == 19.8


def test_level_are_those_within_a_thousandth():
    rows = [row(0, 1, "a", 10.0, 1.0, 1.0), row(1, 1, "b", 9.9999, 1.0, 1.0), row(2, 1, "c", 9.9, 1.0, 1.0)]
    assert group_of(rows).level_with_best(1) == ("a", "b")


def test_front_is_what_nothing_beats_in_all_three():
    found = [(row.boards, row.strategy) for row in group_of(throughput_rows()).front]
    assert found == [(3, "scatter-gather"), (3, "pipeline"), (2, "pipeline"), (1, "pipeline")]


def test_builds_count_only_where_they_are_compared():
    own = [row(i, i + 1, "a", 1.0, 1.0, 1.0, config="x" if i < 2 else "x+y") for i in range(3)]
    assert group_of(own).configs == ("",)
    compared = [row(i, 1, "a", 1.0, 1.0, 1.0, config=name) for i, name in enumerate("xyz")]
    assert group_of(compared).configs == ("x", "y", "z")
