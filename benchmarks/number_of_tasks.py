"""Does a model that is tuned on more tasks do unseen ones better? The question of FLAN (arXiv 2109.01652, 4.1).

    python benchmarks/number_of_tasks.py --counts 1,4,16 --out runs/tasks
    python benchmarks/number_of_tasks.py --mix superni/ --by category --counts 1,4,16 --model FOLDER --out runs/superni
    python benchmarks/number_of_tasks.py --mix general --mix domain:healthcare --by category --counts 1,8 --out runs/a

Without `--mix` it writes task files of Super-NaturalInstructions: simple tasks whose answers a program knows. The demo
model has read text about each of them, in other words.

One model is tuned once on each number of tasks (or categories), and once on all. The unseen ones are the same in every
tuning, fewer tasks are always among more, and the number of steps is the same; with a weight, as in `PATH:1000`, so is
the number of rows (there is one row besides the mixture). Then all models answer the same questions. Prints a table:
tasks, rows, and the ROUGE-L on unseen tasks with its interval. A step that was stopped goes on with the same command.
"""

from __future__ import annotations

import json
import random
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import yaml

from selfinstruct.config.schema import DEMO_MODEL
from selfinstruct.formats import exported_rows
from selfinstruct.formats.exported_rows import ExportedRow
from selfinstruct.packaged import model_path
from selfinstruct.records import TRAIN
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.folders import ModelDirectory
from selfinstruct.run.scores import BASE, TUNED, ArmScores, Scores
from selfinstruct.run.training_record import read_training_record
from tools.demo_model.families import FAMILIES, Family
from tools.demo_model.instructions import compose
from tuning.evaluation.mixture_questions import MIXTURE_UNSEEN

OWN = [ExportedRow("own-0", "Say hello.", "", "Hello!", False)]
"""A tuning needs rows of its own; what is measured comes from the mixture."""
NUM_INSTANCES = 300
"""Of each task that is written here."""
MADE_WEIGHT = 250
"""Rows of each tuning on these: what one task alone has, less what is held out of it."""


def write_task_files(folder: Path) -> int:
    """Write a task file of Super-NaturalInstructions for each family of simple tasks. Return the number of files.

    A family without enough different inputs has none. The same files every time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    for family in FAMILIES:
        definition, instances = _made(family)
        if len(instances) == NUM_INSTANCES + 2:
            number += 1
            name = f"task{number:03d}_{family.name.replace(' ', '_').replace('-', '_')}"
            rows = [{"input": text, "output": answer} for text, answer in instances.items()]
            value = {
                "Categories": [family.name],
                "Definition": [definition],
                "Positive Examples": rows[:2],
                "Negative Examples": [],
                "Instances": [
                    {"id": f"{name}-{k}", "input": row["input"], "output": [row["output"]]}
                    for k, row in enumerate(rows[2:])
                ],
            }
            (folder / f"{name}.json").write_text(json.dumps(value, indent=1), encoding="utf-8")
    return number


def _made(family: Family) -> tuple[str, dict[str, str]]:
    """Return an instruction of a family, and outputs by input; both are kept out of the demo model's own text."""
    rng = random.Random(f"number of tasks {family.name}")
    definition, request = compose(family, rng, reserved=True)
    instances: dict[str, str] = {}
    for _ in range(NUM_INSTANCES * 4):
        instance = request.instance(rng, reserved=True) if len(instances) < NUM_INSTANCES + 2 else None
        if instance is None or not instance.input:
            break
        instances.setdefault(instance.input, instance.output)
    return definition, instances


