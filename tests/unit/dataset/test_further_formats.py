"""What an exported dataset is beside its JSON Lines: messages, Parquet, Argilla's records, commands of other tuners."""

from __future__ import annotations

import json
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from pyarrow import parquet

from selfinstruct.dataset.export import export
from selfinstruct.dataset.further_formats import argilla_record, write_parquet
from selfinstruct.dataset.tuner_files import export_commands
from selfinstruct.formats import jsonl
from selfinstruct.formats.exported_rows import ExportedRow
from selfinstruct.records import SEEN, SPLITS, TRAIN, UNSEEN, Constraint
from selfinstruct.run.folders import DatasetDirectory
from tests import finished_run
from tests.conftest import Once


@pytest.fixture
def dataset(make_config: Any, tmp_path: Path, once: Once) -> DatasetDirectory:
    config = make_config(export={"format": ["parquet", "argilla"], "validation_unseen": 0.2})
    once(lambda: (finished_run.generated(config), export(config)))
    return DatasetDirectory(tmp_path / "run" / "dataset")


def rows(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in jsonl.read(path)]


def test_messages_are_prompt_and_completion(dataset: DatasetDirectory) -> None:
    for split in SPLITS:
        for row in rows(dataset.split(split)):
            assert row["messages"] == row["prompt"] + row["completion"]
            assert [message["role"] for message in row["messages"]] == ["user", "assistant"]


def test_parquet_has_the_same_rows_under_names_that_datasets_knows(dataset: DatasetDirectory) -> None:
    for split, name in ((TRAIN, "train"), (SEEN, "validation"), (UNSEEN, "test")):
        written, path = rows(dataset.split(split)), dataset.parquet(name)
        assert path.exists() == bool(written)
        if written:
            read = parquet.read_table(path).to_pylist()
            assert [{key: row[key] for key in ("id", "instruction", "input", "output")} for row in read] == [
                {key: row[key] for key in ("id", "instruction", "input", "output")} for row in written
            ]
            assert [[(m["role"], m["content"]) for m in row["messages"]] for row in read] == [
                [(m["role"], m["content"]) for m in row["messages"]] for row in written
            ]


def test_parquet_holds_thinking_and_constraints(tmp_path: Path) -> None:
    constraint = Constraint("length/at_most_words", {"n": 3}, "At most 3 words.")
    row = ExportedRow("a-0", "Name it.", "", "Ok.", False, thinking="hm", constraints=(constraint,))
    dataset = DatasetDirectory(tmp_path)
    write_parquet(dataset, {TRAIN: [row, ExportedRow("b-0", "Say no.", "", "No.", True)], SEEN: [], UNSEEN: []}, "m")
    first, second = parquet.read_table(dataset.parquet("train")).to_pylist()
    assert json.loads(first["constraints"])[0]["parameters"] == {"n": 3} and second["constraints"] is None
    assert first["completion"] == [{"role": "assistant", "content": "Ok.", "thinking": "hm"}]
    assert not dataset.parquet("test").exists()


def test_what_is_no_longer_asked_for_does_not_stay_behind(dataset: DatasetDirectory, make_config: Any) -> None:
    assert dataset.argilla.exists()
    export(make_config())
    assert not dataset.argilla.exists() and not dataset.parquet("train").exists()


class Suggestion(msgspec.Struct, forbid_unknown_fields=True):
    value: str
    score: float | None
    agent: str


class Record(msgspec.Struct, forbid_unknown_fields=True):
    """The form of `Record.to_dict` of Argilla 2."""

    id: str
    fields: dict[str, str]
    metadata: dict[str, str]
    suggestions: dict[str, Suggestion]
    responses: dict[str, list[Any]]
    vectors: dict[str, list[float]]


