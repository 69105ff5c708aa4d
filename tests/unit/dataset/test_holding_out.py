from __future__ import annotations

import pytest

from selfinstruct.dataset.holding_out import HeldOut
from selfinstruct.dataset.mixture import NEAR_UNSEEN, MixOptions, Source, mix
from selfinstruct.formats.families.dataset_row import DatasetRow, Turn
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


def test_few_of_the_seen_tasks_are_among_more_and_the_unseen_ones_stay() -> None:
    everything = HeldOut.choose("task", 0.1, 1, ROWS)
    few, more = (HeldOut.choose("task", 0.1, 1, ROWS, most_seen=number) for number in (3, 8))
    assert few.units == more.units == everything.units and more.spare < few.spare
    mixed, (counts,) = mix([], [(Source("s"), ROWS)], MixOptions(), EvaluationTexts([]), held_out=few)
    assert counts.left_out["of more tasks than are trained on"] == 15 * 40
    assert len({conversation.prompt[0]["content"].split()[1] for conversation in mixed}) == 3
    asked = {(side, one.task) for _, side, one in few.asked(ROWS)}
    assert {task for side, task in asked if side == "unseen"} == few.units
    assert not {task for _, task in asked} & few.spare


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


def superni(task: str, definition: str, task_input: str) -> DatasetRow:
    turns = (Turn("user", f"{definition}\n\n{task_input}"), Turn("assistant", "Done."))
    return DatasetRow(turns, instruction=definition, input=task_input, task=task)


STOCK = "You are given a sentence of a travel guide, and your task is to write one short line: "
LONG = "The night ferry leaves the old harbour at ten and reaches the island before the bakers open."
UNSEEN = superni("unseen", STOCK + "which town does it praise, and for what?", LONG)


@pytest.mark.parametrize(
    ("near", "reason"),
    [
        (superni("twin", STOCK + "which town does it praise, and why?", "Rain fell."), "the same task"),
        (superni("other", "Count the vowels.", f"Read this. {LONG}"), "the same input"),
        (
            superni(
                "other",
                STOCK + "how many days does the whole trip take with all of its meals, hotels and boats?",
                "Rain fell.",
            ),
            "",
        ),
    ],
)
def test_what_is_near_an_unseen_question_is_not_trained_on(near: DatasetRow, reason: str) -> None:
    held_out = HeldOut("task", frozenset({"unseen"}), 1)
    (text,) = held_out.unseen([UNSEEN, near])
    assert (text.task, text.instruction, text.inputs) == ("unseen", UNSEEN.instruction, (LONG,))
    unseen = EvaluationTexts([text], stock_phrases=True)
    mixed, (counts,) = mix(
        [], [(Source("s"), [UNSEEN, near])], MixOptions(), EvaluationTexts([]), held_out=held_out, unseen=unseen
    )
    assert counts.left_out == {"held out, unseen": 1} | ({NEAR_UNSEEN: 1} if reason else {})
    assert len(mixed) == counts.taken == (0 if reason else 1)


def test_at_most_twenty_questions_of_a_task_are_asked_and_none_with_earlier_turns() -> None:
    held_out = HeldOut("task", frozenset({"t1"}), 1)
    asked = [(side, one.task) for _, side, one in held_out.asked(ROWS)]
    assert asked.count(("unseen", "t1")) == 20
    earlier = (Turn("user", "A"), Turn("assistant", "B"), *ROWS[0].turns)
    assert list(held_out.asked([DatasetRow(earlier, task="t1")])) == []
