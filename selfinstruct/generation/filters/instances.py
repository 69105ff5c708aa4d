"""Which instances of an instruction are kept (paper, section 2.2)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from selfinstruct.generation.filters.characters import invalid_characters
from selfinstruct.generation.instance_parsing import ParsedInstance
from selfinstruct.generation.placeholders import is_placeholder
from selfinstruct.records import Rejection


def check_instances(
    parsed: Sequence[ParsedInstance], *, max_instances: int, of_rows: Sequence[Rejection | None] | None = None
) -> list[Rejection | None]:
    """Decide on all instances of one instruction together.

    An instance is rejected when

    - the completion was cut inside it, or it is not clear where its parts begin;
    - its output or input is only a placeholder, such as `<nooutput>` or `[Your answer here]`;
    - its output is empty, equals its input, or ends in a colon (the reference code's sign of a cut answer);
    - it holds invalid characters;
    - a filter of rows objects to it;
    - its non-empty input also has another output that would be kept: then all of them are rejected;
    - it has the input of an instance that is kept already (without input, only one is kept);
    - `max_instances` instances are kept already.

    Args:
        parsed: the instances in the order of the answer.
        max_instances: the number of instances to keep at most.
        of_rows: what the filters of rows say of each (`rows.py`); None: nothing.

    Returns:
        One decision per instance, in the same order; None means kept.
    """
    outputs: dict[str, set[str]] = defaultdict(set)
    objections = of_rows or [None] * len(parsed)
    alone = [_alone(instance) or objection for instance, objection in zip(parsed, objections, strict=True)]
    for instance, rejection in zip(parsed, alone, strict=True):
        if instance.input and rejection is None:
            outputs[instance.input].add(instance.output)
    for position, (instance, rejection) in enumerate(zip(parsed, alone, strict=True)):
        if rejection is None and len(outputs.get(instance.input, ())) > 1:
            alone[position] = Rejection("conflicting_outputs", {"outputs": len(outputs[instance.input])})
    return _once_each(parsed, alone, max_instances)


def check_inputs(parsed: Sequence[ParsedInstance], *, max_instances: int) -> list[Rejection | None]:
    """Decide on all inputs of one instruction together, before any of them is answered.

    An input is rejected when the completion was cut inside it, it is only a placeholder, it holds invalid characters,
    it is there already, or `max_instances` inputs are kept already.

    Args:
        parsed: the inputs in the order of the answer, with empty outputs.
        max_instances: the number of inputs to keep at most.

    Returns:
        One decision per input, in the same order; None means kept.
    """
    return _once_each(parsed, [_input_alone(instance) for instance in parsed], max_instances)


def _once_each(
    parsed: Sequence[ParsedInstance], alone: Sequence[Rejection | None], max_instances: int
) -> list[Rejection | None]:
    """Reject inputs that are kept already, and those past the most that are kept.

    Args:
        parsed: the instances.
        alone: the decision about each by itself.
        max_instances: the number of instances to keep at most.
    """
    decided: list[Rejection | None] = []
    kept: dict[str, int] = {}
    for position, (instance, rejection) in enumerate(zip(parsed, alone, strict=True)):
        if rejection is None and instance.input in kept:
            reason = "duplicate_instance" if instance.input else "second_without_input"
            rejection = Rejection(reason, {"first": kept[instance.input]})
        if rejection is None and len(kept) >= max_instances:
            rejection = Rejection("over_max_instances", {"max_instances": max_instances})
        if rejection is None:
            kept[instance.input] = position
        decided.append(rejection)
    return decided


def _input_alone(instance: ParsedInstance) -> Rejection | None:
    if instance.fault is not None:
        return instance.fault
    if is_placeholder(instance.input):
        return Rejection("placeholder")
    return invalid_characters(instance.input)


def _alone(instance: ParsedInstance) -> Rejection | None:
    if instance.fault is not None:
        return instance.fault
    if not instance.output:
        return Rejection("empty_output")
    if is_placeholder(instance.output) or is_placeholder(instance.input):
        return Rejection("placeholder")
    if instance.output == instance.input:
        return Rejection("output_equals_input")
    if instance.output.endswith(":"):
        return Rejection("ends_in_colon")
    return invalid_characters(f"{instance.input}\n{instance.output}")
