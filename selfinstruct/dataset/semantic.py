"""Instructions that mean the same in other words: cosine of their embeddings, by a model that the user names.

The model is a static embedding model of model2vec, or any encoder of transformers, such as the small ones of
sentence-transformers: there a text's vector is the mean of its last hidden states. semhash compares the vectors: all
pairs up to `_EXACT` texts, with an approximate index above.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from selfinstruct.config.later_stages import Export
from selfinstruct.console import AnswerProgress
from selfinstruct.engines.models import fetch_model, resolve_model
from selfinstruct.errors import ConfigError
from selfinstruct.records import Task

if TYPE_CHECKING:
    import numpy as np

_BATCH = 64
_EXACT = 50_000
"""Up to this many texts all pairs are compared: a minute on two cores, and the same result in every run."""


class Near(NamedTuple):
    """The earlier text that stays and says the same: its position, and the cosine, in [-1, 1]."""

    position: int
    cosine: float


def apart_in_meaning(
    tasks: Sequence[Task], earlier: Sequence[Task], options: Export
) -> tuple[list[Task], list[dict[str, Any]]]:
    """Return the tasks whose instructions say what no earlier one says, and the others as JSON values.

    Args:
        tasks: in order.
        earlier: others before them, of which all stay.
        options: the model and the greatest cosine; without a model all tasks stay.
    """
    if options.embedding_model is None or not tasks:
        return list(tasks), []
    both = [*earlier, *tasks]
    vectors = embed([task.instruction for task in both], options.embedding_model)
    gone = near_duplicates(vectors, options.max_cosine, len(earlier))
    alike = [
        {
            "id": both[k].id,
            "instruction": both[k].instruction,
            "nearest": {"id": both[near.position].id, "instruction": both[near.position].instruction},
            "cosine": near.cosine,
        }
        for k, near in gone.items()
    ]
    return [task for k, task in enumerate(both) if k >= len(earlier) and k not in gone], alike


def near_duplicates(vectors: np.ndarray[Any, Any], most: float, known: int = 0) -> dict[int, Near]:
    """Return the texts that are too similar to an earlier one that stays, by position.

    Args:
        vectors: (texts, dimensions).
        most: cosine from which on a text goes.
        known: number of texts at the beginning that stay in any case.

    Raises:
        ConfigError: semhash is not installed.
    """
    require_semhash()
    from semhash import SemHash

    encoder = _Embedded(vectors)
    backend = "basic" if len(vectors) <= _EXACT else "usearch"
    new = [{"position": position} for position in range(known, len(vectors))]
    gone: list[Any] = []
    if known and new:
        earlier = [{"position": position} for position in range(known)]
        index = SemHash.from_records(earlier, columns=["position"], model=encoder, ann_backend=backend)
        against = index.deduplicate(new, threshold=most)
        new, gone = against.selected, against.filtered
    if new:
        index = SemHash.from_records(new, columns=["position"], model=encoder, ann_backend=backend)
        gone = [*gone, *index.self_deduplicate(threshold=most).filtered]
    gone.sort(key=lambda one: one.record["position"])
    return {one.record["position"]: Near(one.duplicate_of["position"], round(float(one.score), 4)) for one in gone}


class _Embedded:
    """What semhash takes for its encoder: here texts are positions, whose vectors are known."""

    def __init__(self, vectors: np.ndarray[Any, Any]) -> None:
        self._vectors = vectors

    def encode(self, inputs: Sequence[str], **_: Any) -> np.ndarray[Any, Any]:
        return self._vectors[[int(position) for position in inputs]]


def require_semhash() -> None:
    """Raise `ConfigError` if semhash, which brings model2vec, is not installed."""
    if importlib.util.find_spec("semhash") is None:
        raise ConfigError(
            "export.embedding_model: semhash is not installed; install it: pip install '.[semantic]' in a clone"
        )


def embed(texts: Sequence[str], model: str) -> np.ndarray[Any, Any]:
    """Return the vectors of texts, (texts, dimensions), each of length 1 (0 for a text without known words).

    Args:
        texts: at least one.
        model: a static embedding model or an encoder: a path, or a name on the Hub.

    Raises:
        ConfigError: the model cannot be loaded, or semhash is not installed.
    """
    folder = Path(fetch_model(resolve_model(model)))
    try:
        return _static(texts, folder) if _is_static(folder) else _contextual(texts, folder)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise ConfigError(f"export.embedding_model: {model!r} cannot be loaded: {error}") from error


def _is_static(folder: Path) -> bool:
    """Return whether a folder holds a static embedding model, as model2vec and sentence-transformers save it."""
    modules = folder / "modules.json"
    config = folder / "config.json"
    return (modules.is_file() and "StaticEmbedding" in modules.read_text()) or (
        config.is_file() and json.loads(config.read_bytes()).get("model_type") == "model2vec"
    )


def _static(texts: Sequence[str], folder: Path) -> np.ndarray[Any, Any]:
    import numpy as np

    require_semhash()
    from model2vec import StaticModel

    vectors = np.asarray(StaticModel.from_pretrained(folder).encode(list(texts)), dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths == 0, 1, lengths)


def _contextual(texts: Sequence[str], folder: Path) -> np.ndarray[Any, Any]:
    import numpy as np
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    encoder: Any = AutoModel.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False).eval()
    encoder.to("cuda" if torch.cuda.is_available() else "cpu")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    longest = min(512, getattr(encoder.config, "max_position_embeddings", 512), tokenizer.model_max_length)
    order = sorted(range(len(texts)), key=lambda k: len(texts[k]))
    vectors: Any = [None] * len(texts)
    with AnswerProgress("export", len(texts), "embeddings") as progress, torch.inference_mode():
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            encoded = tokenizer(
                [texts[k] for k in batch], padding=True, truncation=True, max_length=longest, return_tensors="pt"
            ).to(encoder.device)
            hidden = encoder(**encoded).last_hidden_state
            there = encoded["attention_mask"].unsqueeze(-1)
            mean = (hidden * there).sum(1) / there.sum(1).clamp(min=1)
            unit = torch.nn.functional.normalize(mean, dim=-1).cpu().numpy()
            for k, vector in zip(batch, unit, strict=True):
                vectors[k] = vector
                progress.advance(0)
    return np.stack(vectors)
