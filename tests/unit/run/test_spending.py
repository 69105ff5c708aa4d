"""What instructions and rows cost: tokens of the journal, hours of the measurements."""

from __future__ import annotations

import pytest

from selfinstruct.run.measurements import Measurement
from selfinstruct.run.spending import spending, spending_rows
from tests.conftest import replayed

COMPLETION = {"text": "x", "finish_reason": "stop", "prompt_tokens": 100, "completion_tokens": 20}
ROW = {"input": "", "output": "b", "accepted": True}
LINES = [
    {
        "kind": "run",
        "version": 1,
        "identity": {},
        "resolved": {},
        "num_instructions": 2,
    },
    {
        "kind": "proposal",
        "n": 0,
        "examples": [],
        "completion": COMPLETION,
        "candidates": [{"id": f"p000000-0{k}", "instruction": f"Do {k}.", "accepted": True} for k in range(2)],
        "verdicts": [{"position": 0, "log_odds": 1.0, "prompt_tokens": 30, "completion_tokens": 1}],
    },
    {"kind": "classification", "id": "p000000-00", "completion": COMPLETION, "is_classification": False},
    {
        "kind": "instances",
        "id": "p000000-00",
        "form": "input_first",
        "completion": COMPLETION,
        "candidates": [ROW, {**ROW, "output": "c"}, {**ROW, "output": "d"}, {**ROW, "output": "e"}],
    },
]


def test_tokens_for_each_instruction_and_each_row() -> None:
    kinds = spending(replayed(LINES), []).kinds
    assert {kind: (one.read, one.written) for kind, one in kinds.items()} == {
        "proposal": (100, 20),
        "is_task": (30, 1),
        "classification": (100, 20),
        "instances": (100, 20),
    }
    one = kinds["proposal"]
    assert (one.read_per_instruction, one.written_per_instruction) == (50.0, 10.0)
    assert (one.read_per_row, one.written_per_row, one.cached) == (25.0, 5.0, None)


def test_hours_and_cached_tokens_add_up_over_all_starts() -> None:
    rows = [
        Measurement(1.0, elapsed_s=900.0, read={"proposal": 50}, cached={"proposal": 10}),
        Measurement(2.0, elapsed_s=1800.0, read={"proposal": 100}, cached={"proposal": 20}),
        Measurement(9.0, elapsed_s=60.0, read={"proposal": 10}, cached={}),
        Measurement(10.0, elapsed_s=1800.0, read={"proposal": 100, "instances": 10}, cached={"proposal": 80}),
    ]
    spent = spending(replayed(LINES), rows, 3.0)
    assert spent.engine_hours == 1.0
    assert spent.cost_per_1000_rows == pytest.approx(750.0), "3.00 for 4 rows"
    assert spent.kinds["proposal"].cached == 0.5 and spent.kinds["instances"].cached == 0.0
    shares = {kind: one.hours_per_1000_rows for kind, one in spent.kinds.items()}
    assert sum(filter(None, shares.values())) == pytest.approx(250.0), "an hour for 4 rows"
    assert shares["proposal"] == pytest.approx(250.0 * 20 / 61, rel=1e-4) and shares["proposal"] == shares["instances"]
    assert spending(replayed(LINES), []).kinds["proposal"].hours_per_1000_rows is None
    assert "50% of what is read was cached" in spending_rows(spent)["  proposal"]
    assert spending_rows(spent)["cost"].startswith("750.00 for 1,000 rows")


def test_without_price_rows_or_measurements_there_is_no_cost() -> None:
    hour = [Measurement(1.0, elapsed_s=3600.0)]
    assert spending(replayed(LINES), hour).cost_per_1000_rows is None
    assert spending(replayed(LINES[:1]), hour, 3.0).cost_per_1000_rows is None
    assert spending(replayed(LINES), [], 3.0).cost_per_1000_rows is None
