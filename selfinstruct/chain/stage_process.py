"""Run one stage as a process of its own, and remember that it is done."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from selfinstruct.environment import EXIT_CODE_FILE
from selfinstruct.errors import ConfigError, InputError, Interrupted, RunLockedError, SelfInstructError, StoppedError
from selfinstruct.formats import jsonl
from selfinstruct.signals import on_signals

_GRACE_S = 30.0
"""Seconds that a stage whose time is over has for ending by itself."""

_ERROR_OF = {2: ConfigError, 3: StoppedError, 4: InputError, 5: RunLockedError}


def _call(command: Sequence[str], name: str, standard_input: str | None = None, seconds: float | None = None) -> None:
    """Run a stage as a process that ends with this one; its stderr is the user's.

    It has a process group of its own: a Ctrl-C reaches this process alone, which passes it on, once.

    Raises:
        SelfInstructError: it failed, or was stopped.
        TimeoutError: it took longer than `seconds`, and was ended as by SIGTERM.
    """
    ends_with_us = _end_with(os.getpid())
    own_code = Path(tempfile.mkdtemp(prefix="selfinstruct-")) / "exit_code"
    received: list[int] = []
    process: subprocess.Popen[str] | None = None

    def pass_on(number: int) -> None:
        received.append(number)
        if process is not None:
            process.send_signal(number)

    with on_signals(pass_on):
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if standard_input is not None else subprocess.DEVNULL,
            process_group=0,
            preexec_fn=ends_with_us,
            env=os.environ | {EXIT_CODE_FILE: str(own_code)},
            text=True,
        )
        for number in received:  # It came before there was a process to tell.
            process.send_signal(number)
        try:
            process.communicate(standard_input, timeout=seconds)
        except subprocess.TimeoutExpired:
            _end(process)
            if not received:  # Else a person ends the chain, not the clock this stage alone.
                shutil.rmtree(own_code.parent)
                raise TimeoutError(f"{name} took longer than {seconds:.0f} s") from None
    code = int(own_code.read_text()) if process.returncode and own_code.exists() else process.returncode
    shutil.rmtree(own_code.parent)
    if received or code > 128:
        raise Interrupted(received[0] if received else code - 128)
    if code < 0:
        by = signal.Signals(-code).name
        raise StoppedError(f"{name}: its process was killed by {by}; the same command continues")
    if code:
        # The stage has said on stderr what is wrong.
        raise _ERROR_OF.get(code, SelfInstructError)(f"{name} did not finish (exit code {code}); see the message above")


def _end(process: subprocess.Popen[str]) -> None:
    """End a stage and whatever it has started."""
    process.terminate()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _end_with(parent: int) -> Callable[[], None]:
    """A function for a child process to call: Linux is to stop it when its parent dies, however that happens."""
    libc = ctypes.CDLL(None)

    def set_up() -> None:
        libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # It died before it could be watched.
            os._exit(1)

    return set_up


class _Mark:
    """Remembers, in `<output>/.done`, the hash of what a stage worked from."""

    def __init__(self, output: Path, inputs: Sequence[Path], arguments: Sequence[str]) -> None:
        self._path = output / ".done"
        digest = hashlib.sha256(repr(list(arguments)).encode())
        for path in inputs:
            with path.open("rb") as stream:
                digest.update(path.name.encode() + b"\0" + hashlib.file_digest(stream, "sha256").digest())
        self.key = digest.hexdigest()

    def stands(self) -> bool:
        """Whether the stage has finished with exactly these inputs, and what it made is still there."""
        made = any(self._path.parent.glob("*.safetensors"))
        return made and self._path.exists() and self._path.read_text().strip() == self.key

    def set(self) -> None:
        """Note that it has."""
        jsonl.write_text(self._path, self.key + "\n")
