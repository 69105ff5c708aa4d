"""`run` rates, tags and chooses between generation and export. The stages are functions; the commands are real."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfinstruct.chain import asking, chain
from selfinstruct.chain.fetch import fetch_models
from selfinstruct.cli import cli
from selfinstruct.config.schema import Config
from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import Answer, ScriptedEngine
from selfinstruct.engines.vllm import VLLMEngine
from selfinstruct.errors import ConfigError, EngineError, StoppedError
from selfinstruct.records import Completion
from selfinstruct.replay.status import status
from selfinstruct.run.directory import RunDirectory
from tests.conftest import journal_lines, script
from tests.unit.chain.test_schedule import START, Night

pytestmark = pytest.mark.whole

CHOICE = {"scores": {"min_best": "5"}, "answer": {"num_samples": 3, "keep": "best", "temperature": 0.7}}


def grades(request: Request) -> Answer:
    """A judge that looks at the answer, and a tagger."""
    if not request.key.startswith("score/"):
        return script(request)
    return Completion("12345"[hashlib.sha256(str(request.prompt).encode()).digest()[0] % 5], "stop", 50, 1)


class AskingNight(Night):
    """A night whose judge and tagger are the commands; `asked` counts their requests."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.judges: Callable[[Request], Answer] = grades
        self.asked = 0
        self.ask_s = 1.0
        self.commands: list[list[str]] = []
        monkeypatch.setattr(asking, "run_stage", self.ask)

        def answer(request: Request) -> Answer:
            self.asked += 1
            return self.judges(request)

        async def start(*_: Any, **__: Any) -> ScriptedEngine:
            return ScriptedEngine(answer, has_chat_template=True)

        monkeypatch.setattr(VLLMEngine, "start", start)

    def ask(
        self, command: Sequence[str], name: str, standard_input: str, seconds: float | None = None, **_: object
    ) -> None:
        self.called.append(name)
        self.commands.append(list(command[3:]))
        if seconds is not None and self.ask_s > seconds:
            self.now += seconds
            raise TimeoutError
        self.now += self.ask_s
        done = CliRunner().invoke(cli, list(command[3:]), input=standard_input)
        if done.exit_code:
            raise StoppedError(f"{name}: {done.output}")


@pytest.fixture
def night(monkeypatch: pytest.MonkeyPatch) -> AskingNight:
    return AskingNight(monkeypatch)


@pytest.fixture
def configure(make_config: Any, seed_file: Path) -> Callable[..., Config]:
    def make(**values: Any) -> Config:
        limits = {"min_rows": 2} | values.pop("limits", {})
        evaluate = {"tasks": [str(seed_file)], "max_tokens": 20}
        values = {"answering": "separate", "max_engine_restarts": 0, "num_instructions": 15} | values
        return make_config(limits=limits, evaluate=evaluate, **values)  # type: ignore[no-any-return]

    return make


def kinds(run: Path) -> list[str]:
    return [line["kind"] for line in journal_lines(run)]


def test_a_run_is_rated_and_tagged_before_its_export(
    night: AskingNight, configure: Callable[..., Config], tmp_path: Path
) -> None:
    config = configure(rate={"after_generation": True}, tag={"after_generation": True}, export={"select": 5})
    chain.run_all(config, clock=night)
    assert night.called == ["generate", "rate", "tag", "tune", "evaluate"]
    found = kinds(tmp_path / "run")
    assert found.count("score") and found.count("tags") and found.index("tags") > found.index("score")
    assert RunDirectory(tmp_path / "run").dataset.export_counts().tags
    assert not (tmp_path / "run-generated").exists()
    before, asked = (tmp_path / "run" / "journal.jsonl").read_bytes(), night.asked
    chain.run_all(config, clock=night)
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() == before and night.asked == asked
    assert len(night.trained) == 1, "what is done is not done again"


def test_nothing_is_asked_where_nobody_wants_it(night: AskingNight, configure: Callable[..., Config]) -> None:
    chain.run_all(configure(), clock=night)
    assert night.called == ["generate", "tune", "evaluate"]


