"""Count what a state holds (`counts.py` has the types)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from selfinstruct.records import Tags
from selfinstruct.run.answer_scores import Scorer
from selfinstruct.run.counts import (
    AnswerCounts,
    ClassificationCounts,
    OutputCounts,
    RequestCounts,
    RunCounts,
    ScorerCounts,
    TaggerCounts,
    TokenCounts,
    TopicCounts,
    by_count,
    candidate_counts,
)
from selfinstruct.run.state import RunState
from selfinstruct.run.task_tags import Tagger, histograms
from selfinstruct.run.usage import KINDS


def run_counts(state: RunState) -> RunCounts:
    """Return all counts of a run. The time that it takes grows with the pool."""
    there = {
        "is_task": bool(state.usage["is_task"].requests),
        "answer": bool(state.inputs),
        "output": state.header.regenerates,
        "score": bool(state.scores),
        "tags": bool(state.tags),
    }
    yes = sum(state.is_classification.values())
    return RunCounts(
        target=state.target,
        stopped=state.stopped,
        complete=state.complete,
        requests={kind: _requests(state, kind) for kind in KINDS if there.get(kind, True)},
        failures={f"{kind}: {reason}": n for (kind, reason), n in sorted(state.failures.items())},
        candidates=state.candidates(),
        instances=candidate_counts(state.num_instances, state.instances_rejected),
        warnings=by_count(state.warnings.items()),
        classification=ClassificationCounts(
            yes=yes,
            no=len(state.is_classification) - yes,
            failed=len(state.classification_failed),
            pending=sum(left.kind == "classification" for left in state.pending()),
        ),
        answers=_answers(state) if state.inputs else None,
        outputs=_outputs(state) if state.header.regenerates else None,
        instructions_with_instances=sum(1 for kept in state.instances.values() if kept),
        tokens=TokenCounts(state.prompt_tokens, state.completion_tokens),
        proposers={name: replace(state.proposers[name]) for name in sorted(state.proposers)},
        topics={
            subject: TopicCounts(state.topics[subject, "asked"], state.topics[subject, "accepted"])
            for subject in sorted({subject for subject, _ in state.topics})
        },
        scores=[_scorer(scorer, list(values.values())) for scorer, values in state.scores.items()],
        tags=[_tagger(state, tagger, known) for tagger, known in state.tags.items()],
    )


def _requests(state: RunState, kind: str) -> RequestCounts:
    usage = state.usage[kind]
    return RequestCounts(usage.committed, usage.failed, state.tries.asked_again[kind])


def _answers(state: RunState) -> AnswerCounts:
    kept = sum(bool(kept) for answers in state.answers.values() for kept in answers.values())
    return AnswerCounts(
        total=state.num_inputs,
        kept=kept,
        rejected=state.answers_rejected.total(),
        reasons=by_count(state.answers_rejected.items()),
        failed=state.usage["answer"].failed - state.tries.asked_again["answer"],
        pending=state.num_inputs - state.num_answers,
        continued=state.answers_continued,
    )


def _scorer(scorer: Scorer, values: Sequence[float | None]) -> ScorerCounts:
    known = sorted(value for value in values if value is not None)
    return ScorerCounts(
        scorer=scorer.name,
        model=scorer.model,
        version=scorer.version,
        scored=len(known),
        failed=len(values) - len(known),
        mean=round(sum(known) / len(known), 4) if known else None,
        quartiles=(known[len(known) // 4], known[len(known) // 2], known[3 * len(known) // 4]) if known else None,
    )


def _tagger(state: RunState, tagger: Tagger, known: Mapping[str, Tags | None]) -> TaggerCounts:
    of_tasks = {name: known[name] for name, kept in state.instances.items() if kept and name in known}
    tagged = [tags for tags in of_tasks.values() if tags is not None]
    return TaggerCounts(
        model=tagger.model,
        version=tagger.version,
        tagged=len(tagged),
        failed=len(of_tasks) - len(tagged),
        pending=sum(1 for kept in state.instances.values() if kept) - len(of_tasks),
        values=histograms(tagged),
    )


def _outputs(state: RunState) -> OutputCounts:
    return OutputCounts(
        total=state.num_instances,
        rewritten=state.outputs_kept["rewritten"],
        unchanged=state.outputs_kept["unchanged"],
        rejected=state.outputs_rejected.total(),
        reasons=by_count(state.outputs_rejected.items()),
        failed=state.usage["output"].failed,
        pending=len(state.outputs_left()),
    )
