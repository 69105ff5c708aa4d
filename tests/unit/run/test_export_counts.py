"""The counts of an export: read and written with the keys that they always had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from selfinstruct.errors import InputError
from selfinstruct.run.export_counts import ExportCounts, read_export_counts, write_export_counts

FIXTURE = Path(__file__).parents[2] / "fixtures" / "run_before_layout"
STORED = sorted(FIXTURE.glob("**/dataset/export.json"))


def read(path: Path, value: Any) -> ExportCounts:
    path.write_text(json.dumps(value))
    return read_export_counts(path)


def test_counts_of_older_exports_come_out_byte_for_byte(tmp_path: Path) -> None:
    assert len(STORED) == 4
    for stored in STORED:
        write_export_counts(tmp_path / "export.json", read_export_counts(stored))
        assert (tmp_path / "export.json").read_bytes() == stored.read_bytes(), stored


def test_parent_runs_are_stored_under_their_old_name() -> None:
    parents = read_export_counts(FIXTURE / "rounds" / "round-02" / "dataset" / "export.json").parents
    assert parents and (parents.runs, parents.instances.accepted, parents.rows["train"]) == (1, 13, 11)
    assert parents.instructions.without_instances is UNSET, "nobody counts them for parent runs"
    assert read_export_counts(FIXTURE / "generated" / "dataset" / "export.json").parents is UNSET


def test_fields_that_old_files_lack_have_defaults(tmp_path: Path) -> None:
    stored = json.loads(STORED[0].read_bytes())
    del stored["origins"], stored["mean_words"]
    counts = read(tmp_path / "export.json", stored)
    assert counts.origins == {} and counts.mean_words.output is None


def test_nothing_was_exported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"export\.json is missing; `selfinstruct export` writes it"):
        read_export_counts(tmp_path / "export.json")


def test_a_file_that_cannot_be_read_is_named_once(tmp_path: Path) -> None:
    (tmp_path / "export.json").mkdir()
    with pytest.raises(
        InputError, match=r"export\.json: cannot be read: Is a directory; `selfinstruct export`"
    ) as error:
        read_export_counts(tmp_path / "export.json")
    (tmp_path / "export.json").rmdir()
    (tmp_path / "export.json").write_text("[]")
    with pytest.raises(InputError, match="is damaged") as damaged:
        read_export_counts(tmp_path / "export.json")
    assert all(str(raised.value).count("export.json") == 1 for raised in (error, damaged))


@pytest.mark.parametrize("name", ["instructions", "instances", "include_seeds", "rows"])
def test_a_damaged_file_is_one_error_that_names_the_field(tmp_path: Path, name: str) -> None:
    stored = json.loads(STORED[0].read_bytes())
    with pytest.raises(InputError, match=rf"export\.json is damaged: .*`\$\.{name}`.*writes it again"):
        read(tmp_path / "export.json", stored | {name: "seven"})
    del stored[name]
    with pytest.raises(InputError, match=rf"export\.json is damaged: .*`{name}`.*writes it again"):
        read(tmp_path / "export.json", stored)


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"rows": {', b"\xff"])
def test_what_is_no_json_object_is_one_error(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "export.json").write_bytes(raw)
    with pytest.raises(InputError, match=r"export\.json is damaged"):
        read_export_counts(tmp_path / "export.json")
