"""Commands that need no run: seeds check, stats and from-dataset, dedup, score."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import click

from selfinstruct import packaged
from selfinstruct.cli.edge import HelpfulGroup, cli
from selfinstruct.cli.shared import AS_JSON, OutputFile
from selfinstruct.config.schema import PromptLanguage
from selfinstruct.errors import InputError
from selfinstruct.records import SeedTask
from selfinstruct.signals import changing_nothing
from selfinstruct.text import capped, printable


@cli.group(cls=HelpfulGroup)
def seeds() -> None:
    """Work on seed files.

    \b
    Example:
        selfinstruct seeds check my_seeds.jsonl
        selfinstruct seeds from-dataset alpaca_data.json -n 175 -o seeds.jsonl
    """


@seeds.command("check")
@click.argument("file", metavar="FILE")
@click.option(
    "--prompt-language",
    type=click.Choice(get_args(PromptLanguage)),
    default="en",
    show_default=True,
    help="Language of the words of the prompts that will show them.",
)
@click.option(
    "--evaluation",
    metavar="FILE",
    multiple=True,
    help="Evaluation tasks that no seed should be near; default: the packaged ones. Repeatable.",
)
@click.option(
    "--context-length",
    type=click.IntRange(1),
    help="Tokens of the model's context: notes which prompts will show fewer seeds (estimated).",
)
@changing_nothing()
def seeds_check(
    file: str, prompt_language: PromptLanguage, evaluation: tuple[str, ...], context_length: int | None
) -> None:
    """Check a seed file.

    Lists all problems at once; with any, the exit code is 4. Notes are about what is allowed but worth knowing.

    \b
    Example:
        selfinstruct seeds check my_seeds.jsonl
        selfinstruct seeds check seed_tasks        # the packaged ones
        selfinstruct seeds check domain:healthcare
    """
    from selfinstruct.checks.context_fit import fit_remarks
    from selfinstruct.formats import seed_tasks

    path = packaged.resolve(file)
    left_out: Counter[str] = Counter()
    tasks = seed_tasks.load_seed_tasks([path], left_out=left_out)
    remarks = seed_tasks.dataset_remarks([path])
    remarks += [f"left out: {reason}" for reason in seed_tasks.left_out_texts(left_out)]
    remarks += [] if context_length is None else fit_remarks(tasks, context_length)
    _show(remarks + _advice(file, tasks, prompt_language, evaluation))
    classification = sum(t.is_classification for t in tasks)
    instances = sum(len(t.instances) for t in tasks)
    click.echo(
        f"{path}: {len(tasks)} tasks, {classification} of them classification, {instances} instances: no problems"
    )


def _advice(file: str, tasks: list[SeedTask], language: PromptLanguage, evaluation: tuple[str, ...]) -> list[str]:
    from selfinstruct.checks import seed_lint
    from selfinstruct.formats import seed_tasks
    from selfinstruct.generation.frame import load_frame

    held_out = [task for name in evaluation or _compared(file) for task in seed_tasks.load_seed_tasks([name])]
    return seed_lint.advice(tasks, load_frame(language), held_out)


def _show(remarks: list[str]) -> None:
    from selfinstruct.formats.problems import MOST_PROBLEMS

    for remark in capped(remarks, MOST_PROBLEMS):
        click.echo(printable(f"note: {remark}"))


def _compared(file: str) -> tuple[str, ...]:
    """Return the packaged evaluation tasks that no task of a file should be near."""
    if file in packaged.PACKAGED or file.endswith("/eval"):
        return ()
    return ("eval_tasks", f"{file}/eval") if packaged.is_packaged(file) else ("eval_tasks",)


@seeds.command("stats")
@click.argument("file", metavar="FILE")
@AS_JSON
@changing_nothing()
def seeds_stats(file: str, as_json: bool) -> None:
    """Print what a set of tasks is like.

    Lengths, shares, categories, scripts, languages, and the notes of `seeds check`. FILE is a seed file or a dataset
    of another family.

    \b
    Example:
        selfinstruct seeds stats my_seeds.jsonl
    """
    from selfinstruct.checks.seed_stats import seed_stats
    from selfinstruct.formats import seed_tasks

    left_out: Counter[str] = Counter()
    path = packaged.resolve(file)
    tasks = seed_tasks.load_seed_tasks([path], unfit_datasets=True, left_out=left_out)
    stats, notes = seed_stats(tasks), seed_tasks.dataset_remarks([path])
    notes += [f"left out: {reason}" for reason in seed_tasks.left_out_texts(left_out)]
    notes += _advice(file, tasks, "en", ())
    if as_json:
        click.echo(json.dumps({**stats.to_json(), "notes": notes}))
        return
    for line in stats.lines():
        click.echo(printable(line))
    _show(notes)


@seeds.command("from-dataset")
@click.argument("source", metavar="IN")
@click.option("-n", "--number", type=click.IntRange(1), default=175, show_default=True, help="Tasks to choose.")
@click.option(
    "-o",
    "--output",
    type=OutputFile(path_type=Path, dir_okay=False),
    default=Path("seeds.jsonl"),
    show_default=True,
    help="Seed file to write.",
)
@changing_nothing()
def seeds_from_dataset(source: str, number: int, output: Path) -> None:
    """Choose a diverse set of seed tasks from a dataset.

    IN is a dataset of any family (see `selfinstruct convert`). Each step takes the task that is farthest from those
    chosen before, by ROUGE-L. The same file gives the same choice.

    \b
    Example:
        selfinstruct seeds from-dataset alpaca_data.json -n 175 -o seeds.jsonl
    """
    from selfinstruct.console import reading
    from selfinstruct.dataset.seed_selection import choose_seeds
    from selfinstruct.formats import data_files, jsonl, seed_tasks

    data_files.require_other(source, output)

    left_out: Counter[str] = Counter()
    with reading() as tell:
        chosen = choose_seeds(
            seed_tasks.load_seed_tasks([source], unfit_datasets=True, left_out=left_out),
            number,
            lambda done: tell(f"{done} of {number} tasks chosen"),
        )
    reasons = seed_tasks.left_out_texts(left_out + Counter(chosen.left_out))
    if not chosen.tasks:
        raise InputError(f"{source}: no task can be a seed ({', '.join(reasons)})")
    jsonl.write(output, map(seed_tasks.to_json, chosen.tasks))
    for line in (*seed_tasks.dataset_remarks([source]), *(f"left out: {reason}" for reason in reasons)):
        click.echo(printable(line))
    click.echo(
        f"{len(chosen.tasks)} of {chosen.candidates:,} tasks, no two nearer than ROUGE-L F {chosen.nearest:.2f}; "
        f"written: {printable(str(output))}"
    )


@cli.command()
@click.argument(
    "candidates", metavar="CANDIDATES.jsonl", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False)
)
@click.option(
    "--against",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="JSONL whose rows count as earlier ones. Repeatable.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.7,
    show_default=True,
    help="Reject above this ROUGE-L F.",
)
@click.option(
    "--field", default="instruction", show_default=True, help="Field of the text; nested: messages[0].content."
)
@click.option(
    "-o",
    "--output",
    "kept",
    type=OutputFile(path_type=Path, allow_dash=True),
    default=Path("-"),
    help="Kept rows.  [default: stdout]",
)
@click.option(
    "--rejected", type=OutputFile(path_type=Path), default=None, help="Rejected rows, with reason, nearest and score."
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON, also on stderr.")
@changing_nothing()
def dedup(
    candidates: Path,
    against: tuple[Path, ...],
    threshold: float,
    field: str,
    kept: Path,
    rejected: Path | None,
    as_json: bool,
) -> None:
    """Drop near-duplicates from any JSONL of instructions.

    A row is dropped when its ROUGE-L F with an earlier row is above the threshold, as in generation. Kept rows stay
    unchanged and in order. A summary goes to stderr.

    \b
    Example:
        selfinstruct dedup new.jsonl --against pool.jsonl -o kept.jsonl --rejected rejected.jsonl
    """
    from selfinstruct.console import reading
    from selfinstruct.dataset import dedup as library

    with reading() as tell:
        summary = library.dedup(
            candidates,
            against,
            threshold=threshold,
            field=field,
            kept=kept,
            rejected=rejected,
            progress=lambda so_far: tell(so_far.progress()),
        )
    click.echo(json.dumps(summary.as_dict()) if as_json else summary.sentence(), err=True)


@cli.command()
@click.argument(
    "predictions", metavar="PREDICTIONS.jsonl", type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@click.option("--prediction-field", default="response", show_default=True, help="Field of the model's answer.")
@click.option(
    "--reference-field",
    default="target",
    show_default=True,
    help="Field of the reference: a string, or a list of which the best counts.",
)
@click.option(
    "--stemmer/--no-stemmer",
    default=False,
    show_default=True,
    help="Compare word stems (as Super-NaturalInstructions does).",
)
@click.option(
    "--only-ascii-words",
    is_flag=True,
    help="Drop all letters outside a-z, as rouge-score does, instead of comparing such text by Unicode words.",
)
@click.option(
    "--ifeval",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=None,
    help="IFEval's file: score by its checks instead; each row's `prompt` is one of this file.",
)
@AS_JSON
@changing_nothing()
def score(
    predictions: Path,
    prediction_field: str,
    reference_field: str,
    stemmer: bool,
    only_ascii_words: bool,
    ifeval: Path | None,
    as_json: bool,
) -> None:
    """Score predictions by ROUGE-L and exact match, or by IFEval.

    Prints the mean ROUGE-L F x 100, the exact matches in percent, and the number of rows. ROUGE-L of ASCII text is
    exactly that of rouge-score; of all text with --only-ascii-words.
    With --ifeval, prints the percentages of prompts and of constraints that are kept.

    \b
    Example:
        selfinstruct score predictions.jsonl --reference-field references --json
        selfinstruct score responses.jsonl --ifeval input_data.jsonl
    """
    if ifeval is not None:
        _score_ifeval(predictions, ifeval, prediction_field, as_json)
        return
    from tuning.evaluation.metrics import score_predictions

    scores = score_predictions(
        predictions,
        prediction_field=prediction_field,
        reference_field=reference_field,
        stemmer=stemmer,
        tokenizer="rouge_score" if only_ascii_words else "characters",
    )
    if as_json:
        click.echo(json.dumps(asdict(scores)))
    else:
        for name, value in asdict(scores).items():
            click.echo(f"{name:12} {value:.2f}" if isinstance(value, float) else f"{name:12} {value}")


def _score_ifeval(responses: Path, constraints: Path, field: str, as_json: bool) -> None:
    """Print the scores of responses by IFEval's checks."""
    from msgspec import to_builtins

    from tuning.evaluation.ifeval_responses import score_responses

    scored = score_responses(responses, constraints, field)
    if as_json:
        click.echo(json.dumps(to_builtins(scored.scores) | {"unanswered": scored.unanswered}))
        return
    for unit in ("prompt", "instruction"):
        for level in ("strict", "loose"):
            value, (low, high) = (getattr(scored.scores, f"{unit}_{level}{end}") for end in ("", "_interval"))
            click.echo(f"{unit + 's, ' + level:21} {value:.2f}  [{low:.2f}, {high:.2f}]")
    click.echo(f"{'prompts':21} {scored.scores.n}, {scored.unanswered} of the file without a response")
