"""Answers are scored while others are generated; the scores are those of a rating afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.config.schema import Config
from selfinstruct.config.scoring import Rate
from selfinstruct.engines.base import Engine, Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import EngineError
from selfinstruct.generation.generate import generate
from selfinstruct.generation.rate import rate
from selfinstruct.run.counting import run_counts
from selfinstruct.run.directory import RunDirectory
from tests.conftest import Once, journal_lines
from tests.unit.generation.test_rate import grade, speaks

Script = Callable[[Request], Any]


def both(request: Request) -> Any:
    return grade(request) if request.key.startswith("score/") else speaks(request)


def started(script: Script, **options: Any) -> Callable[[], Any]:
    async def start() -> Engine:
        return ScriptedEngine(script, has_chat_template=True, **options)

    return start


@pytest.fixture
def make(make_config: Any) -> Callable[..., Config]:
    def config(**values: Any) -> Config:
        answers = {"answering": "separate", "answer": {"num_samples": 3, "temperature": 0.7}}
        made: Config = make_config(**answers, num_instructions=12, max_engine_restarts=0, **values)
        return made

    return config


def lines(folder: Path) -> list[str]:
    return sorted(map(str, journal_lines(folder)[1:]))


@pytest.fixture
def afterwards(make: Callable[..., Config], tmp_path: Path, once: Once) -> list[str]:
    """The lines of a run that was rated when it was done."""
    config = make(output_dir=str(tmp_path / "afterwards"))
    once(lambda: (generate(config, started(both)), rate(config, started(both))))
    return lines(tmp_path / "afterwards")


@pytest.mark.parametrize("latency", [0.0, 0.004])
def test_the_generator_judges_while_it_writes(
    make: Callable[..., Config], tmp_path: Path, afterwards: list[str], latency: float
) -> None:
    config = make(rate={"beside": True})
    generate(config, started(both, latency=latency, seed=3))
    assert lines(tmp_path / "run") == afterwards
    kinds = [line["kind"] for line in journal_lines(tmp_path / "run")]
    assert kinds.index("score") < len(kinds) - 1 - kinds[::-1].index("answer"), "scores come between the answers"
    assert rate(config, started(both)).scored == 0, "nothing is left"


def test_another_judge_is_started_beside(make: Callable[..., Config], tmp_path: Path, afterwards: list[str]) -> None:
    config = make(rate={"beside": True})
    generate(config, started(speaks), start_judge=started(grade))
    assert lines(tmp_path / "run") == afterwards


@pytest.mark.parametrize("after", [20, 45, 70])
def test_a_stopped_run_goes_on_to_the_same_lines(
    make: Callable[..., Config], tmp_path: Path, afterwards: list[str], after: int
) -> None:
    config, asked = make(rate={"beside": True}), iter(range(10_000))
    with contextlib.suppress(EngineError):  # It may come when nothing but scores is left.
        generate(config, started(lambda request: both(request) if next(asked) < after else EngineError("gone")))
    assert len(lines(tmp_path / "run")) < len(afterwards)
    generate(config, started(both))
    assert not set(lines(tmp_path / "run")) - set(afterwards)
    rate(config, started(both))
    assert lines(tmp_path / "run") == afterwards


def test_a_judge_that_dies_ends_no_generation(
    make: Callable[..., Config], tmp_path: Path, afterwards: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    config, asked = make(rate={"beside": True}), iter(range(10_000))
    dies = started(lambda request: grade(request) if next(asked) < 30 else EngineError("the judge is gone"))
    state = generate(config, started(speaks), start_judge=dies)
    assert state.complete
    assert "rating ended; selfinstruct rate" in " ".join(capsys.readouterr().err.split())
    rate(config, started(grade))
    assert lines(tmp_path / "run") == afterwards


def test_scores_use_up_no_budget(make: Callable[..., Config], tmp_path: Path) -> None:
    limits = {"max_requests": 20}
    for name, values in (("alone", {}), ("rated", {"rate": {"beside": True}})):
        config = make(output_dir=str(tmp_path / name), limits=limits, **values)
        with pytest.raises(Exception, match=r"max.requests"):
            generate(config, started(both))
    scored = run_counts(RunDirectory(tmp_path / "rated").state()).requests["score"]
    assert scored.committed
    others = [line for line in lines(tmp_path / "rated") if "'kind': 'score'" not in line]
    assert others == lines(tmp_path / "alone")


def test_a_second_model_of_vllm_is_refused() -> None:
    with pytest.raises(ValueError, match="serve 'owner/judge' and give its URL"):
        Rate(beside=True, model="owner/judge")
    assert Rate(beside=True, model="owner/judge", endpoint=("http://localhost:8000/v1",)).beside
