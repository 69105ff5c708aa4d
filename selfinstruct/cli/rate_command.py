"""The command that scores answers: rate."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Any

import click

from selfinstruct.cli.edge import cli
from selfinstruct.cli.shared import RUN, rating_starter
from selfinstruct.config import earlier_defaults
from selfinstruct.config.click_options import config_options, resolve_config


@cli.command()
@RUN
@config_options("rate")
@click.option("--verbose", is_flag=True, help="Show vLLM's log.")
def rate(run: Path, verbose: bool, **options: Any) -> None:
    """Score the answers of a run.

    Each score is a line of the run's journal; several scorers, and several models, can score the same run. Scores
    change nothing: choose by them with `refilter --min-best`, `refilter --answer.keep best`, or `export --select N
    --select-by best`. The same command goes on where it was stopped.

    \b
    Example:
        selfinstruct rate runs/first
        selfinstruct rate runs/first --model Qwen/Qwen3-32B --rubric mine.txt
        selfinstruct rate runs/first --scorer reward --model Skywork/Skywork-Reward-V2-Qwen3-0.6B
    """
    from selfinstruct.console import closing_table
    from selfinstruct.generation import rate as library
    from selfinstruct.run.directory import RunDirectory

    directory = RunDirectory(run)
    directory.require_journal()
    config = resolve_config(directory.config_path, options, {"output_dir": str(run)})
    config = earlier_defaults.continuing(config.anchored(), directory.header().identity)
    result = library.rate(config, rating_starter(config, verbose=verbose))
    rows = [
        ("scorer", " ".join(filter(None, result.scorer[:2]))),
        ("scored", f"{result.scored:,} answers" + (f", and {result.before:,} before" if result.before else "")),
    ]
    if result.auc is not None:
        rows.append(("AUC", f"{result.auc:.2f} between right and wrong answers to seeds; 0.5 is chance"))
    if result.apart:
        rows.append(("apart", f"{result.apart:,} answers that it has nothing to say about"))
    if result.failed:
        rows.append(("without", f"{result.failed:,} answers; selfinstruct status {quote(str(run))} says why"))
    closing_table("the answers are scored", rows, f"selfinstruct refilter {quote(str(run))} --min-best 20% -o CHOSEN")
