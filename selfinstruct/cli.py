"""The command line: parse, call, render.

Whatever a command does, the library does; heavy imports stay inside functions.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from selfinstruct import __version__
from selfinstruct.config import STANDARD_INPUT, Config, did_you_mean, dump_yaml
from selfinstruct.errors import ConfigError, InputError, Interrupted, SelfInstructError
from selfinstruct.options import (
    DEBUG_VARIABLE,
    config_options,
    resolve_config,
    split_passed_on,
    tune_arguments,
)
from selfinstruct.signals import leave, on_signals

RUN = click.argument("run", metavar="RUN", type=click.Path(path_type=Path, file_okay=False, exists=True))
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
CONFIG = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="YAML configuration; `-` reads stdin.",
)
OVERWRITE = click.option("--overwrite", is_flag=True, help="Start anew: discard the run in the directory.")
PASSES_ON = {"ignore_unknown_options": True}
"""Options that are not ours are handed to their owner (vLLM, TRL), which checks them."""


def extra_arguments(shown: str) -> Any:
    """The arguments that are handed on, as the usage line shows them."""
    return click.argument("arguments", metavar=f"[{shown}]...", nargs=-1, type=click.UNPROCESSED)


class _Edge(click.Group):
    """The edge of the program: here errors become one message and the exit code of their kind (see `errors.py`)."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            with on_signals(leave):
                return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, click.ClickException):
            raise
        except Interrupted as stopped:
            click.echo(f"{stopped}", err=True)
            sys.exit(stopped.exit_code)
        except BrokenPipeError:
            # The reader of our stdout (head, for example) has gone: nothing is wrong.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        except Exception as error:
            if os.environ.get(DEBUG_VARIABLE):
                raise
            raise _Message(error) from error


class _Message(click.ClickException):
    """An error as the user sees it, with the exit code of its kind."""

    def __init__(self, error: Exception) -> None:
        if isinstance(error, SelfInstructError):
            text = str(error)
        elif isinstance(error, OSError) and error.filename is not None:
            text = f"{error.filename}: {error.strerror}"
        else:
            text = f"{type(error).__name__}: {error}\nThis is a defect; --debug shows where it happened."
        super().__init__(text)
        self.exit_code = getattr(error, "exit_code", 1)  # type: ignore[misc]


@click.group(
    "selfinstruct", cls=_Edge, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="selfinstruct")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
def cli(debug: bool) -> None:
    """Grow an instruction-tuning dataset from seed tasks, tune a model on it, and measure whether it helped.

    \b
    Try it offline, on any machine:
        selfinstruct demo
    With a model of your own:
        selfinstruct init night.yaml
        selfinstruct run night.yaml
    """
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"


# ------------------------------------------------------------------------------------------------- the whole chain


@cli.command(context_settings=PASSES_ON)
@click.option("--model", default=None, help="Generate with and tune this model instead of the embedded one.")
@click.option("--num-instructions", type=int, default=None, help="Instructions to accept.  [default: 120]")
@click.option("--output-dir", default="runs/demo", show_default=True, help="Run directory.")
@OVERWRITE
@extra_arguments("--engine.NAME VALUE | --tune.NAME VALUE")
def demo(overwrite: bool, arguments: tuple[str, ...], **given: Any) -> None:
    """Run the whole chain offline, with the embedded demo model.

    On CPU or GPU, in some minutes. The model is tiny: it shows the machinery and the effect, not good answers.

    \b
    Example:
        selfinstruct demo --output-dir runs/demo
        selfinstruct demo --num-instructions 500
        selfinstruct demo --model Qwen/Qwen3-8B-Base --output-dir runs/qwen
    """
    from selfinstruct import stages
    from selfinstruct.seeds import packaged_folder

    path = packaged_folder("configs") / ("demo.yaml" if given["model"] is None else "demo-model.yaml")
    stages.run_all(resolve_config(path, given, _passed_on(arguments)), overwrite=overwrite)


