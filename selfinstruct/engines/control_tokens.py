"""Encode text that looks like a control token as ordinary text.

A user's message may hold `<|im_end|>` from a log file, a task `<s>old</s>` from a web page. Once the chat template has
written its own control tokens around such contents, a tokenizer takes all of them for control tokens: the text ends
the turn and opens another. So each control token in a content is broken by a character that no text has, before the
template is rendered; that shows which control tokens of the prompt are the template's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from selfinstruct.records import Message

_BREAK = "\ufdd0"
"""A noncharacter: Unicode reserves it for uses like this one."""


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Return the ids of the tokenizer's control tokens that a text can hold."""
    added = tokenizer.added_tokens_decoder
    if not isinstance(added, Mapping):  # Mistral's own format takes no text for a control token.
        return frozenset()
    return frozenset({*tokenizer.all_special_ids, *(number for number, token in added.items() if token.special)})


class ControlTokens:
    """The control tokens of a tokenizer, and how contents are encoded that hold their text.

    Args:
        tokenizer: of transformers; the tokens that it has now count.
        allowed: contents may hold control tokens: they are encoded as such.
    """

    def __init__(self, tokenizer: Any, *, allowed: bool = False) -> None:
        self._tokenizer = tokenizer
        self._ids = frozenset[int]() if allowed else special_ids(tokenizer)
        # The longest first, as tokenizers match them.
        texts = sorted(filter(None, map(_text_of(tokenizer), self._ids)), key=lambda text: (-len(text), text))
        self._written = _one_of(texts)
        self._broken = _one_of(text[0] + _BREAK + text[1:] for text in texts)
        self._core = _core(tokenizer)

    def found_in(self, text: str) -> bool:
        """Return whether a text holds a control token."""
        return self._written.search(text) is not None

    def before_first(self, text: str) -> str:
        """Return the text before its first control token."""
        return self._written.split(text, maxsplit=1)[0]

    def broken(self, messages: Iterable[Message]) -> list[Message]:
        """Return messages whose texts hold no control token for the template to mix with its own."""
        return [
            {
                name: text
                if name == "role" or not isinstance(text, str)
                else self._written.sub(lambda match: _break(match[0]), text)
                for name, text in message.items()
            }
            for message in messages
        ]

    def restored(self, rendered: str) -> str:
        """Return the text that a template makes of the messages, given the one that it made of the broken messages."""
        return self._broken.sub(lambda match: match[0].replace(_BREAK, "", 1), rendered)

    def encode_text(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Encode a text without control tokens, except those that the tokenizer adds around it.

        Args:
            text: written by anybody.
            add_special_tokens: add the tokens that the tokenizer puts around every text.
        """
        return self._encode(text, add_special_tokens=add_special_tokens, split_special_tokens=self.found_in(text))

    def encode(self, rendered: str) -> list[int]:
        """Encode what a template wrote around broken messages, which holds all control tokens that are needed."""
        if not self._broken.search(rendered):
            return self._encode(rendered)
        return [token for part in self._parts(rendered) for token in part]

    def encode_all(self, rendered: list[str]) -> list[list[int]]:
        """Encode many texts as `encode` does, in one batch."""
        encoded = self._tokenizer(rendered, add_special_tokens=False)["input_ids"]
        return [
            self.encode(text) if self._broken.search(text) else ids for text, ids in zip(rendered, encoded, strict=True)
        ]

    def spread(self, rendered: str, mask: Sequence[int]) -> Sequence[int]:
        """Return a mask for the tokens of `encode`.

        Args:
            rendered: what a template wrote around broken messages.
            mask: one value for each token that the tokenizer makes of the restored text.
        """
        if not self._broken.search(rendered):
            return mask
        return [value for value, part in zip(mask, self._parts(rendered), strict=True) for _ in part]

    def _parts(self, rendered: str) -> list[list[int]]:
        """Return, for each token of the restored text, the tokens that it is replaced by.

        The text of a control token in a content becomes plain tokens; the rest is encoded as if it were not there.
        """
        if not self._tokenizer.is_fast:
            return self._pieces(rendered)
        text, contents = self.restored(rendered), self._contents(rendered)
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return [
            # Its offsets may include white space that the control token would have swallowed.
            self.encode_text(text[start:end])
            if token in self._ids and any(start < b and a < end for a, b in contents)
            else [token]
            for token, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        ]

    def _contents(self, rendered: str) -> list[tuple[int, int]]:
        """Return where in the restored text the control tokens of contents are."""
        matches = enumerate(self._broken.finditer(rendered))
        return [(match.start() - n, match.end() - n - 1) for n, match in matches]

    def _pieces(self, rendered: str) -> list[list[int]]:
        """Encode piece by piece: a tokenizer in Python does not say where its tokens are."""
        pieces, position = [], 0
        for match in self._broken.finditer(rendered):
            pieces += [self._encode(rendered[position : match.start()]), self.encode_text(self.restored(match[0]))]
            position = match.end()
        return [*pieces, self._encode(rendered[position:])]

    def _encode(self, text: str, *, add_special_tokens: bool = False, split_special_tokens: bool = False) -> list[int]:
        core = self._core
        if core is not None and not split_special_tokens and _is_plain(core):
            return list(core.encode_batch_fast([text], add_special_tokens=add_special_tokens)[0].ids)
        options = {"split_special_tokens": True} if split_special_tokens else {}
        return list(self._tokenizer(text, add_special_tokens=add_special_tokens, **options).input_ids)


_SAMPLE = "Name two rivers:\n\n1. it's  Größe 写首 <|x|>\n"


def _core(tokenizer: Any) -> Any:
    """Return the part of a tokenizer that is written in Rust; None if there is none, or it alone gives other tokens.

    What is around it takes half of the time of a short text.
    """
    core: Any = getattr(tokenizer, "backend_tokenizer", None) if getattr(tokenizer, "is_fast", False) else None
    if not hasattr(core, "encode_batch_fast"):
        return None
    for both in (True, False):
        whole = list(tokenizer(_SAMPLE, add_special_tokens=both).input_ids)
        if whole != core.encode_batch_fast([_SAMPLE], add_special_tokens=both)[0].ids:
            return None
    return core


def _is_plain(core: Any) -> bool:
    """Return whether it cuts, fills up and splits nothing now: a call of its tokenizer may have left that behind."""
    return core.truncation is None and core.padding is None and not core.encode_special_tokens


def _text_of(tokenizer: Any) -> Any:
    tokens = tokenizer.added_tokens_decoder
    return lambda number: str(tokens[number]) if number in tokens else tokenizer.convert_ids_to_tokens(number)


def _break(token: str) -> str:
    return token[0] + _BREAK + token[1:]


def _one_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that matches any of the texts and prefers earlier ones. Without texts it matches nothing."""
    return re.compile("|".join(map(re.escape, texts)) or r"(?!)")
