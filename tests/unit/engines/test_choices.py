"""Choices as tokens: what a model is restricted to, and what is put to the prompt."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from selfinstruct.engines.choices import Choices


class Bytes:
    """A tokenizer without a token for any word: it spells texts in bytes."""

    def __call__(self, text: str, add_special_tokens: bool) -> Any:
        return SimpleNamespace(input_ids=list(text.encode()))

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode(errors="replace")


def of(*choices: str) -> Choices | None:
    return Choices.of(Bytes(), choices)


def test_the_first_token_tells_the_choices_apart() -> None:
    assert of("Yes", "No") == Choices({ord("Y"): "Yes", ord("N"): "No"}, [])


def test_what_words_of_one_script_begin_with_is_put_to_the_prompt() -> None:
    shared = list("हाँ".encode()[:2])
    assert shared == list("नहीं".encode()[:2])
    assert of("हाँ", "नहीं") == Choices({"हाँ".encode()[2]: "हाँ", "नहीं".encode()[2]: "नहीं"}, shared)


def test_a_space_split_off_a_word_is_not_put_to_the_prompt() -> None:
    assert of(" Yes", " No") == Choices({ord("Y"): " Yes", ord("N"): " No"}, [])


@pytest.mark.parametrize("choices", [("no", "none"), ("same", "same"), ("ab", "ac", "b")])
def test_choices_that_one_token_cannot_tell_apart_are_not_restricted(choices: tuple[str, ...]) -> None:
    assert of(*choices) is None


def test_log_probabilities_are_those_of_all_choices_or_none() -> None:
    choices = of("Yes", "No")
    assert choices is not None
    at = {token: SimpleNamespace(logprob=value) for token, value in ((ord("Y"), -0.123456), (ord("N"), -2.0), (1, -9))}
    assert choices.logprobs(at) == {"Yes": -0.1235, "No": -2.0}
    assert choices.logprobs({ord("Y"): at[ord("Y")]}) is None
    assert choices.logprobs(at | {ord("N"): SimpleNamespace(logprob=float("-inf"))}) is None, "JSON has no infinity"
