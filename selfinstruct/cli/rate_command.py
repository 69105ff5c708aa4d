"""The commands that ask about what a run has generated: rate, tag."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Any

import click

from selfinstruct.cli.edge import cli
from selfinstruct.cli.shared import AS_STAGE, RUN, asking_starter
from selfinstruct.config import earlier_defaults
from selfinstruct.config.click_options import config_options, resolve_config
from selfinstruct.config.schema import Config

_SETTINGS = click.option("--config", "config_file", type=click.Path(path_type=Path), hidden=True)
"""The configuration of the chain of which the command is a stage; `-` reads stdin."""


@cli.command()
@RUN
@config_options("rate")
@_SETTINGS
@AS_STAGE
def rate(run: Path, config_file: Path | None, as_stage: bool, **options: Any) -> None:
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

    config = _config_of(run, options, config_file)
    result = library.rate(config, asking_starter(config, config.rate))
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
    following = f"selfinstruct refilter {quote(str(run))} --min-best 20% -o CHOSEN"
    closing_table("the answers are scored", rows, "" if as_stage else following)


@cli.command()
@RUN
@config_options("tag")
@_SETTINGS
@AS_STAGE
def tag(run: Path, config_file: Path | None, as_stage: bool, **options: Any) -> None:
    """Let a model say what each task of a run is about.

    One question for each task; the answer is a category, a difficulty, the kind of input and the language. Each is a
    line of the run's journal. Report and dataset card show the shares, and `export --select N --quota
    category=coding:0.3` draws by them. The same command goes on where it was stopped.

    \b
    Example:
        selfinstruct tag runs/first
        selfinstruct tag runs/first --model Qwen/Qwen3-32B
        selfinstruct tag runs/first --model m --endpoint http://gpu-box:8000/v1
    """
    from selfinstruct.console import closing_table
    from selfinstruct.generation import tag as library

    config = _config_of(run, options, config_file)
    result = library.tag(config, asking_starter(config, config.tag))
    before = f", and {result.before:,} before" if result.before else ""
    rows = [("model", result.tagger.model), ("tagged", f"{result.tagged:,} tasks{before}")]
    rows += [(kind, ", ".join(f"{value} {n:,}" for value, n in of.items())) for kind, of in result.values.items() if of]
    if result.failed:
        rows.append(("without", f"{result.failed:,} tasks; selfinstruct status {quote(str(run))} says why"))
    closing_table("the tasks are tagged", rows, "" if as_stage else f"selfinstruct export {quote(str(run))}")


def _config_of(run: Path, options: dict[str, Any], settings: Path | None) -> Config:
    """Return the configuration of a run, or that of the chain which calls, overridden by the command line."""
    from selfinstruct.run.directory import RunDirectory

    directory = RunDirectory(run)
    directory.require_journal()
    config = resolve_config(settings or directory.config_path, options, {"output_dir": str(run)})
    return earlier_defaults.continuing(config.anchored(), directory.header().identity)
