"""Records with any value anywhere: each is read, dropped or broken, and none ends the reading."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from selfinstruct.dataset.mixture import NOTHING, MixOptions, Source, mix
from selfinstruct.errors import InputError
from selfinstruct.formats.data_files import COLUMNS, Record
from selfinstruct.formats.families import FAMILIES, Broken, DatasetRow, Dropped, family_named, recognise, rows

ASKED = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho", "thinking": "t"}]
MESSAGE = {"message_id": "a", "text": "q", "role": "prompter", "parent_id": None, "message_tree_id": "a", "rank": 0}
REPLY = {"message_id": "b", "text": "x", "role": "assistant", "replies": []}
RECORDS: list[tuple[str, dict[str, Any]]] = [
    ("alpaca", {"instruction": "a", "input": "b", "output": "c", "history": [["a", "b"]], "system": "s", "id": 1}),
    ("self-instruct", {"id": "s", "instruction": "a", "instances": [{"input": "", "output": "b"}]}),
    ("self-instruct", {"instruction": "x", "raw_instances": "Input: a\nOutput: b", "is_classification": False}),
    ("self-instruct", {"instruction": "a", "input": "", "response": "b", "target": "c"}),
    ("super-natural-instructions", {"Definition": ["D"], "Categories": ["C"],
                                    "Instances": [{"id": "1", "input": "a", "output": ["b", "c"]}]}),
    ("openassistant", {"thread": [MESSAGE, REPLY]}),
    ("openassistant", MESSAGE | {"labels": {"name": ["spam"], "value": [0.1]}, "replies": [REPLY]}),
    ("openassistant", MESSAGE | {"labels": {"quality": {"value": 0.5}}}),
    ("openassistant", {"message_tree_id": "a", "prompt": MESSAGE | {"replies": [REPLY]}}),
    ("flan", {"inputs": "a", "targets": "b", "_task_name": "t", "_task_source": "s"}),
    ("flan", {COLUMNS: ["q", "a", "because"]}),
    ("messages", {"messages": ASKED}),
    ("messages", {"messages": [{"role": "system", "content": "s"}, *ASKED, *ASKED]}),
    ("prompt-completion", {"prompt": ASKED[:1], "completion": ASKED[1:]}),
    ("preference", {"prompt": ASKED[:1], "chosen": ASKED[1:], "rejected": ASKED[1:]}),
    ("sharegpt", {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "s"}),
]  # fmt: skip
VALUES = [None, 0, 1.5, True, "", "\ud800", [], [None], [[]], [{}], ["a"], {}, {"a": 1}, float("inf"), 10**400]


def mutants(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the record with each value of it removed, and replaced by each of the hostile ones."""
    for path in [path for path in _paths(record) if path]:
        for value in [*VALUES, KeyError]:
            mutant = inner = copy.deepcopy(record)
            for step in path[:-1]:
                inner = inner[step]
            if value is KeyError:
                del inner[path[-1]]
            else:
                inner[path[-1]] = value
            yield mutant


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    steps = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for step in steps:
        yield from _paths(value[step], (*path, step))


@pytest.mark.parametrize(("name", "record"), RECORDS, ids=[f"{name}-{k}" for k, (name, _) in enumerate(RECORDS)])
def test_any_value_anywhere_ends_no_reading(name: str, record: dict[str, Any]) -> None:
    assert recognise("f", [Record("f", "line 1", record)]).name == name
    for mutant in mutants(record):
        read = list(rows("f", iter([Record("f", "line 1", mutant), Record("f", "line 2", mutant)]), family_named(name)))
        assert read and all(isinstance(row, DatasetRow | Dropped | Broken) for row in read)
        for row in read:
            if isinstance(row, DatasetRow):
                for family in FAMILIES:
                    assert family.write is None or family.write(row)
        mix([], [(Source("f"), [row for row in read if isinstance(row, DatasetRow)])], MixOptions(), NOTHING)
        try:
            recognise("f", [Record("f", "line 1", mutant)])
        except InputError as error:
            assert str(error)
