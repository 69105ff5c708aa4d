"""The driver beside simulated GPUs: what passes in virtual time, and what the table says."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks import scale
from benchmarks.scale import DriverTimeLoop, Sample, row


def test_computing_takes_its_processor_time_and_waiting_none(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = [100.0]
    monkeypatch.setattr(scale.time, "thread_time", lambda: spent[0])

    async def work() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, DriverTimeLoop)
        await asyncio.sleep(3600.0)
        spent[0] += 7.0
        with loop.uncounted():
            spent[0] += 50.0
        return loop.time(), loop.driver_s()

    with asyncio.Runner(loop_factory=DriverTimeLoop) as runner:
        assert runner.run(work()) == (pytest.approx(3607.0), 7.0)


def test_the_second_half_is_reported() -> None:
    samples = [Sample(k, k / 4, 100 * k, 1000 * k, 30 * k, 0.9 if k > 4 else 0.0, 6000 * k) for k in range(10)]
    assert row(8, 1536, samples) == "| 8 | 1,536 | 90.0% | 100 | 1,000 | 25% | 2.50 | 270 | 200 |"
    assert "too short" in row(8, 1536, samples[:1])
