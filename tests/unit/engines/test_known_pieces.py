"""Texts of which parts were encoded before: the same tokens as those of the whole text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import selfinstruct
from selfinstruct.engines import chat_templates, known_pieces
from selfinstruct.engines.known_pieces import KnownPieces


@pytest.fixture(scope="module")
def encode() -> Callable[[str], list[int]]:
    tokenizer: Any = chat_templates.load_tokenizer(str(Path(selfinstruct.__file__).parent / "demo" / "model"))
    return lambda text: list(tokenizer(text, add_special_tokens=False).input_ids)


def characters(text: str) -> list[int]:
    return [ord(character) for character in text]


def test_the_middle_of_a_line_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_pieces, "_CHECKED", 0)
    encoded: list[str] = []
    texts = KnownPieces(characters, lambda text: encoded.append(text) or characters(text))  # type: ignore[func-returns-value]
    prompts = [f"Task {k}: Name the longest river of a country.\nTask {k + 1}:" for k in range(3)]
    assert [texts.whole(prompt) for prompt in prompts] == [characters(prompt) for prompt in prompts]
    assert encoded.count(" Name the longest river of a country") == 1


def test_the_end_of_a_message_is_the_end_of_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_pieces, "_CHECKED", 0)
    encoded: list[str] = []

    def encode(text: str) -> list[int]:
        encoded.append(text)
        return characters(text)

    texts = KnownPieces(encode, encode)
    for end in ("\n", "<|im_end|>", "<end_of_turn>", "[/INST]"):
        prompt = f"Task: Name the longest river of a country.{end}"
        assert texts.whole(prompt) == characters(prompt)
    middle = " Name the longest river of a country"
    assert encoded.count(middle) == 1 and max(encoded, key=len) == middle


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(
            st.sampled_from(
                [
                    "a",
                    "river",
                    "river.",
                    "Task:",
                    "it's",
                    "why?",
                    "Größe",
                    "é",
                    "写",
                    "1",
                    "<|x|>",
                    "river.<|x|>",
                    "river[/x]",
                    "<",
                    "",
                    ".",
                    "\t",
                    "x\r",
                ]
            ),
            max_size=14,
        ),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
)
def test_the_tokens_are_those_of_the_whole_text(
    encode: Callable[[str], list[int]], lines: list[list[str]], mark: bool
) -> None:
    texts = KnownPieces(encode, encode)
    texts._to_check = 0
    text = ":\n".join(map(" ".join, lines)) if mark else "\n".join(map(" ".join, lines))
    assert "".join(known_pieces._pieces(text)) == text
    for _ in range(2):
        assert texts.whole(text) == texts.rest(text) == encode(text)


def test_a_tokenizer_whose_texts_cannot_be_joined_encodes_whole_texts() -> None:
    def with_end(text: str) -> list[int]:
        return [*characters(text), -1]

    def with_space(text: str) -> list[int]:
        return characters(f" {text}")

    for whole, rest in ((with_end, characters), (characters, with_space)):
        texts = KnownPieces(whole, rest)
        prompts = [f"Task {k}: Name the longest river of a country." for k in range(3)]
        assert [texts.whole(prompt) for prompt in prompts] == [whole(prompt) for prompt in prompts]
        assert not texts._joins


def test_a_long_piece_is_not_kept() -> None:
    texts = KnownPieces(characters, characters)
    long = "Name" + " the longest river" * 60
    assert texts.rest(long) == characters(long)
    assert texts._known.cache_info().currsize == 1
