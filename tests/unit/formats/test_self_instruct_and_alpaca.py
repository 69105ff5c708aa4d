"""The files of other dataset families, as their own readers expect them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from selfinstruct.formats.exported_rows import ExportedRow
from selfinstruct.formats.families import alpaca, self_instruct
from selfinstruct.records import Instance, Task
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import read_lines
from selfinstruct.run.state import replay
from tests.conftest import run_scripted


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_alpaca_is_one_array_of_three_fields(tmp_path: Path) -> None:
    row = ExportedRow("x", "Name it: é.", "", "\u2028", False)
    alpaca.write_exported(tmp_path / "alpaca.json", [row, replace(row, input="a")])
    text = (tmp_path / "alpaca.json").read_text()
    assert json.loads(text) == [
        {"instruction": "Name it: é.", "input": "", "output": "\u2028"},
        {"instruction": "Name it: é.", "input": "a", "output": "\u2028"},
    ]
    assert "é" in text


def test_self_instruct_files_of_a_run(make_config: Any, tmp_path: Path) -> None:
    config = make_config()
    run_scripted(config)
    state = replay(read_lines(RunDirectory(Path(str(config.output_dir))).journal))
    tasks = list(state.tasks())
    folder = tmp_path / "out"
    self_instruct.write_exported(folder, [(i, state.is_classification.get(i.id)) for i in state.pool], tasks)
    written = lines(folder / "machine_generated_instructions.jsonl")
    assert written == [{"instruction": i.text, "request_idx": i.proposal} for i in state.pool]
    answers = lines(folder / "is_clf_or_not.jsonl")
    assert len(answers) == len(state.is_classification)
    assert {row["is_classification"] for row in answers} == {" Yes", " No"}
    instances = lines(folder / "all_generated_instances.jsonl")
    assert len(instances) == state.num_instances > 0
    assert all(list(row) == ["instruction", "input", "output"] for row in instances)
    assert len(lines(folder / "finetuning.jsonl")) == len(instances)


def test_self_instruct_finetuning_rows_are_plain_text(tmp_path: Path) -> None:
    made = Task("p000000-00", "Sort.", (Instance("b a", "a b"), Instance("", "x")), False, "generated")
    self_instruct.write_exported(tmp_path, [], [made])
    assert lines(tmp_path / "finetuning.jsonl") == [
        {"prompt": "Sort.\n\nb a\n\n", "completion": "a b<|endoftext|>"},
        {"prompt": "Sort.\n\n", "completion": "x<|endoftext|>"},
    ]
    assert lines(tmp_path / "machine_generated_instructions.jsonl") == []
