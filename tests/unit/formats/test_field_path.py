"""Fields of rows, nested ones included."""

from __future__ import annotations

import pytest

from selfinstruct.formats.field_path import value_at

ROW = {
    "text": "a",
    "a.b": 1,
    "messages[0]": "flat",
    "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
    "meta": {"a": {"b c": [[7]]}},
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text", "a"),
        ("a.b", 1),
        ("messages[0]", "flat"),
        ("messages[0].content", "Hi"),
        ("messages[-1].content", "Hello"),
        ("meta.a.b c[0][0]", 7),
    ],
)
def test_values(field: str, value: object) -> None:
    assert value_at(ROW, field) == value


@pytest.mark.parametrize(
    ("field", "complaint"),
    [
        ("instruction", "no field `instruction` (the row has: `text`, `a.b`, `messages[0]`, `messages`, `meta`)"),
        ("messages[2].content", "no field `messages[2].content` (messages is a list of 2)"),
        ("messages[0].text", "no field `messages[0].text` (messages[0] has: `role`, `content`)"),
        ("messages.content", "no field `messages.content` (messages is a list of 2)"),
        ("text[0]", "no field `text[0]` (text is of type str)"),
        ("[0]", "no field `[0]` (the row has: `text`, `a.b`, `messages[0]`, `messages`, `meta`)"),
        ("meta..a", "no field `meta..a` (the row has: `text`, `a.b`, `messages[0]`, `messages`, `meta`)"),
        ("messages[x]", "no field `messages[x]` (the row has: `text`, `a.b`, `messages[0]`, `messages`, `meta`)"),
        ("", "no field `` (the row has: `text`, `a.b`, `messages[0]`, `messages`, `meta`)"),
    ],
)
def test_what_is_missing_is_said_with_what_is_there(field: str, complaint: str) -> None:
    with pytest.raises(LookupError) as caught:
        value_at(ROW, field)
    assert str(caught.value) == complaint
