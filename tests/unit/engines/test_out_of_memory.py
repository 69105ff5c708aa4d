"""An engine that does not fit: the message names who holds the memory and the option to change."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import pydantic
import pytest

from selfinstruct import environment, library_log
from selfinstruct.engines import out_of_memory, startup, vllm_plugin
from selfinstruct.engines.out_of_memory import Holder, explain
from selfinstruct.engines.startup import did_not_start

BUSY = (
    "ValueError: Free memory on device cuda:0 (30.5/79.2 GiB) on startup is less than desired GPU memory utilization "
    "(0.9, 71.28 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes."
)
TORCH = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79 GiB"


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (BUSY, ["30.5 of 79.2 GiB free", "--gpu-memory-utilization 0.36"]),
        (BUSY.replace("30.5", "1.1"), ["1.1 of 79.2 GiB free", "end what holds the rest"]),
        (TORCH, ["--gpu-memory-utilization", "--max-num-seqs", "--tensor-parallel-size"]),
        ("RuntimeError: CUDA error: out of memory", ["--gpu-memory-utilization"]),
        ("ValueError: No available memory for the cache blocks. Try increasing", ["higher --gpu-memory-utilization"]),
        (
            (
                "ValueError: To serve at least one request with the model's max seq len (40960), (5.62 GiB KV cache is "
                "needed, which is larger than the available KV cache memory (2.1 GiB). Based on the available memory, "
                "the estimated maximum model length is 15296. Try increasing `gpu_memory_utilization`"
            ),
            ["--max-model-len 15296"],
        ),
        (
            (
                "ValueError: Available memory on node 0 (8.5/24.0 GiB) on startup is less than desired CPU memory "
                "utilization (0.9, 21.6 GiB)."
            ),
            ["8.5 of 24 GiB of main memory", "--gpu-memory-utilization 0.33"],
        ),
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory", ["VLLM_CPU_KVCACHE_SPACE"]),
        ("RuntimeError: Engine core initialization failed. Failed core proc(s): {'EngineCore': -9}", ["main memory"]),
    ],
)
def test_want_of_memory_is_recognised_and_the_option_named(error: str, advice: list[str]) -> None:
    found = explain(error)
    assert found is not None and all(part in found for part in advice), found


@pytest.mark.parametrize("error", ["", "ValueError: unknown architecture", "KeyError: 'memory'"])
def test_other_errors_are_left_alone(error: str) -> None:
    assert explain(error, [Holder(0, 1, "x", 1)]) is None


def test_who_holds_the_memory_is_named_largest_first() -> None:
    holders = [Holder(0, 11, "python train.py", 900), Holder(0, 12, "vllm serve", 40_960), Holder(1, 13, "x", None)]
    found = str(explain(BUSY, holders)).splitlines()[1:]
    assert found == [
        "GPU 0: process 12 (vllm serve) holds 40,960 MiB",
        "GPU 0: process 11 (python train.py) holds 900 MiB",
        "GPU 1: process 13 (x) holds memory",
    ]
    many = explain(BUSY, [Holder(0, k, "x", k) for k in range(20)])
    assert "process 19" in str(many) and "process 3 " not in str(many) and "14 more processes" in str(many)


def test_gpu_processes_are_not_blamed_for_want_of_main_memory() -> None:
    assert "vllm" not in str(explain("DefaultCPUAllocator: can't allocate memory", [Holder(0, 12, "vllm serve", 4096)]))


class FakeNVML(types.SimpleNamespace):
    """The part of NVIDIA's library that is asked: two GPUs, the second of which hides its numbers."""

    NVMLError = type("NVMLError", (Exception,), {})

    def __init__(self, broken: str = "") -> None:
        self.broken, self.down = broken, False

    def nvmlInit(self) -> None:
        if self.broken == "init":
            raise self.NVMLError("no driver")

    def nvmlShutdown(self) -> None:
        self.down = True

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetComputeRunningProcesses(self, device: int) -> list[Any]:
        if self.broken == "list":
            raise self.NVMLError("not supported")
        used = (3 * 2**30, None)[device]
        pids = (os.getppid(), 2**22 + 5)[device], os.getpid()
        return [types.SimpleNamespace(pid=pid, usedGpuMemory=used) for pid in pids]


