"""Arguments and helpers that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from selfinstruct.config.click_options import resolve_config, split_passed_on, tune_arguments
from selfinstruct.config.load import did_you_mean, dump_yaml
from selfinstruct.config.schema import Config
from selfinstruct.errors import ConfigError

RUN = click.argument("run", metavar="RUN", type=click.Path(path_type=Path, file_okay=False, exists=True))


class _ConfigFile(click.Path):
    """A configuration's path; an option that is handed on is none, and Click would take the first one for it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and value.startswith("--"):
            self.fail(f"CONFIG must stand before options that are handed on, found {value} in its place", param, ctx)
        return super().convert(value, param, ctx)


CONFIG_FILE = click.argument("config_file", metavar="CONFIG", type=_ConfigFile(path_type=Path, dir_okay=False))
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
CONFIG = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="YAML configuration; `-` reads stdin.",
)
OVERWRITE = click.option("--overwrite", is_flag=True, help="Start anew: discard the run in the directory.")
DRY_RUN = click.option(
    "--dry-run",
    is_flag=True,
    help="Check everything, print the resolved configuration, the first prompts and what to expect, and stop.",
)
AS_STAGE = click.option(
    "--as-stage",
    is_flag=True,
    hidden=True,
    help="This command is a stage of another, which has checked everything and says what comes next.",
)
PASSES_ON = {"ignore_unknown_options": True}
"""Options that are not ours are handed to their owner (vLLM, TRL), which checks them."""


class RunAnywhere(click.Command):
    """A command whose RUN may also stand behind arguments that are handed on.

    Click cannot know which of these take a value, and would read the first one's as RUN.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the first word that is a run directory first."""
        from selfinstruct.run.directory import RunDirectory

        runs = (place for place, word in enumerate(args) if RunDirectory(Path(word)).journal.is_file())
        if (place := next(runs, None)) is not None:
            args = [args[place], *args[:place], *args[place + 1 :]]
        return super().parse_args(ctx, args)


def extra_arguments(shown: str) -> Any:
    """The arguments that are handed on, as the usage line shows them."""
    return click.argument("arguments", metavar=f"[{shown}]...", nargs=-1, type=click.UNPROCESSED)


def config_of(run: Path, given: dict[str, Any], passed_on: dict[str, Any] | None = None) -> Config:
    """The configuration of a run directory, with what was given now on top; kept there for the stages that follow."""
    from selfinstruct.formats import jsonl
    from selfinstruct.run.directory import RunDirectory

    directory = RunDirectory(run)
    directory.require_journal()
    config = resolve_config(directory.require_config(), given, {"output_dir": str(run)} | (passed_on or {}))
    jsonl.write_text(directory.config_path, dump_yaml(config.kept()))
    return config


def preflight(config: Config, *, tuned: bool, dry_run: bool = False, first_run: Config | None = None) -> None:
    """Check what a run needs, and on a dry run print what it would be.

    Args:
        config: the configuration.
        tuned: whether a model is tuned.
        dry_run: whether to print the configuration, the first prompts and the estimates.
        first_run: configuration of the first of several runs; default: there is only one.

    Raises:
        SelfInstructError: all problems at once.
    """
    from selfinstruct.checks import preflight as checks

    findings = checks.check(first_run or config, tuned=tuned)
    if dry_run:
        from selfinstruct.checks import dry_run as dry_runs

        click.echo(dry_runs.text(config, findings), nl=False)
    findings.require()


def passed_on_sections(arguments: tuple[str, ...]) -> dict[str, Any]:
    """`--engine.dtype float32 --tune.packing` as values by dotted name; vLLM's are checked by vLLM at once."""
    sections = split_passed_on(arguments, _own_options())
    values = {f"tune.{name}": value for name, value in tune_arguments(sections["tune"]).items()}
    engine = vllm_arguments(tuple(sections["engine"]))
    return values | {f"engine.{name}": value for name, value in engine.items()}


def vllm_arguments(arguments: tuple[str, ...]) -> dict[str, Any]:
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
