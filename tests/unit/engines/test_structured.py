"""Answers of a fixed form: the pattern allows exactly the objects that JSON's own writer makes of the values."""

from __future__ import annotations

import itertools
import json
import re

from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.engines.structured import pattern, response_format
from selfinstruct.records import TAG_VALUES

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)


@given(st.dictionaries(texts, st.lists(texts, min_size=1, max_size=3, unique=True).map(tuple), min_size=1, max_size=3))
def test_the_pattern_matches_what_json_writes_and_nothing_else(fields: dict[str, tuple[str, ...]]) -> None:
    compiled = re.compile(pattern(fields))
    for values in itertools.product(*fields.values()):
        written = json.dumps(dict(zip(fields, values, strict=True)))
        assert compiled.fullmatch(written)
        assert not compiled.fullmatch(written + "x")
    assert not compiled.fullmatch("{}")


def test_a_server_gets_a_schema_that_leaves_nothing_open() -> None:
    said = response_format(TAG_VALUES)
    schema = said["json_schema"]["schema"]
    assert said["type"] == "json_schema" and said["json_schema"]["strict"] is True
    assert schema["required"] == list(TAG_VALUES) == list(schema["properties"])
    assert schema["additionalProperties"] is False
    assert schema["properties"]["difficulty"] == {"type": "string", "enum": ["easy", "medium", "hard"]}
