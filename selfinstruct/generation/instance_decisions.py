"""The decisions about the instances in one answer, as the journal records them."""

from __future__ import annotations

from collections.abc import Sequence

from selfinstruct.generation.filters.instances import check_inputs, check_instances
from selfinstruct.generation.filters.rows import RowDecision
from selfinstruct.generation.instance_parsing import ParsedInstance
from selfinstruct.run.lines import InstanceCandidate


def decide_instances(
    parsed: Sequence[ParsedInstance], of_rows: Sequence[RowDecision], max_instances: int
) -> tuple[InstanceCandidate, ...]:
    """Decide on all instances of one instruction.

    Args:
        parsed: the instances, in the order of the answer.
        of_rows: what the filters of rows say of each.
        max_instances: most instances to keep.
    """
    objections = [decision.rejection for decision in of_rows]
    rejections = check_instances(parsed, max_instances=max_instances, of_rows=objections)
    return tuple(
        InstanceCandidate(p.input, p.output, accepted=True, warnings=decision.warnings)
        if rejection is None
        else InstanceCandidate(p.input, p.output, False, rejection.reason, rejection.evidence)
        for p, decision, rejection in zip(parsed, of_rows, rejections, strict=True)
    )


def decide_inputs(parsed: Sequence[ParsedInstance], max_instances: int) -> tuple[InstanceCandidate, ...]:
    """Decide on all inputs of one instruction, which are answered later.

    Args:
        parsed: the inputs, in the order of the answer.
        max_instances: most inputs to keep.
    """
    rejections = check_inputs(parsed, max_instances=max_instances)
    return tuple(
        InstanceCandidate(p.input, "", accepted=True)
        if rejection is None
        else InstanceCandidate(p.input, "", False, rejection.reason, rejection.evidence)
        for p, rejection in zip(parsed, rejections, strict=True)
    )
