"""A run in experiment trackers (wandb, trackio, TensorBoard), each through its own client: all stages in one group.

Generation and evaluation are shown by what is here, training by TRL, as `training_arguments` asks.

A tracker only shows a run: one that fails is left out from then on, and the run goes on. What clients print, trackio on
stdout, is in the run's log of what libraries say.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from selfinstruct import library_log
from selfinstruct.config.schema import Tracker
from selfinstruct.console import console
from selfinstruct.errors import ConfigError
from selfinstruct.run.directory import RunDirectory

Log: TypeAlias = Callable[[Mapping[str, Any]], None]
"""Takes a row of measurements; values may be numbers, or numbers by name."""

_PROJECT = "selfinstruct"


class _Client(NamedTuple):
    """What is done with (step, values), and at the end."""

    log: Callable[[int, dict[str, float]], object]
    finish: Callable[[], object]


def group_stages(run: RunDirectory) -> None:
    """Let trackers show what this process and those it starts track of a run, such as its training, as one group."""
    os.environ.setdefault("WANDB_PROJECT", _PROJECT)
    os.environ.setdefault("WANDB_RUN_GROUP", run.path.resolve().name)


def training_arguments(names: Sequence[Tracker], model: Path, by_user: Container[str] = ()) -> list[str]:
    """Return TRL's arguments for a training that trackers show.

    Args:
        names: which trackers.
        model: folder of the tuned model, in its run.
        by_user: names of the arguments that the user gave; a `report_to` among them decides.
    """
    about = [f"--project={_PROJECT}", f"--run_name={model.resolve().parent.name} tune {model.name}"]
    return ["--report_to", *names, *about] if names and "report_to" not in by_user else []


def group_training(names: Sequence[str], model: Path) -> None:
    """Put what transformers shows of a training into the group of its run, where transformers names none itself."""
    run = RunDirectory(model.resolve().parent)
    if "tensorboard" in names:
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(run.tensorboard / f"tune-{model.name}"))
    if "trackio" in names:
        import trackio

        trackio.init = functools.partial(trackio.init, group=run.path.name)


def show_scores(names: Sequence[Tracker], run: RunDirectory) -> None:
    """Show the scores of an evaluation: by model, set of tasks and metric."""
    if not names:
        return
    arms = run.evaluation.scores().arms
    row = {
        f"{arm}/{name}": {"rouge_l": scores.rouge_l, "exact_match": scores.exact_match}
        for arm, about in arms.items()
        for name, scores in about.sets.items()
    }
    try:
        with opened(names, run, "evaluate") as log:
            log(row)
    except ConfigError as error:  # The scores are there all the same.
        console.print(str(error), markup=False)


@contextlib.contextmanager
def opened(names: Sequence[Tracker], run: RunDirectory, stage: str = "generate") -> Iterator[Log]:
    """Open trackers; yield a function that takes a row of measurements for all of them.

    Args:
        names: which trackers.
        run: the run directory; its name is that of the group.
        stage: what is shown of it.

    Raises:
        ConfigError: a client is not installed, or refuses to begin.
    """
    group_stages(run)
    clients: dict[str, _Client] = {}
    begins_log = bool(names) and library_log.path() is None
    try:
        if begins_log:
            library_log.begin(run.library_log, stage)
        for name in names:
            clients[name] = _opened(name, run, stage)
        yield lambda row: _log(clients, row)
    finally:
        for opened_name, client in clients.items():
            with _reported(opened_name):
                client.finish()
        if begins_log:
            library_log.end()


def _opened(name: Tracker, run: RunDirectory, stage: str) -> _Client:
    try:
        return _CLIENTS[name](run, stage)
    except ImportError as error:
        raise ConfigError(
            f"report_to: {name} cannot be imported ({error}); pip install {name}, or leave it out"
        ) from error
    except Exception as error:
        raise ConfigError(f"report_to: {name} does not begin: {error}") from error


def _log(clients: dict[str, _Client], row: Mapping[str, Any]) -> None:
    values: dict[str, float] = {}
    for name, value in row.items():
        parts = value.items() if isinstance(value, Mapping) else [("", value)]
        values |= {f"{name}/{part}".rstrip("/"): float(n) for part, n in parts if isinstance(n, int | float)}
    for name, client in list(clients.items()):
        with _reported(name) as failed:
            client.log(int(values.get("proposals", 0)), values)
        if failed:
            del clients[name]


@contextlib.contextmanager
def _reported(name: str) -> Iterator[list[Exception]]:
    """Print an error of a tracker instead of raising it; it is in the list that this yields."""
    failed: list[Exception] = []
    try:
        yield failed
    except Exception as error:  # noqa: BLE001 - whatever a client raises, the run goes on
        failed.append(error)
        console.print(f"report_to: {name} is left out from here on: {error}", markup=False)


def _wandb(run: RunDirectory, stage: str) -> _Client:
    import wandb

    name = run.path.resolve().name
    tracked = wandb.init(name=f"{name} {stage}", job_type=stage, settings=wandb.Settings(console="off"))
    return _Client(lambda step, values: tracked.log(values), tracked.finish)


def _trackio(run: RunDirectory, stage: str) -> _Client:
    import trackio

    name = run.path.resolve().name
    tracked = trackio.init(
        project=_PROJECT, name=f"{name} {stage}", group=name, resume="allow", embed=False, auto_log_gpu=False
    )
    # Not the run's own `finish`: trackio would end it again, with another message, when the process ends.
    return _Client(lambda step, values: tracked.log(values), trackio.finish)


def _tensorboard(run: RunDirectory, stage: str) -> _Client:
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(run.tensorboard)

    def log(step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(f"{stage}/{name}", value, step)

    return _Client(log, writer.close)


_CLIENTS: dict[Tracker, Callable[[RunDirectory, str], _Client]] = {
    "wandb": _wandb,
    "trackio": _trackio,
    "tensorboard": _tensorboard,
}
