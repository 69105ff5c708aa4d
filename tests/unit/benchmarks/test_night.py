"""The command for a night on a GPU: one line for each step whatever happens in it, and what its steps are made of."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import psutil
import pytest

from benchmarks import gpu_night
from benchmarks.night import chain, engine, figures, leftovers, models, package, runner, tuning
from selfinstruct.config.section import Sampling
from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.records import Completion

ROOT = Path(__file__).parents[3]

RUN = """
import sys
from pathlib import Path
from benchmarks.night.runner import Step, run_all
steps = [Step(name, [sys.executable, "-c", code], seconds, missing) for name, code, seconds, missing in {steps!r}]
sys.exit(run_all(steps, Path({logs!r}), {seconds}, {{"PYTHONPATH": {root!r}}}))
"""
REPORT = "from benchmarks.night.figures import report; "


def lines_of(folder: Path, *steps: tuple[str, str, float, tuple[str, ...]], seconds: float = 600.0) -> Any:
    """Run steps, given as Python code; return their lines and the exit code."""
    program = RUN.format(steps=list(steps), logs=str(folder), seconds=seconds, root=str(ROOT))
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["step"] for line in lines] == [name for name, *_ in steps], done.stderr
    return {line["step"]: line for line in lines}, done.returncode


@pytest.mark.long  # It waits for processes.
@pytest.mark.whole
def test_each_step_has_a_line_however_it_ends(tmp_path: Path) -> None:
    lines, bad = lines_of(
        tmp_path,
        ("hanging", f"{REPORT}report(before=2); print('loading', flush=True); import time; time.sleep(600)", 4, ()),
        ("good", f"{REPORT}print('noise'); report(speed=1.23456, seconds=7)", 60, ()),
        ("bad", f"{REPORT}report(half=1); raise SystemExit('the cause')", 60, ()),
        ("killed", "import os; os.kill(os.getpid(), 9)", 60, ()),
        ("lacking", "1 / 0", 60, ("vllm",)),
    )
    assert bad == 4
    assert lines["good"]["outcome"] == "ok" and lines["good"]["speed"] == 1.2346 and lines["good"]["seconds"] < 60
    assert lines["bad"]["outcome"] == "failed" and lines["bad"]["half"] == 1
    assert lines["bad"]["error"] == "exit code 1: the cause"
    assert lines["killed"]["outcome"] == "failed" and "exit code -9" in lines["killed"]["error"]
    assert lines["hanging"]["outcome"] == "timeout" and lines["hanging"]["before"] == 2
    assert "loading" in lines["hanging"]["error"]
    assert lines["lacking"] == {"step": "lacking", "outcome": "skipped", "error": "not installed: vllm"}


@pytest.mark.whole
def test_damaged_figures_fail_their_step_alone(tmp_path: Path) -> None:
    write = "import os; open(os.environ['GPU_NIGHT_FIGURES'], 'ab').write({!r})"
    lines, bad = lines_of(
        tmp_path,
        ("words", write.format(b'{"a": 1}\nno JSON\n{"b": 2}\n'), 60, ()),
        ("bytes", write.format(b'\xff\xfe\n{"b": 2}\n'), 60, ()),
        ("number", write.format(b"3\n"), 60, ()),
        ("killed", write.format(b'{"a": 1}\n{"b": '), 60, ()),
        ("endless", f"{REPORT}report(a=float('nan'), b=[float('-inf'), 1.5])", 60, ()),
        ("foreign", write.format(b'{"a": NaN, "b": 1e999}\n'), 60, ()),
    )
    assert bad == 3
    assert [lines[name]["outcome"] for name in ("words", "bytes", "number")] == ["failed"] * 3
    assert "line 2 of the figures" in lines["words"]["error"] and (lines["words"]["a"], lines["words"]["b"]) == (1, 2)
    assert "utf-8" in lines["bytes"]["error"] and lines["bytes"]["b"] == 2
    assert "not a JSON object" in lines["number"]["error"]
    assert lines["killed"]["outcome"] == "ok" and lines["killed"]["a"] == 1
    assert lines["endless"]["a"] is None and lines["endless"]["b"] == [None, 1.5]
    assert lines["foreign"]["a"] is None and lines["foreign"]["b"] is None


@pytest.mark.whole
def test_a_command_that_cannot_be_started_fails_alone(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from benchmarks.night.runner import Step, run_all; "
        "steps = [Step('absent', ['/no/such/program'], 60), Step('after', [sys.executable, '-c', ''], 60)]; "
        f"sys.exit(run_all(steps, Path({str(tmp_path)!r}), 600, {{}}))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    absent, after = (json.loads(line) for line in done.stdout.splitlines())
    assert done.returncode == 1 and after["outcome"] == "ok"
    assert absent["outcome"] == "failed" and "/no/such/program" in absent["error"]


@pytest.mark.long  # It waits for processes.
@pytest.mark.whole
def test_a_step_takes_all_its_descendants_along(tmp_path: Path) -> None:
    """Also those in a session of their own whose parent has ended, which no process group finds."""
    note = tmp_path / "pid"
    orphan = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {orphan!r}], start_new_session=True)"
    code = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {parent!r}]); time.sleep(600)"
    lines, _ = lines_of(tmp_path / "logs", ("hanging", code, 5, ()), ("after", "", 60, ()))
    assert lines["hanging"]["outcome"] == "timeout" and lines["after"]["outcome"] == "ok"
    pid = int(note.read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.long  # It waits for processes.
@pytest.mark.whole
def test_a_step_that_leaves_something_running_has_failed_and_names_it(tmp_path: Path) -> None:
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    lines, bad = lines_of(tmp_path, ("leaving", code, 60, ()))
    assert bad == 1 and lines["leaving"]["outcome"] == "failed"
    assert lines["leaving"]["error"] == "left running: 1 processes"
    assert ["time.sleep(600)" in said for said in lines["leaving"]["processes_left"]] == [True]


@pytest.mark.long  # It waits for processes.
@pytest.mark.whole
def test_all_steps_together_keep_to_the_time(tmp_path: Path) -> None:
    began = time.monotonic()
    hang = "import time; time.sleep(600)"
    lines, _ = lines_of(tmp_path, ("first", hang, 3, ()), ("second", hang, 300, ()), seconds=12)
    assert [line["outcome"] for line in lines.values()] == ["timeout", "skipped"]
    assert "no time left" in lines["second"]["error"]
    assert time.monotonic() - began < 300


@pytest.mark.whole
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_steps_too(number: int, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid()) + ' '); time.sleep(600)"
    steps = [("hanging", code, 300.0, ())]
    program = RUN.format(steps=steps, logs=str(tmp_path / "logs"), seconds=600, root=str(ROOT))
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.DEVNULL)
    while not (note.exists() and note.read_text().endswith(" ")):
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert not psutil.pid_exists(int(note.read_text()))


@pytest.mark.whole
def test_a_step_gets_what_those_before_it_have_left(tmp_path: Path) -> None:
    lines, bad = lines_of(tmp_path, ("quick", "", 30, ()), ("slow", "import time; time.sleep(4)", 2, ()))
    assert bad == 0 and lines["slow"]["seconds"] > 2


def test_gpu_memory_that_a_step_keeps_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_use = iter([1 << 30, 3 << 30])
    monkeypatch.setattr(leftovers, "gpu_bytes", lambda: next(in_use))
    monkeypatch.setattr(leftovers, "memory_back", lambda before: None)
    monkeypatch.setattr(leftovers, "descendants", list)
    line = runner._run(runner.Step("keeping", [sys.executable, "-c", ""], 60), tmp_path, 60, {})
    assert line["outcome"] == "failed" and line["gpu_mib_kept"] == 2048
    assert line["error"] == "2048 MiB of GPU memory are still in use"


@pytest.mark.parametrize("gone", [None, 1.0])
@pytest.mark.parametrize("back", [None, 1.0])
def test_the_demo_and_its_kills_fail_where_something_is_left(
    gone: float | None, back: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(figures.FIGURES, str(tmp_path / "figures"))
    monkeypatch.setattr(leftovers, "gone_after", lambda seconds, members: gone)
    monkeypatch.setattr(leftovers, "memory_back", lambda before, seconds: back)
    monkeypatch.setattr(leftovers, "gpu_bytes", lambda: 5 << 20)
    left = chain._report_leftovers("chain_", 0)
    assert [said.partition(" ")[0] for said in left] == ["chain_processes"] * (gone is None) + ["chain_GPU"] * (
        back is None
    )
    with pytest.raises(SystemExit, match="chain_") if left else contextlib.nullcontext():
        chain._require_nothing(left)


@pytest.mark.whole
def test_only_the_processes_that_were_killed_have_to_be_gone() -> None:
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
    killed, other = subprocess.Popen(sleeping), subprocess.Popen(sleeping)
    try:
        members = [psutil.Process(killed.pid)]
        assert leftovers.gone_after(0.0, members) is None
        killed.kill()
        assert leftovers.gone_after(5.0, members) is not None
        assert leftovers.gone_after(0.0) is None  # The other one runs on.
    finally:
        for process in (killed, other):
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("peak", "estimate", "fits"), [(25.9, 20.9, False), (25.9, 24.4, True), (16, 21, False), (0, 21, False)]
)
def test_an_estimate_is_within_a_fifth_of_the_peak_or_its_step_fails(peak: float, estimate: float, fits: bool) -> None:
    said = tuning.unlike("packed", peak, estimate)
    assert (not said) == fits
    with contextlib.nullcontext() if fits else pytest.raises(SystemExit, match="packed: the peak of memory"):
        tuning._end(["", said])


def test_all_steps_together_fit_into_nine_minutes() -> None:
    assert gpu_night.MINUTES == 9 and "killed" in gpu_night.STEPS
    assert sum(seconds for seconds, _ in gpu_night.STEPS.values()) + runner.CLOSING_S <= 540


def test_bytecode_is_shared_where_it_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "large.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert package.bytecode(tmp_path, "large") == {} and "PYTHONDONTWRITEBYTECODE" not in os.environ
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert package.bytecode(tmp_path, "large") == {"PYTHONPYCACHEPREFIX": str(tmp_path / "bytecode")}


def test_every_step_is_a_function_and_names_modules() -> None:
    for name, (seconds, function) in gpu_night.STEPS.items():
        module, attribute = function.split(":")
        assert callable(getattr(importlib.import_module(f"benchmarks.night.{module}"), attribute))
        assert 0 < seconds < 540 and gpu_night.NEEDS[name]
        assert f"    {name} " in (gpu_night.__doc__ or "")


@pytest.mark.whole
def test_the_command_runs_from_a_checkout(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks/gpu_night.py"), "--tiny", "--only", "machine"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin"})
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout)
    assert line["step"] == "machine" and line["outcome"] == "ok" and "torch" in line["versions"]


def test_metadata_of_a_checkout_lead_vllm_to_the_plugin(tmp_path: Path) -> None:
    folder = package.describe(tmp_path / "metadata")
    (found,) = metadata.distributions(name="selfinstruct", path=[str(folder)])
    points = {(point.group, point.value) for point in found.entry_points}
    assert ("vllm.platform_plugins", "selfinstruct.engines.vllm_plugin:end_with_parent") in points
    assert any(line.startswith("torch>=") for line in found.requires or ())


@pytest.mark.parametrize("shape", [pytest.param("8b", marks=pytest.mark.long), "tiny"])  # A vocabulary of 151,936.
def test_a_shape_has_a_word_for_each_number(shape: str, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoTokenizer

    folder = models.write(shape, tmp_path / "model")
    config, tokenizer = AutoConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == config.vocab_size
    assert tokenizer.decode([config.vocab_size - 1]).strip() == f"word{config.vocab_size - 1}"
    assert tokenizer.eos_token_id == config.eos_token_id
    plain = "Name three rivers of Africa."
    assert tokenizer.decode(tokenizer(plain, add_special_tokens=False).input_ids) == plain


async def test_the_pipeline_takes_the_drawn_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(figures.FIGURES, str(tmp_path / "figures"))
    scripted = ScriptedEngine(lambda request: Completion("random weights", "length", 9, 7), latency=0.01)
    asked, speed = await engine._pipeline(scripted, tmp_path, "now", {"max_in_flight": 8}, 1.5)  # type: ignore[arg-type]
    found, wrong = figures.read(tmp_path / "figures")
    assert wrong is None
    assert found["now_proposals"] > 0 and found["now_accepted"] > 0 and found["now_tokens_per_s"] > 0
    assert len(asked) > 0 and speed == pytest.approx(found["now_tokens_per_s"], abs=1e-3)


class AtOnce(ScriptedEngine):
    """Answers four requests at a time, seven tokens each after a hundredth of a second."""

    def __init__(self) -> None:
        super().__init__(lambda request: Completion("random weights", "length", 9, 7))
        self.capacity = 4
        self._llm = SimpleNamespace(reset_prefix_cache=AsyncMock())
        self.places = asyncio.Semaphore(4)

    async def generate(self, request: Request) -> Completion:
        async with self.places:
            await asyncio.sleep(0.01)
            return await super().generate(request)


async def test_all_at_once_is_measured_while_the_places_are_full() -> None:
    requests = [Request(str(number), "", Sampling()) for number in range(2000)]
    scripted: Any = AtOnce()
    speed = await engine._at_once(scripted, requests, 0.8)
    assert 1000 < speed < 4 * 7 / 0.01, "7 tokens of each of four answers, a hundred times a second at most"
    scripted._llm.reset_prefix_cache.assert_awaited_once()
    with pytest.raises(RuntimeError, match="5 requests do not keep 4 places full"):
        await engine._at_once(scripted, requests[:5], 0.8)
