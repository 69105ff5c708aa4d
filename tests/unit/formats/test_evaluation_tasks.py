"""Task files of every shape: recognised by what stands in them, read as the benchmark has it, refused by name."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.errors import InputError
from selfinstruct.formats import evaluation_tasks
from selfinstruct.formats.families import super_natural_instructions
from selfinstruct.records import SeedTask


def superni_task(**values: Any) -> dict[str, Any]:
    default = {
        "Categories": ["Textual Entailment"],
        "Definition": ["Say whether the second sentence follows from the first"],
        "Positive Examples": [
            {"input": "It rains. It is wet.", "output": "yes", "explanation": "Rain is wet."},
            {"input": "It rains. It is Monday?", "output": ["no"], "explanation": ""},
            {"input": "third", "output": "yes"},
        ],
        "Negative Examples": [],
        "Instances": [{"id": f"t-{k}", "input": f"case {k}", "output": ["yes", "indeed"]} for k in range(130)],
    }
    return default | values


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "superni"
    folder.mkdir()
    (folder / "task2_b.json").write_text(json.dumps(superni_task(Categories=["Title Generation"])))
    (folder / "task1_a.json").write_text(json.dumps(superni_task()))
    return folder


def test_a_folder_of_superni_files(folder: Path) -> None:
    first, second = evaluation_tasks.load_evaluation_tasks(str(folder))
    assert isinstance(first, super_natural_instructions.BenchmarkTask) and isinstance(
        second, super_natural_instructions.BenchmarkTask
    )
    assert (first.id, second.id) == ("task1_a", "task2_b")
    assert len(first.instances) == 100, "the benchmark asks the first 100"
    assert first.instances[99] == super_natural_instructions.BenchmarkInstance("t-99", "case 99", ("yes", "indeed"))
    assert (first.is_exact_match, second.is_exact_match) == (True, False)
    assert evaluation_tasks.load_evaluation_tasks(str(folder / "task1_a.json")) == [first]
    assert [text.instruction for text in evaluation_tasks.load_evaluation_texts([str(folder)])] == [
        "Say whether the second sentence follows from the first"
    ] * 2


def test_plain_strings_of_older_releases(tmp_path: Path) -> None:
    path = tmp_path / "task3.json"
    old = superni_task(Definition="Copy it.", Categories="Copying", Instances=[{"input": "a", "output": "a"}])
    path.write_text(json.dumps(old))
    task = super_natural_instructions.read_task_file(path)
    assert (task.definition, task.category) == ("Copy it.", "Copying")
    assert task.instances == (super_natural_instructions.BenchmarkInstance("0", "a", ("a",)),)


def test_the_prompt_of_tk_instruct(folder: Path) -> None:
    task = super_natural_instructions.read_task_file(folder / "task1_a.json")
    assert super_natural_instructions.tk_instruct_prompt(task, "It snows.", 2) == (
        "Definition: Say whether the second sentence follows from the first.\n\n"
        " Positive Example 1 -\nInput: It rains. It is wet.\n Output: yes.\n\n"
        " Positive Example 2 -\nInput: It rains. It is Monday?\n Output: no.\n\n"
        "Now complete the following example -\nInput: It snows.\nOutput: "
    )
    assert super_natural_instructions.tk_instruct_prompt(task, "a", 0) == (
        "Definition: Say whether the second sentence follows from the first.\n\n"
        "Now complete the following example -\nInput: a.\nOutput: "
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (superni_task(Definition=[]), "`Definition`"),
        (superni_task(Definition=[" "]), "`Definition`: is empty"),
        (superni_task(Instances=[]), "`Instances`"),
        (superni_task(Instances=[{"input": "a", "output": None}]), "`Instances.0.output.0`"),
        (superni_task(Instances=[{"input": "a\x00", "output": "b"}]), "`Instances.0`: holds a NUL"),
        (superni_task(Instances=[{"input": "a\ud800", "output": "b"}]), "`Instances.0`: holds a lone surrogate"),
    ],
)
def test_a_broken_superni_file_is_named(tmp_path: Path, content: Any, expected: str) -> None:
    path = tmp_path / "task4.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        evaluation_tasks.load_evaluation_tasks(str(path))
    assert str(path) in str(error.value)
    assert expected in str(error.value)


def test_numbers_are_read_as_text(tmp_path: Path) -> None:
    """Two of 185 published files have integers as outputs."""
    path = tmp_path / "task5.json"
    path.write_text(json.dumps(superni_task(Instances=[{"id": 1, "input": 7, "output": [3, "three", 1.5]}])))
    task = super_natural_instructions.read_task_file(path)
    assert task.instances == (super_natural_instructions.BenchmarkInstance("1", "7", ("3", "three", "1.5")),)


def test_broken_files_of_a_folder_are_all_named_and_left_out_only_on_request(folder: Path) -> None:
    (folder / "task0_x.json").write_text("{")
    (folder / "task9_y.json").write_text(json.dumps(superni_task(Instances=[])))
    with pytest.raises(InputError, match=r"2 of 4 task files .*--evaluate.skip-broken:\n.*task0_x(.|\n)*task9_y"):
        evaluation_tasks.load_evaluation_tasks(str(folder))
    left_out: list[InputError] = []
    tasks = evaluation_tasks.load_evaluation_tasks(str(folder), left_out.append)
    assert [task.id for task in tasks] == ["task1_a", "task2_b"]
    assert ["task0_x" in str(error) for error in left_out] == [True, False]
    for name in ("task1_a", "task2_b"):
        (folder / f"{name}.json").unlink()
    with pytest.raises(InputError, match="2 of 2 task files"):
        evaluation_tasks.load_evaluation_tasks(str(folder), left_out.append)


def test_instructions_of_what_can_be_read(folder: Path, tmp_path: Path) -> None:
    left_out: list[InputError] = []
    missing = str(tmp_path / "none.jsonl")
    assert len(evaluation_tasks.load_evaluation_texts([missing, str(folder)], left_out.append)) == 2
    assert len(left_out) == 1 and "none.jsonl" in str(left_out[0])
    with pytest.raises(InputError, match="no such seed file"):
        evaluation_tasks.load_evaluation_texts([missing, str(folder)])


def test_user_oriented_tasks(tmp_path: Path) -> None:
    path = tmp_path / "user.jsonl"
    rows = [
        {
            "id": "u0",
            "motivation_app": "Notes",
            "instruction": "Shorten the note.",
            "instances": [{"input": "a b", "output": "a"}],
        },
        {"id": "u1", "motivation_app": "Maps", "instruction": "Name a way.", "instances": [{"output": "left"}]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, _ = evaluation_tasks.load_evaluation_tasks(str(path))
    assert isinstance(first, SeedTask)
    assert (first.id, first.category, first.written_by) == ("u0", "Notes", "person")
    packed = tmp_path / "user.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert evaluation_tasks.load_evaluation_tasks(str(packed))[0] == first
    path.write_text(json.dumps(rows[0] | {"instances": []}) + "\n")
    with pytest.raises(InputError, match="line 1: `instances`: is empty"):
        evaluation_tasks.load_evaluation_tasks(str(path))


def test_what_is_not_there_or_empty(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such seed file"):
        evaluation_tasks.load_evaluation_tasks(str(tmp_path / "none.jsonl"))
    with pytest.raises(InputError, match="holds no data file"):
        evaluation_tasks.load_evaluation_tasks(str(tmp_path))


def test_a_folder_of_another_dataset(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(json.dumps([{"instruction": f"Name {name}.", "output": name}]))
    tasks = evaluation_tasks.load_evaluation_tasks(str(tmp_path))
    assert [task.instruction for task in tasks if isinstance(task, SeedTask)] == ["Name a.", "Name b."]


def test_the_reference_of_predictions_is_the_answer_that_they_are_compared_with(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_text(json.dumps({"instruction": "Add.", "input": "1 2", "response": "a model's 12", "target": "3"}))
    (task,) = evaluation_tasks.load_evaluation_tasks(str(path))
    assert isinstance(task, SeedTask) and task.instances[0].output == "3"


def test_what_of_a_dataset_is_no_task_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    talk = [{"role": role, "content": "hi"} for role in ("user", "assistant")]
    system = {"role": "system", "content": "Be brief."}
    chats = [talk, [system, *talk], talk * 2, talk[:1]]
    path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    left_out: Counter[str] = Counter()
    assert len(evaluation_tasks.load_evaluation_tasks(str(path), left_out=left_out)) == 1
    assert left_out == {"conversation of several turns": 1, "no answer": 1, "system message": 1}


@pytest.mark.parametrize(("name", "author"), [("eval_tasks", "person"), ("demo_heldout", "program")])
def test_who_wrote_the_packaged_tasks(name: str, author: str) -> None:
    tasks = evaluation_tasks.load_evaluation_tasks(name)
    assert {task.written_by for task in tasks if isinstance(task, SeedTask)} == {author}


@pytest.mark.parametrize(
    ("row", "author"),
    [
        ({"instruction": "Name one.", "input": "", "output": "Oslo"}, "unknown"),
        (
            {"id": "a", "instruction": "Name one.", "instances": [{"output": "Oslo"}], "is_classification": False},
            "unknown",
        ),
        ({"inputs": "Name one.", "targets": "Oslo"}, "unknown"),
        ({"thread": [{"role": "prompter", "text": "Name one."}, {"role": "assistant", "text": "Oslo"}]}, "person"),
        ({"instruction": "Name one.", "input": "", "response": "Rome", "target": "Oslo"}, "person"),
    ],
)
def test_people_wrote_only_what_is_known_to_be_theirs(row: dict[str, Any], author: str, tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps(row))
    (task,) = evaluation_tasks.load_evaluation_tasks(str(path))
    assert isinstance(task, SeedTask) and task.written_by == author


def test_compressed_task_files_are_asked_as_the_benchmark_does(tmp_path: Path) -> None:
    raw = json.dumps(superni_task()).encode()
    (tmp_path / "task1_a.json").write_bytes(raw)
    (tmp_path / "task2_b.json.gz").write_bytes(gzip.compress(raw))
    (tmp_path / "task1_a.json.bak").write_text("older")
    tasks = evaluation_tasks.load_evaluation_tasks(str(tmp_path))
    assert [task.id for task in tasks] == ["task1_a", "task2_b"]
    assert evaluation_tasks.load_evaluation_tasks(str(tmp_path / "task2_b.json.gz")) == [tasks[1]]
    (tmp_path / "task2_b.json.gz").write_bytes(gzip.compress(raw)[:-12])
    with pytest.raises(InputError, match=r"1 of 2 task files cannot be read.*\n.*task2_b.json.gz"):
        evaluation_tasks.load_evaluation_tasks(str(tmp_path))


def test_several_faults_of_a_task_file_are_one_line_of_a_dataset(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps(superni_task(Instances=[{"input": 1.5}, {"output": ["a"]}])))
    with pytest.raises(InputError) as caught:
        evaluation_tasks.load_evaluation_tasks(str(path))
    assert "Instances.1.input" in str(caught.value) and "\n" not in str(caught.value)