@cli.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False), default=Path("selfinstruct.yaml"))
@click.option("--model", default=None, help="Model to write into the configuration.")
def init(path: Path, model: str | None) -> None:
    """Write a starter configuration, with every option explained.

    \b
    Example:
        selfinstruct init night.yaml --model Qwen/Qwen3-8B-Base
    """
    from selfinstruct import jsonl
    from selfinstruct.starter import starter_yaml

    if path.exists():
        raise ConfigError(f"{path} exists; choose another name, or remove it first")
    jsonl.write_text(path, starter_yaml(model, path.stem))
    click.echo(f"wrote {path}; next: selfinstruct run {path}", err=True)


@cli.command(context_settings=PASSES_ON)
@click.argument("config_file", metavar="CONFIG", type=click.Path(path_type=Path, dir_okay=False))
@config_options("", "proposal", "classification", "instances", "filters", "saturation", "export", "evaluate")
@OVERWRITE
@click.option("--dry-run", is_flag=True, help="Print the resolved configuration and stop.")
@extra_arguments("--engine.NAME VALUE | --tune.NAME VALUE")
def run(config_file: Path, overwrite: bool, dry_run: bool, arguments: tuple[str, ...], **given: Any) -> None:
    """Generate, export, tune, evaluate and report, one after the other.

    The same command again continues where it stopped. vLLM's engine arguments are given as --engine.NAME,
    TRL's as --tune.NAME.

    \b
    Example:
        selfinstruct run night.yaml --num-instructions 5000 --engine.gpu-memory-utilization 0.85 --tune.packing
    """
    config = resolve_config(config_file, given, _passed_on(arguments))
    if dry_run:
        click.echo(dump_yaml(config), nl=False)
        return
    from selfinstruct import stages

    stages.run_all(config, overwrite=overwrite)


# ------------------------------------------------------------------------------------------------------ the stages


@cli.command(context_settings=PASSES_ON)
@CONFIG
@config_options("", "proposal", "classification", "instances", "filters", "saturation")
@OVERWRITE
@click.option("--verbose", is_flag=True, help="Show vLLM's log.")
@extra_arguments("VLLM OPTION")
def generate(
    config_file: Path | None, overwrite: bool, verbose: bool, arguments: tuple[str, ...], **given: Any
) -> None:
    """Grow instructions and instances out of seed tasks.

    The same command again continues the run. Any vLLM engine argument can be given by its own name,
    for example --tensor-parallel-size or --max-model-len.

    \b
    Example:
        selfinstruct generate --model Qwen/Qwen3-8B-Base --output-dir runs/first --num-instructions 2000
        selfinstruct generate --model ./model --seeds mine.jsonl --output-dir runs/mine --gpu-memory-utilization 0.8
    """
    from selfinstruct.engines.base import Engine
    from selfinstruct.generate import generate as run_generation
    from selfinstruct.progress import closing_table

    output_dir = given["output_dir"]
    if config_file is None and output_dir and (Path(output_dir) / "config.yaml").exists() and not overwrite:
        config_file = Path(output_dir) / "config.yaml"
    passed_on = {f"engine.{name}": value for name, value in _vllm_arguments(arguments).items()}
    config = resolve_config(config_file, given, passed_on)

    async def start_engine() -> Engine:
        from selfinstruct.engines.vllm import VLLMEngine

        return await VLLMEngine.start(config.model, revision=config.revision, arguments=config.engine, verbose=verbose)

    state = run_generation(config, start_engine, overwrite=overwrite)
    if config_file != STANDARD_INPUT:  # Else this is a stage of `run`, which says what comes next.
        rows = [
            ("accepted", f"{len(state.pool)} instructions, {state.num_instances} instances"),
            ("journal", config.output_dir),
        ]
        closing_table("generation is complete", rows, f"selfinstruct export {config.output_dir}")


@cli.command()
@RUN
@config_options("export")
def export(run: Path, **given: Any) -> None:
    """Write the dataset of a run.

    Training and validation splits, a dataset card, and the same in Alpaca's and Self-Instruct's own formats.

    \b
    Example:
        selfinstruct export runs/first --include-seeds
    """
    from selfinstruct import stages
    from selfinstruct.progress import closing_table

    stages.export(_config_of(run, given))
    closing_table("the dataset is written", [("dataset", run / "dataset")], f"selfinstruct tune {run}")


