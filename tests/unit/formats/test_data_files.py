from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from selfinstruct.errors import InputError
from selfinstruct.formats import data_files
from selfinstruct.formats.data_files import COLUMNS, Record, records

ROWS = [{"a": "é 1"}, {"a": "two\n"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
ARRAY = json.dumps(ROWS, indent=1).encode()


def values(path: Path) -> list[object]:
    return [record.value for record in records(path)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.jsonl", LINES),
        ("d.jsonl", b"\xef\xbb\xbf" + LINES.replace(b"\n", b"\r\n")),
        ("d.json", ARRAY),
        ("d.json", LINES),
        ("d.jsonl", ARRAY),
        ("d.jsonl.gz", gzip.compress(LINES, mtime=0)),
        ("d.json.gz", gzip.compress(ARRAY, mtime=0)),
        ("d.json", gzip.compress(ARRAY, mtime=0)),
    ],
    ids=["lines", "lines of Windows", "array", "lines as json", "array as jsonl", "gz", "array gz", "gz by its bytes"],
)
def test_every_container_gives_the_same_records(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert values(path) == ROWS


def test_parquet_and_zstd(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "d.parquet")
    with pyarrow.output_stream(str(tmp_path / "d.jsonl.zst"), compression="zstd") as stream:
        stream.write(LINES)
    assert values(tmp_path / "d.parquet") == values(tmp_path / "d.jsonl.zst") == ROWS


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.json", "notes.txt"):
        (tmp_path / name).write_text(json.dumps({"file": name}))
    assert values(tmp_path) == [{"file": "a.json"}, {"file": "b.jsonl"}]


def test_one_object_over_several_lines_is_one_record(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    path.write_text(json.dumps({"Definition": "x", "Instances": []}, indent=2))
    assert values(path) == [{"Definition": "x", "Instances": []}]


def test_tsv_with_and_without_names(tmp_path: Path) -> None:
    path = tmp_path / "d.tsv"
    path.write_text('What?\t"A\tBecause\n\nWhy?\tB\tSo\n')
    assert values(path) == [{COLUMNS: ["What?", '"A', "Because"]}, {COLUMNS: ["Why?", "B", "So"]}]
    path.write_text("inputs\ttargets\nhi\tho\nshort\n")
    first, second = records(path)
    assert first.value == {"inputs": "hi", "targets": "ho"}
    assert (second.where, second.problem) == ("line 3", "has 1 columns, but the first line names 2")


def test_a_broken_line_does_not_end_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": \n[1]\n\xff\n{"a": 2}\n')
    read = list(records(path))
    assert [r.where for r in read] == ["line 1", "line 2", "line 3", "line 4", "line 5"]
    assert [r.value for r in read] == [{"a": 1}, None, None, None, {"a": 2}]
    assert all(bool(r.problem) == (r.value is None) for r in read)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("d.json", b'[{"a": 1}, {"a": ', "record 2: not valid JSON"),
        ("d.jsonl.gz", gzip.compress(LINES, mtime=0)[:-9], "cannot be read"),
        ("d.parquet", b"PAR1", "not a readable Parquet file"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as failed:
        list(records(path))
    assert str(path) in str(failed.value)


def test_array_items_that_are_no_objects(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    path.write_text('[{"a": 1.5}, 3]')
    assert list(records(path)) == [
        Record(str(path), "record 1", {"a": 1.5}),
        Record(str(path), "record 2", None, "expected an object, got int"),
    ]


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        list(records(tmp_path / "no.jsonl"))
    with pytest.raises(InputError, match="holds no data file"):
        list(records(tmp_path))


def test_a_name_on_the_hub() -> None:
    assert data_files.is_hub_name("tatsu-lab/alpaca")
    assert not data_files.is_hub_name("data/alpaca.json")
    assert not data_files.is_hub_name("alpaca.json")


def test_the_hubs_rows_are_read_by_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = {}

    def load(name: str, **options: object) -> list[dict[str, str]]:
        asked.update(options, name=name)
        return [{"instruction": "Do."}]

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert [r.value for r in records("owner/name")] == [{"instruction": "Do."}]
    assert asked == {"name": "owner/name", "split": "train", "streaming": True}


def test_a_hub_out_of_reach_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load(name: str, **options: object) -> None:
        raise ConnectionError("Couldn't reach 'owner/name' on the Hub\nmore")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(InputError, match=r"^owner/name: no such file, and .* Couldn't reach 'owner/name' on the Hub$"):
        list(records("owner/name"))


def test_a_folder_is_read_without_what_describes_it(tmp_path: Path) -> None:
    for name in ("a.jsonl", "dataset_info.json", ".cache/b.jsonl", "data/c.jsonl", "data/state.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"a": 1}\n')
    assert [file.name for file in data_files.files_of(tmp_path)] == ["a.jsonl", "c.jsonl"]


def test_a_row_of_parquet_that_is_not_utf8_spoils_no_other(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    ends, texts = (pyarrow.py_buffer(raw) for raw in (b"\0\0\0\0\2\0\0\0\4\0\0\0", b"\xff\xfeab"))
    names = pyarrow.StringArray.from_buffers(2, ends, texts)
    parquet.write_table(pyarrow.table({"name": names}), tmp_path / "a.parquet")
    first, second = records(tmp_path / "a.parquet")
    assert (first.value, first.problem) == (None, "not UTF-8") and second.value == {"name": "ab"}


def test_damaged_gzip_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(bytes(range(256)) * 40))
    for place in range(10, len(packed)):
        damaged = bytes(packed[:place] + bytes([packed[place] ^ 0xFF]) + packed[place + 1 :])
        (tmp_path / "d.jsonl.gz").write_bytes(damaged)
        with pytest.raises(InputError, match="cannot be read"):
            list(records(tmp_path / "d.jsonl.gz"))


def test_parquet_with_a_damaged_name_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"instruction": ["a"]}), tmp_path / "whole.parquet")
    raw = (tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "d.parquet").write_bytes(raw.replace(b"instruction", b"instr\xa9ction"))
    with pytest.raises(InputError, match="not a readable Parquet file"):
        list(records(tmp_path / "d.parquet"))


def test_a_damaged_footer_of_parquet_is_one_line(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    raw = bytearray(path.read_bytes())
    raw[len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")] = 0x0F
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"a\.parquet: cannot be read") as caught:
        list(records(path))
    assert "\n" not in str(caught.value)
