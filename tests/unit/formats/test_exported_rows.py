"""Rows of an exported dataset: written as they always were, read back as they were written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.errors import InputError
from selfinstruct.formats import exported_rows
from selfinstruct.formats.exported_rows import ExportedRow
from selfinstruct.records import Instance, Task

FIXTURE = Path(__file__).parents[2] / "fixtures" / "run_before_layout"
SPLITS = sorted(path for name in ("train", "validation_*") for path in FIXTURE.glob(f"**/dataset/{name}.jsonl"))
GOOD = {"id": "a-0", "instruction": "Name it.", "input": "", "output": "It.", "is_classification": False}


def read(path: Path, *rows: Any) -> list[ExportedRow]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(exported_rows.read(path))


def test_rows_of_older_exports_come_out_byte_for_byte_but_for_messages(tmp_path: Path) -> None:
    assert len(SPLITS) == 12
    origins = set()
    for split in SPLITS:
        rows = list(exported_rows.read(split))
        origins |= {row.origin for row in rows}
        assert exported_rows.write(tmp_path / "again.jsonl", rows) == len(rows)
        again = (tmp_path / "again.jsonl").read_text()
        assert re.sub(r',"messages":.*(?=}$)', "", again, flags=re.M) == split.read_text(), split
    assert origins == {"generated", "earlier"}


@pytest.mark.parametrize("text", ["half \ud83d of a pair", "a\u2028b\x85c", "nul \0", "\r\n \n", "写诗 🦉", '"\\', ""])
def test_hostile_text_is_read_back_as_it_was(tmp_path: Path, text: str) -> None:
    row = ExportedRow("a-0", f"Say {text}", text, text, True, "seed")
    exported_rows.write(tmp_path / "train.jsonl", [row, row])
    (tmp_path / "train.jsonl").read_bytes().decode("utf-8")
    assert list(exported_rows.read(tmp_path / "train.jsonl")) == [row, row]


def test_a_row_repeats_its_texts_as_messages() -> None:
    stored = ExportedRow("a-0", "Name the capital.", "Kenya", "Nairobi", False).to_json()
    assert stored["prompt"] == [{"role": "user", "content": "Name the capital.\n\nKenya"}]
    assert stored["completion"] == [{"role": "assistant", "content": "Nairobi"}]
    assert ExportedRow("a-0", "Name it.", "", "It.", False).prompt[0]["content"] == "Name it."


def test_a_task_gives_a_row_for_each_instance() -> None:
    task = Task("p1", "Name it.", (Instance("a", "b"), Instance("", "c")), True, "earlier")
    assert exported_rows.rows_of(task) == [
        ExportedRow("p1-0", "Name it.", "a", "b", True, "earlier"),
        ExportedRow("p1-1", "Name it.", "", "c", True, "earlier"),
    ]


def test_messages_and_origin_may_be_missing(tmp_path: Path) -> None:
    (row,) = read(tmp_path / "mine.jsonl", GOOD | {"other": 1})
    assert row == ExportedRow("a-0", "Name it.", "", "It.", False, "generated")


@pytest.mark.parametrize("name", ["id", "instruction", "input", "output"])
@pytest.mark.parametrize("value", [7, None, ["x" * 200]])
def test_a_text_of_another_type_is_named_by_file_line_and_field(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path / "train.jsonl", GOOD, GOOD | {name: value})
    message = f"{tmp_path / 'train.jsonl'}, line 2: `{name}` must be a string, got {repr(value)[:80]}"
    assert str(caught.value) == message


@pytest.mark.parametrize("value", [0, "false", None])
def test_is_classification_is_true_or_false(tmp_path: Path, value: Any) -> None:
    with pytest.raises(InputError, match=r"train\.jsonl, line 2: `is_classification` must be true or false"):
        read(tmp_path / "train.jsonl", GOOD, GOOD | {"is_classification": value})


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_field_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"train\.jsonl, line 1: `{name}` must be"):
        read(tmp_path / "train.jsonl", {key: value for key, value in GOOD.items() if key != name})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.jsonl: cannot be read: No such file"):
        list(exported_rows.read(tmp_path / "train.jsonl"))
    (tmp_path / "train.jsonl").write_bytes(json.dumps(GOOD).encode() + b'\n{"id": ')
    with pytest.raises(InputError, match=r"train\.jsonl, line 2: not valid JSON"):
        list(exported_rows.read(tmp_path / "train.jsonl"))
