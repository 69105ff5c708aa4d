"""Seed files: what is refused, all at once and by line; and that the packaged sets keep what they promise."""

from __future__ import annotations

import json
import re
import statistics
import unicodedata
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.checks import seed_lint
from selfinstruct.config.schema import Filters
from selfinstruct.errors import InputError
from selfinstruct.formats import data_files, seed_tasks
from selfinstruct.formats.data_files import Record
from selfinstruct.generation.examples import can_be_shown
from selfinstruct.generation.filters import heuristics
from selfinstruct.generation.filters.script import script_of
from selfinstruct.generation.frame import load_frame
from selfinstruct.records import Instance, SeedTask
from tests import rouge

SEEDS = seed_tasks.load_seed_tasks(["seed_tasks"])
EVALUATION = seed_tasks.load_seed_tasks(["eval_tasks"])
DATASHEET = (Path(__file__).parents[3] / "seeds" / "README.md").read_text()
MEANT = r"^instructions in several languages: |: suspicious output of instance \d+: refusal "
"""Notes on the packaged tasks that are no faults: some are in other languages, and some are to be declined."""


def row(**changes: Any) -> dict[str, Any]:
    good = {
        "id": "s1",
        "instruction": "Name a river.",
        "instances": [{"input": "", "output": "Elbe"}],
        "is_classification": False,
    }
    return {name: value for name, value in (good | changes).items() if value is not ...}


def write(path: Path, *rows: Any) -> Path:
    path.write_bytes(b"".join(r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in rows))
    return path


def problems(*paths: Path) -> str:
    with pytest.raises(InputError) as caught:
        seed_tasks.load_seed_tasks(paths)
    assert caught.value.exit_code == 4
    return str(caught.value)


def test_a_good_file(tmp_path: Path) -> None:
    extra = row(instruction=" Name a river.\n", name="river", category="facts", other=1)
    (task,) = seed_tasks.load_seed_tasks([write(tmp_path / "s.jsonl", extra)])
    assert task == SeedTask("s1", "Name a river.", (Instance("", "Elbe"),), False, "river", "facts")


def test_an_input_may_be_left_out(tmp_path: Path) -> None:
    (task,) = seed_tasks.load_seed_tasks([write(tmp_path / "s.jsonl", row(instances=[{"output": "Elbe"}]))])
    assert task.instances == (Instance("", "Elbe"),)


def test_bom_and_crlf_are_accepted(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", b"\xef\xbb\xbf" + json.dumps(row()).encode() + b"\r\n\r\n")
    assert len(seed_tasks.load_seed_tasks([path])) == 1


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (b'{"id": "x", \n', "not valid JSON"),
        (b'{"id": "\xff"}\n', "utf-8"),
        (b"[]\n", "expected a JSON object, got list"),
        (row(id=...), "`id`: is missing"),
        (row(id=""), "`id`: is empty"),
        (row(id=7), "`id`: input should be a valid string, got 7"),
        (row(instruction=...), "`instruction`: is missing"),
        (row(instruction="  \n"), "`instruction`: is empty"),
        (row(instruction=["a"]), "`instruction`: input should be a valid string, got ['a']"),
        (row(instruction="a\0b"), "`instruction`: holds a NUL character"),
        (row(instruction="a \ud800"), "`instruction`: holds a lone surrogate"),
        (row(category="a \udfff"), "`category`: holds a lone surrogate"),
        (row(instances=...), "`instances`: is missing"),
        (row(instances=[]), "`instances`: is empty"),
        (row(instances={"input": "", "output": "x"}), "`instances`: input should be a valid list"),
        (row(instances=[{"input": "a"}]), "`instances.0.output`: is missing"),
        (row(instances=[{"input": "a", "output": ""}]), "`instances.0.output`: is empty"),
        (
            row(instances=[{"output": "a"}, {"output": 3}]),
            "`instances.1.output`: input should be a valid string, got 3",
        ),
        (row(instances=[{"input": "\0", "output": "a"}]), "`instances.0`: holds a NUL character"),
        (row(is_classification=...), "`is_classification`: is missing"),
        (row(is_classification="false"), "`is_classification`: input should be a valid boolean, got 'false'"),
        (row(is_classification=0), "`is_classification`: input should be a valid boolean, got 0"),
        (row(name="a\0"), "`name`: holds a NUL character"),
    ],
)
def test_a_bad_row_is_named_by_line_and_field(tmp_path: Path, bad: Any, said: str) -> None:
    good = [row(id=f"g{k}") for k in range(16)]
    path = write(tmp_path / "s.jsonl", *good, bad)
    message = problems(path)
    assert message.startswith("1 problem(s) in the tasks")
    assert f"  {path}, line 17: " in message
    assert said in message


