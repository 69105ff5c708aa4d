"""The simulation of the window runs the real pipeline."""

from __future__ import annotations

from benchmarks.window import SimulatedEngine, simulate
from selfinstruct.generation.window import first_window


def test_a_small_run_begins_few_proposals_that_it_does_not_need() -> None:
    few, many = (simulate({"num_instructions": 12, "window": w}, SimulatedEngine(0.0), 600) for w in (None, 96))
    assert few.accepted == many.accepted == 12 and 0 < few.first_s <= few.ended_s
    assert few.asked <= first_window(12) + 2 * few.proposals < 96 <= many.asked


def test_a_budget_of_tokens_is_kept_although_short_answers_come_first() -> None:
    options = {"num_instructions": 10_000, "limits": {"max_tokens_total": 24_000}}
    run = simulate(options, SimulatedEngine(runaways=0.2), 86_400)
    assert 24_000 <= run.tokens < 1.5 * 24_000  # 2.4 times as many, where those in flight do not count.
