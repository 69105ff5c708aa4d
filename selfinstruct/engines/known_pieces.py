"""Encode texts of which parts were encoded before: an instruction is in the prompts of several requests.

A text is cut around the middle of each line, and the tokens of each piece are kept for the next text that holds it:

    ... classification? No\\n\\nTask: | Name the longest river of a country | .\\nIs it ...

The cuts are made before a space with a word after it, and between a word and the end of its line or sentence, where no
tokenizer's token reaches across. So the tokens are those of the whole text. The first texts are encoded both ways; a
tokenizer that makes others of any of them (one that writes a space before every text, for example) encodes whole texts
from then on.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

_MOST = 1000
"""Characters of a piece whose tokens are kept."""
_MOST_PIECES = 16_384
_CHECKED = 32
"""Texts that are encoded both ways."""
_SECOND_WORD = re.compile(r"(?<=[^\W\d_]|:) [^\W\d_]+ ")
_LETTER = re.compile(r"[^\W\d_]")
_LINE_END = re.compile(r"[\n<\[]")
"""Also where a control token may begin: a chat template ends a message with one."""

Encode = Callable[[str], list[int]]


class KnownPieces:
    """Encodes texts in pieces and remembers the pieces.

    Args:
        whole: encodes a text, with the tokens that a tokenizer puts around it.
        rest: encodes what follows.
    """

    def __init__(self, whole: Encode, rest: Encode) -> None:
        self._whole = whole
        self._rest = rest
        self._known_first = functools.lru_cache(_MOST_PIECES)(whole)
        self._known = functools.lru_cache(_MOST_PIECES)(rest)
        self._to_check = _CHECKED
        self._joins = True

    def whole(self, text: str) -> list[int]:
        """Return the token ids of a whole text."""
        return self._encode(text, self._whole, self._known_first)

    def rest(self, text: str) -> list[int]:
        """Return the token ids of the end of a text."""
        return self._encode(text, self._rest, self._known)

    def _encode(self, text: str, encode: Encode, known: Encode) -> list[int]:
        if not self._joins:
            return encode(text)
        first, *others = _pieces(text)
        ids = [*(known(first) if len(first) <= _MOST else encode(first))]
        for piece in others:
            ids += self._known(piece) if len(piece) <= _MOST else self._rest(piece)
        if self._to_check:
            self._to_check -= 1
            self._joins = ids == encode(text)
            return encode(text)
        return ids


def _pieces(text: str) -> list[str]:
    """Return a text in pieces: the middles of its lines, and what is between them.

    The middle of a line goes from the space before its second word to its last letter, if at most the end of a sentence
    comes after that.
    """
    pieces, start, line_end = [], 0, -1
    for line in _LINE_END.split(text):
        line_start, line_end = line_end + 1, line_end + 1 + len(line)
        last = line_end - (2 if line.endswith((".", "?", "!")) else 1)
        middle = _SECOND_WORD.search(text, line_start, line_end)
        if middle and last >= middle.end() and _LETTER.match(text, last):
            pieces += [text[start : middle.start()], text[middle.start() : last + 1]]
            start = last + 1
    return [*pieces, text[start:]] if start < len(text) or not text else pieces
