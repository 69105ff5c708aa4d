"""OpenAssistant (OASST1 and OASST2): conversation trees, written and ranked by people.

    trees               {"message_tree_id", "tree_state", "prompt": {message with "replies": [...]}}
    nested messages     {"message_id", "role": "prompter", "text", "replies": [{...}], ...}
    flat messages       the same without `replies`, with "parent_id"; the order of lines does not matter
    the Hub's Parquet   flat messages whose labels are {"name": [...], "value": [...], "count": [...]}
    threads             {"thread": [{message}, {message}, ...]}, one path of a tree

A row is one path from the root to a reply: the best-ranked one, the best `paths`, or all of them. A path ends with an
assistant's message; prompter leaves are trimmed. Rank 0 is the best; replies without a rank come last, in their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from msgspec import Struct, field

from selfinstruct.formats.families.dataset_row import ASSISTANT, USER, DatasetRow, Dropped, Read, Turn, checked, convert

_ROLES = {"prompter": USER, "assistant": ASSISTANT}
_UNRANKED = 1 << 30
_DEEPEST = 200
"""Deepest message that is followed: no real tree is nearly as deep."""


class _Message(Struct):
    text: str
    role: str
    message_id: str = ""
    parent_id: str | None = None
    message_tree_id: str | None = None
    lang: str | None = None
    rank: int | None = None
    deleted: bool | None = False
    synthetic: bool | None = False
    review_result: bool | None = None
    labels: dict[str, Any] | None = None
    replies: list[_Message] | None = field(default=None)


@dataclass(frozen=True, slots=True)
class TreeOptions:
    """Which paths of a tree are read.

    Attributes:
        paths: number of paths of each tree, the best first; 0: all.
        language: ISO 639-1 code of the messages; empty: any.
        synthetic: whether messages written by a model are read.
        reviewed: whether only messages that passed the review are read.
        labels: lowest value of a label, by its name: {"quality": 0.5}. A message without the label is left out.
        worst: highest value of a label, by its name: {"toxicity": 0.3}. A message without the label is kept.
    """

    paths: int = 1
    language: str = ""
    synthetic: bool = False
    reviewed: bool = False
    labels: tuple[tuple[str, float], ...] = ()
    worst: tuple[tuple[str, float], ...] = ()

    def objection(self, message: _Message) -> str:
        """Return why a message is left out; empty if it is read."""
        if message.deleted:
            return "deleted message"
        if message.synthetic and not self.synthetic:
            return "message written by a model"
        if self.language and (message.lang or "") != self.language:
            return f"message in another language than {self.language}"
        if self.reviewed and message.review_result is not True:
            return "message that did not pass the review"
        values = _labels(message)
        for name, least in self.labels:
            if values.get(name, -1.0) < least:
                return f"message whose {name} is below {least:g}"
        for name, most in self.worst:
            if values.get(name, 0.0) > most:
                return f"message whose {name} is above {most:g}"
        return ""


def _labels(message: _Message) -> dict[str, float]:
    labels = message.labels or {}
    names, values = labels.get("name"), labels.get("value")
    if isinstance(names, list) and isinstance(values, list):  # Columns, as in the Hub's Parquet.
        pairs = list(zip(names, values, strict=False))
    else:
        pairs = [(name, value.get("value") if isinstance(value, dict) else value) for name, value in labels.items()]
    return {str(name): float(value) for name, value in pairs if isinstance(value, int | float) and abs(value) <= 1e9}


def recognises(record: dict[str, Any]) -> bool:
    """Return whether a record has one of these forms."""
    if {"message_id", "text", "role"} <= record.keys():
        return True
    thread = record.get("thread")
    if isinstance(thread, list) and thread:
        return isinstance(thread[0], dict) and {"text", "role"} <= thread[0].keys()
    return "message_tree_id" in record and isinstance(record.get("prompt"), dict)


def is_flat(record: dict[str, Any]) -> bool:
    """Return whether a record is a message of a file in which each message is a record of its own."""
    return "message_id" in record and not record.get("replies") and ("parent_id" in record)


def assemble(records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any] | Dropped]:
    """Yield the trees of flat messages, in the order of their roots, and what is in no tree.

    Args:
        records: all messages of a file, in any order. A message whose parent is missing is a root of its own.
    """
    messages: dict[str, dict[str, Any]] = {}
    for record in records:
        key = str(record["message_id"])
        if key in messages:
            yield Dropped("message with the id of another one")
        else:
            messages[key] = dict(record)
    children: dict[str, list[str]] = {}
    roots = []
    for key, message in messages.items():
        parent = message.get("parent_id")
        if parent is None or str(parent) not in messages:
            roots.append(key)
        else:
            children.setdefault(str(parent), []).append(key)
    pending, reached = list(roots), 0
    while pending:
        key = pending.pop()
        reached += 1
        pending += children.get(key, ())
        messages[key]["replies"] = [messages[child] for child in children.get(key, ())]
    for _ in range(len(messages) - reached):
        yield Dropped("message that has no root: it is among its own ancestors, or below one that is")
    for key in roots:
        yield messages[key]


def read(record: dict[str, Any], options: TreeOptions = TreeOptions()) -> Read:
    """Yield the rows of a tree, a nested message or a thread.

    Args:
        record: one of these.
        options: which paths are read.

    Raises:
        ValueError: a field is missing or has another type.
    """
    if "thread" in record:
        yield from _of_thread(convert(record["thread"], list[_Message]), options)
        return
    root = convert(record if "message_id" in record else record.get("prompt"), _Message)
    tree = str(record.get("message_tree_id") or root.message_id)
    has_path = False
    refused: list[str] = []
    paths = _paths(root, options, refused)
    for number, path in enumerate(islice(paths, options.paths or None)):
        has_path = True
        yield _row(path, tree, number)
    if not has_path:
        yield Dropped(f"tree without a path to read: a {refused[0]}" if refused else "no answer")


def _of_thread(messages: list[_Message], options: TreeOptions) -> Read:
    objections = [text for text in map(options.objection, messages) if text]
    while messages and _ROLES.get(messages[-1].role) == USER:
        messages.pop()
    if objections or not messages:
        yield Dropped(f"thread with a {objections[0]}" if objections else "no answer")
    else:
        yield _row(messages, messages[0].message_id, 0)


def _row(path: list[_Message], tree: str, number: int) -> DatasetRow | Dropped:
    turns = tuple(Turn(_ROLES.get(message.role, message.role), message.text.strip()) for message in path)
    return checked(DatasetRow(turns, id=f"{tree}-{number}", group=tree, language=path[0].lang or ""))


def _paths(root: _Message, options: TreeOptions, refused: list[str]) -> Iterator[list[_Message]]:
    """Yield the paths that end with an assistant's message, the best first.

    Args:
        root: of the tree.
        options: which messages are read.
        refused: gets why messages are left out.
    """
    pending = [[root]]
    while pending:
        path = pending.pop()
        if objection := options.objection(path[-1]):
            refused.append(objection)
            continue
        replies = sorted(path[-1].replies or (), key=lambda reply: _UNRANKED if reply.rank is None else reply.rank)
        readable = [reply for reply in replies if not options.objection(reply) and _goes_on(reply, options)]
        refused += [text for text in map(options.objection, replies) if text]
        if readable and len(path) < _DEEPEST:
            pending += [[*path, reply] for reply in reversed(readable)]
        elif _ROLES.get(path[-1].role) == ASSISTANT:
            yield path


def _goes_on(reply: _Message, options: TreeOptions) -> bool:
    """Return whether a reply ends a path or leads to one: a prompter's message only with an answer to it."""
    if _ROLES.get(reply.role) != USER:
        return True
    return any(not options.objection(answer) for answer in reply.replies or ())
