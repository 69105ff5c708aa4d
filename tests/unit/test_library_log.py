"""What libraries write goes into a file: complete, harmless, bounded, and never in the way of the program."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct import library_log_writer
from selfinstruct.engines import processes
from selfinstruct.environment import OUTPUT
from selfinstruct.library_log_writer import Lines, Log

ROOT = Path(__file__).parents[2]
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d tune\| "


def run(code: str, log: Path, how_much: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program that begins a log, and wait until its writer has ended."""
    program = (
        "import os, subprocess, sys\nfrom pathlib import Path\nfrom selfinstruct import library_log\n"
        "from selfinstruct.console import console\nfrom selfinstruct.program_edge import run_program\n"
        f"def work():\n    library_log.begin(Path({str(log)!r}), 'tune')\n"
        + "".join(f"    {line}\n" for line in code.splitlines())
        + "sys.exit(run_program(work))\n"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT), OUTPUT: how_much}
    return subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)


def lines(log: Path) -> list[str]:
    return [re.sub(f"^{STAMP}", "", line) for line in log.read_text().splitlines()]


@pytest.mark.whole
def test_the_terminal_has_the_programs_own_lines_and_the_log_those_of_libraries(tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = run(
        "print('of a library')\nos.write(2, b'of C++\\n')\nconsole.print('our own')\n"
        "subprocess.run(['sh', '-c', 'echo of a child; echo of its stderr >&2'])",
        log,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "our own\n")
    assert all(re.match(STAMP, line) for line in log.read_text().splitlines())
    begins, *said = lines(log)
    assert re.fullmatch(r"begins: process \d+, selfinstruct \S+", begins)
    assert sorted(said) == ["of C++", "of a child", "of a library", "of its stderr"]


@pytest.mark.whole
def test_what_vllm_says_while_the_process_ends_is_not_on_the_terminal(tmp_path: Path) -> None:
    done = run(
        "import atexit, logging, types\nsys.modules['vllm'] = types.ModuleType('vllm')\n"
        "logger = logging.getLogger('vllm')\nlogger.setLevel('INFO')\n"
        "logger.addHandler(logging.StreamHandler(sys.stderr))\n"
        "atexit.register(logger.info, 'send sigterm to process EngineCore')",
        tmp_path / "log",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.whole
def test_a_second_start_appends_and_verbose_shows_the_lines_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("cut in the mid")
    done = run("print('one', flush=True)", log, "verbose")
    assert "one\n" in done.stderr and done.stdout == ""
    assert lines(log)[0] == "cut in the mid" and lines(log)[-1] == "one"


@pytest.mark.whole
def test_an_unexpected_error_leaves_its_traceback_in_the_log_and_one_line_on_the_terminal(tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = run("1 / 0", log)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith("Error: ZeroDivisionError: division by zero\n")
    assert lines(log)[-1] == "ZeroDivisionError: division by zero"


@pytest.mark.whole
def test_the_last_words_of_a_killed_process_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = run("os.write(2, b'terminate called\\nno line break')\nos.kill(os.getpid(), 9)", log)
    assert done.returncode == -signal.SIGKILL
    wait_for(lambda: lines(log)[-2:] == ["terminate called", "no line break"])


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.whole
def test_a_log_that_cannot_be_written_costs_nothing_but_its_lines(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    done = run("os.write(1, (b'x' * 99 + b'\\n') * 5_000)\nconsole.print('goes on')", tmp_path / "log")
    assert done.returncode == 0 and not (tmp_path / "elsewhere").exists()
    first, second = done.stderr.splitlines()
    assert first.startswith(f"{tmp_path / 'log'} cannot be written") and second == "goes on"


@pytest.mark.whole
def test_what_was_said_can_be_read_back_and_the_writer_is_no_process_of_an_engine(tmp_path: Path) -> None:
    code = (
        "from selfinstruct.engines import processes\nos.write(2, b'RuntimeError: why\\n')\n"
        "console.print(library_log.said(1000).splitlines()[-1])\n"
        "assert not processes.children() and library_log.path().name == 'log'"
    )
    assert run(code, tmp_path / "log").stderr == "RuntimeError: why\n"
    assert not processes.children()


@pytest.fixture
def opened(tmp_path: Path) -> Log:
    return Log(tmp_path / "log", os.open(tmp_path / "log", os.O_RDWR | os.O_APPEND | os.O_CREAT), 100)


def test_a_full_log_is_renamed_so_that_both_stay_small(opened: Log, tmp_path: Path) -> None:
    other = Log(tmp_path / "log", os.open(tmp_path / "log", os.O_RDWR | os.O_APPEND), 100)
    for number in range(100):
        (opened, other)[number % 2].write(f"line {number}")
    assert {path.name for path in tmp_path.iterdir()} == {"log", "log.1"}
    both = (tmp_path / "log.1").read_text() + (tmp_path / "log").read_text()
    assert len(both) < 250 and both.endswith("line 98\nline 99\n")


def test_lines_that_a_full_disk_takes_are_counted(opened: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write

    def full(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(library_log_writer.os, "write", full)
    opened.write("lost")
    opened.write("lost")
    monkeypatch.setattr(library_log_writer.os, "write", lambda file, data: real(file, data[:9]))
    opened.write("cut by the full disk")
    monkeypatch.setattr(library_log_writer.os, "write", real)
    opened.write("written")
    assert (tmp_path / "log").read_text() == "(2 lines \n(1 lines are missing: they could not be written)\nwritten\n"


def test_a_progress_bar_is_one_line_and_colours_and_control_characters_do_nothing() -> None:
    bar = b"".join(b"\rloading %d%%" % n for n in range(101))
    assert Lines().feed(bar + b"\n\n\r\n") == ["loading 100%"]
    assert Lines().feed(b"\x1b[31mred\x1b[0m \x1b]0;title\x07 \x00 \xff \xc2\x9b2J\n") == [
        "red \\x1b]0;title\\x07 \\x00 \\xff \\x9b2J"
    ]


def test_a_line_without_an_end_takes_no_memory() -> None:
    held = Lines()
    assert [held.feed(b"x" * 60_000) for _ in range(200)] == [[]] * 200
    assert len(held._held) <= 2 * 65_536
    [line] = held.feed(b"\nnext")
    assert len(line) < 4_100 and line.endswith("x ...")
    assert held.rest() == ["next"]


@given(st.lists(st.text(alphabet="ab \t", max_size=8)), st.integers(1, 7))
def test_lines_do_not_depend_on_where_the_pipe_cuts_them(texts: list[str], size: int) -> None:
    data = "\n".join(texts).encode()
    cut, found = Lines(), []
    for at in range(0, len(data), size):
        found += cut.feed(data[at : at + size])
    assert found + cut.rest() == [text.rstrip() for text in texts if text.strip()]
