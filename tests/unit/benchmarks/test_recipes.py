"""The figures of recipes: of a run whose content is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import recipes
from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import StoppedError
from selfinstruct.records import Completion, Task
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.header_values import Calibration
from selfinstruct.run.lines import Header, ProposalLine, Verdict
from tests.conftest import run_scripted

pytestmark = pytest.mark.whole


def known(seeds: list[str]) -> Any:
    """A model that copies a seed, comes near one, repeats itself, and writes one new task at a time."""
    near = " ".join(["Please", *seeds[1].split()])

    def answer(request: Request) -> Completion:
        kind, _, name = request.key.partition("/")
        if kind == "proposal":
            new = f"Name animals {' '.join(f'{word}{name}' for word in ('north', 'south', 'east', 'west'))}."
            return Completion(f" {seeds[0]}\nTask 10: {near}\nTask 11: {new}\nTask 12: {new}\n", "stop", 50, 40)
        if kind == "classification":
            return Completion(" No", "stop", 50, 1)
        text = "Example 1\nInput: in May\nOutput: " + ("It rains. It rains. It rains." if "-02" in name else "otters")
        return Completion(text, "stop", 50, 19)

    return answer


def test_figures_of_a_run(make_config: Any, seed_rows: list[dict[str, Any]], tmp_path: Path) -> None:
    seeds = [row["instruction"] for row in seed_rows]
    run_scripted(make_config(num_instructions=4, window=1, max_in_flight=1), ScriptedEngine(known(seeds)))
    of = recipes.figures(RunDirectory(tmp_path / "run"))
    assert (of.candidates, of.accepted) == (15, 4), "what comes after the target does not count"
    assert of.share_accepted == {"list": pytest.approx(4 / 15)} and of.rows_per_proposal == {"list": 1.0}
    assert of.tokens == {"classification": 4, "instances": 76, "proposal": 160}
    assert of.copied_seeds == pytest.approx(4 / of.candidates)
    assert of.near_seeds == pytest.approx(4 / of.candidates)
    assert of.rejected == {"identical": 3}, "each task that was just accepted, again"
    assert of.openings == 0.25 and of.novelty == 1.0, "it shares no word with a seed"
    assert (of.rows, of.tokens_per_row, of.input_share, of.tasks_without_rows) == (4, 60.0, 1.0, 0)
    assert (of.output_words, of.output_median, of.repeated_outputs, of.classification) == (6, 6, 1.0, 0.0)
    cells = recipes.table({"known": of}).splitlines()
    assert cells[0] == "| | known |" and "| accepted | 4 |" in cells


def test_nothing_to_count(make_config: Any, tmp_path: Path) -> None:
    empty = ScriptedEngine(lambda _: Completion("", "stop", 5, 1))
    config = make_config(num_instructions=4, limits={"max_requests": 5}, saturation={"max_degenerate": 1})
    with pytest.raises(StoppedError):
        run_scripted(config, empty)
    of = recipes.figures(RunDirectory(tmp_path / "run"))
    assert (of.candidates, of.rows, of.copied_seeds, of.tokens_per_row) == (0, 0, None, None)
    assert "| copied seeds |  |" in recipes.table({"empty": of})


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("Name two rivers", False),
        ("Name two rivers in Asia", True),
        ("name rivers asia: a list", True),
        ("Rivers in Asia are two", False),
    ],
)
def test_an_echo_says_words_of_the_task_in_their_order(output: str, expected: bool) -> None:
    task = Task("t", "Name two rivers in Asia.", (), False, "generated")
    assert recipes.is_echo(task, "A list.", output) is expected


def test_repeated_lines_and_sentences() -> None:
    assert recipes.repeats("I do not know.\nI do not know.\nI do not know.")
    assert recipes.repeats("It rains again. It rains again. It rains again.")
    assert not recipes.repeats("yes\nyes\nyes\nno") and not recipes.repeats("One line. Another line. A third line.")


def test_what_is_generated(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("proposal: {top_p: 0.9}")
    assert recipes.options_of("paper") == ("paper", {"recipe": "paper"})
    assert recipes.options_of("defaults") == ("defaults", {})
    assert recipes.options_of(f"mine={file}") == ("mine", {"proposal": {"top_p": 0.9}})


def test_samples_are_the_same_each_time(make_config: Any, tmp_path: Path) -> None:
    state = run_scripted(make_config(num_instructions=8))
    for _ in range(2):
        recipes.write_samples(state, tmp_path / "run")
    lines = (tmp_path / "run.instructions.txt").read_text().splitlines()
    assert len(lines) == 8 and {line[4:] for line in lines} == {instruction.text for instruction in state.pool}
    rows = [json.loads(line) for line in (tmp_path / "run.rows.jsonl").read_text().splitlines()]
    assert rows and all(row["output"] for row in rows)


def test_the_share_of_tasks_is_by_the_calibrated_threshold() -> None:
    line = ProposalLine(0, (), verdicts=(Verdict(0, 1.5), Verdict(1, -2.0), Verdict(2), Verdict(3, 0.25)))
    known = Calibration(yes=10, no=10, share=1.0, auc=0.9, threshold=0.25)
    assert recipes.judged_tasks([line], Header(1, {}, {}, 5, calibration={"is_task": known})) == pytest.approx(2 / 3)
    assert recipes.judged_tasks([line], Header(1, {}, {}, 5)) is None
