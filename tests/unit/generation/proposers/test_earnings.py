"""Adaptive weights: who earns rows for tokens is asked more, and no latency or kill changes a line."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from selfinstruct.config.schema import Config
from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.generation.proposers import Mixture
from selfinstruct.generation.proposers.earnings import Earned, Earnings
from selfinstruct.records import Completion
from selfinstruct.run.state import RunState
from tests.conftest import journal_lines, run_scripted, script
from tests.unit.run.test_state import HEADER, apply, proposal, yes

OPTIONS: dict[str, Any] = {
    "num_instructions": 60,
    "window": 8,
    "window_share": 0.0,
    "proposer_weights": "adaptive",
    "proposers": {"list": 1, "plan": 1, "evolve": 1},
    "filters": {"threshold": 0.95},
}


def uneven(request: Request) -> Completion:
    """`plan` earns well, `evolve` never does, and `list` is as the script has it."""
    text = str(request.prompt)
    if "Each new task is planned" in text:
        return Completion(f" One kind.\nNew task: Weigh stone {request.key} of quarry {len(text)}.", "stop", 50, 10)
    if "New task:" in text:
        return Completion("", "stop", 50, 90)
    return script(request)


class SlowFollowUps(ScriptedEngine):
    """Answers proposals at once, and each follow-up after a random time of its own."""

    def __init__(self, slowest: float, seed: int) -> None:
        super().__init__(uneven)
        self._slowest, self._draw = slowest, random.Random(seed)

    async def generate(self, request: Request) -> Completion:
        """Wait, and answer."""
        if not request.key.startswith("proposal/"):
            await asyncio.sleep(self._draw.uniform(0, self._slowest))
        return await super().generate(request)


def run(make_config: Any, slowest: float = 0.0, seed: int = 0, cut: float | None = None) -> list[str]:
    """Return the sorted lines of a run, which is cut at a share of its journal and continued if `cut` is given."""
    with tempfile.TemporaryDirectory() as folder:
        config = make_config(output_dir=f"{folder}/run", **OPTIONS)
        run_scripted(config, SlowFollowUps(slowest, seed))
        journal = Path(folder) / "run" / "journal.jsonl"
        if cut is not None:
            data = journal.read_bytes()
            header = data.index(b"\n") + 1
            journal.write_bytes(data[: header + int(cut * (len(data) - header))])
            run_scripted(config, SlowFollowUps(slowest, seed + 1))
        return sorted(journal.read_text().splitlines())


def test_no_latency_and_no_kill_changes_a_line(make_config: Any) -> None:
    whole = run(make_config)

    @settings(max_examples=6, deadline=None)
    @given(st.integers(0, 999), st.sampled_from([0.002, 0.02]), st.none() | st.floats(0, 1))
    def same(seed: int, slowest: float, cut: float | None) -> None:
        assert run(make_config, slowest, seed, cut) == whole

    same()


def test_who_earns_is_asked_more_and_nobody_dies_out(make_config: Any, tmp_path: Path) -> None:
    run_scripted(make_config(**OPTIONS), ScriptedEngine(uneven))
    asked = Counter(x.get("proposer", "list") for x in journal_lines(tmp_path / "run") if x["kind"] == "proposal")
    assert asked["evolve"] < min(asked["list"], asked["plan"])
    mixture = Mixture.of(Config.model_validate(OPTIONS))
    earned = {"list": Earned(50, 5000), "plan": Earned(100, 5000), "evolve": Earned(0, 5000)}
    drawn = Counter(mixture.drawn(random.Random(n), earned) for n in range(2000))
    assert drawn["plan"] > 0.9 * 2000 and 0 < drawn["evolve"] < 0.06 * 2000
    at_first = Counter(mixture.drawn(random.Random(n), {}) for n in range(900))
    assert min(at_first.values()) > 250, "the weights decide while nothing is known"


def test_earnings_count_once_every_follow_up_is_answered() -> None:
    state = RunState()
    earnings = Earnings(state)
    assert earnings.are_settled(-1) and earnings.up_to(-1) == {}
    apply(state, HEADER)
    apply(state, proposal(0, yes("a")))
    apply(state, proposal(1, yes("d"), proposer="plan"))
    answered = {"completion": {"text": "x", "finish_reason": "stop", "prompt_tokens": 9, "completion_tokens": 30}}
    apply(state, {"kind": "classification", "id": "a", "is_classification": False} | answered)
    assert not earnings.are_settled(0)
    kept = {"input": "", "output": "y", "accepted": True}
    apply(state, {"kind": "instances", "id": "a", "candidates": [kept, kept | {"output": "z"}]} | answered)
    assert earnings.are_settled(0) and not earnings.are_settled(1)
    assert earnings.up_to(0) == {"list": Earned(2, 65)}
    apply(state, {"kind": "classification", "id": "d", "failed": {"reason": "unclear", "detail": ""}})
    assert earnings.are_settled(1)
    assert earnings.up_to(1) == {"list": Earned(2, 65), "plan": Earned(0, 5)}
