"""Pairs of answers to the same question, one kept and one rejected, as TRL's preference trainers read them:

    {"id": "p000003-00-0", "prompt": [{"role": "user", "content": "Name a river. Use small letters only."}],
     "chosen": [{"role": "assistant", "content": "the nile"}],
     "rejected": [{"role": "assistant", "content": "The Nile."}], "reason": "constraint"}

They come of questions with several samples (`answer.num_samples`). What only lost against an equally good answer is no
example of a bad one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from selfinstruct.records import user_message, with_constraints
from selfinstruct.run.lines import AnswerLine, InstanceCandidate, Line

_AS_GOOD = ("not_chosen", "duplicate_instance")


def preferences(
    lines: Iterable[Line], instructions: Mapping[str, str], train: Collection[str]
) -> Iterator[dict[str, Any]]:
    """Yield a pair for each answered question that has an accepted answer and a bad one.

    An answer that breaks a constraint comes before others as the bad one, since a program is sure of it.

    Args:
        lines: of the journal.
        instructions: their texts by id.
        train: ids of the instructions with rows in the training split; others give no pair.
    """
    for line in lines:
        if not isinstance(line, AnswerLine) or line.id not in train:
            continue
        kept = next((one for one in line.candidates if one.accepted), None)
        bad = sorted(filter(_is_bad, line.candidates), key=lambda one: one.reason != "constraint")
        if kept is not None and bad:
            question = user_message(with_constraints(instructions[line.id], line.constraints), kept.input)
            yield {
                "id": f"{line.id}-{line.instance}",
                "prompt": [{"role": "user", "content": question}],
                "chosen": [{"role": "assistant", "content": kept.output}],
                "rejected": [{"role": "assistant", "content": bad[0].output}],
                "reason": bad[0].reason,
            }


def _is_bad(candidate: InstanceCandidate) -> bool:
    return not candidate.accepted and candidate.reason not in _AS_GOOD and bool(candidate.output.strip())
