"""Encode prompts that begin alike: the tokens of the part that they share are made once.

Nearly all of a prompt for a classification or for instances is the same in every one of them: its examples. So the
tokens of the beginning are kept, and those of the end are added:

    "...\\nTask: Name a river.\\nIs it classification? No\\n\\nTask: Sort | the words.\\nIs it ..."

The cut is made before a space between two words of the shared part, where no tokenizer's token reaches across. So the
tokens are those of the whole text. That is checked when a beginning is learnt; a tokenizer that fails the check (one
that writes a space before every text, for example) encodes whole texts from then on.
"""

from __future__ import annotations

import re

from selfinstruct.engines.known_pieces import Encode

_HEAD = 256
"""How many characters of beginnings are compared."""
_MOST_BEGINNINGS = 256
_BETWEEN_WORDS = re.compile(r"(?<=[^\W\d_])(?= [^\W\d_]+\s)")


class SharedBeginnings:
    """Encodes whole texts and remembers how they begin.

    Args:
        whole: encodes a text, with the tokens that a tokenizer puts around it.
        rest: encodes the end of a text.
    """

    def __init__(self, whole: Encode, rest: Encode) -> None:
        self._whole = whole
        self._rest = rest
        self._known: dict[str, tuple[str, list[int] | None]] = {}
        self._cuts_well = True

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text."""
        if not self._cuts_well or len(text) <= _HEAD:
            return self._whole(text)
        head = text[:_HEAD]
        earlier, ids = self._known.get(head, ("", None))
        if ids is not None and text.startswith(earlier):
            return ids + self._rest(text[len(earlier) :])
        encoded = self._whole(text)
        if not earlier:
            self._remember(head, text, None)  # The next text with this head shows how much they share.
        elif cut := _last_cut(text[: _shared(earlier, text)]):
            ids = self._whole(text[:cut])
            self._cuts_well = ids + self._rest(text[cut:]) == encoded
            self._remember(head, text[:cut], ids)
        return encoded

    def _remember(self, head: str, text: str, ids: list[int] | None) -> None:
        if head not in self._known and len(self._known) >= _MOST_BEGINNINGS:
            del self._known[next(iter(self._known))]
        self._known[head] = text, ids


def _shared(one: str, other: str) -> int:
    """Return how many characters two texts share at their beginnings."""
    pairs = zip(one, other, strict=False)
    return next((k for k, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _last_cut(shared: str) -> int:
    """Return the last place before a whole word of a text; 0 if there is none."""
    return max((match.start() for match in _BETWEEN_WORDS.finditer(shared)), default=0)
