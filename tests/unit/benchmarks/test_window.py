"""The simulation of the window runs the real pipeline."""

from __future__ import annotations

from benchmarks.window import SimulatedEngine, simulate
from selfinstruct.generation.window import first_window


def test_a_small_run_begins_few_proposals_that_it_does_not_need() -> None:
    few, many = (simulate({"num_instructions": 12, "window": w}, SimulatedEngine(0.0), 600) for w in (None, 96))
    assert few.accepted == many.accepted == 12 and 0 < few.first_s <= few.ended_s
    assert few.asked <= first_window(12) + 2 * few.proposals < 96 <= many.asked
