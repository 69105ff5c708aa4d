"""`--dry-run`: the resolved configuration, the first prompts, what runs where, and what it is expected to take.

The text is a configuration file: everything else is in comments.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfinstruct.checks import speed
from selfinstruct.checks.estimate import ACCEPTED_SHARE, trained_tokens
from selfinstruct.checks.model_fit import room
from selfinstruct.checks.preflight import Findings, first_prompts
from selfinstruct.config.later_stages import Evaluate, Tune
from selfinstruct.config.load import dump_yaml
from selfinstruct.config.schema import Config
from selfinstruct.engines.endpoints import Endpoints
from selfinstruct.engines.model_facts import ModelFacts
from selfinstruct.engines.parallelism import Parallelism, parallelism
from selfinstruct.errors import SelfInstructError
from selfinstruct.hardware import Gpu, Hardware, free_disk
from selfinstruct.text import duration, size_text, visible
from tuning.evaluation import inputs
from tuning.training.launch import processes_of

_SHORT_ANSWERS = 0.1
"""Share of the tokens that answers may take that they take at least."""


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
    if findings.steps is not None:
        parts.append(_comment(f"note: {visible(remark)}" for remark in (*findings.remarks, *findings.steps.remarks)))
    times = _times(config.num_instructions, config.engine, config.max_in_flight, config.tune, config.evaluate, findings)
    expectations = _expectations(config.num_instructions, config.output_dir, findings, times)
    parts += [_comment(_plan(config.engine, findings)), _comment(expectations)]
    return "\n".join(part for part in parts if part)


def _plan(engine: Mapping[str, Any], findings: Findings) -> Iterator[str]:
    """Yield what runs where."""
    facts, gpus = findings.facts, findings.hardware.gpus
    tuning = (
        [f"  tuning       {findings.tuning.reason or findings.tuning.method}"] if findings.tuning is not None else []
    )
    if isinstance(findings.engine, Endpoints):
        yield "plan:"
        style = f", prompts in the style `{findings.steps.style}`" if findings.steps else ""
        context = f"a context of {findings.engine.context_length:,} tokens"
        yield f"  generation   {findings.engine.summary()}, {context}{style}"
        yield from tuning
        return
    if facts is None:
        return
    kind = f"{facts.quantization} and {facts.dtype}" if facts.quantization else facts.dtype
    size = f"{_parameters(facts)}, {size_text(facts.weight_bytes)} in {kind}"
    yield "plan:"
    yield f"  model        {visible(facts.name)}: {size}"
    yield f"  GPUs         {_gpus_text(gpus)}"
    style = f", prompts in the style `{findings.steps.style}`" if findings.steps else ""
    copies = _copies(_used(engine, facts, findings.hardware)) if gpus else "on the CPU"
    fits = not gpus or room(facts, engine, findings.hardware) > 0
    yield f"  generation   {copies}, {_context(findings, facts)}{style}" if fits else "  generation   it does not fit"
    yield from tuning


def _expectations(
    num_instructions: int, output_dir: str | None, findings: Findings, times: Iterable[str]
) -> Iterator[str]:
    """Yield what the run takes, with the lines about time among it."""
    expected = findings.estimate
    if expected is None:
        return
    wanted = f"{num_instructions:,}"
    yield f"expected for {wanted} instructions, from an empty run, if {ACCEPTED_SHARE:.0%} of candidates are accepted:"
    answers = f", {expected.answers:,} answers" if expected.answers else ""
    judged = f", {expected.judged:,} whether a text is a task" if expected.judged else ""
    before = f", {expected.calibrated:,} about the seeds to begin with" if expected.calibrated else ""
    yield f"  requests     {expected.proposals:,} proposals, {wanted} classifications, {wanted} for instances{answers}"
    if judged or before:
        yield f"               and of one token each{judged}{before}"
    known = bool(expected.prompt_tokens)
    read = f"{expected.prompt_tokens:,} read in prompts, mostly from the cache" if known else "those of prompts unknown"
    yield f"  tokens       {expected.completion_tokens:,} written, {read}"
    yield from times
    parts = {"journal": expected.journal_bytes, "dataset": expected.dataset_bytes, "tuning": expected.model_bytes}
    disk = ", ".join(f"{name} {size_text(size)}" for name, size in parts.items() if size)
    free = f"; free {size_text(free_disk(Path(output_dir)))}" if output_dir else ""
    yield f"  disk         {size_text(expected.disk_bytes)}: {disk}{free}"


def _times(
    num_instructions: int,
    engine: Mapping[str, Any],
    max_in_flight: int | None,
    tune: Tune,
    evaluate: Evaluate,
    findings: Findings,
) -> Iterator[str]:
    """Yield the speed, and the time that follows from it."""
    facts, hardware, expected = findings.facts, findings.hardware, findings.estimate
    if expected is None:
        return
    if isinstance(findings.engine, Endpoints):
        yield "  time         unknown: the endpoints' speed is not known here"
        return
    if facts is None or not facts.weight_bytes:
        yield "  time         unknown: the size of the model is not known here"
        return
    gpu = min(hardware.gpus, key=lambda gpu: gpu.total, default=None)
    if gpu is not None:
        if room(facts, engine, hardware) <= 0:
            yield "  time         unknown: the model does not fit into these GPUs"
            return
        used = _used(engine, facts, hardware)
        written = speed.tokens_per_s(facts, expected.request, gpu, used, max_in_flight)
        why = "from the GPU's data sheet" if speed.known(gpu) else "of an unknown GPU, which counts as slow"
    else:
        written, why = speed.cpu_tokens_per_s(facts.weight_bytes), "from the demo model on two cores"
    yield f"  speed        {written.low:,.0f} to {written.high:,.0f} tokens/s written: a rough range, {why}"
    times = {"generation": _writing(expected.completion_tokens, written)}
    starts = 1
    unknown = ""
    if findings.tuning is not None:
        models = 3 if evaluate.seeds_baseline else 2
        starts += 2 * models - 1  # A training for each model but the base, an engine for each.
        with contextlib.suppress(SelfInstructError):  # A file that cannot be read is among the problems.
            times["evaluation"] = _evaluation((models + 1) * inputs.most_tokens(evaluate), written)
        unknown = "; training without a GPU, or another model than the generator, is not reckoned with"
        if gpu is not None and tune.model is None:
            unknown = ""
            trained = trained_tokens(num_instructions, tune.arguments)
            adapter = findings.tuning.method != "full"
            processes, _ = processes_of(tune, len(hardware.gpus))
            times["training"] = speed.tuning_s(facts, trained, gpu, num_gpus=processes, adapter=adapter)
    start = speed.start_s(facts.weight_bytes, gpu=gpu is not None)
    times["starts" if starts > 1 else "start"] = speed.Range(starts * start.low, starts * start.high)
    whole = _span(sum(each.low for each in times.values()), sum(each.high for each in times.values()))
    parts = ", ".join(f"{_span(each.low, each.high)} of {what}" for what, each in times.items())
    yield f"  time         {whole} in all: {parts}{unknown}"


def _writing(tokens: float, written: speed.Range) -> speed.Range:
    return speed.Range(tokens / written.high, tokens / written.low)


def _evaluation(most_tokens: int, written: speed.Range) -> speed.Range:
    """Return the time of answers of which most end long before their limit."""
    return speed.Range(_SHORT_ANSWERS * most_tokens / written.high, most_tokens / written.low)


def _span(shortest_s: float, longest_s: float) -> str:
    return "under a minute" if longest_s < 60 else f"{duration(shortest_s)} to {duration(longest_s)}"


def _used(engine: Mapping[str, Any], facts: ModelFacts, hardware: Hardware) -> Parallelism:
    return parallelism(facts, engine, len(hardware.gpus), hardware.gpu_bytes)


def _context(findings: Findings, facts: ModelFacts) -> str:
    if findings.engine is None:
        return "a context that vLLM derives"
    length, own = findings.engine.context_length, facts.context_length
    whole = f" of the model's {own:,}" if own and length < own else ""
    return f"a context of {length:,}{whole} tokens"


def _copies(used: Parallelism) -> str:
    gpus = f"{used.gpus_per_replica} GPUs" if used.gpus_per_replica > 1 else "one GPU"
    return f"{used.replicas} replicas, each on {gpus}" if used.replicas > 1 else f"one replica on {gpus}"


def _parameters(facts: ModelFacts) -> str:
    if not facts.parameters:
        return "parameters not counted"
    millions = facts.parameters / 1e6
    return f"{millions / 1000:,.1f} billion parameters" if millions >= 100 else f"{millions:,.1f} million parameters"


def _gpus_text(gpus: Sequence[Gpu]) -> str:
    kinds = Counter(f"{gpu.name}, {size_text(gpu.total)}" for gpu in gpus)
    return "; ".join(f"{number} x {kind}" for kind, number in kinds.items()) or "none"


def _comment(lines: Iterable[str]) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)
