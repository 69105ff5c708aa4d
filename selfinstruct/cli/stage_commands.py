"""The stages one by one: generate, export, tune, evaluate, report."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Any

import click

from selfinstruct.cli.edge import cli
from selfinstruct.cli.shared import (
    AS_STAGE,
    CONFIG,
    DRY_RUN,
    GENERATION_SECTIONS,
    GPU_PRICE,
    OVERWRITE,
    PASSES_ON,
    RUN,
    UNSET,
    RunAnywhere,
    answering_starter,
    asking_starter,
    engine_starter,
    extra_arguments,
    kept_config,
    preflight,
    refuse_the_copy_of_a_run,
    vllm_arguments,
)
from selfinstruct.config.click_options import config_options, resolve_config, tune_arguments
from selfinstruct.config.load import dump_yaml


@cli.command(context_settings=PASSES_ON)
@CONFIG
@config_options("", *GENERATION_SECTIONS, "limits")
@OVERWRITE
@DRY_RUN
@click.option("--reserve", default=None, hidden=True, help="Time to leave before the deadline, as `run` says it.")
@AS_STAGE
@extra_arguments("VLLM OPTION")
def generate(
    config_file: Path | None,
    overwrite: bool,
    dry_run: bool,
    reserve: str | None,
    as_stage: bool,
    arguments: tuple[str, ...],
    **options: Any,
) -> None:
    """Generate instructions and instances from seed tasks.

    The same command again continues the run. A run that stops before its target (a budget or the deadline, saturation,
    an engine that is lost) ends with exit code 3 and says how to continue. Any vLLM engine argument can be given by
    its own name, for example --tensor-parallel-size or --max-model-len.

    \b
    Example:
        selfinstruct generate --model Qwen/Qwen3-8B-Base --output-dir runs/first --num-instructions 2000
        selfinstruct generate --model ./model --seeds mine.jsonl --output-dir runs/mine --gpu-memory-utilization 0.8
        selfinstruct generate --output-dir runs/first --num-instructions 9000 --finish-by 07:00
        selfinstruct generate --model ./model --output-dir runs/mine --dry-run
        selfinstruct generate --model NAME --endpoint http://gpu1:8000/v1 --output-dir runs/it
    """
    from selfinstruct.checks.endpoint_check import refuse_engine_arguments
    from selfinstruct.clock import Reserve
    from selfinstruct.console import closing_table
    from selfinstruct.generation import stop_rules
    from selfinstruct.generation.generate import generate as run_generation
    from selfinstruct.run.directory import RunDirectory
    from selfinstruct.run.ownership import is_configuration

    output_dir = options["output_dir"]
    if config_file is None and output_dir and not overwrite:
        run = RunDirectory(Path(output_dir))
        if run.config_path.exists() and (run.journal.exists() or is_configuration(run.config_path)):
            config_file = run.config_path
    own = vllm_arguments(arguments)
    config = resolve_config(config_file, options, {f"engine.{name}": value for name, value in own.items()})
    refuse_the_copy_of_a_run(config_file, config, output_dir)
    if config.endpoint:
        refuse_engine_arguments(own)
    if not as_stage:
        preflight(config, tuned=False, dry_run=dry_run)
    if dry_run:
        return

    start_engine = engine_starter(config, overwrite=overwrite, stage="generate")
    left_free = Reserve.from_json(reserve) if reserve else None
    judge = asking_starter(config, config.rate) if config.rate.beside and config.rate.endpoint else None
    answering = answering_starter(config)
    state = run_generation(config, start_engine, answering, judge, overwrite=overwrite, reserve=left_free)
    if not as_stage:
        stop_rules.require_instances(RunDirectory.at(config.output_dir), state)
        rows = [
            ("accepted", f"{len(state.pool)} instructions, {state.num_instances} instances"),
            ("journal", config.output_dir),
        ]
        closing_table("generation is complete", rows, f"selfinstruct export {quote(str(config.output_dir))}")


@cli.command()
@RUN
@config_options("export")
@UNSET
def export(run: Path, unset: tuple[str, ...], **options: Any) -> None:
    """Write the dataset of a run.

    Writes training and validation splits, a dataset card, and the same rows in the formats of Alpaca and Self-Instruct.
    Prints the commands that train on it with TRL, axolotl, LLaMA-Factory and torchtune.

    \b
    Example:
        selfinstruct export runs/first --include-seeds
        selfinstruct export runs/first --format parquet --format argilla
    """
    from selfinstruct.chain import chain
    from selfinstruct.console import closing_table, console
    from selfinstruct.dataset.tuner_files import export_commands
    from selfinstruct.run.directory import RunDirectory

    with kept_config(run, "export", options, unset) as config:
        chain.export(config)
    dataset = RunDirectory(run).dataset
    commands = export_commands(dataset, str(config.tune.model or config.model))
    for tool, command in commands.items():
        console.print(f"{tool}:\n  " + command.replace("\n", "\n  "))
    closing_table("the dataset is written", [("dataset", dataset.path)], f"selfinstruct tune {quote(str(run))}")


@cli.command(cls=RunAnywhere, context_settings=PASSES_ON)
@RUN
@click.option("--model", "tune__model", default=None, help="Model to tune.  [default: the generator]")
@click.option("--num-processes", "tune__num_processes", type=int, default=None, help="Processes; default: one per GPU.")
@click.option(
    "--accelerate-config",
    "tune__accelerate_config",
    default=None,
    help="File of `accelerate config`: FSDP, DeepSpeed, several machines.",
)
@click.option("--overwrite", is_flag=True, help="Tune again, even if the model is up to date.")
@UNSET
@extra_arguments("TRL OPTION")
def tune(run: Path, overwrite: bool, unset: tuple[str, ...], arguments: tuple[str, ...], **options: Any) -> None:
    """Tune a model on the exported dataset with TRL.

    Uses TRL's SFTTrainer, with the loss on the response only. Any argument of TRL's SFTConfig and ModelConfig can be
    given by its own name, for example --learning-rate, --use-peft or --packing. Options of our own:

    \b
        --prompt-format auto|model|default|alpaca|plain
            the chat template of tuning
        --merge both|merged|adapter
            what is kept of a LoRA
        --mix PATH[:weight] ...
            other datasets to train on
        --mix-by examples|tokens, --mix-temperature X, --mix-task-cap N
            how much of each
        --mix-hold-out task|category, --mix-most-seen N
            what `evaluate` gets instead
        --early-stopping-patience N
            evaluations without a gain
        --show-row short|full|no
            print a training row

    \b
    Example:
        selfinstruct tune runs/first --use-peft --lora-r 16 --learning-rate 2e-4 --num-train-epochs 2
        selfinstruct tune runs/first --packing --accelerate-config fsdp.yaml
        selfinstruct tune runs/first --mix flan.jsonl.gz:0.5 oasst.jsonl:0.2
    """
    from selfinstruct.chain import chain
    from selfinstruct.console import closing_table
    from selfinstruct.run.directory import RunDirectory

    passed_on = {f"tune.{name}": value for name, value in tune_arguments(arguments).items()}
    with kept_config(run, "tune", options, unset, passed_on) as config:
        chain.tune(config, overwrite=overwrite)
    model = RunDirectory(run).model.path
    closing_table("the model is tuned", [("model", model)], f"selfinstruct evaluate {quote(str(run))}")


@cli.command()
@RUN
@click.option("--model", "models", multiple=True, metavar="NAME=MODEL", help="A further model to compare. Repeatable.")
@click.option("--score-only", is_flag=True, help="Score the saved answers again; starts no engine.")
@config_options("evaluate")
@UNSET
def evaluate(run: Path, models: tuple[str, ...], score_only: bool, unset: tuple[str, ...], **options: Any) -> None:
    """Compare the base and the tuned model on unseen tasks.

    Both answer the tasks with vLLM; each difference has a paired bootstrap interval. Saved answers are not asked for
    again.

    \b
    Example:
        selfinstruct evaluate runs/first --model other=Qwen/Qwen3-8B
        selfinstruct evaluate runs/first --judge Qwen/Qwen3-32B --consistency --plain-text notes.txt
        selfinstruct evaluate runs/first --ifeval input_data.jsonl --lm-eval arc_easy --lm-eval my_task.yaml
        selfinstruct evaluate runs/first --score-only --confidence 0.99
    """
    from selfinstruct.chain import chain
    from selfinstruct.chain.fetch import fetch_compared
    from selfinstruct.console import closing_table
    from selfinstruct.run.directory import RunDirectory
    from selfinstruct.run.folders import ModelDirectory

    if score_only and models:
        raise click.UsageError("--score-only scores the saved answers again; leave out --model")
    with kept_config(run, "evaluate", options, unset) as config:
        if score_only:
            chain.score_saved(RunDirectory(run), config.evaluate, config.seed)
        else:
            for folder in (RunDirectory(run).model.path, *(Path(name.partition("=")[2] or name) for name in models)):
                ModelDirectory(folder).require_trained()
            fetch_compared(config.evaluate, models)
            chain.evaluate(RunDirectory(run), models, settings=dump_yaml(config.kept()))
    scores = RunDirectory(run).evaluation.path
    closing_table("the models are compared", [("scores", scores)], f"selfinstruct report {quote(str(run))}")


@cli.command()
@RUN
@GPU_PRICE
def report(run: Path, gpu_price: float | None) -> None:
    """Write RUN/report.html from the stages that have run.

    \b
    Example:
        selfinstruct report runs/first
        selfinstruct report runs/first --gpu-price 2.50
    """
    from selfinstruct.chain import chain
    from selfinstruct.run.directory import RunDirectory

    chain.report(RunDirectory(run), gpu_price)
