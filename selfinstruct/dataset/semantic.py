"""Instructions that mean the same in other words: cosine of their embeddings, by a model that the user names.

Any encoder of transformers will do, such as the small ones of sentence-transformers: a text's vector is the mean of its
last hidden states. All pairs are compared, nothing is approximated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from selfinstruct.config.later_stages import Export
from selfinstruct.console import AnswerProgress
from selfinstruct.engines.models import fetch_model, resolve_model
from selfinstruct.errors import ConfigError
from selfinstruct.records import Task

if TYPE_CHECKING:
    import numpy as np

_BATCH = 64
_BLOCK = 1024


class Near(NamedTuple):
    """The most similar of the earlier texts that stay: its position, and the cosine, in [-1, 1]."""

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
        vectors: (texts, dimensions), each of length 1.
        most: cosine above which a text goes.
        known: number of texts at the beginning that stay in any case.
    """
    import numpy as np

    gone: dict[int, Near] = {}
    kept = list(range(known))
    for start in range(known, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK]
        before, own = block @ vectors[kept].T, block @ block.T
        earlier, inside = list(kept), list[int]()
        for k in range(len(block)):
            cosines = np.concatenate([before[k], own[k, inside]])
            best = int(cosines.argmax()) if len(cosines) else -1
            if best >= 0 and cosines[best] > most:
                near = earlier[best] if best < len(earlier) else start + inside[best - len(earlier)]
                gone[start + k] = Near(near, round(float(cosines[best]), 4))
            else:
                inside.append(k)
        kept += [start + k for k in inside]
    return gone


def embed(texts: Sequence[str], model: str) -> np.ndarray[Any, Any]:
    """Return the vectors of texts, (texts, dimensions), each of length 1.

    Args:
        texts: at least one.
        model: an encoder: a path, or a name on the Hub.

    Raises:
        ConfigError: the model cannot be loaded.
    """
    import numpy as np
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = fetch_model(resolve_model(model))
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        encoder: Any = AutoModel.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False).eval()
    except (OSError, ValueError) as error:
        raise ConfigError(f"export.embedding_model: {model!r} cannot be loaded: {error}") from error
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
