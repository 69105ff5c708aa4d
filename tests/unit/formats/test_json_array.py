from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.formats import json_array

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def read(raw: bytes) -> list[Any]:
    return list(json_array.elements(io.BytesIO(raw)))


@given(st.lists(VALUES, max_size=5), st.integers(1, 40), st.booleans(), st.sampled_from([None, 1]))
def test_elements_are_the_same_wherever_the_file_is_cut(
    values: list[Any], chunk: int, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(values, ensure_ascii=ascii_only, indent=indent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_array, "_CHUNK", chunk)
        assert read(b"\xef\xbb\xbf " + text.encode() + b"\n") == [(value, "") for value in values]


@pytest.mark.parametrize("number", ["-0.0", "1.5e-7", "2E+10", "12"])
@pytest.mark.parametrize("chunk", range(1, 9))
def test_a_number_may_be_cut_anywhere(monkeypatch: pytest.MonkeyPatch, number: str, chunk: int) -> None:
    monkeypatch.setattr(json_array, "_CHUNK", chunk)
    assert repr(read(f"[{number}, {number}]".encode())) == repr([(json.loads(number), "")] * 2)


def test_lone_surrogates_and_large_numbers_are_read_as_in_json_lines() -> None:
    assert read(b'[{"a": "x \\ud800"}, {"a": 99999999999999999999}]') == [
        ({"a": "x \ud800"}, ""),
        ({"a": 99999999999999999999}, ""),
    ]


def test_bytes_that_are_not_utf8_spoil_their_element_only() -> None:
    assert [problem for _, problem in read(b'[{"a": "\xff"}, {"a": 1}]')] == ["not UTF-8", ""]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'[{"a": 1}, {"a', "Unterminated string"),
        (b'[{"a": 1}', "the file ends"),
        (b"[1, ]", "Expecting value"),
        (b"[1 2]", "expected `,` or `]`, got '2'"),
        (b'[{"a" 1}', "Expecting ':' delimiter"),
        (b'[{"a": "b}, {"a": 1}]', "delimiter"),
        (b"[1] [2]", "expected the end of the file"),
        (b"[" * 200_000, "nested too deeply"),
    ],
)
def test_what_cannot_be_read(raw: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read(raw)


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    "broken",
    [
        '{"a" 1}',
        '{"a": nul}',
        '{"a": [1,]}',
        '{"a": "x" "b": {"c": ["]", "}"]}}',
        '{"a": "say \\"hi}", b}',
        "nul",
        "'a'",
    ],
)
def test_a_broken_element_ends_where_its_brackets_close(
    monkeypatch: pytest.MonkeyPatch, broken: str, chunk: int
) -> None:
    monkeypatch.setattr(json_array, "_CHUNK", chunk)
    first, middle, last = read(f'[{{"a": 1}},\n{broken} ,\n{{"a": 2}}]'.encode())
    assert (first, last) == (({"a": 1}, ""), ({"a": 2}, ""))
    assert middle[0] is None and middle[1]
    assert [value for value, _ in read(f"[{broken}]".encode())] == [None]


def test_the_end_of_a_broken_element_is_looked_for_in_a_part_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_array, "_CHUNK", 64)
    monkeypatch.setattr(json_array, "_LONGEST_BROKEN", 256)
    stream = io.BytesIO(b'[{"a" 1,' + b" " * 10_000 + b"]")
    with pytest.raises(ValueError, match="Expecting ':' delimiter"):
        list(json_array.elements(stream))
    assert stream.tell() < 1000


def test_a_deep_element_is_left_behind_like_any_broken_one() -> None:
    deep = b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    assert read(b"[" + deep + b', {"b": "]"}]') == [(None, "nested too deeply"), ({"b": "]"}, "")]


def test_no_end_of_brackets_without_number_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_array, "_DEEPEST", 5000)
    stream = io.BytesIO(b"[" * 10_000_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        list(json_array.elements(stream))
    assert stream.tell() < 4_000_000


def test_a_number_that_is_no_json_or_has_too_many_digits_spoils_its_element_only() -> None:
    assert read(b'[{"a": ' + b"9" * 5000 + b'}, {"b": 1}]') == [(None, "a number has 5,000 digits"), ({"b": 1}, "")]
    assert read(b'[{"a": NaN}, {"b": 1}]') == [(None, "NaN is not JSON"), ({"b": 1}, "")]
