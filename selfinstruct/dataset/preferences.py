"""Pairs of answers to the same question, one kept and one rejected, as TRL's preference trainers read them:

    {"id": "p000003-00-0", "prompt": [{"role": "user", "content": "Name a river. Use small letters only."}],
     "chosen": [{"role": "assistant", "content": "the nile"}],
     "rejected": [{"role": "assistant", "content": "The Nile."}], "reason": "constraint"}

They come of questions with several samples (`answer.num_samples`). What only lost against an equally good answer is no
example of a bad one, unless the answers were scored (`selfinstruct rate`): then the best and the worst of the good ones
are a pair, with their scores and the reason `low_score`, where the filters found no bad one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from selfinstruct.generation.kept_samples import passed
from selfinstruct.records import user_message, with_constraints
from selfinstruct.run.answer_scores import Place
from selfinstruct.run.lines import AnswerLine, InstanceCandidate, Line

_AS_GOOD = ("not_chosen", "duplicate_instance")


def preferences(
    lines: Iterable[Line],
    instructions: Mapping[str, str],
    train: Collection[str],
    scores: Mapping[Place, float] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield a pair for each answered question that has an accepted answer and a bad or a worse one.

    An answer that breaks a constraint comes before others as the bad one, since a program is sure of it.

    Args:
        lines: of the journal.
        instructions: their texts by id.
        train: ids of the instructions with rows in the training split; others give no pair.
        scores: of the answers, if they were scored.
    """
    for line in lines:
        if not isinstance(line, AnswerLine) or line.id not in train:
            continue
        kept = next((one for one in line.candidates if one.accepted), None)
        if kept is None:
            continue
        bad = sorted(filter(_is_bad, line.candidates), key=lambda one: one.reason != "constraint")
        pair: dict[str, Any] | None = None
        if bad:
            pair = _pair(kept, bad[0]) | {"reason": bad[0].reason}
        elif scores:
            pair = _best_and_worst(line, scores)
        if pair is not None:
            question = user_message(with_constraints(instructions[line.id], line.constraints), kept.input)
            about = {"id": f"{line.id}-{line.instance}", "prompt": [{"role": "user", "content": question}]}
            yield about | pair


def _pair(chosen: InstanceCandidate, rejected: InstanceCandidate) -> dict[str, Any]:
    both = {"chosen": chosen, "rejected": rejected}
    return {name: [{"role": "assistant", "content": one.output}] for name, one in both.items()}


def _best_and_worst(line: AnswerLine, scores: Mapping[Place, float]) -> dict[str, Any] | None:
    """Return the answers with the highest and the lowest score as a pair; None if they have the same."""
    known = {
        k: score
        for k, one in enumerate(line.candidates)
        if passed(one) and (score := scores.get(Place(line.id, line.instance, k))) is not None
    }
    if not known or max(known.values()) == min(known.values()):
        return None
    best, worst = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
    pair = _pair(line.candidates[best], line.candidates[worst])
    return pair | {"reason": "low_score", "scores": [known[best], known[worst]]}


def _is_bad(candidate: InstanceCandidate) -> bool:
    return not candidate.accepted and candidate.reason not in _AS_GOOD and bool(candidate.output.strip())
