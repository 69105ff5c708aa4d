"""A run becomes a dataset: splits that stay put, counts that add up, identical bytes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from selfinstruct.cli import cli
from selfinstruct.config.later_stages import Evaluate, Export
from selfinstruct.config.schema import Config
from selfinstruct.dataset import card
from selfinstruct.dataset import export as exports
from selfinstruct.dataset.export import export, split
from selfinstruct.errors import InputError
from selfinstruct.formats import seed_tasks
from selfinstruct.formats.evaluation_tasks import EvaluationText
from selfinstruct.novelty.overlap import EvaluationTexts
from selfinstruct.records import SPLITS, Instance, Task
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.folders import DatasetDirectory
from tests.conftest import Once, journal_lines, run_scripted


def task(k: int, instances: int = 3, instruction: str = "") -> Task:
    kept = tuple(Instance(f"in {k} {j}", f"out {k} {j}") for j in range(instances))
    return Task(f"p{k:06d}-00", instruction or f"Describe thing number {k}.", kept, k % 2 == 0, "generated")


def apart_from(*instructions: str, threshold: float = 0.7) -> EvaluationTexts:
    return EvaluationTexts([EvaluationText(f"e{k}", text) for k, text in enumerate(instructions)], threshold)


NOTHING = apart_from()


def rows(run: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "dataset" / f"{name}.jsonl").read_text().splitlines()]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def finished(make_config: Any, once: Once) -> Config:
    config: Config = make_config(export={"validation_unseen": 0.2, "validation_seen": 0.3})
    once(lambda: run_scripted(config))
    return config


# -------------------------------------------------------------------------------------------------- splits


def test_shares_are_about_what_was_asked_for() -> None:
    tasks = [task(k) for k in range(2000)]
    dataset = split(tasks, [], NOTHING, Export(validation_unseen=0.1, validation_seen=0.2))
    counts = {name: len(found) for name, found in dataset.rows.items()}
    assert sum(counts.values()) == 6000
    assert 3 * 160 < counts["validation_unseen"] < 3 * 240
    assert 300 < counts["validation_seen"] < 420
    none = split(tasks, [], NOTHING, Export(validation_unseen=0, validation_seen=0)).rows
    assert [len(none[name]) for name in SPLITS] == [6000, 0, 0]


def test_splits_stay_put_as_the_run_grows_and_whatever_is_left_out() -> None:
    def places(tasks: list[Task], evaluation: list[str]) -> dict[str, str]:
        dataset = split(tasks, [], apart_from(*evaluation), Export(validation_unseen=0.2, validation_seen=0.5))
        return {row.id: name for name, found in dataset.rows.items() for row in found}

    few, many = places([task(k) for k in range(50)], []), places([task(k) for k in range(200)][::-1], [])
    assert set(few.values()) == set(SPLITS)
    assert few.items() <= many.items()
    without = places([task(k) for k in range(50)], [task(7).instruction])
    assert without.items() < few.items()


def test_unseen_tasks_are_held_out_as_a_whole_and_seen_ones_are_trained_on() -> None:
    dataset = split(
        [task(k, 1 + k % 3) for k in range(300)], [], NOTHING, Export(validation_unseen=0.2, validation_seen=0.5)
    )
    instructions = {name: {row.instruction for row in found} for name, found in dataset.rows.items()}
    assert not instructions["validation_unseen"] & (instructions["train"] | instructions["validation_seen"])
    assert instructions["validation_seen"] <= instructions["train"]
    ids = [row.id for found in dataset.rows.values() for row in found]
    assert len(ids) == len(set(ids)) == sum(1 + k % 3 for k in range(300))
    assert max(Counter(row.instruction for row in dataset.rows["validation_seen"]).values()) == 1


def test_tasks_near_the_evaluation_set_are_left_out_and_counted() -> None:
    near, far = task(1, 2, "Name the capital city of a large country."), task(2, 3)
    evaluation = ["Name the capital city of a small country."]
    dataset = split([near, far], [], apart_from(*evaluation), Export(validation_unseen=0, validation_seen=0))
    assert {row.instruction for row in dataset.rows["train"]} == {far.instruction}
    assert dataset.left_out_tasks == {"near_evaluation_task": 1}
    assert dataset.left_out_rows == {"near_evaluation_task": 2}
    lenient = split(
        [near, far], [], apart_from(*evaluation, threshold=7 / 8), Export(validation_unseen=0, validation_seen=0)
    )
    assert len(lenient.rows["train"]) == 5, "7 of 8 words in common is not greater than the threshold"
    same = split([task(3, 1, "写一首关于春天的诗")], [], apart_from("写一首关于春天的诗", threshold=0.99), Export())
    assert same.left_out_tasks.total() == 1


def test_seeds_go_into_training_only_when_asked(seed_file: Path) -> None:
    seeds = seed_tasks.load_seed_tasks([seed_file])
    assert not any(split([], seeds, NOTHING, Export()).rows.values())
    dataset = split([], seeds, NOTHING, Export(include_seeds=True, validation_unseen=0.9))
    assert len(dataset.rows["train"]) == 20
    assert {row.origin for row in dataset.rows["train"]} == {"seed"}
    assert not dataset.rows["validation_unseen"]


# ---------------------------------------------------------------------------------------------------- rows


def test_rows_carry_fields_and_messages() -> None:
    dataset = split([task(4, 1)], [], NOTHING, Export(validation_unseen=0))
    bare = Task("p000005-00", "Name a river.", (Instance("", "Elbe"),), False, "generated")
    assert [row.to_json() for row in dataset.rows["train"]] == [
        {
            "id": "p000004-00-0",
            "instruction": "Describe thing number 4.",
            "input": "in 4 0",
            "output": "out 4 0",
            "is_classification": True,
            "origin": "generated",
            "prompt": [{"role": "user", "content": "Describe thing number 4.\n\nin 4 0"}],
            "completion": [{"role": "assistant", "content": "out 4 0"}],
            "messages": [
                {"role": "user", "content": "Describe thing number 4.\n\nin 4 0"},
                {"role": "assistant", "content": "out 4 0"},
            ],
        }
    ]
    (row,) = split([bare], [], NOTHING, Export(validation_unseen=0)).rows["train"]
    assert row.prompt == [{"role": "user", "content": "Name a river."}]


# --------------------------------------------------------------------------------------------------- export


def test_exporting_twice_gives_identical_bytes(finished: Config) -> None:
    run = Path(str(finished.output_dir))
    counts = export(finished)
    first = tree(run / "dataset")
    assert export(finished) == counts
    assert tree(run / "dataset") == first
    assert set(first) == {
        *(f"{name}.jsonl" for name in SPLITS),
        "README.md",
        "alpaca.json",
        "dataset_info.json",
        "export.json",
        "self_instruct/all_generated_instances.jsonl",
        "self_instruct/finetuning.jsonl",
        "self_instruct/is_clf_or_not.jsonl",
        "self_instruct/machine_generated_instructions.jsonl",
    }


def test_counts_add_up_to_the_journal(finished: Config) -> None:
    run = Path(str(finished.output_dir))
    counts = export(finished)
    lines = journal_lines(run)
    kept = sum(c["accepted"] for line in lines if line["kind"] == "instances" for c in line.get("candidates", ()))
    accepted = sum(c["accepted"] for line in lines if line["kind"] == "proposal" for c in line.get("candidates", ()))
    assert counts == RunDirectory(run).dataset.export_counts()
    assert counts.rows == {name: len(rows(run, name)) for name in SPLITS}
    assert counts.instances.accepted == kept == sum(counts.rows.values())
    instructions = counts.instructions
    assert instructions.accepted == accepted == 30
    assert instructions.with_instances + instructions.without_instances == accepted
    assert counts.origins == {"generated": kept}
    words = [len(row["instruction"].split()) for name in SPLITS for row in rows(run, name)]
    assert min(words) <= counts.mean_words.instruction <= max(words)


def test_left_out_rows_are_counted_and_said(finished: Config, tmp_path: Path) -> None:
    run = Path(str(finished.output_dir))
    export(finished)
    victim = rows(run, "train")[0]["instruction"]
    size = sum(row["instruction"] == victim for name in SPLITS for row in rows(run, name))
    evaluation = tmp_path / "evaluation.jsonl"
    evaluation.write_text(
        json.dumps({"id": "e", "instruction": victim, "instances": [{"output": "x"}], "is_classification": False})
    )
    strict = Config.model_validate(
        finished.model_dump() | {"evaluate": {"tasks": [str(evaluation)]}, "export": {"eval_threshold": 0.99}}
    )
    counts = export(strict)
    assert counts.instructions.left_out == {"near_evaluation_task": 1}
    assert counts.instances.left_out == {"near_evaluation_task": size}
    assert sum(counts.rows.values()) + size == counts.instances.accepted
    assert victim not in {row["instruction"] for name in SPLITS for row in rows(run, name)}
    assert f"{size} rows, with 1 whole instructions, were left out" in (run / "dataset" / "README.md").read_text()


def test_evaluation_files_that_cannot_be_read_end_no_export(
    finished: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.jsonl").write_text("{")
    names = [str(tmp_path / "gone.jsonl"), str(tmp_path / "broken.jsonl")]
    counts = export(Config.model_validate(finished.model_dump() | {"evaluate": {"tasks": names}}))
    assert counts.evaluation_unread == 2 and counts.rows["train"]
    said = capsys.readouterr().err.replace("\n", "")
    assert "rows were not compared with it" in said and "gone.jsonl" in said and "broken.jsonl" in said
    card = (Path(str(finished.output_dir)) / "dataset" / "README.md").read_text()
    assert "2 files of evaluation tasks could not be read" in card


@pytest.mark.parametrize("include", [True, False])
def test_whether_seeds_are_included_is_stated(make_config: Any, include: bool) -> None:
    config = make_config(num_instructions=5, export={"include_seeds": include})
    run_scripted(config)
    counts = export(config)
    assert counts.include_seeds is include
    assert counts.origins.get("seed", 0) == (20 if include else 0)
    card = (Path(str(config.output_dir)) / "dataset" / "README.md").read_text()
    assert f"| seed tasks included | {'yes, in the training split' if include else 'no'} |" in card


def test_seeds_are_read_again_only_to_be_included_and_only_unchanged(make_config: Any, seed_file: Path) -> None:
    config = make_config(num_instructions=5)
    run_scripted(config)
    including = config.model_copy(update={"export": Export(include_seeds=True)})
    seed_file.write_text(seed_file.read_text().replace("night buses", "night trains"))
    with pytest.raises(InputError, match="changed since the run began"):
        export(including)
    seed_file.unlink()
    export(config)


def test_it_loads_with_datasets_and_by_the_cards_own_configuration(finished: Config) -> None:
    import datasets

    run = Path(str(finished.output_dir))
    counts = export(finished)
    front = yaml.safe_load((run / "dataset" / "README.md").read_text().split("---")[1])
    files = {f["split"]: str(run / "dataset" / f["path"]) for f in front["configs"][0]["data_files"]}
    assert set(files) == set(SPLITS)
    loaded = datasets.load_dataset("json", data_files=files, cache_dir=str(run / "cache"))
    assert {name: len(loaded[name]) for name in SPLITS} == counts.rows
    row = rows(run, "train")[0]
    assert loaded["train"][0] == row
    assert list(loaded["train"].features) == list(row)


def test_the_card_leaves_out_empty_splits(make_config: Any) -> None:
    config = make_config(num_instructions=5, export={"validation_unseen": 0, "validation_seen": 0})
    run_scripted(config)
    export(config)
    card = (Path(str(config.output_dir)) / "dataset" / "README.md").read_text()
    (data,) = yaml.safe_load(card.split("---")[1])["configs"]
    assert [f["split"] for f in data["data_files"]] == ["train"]
    assert "| validation_unseen | 0 |" in card


def test_the_card_lists_the_sources_with_their_licences(make_config: Any, seed_file: Path) -> None:
    (seed_file.parent / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    config = make_config(num_instructions=5, export={"include_seeds": True})
    run_scripted(config)
    counts = export(config)
    card = (Path(str(config.output_dir)) / "dataset" / "README.md").read_text()
    generated, seeds = counts.sources or ()
    assert (generated.rows, seeds.rows) == (counts.origins["generated"], counts.origins["seed"])
    assert f"| generated | `scripted` | not stated | {generated.rows} | {generated.words} | not counted |" in card
    assert (
        f"| seed | `{seed_file.name}` | `cc-by-4.0` | {seeds.rows} | {seeds.words} | not counted |" in card
        and seeds.words > 0
    )


def test_an_unfinished_run_can_be_exported(make_config: Any) -> None:
    config = make_config()
    run_scripted(config)
    journal = RunDirectory(Path(str(config.output_dir))).journal
    journal.write_bytes(journal.read_bytes()[: journal.stat().st_size // 2])
    counts = export(config)
    assert 0 < counts.instructions.accepted <= 30


def test_without_a_run_or_rows_it_says_so(make_config: Any, tmp_path: Path) -> None:
    config = make_config()
    with pytest.raises(InputError, match="is not a run directory"):
        export(config)
    run_scripted(config)
    with pytest.raises(InputError, match=r"instances \d+ are held out for validation, and none .* or lower"):
        export(make_config(export={"validation_unseen": 0.999999}))
    assert not (tmp_path / "run" / "dataset").exists()
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(InputError, match="no dataset yet; make one with `selfinstruct export"):
        exports.require_dataset(run)
    run.dataset.path.mkdir(parents=True)
    (run.dataset.path / "train.jsonl").touch()
    with pytest.raises(InputError, match="holds no rows"):
        exports.require_dataset(run)


def test_the_seeds_alone_make_a_dataset_too(make_config: Any, tmp_path: Path) -> None:
    assert exports.export_seeds(make_config().seeds, DatasetDirectory(tmp_path / "alone")) == 20
    assert [(tmp_path / "alone" / f"{name}.jsonl").read_text().count("\n") for name in SPLITS] == [20, 0, 0]


def test_names_in_the_card_are_code_whatever_they_hold() -> None:
    """A model's name is a path, which may hold what ends a cell or a span of code."""
    assert card.code_span("org/model") == "`org/model`"
    assert card.code_span("a|b`<img src=x>\n\x1b[2J") == "`a\\|b'<img src=x> \\x1b[2J`"


