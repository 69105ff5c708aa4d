"""The lines of a run's journal, one type for each kind of line.

A line is one JSON object. The key `kind` says which type it has:

    {"kind": "run", "version": 1, "identity": {...}, ...}            Header: the first line, and no other
    {"kind": "proposal", "n": 0, "examples": [ids], ...}             ProposalLine
    {"kind": "classification", "id": "p000000-00", ...}              ClassificationLine
    {"kind": "instances", "id": "p000000-00", ...}                   InstancesLine
    {"kind": "answer", "id": "p000000-00", "instance": 0, ...}       AnswerLine: where inputs are answered separately
    {"kind": "output", "id": "p000000-00", "instance": 0, ...}       OutputLine: only in a regenerated run
    {"kind": "score", "id": "p000000-00", "instance": 0, ...}        ScoreLine: where answers were rated
    {"kind": "tags", "id": "p000000-00", "tags": {...}, ...}         TagsLine: where tasks were tagged
    {"kind": "control", "event": "resumed", "after_proposal": 7}     a Control; `event` says which

A failed request has `failed`. An answered request has `completion` and the decisions about the answer. A request whose
answer cannot be parsed has both.

Match lines exhaustively. Then a type checker finds every place where a new kind of line must be added:

    match line:
        case ProposalLine(): ...
        case _ as never: assert_never(never)
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, assert_never, final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from selfinstruct.formats import jsonl
from selfinstruct.records import Completion, Constraint, Tags
from selfinstruct.run.control_lines import Control, ControlLine
from selfinstruct.run.header_values import Calibration, Identity, Resolution

VERSION = 1
"""Version of the journal's format, written into the header."""
Form = Literal["input_first", "output_first", "input_only"]
"""What a prompt for instances asks for first, the input or the output; `input_only`: each input is answered later."""


class Neighbour(Struct, frozen=True, gc=False):
    """The id of the most similar text, and the ROUGE-L F to it, in [0, 1]."""

    id: str
    score: float


class Failure(Struct, frozen=True, gc=False):
    """Why a request failed: a named reason, and a detail for people."""

    reason: str
    detail: str


class Verdict(Struct, frozen=True, omit_defaults=True, gc=False):
    """The model's answer to the question whether a candidate is a task (`selfinstruct/generation/is_task.py`).

    Attributes:
        position: the candidate's, in its proposal.
        log_odds: log-probability of yes less that of no; None if the request failed, or the engine did not tell.
        prompt_tokens, completion_tokens: of the request.
        failed: why the request failed.
    """

    position: int
    log_odds: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    failed: Failure | None = None


class WrittenInstance(Struct, frozen=True, gc=False):
    """The instance that an instruction was proposed with."""

    input: str
    output: str


class InstructionCandidate(Struct, frozen=True, omit_defaults=True, gc=False):
    """A proposed instruction and the decision about it.

    Attributes:
        id: `p<proposal>-<position>`.
        instruction: its text.
        accepted: whether it entered the pool.
        nearest_seed: for an accepted one: the most similar text in seeds and pool; None if no text is similar.
        reason: for a rejected one: why it was rejected.
        evidence: for a rejected one: the evidence for the reason, as JSON values.
        warnings: for an accepted one: the evidence of each filter that objects and only warns, by reason.
        instance: the instance that it was proposed with, if it was; no request asks for others.
    """

    id: str
    instruction: str
    accepted: bool
    nearest_seed: Neighbour | UnsetType | None = UNSET
    reason: str | None = None
    evidence: dict[str, Any] | None = None
    warnings: Mapping[str, dict[str, Any]] = {}
    instance: WrittenInstance | None = None


