"""What a family of tasks is."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from tools.demo_model.wording import Params, Slot, pattern, say, slots_of


def no_input(rng: random.Random, params: Params) -> str:
    """Return the input of a task that needs none."""
    return ""


@dataclass(frozen=True)
class Family:
    """A family of simple tasks: what they ask, and what a right answer is.

    Attributes:
        name: also the category of its evaluation tasks.
        asks: wordings of the request (see `wording.py`); imperatives in lower case without a full stop, or questions.
        reserved: further wordings, kept out of the training text for the held-out tasks.
        input_names: what an instruction may call the input ("sentence"); empty when there is none.
        slots: the parameters in the wordings. A wording need not have all: a missing one has no entry in `Params`.
        draw: makes an input.
        solve: the one right answer, or None when the input is not one that the task is about.
        write, accept: for tasks with many right answers, in place of `solve`: makes one, judges one.
        is_classification: whether the answers are a small fixed set.
        lookup: whether an answer to a single word can only be memorised (the plural of "mouse").
        short: whether the answer is so short that its form may be prescribed ("in brackets").
    """

    name: str
    asks: tuple[str, ...]
    reserved: tuple[str, ...]
    input_names: tuple[str, ...] = ()
    slots: Mapping[str, Slot] = field(default_factory=dict)
    draw: Callable[[random.Random, Params], str] = no_input
    solve: Callable[[Params, str], str | None] | None = None
    write: Callable[[random.Random, Params, str], str] | None = None
    accept: Callable[[Params, str, str], bool] | None = None
    is_classification: bool = False
    lookup: bool = False
    short: bool = False

    @cached_property
    def patterns(self) -> tuple[re.Pattern[str], ...]:
        """The patterns of all wordings, the reserved ones included."""
        return tuple(pattern(ask, self.slots) for ask in (*self.asks, *self.reserved))

    def ask(self, rng: random.Random, *, reserved: bool = False) -> tuple[str, Params]:
        """Return a request in random words, and what it asks for."""
        wording = rng.choice(self.reserved if reserved else self.asks)
        params = {slot: self.slots[slot].pick(rng) for slot in slots_of(wording)}
        return say(wording, self.slots, params, rng), params

    def answer(self, rng: random.Random, params: Params, text: str) -> str:
        """Return a right answer for an input."""
        if self.solve is None:
            assert self.write is not None, f"family {self.name} has neither solve nor write"
            return self.write(rng, params, text)
        solved = self.solve(params, text)
        assert solved is not None, f"family {self.name} cannot solve its own input {text!r}"
        return solved

    def reserves(self, text: str, answer: str) -> bool:
        """Return whether this instance is kept out of the training text, for the held-out tasks: one in sixteen.

        Single words of a lookup family are never kept out: they cannot be guessed.
        """
        content = text or answer
        if self.lookup and " " not in content:
            return False
        return hashlib.sha256(f"{self.name}|{content}".encode()).digest()[0] % 16 == 0

    def is_right(self, params: Params, text: str, answer: str) -> bool:
        """Return whether this is a right answer for the input."""
        if self.accept is not None:
            return self.accept(params, text, answer)
        return self.solve is not None and self.solve(params, text) == answer
