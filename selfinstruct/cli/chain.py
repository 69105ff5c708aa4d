"""The whole chain: demo, init, run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from selfinstruct.cli.edge import cli
from selfinstruct.cli.shared import OVERWRITE, PASSES_ON, extra_arguments, passed_on_sections
from selfinstruct.config import dump_yaml
from selfinstruct.errors import ConfigError
from selfinstruct.options import config_options, resolve_config


@cli.command(context_settings=PASSES_ON)
@click.option("--model", default=None, help="Generate with and tune this model instead of the embedded one.")
@click.option("--num-instructions", type=int, default=None, help="Instructions to accept.  [default: 240]")
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
    stages.run_all(resolve_config(path, given, passed_on_sections(arguments)), overwrite=overwrite)


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
    """Generate, export, tune, evaluate and report, in one go.

    The same command again continues where it stopped. vLLM's engine arguments are given as --engine.NAME,
    TRL's as --tune.NAME.

    \b
    Example:
        selfinstruct run night.yaml --num-instructions 5000 --engine.gpu-memory-utilization 0.85 --tune.packing
    """
    config = resolve_config(config_file, given, passed_on_sections(arguments))
    if dry_run:
        click.echo(dump_yaml(config), nl=False)
        return
    from selfinstruct import stages

    stages.run_all(config, overwrite=overwrite)
