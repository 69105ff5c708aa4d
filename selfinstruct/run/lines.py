"""The lines of a run's journal, one type for each kind of line.

A line is one JSON object. The key `kind` says which type it has:

    {"kind": "run", "version": 1, "identity": {...}, ...}            Header: the first line, and no other
    {"kind": "proposal", "n": 0, "examples": [ids], ...}             ProposalLine
    {"kind": "classification", "id": "p000000-00", ...}              ClassificationLine
    {"kind": "instances", "id": "p000000-00", ...}                   InstancesLine
    {"kind": "output", "id": "p000000-00", "instance": 0, ...}       OutputLine: only in a regenerated run
    {"kind": "control", "event": "resumed", "after_proposal": 7}     a Control, by the key `event`

A request that failed has `failed`. One that was answered has `completion`, and what was decided about the answer. One
that was answered with something unreadable has both.

Match lines exhaustively, so that a type checker finds every place that a new kind of line must be added to:

    match line:
        case ProposalLine(): ...
        case _ as never: assert_never(never)
"""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from selfinstruct.formats import jsonl
from selfinstruct.records import Completion

VERSION = 1
"""Version of the journal's format, written into the header."""
Form = Literal["input_first", "output_first"]
"""What a prompt for instances asks for first."""
Cause = Literal["acceptance", "degenerate"]
"""Why a run is saturated: too few candidates accepted, or too many degenerate completions."""
BudgetName = Literal["max_requests", "max_tokens_total"]
"""A budget, by the name of its option."""


class Neighbour(Struct, frozen=True):
    """The nearest text, by its id, with the ROUGE-L F to it, in [0, 1]."""

    id: str
    score: float


class Failure(Struct, frozen=True):
    """Why a request brought nothing: a named reason, and a detail for people."""

    reason: str
    detail: str


class InstructionCandidate(Struct, frozen=True, omit_defaults=True):
    """A proposed instruction and the decision about it.

    Attributes:
        id: `p<proposal>-<position>`.
        instruction: its text.
        accepted: whether it entered the pool.
        nearest_seed: of an accepted one: the nearest text among seeds and pool; None when nothing is similar.
        reason: of a rejected one.
        evidence: of a rejected one: what decided, as JSON values.
    """

    id: str
    instruction: str
    accepted: bool
    nearest_seed: Neighbour | UnsetType | None = UNSET
    reason: str | None = None
    evidence: dict[str, Any] | None = None


class InstanceCandidate(Struct, frozen=True, omit_defaults=True):
    """A proposed instance, or a rewritten one, and the decision about it; `reason` and `evidence` of a rejected one."""

    input: str
    output: str
    accepted: bool
    reason: str | None = None
    evidence: dict[str, Any] | None = None


class RefilteredFrom(Struct, frozen=True, omit_defaults=True):
    """The run that `refilter` made this one from: its directory, lines read, filters, and where it came from itself."""

    run: str
    lines: int
    filters: dict[str, Any]
    refiltered_from: RefilteredFrom | None = None


class Header(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="run"):
    """What the run is.

    Attributes:
        version: of the journal's format.
        identity: options and fingerprints that make two runs the same run, as JSON values.
        resolved: what the engine added: prompting style, context length.
        num_instructions: the target at the beginning.
        refiltered_from: the run that `refilter` made this one from.
        source: directory of the run whose outputs this one rewrites.
    """

    version: int
    identity: dict[str, Any]
    resolved: dict[str, Any]
    num_instructions: int
    refiltered_from: RefilteredFrom | None = None
    source: str | None = None

    @property
    def regenerates(self) -> bool:
        """Whether this run rewrites the outputs of another one."""
        return "regenerate" in self.identity


class ProposalLine(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="proposal"):
    """Proposal `n`: ids of the examples in its prompt, the answer, and its candidates in order."""

    n: int
    examples: tuple[str, ...]
    completion: Completion | None = None
    candidates: tuple[InstructionCandidate, ...] = ()
    failed: Failure | None = None


class ClassificationLine(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="classification"):
    """Whether instruction `id` is a classification task; None when the request failed."""

    id: str
    completion: Completion | None = None
    is_classification: bool | None = None
    failed: Failure | None = None


class InstancesLine(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="instances"):
    """The instances of instruction `id`; `form` says which of the two prompts asked, where one did."""

    id: str
    form: Form | None = None
    completion: Completion | None = None
    candidates: tuple[InstanceCandidate, ...] = ()
    failed: Failure | None = None


