"""Converted files and their descriptions have the forms that LLaMA-Factory and axolotl document.

The forms are written down here from LLaMA-Factory's data/README.md and axolotl's "Dataset Formats" (both of 2025).
An unknown key is an error: neither tool reports one that it ignores.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
import yaml

from selfinstruct.dataset import tuner_files
from selfinstruct.dataset.convert import convert
from selfinstruct.formats.families import family_named

ROWS = [
    {"messages": [{"role": "user", "content": "Name a river."}, {"role": "assistant", "content": "The Niger."}]},
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Name a lake."},
            {"role": "assistant", "content": "Chad."},
            {"role": "user", "content": "Another one."},
            {"role": "assistant", "content": "Turkana.", "thinking": "In Kenya."},
        ]
    },
]
PREFERENCES = [
    {
        "prompt": [{"role": "user", "content": "Name a river."}],
        "chosen": [{"role": "assistant", "content": "The Niger."}],
        "rejected": [{"role": "assistant", "content": "Paris."}],
    }
]


class Strict(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    pass


class AlpacaRow(Strict):
    instruction: str
    input: str = ""
    output: str = ""
    system: str = ""
    history: list[tuple[str, str]] = []
    chosen: str = ""
    rejected: str = ""


class ShareGptTurn(Strict, rename={"source": "from"}):
    source: Literal["human", "gpt", "observation", "function_call", "system"]
    value: str


class ShareGptRow(Strict):
    conversations: list[ShareGptTurn]
    system: str = ""
    chosen: ShareGptTurn | None = None
    rejected: ShareGptTurn | None = None


class AlpacaColumns(Strict):
    prompt: str
    query: str = ""
    response: str = ""
    system: str = ""
    history: str = ""
    chosen: str = ""
    rejected: str = ""


class ShareGptColumns(Strict):
    messages: str
    system: str = ""
    chosen: str = ""
    rejected: str = ""


class Tags(Strict):
    role_tag: str = "from"
    content_tag: str = "value"
    user_tag: str = "human"
    assistant_tag: str = "gpt"
    observation_tag: str = "observation"
    function_tag: str = "function_call"
    system_tag: str = "system"


class AlpacaEntry(Strict):
    file_name: str
    columns: AlpacaColumns
    formatting: Literal["alpaca"] = "alpaca"
    ranking: bool = False


class ShareGptEntry(Strict):
    file_name: str
    columns: ShareGptColumns
    formatting: Literal["sharegpt"]
    ranking: bool = False
    tags: Tags = msgspec.field(default_factory=Tags)


class AxolotlDataset(Strict):
    path: str
    ds_type: Literal["json", "parquet"]
    type: Literal["alpaca", "chat_template"]
    field_messages: str = "messages"
    message_property_mappings: dict[Literal["role", "content"], str] = {}


class AxolotlConfig(Strict):
    datasets: list[AxolotlDataset]


def converted(folder: Path, to: str, rows: list[dict[str, Any]]) -> tuple[Path, Any, list[dict[str, Any]]]:
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    target = folder / ("out.json" if to in ("alpaca", "sharegpt") else "out.jsonl")
    done = convert(folder / "in.jsonl", target, to=family_named(to))
    text = target.read_text()
    return target, done, json.loads(text) if target.suffix == ".json" else [json.loads(x) for x in text.splitlines()]


@pytest.mark.parametrize("rows", [ROWS, PREFERENCES], ids=["answers", "preferences"])
@pytest.mark.parametrize("to", ["alpaca", "sharegpt"])
def test_llama_factory(tmp_path: Path, to: str, rows: list[dict[str, Any]]) -> None:
    target, done, records = converted(tmp_path, to, rows)
    written = msgspec.convert(records, list[AlpacaRow] if to == "alpaca" else list[ShareGptRow])
    described = tuner_files.llama_factory_entry(target, done)
    entry = msgspec.convert(described, AlpacaEntry if to == "alpaca" else ShareGptEntry)
    assert entry.file_name == target.name and entry.ranking == (rows is PREFERENCES)
    named = set(msgspec.to_builtins(entry.columns).values())
    assert named == {key for record in records for key in record}, "named are the fields that there are, and no other"
    for row in written:
        if isinstance(row, ShareGptRow):  # People at odd places, the model at even ones.
            asked = [turn.source for turn in row.conversations]
            assert asked == [("human", "gpt")[k % 2] for k in range(len(asked))]
            assert len(asked) % 2 == (1 if row.chosen else 0)


def test_llama_factory_reads_messages_by_their_tags(tmp_path: Path) -> None:
    target, done, records = converted(tmp_path, "messages", ROWS)
    entry = msgspec.convert(tuner_files.llama_factory_entry(target, done), ShareGptEntry)
    roles = {entry.tags.user_tag, entry.tags.assistant_tag, entry.tags.system_tag}
    for record in records:
        for turn in record[entry.columns.messages]:
            assert turn[entry.tags.role_tag] in roles and turn[entry.tags.content_tag]


@pytest.mark.parametrize("to", ["alpaca", "sharegpt", "messages"])
def test_axolotl(tmp_path: Path, to: str) -> None:
    target, done, records = converted(tmp_path, to, ROWS)
    (dataset,) = msgspec.convert(yaml.safe_load(str(tuner_files.axolotl_stanza(target, done))), AxolotlConfig).datasets
    assert dataset.path == str(target)
    if dataset.type == "alpaca":
        assert all({"instruction", "input", "output"} <= record.keys() for record in records)
        assert "reads no history and no system" in str(tuner_files.axolotl_stanza(target, done))
        return
    role, content = (dataset.message_property_mappings.get(name, name) for name in ("role", "content"))
    # axolotl's default `roles`: what it takes for a user's, the model's, a system's turn.
    known = {"human", "user", "gpt", "assistant", "system"}
    for record in records:
        assert all(turn[role] in known and turn[content] for turn in record[dataset.field_messages])
