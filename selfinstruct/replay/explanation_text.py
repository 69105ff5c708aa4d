"""An explanation of `selfinstruct explain` as text for a person."""

from __future__ import annotations

from collections.abc import Sequence

from selfinstruct.replay.explain import (
    AnswerScore,
    ClassificationAnswer,
    ExplainedCandidate,
    Explanation,
    InputAnswer,
    InstancesAnswer,
    OutputAnswer,
    TagsAnswer,
)
from selfinstruct.replay.similar import Similar
from selfinstruct.run.lines import Failure, InstanceCandidate
from selfinstruct.text import evidence_text, visible

_SHOWN = 5


def render(explanation: Explanation) -> str:
    """Return the explanation as text for a person."""
    blocks = [_render_candidate(candidate) for candidate in explanation.candidates[:_SHOWN]]
    more = len(explanation.candidates) - _SHOWN
    if more > 0:
        blocks.append(f"{more} more proposals wrote this text; --json shows all")
    if explanation.seed is not None:
        blocks.append(f"{visible(explanation.seed.id)} is a seed task: {visible(explanation.seed.instruction)}")
    if (now := explanation.now) is not None:
        decision = "accept it" if now.accepted else f"reject it: {now.reason} {evidence_text(now.evidence)}"
        heading = f"No proposal of this run wrote this text. The filters would now {decision}"
        blocks.append("\n".join([heading, *_render_similar(now.similar)]))
    return "\n\n".join(blocks)


def _render_candidate(candidate: ExplainedCandidate) -> str:
    decision = "accepted" if candidate.accepted else f"rejected: {candidate.reason} {evidence_text(candidate.evidence)}"
    text = [
        visible(candidate.instruction),
        f"  {candidate.id}  {decision}",
        f"  journal line {candidate.journal_line}, proposal {candidate.proposal} ({_way(candidate)}); it showed"
        + (":" if candidate.examples else " no other instruction"),
        *(f"    {visible(e.id)}  {visible(e.instruction or '(not in this journal)')}" for e in candidate.examples),
        *_render_similar(candidate.similar),
    ]
    if (brought := candidate.instance) is not None:
        text.append(f"  proposed with: {visible(brought.input)} -> {visible(brought.output)}")
    if candidate.accepted:
        if not candidate.is_whole:
            text += [_render_classification(candidate.classification), *_render_instances(candidate.instances)]
        text += [line for answer in candidate.answers for line in _render_answer(answer)]
        text += [line for output in candidate.outputs for line in _render_output(output)]
        text += [_render_score(score) for score in candidate.scores]
        text += [_render_tags(tags) for tags in candidate.tags]
    return "\n".join(text)


def _way(candidate: ExplainedCandidate) -> str:
    """Return how it was proposed: "list", "plan, long", "evolve, deeper, depth 2"."""
    depth = f"depth {candidate.depth}" if candidate.depth else ""
    topic = f"about {visible(candidate.topic)}" if candidate.topic else ""
    user = f"from {visible(candidate.user)}" if candidate.user else ""
    begun = f'begun "{visible(candidate.begun)}"' if candidate.begun else ""
    return ", ".join(filter(None, [candidate.proposer, candidate.variant, begun, depth, topic, user]))


def _render_similar(similar: Sequence[Similar]) -> list[str]:
    if not similar:
        return ["  nothing was earlier"]
    heading = "nearest earlier instruction" if len(similar) == 1 else "most similar earlier instructions"
    return [
        f"  {heading} (ROUGE-L F):",
        *(f"    {near.score:.4f}  {visible(near.id)}  {visible(near.instruction)}" for near in similar),
    ]


def _render_classification(answer: ClassificationAnswer | None) -> str:
    if answer is None:
        return "  classification: pending"
    if answer.failed is not None:
        return f"  classification: failed: {_failure(answer.failed)} (journal line {answer.journal_line})"
    return f"  classification: {'yes' if answer.is_classification else 'no'} (journal line {answer.journal_line})"


def _render_instances(answer: InstancesAnswer | None) -> list[str]:
    if answer is None:
        return ["  instances: not requested yet"]
    if answer.failed is not None:
        return [f"  instances: failed: {_failure(answer.failed)} (journal line {answer.journal_line})"]
    if answer.form == "input_only":
        return [
            f"  inputs (journal line {answer.journal_line}):",
            *(
                f"    [{_decision(candidate)}]  {visible(candidate.input or '(none)')}"
                for candidate in answer.candidates
            ),
        ]
    return [f"  instances (journal line {answer.journal_line}):", *_render_instance_candidates(answer.candidates)]


def _render_answer(answer: InputAnswer) -> list[str]:
    title = f"  answer to input {answer.instance + 1} (journal line {answer.journal_line})"
    if answer.failed is not None:
        return [f"{title}: failed: {_failure(answer.failed)}"]
    if answer.to_be_continued:
        return [f"{title}: cut, and asked to go on"]
    demanded = [f"    demanded: {visible(constraint.text)}" for constraint in answer.constraints]
    return [title, *demanded, *_render_instance_candidates(answer.candidates)]


def _render_output(answer: OutputAnswer) -> list[str]:
    title = f"  rewritten output of instance {answer.instance + 1} (journal line {answer.journal_line})"
    if answer.failed is not None:
        return [f"{title}: failed: {_failure(answer.failed)}; the old output is kept"]
    rejected = not all(candidate.accepted for candidate in answer.candidates)
    return [f"{title}{': the old output is kept' if rejected else ''}", *_render_instance_candidates(answer.candidates)]


def _render_score(score: AnswerScore) -> str:
    by = f"{score.scorer} {visible(score.model)}".strip()
    said = f"failed: {_failure(score.failed)}" if score.failed else f"{score.value:g}"
    which = f"answer {score.sample + 1} to input {score.instance + 1}"
    return f"  score of {which}, {by}: {said} (journal line {score.journal_line})"


def _render_tags(answer: TagsAnswer) -> str:
    said = f"failed: {_failure(answer.failed)}" if answer.failed else ""
    if (tags := answer.tags) is not None:
        said = f"{tags.category}, {tags.difficulty}, input: {tags.input}, language: {tags.language}"
    return f"  tags by {visible(answer.model)}: {visible(said)} (journal line {answer.journal_line})"


def _render_instance_candidates(candidates: Sequence[InstanceCandidate]) -> list[str]:
    return [
        f"    [{_decision(candidate)}]  {visible(candidate.input)} -> {visible(candidate.output)}"
        for candidate in candidates
    ]


def _decision(candidate: InstanceCandidate) -> str:
    if not candidate.accepted:
        return f"{candidate.reason} {evidence_text(candidate.evidence)}".strip()
    warnings = [f"{reason} {evidence_text(evidence)}".strip() for reason, evidence in candidate.warnings.items()]
    return f"kept, but {', '.join(warnings)}" if warnings else "kept"


def _failure(failure: Failure) -> str:
    return visible(f"{failure.reason} {failure.detail}".strip())
