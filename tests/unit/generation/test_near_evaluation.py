"""No instruction near an evaluation task enters the pool, and the run keeps what it compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfinstruct.config.schema import Config, Filters
from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl
from selfinstruct.replay.refilter import refilter
from selfinstruct.replay.status import status
from selfinstruct.run.directory import RunDirectory
from tests.conftest import Once, journal_lines, run_scripted


def candidates(run: Path) -> list[dict[str, Any]]:
    return [c for line in journal_lines(run) if line["kind"] == "proposal" for c in line.get("candidates", ())]


def tasks_of(path: Path, *instructions: str) -> Path:
    instances = [{"input": "", "output": "Yes."}]
    rows = [{"instruction": text, "instances": instances, "is_classification": False} for text in instructions]
    jsonl.write(path, [{"id": f"e{k}", **row} for k, row in enumerate(rows)])
    return path


@pytest.fixture
def held_out(make_config: Any, tmp_path: Path, once: Once) -> tuple[Config, str]:
    """A configuration that evaluates what the scripted engine would propose, and that instruction."""
    once(lambda: run_scripted(make_config(num_instructions=10, output_dir=str(tmp_path / "first"))))
    proposed = next(c["instruction"] for c in candidates(tmp_path / "first") if c["accepted"])
    tasks = tasks_of(tmp_path / "tasks.jsonl", "Name the largest river of a country.", proposed)
    return make_config(num_instructions=10, evaluate={"tasks": [str(tasks)]}), proposed


def test_a_proposal_near_an_evaluation_task_is_rejected_with_evidence(held_out: tuple[Config, str]) -> None:
    config, proposed = held_out
    run_scripted(config)
    run = Path(str(config.output_dir))
    found = [c for c in candidates(run) if c["instruction"] == proposed]
    assert {(c["accepted"], c["reason"]) for c in found} == {(False, "near_evaluation_task")}
    assert found[0]["evidence"] == {"task": "e1", "measure": "exact", "score": 1.0}
    counts = status(run).counts.candidates
    assert counts.reasons["near_evaluation_task"] >= 1
    assert counts.total == counts.accepted + sum(counts.reasons.values())


def test_a_run_goes_on_with_the_tasks_that_it_began_with(held_out: tuple[Config, str]) -> None:
    config, proposed = held_out
    run_scripted(config)
    run = RunDirectory(Path(str(config.output_dir)))
    before = run.journal.read_bytes()
    tasks_of(Path(config.evaluate.tasks[0]), "Something else is asked now.")
    run_scripted(config.model_copy(update={"num_instructions": 20}))
    assert run.journal.read_bytes().startswith(before)
    assert not any(c["accepted"] for c in candidates(run.path) if c["instruction"] == proposed)
    refilter(run.path, run.path.with_name("new"), config.filters)
    lines, again = run.journal.read_bytes(), RunDirectory(run.path.with_name("new"))
    assert again.journal.read_bytes().split(b"\n")[1:] == lines.split(b"\n")[1:]
    assert again.evaluation_tasks.read_bytes() == run.evaluation_tasks.read_bytes()
    run_scripted(again.config().model_copy(update={"output_dir": str(again.path)}))
    run.evaluation_tasks.write_text(run.evaluation_tasks.read_text().replace("river", "lake"))
    with pytest.raises(InputError, match="changed since the run began"):
        run_scripted(config.model_copy(update={"num_instructions": 20}))


def test_refilter_switches_it_on_and_off(held_out: tuple[Config, str]) -> None:
    config, proposed = held_out
    off = config.model_copy(update={"filters": Filters(near_evaluation="off")})
    run_scripted(off)
    run = RunDirectory(Path(str(config.output_dir)))
    assert not run.evaluation_tasks.exists() and "evaluation_sha256" not in run.header().identity
    assert any(c["accepted"] for c in candidates(run.path) if c["instruction"] == proposed)
    on = refilter(run.path, run.path.with_name("on"), Filters())
    assert on.candidates.left >= 1 and on.candidates.reasons["near_evaluation_task"] >= 1
    back = refilter(on.output, run.path.with_name("back"), Filters(near_evaluation="off"))
    assert back.candidates.accepted >= on.candidates.accepted + 1
    assert run.header().identity == RunDirectory(back.output).header().identity


def test_tasks_that_cannot_be_read_are_an_error_with_a_remedy(make_config: Any) -> None:
    with pytest.raises(InputError, match=r"(?s)nowhere.*--filters.near-evaluation off"):
        run_scripted(make_config(evaluate={"tasks": ["nowhere.jsonl"]}))
