"""The edge of every program: messages, exit codes, and who of several processes speaks."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from selfinstruct import program_edge
from selfinstruct.environment import DEBUG_VARIABLE, EXIT_CODE_FILE
from selfinstruct.errors import ConfigError, Interrupted, RunLockedError
from selfinstruct.program_edge import run_program
from selfinstruct.signals import changing_nothing

ROOT = Path(__file__).parents[2]
STAGE = """
import subprocess, sys
from selfinstruct.program_edge import run_program
run_program(lambda: subprocess.run([sys.executable, "-m", "tuning.training.__init__"], check=True))
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (DEBUG_VARIABLE, EXIT_CODE_FILE, "LOCAL_RANK", "RANK"):
        monkeypatch.delenv(name, raising=False)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def raises(error: BaseException) -> Callable[[], NoReturn]:
    def work() -> NoReturn:
        raise error

    return work


def kills_itself(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    "error, code, said",
    [
        (ConfigError("no"), 2, "Error: no\n"),
        (RunLockedError("busy"), 5, "Error: busy\n"),
        (OSError(errno.EACCES, "Permission denied", "x.jsonl"), 1, "Error: x.jsonl: Permission denied\n"),
        (
            OSError(errno.ENOSPC, "No space left", "x.jsonl"),
            1,
            "Error: x.jsonl: No space left; make room, then give the same command again\n",
        ),
        (
            ZeroDivisionError("oh"),
            1,
            "Error: ZeroDivisionError: oh\nThis error was not expected; --debug shows where it happened.\n",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_error_becomes_a_message_and_a_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(raises(error)) == code
    assert capsys.readouterr().err == said


def test_nothing_is_said_of_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(lambda: 7) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_work_in_order(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    signal.signal(number, signal.SIG_DFL)
    assert run_program(kills_itself(number)) == 128 + number
    assert f"stopped by {signal.Signals(number).name}; everything committed is safe" in capsys.readouterr().err


def test_a_signal_in_a_command_that_changes_nothing_promises_no_continuation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def work() -> None:
        with changing_nothing():
            kills_itself(signal.SIGTERM)()

    assert run_program(work) == 143
    assert capsys.readouterr().err == "stopped by SIGTERM; nothing was changed\n"


def test_a_stage_leaves_the_word_on_a_signal_to_the_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "exit_code"
    monkeypatch.setenv(EXIT_CODE_FILE, str(file))
    assert run_program(raises(Interrupted(signal.SIGTERM))) == 143
    assert file.read_text() == "143\n"
    assert capsys.readouterr().err == ""


def test_of_several_processes_the_first_to_fail_hands_its_message_to_the_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "exit_code"
    monkeypatch.setenv(EXIT_CODE_FILE, str(file))
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("RANK", "1")
    assert run_program(raises(ConfigError("first"))) == 2
    monkeypatch.setenv("RANK", "0")
    assert run_program(raises(RuntimeError("second"))) == 1
    assert capsys.readouterr().err == "", "the chain says it, once"
    assert file.read_text() == "2\nfirst"


def test_of_several_processes_without_a_chain_the_main_one_speaks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("RANK", "1")
    assert run_program(raises(ConfigError("other"))) == 2
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("RANK", "0")
    assert run_program(raises(ConfigError("main"))) == 2
    assert capsys.readouterr().err == "Error: main\n"


def test_one_of_several_processes_is_killed_by_its_launchers_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    before, during = signal.getsignal(signal.SIGTERM), []
    run_program(lambda: during.append(signal.getsignal(signal.SIGTERM)))
    assert during == [before]


def test_a_traceback_is_shown_when_wanted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(DEBUG_VARIABLE, "1")
    assert run_program(raises(ConfigError("no"))) == 2
    said = capsys.readouterr().err
    assert said.startswith("Traceback") and said.endswith("\nError: no\n")


def test_an_error_that_the_caller_handles_passes() -> None:
    with pytest.raises(ValueError, match="mine"):
        run_program(raises(ValueError("mine")), passes=(ValueError,))


@pytest.mark.whole
def test_modules_of_the_working_directory_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m`, by which stages are started, would take them for the library's."""
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    (tmp_path / "tuning.py").write_text("raise SystemExit('foreign code ran')")
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-Pc", STAGE]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_working_directory_that_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert run_program(lambda: pytest.fail("torch would end the process")) == 2
    said = "Error: the working directory has been removed; change to another one"
    assert capsys.readouterr().err.startswith(said)
    gone.mkdir()
    monkeypatch.chdir(gone)

    def removed_meanwhile() -> None:
        gone.rmdir()
        Path("x").resolve()

    assert run_program(removed_meanwhile) == 1
    assert capsys.readouterr().err.startswith(said)
    monkeypatch.setenv(EXIT_CODE_FILE, "/nowhere/at/all")
    assert run_program(lambda: None) == 0


@pytest.mark.whole
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_output_in_any_encoding(encoding: str) -> None:
    """What the encoding lacks is escaped as in JSON, so that JSON stays JSON."""
    text = "é ━ 字 \U0001f600 \udcff"
    program = f"from selfinstruct.program_edge import run_program; run_program(lambda: print({text!a}))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
    )
    assert json.loads(f'"{done.stdout.decode(encoding).strip()}"') == text
    assert done.stderr == b""


def test_messages_hold_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(raises(ConfigError("a\x1b[2Jb\x9bc\r\nd\u202e"))) == 2
    assert capsys.readouterr().err == "Error: a\\x1b[2Jb\\x9bc\\r\nd\\u202e\n"


def test_no_room_for_temporary_files_is_one_line_with_its_remedy() -> None:
    error = FileNotFoundError(2, "No usable temporary directory found in ['/tmp', '/var/tmp']")
    said = program_edge.message_of(error)
    assert said.startswith("No usable temporary directory found in") and "TMPDIR" in said and "\n" not in said


@pytest.mark.parametrize("endpoint", ["http://[::1", "huggingface.co", "http://", "ftp://mirror", "http://h:99999999"])
def test_an_endpoint_of_the_hub_that_is_no_url_is_one_line(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """huggingface_hub, and with it transformers, cannot even be imported then."""
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert run_program(lambda: pytest.fail("the work began")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"Error: HF_ENDPOINT={endpoint} is no URL") and "unset it" in line


@pytest.mark.parametrize("endpoint", ["", "https://hf-mirror.com", "http://[::1]:8080/hub"])
def test_a_mirror_of_the_hub_passes(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert run_program(lambda: None) == 0