class OutputLine(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="output"):
    """The rewritten output of kept instance number `instance` (from 0) of instruction `id`; one candidate."""

    id: str
    instance: int
    completion: Completion | None = None
    candidates: tuple[InstanceCandidate, ...] = ()
    failed: Failure | None = None


class Control(Struct, frozen=True, tag_field="event"):
    """Anything but the outcome of a request. It follows proposal number `after_proposal`; -1 before the first."""

    after_proposal: int


class TargetRaised(Control, frozen=True, tag="target_raised"):
    """More instructions are wanted: `num_instructions` in all."""

    num_instructions: int


class Resumed(Control, frozen=True, tag="resumed"):
    """The stop in force is lifted."""


class Interruption(Control, frozen=True, tag="interrupted"):
    """A signal ended the program; it decides nothing, and the next start continues."""

    signal: str


class Saturated(Control, frozen=True, tag="saturated"):
    """The last `window` proposals brought hardly anything.

    Attributes:
        cause: the share of accepted candidates, or of degenerate completions.
        window: proposals looked back on.
        window_candidates: candidates of these proposals.
        window_accepted: accepted candidates of these proposals.
        window_empty: completions of these proposals without a candidate.
        window_repeated: completions that repeat themselves or an earlier one.
        window_truncated: completions that were cut and of which nothing was accepted.
    """

    cause: Cause
    window: int
    window_candidates: int
    window_accepted: int
    window_empty: int
    window_repeated: int
    window_truncated: int


class BudgetUsedUp(Control, frozen=True, tag="budget"):
    """A budget is used up: the option `limit`, its `value`, and what was `used` of it."""

    limit: BudgetName
    value: int
    used: int


class DeadlineReached(Control, frozen=True, tag="deadline"):
    """The time left before the deadline `finish_by` (ISO 8601) is needed for what was accepted."""

    finish_by: str


Stop = Saturated | BudgetUsedUp | DeadlineReached
"""No more is proposed until a `Resumed`."""
ControlLine = TargetRaised | Resumed | Interruption | Stop
RequestLine = ProposalLine | ClassificationLine | InstancesLine | OutputLine
"""The outcome of one request."""
Line = Header | RequestLine | ControlLine


class _Control(Struct, tag_field="kind", tag="control"):
    """Any control line, before its event is read: a union has one tag."""


_Kind = Header | RequestLine | _Control
_decode_kind = msgspec.json.Decoder(_Kind).decode
_decode_control = msgspec.json.Decoder(ControlLine).decode


def parse(raw: bytes) -> Line:
    """Return the line in `raw`, one line of a journal; keys that no type knows are left out.

    Raises:
        ValueError: says what is wrong: no JSON, no known kind, a missing key, a value of another type.
    """
    try:
        line = _decode_kind(raw)
        return _decode_control(raw) if isinstance(line, _Control) else line
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # msgspec is fast, but reads no lone surrogates; only what json refuses too is damaged.
        return from_json(load_json(raw))


def load_json(raw: bytes) -> Any:
    """Return the JSON value in `raw`, lone surrogates included.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return json.loads(raw)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def from_json(value: Any) -> Line:
    """Return the line that a JSON value holds.

    Raises:
        ValueError: as `parse`.
    """
    try:
        line = msgspec.convert(value, _Kind)
        return msgspec.convert(value, ControlLine) if isinstance(line, _Control) else line
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def to_json(line: Line) -> dict[str, Any]:
    """Return the line as JSON values, its keys in the order of the journal."""
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in msgspec.to_builtins(line).items()}
    return {"kind": "control", **values} if isinstance(line, Control) else values


def encode(line: Line) -> bytes:
    """Return the bytes of the line in a journal, its newline included."""
    return jsonl.dumps(to_json(line)).encode("utf-8") + b"\n"


def rewrite(raw: bytes, line: Line) -> bytes:
    """Return the bytes of `line`, which takes the place of `raw`; keys of `raw` that no type knows are kept."""
    return jsonl.dumps({**load_json(raw), **to_json(line)}).encode("utf-8") + b"\n"


def kind_of(line: Line) -> str:
    """Return the value of the line's key `kind`."""
    return "control" if isinstance(line, Control) else str(line.__struct_config__.tag)
