"""Stages as child processes: signals, exit codes, marks of finished work."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from selfinstruct.chain import stage_process
from selfinstruct.chain.stage_process import DoneMark, run_stage
from selfinstruct.errors import ConfigError, InputError, Interrupted, RunLockedError, SelfInstructError, StoppedError
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.folders import ModelDirectory

# The child writes by `os.write`: a file object would refuse the handler's line while its own first one is on its way.
pytestmark = pytest.mark.whole

CHILD = """
import os, signal, sys, time
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
def note(number, frame):
    os.write(log, f"{number}\\n".encode())
    time.sleep(0.3)  # Time for a second one, should there be any.
    sys.exit(128 + number)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, note)
os.write(log, b"ready\\n")
time.sleep(600)
"""


def child(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def when_ready(log: Path, act: Callable[[], None]) -> threading.Thread:
    """Do `act` (in another thread) once the child has written its first line."""

    thread = threading.Thread(target=lambda: (wait_for_line(log), act()))
    thread.start()
    return thread


def wait_for_line(log: Path, seconds: float = 240) -> None:
    """Wait until the child has written its first line; fail (in a thread, too) when it never does."""
    end = time.monotonic() + seconds
    while not log.exists() or "ready" not in log.read_text():
        assert time.monotonic() < end, f"the child wrote nothing into {log}"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("code", "error", "exit_code"),
    [
        (1, SelfInstructError, 1),
        (2, ConfigError, 2),
        (3, StoppedError, 3),
        (4, InputError, 4),
        (5, RunLockedError, 5),
        (77, SelfInstructError, 1),
    ],
)
def test_exit_codes_of_a_stage_are_those_of_the_chain(code: int, error: type[Exception], exit_code: int) -> None:
    with pytest.raises(error, match=f"tune ended with exit code {code}; what it wrote is above") as caught:
        run_stage(child(f"raise SystemExit({code})"), "tune")
    assert caught.type is error
    assert caught.value.exit_code == exit_code  # type: ignore[attr-defined]


def test_a_code_that_the_stage_has_written_down_goes_before_its_launchers() -> None:
    code = "import os; open(os.environ['_SELFINSTRUCT_EXIT_CODE_FILE'], 'w').write('4'); raise SystemExit(1)"
    with pytest.raises(InputError, match="exit code 4"):
        run_stage(child(code), "tune")


def test_a_stages_own_message_is_that_of_the_error() -> None:
    code = "import os; open(os.environ['_SELFINSTRUCT_EXIT_CODE_FILE'], 'w').write('4\\nno rows\\nat all'); exit(1)"
    with pytest.raises(InputError, match=r"^tune: no rows\nat all$"):
        run_stage(child(code), "tune")


def test_a_stage_that_was_killed_is_said_so_and_can_be_continued() -> None:
    with pytest.raises(StoppedError, match="tune: its process was killed by SIGKILL"):
        run_stage(child("import os; os.kill(os.getpid(), 9)"), "tune")


def test_a_stage_that_heard_a_signal_of_its_own_ends_the_chain_with_its_code() -> None:
    with pytest.raises(Interrupted, match="SIGTERM") as caught:
        run_stage(child("raise SystemExit(143)"), "tune")
    assert caught.value.exit_code == 143


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_stage_whose_time_is_over_is_ended_if_need_be_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stubborn: bool
) -> None:
    monkeypatch.setattr(stage_process, "_GRACE_S", 0.5)
    code = "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); " * stubborn
    code += "import os, subprocess, sys, time; own = subprocess.Popen(['sleep', '600']); "
    code += "open('pid~', 'w').write(str(own.pid)); os.rename('pid~', 'pid'); time.sleep(600)"
    monkeypatch.chdir(tmp_path)
    for seconds in (1, 8, 64):
        with pytest.raises(TimeoutError, match=f"evaluate took longer than {seconds} s"):
            run_stage(child(code), "evaluate", seconds=seconds)
        if (tmp_path / "pid").exists():  # Else the machine is so busy that it was over before the stage began.
            break
    started = int((tmp_path / "pid").read_text())
    if stubborn:
        until = time.monotonic() + 60
        while _alive(started) and time.monotonic() < until:
            time.sleep(0.01)
        assert not _alive(started)
    else:  # What ends in time sees to its own.
        psutil.Process(started).kill()


def test_a_signal_before_the_time_is_over_still_ends_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_process, "_GRACE_S", 0.2)
    code = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    code += "os.kill(os.getppid(), signal.SIGTERM); time.sleep(600)"
    with pytest.raises(Interrupted, match="SIGTERM"):
        for seconds in (1, 8, 64):
            with contextlib.suppress(TimeoutError):  # The machine is so busy that it was over before the stage began.
                run_stage(child(code), "evaluate", seconds=seconds)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_standard_input_reaches_the_stage_and_success_is_quiet(tmp_path: Path) -> None:
    code = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())"
    run_stage(child(code, str(tmp_path / "said")), "generate", standard_input="window: 5\n")
    assert (tmp_path / "said").read_text() == "window: 5\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_passed_on_once(tmp_path: Path, number: int) -> None:
    log = tmp_path / "log"
    before = signal.getsignal(number)
    thread = when_ready(log, lambda: os.kill(os.getpid(), number))
    with pytest.raises(Interrupted, match=signal.Signals(number).name) as caught:
        run_stage(child(CHILD, str(log)), "tune")
    thread.join()
    assert caught.value.exit_code == 128 + number
    assert log.read_text() == f"ready\n{number}\n"
    assert signal.getsignal(number) is before


def test_a_terminal_s_interrupt_reaches_the_stage_through_us_alone(tmp_path: Path) -> None:
    """A terminal signals the whole foreground group; the stage is in a group of its own and hears it once."""
    log = tmp_path / "log"
    code = (
        "import signal, sys; from selfinstruct.chain.stage_process import run_stage\n"
        f"run_stage([sys.executable, '-c', {CHILD!r}, {str(log)!r}], 'tune')\n"
    )
    driver = subprocess.Popen(child(code), start_new_session=True, stderr=subprocess.PIPE, text=True)
    when_ready(log, lambda: os.killpg(driver.pid, signal.SIGINT)).join()
    _, said = driver.communicate(timeout=240)
    assert "Interrupted: stopped by SIGINT" in said
    assert log.read_text() == f"ready\n{int(signal.SIGINT)}\n"


def test_a_stage_has_a_process_group_of_its_own(tmp_path: Path) -> None:
    """Signals of the same number melt into one, so that the test above alone might overlook a second one."""
    run_stage(child("import os; assert os.getpgrp() == os.getpid()"), "tune")


def test_an_ignored_hangup_is_ignored_by_the_stage_too(tmp_path: Path) -> None:
    code = "import signal, sys; sys.exit(0 if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else 9)"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run_stage(child(code), "tune")
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_stage_ends_when_the_chain_is_killed_with_9(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = (
        "import sys; from selfinstruct.chain.stage_process import run_stage\n"
        f"run_stage([sys.executable, '-c', {CHILD!r}, {str(log)!r}], 'tune')\n"
    )
    driver = subprocess.Popen(child(code))
    found: list[psutil.Process] = []
    when_ready(log, lambda: found.extend(psutil.Process(driver.pid).children(recursive=True))).join()
    driver.kill()
    driver.wait()
    assert found
    end = time.monotonic() + 60
    while time.monotonic() < end and any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in found):
        time.sleep(0.02)
    assert time.monotonic() < end
    assert log.read_text() == f"ready\n{int(signal.SIGTERM)}\n"


# -------------------------------------------------------------------------------------------------------------- marks


@pytest.fixture
def dataset(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "train.jsonl", tmp_path / "validation.jsonl"]
    for path in paths:
        path.write_text(path.name)
    return paths


def made(output: Path) -> Path:
    """What a finished stage leaves."""
    output.mkdir()
    (output / "model.safetensors").touch()
    return output


def test_a_mark_stands_for_the_same_inputs_and_arguments(tmp_path: Path, dataset: list[Path]) -> None:
    output = made(tmp_path / "model")
    assert not DoneMark(ModelDirectory(output), dataset, ["--lr", "1"]).is_set()
    DoneMark(ModelDirectory(output), dataset, ["--lr", "1"]).set()
    assert DoneMark(ModelDirectory(output), dataset, ["--lr", "1"]).is_set()
    assert not DoneMark(ModelDirectory(tmp_path / "other"), dataset, ["--lr", "1"]).is_set()


def test_a_mark_notices_changes(tmp_path: Path, dataset: list[Path]) -> None:
    output = made(tmp_path / "model")
    DoneMark(ModelDirectory(output), dataset, ["--lr", "1"]).set()
    assert not DoneMark(ModelDirectory(output), dataset, ["--lr", "2"]).is_set()
    assert not DoneMark(ModelDirectory(output), dataset[:1], ["--lr", "1"]).is_set()
    dataset[1].write_text("validation.jsonL")
    assert not DoneMark(ModelDirectory(output), dataset, ["--lr", "1"]).is_set()
    dataset[1].write_text("validation.jsonl")
    assert DoneMark(ModelDirectory(output), dataset, ["--lr", "1"]).is_set()
    dataset[1].rename(tmp_path / "renamed.jsonl")
    assert not DoneMark(ModelDirectory(output), [dataset[0], tmp_path / "renamed.jsonl"], ["--lr", "1"]).is_set()


def test_a_mark_without_a_model_does_not_stand(tmp_path: Path, dataset: list[Path]) -> None:
    output = made(tmp_path / "model")
    DoneMark(ModelDirectory(output), dataset, []).set()
    assert DoneMark(ModelDirectory(output), dataset, []).is_set()
    (output / "model.safetensors").unlink()
    assert not DoneMark(ModelDirectory(output), dataset, []).is_set()


def test_a_mark_is_of_its_inputs_as_they_were_before_the_work(tmp_path: Path, dataset: list[Path]) -> None:
    """An input that changes while a stage works must not look as if the stage had seen the change."""
    output = made(tmp_path / "model")
    mark = DoneMark(ModelDirectory(output), dataset, [])
    dataset[0].write_text("changed meanwhile")
    mark.set()
    assert not DoneMark(ModelDirectory(output), dataset, []).is_set()


STAGE = """
import sys, time
from pathlib import Path
from selfinstruct.run.directory import RunDirectory
with RunDirectory(Path(sys.argv[1])).locked():
    Path(sys.argv[2]).write_text("ready")
    time.sleep(float(sys.argv[3]))