@cli.command(context_settings=PASSES_ON)
@RUN
@click.option("--model", "tune__model", default=None, help="Model to tune.  [default: the generator]")
@click.option("--num-processes", "tune__num_processes", type=int, default=None, help="Processes; default: one per GPU.")
@extra_arguments("TRL OPTION")
def tune(run: Path, arguments: tuple[str, ...], **given: Any) -> None:
    """Tune a model on the exported dataset with TRL.

    SFTTrainer, with loss on the response only. Any argument of TRL's SFTConfig and ModelConfig can be given by its own
    name, for example --learning-rate, --use-peft or --packing.

    \b
    Example:
        selfinstruct tune runs/first --use-peft --lora-r 16 --learning-rate 2e-4 --num-train-epochs 2
    """
    from selfinstruct import stages
    from selfinstruct.progress import closing_table

    passed_on = {f"tune.{name}": value for name, value in tune_arguments(arguments).items()}
    stages.tune(_config_of(run, given, passed_on))
    closing_table("the model is tuned", [("model", run / "model")], f"selfinstruct evaluate {run}")


@cli.command()
@RUN
@click.option("--model", "models", multiple=True, metavar="NAME=MODEL", help="A further model to compare. Repeatable.")
@config_options("evaluate")
def evaluate(run: Path, models: tuple[str, ...], **given: Any) -> None:
    """Compare the base and the tuned model on unseen tasks.

    Both answer the tasks through vLLM; differences come with a paired bootstrap interval.

    \b
    Example:
        selfinstruct evaluate runs/first --model other=Qwen/Qwen3-8B
    """
    from selfinstruct import stages
    from selfinstruct.progress import closing_table

    stages.evaluate(_config_of(run, given), models)
    closing_table("the models are compared", [("scores", run / "evaluation")], f"selfinstruct report {run}")


@cli.command()
@RUN
def report(run: Path) -> None:
    """Write RUN/report.html from whatever stages have run.

    \b
    Example:
        selfinstruct report runs/first
    """
    from selfinstruct import stages
    from selfinstruct.journal import RunDirectory

    stages.report(RunDirectory(run))


@cli.command()
@RUN
@AS_JSON
def status(run: Path, as_json: bool) -> None:
    """Say where a run stands, also while it is going.

    \b
    Example:
        selfinstruct status runs/first
    """
    from selfinstruct import status as statuses

    found = statuses.status(run)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    from rich.console import Console

    Console(highlight=False).print(statuses.render(found))


# -------------------------------------------------------------------------------------------------- tools by themselves


@cli.group()
def seeds() -> None:
    """Work on seed files."""


@seeds.command("check")
@click.argument("file", metavar="FILE")
def seeds_check(file: str) -> None:
    """Check a seed file.

    Lists all problems at once, and ends with exit code 4 when there are any.

    \b
    Example:
        selfinstruct seeds check my_seeds.jsonl
        selfinstruct seeds check seed_tasks        # the packaged ones
    """
    from selfinstruct import seeds as seed_files

    path = seed_files.resolve(file)
    tasks = seed_files.load([path])
    for remark in seed_files.advice(tasks):
        click.echo(f"note: {remark}")
    classification = sum(t.is_classification for t in tasks)
    instances = sum(len(t.instances) for t in tasks)
    click.echo(
        f"{path}: {len(tasks)} tasks, {classification} of them classification, {instances} instances: no problems"
    )


