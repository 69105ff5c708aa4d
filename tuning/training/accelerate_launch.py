"""`accelerate launch`, whose error is one line: the failed process' own, or which process was killed by what.

    python -m tuning.training.accelerate_launch --num_processes=2 --multi_gpu --module tuning.sft --output_dir=RUN/model

By itself it writes a traceback of its own code. That goes into the run's log.
"""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from selfinstruct import leftovers, library_log
from selfinstruct.errors import ConfigError, Interrupted, SelfInstructError, StoppedError
from selfinstruct.program_edge import run_program
from selfinstruct.run.directory import RunDirectory


def launch() -> None:
    """Start the processes that the command line names, and wait for them.

    Raises:
        SelfInstructError: a process has failed. Where it could say why, its own message goes before this one's.
        ConfigError: accelerate refuses its arguments or its file.
        Interrupted: a signal came.
    """
    from accelerate.commands import launch as accelerate
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    for name in list(logging.root.manager.loggerDict):
        if name.startswith(run.__name__.rpartition(".")[0]):  # What it says of an end is in the exception, too.
            logging.getLogger(name).setLevel(logging.CRITICAL)
    # What torch keeps of the processes while they work: it leaves that behind, and `leftovers` finds ours alone.
    tempfile.tempdir = tempfile.mkdtemp(prefix=leftovers.prefix("launch"))
    try:
        accelerate.main()
    except SignalException as signalled:
        raise Interrupted(signalled.sigval) from signalled
    except ChildFailedError as error:
        log = _log(error)
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            raise StoppedError(
                f"process {rank} was killed by {failure.signal_name()}; the same command continues{log}"
            ) from error
        raise SelfInstructError(f"process {rank} ended with exit code {failure.exitcode}{log}") from error
    except Exception as error:
        raise ConfigError(f"accelerate: {type(error).__name__}: {error}{_log(error)}") from error
    finally:
        shutil.rmtree(tempfile.tempdir, ignore_errors=True)


def _log(error: Exception) -> str:
    """Write an error's traceback into the log of the run, and return where; nothing where there is no run."""
    folders = [word.partition("=")[2] for word in sys.argv if word.startswith("--output_dir=")]
    run = RunDirectory(Path(folders[-1]).resolve().parent) if folders else None
    if run is None or not run.journal.is_file():
        return ""
    library_log.begin(run.library_log, "tune")
    traceback.print_exception(error)
    library_log.end()
    return f"; {run.library_log} has its last words"


if __name__ == "__main__":
    sys.exit(run_program(launch, prefix=""))
