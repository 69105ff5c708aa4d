"""A second chance for follow-ups whose completion could not be read, or did not come.

A model that wrote nothing readable once writes something else with another seed. So an accepted instruction does not
stay without rows for one bad draw. What does not fit the context or is refused would fail again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import msgspec

from selfinstruct.engines.base import Request
from selfinstruct.run.lines import AnswerLine, ClassificationLine, InstancesLine

FollowUpLine = TypeVar("FollowUpLine", bound=ClassificationLine | InstancesLine | AnswerLine)

PASSING = frozenset({"unparsable_classification", "no_instances", "no_choice", "no_output", "timeout", "aborted"})
"""Reasons of failures that another try may not have."""
_TEMPERATURE = 0.7
"""Of a further try where the first was greedy, and would be the same again."""


def asked_again(request: Request, again: int) -> Request:
    """Return a request as it is made in a further try: its key, and so its seed, is another one.

    Args:
        request: the one of the first try.
        again: number of the further try; 0: it is the first.
    """
    if not again:
        return request
    sampling = request.sampling
    if sampling.temperature == 0:
        sampling = sampling.model_copy(update={"temperature": _TEMPERATURE})
    return replace(request, key=f"{request.key}/again{again}", sampling=sampling)


def with_further_try(line: FollowUpLine, tried: int, most: int) -> FollowUpLine:
    """Return a line that says which further try follows it, if one does.

    Args:
        line: of the request.
        tried: further tries that were made.
        most: further tries that may be made.
    """
    if line.failed is None or line.failed.reason not in PASSING or tried >= most:
        return line
    return msgspec.structs.replace(line, again=tried + 1)
