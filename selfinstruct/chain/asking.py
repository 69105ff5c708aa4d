"""What `run` asks about generated answers before the export: scores, tags, and a choice by the scores.

    generate -> rate -> tag -> choose -> export -> ...

The model that rates or tags is loaded once the generator has ended. With a choice (a bound in `scores`, or
`answer.keep: best`) generation goes into RUN-generated, its answers are rated there, and what is chosen goes into RUN.
"""

from __future__ import annotations

import sys
from typing import Literal

from selfinstruct.chain.schedule import DeadlinePlan
from selfinstruct.chain.stage_process import run_stage
from selfinstruct.config.earlier_defaults import completed
from selfinstruct.config.load import dump_yaml
from selfinstruct.config.schema import ConfigT, GenerationConfig
from selfinstruct.config.scoring import Scores
from selfinstruct.console import console
from selfinstruct.errors import ConfigError, SelfInstructError
from selfinstruct.formats import jsonl
from selfinstruct.generation.score_bounds import decides
from selfinstruct.replay import refilter_result
from selfinstruct.replay.refilter import refilter
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import read_lines

MOST_OF_THE_TIME = 0.3
"""Share of the time up to a deadline that rating, and then tagging, may take."""


def chooses(config: GenerationConfig) -> bool:
    """Return whether rows are chosen by their scores."""
    return decides(config.answer.keep, config.scores)


def asks(config: GenerationConfig) -> list[Literal["rate", "tag"]]:
    """Return what is asked after generation; a choice needs scores."""
    names: list[Literal["rate", "tag"]] = []
    if config.rate.after_generation or config.rate.beside or chooses(config):
        names.append("rate")
    if config.tag.after_generation:
        names.append("tag")
    return names


def undecided(config: ConfigT, generated: RunDirectory) -> ConfigT:
    """Return the configuration of the generation, which has no scores to decide by.

    Args:
        config: of the run.
        generated: where it generates.
    """
    config = config.model_copy(update={"output_dir": str(generated.path)})
    if not chooses(config):
        return config
    keep = "first" if config.answer.keep == "best" else config.answer.keep
    return config.model_copy(update={"answer": config.answer.model_copy(update={"keep": keep}), "scores": Scores()})


def ask(
    name: Literal["rate", "tag"], config: GenerationConfig, generated: RunDirectory, plan: DeadlinePlan | None
) -> None:
    """Rate or tag a generated run, in a process of its own; its last call goes on where it stopped.

    A failure ends the chain only where rows are chosen by the scores: the same command then goes on.

    Args:
        name: of the command.
        config: of the run.
        generated: the run.
        plan: of a run with a deadline.

    Raises:
        SelfInstructError: rating failed, and rows are chosen by the scores.
    """
    if not any(generated.state().instances.values()):
        console.print(f"{name}: there is no answer")
        return
    command = [sys.executable, "-m", "selfinstruct", name, str(generated.path), "--as-stage", "--config", "-"]
    seconds = None if plan is None else MOST_OF_THE_TIME * plan.left
    settings = dump_yaml(undecided(config, generated), given_only=True)
    try:
        run_stage(command, name, standard_input=settings, seconds=seconds, log=generated.library_log)
    except TimeoutError:
        assert plan is not None
        plan.note(f"`{name}` was ended to be done by the deadline; what it had not asked about stays as it is")
        console.print(plan.cut[-1], markup=False)
    except SelfInstructError as error:
        if name == "rate" and chooses(config):
            raise
        console.print(f"{error}\ngoing on without the rest of it", markup=False)


def choose(config: GenerationConfig, generated: RunDirectory, run: RunDirectory) -> None:
    """Choose the rows of a rated run by their scores, unless that is done already.

    Args:
        config: says which.
        generated: the rated run.
        run: gets them.

    Raises:
        ConfigError: no answer has a score.
    """
    if not _is_current(config, generated, run):
        result = refilter(generated.path, run.path, config.filters, config.answer.keep, config.scores, replace=True)
        console.print(refilter_result.render(result), markup=False)
    jsonl.write_text(run.config_path, dump_yaml(config.kept()))


def _is_current(config: GenerationConfig, generated: RunDirectory, run: RunDirectory) -> bool:
    """Return whether a run holds the choice, from all that the rated run holds."""
    if not run.journal.exists():
        return False
    header = run.header()
    identity, wanted = completed(header.identity), completed(config.identity())
    same = all(identity[part] == wanted[part] for part in ("filters", "answer", "scores"))
    number = sum(1 for _ in read_lines(generated.journal))
    return same and header.refiltered_from is not None and header.refiltered_from.lines == number


def require_own(config: GenerationConfig, run: RunDirectory) -> None:
    """Refuse a directory that holds a run which was not chosen by scores, where rows are to be.

    Args:
        config: of the run.
        run: its directory.

    Raises:
        ConfigError: it holds another run.
    """
    if chooses(config) and run.journal.exists() and not run.generated.journal.exists():
        raise ConfigError(
            f"{run.path} holds a run whose rows were not chosen by scores; leave out `scores` and `answer.keep: best` "
            "to continue it, or give another --output-dir, or --overwrite to start again from scratch"
        )
