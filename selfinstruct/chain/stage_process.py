"""Run one stage as a process of its own, and remember that it is done."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from selfinstruct import leftovers
from selfinstruct.environment import EXIT_CODE_FILE
from selfinstruct.errors import ConfigError, InputError, Interrupted, RunLockedError, SelfInstructError, StoppedError
from selfinstruct.formats import jsonl
from selfinstruct.parent_death import tie
from selfinstruct.run.folders import ModelDirectory
from selfinstruct.run.lock import locks_for_stage
from selfinstruct.signals import on_signals

_GRACE_S = 30.0
"""Seconds that a stage has to end by itself when its time is over."""

_ERROR_OF = {error.exit_code: error for error in (ConfigError, StoppedError, InputError, RunLockedError)}


def run_stage(
    command: Sequence[str],
    name: str,
    standard_input: str | None = None,
    seconds: float | None = None,
    log: Path | None = None,
) -> None:
    """Run a stage as a process that ends with this one; its stderr is the user's.

    It has a process group of its own: a Ctrl-C reaches this process alone, which passes it on once.

    Args:
        command: the program and its arguments.
        name: of the stage, for messages.
        standard_input: text that the stage reads from stdin; default: nothing.
        seconds: how long the stage may take; default: as long as it needs.
        log: of what libraries write there, for messages.

    Raises:
        SelfInstructError: it failed or was stopped; the error's kind follows from its exit code, and the message
            is the stage's own.
        Interrupted: a signal came, to this process or to the stage.
        TimeoutError: it took longer than `seconds`, and was ended as by SIGTERM.
    """
    exit_code_file, received = Path(tempfile.mkdtemp(prefix=leftovers.prefix("stage"))) / "exit_code", list[int]()
    process: subprocess.Popen[str] | None = None
    locks, about_locks = locks_for_stage()

    def pass_on(number: int) -> None:
        received.append(number)
        if process is not None:
            process.send_signal(number)

    with on_signals(pass_on):
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if standard_input is not None else subprocess.DEVNULL,
            process_group=0,
            preexec_fn=tie(signal.SIGTERM),
            pass_fds=locks,
            env=os.environ | {EXIT_CODE_FILE: str(exit_code_file)} | about_locks,
            text=True,
        )
        for number in received:  # It came before there was a process to pass it on to.
            process.send_signal(number)
        try:
            process.communicate(standard_input, timeout=seconds)
        except subprocess.TimeoutExpired:
            _end(process)
            if not received:  # Else a person ends the chain, not the clock this stage alone.
                shutil.rmtree(exit_code_file.parent)
                raise TimeoutError(f"{name} took longer than {seconds:.0f} s") from None
    code, message = process.returncode, ""
    if code and exit_code_file.exists():  # accelerate, which starts some stages, makes 1 of every code.
        written, _, message = exit_code_file.read_text().partition("\n")
        code = int(written)
    shutil.rmtree(exit_code_file.parent)
    if received:
        raise Interrupted(received[0])
    if code:
        raise _failure(name, code, message, log)


def _failure(name: str, code: int, message: str, log: Path | None) -> BaseException:
    """Return the error that a stage's exit code means, with the stage's own message."""
    where = f"{log} has its last words" if log is not None and log.exists() else ""
    if code > 128:
        return Interrupted(code - 128)
    if code < 0:
        by = signal.Signals(-code).name
        also = f"; {where}" if where else ""
        return StoppedError(f"{name}: its process was killed by {by}; the same command continues{also}")
    # It broke down before it could say more.
    ended = f"{name} ended with exit code {code}; {where or 'what it wrote is above'}"
    return _ERROR_OF.get(code, SelfInstructError)(f"{name}: {message}" if message else ended)


def _end(process: subprocess.Popen[str]) -> None:
    """End a stage and whatever it has started."""
    process.terminate()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class DoneMark:
    """Remembers, in a file in the model's folder, the hash of the inputs of a finished stage.

    Args:
        output: folder that the stage writes.
        inputs: files that it reads; hashed at once, as they are before the stage works.
        arguments: whatever else its result depends on.
    """

    def __init__(self, output: ModelDirectory, inputs: Sequence[Path], arguments: Sequence[str]) -> None:
        self._path = output.done
        digest = hashlib.sha256(repr(list(arguments)).encode())
        for path in inputs:
            with path.open("rb") as stream:
                digest.update(path.name.encode() + b"\0" + hashlib.file_digest(stream, "sha256").digest())
        self.key = digest.hexdigest()

    def is_set(self) -> bool:
        """Return whether the stage has finished with exactly these inputs, and its model is still there."""
        has_model = any(self._path.parent.glob("*.safetensors"))
        return has_model and self._path.exists() and self._path.read_text().strip() == self.key

    def set(self) -> None:
        """Note that the stage has finished."""
        jsonl.write_text(self._path, self.key + "\n")
