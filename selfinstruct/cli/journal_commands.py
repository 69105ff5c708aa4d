"""The commands that work on a journal without a GPU: explain, refilter, repair."""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote
from typing import Any

import click
import msgspec

from selfinstruct.cli.edge import cli
from selfinstruct.cli.shared import AS_JSON, RUN, OutputFile
from selfinstruct.config import earlier_defaults
from selfinstruct.config.click_options import config_options, resolve_config


@cli.command()
@RUN
@click.argument("query", metavar="[TEXT|ID]", required=False)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=None,
    help="Number of similar instructions to show.  [default: 1; with --similar-all 10]",
)
@click.option(
    "--similar-all", is_flag=True, help="Write the similar instructions of all accepted instructions to -o FILE."
)
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=None,
    help="With --similar-all: of this number of instructions, drawn at random.",
)
@click.option("-o", "--output", type=OutputFile(path_type=Path, dir_okay=False), help="The JSON Lines file to write.")
@AS_JSON
def explain(
    run: Path,
    query: str | None,
    top: int | None,
    similar_all: bool,
    sample: int | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Say why a candidate was accepted or rejected.

    Shows its line in the journal, the reason with its evidence, the examples in its prompt, the nearest earlier
    instruction with the exact ROUGE-L F, its classification and its instances. For a text that no proposal wrote, it
    shows what the filters would decide now.

    --similar-all compares every accepted instruction with all earlier ones. The time grows with the square of their
    number: about a minute for 50,000 instructions on two cores, six hours for a million. --sample N compares only N.

    \b
    Example:
        selfinstruct explain runs/first "Name three rivers of Africa."
        selfinstruct explain runs/first p000012-03 --top 10 --json
        selfinstruct explain runs/first --similar-all --sample 1000 -o similar.jsonl
    """
    from selfinstruct.replay import explain as library
    from selfinstruct.replay import explanation_text, similar

    if similar_all == (query is not None):
        raise click.UsageError("give either a text or an id, or --similar-all with -o FILE")
    if query is not None and not query.strip():
        raise click.UsageError("the text or id to explain is empty")
    if similar_all != (output is not None) or (sample is not None and not similar_all):
        raise click.UsageError("--similar-all needs -o FILE; -o and --sample need --similar-all")
    if output is not None:
        rows = similar.similar_all(run, output, sample=sample, top=top or 10)
        click.echo(f"{output}: the {top or 10} most similar earlier instructions of {rows} instructions", err=True)
        return
    explanation = library.explain(run, str(query), top=top or 1)
    click.echo(_json(explanation) if as_json else explanation_text.render(explanation))


@cli.command()
@RUN
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path, file_okay=False), help="The new run directory."
)
@config_options("filters", "answer.keep")
@config_options("scores")
@AS_JSON
def refilter(run: Path, output: Path, as_json: bool, **options: Any) -> None:
    """Decide again about every candidate, under other filters.

    Takes seconds, needs no model, and writes a new run directory; status, export, explain and generate work on it.
    Instructions that are accepted only now have no instances: they are pending and left out of exports, and `generate`
    on the new run generates their instances. The result is not the run that these filters would have produced:
    filtering depends on the order, and the prompts drew on the recorded pool. Answers that `rate` has scored can be
    chosen by their scores.

    \b
    Example:
        selfinstruct refilter runs/first --threshold 0.6 -o runs/first-06
        selfinstruct refilter runs/first --filters.max-words 80 --filters.min-words 3 -o runs/first-short --json
        selfinstruct refilter runs/rated --min-best 20% --answer.keep best -o runs/chosen
    """
    from selfinstruct.replay import refilter as library
    from selfinstruct.replay import refilter_result
    from selfinstruct.run.directory import RunDirectory

    directory = RunDirectory(run)
    directory.require_journal()
    # Of the options in the environment only the filters count: all others stay as they were recorded.
    config = resolve_config(directory.config_path if directory.config_path.exists() else None, options)
    config = earlier_defaults.continuing(config, directory.header().identity)
    result = library.refilter(run, output, config.filters, config.answer.keep, config.scores)
    click.echo(_json(result) if as_json else refilter_result.render(result), err=not as_json)
    if not as_json:
        click.echo(f"wrote {output}; next: selfinstruct status {quote(str(output))}", err=True)


@cli.command()
@RUN
@AS_JSON
def repair(run: Path, as_json: bool) -> None:
    """Remove the damage from a run's journal.

    Use it when a line in the middle of the journal is damaged or missing. Damaged lines are removed, and lines that
    need a removed one: proposals after a missing one, and what belongs to them. A copy of the damaged journal is kept.
    The command says what is lost. If nothing is damaged, it changes nothing.

    \b
    Example:
        selfinstruct repair runs/first
        selfinstruct generate --output-dir runs/first
    """
    from selfinstruct.replay import repair as library

    result = library.repair(run)
    click.echo(_json(result) if as_json else library.render(result))


def _json(result: Any) -> str:
    """Return a result of the library as indented JSON; its attributes are the keys."""
    return json.dumps(msgspec.to_builtins(result, enc_hook=str), indent=2)
