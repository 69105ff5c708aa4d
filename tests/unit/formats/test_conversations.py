"""Rows to train on: read from an export as they were written, and from any other dataset in the same form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfinstruct.formats import conversations, exported_rows
from selfinstruct.formats.conversations import Conversation
from selfinstruct.formats.exported_rows import ExportedRow

USER, ANSWER = {"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A."}


def test_exported_rows_are_read_with_the_same_texts(tmp_path: Path) -> None:
    rows = [
        ExportedRow("a-0", "Name it.", "half \ud83d", "\u2028", True, "seed"),
        ExportedRow("b-0", "Q", "", "", False),
    ]
    exported_rows.write(tmp_path / "train.jsonl", rows)
    assert conversations.read(tmp_path / "train.jsonl") == (
        [Conversation(row.id, tuple(row.prompt), tuple(row.completion), row.instruction) for row in rows],
        [],
    )


def test_another_dataset_needs_only_prompt_and_completion(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"prompt": [USER], "completion": [ANSWER, USER, ANSWER], "instruction": 7}) + "\n")
    assert conversations.read(path) == ([Conversation("1", (USER,), (ANSWER, USER, ANSWER))], [])


@pytest.mark.parametrize("value", [None, "Q?", [], [{"role": "user"}], [{"role": 1, "content": "x"}], ["Q?"]])
def test_an_invalid_row_is_a_problem_with_file_and_line(tmp_path: Path, value: object) -> None:
    path = tmp_path / "train.jsonl"
    lines = [{"prompt": [USER], "completion": [ANSWER]}, {"prompt": value, "completion": [ANSWER]}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows, problems = conversations.read(path)
    assert [row.id for row in rows] == ["1"]
    form = '[{"role": "user", "content": "..."}]'
    assert problems == [f"{path}, line 2: `prompt` must be a list of messages {form}, got {str(value)!r}"]