def test_a_row_whose_input_is_that_of_an_evaluation_task_is_left_out_alone() -> None:
    text = "the long river flows through three old towns to the sea"
    rows_of_task = (Instance("short", "a"), Instance(f"Read this: {text}.", "b"), Instance("other", "c"))
    one = Task("p000001-00", "Describe what is given.", rows_of_task, False, "generated")
    evaluation = EvaluationTexts([EvaluationText("e7", "Summarize the text.", ("short", text))])
    dataset = split([one], [], evaluation, Export(validation_unseen=0, validation_seen=0))
    assert [row.output for row in dataset.rows["train"]] == ["a", "c"]
    assert (dataset.left_out_tasks, dataset.left_out_rows) == ({}, {"near_evaluation_task": 1})
    (found,) = dataset.overlaps
    assert (found["id"], found["task"], found["measure"]) == ("p000001-00", "e7", "n-gram")


def test_what_overlaps_is_listed(finished: Config, tmp_path: Path) -> None:
    near = Path(str(finished.output_dir)) / "dataset" / "near_evaluation.jsonl"
    export(finished)
    assert not near.exists()
    (row, *_) = rows(Path(str(finished.output_dir)), "train")
    seed = {"id": "e1", "instruction": row["instruction"], "instances": [{"output": "x"}], "is_classification": False}
    (tmp_path / "tasks.jsonl").write_text(json.dumps(seed))
    changed = finished.model_copy(update={"evaluate": Evaluate(tasks=(str(tmp_path / "tasks.jsonl"),))})
    counts = export(changed)
    (found,) = map(json.loads, near.read_text().splitlines())
    assert (found["instruction"], found["task"], found["measure"]) == (row["instruction"], "e1", "exact")
    assert counts.instructions.left_out == {"near_evaluation_task": 1}
    export(finished)
    assert not near.exists()


def test_other_tools_find_the_training_split(make_config: Any, tmp_path: Path) -> None:
    """LLaMA-Factory by `dataset_info.json`; TRL and axolotl by the lines that the command prints."""
    run_scripted(make_config())
    result = CliRunner().invoke(cli, ["export", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    folder = tmp_path / "run" / "dataset"
    info = json.loads((folder / "dataset_info.json").read_text())
    assert info.keys() == {"train", "alpaca"}
    columns = info["alpaca"]["columns"]
    assert columns == {"prompt": "instruction", "query": "input", "response": "output"}
    rows = json.loads((folder / info["alpaca"]["file_name"]).read_text())
    assert rows and all(set(columns.values()) <= row.keys() for row in rows)
    assert info["train"]["file_name"] == "train.jsonl" and info["train"]["columns"] == {"messages": "messages"}
    assert "columns: [prompt, completion]" in result.stderr and f'"{folder / "train.jsonl"}"' in result.stderr
    assert "type: chat_template" in result.stderr and "--dataset train " in result.stderr
    assert result.stdout == ""
