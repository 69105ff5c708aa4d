"""ShareGPT conversations, as FastChat, LLaMA-Factory and axolotl read them.

    {"id": "7", "system": "...", "conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}

A better and a worse answer may be beside them: "chosen": {"from": "gpt", "value": "..."}, "rejected": likewise.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from selfinstruct.formats.families.dataset_row import ASSISTANT, SYSTEM, USER, DatasetRow, Read, Turn, checked, convert

_ROLES = {
    "human": USER,
    "user": USER,
    "gpt": ASSISTANT,
    "chatgpt": ASSISTANT,
    "assistant": ASSISTANT,
    "bot": ASSISTANT,
    "bing": ASSISTANT,
    "bard": ASSISTANT,
    "model": ASSISTANT,
    "system": SYSTEM,
}
"""Speakers of published files, and the roles that they have."""
_SPEAKERS = {USER: "human", ASSISTANT: "gpt", SYSTEM: "system"}


class _Turn(Struct):
    speaker: str | None = field(default=None, name="from")
    value: str | None = None
    role: str | None = None
    content: str | None = None

    def turn(self) -> Turn:
        """Return the turn; its role stays as it is where it is not a known speaker."""
        who, text = self.speaker or self.role, self.value if self.value is not None else self.content
        if who is None or text is None:
            raise ValueError("a turn of `conversations` needs `from` and `value`")
        return Turn(_ROLES.get(who.lower(), who), text.strip())


class _Row(Struct):
    conversations: list[_Turn]
    id: str | int | None = None
    system: str | None = None
    chosen: _Turn | None = None
    rejected: _Turn | None = None


def recognises(record: dict[str, Any]) -> bool:
    """Return whether a record has this form."""
    return isinstance(record.get("conversations"), list)


def read(record: dict[str, Any]) -> Read:
    """Yield the row of a conversation. Turns after the last assistant's are trimmed.

    Raises:
        ValueError: a field is missing or has another type.
    """
    row = convert(record, _Row)
    turns = [turn.turn() for turn in row.conversations]
    if row.chosen is not None:
        turns.append(row.chosen.turn())
    while turns and turns[-1].role != ASSISTANT:
        turns.pop()
    if row.system and not (turns and turns[0].role == SYSTEM):
        turns.insert(0, Turn(SYSTEM, row.system.strip()))
    worse = row.rejected.turn().content if row.rejected else ""
    yield checked(DatasetRow(tuple(turns), id="" if row.id is None else str(row.id), rejected=worse))


def write(row: DatasetRow) -> tuple[dict[str, Any], list[str]]:
    """Return the record of a row, and what of the row it cannot hold."""
    turns = row.turns[row.turns[0].role == SYSTEM :]
    said = [{"from": _SPEAKERS.get(turn.role, turn.role), "value": turn.content} for turn in turns]
    record: dict[str, Any] = {"id": row.id} if row.id else {}
    if row.system:
        record["system"] = row.system
    if row.rejected:
        record |= {
            "conversations": said[:-1],
            "chosen": said[-1],
            "rejected": {"from": _SPEAKERS[ASSISTANT], "value": row.rejected},
        }
    else:
        record["conversations"] = said
    lost = ["thinking"] if any(turn.thinking for turn in row.turns) else []
    if row.references:
        lost.append("further references")
    if row.instruction and row.input:
        lost.append("where the instruction ends and the input begins")
    if not row.alternates:
        lost.append("turns that do not alternate, which tuners skip")
    return record, lost
