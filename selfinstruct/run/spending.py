"""What instructions and rows cost: tokens of the journal, hours of the engine from `metrics.jsonl`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from selfinstruct.run.measurements import Measurement
from selfinstruct.run.state import RunState


@dataclass(frozen=True, slots=True)
class KindSpending:
    """The tokens of one kind of request, and what they are for each accepted instruction and each finished row.

    Attributes:
        read: prompt tokens.
        written: completion tokens.
        read_per_instruction, written_per_instruction: for each accepted instruction.
        read_per_row, written_per_row: for each kept instance.
        cached: share of the prompt tokens that the engine had in its cache, in [0, 1]; None where it did not tell.
        hours_per_1000_rows: of the engine, whose time the kinds share by the tokens that they wrote; None: not known.
    """

    read: int
    written: int
    read_per_instruction: float
    written_per_instruction: float
    read_per_row: float
    written_per_row: float
    cached: float | None
    hours_per_1000_rows: float | None


@dataclass(frozen=True, slots=True)
class Spending:
    """What a run has spent.

    Attributes:
        kinds: by kind of request.
        engine_hours: how long engines were there, their starts included.
        cost_per_1000_rows: of the kept instances, at the given price; None without a price or rows.
    """

    kinds: dict[str, KindSpending]
    engine_hours: float
    cost_per_1000_rows: float | None


def spending(state: RunState, measurements: Iterable[Measurement], price_per_hour: float | None = None) -> Spending:
    """Return what a run has spent.

    Args:
        state: the run.
        measurements: all of it.
        price_per_hour: of the machine with all GPUs of the engine, in any currency.
    """
    hours, read, cached = _of_all_starts(measurements)
    rows, written = state.num_instances, sum(usage.completion_tokens for usage in state.usage.values())
    hours_per_token = hours / written if hours and written else None
    kinds = {
        kind: _of_kind(
            usage.prompt_tokens,
            usage.completion_tokens,
            len(state.pool),
            rows,
            _share(cached, read, kind),
            hours_per_token,
        )
        for kind, usage in state.usage.items()
        if usage.prompt_tokens or usage.completion_tokens
    }
    known = price_per_hour is not None and rows > 0 and hours > 0
    return Spending(kinds, round(hours, 4), round(1000 * hours * (price_per_hour or 0.0) / rows, 4) if known else None)


def _of_kind(
    read: int, written: int, instructions: int, rows: int, cached: float | None, hours_per_token: float | None
) -> KindSpending:
    """Return the tokens of a kind, for each instruction and each row."""
    known = hours_per_token is not None and rows > 0
    return KindSpending(
        read=read,
        written=written,
        read_per_instruction=round(read / max(1, instructions), 1),
        written_per_instruction=round(written / max(1, instructions), 1),
        read_per_row=round(read / max(1, rows), 1),
        written_per_row=round(written / max(1, rows), 1),
        cached=cached,
        hours_per_1000_rows=round(1000 * (hours_per_token or 0.0) * written / rows, 4) if known else None,
    )


def _share(cached: Counter[str], read: Counter[str], kind: str) -> float | None:
    return round(cached[kind] / read[kind], 4) if cached and read[kind] else None


def _of_all_starts(measurements: Iterable[Measurement]) -> tuple[float, Counter[str], Counter[str]]:
    """Return hours, prompt tokens and cached ones of all starts; a row holds those of its own start so far."""
    seconds, read, cached = 0.0, Counter[str](), Counter[str]()
    last = Measurement(0.0)
    for row in (*measurements, Measurement(0.0)):
        if row.elapsed_s < last.elapsed_s:  # Another start; or the end.
            seconds += last.elapsed_s
            read.update(last.read)
            cached.update(last.cached)
        last = row
    return seconds / 3600, read, cached


def spending_rows(spent: Spending) -> dict[str, str]:
    """Return the spending in words, one row for each kind of request and one for the cost."""
    rows = {
        f"  {kind}": f"{one.written_per_instruction:,.0f} written and {one.read_per_instruction:,.0f} read for each "
        f"instruction, {one.written_per_row:,.0f} and {one.read_per_row:,.0f} for each row"
        + ("" if one.cached is None else f"; {one.cached:.0%} of what is read was cached")
        for kind, one in spent.kinds.items()
    }
    if spent.cost_per_1000_rows is not None:
        rows["cost"] = f"{spent.cost_per_1000_rows:,.2f} for 1,000 rows ({spent.engine_hours:,.2f} hours of the engine)"
    return rows