def test_argilla(dataset: DatasetDirectory) -> None:
    records = msgspec.convert(rows(dataset.argilla), list[Record])
    for record, row in zip(records, rows(dataset.split(TRAIN)), strict=True):
        assert record.fields == {"instruction": row["instruction"], "input": row["input"]}
        assert record.suggestions["output"] == Suggestion(row["output"], None, "scripted")
        assert record.suggestions["is_classification"].value == ("yes" if row["is_classification"] else "no")
    seed = argilla_record(ExportedRow("s-0", "Say hi.", "", "Hi.", False, "seed"), "some-model")
    assert seed["suggestions"]["output"]["agent"] == "people"


def test_argilla_itself_reads_the_records(dataset: DatasetDirectory) -> None:
    argilla = pytest.importorskip("argilla")
    for row in rows(dataset.argilla):
        assert argilla.Record.from_dict(row).id == row["id"]


def files_of(command: str) -> dict[str, Any]:
    """Return the YAML files that a command writes first."""
    name, _, rest = command.removeprefix("cat > ").partition(" <<'END'\n")
    return {name: yaml.safe_load(rest.partition("END\n")[0])}


def test_the_commands_name_files_that_are_there(dataset: DatasetDirectory) -> None:
    commands = export_commands(dataset, "some/model with 'quotes'")
    assert commands.keys() == {"TRL", "axolotl", "LLaMA-Factory", "torchtune"}
    train = str(dataset.split(TRAIN).absolute())
    (trl,) = files_of(commands["TRL"]).values()
    assert (
        trl["datasets"][0]["data_files"] == train and set(trl["datasets"][0]["columns"]) <= rows(Path(train))[0].keys()
    )
    (axolotl,) = files_of(commands["axolotl"]).values()
    assert axolotl["datasets"][0]["path"] == train and axolotl["base_model"] == "some/model with 'quotes'"
    words = shlex.split(commands["LLaMA-Factory"])
    options = dict(pairwise(words))
    info = json.loads((Path(options["--dataset_dir"]) / "dataset_info.json").read_text())
    assert (Path(options["--dataset_dir"]) / info[options["--dataset"]]["file_name"]).exists()
    assert options["--model_name_or_path"] == "some/model with 'quotes'"
    tune = dict(word.partition("=")[::2] for word in shlex.split(commands["torchtune"]) if "=" in word)
    assert tune["dataset.data_files"] == train and tune["dataset.conversation_column"] in rows(Path(train))[0]


@pytest.mark.whole
def test_trl_reads_its_command_and_the_rows(dataset: DatasetDirectory, tmp_path: Path) -> None:
    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, TrlParser, get_dataset

    ((name, settings),) = files_of(export_commands(dataset, "some/model")["TRL"]).items()
    (tmp_path / name).write_text(yaml.safe_dump(settings))
    parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig))
    *_, model, mixture = parser.parse_args_and_config(["--config", str(tmp_path / name), "--bf16", "false"])
    assert model.model_name_or_path == "some/model"
    assert get_dataset(mixture)["train"].num_rows == len(rows(dataset.split(TRAIN)))


def test_datasets_does_not_take_one_run_for_another(
    dataset: DatasetDirectory, make_config: Any, tmp_path: Path
) -> None:
    """Its cache goes by the folder's name and the card."""
    from datasets import load_dataset

    config = make_config(seed=43, output_dir=str(tmp_path / "other"), export={"validation_unseen": 0.2})
    other = DatasetDirectory(finished_run.generated(config) / "dataset")
    export(config)
    for folder in (dataset, other):
        loaded = load_dataset(str(folder.path), cache_dir=str(tmp_path / "cache"))
        assert loaded["train"]["id"][:] == [row["id"] for row in rows(folder.split(TRAIN))]
        assert loaded["train"]["output"][:] == [row["output"] for row in rows(folder.split(TRAIN))]


def test_rows_with_messages_and_prompts_are_read_as_messages(dataset: DatasetDirectory) -> None:
    from selfinstruct.formats.families import FAMILIES

    row = rows(dataset.split(TRAIN))[0]
    assert [family.name for family in FAMILIES if family.recognises(row)] == ["messages"]
