"""What follows from studies together: questions, and findings that answer them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from mpi_vta.study.board_conclusions import how_many_boards, mixed_boards, several_models, small_memories, what_energy
from mpi_vta.study.build_conclusions import which_build
from mpi_vta.study.finding import Finding
from mpi_vta.study.groups import Group
from mpi_vta.study.strategy_conclusions import best_strategy, how_soon, other_strategies, what_sets_the_pace

_QUESTIONS: dict[str, Callable[[Sequence[Group]], Iterator[Finding]]] = {
    "Which strategy gives most images a second?": best_strategy,
    "What do the others lose?": other_strategies,
    "Is it VTA or the network?": what_sets_the_pace,
    "How soon is an image done?": how_soon,
    "Where do more boards stop to pay?": how_many_boards,
    "What does an image cost?": what_energy,
    "When is a board's memory too small?": small_memories,
    "What do mixed boards bring?": mixed_boards,
    "Several models at once, or one after the other?": several_models,
    "Which VTA build?": which_build,
}


def conclusions(groups: Sequence[Group]) -> dict[str, tuple[Finding, ...]]:
    """Return what follows from groups of one or several studies, by question; those without an answer are left out."""
    valid = [group for group in groups if group.valid]
    found = {question: tuple(answer(valid)) for question, answer in _QUESTIONS.items()}
    return {question: answer for question, answer in found.items() if answer}
