"""Explain why a run has no instance for any accepted instruction, so that there is nothing to train on."""

from __future__ import annotations

from selfinstruct.run.state import RunState

REMEDY = (
    "read answers of the model with `selfinstruct explain {run} ID`, then use another model, or another --prompting "
    "(completion, chat), in another --output-dir"
)
"""What to do then."""


def without_instances(state: RunState) -> str:
    """Return why no accepted instruction has an instance, or an empty text if one has or may still get one."""
    if not state.pool or state.num_instances or state.pending():
        return ""
    why = [f"{reason} {n}" for reason, n in state.instances_rejected.most_common(3)]
    why += [f"{kind} requests failed ({reason}) {n}" for (kind, reason), n in state.failures.most_common(2)]
    return (
        f"no instance was kept for any of the {len(state.pool):,} accepted instructions: "
        f"{', '.join(why) or 'the answers hold none'}"
    )
