"""Why a run stops proposing before its target: the rules that the journal alone decides, and every stop in words.

A stop is a control line; replay applies it and decides nothing:

    {"kind": "control", "event": "saturated", "after_proposal": n, "cause": "acceptance" | "degenerate", "window": N,
        "window_candidates", "window_accepted", "window_empty", "window_repeated", "window_truncated"}
    {"kind": "control", "event": "budget", "after_proposal": n, "limit": "max_requests" | "max_tokens_total",
        "value": the option's, "used": so far}
    {"kind": "control", "event": "deadline", "after_proposal": n, "finish_by": ISO 8601}

A later `resumed` lifts it. A stop by a person decides nothing: it is noted, and the next start simply goes on.

    {"kind": "control", "event": "interrupted", "after_proposal": n, "signal": "SIGINT" | "SIGTERM" | "SIGHUP"}
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from selfinstruct import clock
from selfinstruct.config.schema import Config, Saturation
from selfinstruct.errors import Interrupted
from selfinstruct.run.degenerate import KINDS
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import Line
from selfinstruct.run.state import RunState


def saturated(state: RunState, rule: Saturation) -> Line | None:
    """The control line of a run whose last proposals brought hardly anything, or None: a function of the journal alone.

    A resumed run is given a whole window before it is judged again.
    """
    if state.proposals - state.resumed_after < rule.window:
        return None
    line: Line = {"kind": "control", "event": "saturated", "after_proposal": state.proposals - 1}
    return caused(line, rule.window, state, rule)


def caused(line: Line, window: int, state: RunState, rule: Saturation) -> Line | None:
    """The control line with the first cause that holds for the last `window` proposals, or None."""
    for cause in ("acceptance", "degenerate"):
        stop = {**line, "cause": cause, "window": window, **looked_back(state, window)}
        if holds(stop, rule):
            return stop
    return None


def looked_back(state: RunState, window: int) -> dict[str, int]:
    """What the control line of saturation says of the last proposals."""
    acceptance, kinds = state.acceptance[-window:], Counter(state.degenerate[-window:])
    return {
        "window_candidates": sum(candidates for candidates, _ in acceptance),
        "window_accepted": sum(accepted for _, accepted in acceptance),
        **{f"window_{kind}": kinds[kind] for kind in KINDS},
    }


def holds(stop: Line, rule: Saturation) -> bool:
    """Whether what a control line of saturation says is enough to stop."""
    if stop["cause"] == "acceptance":
        return bool(stop["window_accepted"] < rule.min_acceptance * max(stop["window_candidates"], 1))
    return sum(stop[f"window_{kind}"] for kind in KINDS) > rule.max_degenerate * stop["window"]


@contextlib.contextmanager
def interruption_noted(commit: Callable[[Line], None], state: RunState) -> Iterator[None]:
    """Commit the control line of a stop by signal; `Interrupted` passes on."""
    try:
        yield
    except Interrupted as stopped:
        after = state.proposals - 1
        commit({"kind": "control", "event": "interrupted", "after_proposal": after, "signal": stopped.signal})
        raise


def is_lifted(stop: Line, config: Config, finish_by: float | None) -> bool:
    """Whether a recorded stop would not happen under the options given now.

    Args:
        stop: its control line.
        config: the options given now.
        finish_by: the deadline given now, or None.
    """
    if stop["event"] == "budget":
        value = getattr(config.limits, stop["limit"])
        return value is None or value > stop["value"]
    if stop["event"] == "deadline":
        return finish_by is None or int(finish_by) > _moment(stop)
    return stop["window"] != config.saturation.window or not holds(stop, config.saturation)


def _moment(stop: Line) -> float:
    return datetime.fromisoformat(stop["finish_by"]).timestamp()


# -------------------------------------------------------------------------------------------------------- in words


def reason(run: RunDirectory, state: RunState) -> str:
    """One sentence on why generation ended before its target; empty when nothing is known to have ended it."""
    if state.complete:
        return ""
    if state.stopped is not None and len(state.pool) < state.target:
        return sentence(state.stopped)
    try:
        return str(json.loads(run.stopped.read_bytes())["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def sentence(stop: Line) -> str:
    """A stop in one sentence, without its first capital and its full stop."""
    if stop["event"] == "budget":
        unit = "requests" if stop["limit"] == "max_requests" else "completion tokens"
        return f"the budget of {stop['value']:,} {unit} ({_option(stop['limit'])}) is used up"
    if stop["event"] == "deadline":
        return f"the deadline, {clock.clock_text(_moment(stop))}, left no time to propose more"
    bad = [f"{stop[f'window_{kind}']:,} {kind}" for kind in KINDS if stop[f"window_{kind}"]]
    among = f"{' and '.join(bad)} among the {stop['window']:,} completions" if bad else ""
    if stop["cause"] == "degenerate":
        return f"saturated: the model hardly answers any more: {among} of the last proposals"
    few = (
        f"saturated: of the {stop['window_candidates']:,} candidates of the last {stop['window']:,} proposals "
        f"{stop['window_accepted']:,} were accepted"
    )
    return few + (f" ({among})" if among else "")


def remedy(stop: Line) -> str:
    """What to change so that the same command goes on."""
    if stop["event"] == "budget":
        return f"give the same command with a larger {_option(stop['limit'])}"
    if stop["event"] == "deadline":
        return "give the same command with a later deadline, or none"
    change, bad = "", sum(stop[f"window_{kind}"] for kind in KINDS)
    if 2 * bad > stop["window"]:
        most = max(KINDS, key=lambda kind: stop[f"window_{kind}"])
        change = f"{_CHANGE[most]} (which makes another run: give it a new --output-dir); "
    if stop["cause"] == "degenerate":
        return f"{change}or --saturation.max-degenerate 1, to go on as it is"
    return (
        f"{change}--saturation.min-acceptance 0, more or more varied seeds, a higher --proposal.temperature, "
        "a stronger model"
    )


_CHANGE = {
    "empty": "look at the answers in the journal, and try another --prompting or another model",
    "repeated": "a higher --proposal.temperature or --proposal.presence-penalty, or another model",
    "truncated": "a larger --proposal.max-tokens, a smaller --proposal.num-new, or another model",
}
"""What to change when this kind of completion prevails."""


def left_over(state: RunState, target: int) -> str:
    """What there is in spite of the stop."""
    waiting = len(state.pending())
    return f"{len(state.pool):,} of {target:,} instructions were accepted, and can be exported as they are" + (
        f"; {waiting:,} of them still wait for their instances" if waiting else ""
    )


def note(stop: Line) -> str:
    """A stop in a word or two, for tables."""
    return {"budget": "budget used up", "deadline": "deadline"}.get(stop["event"], "saturated")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def record(run: RunDirectory, message: str) -> None:
    """Keep, for report and status, why generation ended where the state does not say: an engine lost, a signal.

    Of an error's message that is the first line; what follows it says what to do.
    """
    from selfinstruct.formats import jsonl

    body: dict[str, Any] = {"message": message.partition("\n")[0]}
    jsonl.write_json(run.stopped, body)
