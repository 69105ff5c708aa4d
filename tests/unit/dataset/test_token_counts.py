"""Tokens by a model's own tokenizer file."""

from __future__ import annotations

from pathlib import Path

from selfinstruct.dataset.token_counts import token_counter
from selfinstruct.packaged import model_path


def test_tokens_are_those_of_the_models_file() -> None:
    count = token_counter("demo")
    assert count is not None and 2 <= count(["Name a river.", ""]) <= 13
    assert count(["a"] * 3) == 3 * count(["a"])
    assert count(["half a \ud83d pair"]) > 0, "a lone surrogate ends no export"
    again = token_counter(str(model_path()))
    assert again is not None and again(["Name a river."]) == count(["Name a river."])


def test_without_a_tokenizer_nothing_is_counted(tmp_path: Path) -> None:
    assert token_counter(str(tmp_path)) is None
    (tmp_path / "tokenizer.json").write_text("{")
    assert token_counter(str(tmp_path)) is None
    assert token_counter("nobody/nothing-of-this-name") is None and token_counter("no/such/folder") is None
