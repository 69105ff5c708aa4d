"""Calibrated questions: what is measured on the seeds, and what a run makes of it."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.config.schema import Config, Filters
from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.engines.scripted import Answer, ScriptedEngine
from selfinstruct.errors import ConfigError, Interrupted
from selfinstruct.formats import seed_tasks
from selfinstruct.generation import calibration
from selfinstruct.generation.method import Method
from selfinstruct.generation.steps import Steps
from selfinstruct.records import Completion
from selfinstruct.replay.refilter import refilter
from selfinstruct.replay.status import status
from selfinstruct.run.classification_share import odd_share
from selfinstruct.run.counting import run_counts
from selfinstruct.run.header_values import Calibration
from selfinstruct.run.lines import Header
from selfinstruct.run.state import RunState
from tests.conftest import journal_lines, run_scripted, script

values = st.lists(st.integers(-9, 9).map(float), min_size=1, max_size=30)


@given(values, values)
def test_auc_counts_pairs(yes: list[float], no: list[float]) -> None:
    assert calibration.auc(yes, no) == pytest.approx(1 - calibration.auc(no, yes))
    assert calibration.auc([10.0], no) == 1.0
    assert calibration.auc(yes, yes) == pytest.approx(0.5)


@given(values)
def test_a_threshold_loses_at_most_the_share_that_it_may(yes: list[float]) -> None:
    threshold = calibration.losing(yes, 0.1)
    assert sum(value < threshold for value in yes) <= 0.1 * len(yes)


def test_the_balancing_threshold_gives_the_share_of_the_seeds_whatever_the_bias() -> None:
    draw = random.Random(1)
    yes, no = [draw.gauss(-3, 1) for _ in range(40)], [draw.gauss(-5, 1) for _ in range(160)]
    threshold = calibration.balancing(yes, no, 0.2)
    assert sum(value >= threshold for value in yes + no) == pytest.approx(40, abs=2)
    assert -4.5 < threshold < -3
    # Half as many of one kind were asked about; the share of the seeds is the same.
    assert calibration.balancing(yes[::2], no, 0.2) == pytest.approx(threshold, abs=0.5)


# ------------------------------------------------------------------------------------------------------------- a run


def odds(request: Request, weigh: Callable[[str], float]) -> Completion:
    """Answer a question about the last text of a prompt with these log-odds."""
    value = weigh(str(request.prompt).rpartition("Text: " if "is_task" in request.key else "Task: ")[2].split("\n")[0])
    assert request.choices is not None
    yes, no = request.choices
    return Completion(yes if value > 0 else no, "stop", 50, 1, {yes: value - 3.0, no: -3.0})


def luck(text: str) -> float:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % 1000 / 500 - 1


def judging(request: Request, weigh: Callable[[str], float]) -> Answer:
    return odds(request, weigh) if request.choices and request.key.startswith("is_task") else script(request)


def knows(seed_rows: list[dict[str, Any]]) -> Callable[[str], float]:
    """A model that knows the seeds from what is made of them; of other texts it takes four fifths for tasks."""
    seeds = {row["instruction"] for row in seed_rows}
    words = {word for text in seeds for word in text.split()}
    return lambda text: 1.0 if text in seeds else -3.0 if set(text.split()) <= words else luck(text) + 1.6


class Judge(ScriptedEngine):
    def __init__(self, weigh: Callable[[str], float], **options: Any) -> None:
        super().__init__(lambda request: judging(request, weigh), tells_logprobs=True, **options)

    @property
    def questions(self) -> list[str]:
        return [request.key for request in self.history if request.key.startswith("is_task")]


def steps_of(config: Config) -> Steps:
    tasks = seed_tasks.load_seed_tasks(config.seeds)
    return Steps(Method.of(config), tasks, tasks, ScriptedEngine(script), "completion")


def header(run: Path) -> dict[str, Any]:
    return journal_lines(run)[0]


def candidates(run: Path) -> list[dict[str, Any]]:
    return [c for line in journal_lines(run) for c in line.get("candidates", ()) if line["kind"] == "proposal"]


def test_what_is_no_task_is_rejected_with_its_log_odds(
    make_config: Any, tmp_path: Path, seed_rows: list[dict[str, Any]]
) -> None:
    engine = Judge(knows(seed_rows))
    state = run_scripted(make_config(), engine)
    found = header(tmp_path / "run")["calibration"]["is_task"]
    assert found == {"yes": 7, "no": 7, "share": 1.0, "auc": 1.0, "threshold": 1.0}
    rejected = [c for c in candidates(tmp_path / "run") if c.get("reason") == "not_a_task"]
    assert rejected and len(state.pool) == 30
    for candidate in rejected:
        assert candidate["evidence"] == {"log_odds": round(luck(candidate["instruction"]) + 1.6, 4), "threshold": 1.0}
    shown = {name for line in journal_lines(tmp_path / "run") for name in line.get("examples", ())}
    assert shown and not shown & {c["id"] for c in rejected}, "later proposals see tasks only"
    counts = run_counts(state)
    assert counts.candidates.accepted + counts.candidates.rejected == counts.candidates.total
    assert counts.candidates.reasons["not_a_task"] == len(rejected)
    verdicts = [v for line in journal_lines(tmp_path / "run") for v in line.get("verdicts", ())]
    assert counts.requests["is_task"].committed == len(verdicts)
    assert all(request.sampling.max_tokens == 1 for request in engine.history if "is_task" in request.key)


def test_latencies_and_kills_change_no_proposal(
    make_config: Any, tmp_path: Path, seed_rows: list[dict[str, Any]]
) -> None:
    def run(name: str, **options: Any) -> list[str]:
        config = make_config(output_dir=str(tmp_path / name))
        run_scripted(config, Judge(knows(seed_rows), **options))
        return sorted(map(json.dumps, journal_lines(tmp_path / name)))

    at_once = run("at-once")
    assert all(run(f"late-{seed}", latency=0.01, seed=seed) == at_once for seed in range(3))

    asked = 0

    def interrupted(request: Request) -> Answer:
        nonlocal asked
        asked += 1
        return Interrupted(15) if asked % 60 == 0 else judging(request, knows(seed_rows))

    config = make_config(output_dir=str(tmp_path / "killed"))
    for _ in range(40):
        try:
            run_scripted(config, ScriptedEngine(interrupted, tells_logprobs=True, latency=0.005))
            break
        except Interrupted:
            continue
    killed = [line for line in journal_lines(tmp_path / "killed") if line["kind"] != "control"]
    assert sorted(map(json.dumps, killed)) == at_once


def test_a_model_that_cannot_tell_is_not_asked(
    make_config: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = Judge(lambda text: 0.25)
    run_scripted(make_config(), engine)
    assert {key.split("/")[1] for key in engine.questions} == {"calibration"}
    assert header(tmp_path / "run")["calibration"]["is_task"]["threshold"] is None
    assert "cannot tell whether a text is a task (AUC 0.50" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("off", ["filter", "engine"])
def test_nothing_is_asked_where_it_is_off_or_the_engine_tells_nothing(
    off: str, make_config: Any, tmp_path: Path, seed_rows: list[dict[str, Any]]
) -> None:
    engine = Judge(knows(seed_rows))
    engine.tells_logprobs = off != "engine"
    run_scripted(make_config(filters={"is_task": "off"} if off == "filter" else {}), engine)
    assert not engine.questions
    assert "is_task" not in header(tmp_path / "run").get("calibration", {})


def test_a_warning_stays_with_an_accepted_instruction(
    make_config: Any, tmp_path: Path, seed_rows: list[dict[str, Any]]
) -> None:
    state = run_scripted(make_config(filters={"is_task": "warn"}), Judge(knows(seed_rows)))
    warned = [c for c in candidates(tmp_path / "run") if c.get("warnings")]
    assert warned and all(c["accepted"] for c in warned)
    assert run_counts(state).warnings["not_a_task"] == len(warned)


def test_a_question_that_fails_rejects_nobody(
    make_config: Any, tmp_path: Path, seed_rows: list[dict[str, Any]]
) -> None:
    def failing(request: Request) -> Answer:
        if request.key.startswith("is_task/p"):
            return RequestFailed("refused", "busy")
        return judging(request, knows(seed_rows))

    state = run_scripted(make_config(), ScriptedEngine(failing, tells_logprobs=True))
    assert "not_a_task" not in state.rejected
    assert state.failures["is_task", "refused"] == run_counts(state).requests["is_task"].failed > 0


def test_refilter_decides_by_another_threshold_and_never_asks(
    make_config: Any, tmp_path: Path, seed_rows: list[dict[str, Any]]
) -> None:
    run_scripted(make_config(), Judge(knows(seed_rows)))
    before = (tmp_path / "run" / "journal.jsonl").read_bytes().split(b"\n", 1)[1]
    refilter(tmp_path / "run", tmp_path / "same", Filters())
    assert (tmp_path / "same" / "journal.jsonl").read_bytes().split(b"\n", 1)[1] == before
    assert header(tmp_path / "same")["calibration"] == header(tmp_path / "run")["calibration"]
    strict = refilter(tmp_path / "run", tmp_path / "strict", Filters(is_task_threshold=2.0))
    loose = refilter(tmp_path / "run", tmp_path / "loose", Filters(is_task="off"))
    assert strict.candidates.accepted < strict.candidates.accepted_before < loose.candidates.accepted
    assert "not_a_task" not in loose.candidates.reasons


def test_refilter_refuses_to_judge_a_run_that_never_asked(make_config: Any, tmp_path: Path) -> None:
    run_scripted(make_config(filters={"is_task": "off"}))
    with pytest.raises(ConfigError, match="never asked which instructions are tasks"):
        refilter(tmp_path / "run", tmp_path / "new", Filters())


# ---------------------------------------------------------------------------------------------------- classification


def classifying(seeds: list[dict[str, Any]]) -> Callable[[Request], Answer]:
    """A model that says no to everything, and yet knows the seeds."""
    kinds = {row["instruction"]: row["is_classification"] for row in seeds}

    def answer(request: Request) -> Answer:
        if request.key.startswith("classification"):
            return odds(request, lambda text: -4.0 if kinds.get(text, luck(text) > 0.6) else -6.0)
        return script(request)

    return answer


@pytest.fixture
def many_seeds(tmp_path: Path, seed_rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = [
        row | {"id": f"{row['id']}-{k}", "instruction": f"{row['instruction']} Case {k}."}
        for k in range(3)
        for row in seed_rows
    ]
    (tmp_path / "seeds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def test_a_bias_against_yes_is_removed(make_config: Any, tmp_path: Path, many_seeds: list[dict[str, Any]]) -> None:
    options = {"filters": {"is_task": "off"}}
    engine = ScriptedEngine(classifying(many_seeds), tells_logprobs=True)
    state = run_scripted(make_config(**options), engine)
    found = header(tmp_path / "run")["calibration"]["classification"]
    assert (found["auc"], found["threshold"], found["share"]) == (1.0, -5.0, 0.3)
    assert state.is_classification == {i.id: luck(i.text) > 0.6 for i in state.pool}
    assert 0 < sum(state.is_classification.values()) < 30
    for request in engine.history[:30]:
        if request.key.startswith("classification"):
            asked = str(request.prompt).rpartition("Task: ")[2].split("\n")[0]
            assert str(request.prompt).count(asked) == 1, "no seed is an example in the question about itself"

    plain = make_config(output_dir=str(tmp_path / "plain"), classification={"calibrate": False}, **options)
    assert not any(
        run_scripted(plain, ScriptedEngine(classifying(many_seeds), tells_logprobs=True)).is_classification.values()
    )


def test_an_odd_share_of_classification_tasks_is_said_aloud(
    make_config: Any, tmp_path: Path, many_seeds: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config(num_instructions=40, classification={"calibrate": False}, filters={"is_task": "off"})
    run_scripted(config, ScriptedEngine(classifying(many_seeds), tells_logprobs=True))
    said = "0 of 40 instructions were called classification tasks; 30% of the seeds are"
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("yes", "known", "share", "odd"),
    [(0, 60, 0.17, True), (13, 60, 0.14, False), (3, 29, 0.9, False), (50, 60, 0.17, True), (0, 60, 0.0, False)],
)
def test_a_share_is_odd_when_it_is_far_from_the_seeds(yes: int, known: int, share: float, odd: bool) -> None:
    state = RunState(is_classification={str(k): k < yes for k in range(known)})
    assert bool(odd_share(state, share)) is odd
    state.header = Header(1, {}, {}, 60, calibration={"classification": Calibration(20, 100, share, 0.9, -1.0)})
    assert odd_share(state) == odd_share(state, share)


def test_status_says_that_a_share_is_odd(make_config: Any, tmp_path: Path, many_seeds: list[dict[str, Any]]) -> None:
    kinds = {row["instruction"]: row["is_classification"] for row in many_seeds}

    def never(request: Request) -> Answer:
        if request.key.startswith("classification"):
            return odds(request, lambda text: -1.0 if kinds.get(text) else -9.0)
        return script(request)

    run_scripted(
        make_config(num_instructions=40, filters={"is_task": "off"}), ScriptedEngine(never, tells_logprobs=True)
    )
    assert str(status(tmp_path / "run").remark).startswith("0 of 40 instructions were called classification tasks")
