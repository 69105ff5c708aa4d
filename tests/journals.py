"""Journals of all sorts of runs, made by the scripted engine: generated, regenerated, with a parent run.

A property test draws a `Plan` and lets `make_run` make its run:

    @given(plans)
    def test_something(make_config, tmp_path_factory, plan):
        run, state = make_run(plan, tmp_path_factory.mktemp("run"), make_config)
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from selfinstruct.config.schema import Config
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.engines.scripted import Answer, ScriptedEngine
from selfinstruct.generation.regenerate import regenerate
from selfinstruct.records import Completion
from selfinstruct.run.state import RunState
from tests.conftest import run_scripted, script

OUTPUTS = ("", "Here it comes:", "This was going to be a long answ", "A better answer.", "Another answer.")


@dataclass(frozen=True)
class Plan:
    """How to make a run.

    Whether inputs are answered separately and how often, it has a parent run, its outputs are rewritten.
    """

    seed: int
    target: int
    window: int
    window_share: float
    max_in_flight: int
    is_separate: bool
    num_samples: int
    keep: str
    has_parent: bool
    is_regenerated: bool


plans = st.builds(
    Plan,
    seed=st.integers(0, 10**6),
    target=st.integers(1, 25),
    window=st.integers(1, 9),
    window_share=st.sampled_from([0.0, 0.25, 0.7]),
    max_in_flight=st.integers(1, 15),
    is_separate=st.booleans(),
    num_samples=st.sampled_from([1, 1, 3]),
    keep=st.sampled_from(["first", "all"]),
    has_parent=st.booleans(),
    is_regenerated=st.booleans(),
)


def answer(request: Request) -> Answer:
    """Answer as `script` does; some requests fail, some answers are empty, cut or the same as before."""
    draw = random.Random(f"{request.key} {request.prompt}")
    if draw.random() < 0.1:
        return RequestFailed(draw.choice(["timeout", "refused"]), "by the script")
    if request.key.startswith("output/"):
        return Completion(draw.choice(OUTPUTS), draw.choice(["stop", "stop", "length"]), 10, 5)
    return script(request)


def make_run(plan: Plan, folder: Path, make_config: Callable[..., Config]) -> tuple[Path, RunState]:
    """Return the directory of the planned run, and its state as the running program had it.

    Args:
        plan: what to make.
        folder: an empty directory for the run and those that it builds on.
        make_config: the fixture.
    """
    options = {
        "window": plan.window,
        "window_share": plan.window_share,
        "max_in_flight": plan.max_in_flight,
        "fsync_interval": 1,
        "answering": "separate" if plan.is_separate else "inline",
        "answer": {"num_samples": plan.num_samples, "keep": plan.keep},
    }
    parents: list[str] = []
    if plan.has_parent:
        parents = [str(folder / "parent")]
        parent = make_config(output_dir=parents[0], seed=plan.seed + 1, num_instructions=5, **options)
        run_scripted(parent, ScriptedEngine(answer))
    config = make_config(
        output_dir=str(folder / "run"), seed=plan.seed, num_instructions=plan.target, parent_runs=parents, **options
    )
    state = run_scripted(config, ScriptedEngine(answer, latency=0.0005, seed=plan.seed))
    if not plan.is_regenerated:
        return folder / "run", state

    async def start() -> Engine:
        return ScriptedEngine(answer, has_chat_template=True, latency=0.0005, seed=plan.seed)

    section = config.regenerate.model_copy(update={"model": "better"})
    config = config.model_copy(update={"output_dir": str(folder / "rewritten"), "regenerate": section})
    return folder / "rewritten", regenerate(folder / "run", config, start)
