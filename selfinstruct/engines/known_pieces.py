"""Encode texts of which parts were encoded before: an instruction stands in the prompts of several requests.

The middle of each line is encoded by itself, and its tokens are kept for the next text that holds it:

    ... classification? No\\n\\nTask: Name | the longest river of a | country.\\nIs it ...

The cuts are made before a space between two words, where no tokenizer's token reaches across. So the tokens are those
of the whole text. The first texts are encoded both ways; a tokenizer that makes others of any of them (one that writes
a space before every text, for example) encodes whole texts from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

_LEAST, _MOST = 16, 1000
"""Characters of a piece whose tokens are kept."""
_MOST_PIECES = 16_384
_CHECKED = 32
"""Texts that are encoded both ways."""

Encode = Callable[[str], list[int]]


class KnownPieces:
    """Encodes texts in pieces and remembers those that may come again.

    Args:
        whole: encodes a text, with the tokens that a tokenizer puts around it.
        rest: encodes what follows.
    """

    def __init__(self, whole: Encode, rest: Encode) -> None:
        self._whole = whole
        self._rest = rest
        self._known: dict[str, list[int]] = {}
        self._to_check = _CHECKED
        self._joins = True

    def whole(self, text: str) -> list[int]:
        """Return the token ids of a whole text."""
        return self._encode(text, self._whole)

    def rest(self, text: str) -> list[int]:
        """Return the token ids of the end of a text."""
        return self._encode(text, self._rest)

    def _encode(self, text: str, first: Encode) -> list[int]:
        if not self._joins:
            return first(text)
        ids: list[int] = []
        encode = first
        for piece, may_come_again in _pieces(text):
            ids += self._of_middle(piece) if may_come_again else encode(piece)
            encode = self._rest
        if self._to_check:
            self._to_check -= 1
            whole = first(text)
            self._joins = ids == whole
            return whole
        return ids

    def _of_middle(self, piece: str) -> list[int]:
        if (ids := self._known.get(piece)) is None:
            if len(self._known) >= _MOST_PIECES:
                del self._known[next(iter(self._known))]
            ids = self._known[piece] = self._rest(piece)
        return ids


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Yield a text in pieces, each with whether it is the middle of a line; the first one never is."""
    start = at = 0
    for line in text.split("\n"):
        first, last = _middle(line) if len(line) >= _LEAST else (0, 0)
        if _LEAST <= last - first <= _MOST:
            yield text[start : at + first], False
            yield text[at + first : at + last], True
            start = at + last
        at += len(line) + 1
    if start < len(text) or not text:
        yield text[start:], False


def _middle(line: str) -> tuple[int, int]:
    """Return the first and the last place before a space between two words of a line; its last word counts as none."""
    words = line.split(" ")
    first, last, start, end = 0, 0, 0, len(line) - len(words[-1]) - 1
    for k in range(1, len(words) - 1):
        start += len(words[k - 1]) + (k > 1)
        if words[k].isalpha() and words[k - 1][-1:].isalpha():
            first = start
            break
    for k in range(len(words) - 2, 0, -1):
        end -= len(words[k]) + 1
        if words[k].isalpha() and words[k - 1][-1:].isalpha():
            last = end
            break
    return first, last
