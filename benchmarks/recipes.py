"""Recipes side by side, at the same number of generated tokens: what each costs and what it keeps.

    python benchmarks/recipes.py --model MODEL --tokens 60000 --out runs/recipes paper base aligned
    python benchmarks/recipes.py --model MODEL --out runs/recipes chat=chat.yaml chat2=chat2.yaml

A recipe is a packaged one by its name, `defaults`, or NAME=FILE with a file of options. Each is generated into
OUT/NAME; a run that is there already is continued up to the number of tokens. OUT/recipes.json holds all figures,
OUT/NAME.instructions.txt 100 accepted instructions at random and OUT/NAME.rows.jsonl 60 rows: read them.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median

import yaml

from selfinstruct.config.load import load_yaml
from selfinstruct.formats import jsonl
from selfinstruct.novelty import tokenize
from selfinstruct.records import Task
from selfinstruct.run.counts import by_count
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import read_lines
from selfinstruct.run.lines import Header, InstructionCandidate, ProposalLine
from selfinstruct.run.state import RunState

DEFAULTS = "defaults"
"""Name of the recipe that sets nothing."""
INSTRUCTIONS, ROWS = 100, 60
"""Drawn at random, to be read."""
_STOPPED = 3
"""Exit code of a generation that has used up its tokens."""


@dataclass(frozen=True)
class Figures:
    """What a recipe made of its tokens. Shares are in [0, 1]; None: there is nothing to count.

    Attributes:
        tokens: generated, by kind of request.
        candidates: proposed instructions.
        accepted: of these.
        share_accepted: accepted / candidates, by proposer.
        rows_per_proposal: rows kept for each proposal, by proposer.
        copied_seeds: share of the candidates that are a seed word for word.
        near_seeds: share of the candidates that were rejected as too similar to a seed, but are no copy.
        rejected: other candidates, by reason.
        judged_tasks: share of the candidates that the model takes for a task, of those that it was asked about; None
            with `filters.is_task: off`.
        openings: different first two words of the accepted instructions, as a share of these.
        novelty: mean of 1 - ROUGE-L F to the most similar seed, over the accepted instructions.
        classification: share of the classified instructions that are classification tasks.
        rows: instances kept.
        rows_rejected: instances that were not kept, by reason.
        tasks_without_rows: accepted instructions that are answered and have no row.
        failures: failed requests, by kind and reason.
        tokens_per_row: generated tokens for each row.
        input_share: share of the rows with an input.
        instruction_words: mean.
        output_words: mean.
        output_median: median of the words of an output.
        long_outputs: share of the outputs with more than 100 words.
        repeated_outputs: share of the rows with a line or a sentence that comes three times in the output.
        echoes: share of the rows of which the output is only words of the instruction and the input, in their order.
    """

    tokens: dict[str, int]
    candidates: int
    accepted: int
    share_accepted: dict[str, float]
    rows_per_proposal: dict[str, float]
    copied_seeds: float | None
    near_seeds: float | None
    rejected: dict[str, int]
    judged_tasks: float | None
    openings: float | None
    novelty: float | None
    classification: float | None
    rows: int
    rows_rejected: dict[str, int]
    tasks_without_rows: int
    failures: dict[str, int]
    tokens_per_row: float | None
    input_share: float | None
    instruction_words: float | None
    output_words: float | None
    output_median: float | None
    long_outputs: float | None
    repeated_outputs: float | None
    echoes: float | None


def figures(run: RunDirectory) -> Figures:
    """Return the figures of a run, from its journal."""
    state = run.state()
    proposals = [line for line in read_lines(run.journal) if isinstance(line, ProposalLine)]
    candidates = [c for line in proposals for c in decided(line)]
    copied = [c for c in candidates if c.reason == "identical" and not _is_generated(c)]
    near = [c for c in candidates if c.reason == "near_duplicate" and not _is_generated(c)]
    others = Counter(c.reason or "" for c in candidates if not c.accepted)
    others.subtract({"identical": len(copied), "near_duplicate": len(near)})
    tasks = list(state.tasks())
    rows = [(task, instance) for task in tasks for instance in task.instances]
    words = [len(tokenize(instance.output)) for _, instance in rows]
    known = list(state.is_classification.values())
    return Figures(
        tokens={kind: usage.completion_tokens for kind, usage in sorted(state.usage.items()) if usage.requests},
        candidates=len(candidates),
        accepted=len(state.pool),
        **by_proposer(proposals, state),
        copied_seeds=share(len(copied), len(candidates)),
        near_seeds=share(len(near), len(candidates)),
        rejected=by_count((reason, n) for reason, n in others.items() if n),
        judged_tasks=judged_tasks(proposals, state.header),
        openings=share(len({opening(i.text) for i in state.pool}), len(state.pool)),
        novelty=mean([1 - (c.nearest_seed.score if c.nearest_seed else 0.0) for c in candidates if c.accepted]),
        classification=share(sum(known), len(known)),
        rows=len(rows),
        rows_rejected=by_count(state.instances_rejected.items()),
        tasks_without_rows=sum(not kept for kept in state.instances.values()),
        failures=by_count((f"{kind}: {reason}", n) for (kind, reason), n in state.failures.items()),
        tokens_per_row=state.completion_tokens / len(rows) if rows else None,
        input_share=share(sum(bool(instance.input) for _, instance in rows), len(rows)),
        instruction_words=mean([len(tokenize(i.text)) for i in state.pool]),
        output_words=mean(words),
        output_median=median(words) if words else None,
        long_outputs=share(sum(n > 100 for n in words), len(words)),
        repeated_outputs=share(sum(repeats(instance.output) for _, instance in rows), len(rows)),
        echoes=share(sum(is_echo(task, i.input, i.output) for task, i in rows), len(rows)),
    )


def decided(line: ProposalLine) -> list[InstructionCandidate]:
    """Return the candidates of a proposal that came before the target."""
    return [candidate for candidate in line.candidates if candidate.reason != "target_reached"]


def by_proposer(proposals: list[ProposalLine], state: RunState) -> dict[str, dict[str, float]]:
    """Return the figures that say what each proposer is good for."""
    asked, candidates, accepted, rows = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for line in proposals:
        asked[line.proposer] += 1
        for candidate in decided(line):
            candidates[line.proposer] += 1
            accepted[line.proposer] += candidate.accepted
            rows[line.proposer] += len(state.instances.get(candidate.id, ()))
    return {
        "share_accepted": {name: accepted[name] / n for name, n in sorted(candidates.items())},
        "rows_per_proposal": {name: rows[name] / n for name, n in sorted(asked.items())},
    }


def judged_tasks(proposals: list[ProposalLine], header: Header) -> float | None:
    """Return the share of the candidates that the model takes for a task, by the threshold calibrated on the seeds."""
    calibration = header.calibration.get("is_task")
    if calibration is None or (least := calibration.threshold) is None:
        return None
    known = [v.log_odds for line in proposals for v in line.verdicts if v.log_odds is not None]
    return share(sum(odds >= least for odds in known), len(known))


def share(part: int, whole: int) -> float | None:
    """Return part / whole; None of nothing."""
    return part / whole if whole else None


def mean(values: list[float] | list[int]) -> float | None:
    """Return the mean; None of nothing."""
    return fmean(values) if values else None


def opening(text: str) -> str:
    """Return the first two words of a text, without case and punctuation."""
    return " ".join(tokenize(text)[:2])


def repeats(output: str) -> bool:
    """Return whether a line or a sentence of some length comes three times in an output."""
    parts = [part.strip().lower() for part in re.split(r"\n+|(?<=[.!?])\s+", output)]
    return any(n >= 3 for part, n in Counter(parts).items() if len(part) >= 8)


def is_echo(task: Task, task_input: str, output: str) -> bool:
    """Return whether an output of at least four words only says words of instruction and input, in their order."""
    said, wanted = f"{task.instruction}\n{task_input}", tokenize(output)
    words = iter(tokenize(said))
    return len(wanted) >= 4 and all(word in words for word in wanted)


def _is_generated(candidate: InstructionCandidate) -> bool:
    """Return whether the text that a candidate is similar to was generated in this run, too."""
    nearest = str(((candidate.evidence or {}).get("nearest") or {}).get("id", ""))
    return re.fullmatch(r"p\d{6,}-\d{2,}", nearest) is not None


# ----------------------------------------------------------------------------------------------------- running


def options_of(recipe: str) -> tuple[str, dict[str, object]]:
    """Return the name and the options of a recipe as it is named on the command line."""
    name, equals, file = recipe.partition("=")
    if equals:
        return name, load_yaml(Path(file))
    return name, {} if name == DEFAULTS else {"recipe": name}


def generate(model: str, tokens: int, window: int, run: Path, options: dict[str, object]) -> None:
    """Generate until the tokens are used up; continue a run that is there."""
    whole = {"model": model, "num_instructions": 1_000_000, "output_dir": str(run), "window": window} | options
    whole |= {"limits": {"max_tokens_total": tokens}, "saturation": {"min_acceptance": 0, "max_degenerate": 1}}
    file = run.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(whole, sort_keys=False, allow_unicode=True))
    command = [sys.executable, "-m", "selfinstruct", "generate", "--config", str(file)]
    code = subprocess.run(command, check=False).returncode
    if code not in (0, _STOPPED):
        sys.exit(f"{run.name}: generation ended with exit code {code}")


def write_samples(state: RunState, run: Path) -> None:
    """Write accepted instructions and rows, drawn at random, to be read by a person."""
    draw = random.Random(0)
    pool = [instruction.text for instruction in state.pool]
    chosen = draw.sample(pool, min(INSTRUCTIONS, len(pool)))
    lines = [f"{number:3} {' '.join(text.split())}\n" for number, text in enumerate(chosen, 1)]
    run.with_suffix(".instructions.txt").write_text("".join(lines), encoding="utf-8", errors="replace")
    rows = [(task.instruction, i.input, i.output) for task in state.tasks() for i in task.instances]
    some = draw.sample(rows, min(ROWS, len(rows)))
    names = ("instruction", "input", "output")
    written = [json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n" for row in some]
    run.with_suffix(".rows.jsonl").write_text("".join(written), encoding="utf-8", errors="replace")


def table(of: dict[str, Figures]) -> str:
    """Return the figures as a Markdown table, one column for each recipe."""
    lines = [f"| | {' | '.join(of)} |", "| --- |" + " --- |" * len(of)]
    for name in Figures.__dataclass_fields__:
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(_cell(getattr(f, name)) for f in of.values())} |")
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(n)}" for name, n in value.items())
    if isinstance(value, float):
        return f"{value:.3f}" if value < 1 else f"{value:.1f}"
    return f"{value:,}"


def main() -> None:
    """Generate with each recipe, and print the figures as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="+", metavar="RECIPE", help="a name, `defaults`, or NAME=FILE.yaml")
    parser.add_argument("--model", required=True, help="path, or name on the Hub")
    parser.add_argument("--tokens", type=int, default=60_000, help="generated for each recipe (default: %(default)s)")
    parser.add_argument("--window", type=int, default=16, help="proposals in flight (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs and the figures")
    parser.add_argument("--only-read", action="store_true", help="generate nothing: read the runs that are there")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    by_recipe: dict[str, Figures] = {}
    for name, values in map(options_of, options.recipes):
        run = options.out / name
        if not options.only_read:
            generate(options.model, options.tokens, options.window, run, values)
        by_recipe[name] = figures(RunDirectory(run))
        write_samples(RunDirectory(run).state(), run)
    jsonl.write_text(options.out / "recipes.json", json.dumps({n: asdict(f) for n, f in by_recipe.items()}, indent=1))
    print(table(by_recipe))


if __name__ == "__main__":
    main()
