"""Arguments and helpers that several commands have."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selfinstruct import library_log
from selfinstruct.cli.help import HelpfulCommand
from selfinstruct.config import earlier_defaults, kept
from selfinstruct.config.click_options import explicit_options, resolve_config, split_passed_on, tune_arguments
from selfinstruct.config.engine_arguments import of_other_models
from selfinstruct.config.load import did_you_mean, dump_yaml
from selfinstruct.config.schema import Config, GenerationConfig
from selfinstruct.config.scoring import Rate, Tag
from selfinstruct.errors import ConfigError, Interrupted, StoppedError
from selfinstruct.run.lock import LockedDirectory
from selfinstruct.signals import changing_nothing

if TYPE_CHECKING:
    from selfinstruct.engines.base import Engine
    from selfinstruct.generation.supervision import StartEngine

GENERATION_SECTIONS = (
    *("proposal", "proposers", "plan", "evolve", "template", "single_step"),
    *("classification", "instances", "answer", "filters", "saturation"),
)
"""The sections of the options that decide how a run generates."""

RUN = click.argument("run", metavar="RUN", type=click.Path(path_type=Path, file_okay=False, exists=True))


class _ConfigFile(click.Path):
    """A configuration's path. Click would take an option that is passed on to vLLM or TRL for it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and value.startswith("--"):
            self.fail(
                f"CONFIG must come before options that are passed on to vLLM or TRL, but {value} is in its place",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


class FiniteFromZero(click.FloatRange):
    """A number of at least 0 that is not infinite, as `1e400` would be."""

    def __init__(self) -> None:
        super().__init__(min=0)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number.

        Args:
            value: as it was given.
            param: Click's.
            ctx: Click's.
        """
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class OutputFile(click.Path):
    """The path of a file that a command writes, which is none of a run's."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; raise `ConfigError` if it is a run's.

        Args:
            value: as it was given.
            param: Click's.
            ctx: Click's.
        """
        from selfinstruct.run.ownership import require_not_owned

        path = super().convert(value, param, ctx)
        if str(path) != "-":
            require_not_owned(Path(os.fsdecode(path)))
        return path


CONFIG_FILE = click.argument("config_file", metavar="CONFIG", type=_ConfigFile(path_type=Path, dir_okay=False))
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
GPU_PRICE = click.option(
    "--gpu-price", type=FiniteFromZero(), default=None, help="Price of all GPUs of the engine together per hour."
)
CONFIG = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="YAML configuration; `-` reads stdin.",
)
OVERWRITE = click.option(
    "--overwrite", is_flag=True, help="Discard the run in the directory, and start again from scratch."
)
UNSET = click.option(
    "--unset",
    multiple=True,
    metavar="NAME",
    help="Put an option that an earlier command has set back to its default; `all`: every one. Repeatable.",
)
DRY_RUN = click.option(
    "--dry-run",
    is_flag=True,
    help="Check everything, print the resolved configuration, the first prompts and the estimates, and stop.",
)
AS_STAGE = click.option(
    "--as-stage",
    is_flag=True,
    hidden=True,
    help="This command is a stage of another, which has checked everything and says what comes next.",
)
PASSES_ON = {"ignore_unknown_options": True}
"""Settings of a command that passes options that are not ours on to their owner (vLLM, TRL), which checks them."""


class RunAnywhere(HelpfulCommand):
    """A command whose RUN may also come after arguments that are passed on.

    Click cannot know which of these take a value, and would read the first value as RUN.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the first word that is a run directory first."""
        from selfinstruct.run.directory import RunDirectory

        runs = (position for position, word in enumerate(args) if RunDirectory(Path(word)).journal.is_file())
        if (position := next(runs, None)) is not None:
            args = [args[position], *args[:position], *args[position + 1 :]]
        return super().parse_args(ctx, args)


def extra_arguments(shown: str) -> Any:
    """Return the arguments that are passed on, as the usage line shows them."""
    return click.argument("arguments", metavar=f"[{shown}]...", nargs=-1, type=click.UNPROCESSED)


@contextlib.contextmanager
def kept_config(
    run: Path, section: str, parameters: dict[str, Any], unset: tuple[str, ...], passed_on: dict[str, Any] | None = None
) -> Iterator[Config]:
    """Yield a run's configuration, overridden by the command line; keep it for the next commands if this one succeeds.

    Nobody else writes the run meanwhile. Say which options of the section were kept from earlier commands, and which
    are not kept because this one was interrupted.

    Args:
        run: the run directory.
        section: the command's own part of the configuration.
        parameters: Click's.
        unset: options of the section to put back to their defaults.
        passed_on: further values by dotted name.

    Raises:
        InputError: it is not a run directory, or has no configuration.
        ConfigError: an option is wrong.
        RunLockedError: another process writes the run.
    """
    from selfinstruct.console import console
    from selfinstruct.formats import jsonl
    from selfinstruct.run.directory import RunDirectory

    directory = RunDirectory(run)
    directory.require_journal()
    with directory.locked():
        before = getattr(directory.config(), section)
        dropped = kept.named(before, unset)
        overrides = {"output_dir": str(run)} | (passed_on or {})
        named_now = [name.rpartition(".")[2] for name in (explicit_options(parameters) | overrides)]
        if options := kept.changed(before, but={*dropped, *named_now}):
            console.print(f"kept in {directory.config_path}: {' '.join(options)}; --unset NAME drops one", markup=False)
        names = [f"{section}.{option}" for option in dropped]
        config = resolve_config(directory.config_path, parameters, overrides, names)
        config = earlier_defaults.continuing(config.anchored(), directory.header().identity)
        try:
            yield config
        except (Interrupted, StoppedError):
            of_section = getattr(config, section)
            now = kept.changed(of_section, but=of_section.model_dump().keys() - {*named_now})
            if again := " ".join([*now, *(f"--unset {name}" for name in unset)]):
                console.print(
                    f"not kept, as the command has not ended: {again}; give them again to continue", markup=False
                )
            raise
        jsonl.write_text(directory.config_path, dump_yaml(config.kept()))


def refuse_the_copy_of_a_run(config_file: Path | None, config: Config, output_dir: object) -> None:
    """Refuse the configuration inside a run that was copied or moved: it names the first folder, which would continue.

    Args:
        config_file: the configuration that was given.
        config: what it says.
        output_dir: as it was given as an option, which decides; None: the file does.

    Raises:
        ConfigError: the file is a run's own, and its run is in another folder.
    """
    from selfinstruct.run.directory import RunDirectory

    if config_file is None or output_dir is not None or config.output_dir is None:
        return
    run = RunDirectory(config_file.parent)
    if config_file.name != run.config_path.name or not run.journal.exists():
        return
    if run.path.resolve() != Path(config.output_dir).resolve():
        raise ConfigError(
            f"{config_file}: says `output_dir: {config.output_dir}`, but is the configuration of the run in {run.path}"
            ", which was copied or moved; give --output-dir with the one that is to continue"
        )


def preflight(config: Config, *, tuned: bool, dry_run: bool = False, first_run: Config | None = None) -> None:
    """Check what a run needs, and print remarks on its seeds; on a dry run, print what it would be.

    A run that another process writes is refused at once; a dry run is not, as it writes nothing.

    Args:
        config: the configuration.
        tuned: whether a model is tuned.
        dry_run: whether to print the configuration, the first prompts and the estimates.
        first_run: configuration of the first of several runs; default: there is only one.

    Raises:
        SelfInstructError: all problems at once.
    """
    from selfinstruct.checks import preflight as checks
    from selfinstruct.console import console

    if not dry_run and config.output_dir is not None:
        LockedDirectory(Path(config.output_dir)).require_unlocked()
    with changing_nothing():
        findings = checks.check(first_run or config, tuned=tuned)
        if dry_run:
            from selfinstruct.checks import dry_run as dry_runs

            click.echo(dry_runs.text(config, findings), nl=False)
    findings.require()
    if findings.steps is not None and not dry_run:
        for remark in (*findings.remarks, *findings.steps.remarks):
            console.print(f"note: {remark}")


def engine_starter(config: GenerationConfig, *, overwrite: bool = False, stage: str | None = None) -> StartEngine:
    """Return what starts the engine of a generation.

    Args:
        config: the configuration.
        overwrite: whether the run that is there is discarded, and the context that it recorded with it.
        stage: what the engine is for, in the run's log of what libraries write; None: nothing is logged there.
    """

    async def start() -> Engine:
        from selfinstruct.engines.vllm import VLLMEngine
        from selfinstruct.formats.seed_tasks import load_seed_tasks
        from selfinstruct.generation.served import connect
        from selfinstruct.generation.supervision import with_recorded_context
        from selfinstruct.run.directory import RunDirectory

        run = RunDirectory.at(config.output_dir)
        if stage is not None:
            library_log.begin(run.library_log, stage)
        engine = config.engine if overwrite else with_recorded_context(run, config.engine)
        if config.endpoint:
            seeds, timeout, enough = load_seed_tasks(config.seeds), config.stall_timeout, _needed_context(config)
            return await connect(
                config.endpoint,
                config.model,
                engine,
                seeds,
                timeout_s=timeout,
                enough=enough,
                most_at_once=config.max_in_flight,
            )
        return await VLLMEngine.start(
            config.model,
            revision=config.revision,
            arguments=engine,
            enough=_needed_context(config),
            max_restarts=config.max_engine_restarts,
            stall_timeout=config.stall_timeout,
        )

    return start


def answering_starter(config: GenerationConfig) -> StartEngine | None:
    """Return what starts the model that answers, where that is another one than the generator."""
    if config.answer.model is None:
        return None
    shared, answer = of_other_models(config.engine), config.answer
    other = {"model": answer.model, "revision": None, "engine": shared, "endpoint": answer.endpoint}
    return engine_starter(config.model_copy(update=other), overwrite=True, stage="answer")  # The context is its own.


def asking_starter(config: GenerationConfig, judge: Rate | Tag) -> StartEngine:
    """Return what starts the model that is asked about a finished run: another one, or the generator.

    Args:
        config: the configuration.
        judge: its section that names the model.
    """
    if judge.model is None:
        served = judge.endpoint or config.endpoint
        return engine_starter(config.model_copy(update={"endpoint": served}), stage=type(judge).__name__.lower())
    shared = of_other_models(config.engine)
    other = {"model": judge.model, "revision": None, "engine": shared, "endpoint": judge.endpoint}
    return engine_starter(config.model_copy(update=other), overwrite=True, stage=type(judge).__name__.lower())


def _needed_context(config: GenerationConfig) -> int:
    """Return the tokens that no prompt of a generation exceeds, answer included."""
    from selfinstruct.formats.seed_tasks import load_seed_tasks
    from selfinstruct.generation.context_need import needed_context
    from selfinstruct.generation.method import Method

    return needed_context(load_seed_tasks(config.seeds), Method.of(config))


def passed_on_sections(arguments: tuple[str, ...]) -> dict[str, Any]:
    """Return `--engine.dtype float32 --tune.packing` as values by dotted name; vLLM checks its own at once."""
    sections = split_passed_on(arguments, _own_options())
    values = {f"tune.{name}": value for name, value in tune_arguments(sections["tune"]).items()}
    engine = vllm_arguments(tuple(sections["engine"]))
    return values | {f"engine.{name}": value for name, value in engine.items()}


def vllm_arguments(arguments: tuple[str, ...]) -> dict[str, Any]:
    """Return vLLM's engine arguments by name, as vLLM reads them; a misspelled option of ours gets a suggestion too."""
    if not arguments:
        return {}
    if not arguments[0].startswith("-"):
        raise ConfigError(
            f"unexpected argument {arguments[0]!r}; every value needs its option: give seed files with --seeds"
        )
    from selfinstruct.engines.vllm import parse_arguments

    try:
        return parse_arguments(list(arguments))
    except ConfigError as error:
        known = _own_options()
        hints = (did_you_mean(a.partition("=")[0], known, cutoff=0.75) for a in arguments if a.startswith("--"))
        raise ConfigError(f"{error}{next(filter(None, hints), '')}") from error


def _own_options() -> list[str]:
    """Return the long options of the command that is running."""
    parameters = click.get_current_context().command.params
    return [option for p in parameters for option in (*p.opts, *p.secondary_opts) if option.startswith("--")]