def tune_command(
    model: str,
    mix: Sequence[str],
    by: str,
    count: int | None,
    run: RunDirectory,
    output: Path,
    steps: int,
    share: float = 0.1,
) -> list[str]:
    """Return the command that tunes on a number of tasks; on all of them if `count` is None."""
    words = ["-m", "tuning.sft", "--model_name_or_path", model, "--dataset_dir", run.dataset.path]
    words += [
        "--output_dir",
        output,
        "--max_steps",
        steps,
        "--eval_strategy",
        "no",
        "--load_best_model_at_end",
        "false",
    ]
    words += ["--mix", *mix, "--mix_hold_out", by, "--mix_hold_out_share", share]
    words += [*(["--mix_most_seen", count] if count is not None else [])]
    return [sys.executable, *map(str, words)]


def table(scores: Scores, counts: Sequence[int], models: dict[str, ModelDirectory]) -> str:
    """Return the curve as a table: the base first, then by the number of tasks."""
    lines = ["| tasks | rows | ROUGE-L on unseen tasks |", "| ---: | ---: | --- |", _row("0", "0", scores.arms[BASE])]
    for name in [*(f"tasks-{count}" for count in counts), TUNED]:
        record = read_training_record(models[name].record_path)
        taken = sum(source.taken for source in record.mixture) if record else 0
        lines.append(_row(name.removeprefix("tasks-") if name != TUNED else "all", f"{taken:,}", scores.arms[name]))
    return "\n".join(lines)


def _row(tasks: str, rows: str, arm: ArmScores) -> str:
    unseen = arm.sets[MIXTURE_UNSEEN]
    interval = "" if unseen.rouge_l_interval is None else " [{:.1f}, {:.1f}]".format(*unseen.rouge_l_interval)
    return f"| {tasks} | {rows} | {unseen.rouge_l:.1f}{interval} |"


@click.command(help=__doc__)
@click.option("--model", default="demo", show_default=True, help="A local path, or a name on the Hub.")
@click.option("--mix", multiple=True, help="A dataset that names its tasks. Repeatable. Default: written here.")
@click.option("--by", type=click.Choice(["task", "category"]), default="task", show_default=True)
@click.option("--counts", default="1,4,16", show_default=True, help="Numbers of tasks, ascending.")
@click.option("--held-out-share", type=float, default=0.3, show_default=True, help="Share of tasks that is unseen.")
@click.option("--steps", type=int, default=60, show_default=True, help="Steps of each tuning.")
@click.option("--tune", "further", default="", help="Further arguments of the tunings, as one text.")
@click.option("--max-tokens", type=int, default=64, show_default=True, help="Longest answer.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Run directory.")
def main(
    model: str,
    mix: tuple[str, ...],
    by: str,
    counts: str,
    held_out_share: float,
    steps: int,
    further: str,
    max_tokens: int,
    out: Path,
) -> None:
    run, numbers = RunDirectory(out), [int(number) for number in counts.split(",")]
    run.dataset.path.mkdir(parents=True, exist_ok=True)
    exported_rows.write(run.dataset.split(TRAIN), OWN)
    if not mix:
        click.echo(f"{write_task_files(out / 'tasks')} task files: {out / 'tasks'}")
        mix = (f"{out / 'tasks'}:{MADE_WEIGHT}",)
    evaluate = {"tasks": ["eval_tasks"], "held_out_by": by, "max_tokens": max_tokens, "limit": 200}
    run.config_path.write_text(yaml.safe_dump({"model": model, "evaluate": evaluate}))
    local = str(model_path()) if model == DEMO_MODEL else model
    models = {f"tasks-{count}": ModelDirectory(out / f"model-{count}") for count in numbers} | {TUNED: run.model}
    for count, folder in zip([*numbers, None], models.values(), strict=True):
        command = tune_command(local, mix, by, count, run, folder.path, steps, held_out_share)
        subprocess.run([*command, *shlex.split(further)], check=True)
    others = [word for name, folder in models.items() if name != TUNED for word in ("--model", f"{name}={folder.path}")]
    subprocess.run([sys.executable, "-m", "tuning.evaluate", "--run-dir", str(out), *others], check=True)
    scores = run.evaluation.scores()
    assert scores is not None
    click.echo(table(scores, numbers, models))


if __name__ == "__main__":
    main()