def test_rows_are_chosen_by_their_scores(
    night: AskingNight, configure: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure(**CHOICE)
    chain.run_all(config, clock=night)
    assert night.called == ["generate", "rate", "tune", "evaluate"]
    assert "3/7 choose" in capsys.readouterr().err
    generated, run = RunDirectory(tmp_path / "run-generated"), RunDirectory(tmp_path / "run")
    assert generated.config().answer.keep == "first" and not generated.config().scores.any_bound
    assert run.config().answer.keep == "best" and run.config().scores.min_best == "5"
    low = run.state().instances_rejected["low_best"]
    assert low and run.state().num_instances < generated.state().num_instances
    assert sum(run.dataset.export_counts().rows.values()) == run.state().num_instances
    counts = status(run.path).counts
    assert counts.answers and counts.answers.total == counts.answers.kept + counts.answers.rejected
    assert not generated.dataset.path.exists()
    before = run.journal.read_bytes()
    chain.run_all(config, clock=night)
    assert run.journal.read_bytes() == before and len(night.trained) == 1
    # More instructions are generated and rated, and the choice is made again.
    chain.run_all(config.model_copy(update={"num_instructions": 25}), clock=night)
    assert len(run.state().pool) == 25 and len(night.trained) == 2
    assert kinds(run.path).count("score") == kinds(generated.path).count("score")
    # So it is with another bound, without a request.
    asked, low = night.asked, run.state().instances_rejected["low_best"]
    other = configure(**(CHOICE | {"scores": {"min_best": "3"}}), num_instructions=25)
    chain.run_all(other, clock=night)
    assert night.asked == asked and run.state().instances_rejected["low_best"] < low
    assert len(night.trained) == 3


@pytest.mark.parametrize("after", [0, 26, 40])
def test_a_rating_that_was_stopped_goes_on_to_the_same_choice(
    night: AskingNight, configure: Callable[..., Config], tmp_path: Path, after: int
) -> None:
    whole = configure(**CHOICE, output_dir=str(tmp_path / "whole"))
    chain.run_all(whole, clock=night)
    config = configure(**CHOICE)
    left = iter(range(10_000))
    night.judges = lambda request: grades(request) if next(left) < after else EngineError("gone")
    with pytest.raises(StoppedError, match="gone"):
        chain.run_all(config, clock=night)
    assert not (tmp_path / "run" / "journal.jsonl").exists()
    night.judges = grades
    chain.run_all(config, clock=night)
    for name in ("run", "run-generated"):
        same = [journal_lines(tmp_path / f"{of}{name.removeprefix('run')}") for of in ("run", "whole")]
        assert same[0][1:] == same[1][1:]


def test_a_failed_tagging_ends_no_night(
    night: AskingNight, configure: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    night.judges = lambda _: EngineError("gone")
    chain.run_all(configure(tag={"after_generation": True}), clock=night)
    assert night.called == ["generate", "tag", "tune", "evaluate"]
    assert "going on without the rest of it" in capsys.readouterr().err


def test_a_deadline_ends_the_rating_in_time(
    night: AskingNight, configure: Callable[..., Config], tmp_path: Path
) -> None:
    night.ask_s = 5000.0
    config = configure(rate={"after_generation": True}, limits={"time_limit": "1h"})
    chain.run_all(config, clock=night)
    assert night.now < START + 3600
    (cut,) = [said for said in RunDirectory(tmp_path / "run").cut_by_deadline() if "rate" in said]
    assert "ended to be done by the deadline" in cut
    assert "evaluate" in night.called and len(night.trained) == 1


def test_what_does_not_go_together_is_said_first(
    night: AskingNight, configure: Callable[..., Config], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="both choose by scores and rewrite"):
        chain.run_all(configure(**CHOICE, regenerate={"model": "better"}), clock=night)
    chain.run_all(configure(), clock=night)
    with pytest.raises(ConfigError, match="not chosen by scores"):
        chain.run_all(configure(**CHOICE), clock=night)
    chain.run_all(configure(**CHOICE), overwrite=True, clock=night)
    assert RunDirectory(tmp_path / "run").header().refiltered_from


def test_its_models_are_fetched_before_the_night(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    monkeypatch.setattr("selfinstruct.chain.fetch.fetch_model", lambda name, _: fetched.append(name))
    run = RunDirectory(tmp_path / "run")
    models: dict[str, Any] = {"rate": {"model": "owner/judge"}, "tag": {"model": "owner/tagger"}}
    fetch_models(make_config(**models), run)
    assert "owner/judge" not in fetched and "owner/tagger" not in fetched
    asks = {name: of | {"after_generation": True} for name, of in models.items()}
    fetch_models(make_config(**asks), run)
    assert fetched[-2:] == ["owner/judge", "owner/tagger"]
