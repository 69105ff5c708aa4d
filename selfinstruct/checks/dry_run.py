"""`--dry-run`: the resolved configuration, the first prompt of each kind, and what the run is expected to take.

The text is a configuration file: everything else is in comments.
"""

from __future__ import annotations

from pathlib import Path

from selfinstruct.checks.estimate import ACCEPTED_SHARE, tokens_per_s
from selfinstruct.checks.preflight import Findings, first_prompts
from selfinstruct.config.load import dump_yaml
from selfinstruct.config.schema import Config
from selfinstruct.hardware import free_disk
from selfinstruct.text import duration, size_text, visible


def text(config: Config, findings: Findings) -> str:
    """Return what a dry run prints.

    Args:
        config: the configuration.
        findings: of its preflight.
    """
    parts = [dump_yaml(config)]
    prompts = first_prompts(findings)
    for kind, (prompt, tokens) in prompts.items():
        shown = [visible(line) for line in prompt.split("\n")]
        parts.append(_comment([f"first prompt of kind {kind}: {tokens:,} tokens", *(f"| {line}" for line in shown)]))
    if not prompts:
        why = "the run has begun already" if not findings.problems else "see the problems found"
        parts.append(_comment([f"no prompts are shown: {why}, or the model's tokenizer cannot be read"]))
    parts.append(_comment(_expectations(config.num_instructions, config.output_dir, findings)))
    return "\n".join(parts)


def _expectations(num_instructions: int, output_dir: str | None, findings: Findings) -> list[str]:
    expected = findings.estimate
    if expected is None:
        return []
    speed, assumption = tokens_per_s(findings.weight_bytes, len(findings.hardware.gpus))
    wanted = f"{num_instructions:,}"
    requests = f"{expected.proposals:,} proposals, {wanted} classifications, {wanted} for instances"
    tokens = (
        f"{expected.completion_tokens:,} written, {expected.prompt_tokens:,} read in prompts, mostly from the cache"
    )
    parts = {"journal": expected.journal_bytes, "dataset": expected.dataset_bytes, "tuning": expected.model_bytes}
    disk = ", ".join(f"{name} {size_text(size)}" for name, size in parts.items() if size)
    lines = [
        f"expected for {wanted} instructions, from an empty run, if {ACCEPTED_SHARE:.0%} of candidates are accepted:",
        f"  requests     {requests}",
        f"  tokens       {tokens}",
        f"  disk         {size_text(expected.disk_bytes)}: {disk}",
    ]
    if output_dir:
        lines[-1] += f"; free {size_text(free_disk(Path(output_dir)))}"
    if findings.weight_bytes:
        lines.append(
            f"  time         {duration(expected.completion_tokens / speed)} of generation, assuming {assumption}"
        )
    else:
        lines.append("  time         unknown: the size of the model is not known here")
    return lines


def _comment(lines: list[str]) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)