class InstanceCandidate(Struct, frozen=True, omit_defaults=True, gc=False):
    """A proposed, answered or rewritten instance and the decision about it.

    In the form `input_only` an accepted one is an input that waits for its answer, and its output is empty.

    Attributes:
        input: its input; may be empty.
        output: its output.
        accepted: whether it is kept.
        reason: for a rejected one: why it was rejected.
        evidence: for a rejected one: the evidence for the reason, as JSON values.
        warnings: for a kept one: the evidence of each filter that objects and only warns, by reason.
        thinking: what the model thought before it wrote the output, where that is kept.
        verified: for each constraint of its line, whether the output keeps it.
    """

    input: str
    output: str
    accepted: bool
    reason: str | None = None
    evidence: dict[str, Any] | None = None
    warnings: Mapping[str, dict[str, Any]] = {}
    thinking: str = ""
    verified: tuple[bool, ...] = ()


class RefilteredFrom(Struct, frozen=True, omit_defaults=True, gc=False):
    """The run from which `refilter` made this one.

    Attributes:
        run: its directory.
        lines: number of its lines that were read.
        filters: its filters, as JSON values.
        refiltered_from: the run from which `refilter` made it, if any.
    """

    run: str
    lines: int
    filters: dict[str, Any]
    refiltered_from: RefilteredFrom | None = None


@final
class Header(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="run", gc=False):
    """The first line: it identifies the run.

    Attributes:
        version: version of the journal's format.
        identity: options and fingerprints, as JSON values. Two runs with the same identity are the same run.
        resolved: values that the engine added: prompting style, context length.
        num_instructions: the target at the start.
        refiltered_from: the run from which `refilter` made this one; None for other runs.
        source: directory of the run whose outputs this one rewrites; None for other runs.
        calibration: what is known of each calibrated question, `is_task` and `classification`.
    """

    version: int
    identity: dict[str, Any]
    resolved: dict[str, Any]
    num_instructions: int
    refiltered_from: RefilteredFrom | None = None
    source: str | None = None
    calibration: Mapping[str, Calibration] = {}

    @property
    def regenerates(self) -> bool:
        """Return whether this run rewrites the outputs of another one."""
        return "regenerate" in self.identity


@final
class ProposalLine(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="proposal", gc=False):
    """Proposal `n`: ids of the examples in its prompt, the completion, and its candidates in order.

    Attributes:
        proposer: the name of the way in which it was asked (`selfinstruct/generation/proposers/`).
        variant: which of the proposer's ways, if it has several: "long", "deeper".
        topic: the subject that it asked for; empty: any.
        user: who asks about it.
        depth: how often its tasks have been changed from a first one; 0 for tasks that no other became.
        category: that of the seeds which it goes on with; empty: of none, or of several.
        begun: what the prompt wrote of its only instruction; the completion goes on with that.
        verdicts: which of the candidates are tasks, as far as that was asked.
        without_input: its instructions are complete: no request asks for their kind or for inputs, and each
            is answered without an input.
    """

    n: int
    examples: tuple[str, ...]
    completion: Completion | None = None
    candidates: tuple[InstructionCandidate, ...] = ()
    failed: Failure | None = None
    proposer: str = "list"
    variant: str = ""
    topic: str = ""
    user: str = ""
    depth: int = 0
    category: str = ""
    begun: str = ""
    verdicts: tuple[Verdict, ...] = ()
    without_input: bool = False


@final
class ClassificationLine(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="classification", gc=False):
    """The classification of instruction `id`; `is_classification` is None if the request failed.

    Attributes:
        again: which further try follows this failure; 0: none does (see `selfinstruct/run/tries.py`).
    """

    id: str
    completion: Completion | None = None
    is_classification: bool | None = None
    failed: Failure | None = None
    again: int = 0


@final
class InstancesLine(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="instances", gc=False):
    """The instances of instruction `id`; `form` says which of the prompts was used, None if none was.

    Attributes:
        again: as in `ClassificationLine`.
    """

    id: str
    form: Form | None = None
    completion: Completion | None = None
    candidates: tuple[InstanceCandidate, ...] = ()
    failed: Failure | None = None
    again: int = 0