"""


def test_a_stage_shares_the_lock_of_its_chain(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    with run.locked():
        run_stage(child(STAGE, str(run.path), str(tmp_path / "log"), "0"), "generate")
        other = subprocess.run(
            child(STAGE, str(run.path), str(tmp_path / "other"), "0"), capture_output=True, check=False
        )
        assert b"RunLockedError" in other.stderr
        assert run.owner.exists()
    assert (tmp_path / "log").exists() and not (tmp_path / "other").exists()
    with run.locked():
        pass


def test_a_stage_keeps_the_lock_when_its_chain_is_killed(tmp_path: Path) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    ignores = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    chain = child(
        "import sys; from pathlib import Path\n"
        "from selfinstruct.chain.stage_process import run_stage\n"
        "from selfinstruct.run.directory import RunDirectory\n"
        "with RunDirectory(Path(sys.argv[2])).locked(): run_stage([sys.executable, '-c', *sys.argv[1:]], 'tune')",
        ignores + STAGE,
        str(run),
        str(log),
        "600",
    )
    process = subprocess.Popen(chain)
    stage = None
    try:
        wait_for_line(log)
        (stage,) = psutil.Process(process.pid).children()
        process.kill()
        process.wait()
        with pytest.raises(RunLockedError), RunDirectory(run).locked():
            pass
    finally:
        process.kill()
        if stage is not None:
            stage.kill()
            psutil.wait_procs([stage])
    with RunDirectory(run).locked():
        pass
