"""Training rows that contain what a model is judged by."""

from __future__ import annotations

import json
from pathlib import Path

from selfinstruct.formats.conversations import Conversation
from tuning.training import leaks


def row(name: str, text: str, instruction: str = "") -> Conversation:
    answer = ({"role": "assistant", "content": name},)
    return Conversation(name, ({"role": "user", "content": text},), answer, instruction)


def task_file(folder: Path, *instructions: str) -> str:
    path = folder / "tasks.jsonl"
    rows = [
        {
            "id": f"t{k}",
            "instruction": text,
            "instances": [{"input": "", "output": "x"}],
            "is_classification": False,
        }
        for k, text in enumerate(instructions)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_row_of_the_validation_split_is_found_whatever_the_spacing():
    train = [row("a", "Name a colour.\n"), row("b", "Name a fruit.")]
    (finding,) = leaks.of_validation(train, [row("c", "Name a colour.")])
    assert (finding.name, finding.count, finding.examples) == ("leak", 1, ("a",))
    assert leaks.of_validation(train, [row("c", "Name a town.")]) == []


def test_rows_of_evaluation_tasks_are_found_word_for_word_and_nearly(tmp_path):
    tasks = task_file(tmp_path, "Name the longest river of the continent.", "Sort these words by their length.")
    train = [
        row("same", "Name the longest river of the continent.\n\nAsia", "Name the longest river of the continent."),
        row("near", "", "Name the longest river of that continent."),
        row("far", "", "Name the tallest building of the town that you live in."),
        row("bare", "Sort these words by their length."),  # no instruction of its own: its message is compared
    ]
    (finding,) = leaks.of_evaluation(train, [tasks])
    assert (finding.name, finding.fatal, finding.count) == ("evaluation_leak", False, 3)
    assert finding.examples == ("same", "near", "bare")
    assert "(2 word for word)" in finding.message


def test_without_a_leak_or_tasks_there_is_nothing_to_say(tmp_path):
    train = [row("a", "Write a poem about rain.")]
    assert leaks.of_evaluation(train, [task_file(tmp_path, "Sort these words.")]) == []
    assert leaks.of_evaluation(train, []) == leaks.of_evaluation([], [task_file(tmp_path, "Sort.")]) == []


def test_a_file_that_is_no_task_file_is_said(tmp_path):
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{\n")
    findings = leaks.of_evaluation(
        [row("a", "Sort these words.")], [str(broken), task_file(tmp_path, "Sort these words.")]
    )
    assert [finding.name for finding in findings] == ["evaluation_unread", "evaluation_leak"]
    assert findings[0].message.startswith("training rows were not compared with it: ")
    assert "broken.jsonl" in findings[0].message
