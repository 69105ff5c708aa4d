from __future__ import annotations

import json
import os
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.dataset import tuner_files
from selfinstruct.dataset.convert import Conversion, convert, default_target
from selfinstruct.errors import InputError
from selfinstruct.formats.families import FAMILIES, Family, family_named
from selfinstruct.formats.families.dataset_row import DatasetRow, Turn, as_seed_tasks

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip).filter(bool)
PLAIN = {"instruction": "Name it.", "input": "Kenya", "output": "Nairobi"}
TALK = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho", "thinking": "hm"},
                     {"role": "user", "content": "And?"}, {"role": "assistant", "content": "Bye"}]}  # fmt: skip


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def rows() -> st.SearchStrategy[DatasetRow]:
    """Draw rows of one question, with instruction and input apart."""

    def row(instruction: str, task_input: str, output: str) -> DatasetRow:
        asked = f"{instruction}\n\n{task_input}" if task_input else instruction
        return DatasetRow((Turn("user", asked), Turn("assistant", output)), instruction=instruction, input=task_input)

    return st.builds(row, TEXT, TEXT | st.just(""), TEXT)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family.write and family.name != "preference"])
@given(row=rows())
def test_what_is_written_is_read_back(family: Family, row: DatasetRow) -> None:
    assert family.write is not None
    record, lost = family.write(row)
    (back,) = family.read(json.loads(json.dumps(record)))
    assert isinstance(back, DatasetRow)
    assert (back.question, back.answer) == (row.question, row.answer)
    if family.name in ("alpaca", "self-instruct", "messages", "prompt-completion"):
        assert back.parts == row.parts
        assert not lost
    assert family.recognises(record)
    assert [other.name for other in FAMILIES if other.recognises(record)] == [family.name]


@pytest.mark.parametrize("name", ["messages", "prompt-completion"])
@given(turns=st.lists(st.tuples(TEXT, TEXT, TEXT | st.just("")), min_size=1, max_size=4), system=TEXT | st.just(""))
def test_conversations_survive_with_thinking(name: str, turns: list[tuple[str, str, str]], system: str) -> None:
    family = family_named(name)
    said = [turn for q, a, thought in turns for turn in (Turn("user", q), Turn("assistant", a, thought))]
    row = DatasetRow(tuple(([Turn("system", system)] if system else []) + said))
    assert family.write is not None
    record, lost = family.write(row)
    assert [back.turns for back in family.read(record) if isinstance(back, DatasetRow)] == [row.turns]
    assert not lost


