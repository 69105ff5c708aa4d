"""What a dataset or a model says of its licence, wherever it says it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfinstruct.formats.licences import dataset_licence, model_licence
from selfinstruct.packaged import resolve

ROW = {"instruction": "Sing.", "output": "La."}


@pytest.mark.parametrize(
    ("record", "licence"),
    [
        (ROW, ""),
        (ROW | {"license": "cc-by-4.0"}, "cc-by-4.0"),
        ({"Definition": ["D"], "Instances": [], "Instance License": ["Apache 2.0", "MIT"]}, "Apache 2.0, MIT"),
        (ROW | {"license": {"odd": 1}}, ""),
    ],
)
def test_the_records_may_say_so(record: dict[str, object], licence: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(record) + "\n")
    assert dataset_licence(path) == dataset_licence(tmp_path) == licence


@pytest.mark.parametrize(
    ("readme", "licence"),
    [
        ("---\nlicense: cc-by-nc-4.0\n---\n# Rows", "cc-by-nc-4.0"),
        ("---\nlicense: [mit, odc-by]\n---\n", "mit, odc-by"),
        ("# No metadata", "from the record"),
        ("---\nlicense: [broken\n---\n", "from the record"),
        ("---\n- a list\n---\n", "from the record"),
    ],
)
def test_the_readme_beside_the_files_comes_first(readme: str, licence: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROW | {"license": "from the record"}) + "\n")
    (tmp_path / "README.md").write_text(readme)
    assert dataset_licence(tmp_path / "rows.jsonl") == licence


def test_a_folder_has_the_licences_of_all_its_files(tmp_path: Path) -> None:
    for name, licence in {"a": "mit", "b": "cc-by-4.0", "c": "mit"}.items():
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(ROW | {"license": licence}) + "\n")
    assert dataset_licence(tmp_path) == "mit, cc-by-4.0"
    (tmp_path / "d.jsonl").write_text(json.dumps(ROW) + "\n")
    assert dataset_licence(tmp_path) == "mit, cc-by-4.0, not stated in some files"


def test_what_says_nothing_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl.gz").write_bytes(b"\x1f\x8bno")
    assert dataset_licence(tmp_path / "broken.jsonl.gz") == dataset_licence("nobody/nothing-of-this-name") == ""
    assert model_licence(str(tmp_path)) == model_licence("nobody/nothing-of-this-name") == ""
    assert dataset_licence(resolve("general")) == model_licence("demo") == "Apache-2.0"
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    assert model_licence(str(tmp_path)) == "mit"
