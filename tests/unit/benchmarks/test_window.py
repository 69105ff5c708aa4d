"""The simulation of the window runs the real pipeline."""

from __future__ import annotations

import pytest

from benchmarks.window import LAST, PLACES, SimulatedEngine, simulate
from selfinstruct.config.schema import Config
from selfinstruct.generation.method import Method
from selfinstruct.generation.window import first_window


@pytest.mark.whole
@pytest.mark.parametrize("smaller", [8, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("runaways", [pytest.param(0.02, marks=pytest.mark.long), 0.05])
def test_a_night_fills_a_large_engine_and_its_proposals_see_a_fresh_pool(smaller: int, runaways: float) -> None:
    """A run of 40,960 instructions on 1,024 places, or an eighth of both, which takes an eighth of the time to test."""
    engine = SimulatedEngine(runaways, PLACES // smaller, (0.010, 0.000_05 * smaller))
    run = simulate({"num_instructions": 40_960 // smaller}, engine, 86_400)
    minute = 120  # readings
    assert sum(run.busy[:minute]) / minute >= 0.95
    later = run.busy[minute:-LAST]
    assert len(later) > 5 * minute and sum(later) / len(later) >= 0.95
    assert run.old_pool == 0


@pytest.mark.parametrize("target", [1000, 4000, 10_000, 25_600, 40_960, 52_000, 200_000])
def test_no_proposal_sees_a_pool_older_than_a_quarter_of_the_run(target: int) -> None:
    """At eight tasks a proposal, half of them accepted."""
    method, proposals = Method.of(Config(num_instructions=target)), target // 4
    assert max(n - method.last_seen(n) for n in range(proposals)) <= proposals / 4


def test_a_small_run_begins_few_proposals_that_it_does_not_need() -> None:
    few, many = (simulate({"num_instructions": 12, "window": w}, SimulatedEngine(0.0), 600) for w in (None, 96))
    assert few.accepted == many.accepted == 12 and 0 < few.first_s <= few.ended_s
    assert few.asked <= first_window(12) + 2 * few.proposals < 96 <= many.asked


def test_a_budget_of_tokens_is_kept_although_short_answers_come_first() -> None:
    options = {"num_instructions": 10_000, "limits": {"max_tokens_total": 24_000}}
    run = simulate(options, SimulatedEngine(runaways=0.2), 86_400)
    assert 24_000 <= run.tokens < 1.5 * 24_000  # 2.4 times as many, where those in flight do not count.