def test_a_lone_surrogate_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", json.dumps(row(instances=[{"output": "\ud83d"}])).encode() + b"\n")
    message = problems(path)
    assert f"{path}, line 1: `instances.0" in message
    message.encode("utf-8")  # can be shown


def test_all_problems_of_all_files_come_at_once(tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", row(id=...), b"{\n", row(), row(instruction=""))
    two = write(tmp_path / "two.jsonl", row(id="other"), row())
    three = write(tmp_path / "three.jsonl")
    message = problems(one, two, three)
    assert message.startswith("5 problem(s)")
    for where in (f"{one}, line 1", f"{one}, line 2", f"{one}, line 4", f"{two}, line 2", f"{three}: holds no tasks"):
        assert where in message


def test_duplicate_ids_name_both_places(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one.jsonl", row()), write(tmp_path / "two.jsonl", row(id="s2"), row())
    assert f"{two}, line 2: `id`: 's1' is already the id of {one}, line 1" in problems(one, two)


def test_a_missing_file_says_what_can_be_given(tmp_path: Path) -> None:
    assert "no such seed file; give a path, or one of the packaged names: seed_tasks" in problems(tmp_path / "no.jsonl")
    assert "holds no data file" in problems(tmp_path)


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    plain = seed_tasks.load_seed_tasks([write(tmp_path / "a.jsonl", row())])
    spaced = seed_tasks.load_seed_tasks(
        [write(tmp_path / "b.jsonl", json.dumps(row(note=1), indent=None).encode() + b"\r\n")]
    )
    assert seed_tasks.fingerprint(plain) == seed_tasks.fingerprint(spaced)
    for change in ({"id": "s2"}, {"instruction": "Name a lake."}, {"is_classification": True}):
        assert seed_tasks.fingerprint(
            seed_tasks.load_seed_tasks([write(tmp_path / "c.jsonl", row(**change))])
        ) != seed_tasks.fingerprint(plain)


# ------------------------------------------------------------------------------------------- packaged sets


def test_seed_set_has_the_sizes_it_promises() -> None:
    assert len(SEEDS) == 175
    classification = [t for t in SEEDS if t.is_classification]
    assert len(classification) >= 25
    assert all(len({i.output for i in t.instances}) >= 2 for t in classification)
    others = [t for t in SEEDS if not t.is_classification]
    assert sum(2 <= len(t.instances) <= 3 for t in others) >= 40
    assert len({t.category for t in SEEDS}) >= 15
    assert all(t.category and t.name for t in SEEDS + EVALUATION)


def test_evaluation_set_has_the_size_it_promises() -> None:
    assert len(EVALUATION) == 150
    assert not {t.id for t in SEEDS} & {t.id for t in EVALUATION}


def test_no_two_seeds_are_alike() -> None:
    pairs = combinations(SEEDS, 2)
    assert [(a.id, b.id) for a, b in pairs if rouge.reaches(a.instruction, b.instruction, 0.6)] == []


def test_no_evaluation_task_is_near_a_seed_or_another_evaluation_task() -> None:
    pairs = [*((e, s) for e in EVALUATION for s in SEEDS), *combinations(EVALUATION, 2)]
    assert [(e.id, t.id) for e, t in pairs if rouge.reaches(e.instruction, t.instruction, 0.5)] == []


def test_packaged_tasks_pass_the_heuristics_and_can_be_shown() -> None:
    for tasks in (SEEDS, EVALUATION):
        check = heuristics(Filters(), [t.instruction for t in tasks])
        assert {t.id: check(t.instruction) for t in tasks if check(t.instruction)} == {}
        assert [t.id for t in tasks if not can_be_shown(t, load_frame())] == []
        notes = [note for note in seed_lint.advice(tasks, load_frame()) if not re.search(MEANT, note)]
        assert notes == []


def test_inputs_have_many_shapes() -> None:
    inputs = [i.input for t in SEEDS for i in t.instances]
    shapes = {
        "none": sum(not text for text in inputs),
        "one line": sum(bool(text) and "\n" not in text for text in inputs),
        "several lines": sum("\n" in text for text in inputs),
        "table": sum(bool(re.search(r"^.+ \| .+\n.+ \| ", text, re.M)) for text in inputs),
        "list": sum(bool(re.search(r"^(?:[-*]|\d[.)]) .+\n(?:[-*]|\d[.)]) ", text, re.M)) for text in inputs),
        "dialogue": sum(bool(re.search(r"^[A-Z]\w+: .+\n[A-Z]\w+: ", text, re.M)) for text in inputs),
        "e-mail": sum(bool(re.search(r"^(?:Hi|Hello|Dear)\b", text, re.M)) for text in inputs),
        "code": sum(bool(re.search(r"^(?:def |SELECT |for |if |\s+return )", text, re.M)) for text in inputs),
    }
    assert {shape: n for shape, n in shapes.items() if n < 3} == {}


# ----------------------------------------------------------------------------------------------- datasheet


# A limit of form: a number of words, sentences and the like; "at most", "exactly" and the like before a number;
# or a word that shuts everything else out.
NUMBER = r"(?:\d+|one|two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|a single)"
UNIT = r"(?:words?|sentences?|lines?|paragraphs?|bullets?|characters|letters|minutes)"
LIMIT_OF_FORM = re.compile(
    rf"\b{NUMBER}[- ](?:\w+ )?{UNIT}\b|"
    rf"\b(?:at most|at the most|no more than|no longer than|fewer than|less than|under|within|exactly) {NUMBER}\b|"
    r"\b(?:or fewer|or less|max|maximum|few words|alone|only|nothing (?:else|more)|just the)\b",
    re.I,
)
WORN_SETTINGS = ("tea", "library", "umbrella")


def texts(task: SeedTask) -> str:
    return "\n".join([task.instruction, *(text for i in task.instances for text in (i.input, i.output))])


def other_scripts(text: str) -> set[str]:
    """Return the scripts of its letters but Latin, and Greek, whose letters stand in formulas."""
    scripts = {script_of(c) for c in text if unicodedata.category(c) == "Lo" or script_of(c) == "CYRILLIC"}
    return scripts - {"LATIN", "FEMININE", "MASCULINE"}


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"


def figures(tasks: list[SeedTask]) -> dict[str, str]:
    instances = [i for t in tasks for i in t.instances]
    words = [len(t.instruction.split()) for t in tasks]
    outputs = [len(i.output.split()) for i in instances]
    without_input = sum(not any(i.input for i in t.instances) for t in tasks)
    limited = sum(bool(LIMIT_OF_FORM.search(t.instruction)) for t in tasks)
    settings = [sum(bool(re.search(rf"\b{w}s?\b", texts(t), re.I)) for t in tasks) for w in WORN_SETTINGS]
    return {
        "tasks": str(len(tasks)),
        "classification tasks": str(sum(t.is_classification for t in tasks)),
        "other tasks": str(sum(not t.is_classification for t in tasks)),
        "other tasks with two or three instances": str(
            sum(not t.is_classification and 2 <= len(t.instances) <= 3 for t in tasks)
        ),
        "instances": str(len(instances)),
        "tasks without input": percent(without_input, len(tasks)),
        "mean output (words)": f"{statistics.mean(outputs):.1f}",
        "longest output (words)": str(max(outputs)),
        "outputs over 100 words": percent(sum(n > 100 for n in outputs), len(outputs)),
        "mean instruction (words)": f"{statistics.mean(words):.1f}",
        "shortest instruction (words)": str(min(words)),
        "longest instruction (words)": str(max(words)),
        "instructions with an explicit limit of form": percent(limited, len(tasks)),
        "instructions that speak of something below": str(
            sum(bool(re.search(r"\bbelow\b", t.instruction)) for t in tasks)
        ),
        "tasks of the categories languages and translation": str(
            sum(t.category in {"languages", "translation"} for t in tasks)
        ),
        "tasks with another script than Latin": str(sum(bool(other_scripts(texts(t))) for t in tasks)),
        "scripts but Latin": str(len({s for t in tasks for s in other_scripts(texts(t))})),
        "tasks that name tea, library or umbrella, the most frequent of them": str(max(settings)),
        "categories": str(len({t.category for t in tasks})),
    }


@pytest.mark.parametrize(("name", "tasks"), [("seed_tasks", SEEDS), ("eval_tasks", EVALUATION)])
def test_the_datasheets_numbers_are_those_of_the_file(name: str, tasks: list[SeedTask]) -> None:
    section = DATASHEET.split(f"### `{name}.jsonl`")[1].split("\n### ")[0].split("\n## ")[0]
    table = dict(re.findall(r"^\| ([^|]+?) +\| +(\d[^|]*?) +\|$", section, re.M))
    categories = {category or "": str(n) for category, n in Counter(t.category for t in tasks).items()}
    assert table == figures(tasks) | categories


@pytest.mark.parametrize("tasks", [SEEDS, EVALUATION])
def test_the_mix_is_that_of_requests_to_an_assistant(tasks: list[SeedTask]) -> None:
    found = {name: float(value.split()[0]) for name, value in figures(tasks).items()}
    assert 25 <= found["tasks without input"] <= 35
    assert found["mean output (words)"] >= 40
    assert found["outputs over 100 words"] >= 10
    assert 12 <= found["mean instruction (words)"] <= 17
    assert found["instructions with an explicit limit of form"] <= 20
    assert found["instructions that speak of something below"] <= 3
    assert found["tasks of the categories languages and translation"] >= 10
    assert found["tasks with another script than Latin"] >= 8
    assert found["tasks that name tea, library or umbrella, the most frequent of them"] <= 2
    assert 15 <= 100 * found["classification tasks"] / found["tasks"] <= 19
    assert all(len({i.output for i in t.instances}) >= 2 for t in tasks if t.is_classification)
    assert sum(t.category == "declining and asking back" for t in tasks) >= 5


def test_what_counts_as_a_limit_of_form() -> None:
    for limited in (
        "Say it in one sentence.",
        "Use no more than 30 words.",
        "Reply with the verb alone.",
        "2 lines max",
    ):
        assert LIMIT_OF_FORM.search(limited), limited
    for free in ("Write a short essay.", "Report what three people said.", "Which of these two is older?"):
        assert not LIMIT_OF_FORM.search(free), free


def test_the_datasheet_is_complete() -> None:
    headings = re.findall(r"^## (.+)$", DATASHEET, re.M)
    assert headings == ["Motivation", "Composition", "Collection", "Checks", "Schema", "Uses", "Limits", "Licence"]


def test_paraphrases_and_who_wrote_a_task(tmp_path: Path) -> None:
    row = {"id": "a", "instruction": "Say it.", "instances": [{"output": "it"}], "is_classification": False}
    path = tmp_path / "s.jsonl"
    path.write_text(json.dumps(row | {"paraphrases": ["Utter it.", " Tell it. "], "written_by": "program"}) + "\n")
    task = seed_tasks.load_seed_tasks([path])[0]
    assert (task.paraphrases, task.written_by) == (("Utter it.", "Tell it."), "program")
    path.write_text(json.dumps(row | {"paraphrases": ["", "a\x00"], "written_by": "nobody"}) + "\n")
    with pytest.raises(
        InputError, match="`written_by`: input should be 'person', 'program', 'model' or 'unknown', got 'nobody'"
    ):
        seed_tasks.load_seed_tasks([path])
    path.write_text(json.dumps(row | {"paraphrases": ["", "a\x00"]}) + "\n")
    with pytest.raises(InputError) as error:
        seed_tasks.load_seed_tasks([path])
    assert "`paraphrases.0`: is empty" in str(error.value)
    assert "`paraphrases.1`: holds a NUL" in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "task"),
    [
        ("a.json", '[{"instruction": "Say hi.", "input": "", "output": "Hi."}]', ("a_000001", "Say hi.", "", "Hi.")),
        ("a.jsonl", '{"instruction": "Sort.", "input": "b a", "output": "a b"}', ("a_000001", "Sort.", "b a", "a b")),
        (
            "c.json",
            '[{"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]}]',
            ("c_000001", "hi", "", "ho"),
        ),
        (
            "t.json",
            '{\n"Definition": ["Add."],\n"Instances": [{"input": "1 2", "output": ["3"]}]\n}',
            ("t_000001", "Add.", "1 2", "3"),
        ),
        (
            "s.json",
            '[\n{"id": "x", "instruction": "Do.", "instances": [{"output": "y"}], "is_classification": false}\n]',
            ("x", "Do.", "", "y"),
        ),
    ],
)
def test_other_datasets_are_seed_tasks_too(tmp_path: Path, name: str, text: str, task: tuple[str, ...]) -> None:
    path = tmp_path / name
    path.write_text(text)
    (read,) = seed_tasks.load_seed_tasks([path])
    assert (read.id, read.instruction, read.instances[0].input, read.instances[0].output) == task


def test_a_dataset_of_another_family_is_named_as_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"instruction": "Say hi.", "input": "", "output": "Hi."}]')
    said = [f"{path} is no file of seed tasks: it is read as alpaca (instruction, input, output)"]
    assert seed_tasks.dataset_remarks(["seed_tasks", f"{path}:20", "domain:healthcare"]) == said
    assert seed_tasks.dataset_remarks([path], own=["alpaca"]) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"key": 1, "prompt": "p", "instruction_id_list": [], "kwargs": []}', "this is a file of IFEval, no file of"),
        ('{"instruction": "Say hi.", "output": 3}', "record 1: `output`: expected"),
        ('{"instruction": "Say hi.", "output": ""}', "holds no task with an answer"),
        ("[1, 2]", "record 1: expected an object, got int"),
    ],
)
def test_what_is_no_task_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        seed_tasks.load_seed_tasks([path])
    assert said in str(error.value)
    assert str(path) in str(error.value)


