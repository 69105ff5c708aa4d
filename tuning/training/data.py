"""The exported dataset -> token ids and labels.

Rows are tokenized here once, in batches, so that the checks see the ids and labels that `SFTTrainer` trains on. They
are the ids and labels that `SFTTrainer` itself would make of the same rows (a test compares them).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfinstruct.engines import chat_templates
from selfinstruct.engines.control_tokens import ControlTokens
from selfinstruct.errors import ConfigError, InputError
from selfinstruct.formats import conversations, jsonl
from selfinstruct.formats.conversations import Conversation
from selfinstruct.records import SPLITS, TRAIN, Message
from selfinstruct.run.folders import DatasetDirectory

if TYPE_CHECKING:
    from datasets import Dataset

IGNORE_INDEX = -100
"""The label of a token that the loss ignores (torch's `ignore_index`)."""
_MAX_PROBLEMS = 20

Rows = Mapping[str, Sequence[Conversation]]
"""Rows by split."""


@dataclass(frozen=True, slots=True)
class TokenizedRow:
    """A row as token ids.

    Attributes:
        id: the row's.
        input_ids: prompt and completion in full length: nothing is cut yet.
        labels: the same ids, with `IGNORE_INDEX` where the loss ignores the token.
        lost_prompt: number of tokens at the end of the prompt that are missing from `input_ids`, because the template
            or the tokenizer writes them differently before an answer. More than 0 means that the model is asked with
            another prompt than it was tuned with.
        lost_answer: the template leaves out or changes a part of the answer that is more than white space.
    """

    id: str
    input_ids: list[int]
    labels: list[int]
    lost_prompt: int = 0
    lost_answer: bool = False

    @property
    def num_trained(self) -> int:
        """Return the number of tokens that the loss is computed on."""
        return sum(label != IGNORE_INDEX for label in self.labels)


def load_splits(folder: Path) -> dict[str, list[Conversation]]:
    """Read the splits of an exported dataset; a missing validation file counts as an empty one.

    Raises:
        InputError: there is no `train.jsonl`, or rows are invalid; the message names each of them (the first 20).
    """
    dataset = DatasetDirectory(folder)
    train = dataset.split(TRAIN)
    if not train.exists():
        raise InputError(f"{train} does not exist; export the dataset first: selfinstruct export RUN")
    problems: list[str] = []
    splits: dict[str, list[Conversation]] = {}
    for split in SPLITS:
        path = dataset.split(split)
        splits[split], invalid = conversations.read(path) if path.exists() else ([], [])
        problems += invalid
    if problems:
        more = f"\n... and {len(problems) - _MAX_PROBLEMS} more" if len(problems) > _MAX_PROBLEMS else ""
        raise InputError("\n".join(problems[:_MAX_PROBLEMS]) + more)
    return splits


def fingerprint(rows: Rows) -> str:
    """Return the SHA-256 over the conversations of all splits, in order."""
    digest = hashlib.sha256()
    for split in SPLITS:
        for row in rows[split]:
            digest.update(jsonl.dumps([split, *row.prompt, *row.completion]).encode())
    return digest.hexdigest()


def tokenize(
    rows: Sequence[Conversation],
    tokenizer: Any,
    *,
    completion_only: bool = True,
    assistant_template: str | None = None,
    allow_control_tokens: bool = False,
) -> list[TokenizedRow]:
    """Render rows through the tokenizer's chat template and choose the trained tokens.

    A control token in a content becomes plain tokens of the same text.

    Args:
        rows: rows of one split.
        tokenizer: with its chat template.
        completion_only: train on the completion alone, else on the prompt too.
        assistant_template: a template with `{% generation %}` markers; train only on the text between them.
        allow_control_tokens: a control token in a content stays one.
    """
    if not rows:
        return []
    control_tokens = ControlTokens(tokenizer, allowed=allow_control_tokens)
    prompts = [control_tokens.broken(row.prompt) for row in rows]
    conversations = [
        [*prompt, *control_tokens.broken(row.completion)] for row, prompt in zip(rows, prompts, strict=True)
    ]
    asked = [_rendered(*pair, tokenizer, None) for pair in zip(rows, prompts, strict=True)]
    whole = [_rendered(*pair, tokenizer, assistant_template) for pair in zip(rows, conversations, strict=True)]
    prompt_ids, ids = control_tokens.encode_all(asked), control_tokens.encode_all(whole)
    masks: Sequence[Sequence[int] | None] = [None] * len(rows)
    if assistant_template is not None:
        marked = _assistant_masks(rows, tokenizer, assistant_template)
        masks = [control_tokens.spread(*pair) for pair in zip(whole, marked, strict=True)]
    tokenized = []
    for row, prompt, sequence, mask, conversation, text in zip(
        rows, prompt_ids, ids, masks, conversations, whole, strict=True
    ):
        start = _common_prefix(prompt, sequence)
        trained = [position >= start or not completion_only for position in range(len(sequence))]
        if mask is not None:
            trained = [a and bool(b) for a, b in zip(trained, mask, strict=True)]
        labels = [token if counts else IGNORE_INDEX for token, counts in zip(sequence, trained, strict=True)]
        lost = _loses_answer(conversation[len(row.prompt) :], text)
        tokenized.append(TokenizedRow(row.id, sequence, labels, lost_prompt=len(prompt) - start, lost_answer=lost))
    return tokenized


def to_dataset(rows: Sequence[TokenizedRow]) -> Dataset:
    """Return rows in the form that `SFTTrainer` takes as already tokenized."""
    from datasets import Dataset

    return Dataset.from_dict({"input_ids": [row.input_ids for row in rows], "labels": [row.labels for row in rows]})


def _rendered(row: Conversation, messages: list[Message], tokenizer: Any, template: str | None) -> str:
    """Return messages as the template writes them. Templates read thinking under one of two names; both are given."""
    try:
        asks = len(messages) == len(row.prompt)
        named = [m | {"reasoning_content": m["thinking"]} if m.get("thinking") else m for m in messages]
        return chat_templates.apply(tokenizer, named, template, add_generation_prompt=asks)
    except ConfigError as error:
        raise ConfigError(f"row {row.id}: {error}") from error


def _loses_answer(completion: Sequence[Message], text: str) -> bool:
    """Return whether a rendered text lacks an answer of the completion, or what was thought before it.

    White space may differ: it is trimmed.
    """
    written = "".join(text.split())
    said = (part for m in completion if m["role"] == "assistant" for part in (m["content"], m.get("thinking", "")))
    return any("".join(part.split()) not in written for part in said)


def _assistant_masks(rows: Sequence[Conversation], tokenizer: Any, template: str) -> list[list[int]]:
    """Return which tokens of each row are between the template's markers."""
    conversations = [[*row.prompt, *row.completion] for row in rows]
    options = {"tokenize": True, "return_dict": True, "return_assistant_tokens_mask": True}
    return tokenizer.apply_chat_template(conversations, chat_template=template, **options)["assistant_masks"]


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    for position, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return position
    return min(len(a), len(b))