@cli.command()
@click.argument(
    "candidates", metavar="CANDIDATES.jsonl", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False)
)
@click.option(
    "--against",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="JSONL to be novel against. Repeatable.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.7,
    show_default=True,
    help="Reject above this ROUGE-L F.",
)
@click.option("--field", default="instruction", show_default=True, help="Field that holds the text.")
@click.option(
    "-o",
    "--output",
    "kept",
    type=click.Path(path_type=Path, allow_dash=True),
    default=Path("-"),
    help="Kept rows.  [default: stdout]",
)
@click.option(
    "--rejected", type=click.Path(path_type=Path), default=None, help="Rejected rows, with reason, nearest and score."
)
@AS_JSON
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

    By the novelty filter of the method: ROUGE-L F against every earlier row. Order is kept, and kept rows are
    unchanged. A summary goes to stderr (as JSON with --json).

    \b
    Example:
        selfinstruct dedup new.jsonl --against pool.jsonl -o kept.jsonl --rejected rejected.jsonl
    """
    from selfinstruct import dedup as library

    summary = library.dedup(candidates, against, threshold=threshold, field=field, kept=kept, rejected=rejected)
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
    help="Field of the reference: a string or a list; the best counts.",
)
@click.option(
    "--stemmer/--no-stemmer",
    default=False,
    show_default=True,
    help="Compare word stems (as Super-NaturalInstructions does).",
)
@AS_JSON
def score(predictions: Path, prediction_field: str, reference_field: str, stemmer: bool, as_json: bool) -> None:
    """Score a file of predictions by ROUGE-L and exact match.

    Prints the mean ROUGE-L F x 100 as rouge-score computes it, the share of exact matches, and n.

    \b
    Example:
        selfinstruct score predictions.jsonl --reference-field references --json
    """
    from tuning.scoring import score_predictions

    scores = score_predictions(
        predictions, prediction_field=prediction_field, reference_field=reference_field, stemmer=stemmer
    )
    if as_json:
        click.echo(json.dumps(scores))
    else:
        for name, value in scores.items():
            click.echo(f"{name:12} {value:.2f}" if isinstance(value, float) else f"{name:12} {value}")


# ---------------------------------------------------------------------------------------------------------- helpers


def _config_of(run: Path, given: dict[str, Any], passed_on: dict[str, Any] | None = None) -> Config:
    """The configuration of a run directory, with what was given now on top; kept there for the stages that follow."""
    from selfinstruct import jsonl
    from selfinstruct.journal import RunDirectory

    directory = RunDirectory(run)
    directory.require_journal()
    if not directory.config.exists():
        raise InputError(
            f"{directory.config} is missing; give the `selfinstruct generate` command of this run again to restore it"
        )
    config = resolve_config(directory.config, given, {"output_dir": str(run)} | (passed_on or {}))
    jsonl.write_text(directory.config, dump_yaml(config))
    return config


def _passed_on(arguments: tuple[str, ...]) -> dict[str, Any]:
    """`--engine.dtype float32 --tune.packing` as values by dotted name; vLLM's are checked by vLLM at once."""
    sections = split_passed_on(arguments, _own_options())
    values = {f"tune.{name}": value for name, value in tune_arguments(sections["tune"]).items()}
    engine = _vllm_arguments(tuple(sections["engine"]))
    return values | {f"engine.{name}": value for name, value in engine.items()}


def _vllm_arguments(arguments: tuple[str, ...]) -> dict[str, Any]:
    """vLLM's engine arguments by name, as vLLM reads them; a misspelt option of ours gets a suggestion too."""
    if not arguments:
        return {}
    if not arguments[0].startswith("-"):
        raise ConfigError(
            f"unexpected argument {arguments[0]!r}; every value belongs to an option, seed files to --seeds"
        )
    from selfinstruct.engines.vllm import parse_arguments

    try:
        return parse_arguments(list(arguments))
    except ConfigError as error:
        known = _own_options()
        hints = (did_you_mean(a.partition("=")[0], known, cutoff=0.75) for a in arguments if a.startswith("--"))
        raise ConfigError(f"{error}{next(filter(None, hints), '')}") from error


def _own_options() -> list[str]:
    """The long options of the command that is running."""
    parameters = click.get_current_context().command.params
    return [option for p in parameters for option in (*p.opts, *p.secondary_opts) if option.startswith("--")]


def main() -> None:
    """Entry point."""
    cli()
