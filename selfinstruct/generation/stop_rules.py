"""Why a run stops proposing before its target: the rules that the journal alone decides, and every stop in words.

A stop is a control line (`Saturated`, `BudgetUsedUp`, `DeadlineReached` in `run/lines.py`). Replay applies it and
decides nothing. A later `Resumed` lifts it. A stop by a signal (`Interruption`) decides nothing: the next start
continues.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import assert_never

from msgspec import structs

from selfinstruct import clock
from selfinstruct.config.stopping import Limits, Saturation
from selfinstruct.errors import InputError, Interrupted
from selfinstruct.formats import jsonl
from selfinstruct.run.control_lines import (
    BudgetName,
    BudgetUsedUp,
    Cause,
    DeadlineReached,
    Interruption,
    Saturated,
    Stop,
)
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.lines import Line
from selfinstruct.run.state import RunState


def saturated(state: RunState, rule: Saturation) -> Saturated | None:
    """Return the stop of a run whose last proposals brought hardly anything, or None.

    The journal alone decides. A resumed run gets a whole window before it is judged again.
    """
    if state.proposals - state.resumed_after < rule.window:
        return None
    return saturated_within(state, rule.window, rule)


def saturated_within(state: RunState, window: int, rule: Saturation) -> Saturated | None:
    """Return the stop with the first cause that holds for the last `window` proposals, or None.

    Args:
        state: of the run.
        window: number of proposals.
        rule: when a run is saturated.
    """
    causes: tuple[Cause, ...] = ("acceptance", "degenerate")
    counts = look_back(state, window, causes[0])
    return next((stop for cause in causes if holds(stop := structs.replace(counts, cause=cause), rule)), None)


def look_back(state: RunState, window: int, cause: Cause) -> Saturated:
    """Return the line that a saturation with this cause would write, with the counts of the last `window` proposals.

    Args:
        state: of the run.
        window: number of proposals.
        cause: of the saturation.
    """
    kinds = Counter(state.degenerate[-window:])
    return Saturated(
        after_proposal=state.proposals - 1,
        cause=cause,
        window=window,
        window_candidates=_growth(state.candidates_after, window),
        window_accepted=_growth(state.pool_after, window),
        window_empty=kinds["empty"],
        window_repeated=kinds["repeated"],
        window_truncated=kinds["truncated"],
    )


def _growth(totals: Sequence[int], last: int) -> int:
    """Return how much a running total, which begins at 0, grew in its `last` steps."""
    return totals[-1] - (totals[-last - 1] if len(totals) > last else 0) if totals else 0


def holds(stop: Saturated, rule: Saturation) -> bool:
    """Return whether the counts of a saturation are enough to stop."""
    if stop.cause == "acceptance":
        if not stop.window_candidates and not any(_degenerate(stop).values()):
            return False  # Every request failed: that says nothing of the model.
        return stop.window_accepted < rule.min_acceptance * max(stop.window_candidates, 1)
    return sum(_degenerate(stop).values()) > rule.max_degenerate * stop.window


def _degenerate(stop: Saturated) -> dict[str, int]:
    """Return the degenerate completions of the window by kind."""
    return {"empty": stop.window_empty, "repeated": stop.window_repeated, "truncated": stop.window_truncated}


@contextlib.contextmanager
def commit_interruption(commit: Callable[[Line], None], state: RunState) -> Iterator[None]:
    """Commit a line that says so when a signal ends the block; `Interrupted` is raised on."""
    try:
        yield
    except Interrupted as stopped:
        commit(Interruption(state.proposals - 1, stopped.signal))
        raise


def is_lifted(stop: Stop, limits: Limits, saturation: Saturation, finish_by: float | None) -> bool:
    """Return whether a recorded stop would not happen under the present options.

    Args:
        stop: its control line.
        limits: the present budgets.
        saturation: the present rule.
        finish_by: the present deadline in Unix seconds, or None.
    """
    match stop:
        case BudgetUsedUp():
            value = budget(limits, stop.limit)
            return value is None or value > stop.value
        case DeadlineReached():
            return finish_by is None or int(finish_by) > _unix_seconds(stop)
        case Saturated():
            return stop.window != saturation.window or not holds(stop, saturation)
        case _ as never:
            assert_never(never)


def budget(limits: Limits, name: BudgetName) -> int | None:
    """Return the value of a budget, by the name of its option."""
    return limits.max_requests if name == "max_requests" else limits.max_tokens_total


def _unix_seconds(stop: DeadlineReached) -> float:
    return datetime.fromisoformat(stop.finish_by).timestamp()


# -------------------------------------------------------------------------------------------------------- in words


def reason(run: RunDirectory, state: RunState) -> str:
    """Return one sentence on why generation ended before its target; empty when no reason is known."""
    if state.complete:
        return ""
    if state.stopped is not None and len(state.pool) < state.target:
        return sentence(state.stopped)
    try:
        return str(json.loads(run.stopped.read_bytes())["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def sentence(stop: Stop) -> str:
    """Return a stop in one sentence, without its first capital and its full stop."""
    match stop:
        case BudgetUsedUp():
            unit = "requests" if stop.limit == "max_requests" else "completion tokens"
            return f"the budget of {stop.value:,} {unit} ({_option(stop.limit)}) is used up"
        case DeadlineReached():
            return f"the deadline, {clock.clock_text(_unix_seconds(stop))}, left no time to propose more"
        case Saturated():
            return _saturation_sentence(stop)
        case _ as never:
            assert_never(never)


def _saturation_sentence(stop: Saturated) -> str:
    bad = [f"{count:,} {_KINDS[kind]}" for kind, count in _degenerate(stop).items() if count]
    among = f"{' and '.join(bad)} among the {stop.window:,} completions" if bad else ""
    if stop.cause == "degenerate":
        return f"saturated: the model hardly answers any more: {among} of the last proposals"
    few = (
        f"saturated: of the {stop.window_candidates:,} candidates of the last {stop.window:,} proposals "
        f"{stop.window_accepted:,} were accepted"
    )
    return few + (f" ({among})" if among else "")


def remedy(stop: Stop) -> str:
    """Return what to change so that the same command continues."""
    match stop:
        case BudgetUsedUp():
            return f"give the same command with a larger {_option(stop.limit)}"
        case DeadlineReached():
            return "give the same command with a later deadline, or none"
        case Saturated():
            return _saturation_remedy(stop)
        case _ as never:
            assert_never(never)


def _saturation_remedy(stop: Saturated) -> str:
    change, bad = "", _degenerate(stop)
    if 2 * sum(bad.values()) > stop.window:
        most = max(bad, key=lambda kind: bad[kind])
        change = f"{_CHANGE[most]} (which makes another run: give it a new --output-dir); "
    if stop.cause == "degenerate":
        return f"{change}or --saturation.max-degenerate 1, to continue as it is"
    return (
        f"{change}--saturation.min-acceptance 0, more or more varied seeds, a higher --proposal.temperature, "
        "a stronger model"
    )


_KINDS = {"empty": "without a candidate", "repeated": "repeated", "truncated": "truncated"}
"""The kinds of degenerate completions in words."""

_CHANGE = {
    "empty": "look at the answers in the journal, and try another --prompting or another model",
    "repeated": "a higher --proposal.temperature or --proposal.presence-penalty, or another model",
    "truncated": "a larger --proposal.max-tokens, a smaller --proposal.num-new, or another model",
}
"""What to change when most completions are of this kind."""


def left_over(state: RunState, target: int) -> str:
    """Return a sentence on what the run has in spite of the stop."""
    waiting = len(state.pending())
    if not state.pool:
        return f"None of {target:,} instructions was accepted, so there is nothing to export"
    return f"{len(state.pool):,} of {target:,} instructions were accepted, and can be exported as they are" + (
        f"; {waiting:,} of them still wait for their instances" if waiting else ""
    )


def require_instances(run: RunDirectory, state: RunState) -> None:
    """Raise `InputError` where none of the accepted instructions has an instance."""
    if not state.pool or state.num_instances:
        return
    why = [f"{kind} requests failed ({cause}) {n}" for (kind, cause), n in state.failures.most_common(2)]
    why += [f"instances rejected ({cause}) {n}" for cause, n in state.instances_rejected.most_common(3)]
    raise InputError(
        f"{run.path}: none of the {len(state.pool):,} accepted instructions has an instance, so there is nothing to "
        f"export: {', '.join(why) or 'nothing was answered'}; read the answers in {run.journal}, and try another model "
        "or --prompting"
    )


def note(stop: Stop) -> str:
    """Return a stop in a word or two, for tables."""
    match stop:
        case BudgetUsedUp():
            return "budget used up"
        case DeadlineReached():
            return "deadline"
        case Saturated():
            return "saturated"
        case _ as never:
            assert_never(never)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def record(run: RunDirectory, message: str) -> None:
    """Write, for report and status, why generation ended where the state does not say: an engine lost, a signal.

    Of an error's message that is the first line; the lines after it say what to do.
    """
    jsonl.write_json(run.stopped, {"message": message.partition("\n")[0]})
