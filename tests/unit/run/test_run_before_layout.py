"""Runs that were made before the code moved into folders are read, continued and exported as they were."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest
from click.testing import CliRunner

from selfinstruct.chain.rounds import Chain, iterate
from selfinstruct.cli import cli
from selfinstruct.config.earlier_defaults import completed
from selfinstruct.config.load import load_config
from selfinstruct.config.schema import Config
from selfinstruct.dataset.export import export
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.engines.scripted import Answer, ScriptedEngine
from selfinstruct.errors import InputError
from selfinstruct.generation.generate import generate
from selfinstruct.generation.regenerate import regenerate
from selfinstruct.records import Completion
from selfinstruct.replay.explain import explain
from selfinstruct.run.counting import run_counts
from selfinstruct.run.journal import read_lines
from selfinstruct.run.state import RunState, replay
from tests.conftest import journal_lines
from tests.fixtures.run_before_layout import script

FIXTURE = Path(script.__file__).parent
EXPECTED = json.loads((FIXTURE / "expected.json").read_bytes())
RUNS = tuple(EXPECTED["summaries"])
SINCE: dict[str, Any] = {"warnings": {}, "answers": None, "tags": []}
"""Counts that are younger than these runs."""
FINISHED = tuple(name for name in RUNS if name != "interrupted")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A copy of the fixture that works at its own place, as the fixture's README says."""
    copy = tmp_path.resolve() / "copy"
    shutil.copytree(FIXTURE, copy, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for path in copy.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.suffix != ".py":
            path.write_bytes(path.read_bytes().replace(b"@FIXTURE@", str(copy).encode()))
    return copy


def answer(request: Request) -> Answer:
    text, end = script.answer(request.key, request.prompt)
    if end not in ("stop", "length"):
        return RequestFailed(end, "by the script")
    return Completion(text, end, script.words(request.prompt), script.words(text))


def start(*, chat: bool) -> Any:
    async def started() -> Engine:
        return ScriptedEngine(answer, has_chat_template=chat)

    return started


async def no_engine() -> NoReturn:
    raise AssertionError("an engine was started")


def config_of(run: Path) -> Config:
    return load_config(run / "config.yaml", {})


def state_of(run: Path) -> RunState:
    return replay(read_lines(run / "journal.jsonl"))


def invoke(*arguments: object) -> str:
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def with_placeholder(text: str, runs: Path) -> str:
    return text.replace(str(runs), "@FIXTURE@")


def summary_of(run: Path) -> dict[str, Any]:
    """Return the counts of a run, without the younger ones: all lists were continued, nothing was rated."""
    summary = run_counts(state_of(run)).to_json()
    assert [counts.pop("asked_again") for counts in summary["requests"].values()] == [0] * len(summary["requests"])
    assert summary.pop("proposers").keys() <= {"list"} and summary.pop("topics") == {}
    assert summary.pop("scores") == []
    return summary


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def exported(folder: Path) -> dict[str, bytes]:
    """The files of a dataset, without what exports have held since: `messages` in rows, two of the counts."""
    found = files_below(folder)
    for name, content in found.items():
        if "/" not in name and name.endswith(".jsonl"):
            found[name] = without_messages(content)
        elif name == "export.json":
            counts = json.loads(content)
            counts.pop("sources", None)
            counts.pop("card_sha256", None)
            found[name] = json.dumps(counts).encode()
    return found


def without_messages(rows: bytes) -> bytes:
    """Rows as they were written before they held `messages`, which says the same as prompt and completion."""
    kept = []
    for line in rows.splitlines():
        row = json.loads(line)
        messages = row.pop("messages", None)
        assert messages in (None, [*row["prompt"], *row["completion"]])
        kept.append(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
    return b"".join(kept)


@pytest.mark.parametrize("name", RUNS)
def test_the_journal_replays_to_the_recorded_summary(runs: Path, name: str) -> None:
    assert summary_of(runs / name) == EXPECTED["summaries"][name] | SINCE


def test_an_interrupted_run_goes_on_to_the_recorded_end(runs: Path) -> None:
    run, recorded = runs / "interrupted", EXPECTED["interrupted_continued"]
    config = config_of(run)
    before = (run / "journal.jsonl").read_bytes()
    assert generate(config, start(chat=False)).complete
    journal = (run / "journal.jsonl").read_bytes()
    assert journal.startswith(before), "recorded lines are kept byte for byte"
    assert sorted(with_placeholder(journal.decode(), runs).splitlines()) == recorded["journal_sorted"]
    assert summary_of(run) == recorded["summary"] | SINCE
    export(config)
    rows = without_messages((run / "dataset" / "train.jsonl").read_bytes())
    assert hashlib.sha256(rows).hexdigest() == recorded["train_sha256"]


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_run_starts_no_engine_and_keeps_its_journal(runs: Path, name: str) -> None:
    run = runs / name
    before = (run / "journal.jsonl").read_bytes()
    if name == "regenerated":
        assert regenerate(runs / "generated", config_of(run), no_engine).complete
    else:
        assert generate(config_of(run), no_engine).complete
    assert (run / "journal.jsonl").read_bytes() == before


@pytest.mark.parametrize(("name", "kept"), [("regenerated", 60), ("rounds/round-02", 12)])
def test_a_run_that_lost_its_last_lines_writes_the_same_ones_again(runs: Path, name: str, kept: int) -> None:
    run = runs / name
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) > kept and not any(b'"kind":"control"' in line for line in lines[kept:])
    (run / "journal.jsonl").write_bytes(b"".join(lines[:kept]))
    if name == "regenerated":
        assert regenerate(runs / "generated", config_of(run), start(chat=True)).complete
    else:
        assert generate(config_of(run), start(chat=True)).complete
    again = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    assert again[:kept] == lines[:kept] and sorted(again) == sorted(lines)


@pytest.mark.parametrize("name", FINISHED)
def test_exporting_again_gives_the_same_bytes(runs: Path, name: str) -> None:
    """But for the card, which is prose, and completions for GPT-3, which had no end token."""
    dataset = runs / name / "dataset"
    before = exported(dataset)
    export(config_of(runs / name))
    after = exported(dataset)
    assert after.pop("README.md") and before.pop("README.md")
    assert after.pop("dataset_info.json"), "which is new"
    completions = "self_instruct/finetuning.jsonl"
    before[completions] = (
        before[completions].replace(b'"completion":" ', b'"completion":"').replace(b'"}\n', b'<|endoftext|>"}\n')
    )
    assert after == before


@pytest.mark.parametrize("name", RUNS)
def test_status_and_report_read_it(runs: Path, name: str) -> None:
    run = runs / name
    status = json.loads(invoke("status", run, "--json"))
    assert {key: status[key] for key in ("complete", "candidates", "instances")} == {
        key: EXPECTED["summaries"][name][key] for key in ("complete", "candidates", "instances")
    }
    assert invoke("status", run)
    invoke("report", run)
    assert (run / "report.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("name", RUNS)
def test_every_candidate_is_explained(runs: Path, name: str) -> None:
    run = runs / name
    proposals = [line for line in journal_lines(run) if line["kind"] == "proposal"]
    candidates = [candidate for line in proposals for candidate in line.get("candidates", ())]
    assert len(candidates) == EXPECTED["summaries"][name]["candidates"]["total"]
    for candidate in candidates:
        explained = json.loads(invoke("explain", run, candidate["id"], "--json"))["candidates"][0]
        assert {key: explained[key] for key in ("id", "instruction", "accepted", "reason")} == {
            "reason": None,
            **{key: candidate[key] for key in ("id", "instruction", "accepted", "reason") if key in candidate},
        }
        assert candidate["id"] in invoke("explain", run, candidate["id"])


def test_instructions_of_a_parent_run_are_explained_in_their_own_run(runs: Path) -> None:
    rounds = runs / "rounds"
    own = explain(rounds / "round-02", "p000000-00", top=99).candidates[0]
    of_parent = next(near.id for near in own.similar if near.origin == "earlier")
    with pytest.raises(InputError, match=f"{of_parent} belongs to a parent run"):
        explain(rounds / "round-02", of_parent)
    assert explain(rounds / "round-01", of_parent.removeprefix("round-01/")).candidates[0].accepted


@pytest.mark.parametrize("name", [name for name in RUNS if name != "regenerated"])
def test_the_recorded_filters_decide_as_recorded(runs: Path, tmp_path: Path, name: str) -> None:
    run, again = runs / name, tmp_path / "again"
    invoke("refilter", run, "-o", again)
    header, *lines = (again / "journal.jsonl").read_bytes().splitlines()
    recorded_header, *recorded = (run / "journal.jsonl").read_bytes().splitlines()
    assert lines == recorded
    assert json.loads(header).pop("refiltered_from")["run"] == str(run)
    now, then = json.loads(header), json.loads(recorded_header)
    then["identity"]["filters"] = completed(then["identity"])["filters"]  # A new run names options that are younger.
    assert {k: v for k, v in now.items() if k != "refiltered_from"} == then


@pytest.mark.parametrize("name", RUNS)
def test_repair_changes_nothing(runs: Path, name: str) -> None:
    before = files_below(runs)
    assert json.loads(invoke("repair", runs / name, "--json"))["copy"] is None
    assert {path: data for path, data in files_below(runs).items() if not path.endswith(".lock")} == before


def test_two_finished_rounds_call_no_step(runs: Path) -> None:
    def step(*_: Any) -> NoReturn:
        raise AssertionError("a step was called")

    output = runs / "rounds"
    before = json.loads((output / "rounds.json").read_bytes())
    iterate(config_of(output), Chain(step, step, step, step, step, step))
    after = json.loads((output / "rounds.json").read_bytes())
    assert after["identity"] == before["identity"] and after["best"] == before["best"] == "round-02"
    assert len(after["rounds"]) == len(before["rounds"]) == 2
    for row, recorded in zip(after["rounds"], before["rounds"], strict=True):
        assert {k: v for k, v in row.items() if k != "gain"} == {k: v for k, v in recorded.items() if k != "gain"}
    assert after["rounds"][1]["gain"]["difference"] == before["rounds"][1]["gain"]["difference"]
    assert (output / "best").readlink() == Path("round-02")


def test_the_option_earlier_still_names_the_parent_runs(runs: Path) -> None:
    """The option's name in the configuration of a run that was made before it was called otherwise."""
    run = runs / "rounds" / "round-02"
    assert f"earlier:\n- {runs / 'rounds' / 'round-01'}\n" in (run / "config.yaml").read_text()
    shutil.rmtree(run / "dataset")
    export(config_of(run))
    rows = [json.loads(line) for line in (run / "dataset" / "train.jsonl").read_text().splitlines()]
    assert {row["origin"] for row in rows} == {"earlier", "generated"}
    assert {row["id"].partition("/")[0] for row in rows if row["origin"] == "earlier"} == {"round-01"}
