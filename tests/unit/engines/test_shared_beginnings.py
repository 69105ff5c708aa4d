"""Beginnings that prompts share: the same tokens as those of the whole text, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import selfinstruct
from selfinstruct.engines import chat_templates, tokenized_prompts
from selfinstruct.engines.shared_beginnings import SharedBeginnings
from selfinstruct.engines.tokenized_prompts import TokenizedPrompts
from selfinstruct.records import OpenTurn

BEGINNING = "".join(f"Task: Name a river of country number {k}.\nIs it classification? No\n\n" for k in range(12))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return chat_templates.load_tokenizer(str(Path(selfinstruct.__file__).parent / "demo" / "model"))


def counting(encode: Callable[[str], list[int]], lengths: list[int]) -> Callable[[str], list[int]]:
    def counted(text: str) -> list[int]:
        lengths.append(len(text))
        return encode(text)

    return counted


def characters(text: str) -> list[int]:
    return [ord(character) for character in text]


def test_the_shared_part_is_encoded_once() -> None:
    lengths: list[int] = []
    texts = SharedBeginnings(counting(characters, lengths), counting(characters, lengths))
    prompts = [f"{BEGINNING}Task: Sort list {k}." for k in range(20)]
    assert [texts.encode(prompt) for prompt in prompts] == [characters(prompt) for prompt in prompts]
    assert all(length < 60 for length in lengths[4:]), "only the ends are encoded"
    assert len(lengths) == 2 + 2 + 18


def test_a_beginning_that_was_taken_too_long_is_shortened() -> None:
    lengths: list[int] = []
    texts = SharedBeginnings(counting(characters, lengths), counting(characters, lengths))
    ends = ["Task: Write a long poem now.", "Task: Write a long letter now.", "Task: Sort it.", "Task: Ask it."]
    assert [texts.encode(BEGINNING + end) for end in ends] == [characters(BEGINNING + end) for end in ends]
    lengths.clear()
    texts.encode(BEGINNING + "Task: Count.")
    assert lengths[0] < 60


def test_a_tokenizer_whose_texts_cannot_be_joined_encodes_whole_texts() -> None:
    def with_end(text: str) -> list[int]:
        return [*characters(text), -1]

    def with_space(text: str) -> list[int]:
        return characters(f" {text}")

    for whole, rest in ((with_end, characters), (characters, with_space)):
        texts = SharedBeginnings(whole, rest)
        prompts = [f"{BEGINNING}Task: Sort list {k}." for k in range(5)]
        assert [texts.encode(prompt) for prompt in prompts] == [whole(prompt) for prompt in prompts]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(alphabet=st.sampled_from("ab é\n.:'1<|>写  \u0301"), max_size=20), min_size=2, max_size=6))
def test_the_tokens_are_those_of_the_whole_text(tokenizer: Any, ends: list[str]) -> None:
    engine = TokenizedPrompts(tokenizer, 4096, {})
    prompts = [BEGINNING + end for end in ends]
    prompts += [prompt + " and on" for prompt in prompts]
    assert [engine.encode(prompt) for prompt in prompts] == [
        list(tokenizer(prompt, split_special_tokens=True).input_ids) for prompt in prompts
    ]


def test_counted_tokens_are_those_of_the_request_that_follows(tokenizer: Any) -> None:
    engine, calls = TokenizedPrompts(tokenizer, 4096, {}), list[str]()
    encode = engine.control_tokens.encode_text
    engine._texts = SharedBeginnings(
        lambda text: calls.append(text) or encode(text, add_special_tokens=True),  # type: ignore[func-returns-value]
        encode,
    )
    prompt = "Name a river."
    assert engine.count_tokens(prompt) == len(engine.encode(prompt))
    assert calls == ["Name a river."]
    engine.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    message = [{"role": "user", "content": "Hi"}]
    both = message, OpenTurn(message)
    counts = [engine.count_tokens(prompt) for prompt in both]
    assert [len(engine.encode(prompt)) for prompt in both] == counts
    engine.chat_template = "{% for m in messages %}{{ m.content }}!!{% endfor %}"
    engine.count_tokens(message)
    engine.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    assert len(engine.encode(message)) == counts[0], "another template, other tokens"


def test_the_store_of_counted_prompts_is_bounded(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenized_prompts, "_MOST_COUNTED", 10)
    engine = TokenizedPrompts(tokenizer, 4096, {})
    for k in range(30):
        engine.count_tokens(f"{k}")
    assert len(engine._counted) <= 10
