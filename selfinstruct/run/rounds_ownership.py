"""Which files of a directory are those of `iterate`: where rounds may begin, and what `--overwrite` may remove."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from selfinstruct.errors import ConfigError, InputError
from selfinstruct.run import ownership
from selfinstruct.run.directory import RoundsDirectory, RunDirectory

_ROUND = re.compile(r"round-\d{2,}(-generated)?")
REWRITTEN_PARENTS = "-earlier"
"""Ending of the name of a folder that holds a round's parent runs with rewritten outputs. Older runs have it too."""


def require_free(output: RoundsDirectory) -> None:
    """Raise `ConfigError` if rounds cannot begin here, because they would overwrite files that are not theirs."""
    taken = [path for path in (output.report, output.best, *_rounds(output)) if path.exists()]
    if output.config_path.exists() and not ownership.is_configuration(output.config_path):
        taken.append(output.config_path)
    if taken:
        raise ConfigError(
            f"{output.path} holds no rounds, but rounds would write over what is there: "
            f"{', '.join(path.name for path in taken)}; give another --output-dir"
        )


def require_overwritable(output: RoundsDirectory, reads: Sequence[str]) -> None:
    """Raise `ConfigError` if `--overwrite` would remove files that are not those of rounds, or that new rounds read.

    Args:
        output: the directory.
        reads: models, files and runs that the new rounds read; names that are no paths count for nothing.
    """
    if not output.rounds_path.exists():
        return require_free(output)
    try:
        output.rounds()
    except InputError as error:
        raise ConfigError(f"--overwrite removes nothing here; give another --output-dir: {error}") from error
    for folder in _rounds(output):
        ownership.require_not_read(RunDirectory(folder), reads)
    return None


def discard(output: RoundsDirectory) -> None:
    """Remove the rounds and their records, and nothing else that may be in the directory."""
    if not output.rounds_path.exists():
        return
    for folder in _rounds(output):
        run = RunDirectory(folder)
        with run.locked():
            ownership.discard(run)
        if all(path.name in (".lock", ".lock.owner") for path in folder.iterdir()):
            shutil.rmtree(folder)
    for folder in output.path.glob(f"round-*{REWRITTEN_PARENTS}"):
        if not any(folder.iterdir()):
            folder.rmdir()
    for path in (output.best, output.config_path, output.report, output.rounds_path):
        path.unlink(missing_ok=True)


def _rounds(output: RoundsDirectory) -> list[Path]:
    """Return the folders of the rounds, and of rounds whose outputs were rewritten."""
    folders = [*output.path.glob(f"round-*{REWRITTEN_PARENTS}/round-*"), *output.path.glob("round-*")]
    return [path for path in folders if path.is_dir() and not path.is_symlink() and _ROUND.fullmatch(path.name)]