@final
class AnswerLine(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="answer", gc=False):
    """The answer to an accepted input of instruction `id`: to candidate `instance` (from 0) of its instances line.

    It has one candidate for each sample of its completion, in the same order; `selfinstruct/generation/kept_samples.py`
    says which of them are accepted.

    Attributes:
        to_be_continued: the answer was cut, so that a further line about the same input goes on with it. This line has
            neither a candidate nor a failure.
        constraints: what the request demanded of the answer beside the instruction.
        again: as in `ClassificationLine`.
    """

    id: str
    instance: int
    completion: Completion | None = None
    to_be_continued: bool = False
    candidates: tuple[InstanceCandidate, ...] = ()
    failed: Failure | None = None
    constraints: tuple[Constraint, ...] = ()
    again: int = 0


@final
class OutputLine(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="output", gc=False):
    """The rewritten output of the kept instance with number `instance` (from 0) of instruction `id`.

    It has at most one candidate.
    """

    id: str
    instance: int
    completion: Completion | None = None
    candidates: tuple[InstanceCandidate, ...] = ()
    failed: Failure | None = None


@final
class ScoreLine(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="score", gc=False):
    """What a scorer says about candidate `sample` of the answer to input `instance` of instruction `id`.

    Attributes:
        scorer: its name; `model` and `version` say which model it asked, and in which words.
        value: the score, the greater the better.
    """

    id: str
    instance: int
    sample: int
    scorer: str
    model: str = ""
    version: str = ""
    value: float | None = None
    completion: Completion | None = None
    failed: Failure | None = None


@final
class TagsLine(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="tags", gc=False):
    """What a model says instruction `id` is about; `model` and `version` name it and its question."""

    id: str
    model: str
    version: str
    tags: Tags | None = None
    completion: Completion | None = None
    failed: Failure | None = None


RequestLine = ProposalLine | ClassificationLine | InstancesLine | AnswerLine | OutputLine | ScoreLine | TagsLine
"""The outcome of one request."""
Line = Header | RequestLine | ControlLine


class _Control(Struct, tag_field="kind", tag="control"):
    """Any control line before its event is known. A union of msgspec has only one tag, so decoding takes two steps."""


class _Nearest(Struct):
    """The nearest neighbour that the evidence of a candidate names."""

    nearest: Neighbour


_Kind = Header | RequestLine | _Control
_decode_kind = msgspec.json.Decoder(_Kind).decode
_decode_control = msgspec.json.Decoder(ControlLine).decode


def parse(raw: bytes) -> Line:
    """Parse `raw`, one line of a journal. Unknown keys are ignored.

    Raises:
        ValueError: the line is not JSON, its kind is unknown, or a key is missing or has a value of another type.
    """
    try:
        line = _decode_kind(raw)
        return _decode_control(raw) if type(line) is _Control else line  # `isinstance` takes three times as long.
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # msgspec is fast but rejects lone surrogates. The line is damaged only if json rejects it too.
        return from_json(load_json(raw))


def parse_valid(raw: bytes) -> Line:
    """Parse `raw`, one line of a journal, and check that a program could have written it.

    Raises:
        ValueError: as in `parse`, or the line says what no line of its kind says.
    """
    line = parse(raw)
    _check(line)
    return line


def _check(line: Line) -> None:
    """Raise `ValueError` if the line says what no line of its kind says, although its keys have the right types."""
    if type(line) is ClassificationLine:  # `type` takes a quarter of the time that `match` takes. Frequent kinds first.
        if line.is_classification is None and line.failed is None:
            raise ValueError("it has neither `is_classification` nor `failed`")
    elif type(line) is InstancesLine:
        _check_reasons(line.candidates)
    elif type(line) is ProposalLine:
        _check_ids(line)
        _check_reasons(line.candidates)
    elif type(line) is AnswerLine:
        outcomes = (line.to_be_continued, bool(line.candidates), line.failed is not None)
        if sum(outcomes) != 1 or (line.to_be_continued and line.completion is None):
            raise ValueError("it must be continued, have candidates, or have `failed`, and one of them only")
        samples = len(line.completion.samples) if line.completion else 1
        if line.candidates and len(line.candidates) != samples:
            raise ValueError(f"it has {len(line.candidates)} candidates for {samples} answers")
        _check_reasons(line.candidates)
    else:
        _check_rare(line)