def test_many_problems_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "seeds.jsonl"
    path.write_text("{}\n" * 1000)
    with pytest.raises(InputError, match=r"4000 problem\(s\)") as error:
        seed_tasks.load_seed_tasks([path])
    assert len(str(error.value).splitlines()) == 22
    assert str(error.value).endswith("... and 3,980 more")


def test_a_dataset_with_text_that_no_prompt_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"instruction": "Name \ud800.", "output": "Yes"}) + "\n")
    with pytest.raises(InputError, match=r"task data_000001: holds a lone surrogate.*from-dataset"):
        seed_tasks.load_seed_tasks([str(path)])
    assert len(seed_tasks.load_seed_tasks([str(path)], unfit_datasets=True)) == 1


def test_a_dataset_on_the_hub_gives_seeds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [Record("owner/rows", f"row {k}", {"instruction": f"Sing {k}.", "output": "La"}) for k in range(3)]
    monkeypatch.setattr(data_files, "_of_hub", lambda name: iter(rows))
    assert [task.instruction for task in seed_tasks.load_seed_tasks(["owner/rows"])] == [
        "Sing 0.",
        "Sing 1.",
        "Sing 2.",
    ]
    with pytest.raises(InputError, match="no such seed file"):
        seed_tasks.load_seed_tasks([tmp_path / "rows"])
