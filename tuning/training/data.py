"""The exported dataset -> token ids and labels.

    {"id": "p000012-03/0", ..., "prompt": [{"role": "user", "content": "..."}],
     "completion": [{"role": "assistant", "content": "..."}]}

Rows are read as they were exported and tokenized here, once, in batches, with what they came from at hand; the
pre-flight looks at the same ids and labels that `SFTTrainer` is then given. They are the ids and labels that it would
have made itself from the same rows (a test compares them).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl
from selfinstruct.records import SPLITS

if TYPE_CHECKING:
    from datasets import Dataset

Message = dict[str, str]
IGNORE_INDEX = -100
"""The label of a token that is not learnt (torch's `ignore_index`)."""
_MAX_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Row:
    """A conversation and the answer to learn; `instruction` is empty where the dataset does not name it."""

    id: str
    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    instruction: str = ""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A row as the model sees it.

    Attributes:
        id: the row's.
        input_ids: prompt and completion, as long as they are: nothing is cut yet.
        labels: the same ids, `IGNORE_INDEX` where nothing is learnt.
        lost_prompt: tokens at the end of the prompt that this sequence does not hold, because the template or the
            tokenizer writes them otherwise before an answer: the model will see another prompt than it was tuned with.
    """

    id: str
    input_ids: list[int]
    labels: list[int]
    lost_prompt: int = 0


def load_splits(folder: Path) -> dict[str, list[Row]]:
    """The splits of an exported dataset; a missing validation file counts as an empty one.

    Raises:
        InputError: there is no `train.jsonl`, or rows are broken: all of them are named (the first 20).
    """
    if not (folder / "train.jsonl").exists():
        raise InputError(f"{folder / 'train.jsonl'} does not exist; export the dataset first: selfinstruct export RUN")
    problems: list[str] = []
    splits = {split: _read(folder / f"{split}.jsonl", problems) for split in SPLITS}
    if problems:
        more = f"\n... and {len(problems) - _MAX_PROBLEMS} more" if len(problems) > _MAX_PROBLEMS else ""
        raise InputError("\n".join(problems[:_MAX_PROBLEMS]) + more)
    return splits


def fingerprint(splits: dict[str, list[Row]]) -> str:
    """SHA-256 over what is learnt and validated on, in order."""
    digest = hashlib.sha256()
    for split in SPLITS:
        for row in splits[split]:
            digest.update(jsonl.dumps([split, *row.prompt, *row.completion]).encode())
    return digest.hexdigest()


def tokenize(
    rows: Sequence[Row], tokenizer: Any, *, completion_only: bool = True, assistant_template: str | None = None
) -> list[TokenRow]:
    """Render rows through the tokenizer's chat template and mark what is learnt.

    Args:
        rows: what to render.
        tokenizer: with its chat template.
        completion_only: learn the completion alone, else the prompt too.
        assistant_template: a template with generation markers; learn only what stands between them.
    """
    if not rows:
        return []
    prompts = [list(row.prompt) for row in rows]
    whole = [[*row.prompt, *row.completion] for row in rows]
    prompt_ids = _encode(tokenizer, tokenizer.apply_chat_template(prompts, tokenize=False, add_generation_prompt=True))
    masks: Sequence[Sequence[int] | None] = [None] * len(rows)
    if assistant_template is None:
        ids = _encode(tokenizer, tokenizer.apply_chat_template(whole, tokenize=False))
    else:
        rendered = tokenizer.apply_chat_template(
            whole, chat_template=assistant_template, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        ids, masks = rendered["input_ids"], rendered["assistant_masks"]
    tokenized = []
    for row, before, sequence, mask in zip(rows, prompt_ids, ids, masks, strict=True):
        start = _common_prefix(before, sequence)
        learnt = [place >= start or not completion_only for place in range(len(sequence))]
        if mask is not None:
            learnt = [a and bool(b) for a, b in zip(learnt, mask, strict=True)]
        labels = [token if learn else IGNORE_INDEX for token, learn in zip(sequence, learnt, strict=True)]
        tokenized.append(TokenRow(row.id, sequence, labels, lost_prompt=len(before) - start))
    return tokenized


def to_dataset(rows: Sequence[TokenRow]) -> Dataset:
    """What `SFTTrainer` takes as already tokenized."""
    from datasets import Dataset

    return Dataset.from_dict({"input_ids": [row.input_ids for row in rows], "labels": [row.labels for row in rows]})


def _encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    # The template has written the special tokens.
    return tokenizer(texts, add_special_tokens=False)["input_ids"]


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    for place, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return place
    return min(len(a), len(b))


def _read(path: Path, problems: list[str]) -> list[Row]:
    rows = []
    for number, row in jsonl.read(path) if path.exists() else ():
        found = [name for name in ("prompt", "completion") if not _is_conversation(row.get(name))]
        if found:
            problems.append(
                f"{path}, line {number}: {' and '.join(f'`{name}`' for name in found)} must be a list of messages "
                f'[{{"role": "user", "content": "..."}}], got {str(row.get(found[0]))[:80]!r}'
            )
        else:
            instruction = row.get("instruction")
            rows.append(
                Row(
                    str(row.get("id", number)),
                    tuple(row["prompt"]),
                    tuple(row["completion"]),
                    instruction if isinstance(instruction, str) else "",
                )
            )
    return rows


def _is_conversation(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str) for m in value
        )
    )
