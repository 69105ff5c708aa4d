from __future__ import annotations

import pytest

from selfinstruct.dataset.holding_out import HeldOut
from selfinstruct.dataset.mixture import MixOptions, Source, mix
from selfinstruct.formats.families.row import DatasetRow, Turn
from selfinstruct.novelty.overlap import EvaluationTexts


def row(task: int, number: int) -> DatasetRow:
    turns = (Turn("user", f"Do {task} with {number}."), Turn("assistant", "Done."))
    return DatasetRow(turns, task=f"t{task}" if task else "", category=f"c{task % 4}")


ROWS = [row(task, number) for task in range(1, 21) for number in range(40)]


def test_a_share_of_the_tasks_is_unseen_and_some_questions_of_the_others_are_seen() -> None:
    held_out = HeldOut.choose("task", 0.1, 1, ROWS)
    assert len(held_out.units) == 2
    sides = {one.turns: held_out.side(one) for one in ROWS}
    assert {one.task for one in ROWS if sides[one.turns] == "unseen"} == held_out.units
    seen = [one for one in ROWS if sides[one.turns] == "seen"]
    assert 15 < len(seen) < 60 and not {one.task for one in seen} & held_out.units
    assert HeldOut.choose("task", 0.1, 1, reversed(ROWS)) == held_out
    assert HeldOut.choose("task", 0.1, 2, ROWS) != held_out


def test_whole_categories() -> None:
    held_out = HeldOut.choose("category", 0.01, 1, ROWS)
    assert len(held_out.units) == 1, "rounded up"
    assert {one.category for one in ROWS if held_out.side(one) == "unseen"} == held_out.units


def test_a_row_of_no_task_is_trained_on_and_one_task_is_too_few() -> None:
    held_out = HeldOut.choose("task", 0.9, 1, [*ROWS, *(row(0, k) for k in range(100))])
    assert {held_out.side(row(0, k)) for k in range(100)} == {""}
    with pytest.raises(ValueError, match="names 1 task; to hold some out takes at least two"):
        HeldOut.choose("task", 0.5, 1, ROWS[:40])
    assert len(HeldOut.choose("task", 0.99, 1, ROWS).units) == 19, "something is left to train on"


def test_the_mixture_leaves_them_out_and_counts_them() -> None:
    held_out = HeldOut.choose("task", 0.1, 1, ROWS)
    mixed, (counts,) = mix([], [(Source("s"), ROWS)], MixOptions(), EvaluationTexts([]), held_out=held_out)
    assert counts.left_out["held out, unseen"] == 80 and counts.left_out["held out, seen"] > 0
    assert len(mixed) == counts.taken == counts.read - counts.left_out.total()
    asked = {one.question.content for one in ROWS if held_out.side(one)}
    assert not asked & {one.prompt[0]["content"] for one in mixed}
