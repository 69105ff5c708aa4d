"""JSON Lines: what is read, what is refused by line, and writing that leaves the old file or the new one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_bom_crlf_blank_lines_and_a_missing_last_newline_are_accepted(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": 2}')
    assert list(jsonl.read(path)) == [(1, {"a": 1}), (4, {"a": 2})]


def test_lines_end_at_newlines_only(tmp_path: Path) -> None:
    text = "one\u2028two\u2029three\x85four\x0bfive"
    path = tmp_path / "x.jsonl"
    jsonl.write(path, [{"a": text}])
    assert list(jsonl.read(path)) == [(1, {"a": text})]
    assert path.read_bytes().count(b"\n") == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "not valid JSON"),
        (b"{'a': 1}", "not valid JSON"),
        (b'{"a": 1} {"a": 2}', "not valid JSON"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": "\xff"}', "utf-8"),
        (b'{"a": "\xed\xa0\x80"}', "utf-8"),  # a surrogate, as CESU would write it
        (b"[1, 2]", "expected a JSON object, got list"),
        (b"null", "expected a JSON object, got NoneType"),
        (b'"text"', "expected a JSON object, got str"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\x00\x01", "not valid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON: a number has 5,000 digits"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: bytes, said: str) -> None:
    path = write(tmp_path / "x.jsonl", b'{"a": 1}\n\n' + line + b"\n")
    with pytest.raises(InputError) as caught:
        list(jsonl.read(path))
    assert str(caught.value).startswith(f"{path}, line 3: ")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(path)), "a long line is not repeated in full"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        list(jsonl.read(tmp_path / "missing.jsonl"))
    with pytest.raises(InputError, match="directory"):
        list(jsonl.read(tmp_path))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), values))
def test_what_is_written_is_read_back(row: dict[str, Any]) -> None:
    line = jsonl.dumps(row)
    assert "\n" not in line
    assert jsonl.parse(line.encode()) == row


@pytest.mark.parametrize(
    ("raw", "row"),
    [
        (b'{"a":1e999}', {"a": float("inf")}),
        (rb'{"a":"\ud800"}', {"a": "\ud800"}),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'{"a":123456789012345678901234567890}', {"a": 123456789012345678901234567890}),
    ],
)
def test_what_the_fast_decoder_refuses_is_read_all_the_same(raw: bytes, row: dict[str, Any]) -> None:
    assert jsonl.parse(raw) == row


@given(st.dictionaries(st.text(), values), st.integers(0, 99), st.binary(max_size=3))
def test_the_fast_decoder_reads_what_json_reads(row: dict[str, Any], at: int, inserted: bytes) -> None:
    """Also in lines that are damaged: it accepts none that json does not."""
    raw = jsonl.dumps(row).encode()
    raw = raw[:at] + inserted + raw[at:]
    try:
        found = jsonl.parse(raw)
    except ValueError:
        return
    assert repr(found) == repr(json.loads(raw.decode("utf-8-sig")))


@given(st.binary())
def test_any_bytes_give_an_object_or_a_value_error(raw: bytes) -> None:
    try:
        assert isinstance(jsonl.parse(raw), dict)
    except ValueError as error:
        assert str(error)


def test_text_is_readable_and_lone_surrogates_become_escapes() -> None:
    assert jsonl.dumps({"a": "ä写"}) == '{"a":"ä写"}'
    assert jsonl.dumps({"a": "ä\ud800"}) == '{"a":"\\u00e4\\ud800"}'


def test_nothing_that_is_no_json_is_written() -> None:
    with pytest.raises(ValueError):
        jsonl.dumps({"a": float("nan")})


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl" / "in").mkdir(parents=True)
    with pytest.raises(InputError, match=r"x\.jsonl: is a folder, and a file is to be written there; move it away"):
        jsonl.write(tmp_path / "x.jsonl", [{"a": 1}])
    assert [path.name for path in tmp_path.rglob("*")] == ["x.jsonl", "in"]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    jsonl.write(path, [{"a": 1}])
    with pytest.raises(ValueError):
        jsonl.write(path, [{"a": 2}, {"a": float("inf")}])
    assert path.read_bytes() == b'{"a":1}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_write_replaces_and_counts(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "x.jsonl"
    assert jsonl.write(path, []) == 0
    assert jsonl.write(path, ({"k": k} for k in range(3))) == 3
    assert path.read_bytes() == b'{"k":0}\n{"k":1}\n{"k":2}\n'
    assert path.stat().st_mode & 0o777 == 0o644


def test_write_json_is_indented_and_ends_with_a_newline(tmp_path: Path) -> None:
    jsonl.write_json(tmp_path / "x.json", {"ä": "\ud800"})
    text = (tmp_path / "x.json").read_text()
    assert text.endswith("}\n")
    assert json.loads(text) == {"ä": "\ud800"}


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_the_umask_decides_who_may_read_a_file(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        jsonl.write_text(tmp_path / "a", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode


def test_a_line_that_ends_too_early_names_the_column_in_it() -> None:
    with pytest.raises(ValueError, match=r"at column 10; the line begins b'\{\"a\": \[1\]'"):
        jsonl.parse(b'{"a": [1]\n')


def test_a_folder_that_takes_no_file_is_named_by_the_users_path() -> None:
    with pytest.raises(OSError, match=r"/proc/mine\.yaml'") as caught:
        jsonl.write_text(Path("/proc/mine.yaml"), "a: 1\n")
    assert caught.value.filename == "/proc/mine.yaml"
