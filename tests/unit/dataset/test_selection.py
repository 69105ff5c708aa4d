"""A smaller dataset: which rows are chosen, that it is always the same ones, and what card and counts say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.chain import chain
from selfinstruct.dataset.selection import select
from selfinstruct.formats.exported_rows import ExportedRow
from selfinstruct.novelty import NoveltyIndex
from selfinstruct.run.directory import RunDirectory
from tests.conftest import run_scripted


def row(number: int, instruction: str, output: str = "ok") -> ExportedRow:
    return ExportedRow(f"r{number}", instruction, "", output, False)


ROWS = [
    row(0, "name a river in asia", "one two three"),
    row(1, "name a river in africa", "one"),
    row(2, "name a river in asia", "one two three four"),
    row(3, "write some words about winter", "one two"),
    row(4, "sort these numbers", "one two"),
]


def ids(rows: list[ExportedRow]) -> list[str]:
    return [each.id for each in rows]


def test_the_farthest_are_chosen_before_what_is_similar() -> None:
    assert ids(select(ROWS, 1, "farthest")) == ["r0"]
    assert ids(select(ROWS, 3, "farthest")) == ["r0", "r3", "r4"]
    assert ids(select(ROWS, 4, "farthest")) == ["r0", "r1", "r3", "r4"], "a second row of an instruction comes last"


def test_the_longest_outputs_are_chosen_and_the_first_of_equal_ones() -> None:
    assert ids(select(ROWS, 3, "longest")) == ["r0", "r2", "r3"]


SCORES = {"r0": 1.0, "r1": 4.0, "r2": 3.9, "r3": 3.0}


def test_the_best_are_chosen_and_rows_without_a_score_last() -> None:
    assert ids(select(ROWS, 2, "best", SCORES)) == ["r1", "r2"]
    assert ids(select(ROWS, 4, "best", SCORES)) == ["r0", "r1", "r2", "r3"]


def test_balanced_takes_high_scores_that_are_far_from_each_other() -> None:
    # The second best is like the best; r2 stands for the instruction that it shares with r0.
    assert ids(select(ROWS, 2, "balanced", SCORES)) == ["r1", "r3"]
    assert ids(select(ROWS, 4, "balanced", SCORES)) == ["r1", "r2", "r3", "r4"]
    assert select(ROWS, 3, "balanced", {}) == select(ROWS, 3, "farthest"), "without scores distance alone counts"


@given(
    st.lists(st.text("ab c", max_size=12), max_size=12),
    st.integers(1, 12),
    st.sampled_from(["random", "longest", "farthest", "best", "balanced"]),
)
def test_a_choice_has_its_size_and_order_and_is_always_the_same(texts: list[str], number: int, by: Any) -> None:
    rows = [row(k, text, text) for k, text in enumerate(texts)]
    chosen = select(rows, number, by)
    assert len(chosen) == min(number, len(rows))
    assert ids(chosen) == [each.id for each in rows if each in chosen]
    assert select(rows, number, by) == chosen


def of_words(*words: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(words), max_size=9).map(" ".join)


@given(
    st.lists(st.text("ab ", min_size=1, max_size=9), min_size=3, max_size=9, unique=True)
    | st.lists(of_words("name", "a", "river", "poem", "?", "übung", "写诗"), min_size=3, max_size=9, unique=True)
)
def test_each_is_the_least_similar_to_those_before(texts: list[str]) -> None:
    """Against the definition, one step at a time."""
    rows = [row(k, text) for k, text in enumerate(texts)]
    chosen = [0]
    while len(chosen) < len(texts) - 1:
        likest = {}
        for k in range(len(texts)):
            if k not in chosen:
                likest[k] = max(NoveltyIndex([texts[k]]).nearest(texts[c])[0].score for c in chosen)
        chosen.append(min(likest, key=lambda k: (likest[k], k)))
        assert ids(select(rows, len(chosen), "farthest")) == [f"r{k}" for k in sorted(chosen)]


@pytest.mark.parametrize("by", ["random", "longest", "farthest"])
def test_an_export_keeps_so_many_and_counts_the_others(make_config: Any, tmp_path: Path, by: str) -> None:
    splits = {"validation_unseen": 0.0, "validation_seen": 0.0}
    run_scripted(make_config(export=splits))
    whole = chain.export(make_config(export=splits))
    counts = chain.export(make_config(export={**splits, "select": 5, "select_by": by}))
    assert counts.rows["train"] == 5
    assert counts.instances.left_out["not_selected"] == whole.rows["train"] - 5
    card = RunDirectory(tmp_path / "run").dataset.card.read_text()
    assert "the 5 were selected that are" in card and f"{whole.rows['train'] - 5} are left out" in card
    assert "No row overlaps with a task" in card
