"""The records of a JSON array of any size, read one at a time.

Each is parsed as a line of JSON Lines is, so that a record means the same in both: with lone surrogates, large
numbers, and a limit to its depth.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO, Any

from selfinstruct.formats import jsonl

_CHUNK = 1 << 20
_SPACE = re.compile(r"[ \t\r\n]*")
_CUT = 16
"""Characters before the end of what was read in which an error may only say that a number or an escape goes on."""
_LONGEST_BROKEN = 1 << 26
"""Characters in which the end of a broken element is looked for."""
_DEEPEST = 1 << 16
"""Brackets in each other behind which the end of a broken element is not looked for."""
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[][{},"]', re.S)
_ESCAPED = re.compile("[\udc80-\udcff]")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=jsonl.integer)


class _Text:
    """A stream's text from the position on, as far as it was read. Bytes that are not UTF-8 are lone surrogates."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape").decode
        self.text = ""
        self.position = 0
        self.ended = False

    def more(self) -> None:
        """Read as much again as there is, and forget what is before the position."""
        rest = self.text[self.position :]
        raw = self._stream.read(max(_CHUNK, len(rest)))
        self.ended = not raw
        self.text, self.position = rest + self._decode(raw, final=self.ended), 0

    def next(self) -> str:
        """Go to the next character that is no white space, and return it; empty at the end."""
        while True:
            self.position = _SPACE.match(self.text, self.position).end()  # type: ignore[union-attr]  # Always matches.
            if self.position < len(self.text) or self.ended:
                return self.text[self.position : self.position + 1]
            self.more()


def elements(stream: IO[bytes]) -> Iterator[tuple[Any, str]]:
    """Yield each element of an array, and why it cannot be used; empty if it can.

    A broken element, whose value is None, ends where its brackets close outside of its strings.

    Raises:
        ValueError: the file is no JSON from here on, or no end of a broken element is found.
    """
    source = _Text(stream)
    source.next()
    source.position += 1
    if source.next() == "]":
        source.position += 1
    else:
        between = ","
        while between == ",":
            source.next()
            yield _element(source)
            between = source.next()
            source.position += 1
        if between != "]":
            raise ValueError("expected `,` or `]`" + (f", got {between!r}" if between else "; the file ends"))
    if source.next():
        raise ValueError(f"expected the end of the file, got {source.text[source.position :][:40]!r}")


def _element(source: _Text) -> tuple[Any, str]:
    while True:
        try:
            value, end = _decoder.raw_decode(source.text, source.position)
        except json.JSONDecodeError as error:
            goes_on = error.msg.startswith("Unterminated") or error.pos >= len(source.text) - _CUT
            if source.ended or not goes_on:
                problem = f"{error.msg}: {source.text[error.pos : error.pos + 40]!r}"
                if not _skip(source):
                    raise ValueError(problem) from error
                return None, problem
        except (RecursionError, ValueError) as error:  # The latter for a number with too many digits.
            problem = str(error) if isinstance(error, ValueError) else "nested too deeply"
            if not _skip(source):
                raise ValueError(problem) from error
            return None, problem
        else:
            rest = source.text[end : end + 3]
            goes_on = not rest or (len(rest) < 3 and rest[0] in ".eE")  # The last element read is a number cut in two.
            if source.ended or not goes_on:
                raw = source.text[source.position : end]
                source.position = end
                return value, "not UTF-8" if _ESCAPED.search(raw) else ""
        source.more()


def _skip(source: _Text) -> bool:
    """Go to the comma or bracket behind a broken element; return whether there is one."""
    while True:
        depth = 0
        for match in _STRING_OR_BRACKET.finditer(source.text, source.position):
            token = match[0]
            if token == '"':
                break  # A string that goes on behind what was read, or without an end.
            if depth == 0 and token in ",]":
                is_empty = not source.text[source.position : match.start()].strip()
                if not is_empty:
                    source.position = match.start()
                return not is_empty
            depth += (token in "[{") - (token in "]}")
            if not 0 <= depth <= _DEEPEST:
                return False
        if source.ended or len(source.text) - source.position > _LONGEST_BROKEN:
            return False
        source.more()