def test_alpaca_to_messages_and_back(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", PLAIN, PLAIN | {"output": ""})
    done = convert(source, tmp_path / "out.jsonl", to=family_named("messages"))
    assert (done.source, done.rows, done.dropped) == ("alpaca", 1, {"empty output": 1})
    convert(tmp_path / "out.jsonl", tmp_path / "back.json", to=family_named("alpaca"))
    assert json.loads((tmp_path / "back.json").read_text()) == [PLAIN]


def test_what_a_target_cannot_hold_is_counted(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", TALK)
    done = convert(source, tmp_path / "flan.jsonl", to=family_named("flan"))
    assert done.lost == {"earlier turns": 1, "thinking": 1}
    assert lines(tmp_path / "flan.jsonl") == [{"inputs": "And?", "targets": "Bye"}]
    done = convert(source, tmp_path / "alpaca.jsonl", to=family_named("alpaca"))
    assert done.lost == {"thinking": 1}
    assert lines(tmp_path / "alpaca.jsonl")[0]["history"] == [["Hi", "Ho"]]
    assert "  lost: thinking of 1 row" in done.sentences()


def test_tasks_have_their_instances_and_unique_ids(tmp_path: Path) -> None:
    source = write(
        tmp_path / "in.jsonl", PLAIN, PLAIN | {"input": "Peru", "output": "Lima"}, PLAIN | {"instruction": "B"}
    )
    convert(source, tmp_path / "seeds.jsonl", to=family_named("self-instruct"))
    first, second = lines(tmp_path / "seeds.jsonl")
    assert [i["output"] for i in first["instances"]] == ["Nairobi", "Lima"]
    assert (first["id"], second["id"]) == ("task_000001", "task_000002")


def test_a_broken_record_ends_or_is_counted(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", PLAIN, PLAIN | {"output": 3})
    target = write(tmp_path / "out.jsonl", {"old": 1})
    with pytest.raises(InputError, match=r"line 2: `output`: .*--on-error skip"):
        convert(source, target, to=family_named("messages"))
    assert lines(target) == [{"old": 1}]
    done = convert(source, target, to=family_named("messages"), on_error="skip")
    assert (done.rows, done.num_broken) == (1, 1)
    assert any("line 2: `output`" in line for line in done.sentences())


def test_many_broken_records_are_capped_with_their_number(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", PLAIN, *[PLAIN | {"output": 3}] * 50)
    with pytest.raises(InputError):
        convert(source, tmp_path / "out.jsonl", to=family_named("messages"))
    done = convert(source, tmp_path / "out.jsonl", to=family_named("messages"), on_error="skip")
    assert done.sentences()[-1].strip() == "... and 30 more"


@pytest.mark.parametrize(
    ("target", "to", "said"),
    [
        ("out.jsonl", "super-natural-instructions", "only read; write one of self-instruct"),
        ("out.csv", "messages", "its suffix must be one of .jsonl, .json, .parquet"),
        ("in.jsonl", "messages", "is read and cannot be written"),
        ("out.jsonl", "preference", r"no row can be written as preference \(1 x no rejected answer\)"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, target: str, to: str, said: str) -> None:
    source = write(tmp_path / "in.jsonl", PLAIN)
    with pytest.raises(InputError, match=said):
        convert(source, tmp_path / target, to=family_named(to))
    assert lines(source) == [PLAIN]
    assert not (tmp_path / "out.jsonl").exists()


def test_a_row_that_utf8_cannot_hold_is_left_out_and_counted(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", PLAIN, PLAIN | {"output": "\ud800x"})
    done = convert(source, tmp_path / "out.jsonl", to=family_named("messages"))
    assert done.rows == 1 and done.dropped == {"with characters that are no text": 1}


def test_parquet_holds_rows_with_different_fields(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", PLAIN, PLAIN | {"system": "Be short.", "output": "x"})
    convert(source, tmp_path / "out.parquet", to=family_named("messages"))
    done = convert(tmp_path / "out.parquet", tmp_path / "back.jsonl", to=family_named("alpaca"))
    assert done.rows == 2
    assert lines(tmp_path / "back.jsonl")[1]["system"] == "Be short."


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        source = write(tmp_path / f"{count}.jsonl", *[PLAIN | {"output": "x" * 2000}] * count)
        tracemalloc.start()
        try:
            convert(source, tmp_path / "out.jsonl", to=family_named("messages"))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(20)
    assert peak(3000) < peak(500) + 3_000_000, "the 2,500 rows more take 5 MB at least"


def test_a_default_name() -> None:
    assert default_target("data/alpaca_data.json", family_named("messages")) == Path("alpaca_data.messages.jsonl")
    assert default_target("owner/name", family_named("sharegpt")) == Path("name.sharegpt.json")


def test_rows_become_seed_tasks() -> None:
    turns = (Turn("user", "Sort.\n\nb a"), Turn("assistant", "a b"))
    one = DatasetRow(turns, instruction="Sort.", input="b a")
    talk = DatasetRow((Turn("user", "x"), Turn("assistant", "y"), *turns))
    left_out: Counter[str] = Counter()
    (task,) = as_seed_tasks([one, one, talk], "words", left_out)
    assert left_out == {"conversation of several turns": 1}
    assert (task.id, task.instruction, [(i.input, i.output) for i in task.instances]) == (
        "words_000001",
        "Sort.",
        [("b a", "a b")],
    )


def test_llama_factory_gets_only_fields_that_the_rows_have(tmp_path: Path) -> None:
    target = tmp_path / "mine.json"
    write(tmp_path / "dataset_info.json", {"other": {"file_name": "x.json"}})
    done = Conversion("alpaca", "alpaca", fields={"instruction", "input", "output", "history"})
    entry = tuner_files.llama_factory_entry(target, done)
    assert entry is not None
    tuner_files.register_with_llama_factory(target, entry)
    known = json.loads((tmp_path / "dataset_info.json").read_text())
    assert known["other"] == {"file_name": "x.json"}
    assert known["mine"]["columns"] == {
        "prompt": "instruction", "query": "input", "response": "output", "history": "history"
    }  # fmt: skip


def test_stanzas_are_yaml_with_the_files_place(tmp_path: Path) -> None:
    import yaml

    target = tmp_path / "it's.jsonl"
    done = Conversion("alpaca", "messages")
    (trl,) = yaml.safe_load(tuner_files.trl_stanza(target, done) or "")["datasets"]
    assert trl == {"path": "json", "data_files": str(target), "columns": ["messages"]}
    (axolotl,) = yaml.safe_load(tuner_files.axolotl_stanza(target, Conversion("alpaca", "sharegpt")) or "")["datasets"]
    assert axolotl["type"] == "chat_template"
    assert axolotl["message_property_mappings"] == {"role": "from", "content": "value"}


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "w") as pipe:
        pipe.write('{"instruction": "Sing.", "output": "La"}\n' * 30)
    try:
        done = convert(f"/dev/fd/{read_end}", tmp_path / "out.jsonl", to=family_named("messages"))
    finally:
        os.close(read_end)
    assert (done.source, done.rows) == ("alpaca", 30)
