"""Whether an end token was ever learnt shows in its row of the output layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import tiny_model
from tests.heavy import Heavy
from tuning.training.end_token import is_unlearnt

safetensors, torch = Heavy("safetensors.torch"), Heavy("torch")

END, UNUSED = 1, 3


def model(folder: Path, layer: Any, name: str = "lm_head.weight", **others: Any) -> str:
    folder.mkdir(exist_ok=True)
    safetensors.save_file({name: layer.contiguous(), **others}, folder / "model.safetensors")
    return str(folder)


def tokenizer():
    return tiny_model.tokenizer(("<s>", "</s>", "<pad>", "<unused>"))


def rows(size: int = 400) -> Any:
    return torch.randn(size, 16, generator=torch.Generator().manual_seed(0))


def alike(layer: Any, row: int, other: int) -> Any:
    layer[row] = layer[other] * 1.002
    return layer


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_row_like_that_of_an_unused_token_is_unlearnt(tmp_path, name):
    dtype = getattr(torch, name)
    assert is_unlearnt(model(tmp_path, alike(rows(), END, UNUSED).to(dtype)), None, tokenizer())
    assert is_unlearnt(model(tmp_path, alike(rows(), END, 350).to(dtype)), None, tokenizer()), "beyond the vocabulary"
    empty = rows()
    empty[END] = 0
    assert is_unlearnt(model(tmp_path, empty.to(dtype)), None, tokenizer())
    assert not is_unlearnt(model(tmp_path, rows().to(dtype)), None, tokenizer())
    assert not is_unlearnt(model(tmp_path, alike(rows(), 0, UNUSED).to(dtype)), None, tokenizer()), "another token's"


def test_the_output_layer_counts_where_it_is_not_tied(tmp_path):
    twins = alike(rows(), END, UNUSED)
    name = "model.embed_tokens.weight"
    assert is_unlearnt(model(tmp_path, twins, name), None, tokenizer())
    assert not is_unlearnt(model(tmp_path, rows(), **{name: twins}), None, tokenizer())


def test_weights_that_cannot_be_read_by_rows_tell_nothing(tmp_path):
    twins = alike(rows(), END, UNUSED)
    assert not is_unlearnt(model(tmp_path, (twins * 10).to(torch.int8)), None, tokenizer())
    assert not is_unlearnt(model(tmp_path, twins, "another.weight"), None, tokenizer())
    (tmp_path / "model.safetensors").write_bytes(b"no safetensors")
    assert not is_unlearnt(str(tmp_path), None, tokenizer())
    (tmp_path / "model.safetensors").unlink()
    assert not is_unlearnt(str(tmp_path), None, tokenizer())
