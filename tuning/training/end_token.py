"""Detect whether a model was ever trained on the token that ends its answers, by its row in the output layer.

Tokens that never occurred in training keep their initial rows, or their rows change together. So these rows are nearly
equal, and a change in an earlier layer raises the scores of all these tokens alike. LoRA, which trains the earlier
layers, therefore cannot teach the model to end with one of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from selfinstruct.engines import hub
from selfinstruct.engines.control_tokens import special_ids
from selfinstruct.errors import ConfigError

_OUTPUT = ("lm_head.weight", "embed_out.weight", "output.weight")
_TIED = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight", "tok_embeddings.weight")
_ALIKE = 0.02
"""Relative distance of two rows below which training has not separated them; in SmolLM2 it is 0.003, else 0.12."""
_ABSENT = 0.01
"""Share of an ordinary row's norm below which a row is empty, as in Llama 3."""
_LOOKED_AT = 64
"""Rows beyond the tokenizer's vocabulary, and rows of ordinary tokens, that are looked at."""


def is_unlearnt(source: str, revision: str | None, tokenizer: Any) -> bool:
    """Return whether the end token's row looks like that of a token that never occurred in training.

    Args:
        source: the model: a path, or a name on the Hub.
        revision: on the Hub.
        tokenizer: its end token is looked at.

    Returns:
        False also where the weights cannot be read row by row: quantized ones, or in other files than safetensors.
    """
    import torch

    end, size = int(tokenizer.eos_token_id), len(tokenizer)
    others = sorted(special_ids(tokenizer) - {end})
    ordinary = range(size // 2, size // 2 + _LOOKED_AT)
    rows = _rows(source, revision, end, [*others, *range(size, size + _LOOKED_AT)], ordinary)
    if rows is None:
        return False
    row, unused, usual = rows
    norm = torch.linalg.vector_norm(row)
    if norm <= _ABSENT * torch.linalg.vector_norm(usual, dim=1).median():
        return True
    return bool(len(unused) and torch.linalg.vector_norm(unused - row, dim=1).min() <= _ALIKE * norm)


def _rows(source: str, revision: str | None, end: int, others: Iterable[int], ordinary: Iterable[int]) -> Any:
    """Return rows of the output layer: the end token's, and as matrices those of the others; None if it has none."""
    from safetensors import SafetensorError, safe_open

    try:
        folder = Path(hub.whole_model(source, revision))
        files = [folder / name for name in hub.weights_here(folder) if name.endswith(".safetensors")]
        names = {name: file for file in files for name in _names(file)}
        name = next((name for ending in (_OUTPUT, _TIED) for name in names if name.endswith(ending)), None)
        if name is None:
            return None
        with safe_open(names[name], "pt") as file:
            layer = file.get_slice(name)
            height, *width = layer.get_shape()
            if len(width) != 1 or layer.get_dtype() not in ("BF16", "F16", "F32"):
                return None

            def rows(numbers: Iterable[int]) -> Any:
                import torch

                taken = [layer[n : n + 1].float() for n in numbers if n < height]
                return torch.cat(taken) if taken else torch.empty(0, *width)

            return rows([end])[0], rows(others), rows(ordinary)
    except (
        OSError,
        ValueError,
        IndexError,
        SafetensorError,
        ConfigError,
    ):  # What is wrong with them is said elsewhere.
        return None


def _names(file: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        return list(opened.keys())
