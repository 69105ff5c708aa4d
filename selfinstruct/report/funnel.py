"""The funnel: the steps from proposals to instances. The parts of each step add up to its total."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from selfinstruct.report.readable_text import reason
from selfinstruct.run.counts import AnswerCounts, CandidateCounts, OutputCounts, RunCounts, by_count
from selfinstruct.run.state import RunState


@dataclass(frozen=True)
class Part:
    """The items of a step with one outcome; `kept` says whether they go to the next step."""

    name: str
    count: int
    kept: bool = False


@dataclass(frozen=True)
class Step:
    """One step of the funnel; the counts of its parts add up to its total."""

    title: str
    total: int
    parts: list[Part]


def funnel(state: RunState, counts: RunCounts, failures: Counter[tuple[str, str]]) -> list[Step]:
    """Return the steps from proposals to instances; the parts of each step add up to its total.

    Args:
        state: the state of the run.
        counts: its counts.
        failures: failed requests by (kind, reason), without those that were asked again.
    """

    def failed(kind: str) -> list[Part]:
        of_kind = [(name, n) for (k, name), n in failures.items() if k == kind]
        return [Part(name, n) for name, n in by_count(of_kind).items()]

    accepted, classified = counts.candidates.accepted, counts.classification
    known = classified.yes + classified.no + state.num_whole
    some = counts.instructions_with_instances
    answered = counts.requests["instances"].committed + state.num_whole
    unanswered = sum(not kept and bool(state.unanswered(name)) for name, kept in state.instances.items())
    return [
        Step(
            "Proposals requested",
            state.proposals,
            [Part("answered with candidates", counts.requests["proposal"].committed, True), *failed("proposal")],
        ),
        Step(
            "Candidate instructions",
            counts.candidates.total,
            [Part("accepted", accepted, True), *_lost(counts.candidates)],
        ),
        Step(
            "Accepted instructions",
            accepted,
            _present(
                Part("classification tasks", classified.yes, True),
                Part("other tasks", classified.no, True),
                Part("not classified: with an instance, or without input", state.num_whole, True),
                *failed("classification"),
                Part("waiting for their classification", classified.pending),
            ),
        ),
        Step(
            "Instructions that get instances",
            known,
            _present(
                Part("with at least one instance kept", some, True),
                Part("no instance kept", answered - some - unanswered),
                Part("waiting for their answers", unanswered),
                *failed("instances"),
                Part("waiting for their instances", known - len(state.instances)),
            ),
        ),
        _instances(counts, failed("answer")),
        *_answers(counts.answers, failed("answer")),
        *_outputs(counts.outputs, failed("output")),
    ]


def _lost(counts: CandidateCounts | AnswerCounts | OutputCounts) -> list[Part]:
    return [Part(name, n) for name, n in counts.reasons.items()]


def _instances(counts: RunCounts, failed: list[Part]) -> Step:
    answers = counts.answers
    waiting = answers.pending if answers else 0
    return Step(
        "Instances written",
        counts.instances.total + (answers.failed if answers else 0) + waiting,
        [
            Part("kept", counts.instances.accepted, True),
            *_lost(counts.instances),
            *failed,
            *_present(Part("waiting for their answer", waiting)),
        ],
    )


def _answers(answers: AnswerCounts | None, failed: list[Part]) -> list[Step]:
    """Return the step of inputs that were answered in a step of their own; their instances are counted above, too."""
    if answers is None:
        return []
    kept, waiting = Part("answer kept", answers.kept, True), Part("waiting", answers.pending)
    return [Step("Inputs answered separately", answers.total, [kept, *_lost(answers), *failed, *_present(waiting)])]


def _outputs(outputs: OutputCounts | None, failed: list[Part]) -> list[Step]:
    """Return the step of outputs that another model rewrote. Where none was taken the old one stays."""
    if outputs is None:
        return []
    taken = [Part("rewritten", outputs.rewritten, True), Part("the same as before", outputs.unchanged, True)]
    kept = [Part(f"old one kept: {reason(part.name)}", part.count, True) for part in [*_lost(outputs), *failed]]
    waiting = _present(Part("waiting", outputs.pending))
    return [Step("Rewritten outputs", outputs.total, [*taken, *kept, *waiting])]


def _present(*parts: Part) -> list[Part]:
    return [part for part in parts if part.count]