def _install(monkeypatch: pytest.MonkeyPatch, nvml: FakeNVML) -> None:
    shipped = types.ModuleType("vllm.third_party")
    shipped.pynvml = nvml  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", types.ModuleType("vllm"))
    monkeypatch.setitem(sys.modules, "vllm.third_party", shipped)


def test_readings_of_the_gpu_leave_this_process_out(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNVML()
    _install(monkeypatch, nvml)
    found = out_of_memory.holders()
    assert [(h.gpu, h.pid, h.mib) for h in found] == [(0, os.getppid(), 3072), (1, 2**22 + 5, None)]
    assert found[0].name and found[1].name == "not visible from here" and nvml.down


@pytest.mark.parametrize("broken", ["init", "list"])
def test_without_readings_nothing_is_said(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    _install(monkeypatch, FakeNVML(broken))
    assert out_of_memory.holders() == []


def test_without_the_library_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm.third_party", None)
    assert out_of_memory.holders() == []


# ------------------------------------------------------------------------------------------------- the engine's words

ROOT = Path(__file__).parents[3]
LOG = f"""EngineCore failed to start.
Traceback (most recent call last):
  File "worker.py", line 1, in init
{BUSY}

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "core.py", line 9, in run
RuntimeError: Worker initialization failed
"""


WORKERS = """(Worker pid=26447) ERROR 11-27 05:04:56 [multiproc_executor.py:953] WorkerProc failed to start.
(Worker pid=26447) ERROR 11-27 05:04:56 [multiproc_executor.py:953] Traceback (most recent call last):
(Worker pid=26447) ERROR 11-27 05:04:56 [multiproc_executor.py:953] RuntimeError: start (0) + length (704) exceeds \
dimension size (640).
(EngineCore pid=26072) ERROR 11-27 05:05:01 [core.py:1510] Exception: WorkerProc initialization failed due to an \
exception in a background process. See stack trace for root cause.
Exception: WorkerProc initialization failed due to an exception in a background process.
"""


def test_the_cause_of_a_start_that_failed_is_the_first_and_of_a_death_the_last() -> None:
    assert startup.first_cause(LOG) == BUSY
    assert startup.last_cause(LOG) == "RuntimeError: Worker initialization failed"
    assert startup.first_cause("EngineCore failed to start.") is None
    assert len(str(startup.first_cause(f"ValueError: {'x' * 9999}"))) < 1000


def test_that_the_engine_is_dead_is_no_cause_of_its_death() -> None:
    """vLLM logs it in this process; a killed engine has left no exception."""
    dead = "(MainProcess pid=32200) ERROR 11-27 18:42:47 [async_llm.py:906] vllm.v1.engine.exceptions.EngineDeadError: "
    dead += "EngineCore encountered an issue. See stack trace (above) for the root cause.\n"
    assert startup.last_cause(dead) is None
    assert startup.last_cause(LOG + dead) == "RuntimeError: Worker initialization failed"


@pytest.mark.parametrize(
    ("code", "how"), [("None", "it may have been killed for lack of memory"), ("1", "exit code 1")]
)
def test_a_worker_that_was_killed_is_the_cause_and_not_what_vllm_says_of_it(code: str, how: str) -> None:
    died = (
        "(EngineCore pid=7) ERROR 11-27 23:40:21 [executor.py:315] Worker proc VllmWorker-0 died unexpectedly "
        f"(exit code: {code}), shutting down executor.\n"
        "(EngineCore pid=7) ERROR 11-27 23:40:21 [core.py:1512] RuntimeError: cancelled\n"
        "(MainProcess pid=6) ERROR 11-27 23:40:22 [async_llm.py:906] vllm.v1.engine.exceptions.EngineDeadError: dead\n"
    )
    assert startup.last_cause(died) == startup.last_cause(died * 2) == f"a worker process died: {how}"
    own = "(Worker pid=8) ERROR 11-27 23:40:21 [worker.py:1] ZeroDivisionError: division by zero\n"
    assert startup.last_cause(own + died) == "ZeroDivisionError: division by zero"


def test_what_vllm_refuses_is_said_in_one_line_without_pydantics_frame() -> None:
    class Engine(pydantic.BaseModel):
        max_model_len: int

        @pydantic.field_validator("max_model_len")
        @classmethod
        def fits(cls, value: int) -> int:
            raise ValueError(f"max_model_len ({value}) is greater\nthan 2048")

    with pytest.raises(ValueError) as refused:
        Engine(max_model_len=9999)
    assert startup.refusal(refused.value) == "max_model_len (9999) is greater than 2048"
    assert startup.refusal(OSError("no\nmodel")) == "no model"


def test_a_start_that_failed_says_why_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out_of_memory, "holders", lambda: [Holder(0, 4711, "vllm serve", 50_000)])
    words = startup.LastWords()
    Path(os.environ[environment.LAST_WORDS]).write_text(LOG)
    said = did_not_start("m", RuntimeError("Engine core initialization failed. See root cause above."), words)
    assert said.startswith("vLLM did not start with model 'm': ValueError: Free memory")
    assert "--gpu-memory-utilization 0.36" in said and "process 4711 (vllm serve) holds 50,000 MiB" in said


def test_a_start_that_failed_otherwise_is_one_line_and_the_log_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    words = startup.LastWords()
    Path(os.environ[environment.LAST_WORDS]).write_text(WORKERS)
    said = did_not_start("m", RuntimeError("See stack trace.\nMore."), words)
    words.discard()
    [kept] = tmp_path.glob("selfinstruct-*")
    cause = "RuntimeError: start (0) + length (704) exceeds dimension size (640)."
    assert said == f"vLLM did not start with model 'm': {cause}; its log is {kept}"
    assert kept.read_text() == WORKERS and kept.stat().st_mode & 0o777 == 0o600


def test_with_a_log_of_the_run_its_path_is_named_and_it_is_read_where_no_logger_spoke(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(library_log, "path", lambda: tmp_path / "libraries.log")
    monkeypatch.setattr(library_log, "said", lambda most: "RuntimeError: of C++")
    words = startup.LastWords()
    assert did_not_start("m", RuntimeError("x"), words) == (
        f"vLLM did not start with model 'm': RuntimeError: of C++; its log is {tmp_path / 'libraries.log'}"
    )
    Path(os.environ[environment.LAST_WORDS]).write_text(WORKERS)
    assert "RuntimeError: start (0)" in did_not_start("m", RuntimeError("x"), words)


@pytest.mark.whole
def test_an_engines_processes_write_into_the_log_and_not_on_the_terminal(tmp_path: Path) -> None:
    program = "from selfinstruct.engines import vllm_plugin as p; p.write_down_errors(); print('x'); 1 / 0"
    log = tmp_path / "log"
    log.touch()
    for level, hidden in (("ERROR", True), ("INFO", False)):
        env = os.environ | {environment.LAST_WORDS: str(log), "VLLM_LOGGING_LEVEL": level, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
        assert (done.stdout + done.stderr == "") is hidden
    assert startup.last_cause(log.read_text()) == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("code", "said"),
    [(None, "no reason"), (0, "asked to end"), (1, "exit code 1"), (-9, "SIGKILL.*memory"), (-11, "SIGSEGV$")],
)
def test_how_a_process_ended(code: int | None, said: str) -> None:
    import re

    assert re.search(said, startup.exit_text(code))


def test_errors_of_the_log_go_into_the_file_of_the_drivers_choice_once(monkeypatch: pytest.MonkeyPatch) -> None:
    words = startup.LastWords()
    path = Path(os.environ[environment.LAST_WORDS])
    monkeypatch.setenv(environment.LAST_WORDS, str(path))
    logger = logging.getLogger("vllm")
    before, level = list(logger.handlers), logger.level
    logger.setLevel(logging.INFO)  # The end of a stage silences it.
    try:
        vllm_plugin.write_down_errors()
        vllm_plugin.write_down_errors()
        try:
            raise ValueError("the cause")
        except ValueError:
            logger.exception("failed")
        logger.warning("a trifle")
        assert words.text().count("failed\n") == 1 and "trifle" not in words.text()
        assert startup.last_cause(words.text()) == "ValueError: the cause"
    finally:
        logger.setLevel(level)
        for handler in set(logger.handlers) - set(before):
            logger.removeHandler(handler)
            handler.close()
    words.discard()
    assert not path.exists() and words.text() == ""