def _check_rare(line: Header | OutputLine | ScoreLine | TagsLine | ControlLine) -> None:
    match line:
        case OutputLine():
            _check_reasons(line.candidates)
        case Header():
            if line.version == VERSION:  # The state refuses other versions.
                _convert(line.identity, Identity)
                _convert(line.resolved, Resolution)
        case ScoreLine():
            if (line.value is None) == (line.failed is None):
                raise ValueError("it must have `value` or `failed`, and one of them only")
        case TagsLine():
            if (line.tags is None) == (line.failed is None):
                raise ValueError("it must have `tags` or `failed`, and one of them only")
        case Control():
            pass
        case _ as never:
            assert_never(never)


def _convert(value: Any, content: Any) -> None:
    try:
        msgspec.convert(value, content)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def _check_ids(line: ProposalLine) -> None:
    proposal, ids = f"p{line.n:06d}", [candidate.id for candidate in line.candidates]
    if "\n".join(ids) != _ids(len(ids)).replace("p", proposal):  # All at once: it takes half as long.
        for position, name in enumerate(ids):
            if name != f"{proposal}-{position:02d}":
                raise ValueError(f"candidate {position} of proposal {line.n} has the id {name!r}")


@functools.cache
def _ids(number: int) -> str:
    """Return the ids of a proposal's candidates, a line each, with `p` for the proposal."""
    return "\n".join(f"p-{position:02d}" for position in range(number))


def _check_reasons(candidates: Sequence[InstructionCandidate | InstanceCandidate]) -> None:
    for candidate in candidates:
        if candidate.reason is None and not candidate.accepted:
            raise ValueError(f"its candidate {candidates.index(candidate)} is rejected without a `reason`")
        if (evidence := candidate.evidence) is not None and (near := evidence.get("nearest")) is not None:
            try:
                usual = type(near["id"]) is str and type(near["score"]) is float
            except (TypeError, LookupError):
                usual = False
            if not usual:  # msgspec takes longer, and says what is wrong.
                _convert({"nearest": near}, _Nearest)


def load_json(raw: bytes) -> Any:
    """Return the JSON value in `raw`, lone surrogates included.

    Raises:
        ValueError: `raw` is not JSON.
    """
    try:
        return json.loads(raw.decode("utf-8-sig", "surrogatepass"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"its byte {error.start} is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg} at character {error.pos}" if raw.strip() else "it is empty") from error


def from_json(value: Any) -> Line:
    """Return the line that a JSON value represents.

    Raises:
        ValueError: as in `parse`.
    """
    try:
        line = msgspec.convert(value, _Kind)
        return msgspec.convert(value, ControlLine) if isinstance(line, _Control) else line
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def to_json(line: Line) -> dict[str, Any]:
    """Return the line as JSON values. The keys are in the order of the journal."""
    values: dict[str, Any] = {k: list(v) if isinstance(v, tuple) else v for k, v in msgspec.to_builtins(line).items()}
    completion = values.get("completion")
    if completion is not None:
        del completion["cached_tokens"]
        for name in ("choice_logprobs", "further"):
            if not completion[name]:
                del completion[name]  # `omit_defaults` would also leave out counts of 0, which every line has.
    return {"kind": "control", **values} if isinstance(line, Control) else values


def encode(line: Line) -> bytes:
    """Return the bytes of the line in a journal, with its newline."""
    return jsonl.dumps(to_json(line)).encode("utf-8") + b"\n"


def rewrite(raw: bytes, line: Line) -> bytes:
    """Return the bytes of `line`, which replaces `raw`. Unknown keys of `raw` are kept."""
    return jsonl.dumps({**load_json(raw), **to_json(line)}).encode("utf-8") + b"\n"


def kind_of(line: Line) -> str:
    """Return the value of the line's key `kind`."""
    return "control" if isinstance(line, Control) else str(line.__struct_config__.tag)
