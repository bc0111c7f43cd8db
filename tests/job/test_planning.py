"""Planning a real model: what the search assumes, against what the compiler makes."""

import numpy as np
import pytest

from mpi_vta.hw.cluster import Cluster
from mpi_vta.job.planning import PlanWishes, open_costs, plan_model
from mpi_vta.runtime.progress import Silent
from mpi_vta.schedule.cut_points import find_cut_points
from mpi_vta.schedule.segments import find_segments

pytestmark = pytest.mark.usefixtures("shared_cache")


def test_memory_that_the_search_assumes_is_never_more_than_a_program_takes(digits):
    config = Cluster.default(1).boards[0].config
    costs = open_costs(digits.graph, Silent())
    cuts = find_cut_points(digits.graph)
    least = find_segments(digits.graph, config, cuts).least_memory_bytes
    pairs = [(i, j) for i, j in np.argwhere(cuts.nested) if i < j]
    for i, j in pairs:
        assert 0 < least[i, j] <= costs.stage(cuts.between(i, j), config).memory_bytes
    assert len(pairs) >= 10


def test_convolutions_keep_the_poolings_that_the_compiler_merges(digits):
    cuts = find_cut_points(digits.graph)
    assert {("conv2", "pool2"), ("conv3", "pool3")} <= set(cuts.units)
    cluster = Cluster.load("pynq12")
    plan = plan_model(PlanWishes("pipeline"), digits.graph, cluster, 20, Silent()).plan
    stage_of = {name: stage.index for stage in plan.stages for name in stage.nodes}
    for unit in cuts.units:
        assert len({stage_of[name] for name in unit}) == 1


def test_choice_by_hand_has_an_alternative_and_the_planner_s_own_has_none(digits):
    cluster = Cluster.load("pynq4")
    free = plan_model(PlanWishes("auto"), digits.graph, cluster, 20, Silent())
    assert free.alternative_figures is None
    fewer = plan_model(PlanWishes("fused", boards=2), digits.graph, cluster, 20, Silent())
    assert fewer.alternative.predicted == free.plan.predicted
    assert fewer.alternative_figures["strategy"] == free.plan.strategy


@pytest.mark.parametrize(("images", "said"), [(20, []), (10_000, ["planning 10,000 images"])])
def test_planning_of_a_long_job_is_shown(digits, images, said):
    told = []

    class Listener(Silent):
        def phase(self, text):
            told.append(text)

    plan_model(PlanWishes("scatter-gather"), digits.graph, Cluster.default(1), images, Listener())
    assert [text for text in told if text.startswith("planning")] == said
