"""Chat messages as OpenAI's API and TRL have them.

    messages            {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
    prompt-completion   {"prompt": [messages], "completion": [messages]}, or both as plain text
    preference          {"prompt": ..., "chosen": ..., "rejected": ...}, as messages or as plain text

An assistant's message may have `thinking` (also read from `reasoning_content`). A row may have `instruction`, `input`,
`id`, `category` and `is_classification` beside them, as exported datasets do.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from selfinstruct.formats.families.dataset_row import ASSISTANT, USER, DatasetRow, Read, Turn, checked, convert
from selfinstruct.records import user_message

END_OF_TEXT = "<|endoftext|>"
"""Ends the completions of `gpt3_finetuning_data`."""


class _Part(Struct):
    type: str = "text"
    text: str = ""


class _Message(Struct):
    role: str
    content: str | list[_Part] | None = None
    thinking: str | None = None
    reasoning_content: str | None = None


class _Fields(Struct):
    """Fields beside the messages."""

    id: str | int | None = None
    instruction: str | None = None
    input: str | None = None
    category: str | None = None
    is_classification: bool | None = None
    references: list[str] = []


class _Messages(_Fields):
    messages: list[_Message] = []


class _PromptCompletion(_Fields):
    prompt: str | list[_Message] = ""
    completion: str | list[_Message] = ""


class _Preference(_Fields):
    chosen: str | list[_Message] = ""
    rejected: str | list[_Message] = ""
    prompt: str | list[_Message] = ""


def is_messages(record: dict[str, Any]) -> bool:
    """Return whether a record holds a list of messages."""
    messages = record.get("messages")
    return isinstance(messages, list) and bool(messages) and isinstance(messages[0], dict) and "role" in messages[0]


def is_prompt_completion(record: dict[str, Any]) -> bool:
    """Return whether a record holds a prompt and its completion, and not the same once more as messages."""
    return {"prompt", "completion"} <= record.keys() and "messages" not in record


def is_preference(record: dict[str, Any]) -> bool:
    """Return whether a record holds a better and a worse answer."""
    return {"chosen", "rejected"} <= record.keys() and not record.keys() & {"instruction", "conversations"}


def _turns(messages: str | list[_Message], role: str) -> list[Turn]:
    if isinstance(messages, str):
        return [Turn(role, messages.removesuffix(END_OF_TEXT).strip())] if messages.strip() else []
    turns = []
    for number, message in enumerate(messages):
        content = message.content
        if isinstance(content, list):
            if any(part.type != "text" for part in content):
                raise ValueError(f"message {number}: has content that is no text")
            content = "".join(part.text for part in content)
        thinking = message.thinking or message.reasoning_content or ""
        turns.append(Turn(message.role, content or "", thinking))
    return turns


def _fields(row: _Fields, turns: list[Turn]) -> dict[str, Any]:
    """Return the fields beside the turns. Instruction and input count if they are the question."""
    questions = [turn.content for turn in turns if turn.role == USER]
    apart = row.instruction and questions and user_message(row.instruction, row.input or "") == questions[-1]
    return {
        "id": "" if row.id is None else str(row.id),
        "instruction": row.instruction if apart else "",
        "input": (row.input or "") if apart else "",
        "category": row.category or "",
        "is_classification": row.is_classification,
        "references": tuple(row.references),
    }


def read_messages(record: dict[str, Any]) -> Read:
    """Yield the row of a list of messages. Turns after the last assistant's are trimmed.

    Raises:
        ValueError: a field is missing or has another type.
    """
    row = convert(record, _Messages)
    turns = _turns(row.messages, USER)
    while turns and turns[-1].role != ASSISTANT:
        turns.pop()
    yield checked(DatasetRow(tuple(turns), **_fields(row, turns)))


def read_prompt_completion(record: dict[str, Any]) -> Read:
    """Yield the row of a prompt and its completion.

    Raises:
        ValueError: a field is missing or has another type.
    """
    row = convert(record, _PromptCompletion)
    turns = _turns(row.prompt, USER) + _turns(row.completion, ASSISTANT)
    yield checked(DatasetRow(tuple(turns), **_fields(row, turns)))


def read_preference(record: dict[str, Any]) -> Read:
    """Yield the row of a preference. Without `prompt`, the messages that both answers begin with are the prompt.

    Raises:
        ValueError: a field is missing or has another type.
    """
    row = convert(record, _Preference)
    before = _turns(row.prompt, USER)
    chosen, rejected = _turns(row.chosen, ASSISTANT), _turns(row.rejected, ASSISTANT)
    worse = rejected[-1].content if rejected else ""
    turns = before + chosen
    yield checked(DatasetRow(tuple(turns), rejected=worse, **_fields(row, turns)))


def message(turn: Turn) -> dict[str, str]:
    """Return a turn as a message."""
    return {"role": turn.role, "content": turn.content} | ({"thinking": turn.thinking} if turn.thinking else {})


def _beside(row: DatasetRow) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if row.id:
        fields["id"] = row.id
    if row.instruction:
        fields |= {"instruction": row.instruction, "input": row.input}
    if row.category:
        fields["category"] = row.category
    if row.is_classification is not None:
        fields["is_classification"] = row.is_classification
    if row.references:
        fields["references"] = list(row.references)
    return fields


def _lost(row: DatasetRow) -> list[str]:
    return ["rejected answer"] if row.rejected else []


def write_messages(row: DatasetRow) -> tuple[dict[str, Any], list[str]]:
    """Return the record of a row, and what of the row it cannot hold."""
    return _beside(row) | {"messages": [message(turn) for turn in row.turns]}, _lost(row)


def write_prompt_completion(row: DatasetRow) -> tuple[dict[str, Any], list[str]]:
    """Return the record of a row, and what of the row it cannot hold."""
    prompt = [message(turn) for turn in row.turns[:-1]]
    return _beside(row) | {"prompt": prompt, "completion": [message(row.answer)]}, _lost(row)


def write_preference(row: DatasetRow) -> tuple[dict[str, Any], list[str]]:
    """Return the record of a row, and what of the row it cannot hold.

    A row without a rejected answer cannot be written: its record is empty.
    """
    if not row.rejected:
        return {}, ["the row: it has no rejected answer"]
    prompt = [message(turn) for turn in row.turns[:-1]]
    worse = {"role": ASSISTANT, "content": row.rejected}
    return _beside(row) | {"prompt": prompt, "chosen": [message(row.answer)], "rejected": [worse]}, []
