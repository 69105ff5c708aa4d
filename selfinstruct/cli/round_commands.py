"""Commands on more than one run: regenerate, iterate."""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote
from typing import Any

import click
import msgspec

from selfinstruct import library_log
from selfinstruct.cli.edge import cli
from selfinstruct.cli.shared import (
    AS_JSON,
    AS_STAGE,
    CONFIG,
    CONFIG_FILE,
    DRY_RUN,
    GENERATION_SECTIONS,
    OVERWRITE,
    PASSES_ON,
    RUN,
    extra_arguments,
    passed_on_sections,
    preflight,
    vllm_arguments,
)
from selfinstruct.config.click_options import config_options, resolve_config
from selfinstruct.errors import InputError


@cli.command(context_settings=PASSES_ON)
@RUN
@click.option("-o", "--output-dir", required=True, metavar="NEWRUN", help="Directory of the new run.")
@CONFIG
@config_options("regenerate")
@OVERWRITE
@AS_STAGE
@extra_arguments("VLLM OPTION")
def regenerate(
    run: Path,
    config_file: Path | None,
    overwrite: bool,
    as_stage: bool,
    arguments: tuple[str, ...],
    **options: Any,
) -> None:
    """Rewrite a run's outputs with a better model.

    Instructions and inputs are kept; a stronger or a tuned model answers them again, zero-shot. The result is a run of
    its own, for export, tune and evaluate. Where a new output is rejected, the old one is kept. The same command again
    continues. vLLM's engine arguments are given by their own names.

    \b
    Example:
        selfinstruct regenerate runs/first --model Qwen/Qwen3-32B -o runs/first-rewritten
        selfinstruct regenerate runs/first --model runs/first/model -o runs/first-by-itself
    """
    from selfinstruct.console import closing_table
    from selfinstruct.engines.base import Engine
    from selfinstruct.generation import regenerate as library
    from selfinstruct.generation.supervision import with_recorded_context
    from selfinstruct.run.counting import run_counts
    from selfinstruct.run.directory import RunDirectory

    settings = config_file or RunDirectory(run).config_path
    if config_file is None and not settings.exists():
        raise InputError(f"{settings} is missing, so {run} is not a run directory; give a configuration with --config")
    passed_on = {f"regenerate.engine.{name}": value for name, value in vllm_arguments(arguments).items()}
    config = resolve_config(settings, options, passed_on)

    rewriter = library.engine_arguments(config.model, config.engine, config.regenerate)

    async def start_engine() -> Engine:
        from selfinstruct.engines.vllm import VLLMEngine
        from selfinstruct.formats.seed_tasks import load_seed_tasks
        from selfinstruct.generation.served import connect

        new = RunDirectory.at(config.output_dir)
        library_log.begin(new.library_log, "regenerate")
        engine = rewriter if overwrite else with_recorded_context(new, rewriter, "regenerate")
        if urls := config.regenerate.endpoint:
            model, seeds, most = str(config.regenerate.model), load_seed_tasks(config.seeds), config.max_in_flight
            return await connect(urls, model, engine, seeds, timeout_s=config.stall_timeout, most_at_once=most)
        return await VLLMEngine.start(str(config.regenerate.model), arguments=engine)

    state = library.regenerate(run, config, start_engine, overwrite=overwrite)
    if not as_stage:
        outputs = run_counts(state).outputs
        assert outputs is not None  # The run is a regenerated one.
        reasons = ", ".join(f"{reason} {n}" for reason, n in outputs.reasons.items())
        rows = [
            ("outputs", f"{outputs.total}: {outputs.rewritten} rewritten, {outputs.unchanged} unchanged"),
            (
                "old ones kept",
                f"{outputs.rejected} rejected{f' ({reasons})' if reasons else ''}, {outputs.failed} failed",
            ),
            ("run", config.output_dir),
        ]
        closing_table("the outputs are rewritten", rows, f"selfinstruct export {quote(str(config.output_dir))}")


@cli.command(context_settings=PASSES_ON)
@CONFIG_FILE
@config_options("", "rounds", "regenerate", *GENERATION_SECTIONS, "export", "evaluate")
@OVERWRITE
@DRY_RUN
@AS_JSON
@extra_arguments("--engine.NAME VALUE | --tune.NAME VALUE")
def iterate(
    config_file: Path, overwrite: bool, dry_run: bool, as_json: bool, arguments: tuple[str, ...], **options: Any
) -> None:
    """Run several rounds, each with the last tuned model.

    The model tuned in one round generates in the next. Every round is a run directory inside --output-dir. Its dataset
    includes the rounds before it, and the original model is tuned on that. The rounds end when held-out scores no
    longer improve; the link `best` names the best one. The same command again continues.

    \b
    Example:
        selfinstruct iterate night.yaml --rounds 3 --output-dir runs/rounds
        selfinstruct iterate night.yaml --rounds 2 --regenerate-outputs Qwen/Qwen3-32B --json
    """
    from selfinstruct.chain import rounds
    from selfinstruct.run.directory import RoundsDirectory

    config = resolve_config(config_file, options, passed_on_sections(arguments))
    first_run = rounds.round_config(config, RoundsDirectory.at(config.output_dir), 1)
    preflight(config, tuned=True, dry_run=dry_run, first_run=first_run)
    if dry_run:
        return
    made = rounds.iterate(config, overwrite=overwrite)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(made), indent=2))
        return
    from selfinstruct.console import PlainConsole
    from selfinstruct.report.rounds_page import table

    PlainConsole(markup=True).print(table(made))
