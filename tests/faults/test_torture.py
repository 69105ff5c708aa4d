"""`make torture`: runs are killed at random, very often. TORTURE_KILLS and TORTURE_VLLM_KILLS say how often.

The draw is a new one each time; TORTURE_SEED=N, printed at the start, repeats one as far as the machine's timing does.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from selfinstruct.config.load import dump_yaml
from selfinstruct.replay.status import status
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import read_lines
from selfinstruct.run.lines import to_json
from selfinstruct.run.state import replay
from tests.conftest import run_scripted
from tests.faults.driven import ENDED_BY_SIGNAL, ROOT, Driven, kill_until_done, listen
from tests.faults.same import assert_same, exported

pytestmark = [pytest.mark.long, pytest.mark.timeout(0)]

KILLS = int(os.environ.get("TORTURE_KILLS", "200"))
VLLM_KILLS = int(os.environ.get("TORTURE_VLLM_KILLS", "10"))
SEED = int(os.environ.get("TORTURE_SEED", "0")) or random.randrange(10**6)
SIGNALS = [signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
KILLS_PER_RUN = 20


def _say(counts: Counter[str], **more: Any) -> None:
    print(f"TORTURE_SEED={SEED}", *(f"{name} {n}," for name, n in sorted(counts.items())), more, flush=True)


@pytest.mark.skipif(KILLS == 0, reason="TORTURE_KILLS=0")
def test_scripted_runs_end_identically(make_config: Any, tmp_path: Path) -> None:
    """Kill each run up to 20 times; cut the last lines of some as well. There is no power loss here."""
    draw = random.Random(SEED)
    kills, runs = Counter[str](), 0
    while (done := sum(kills[signal.Signals(s).name] for s in set(SIGNALS))) < KILLS:
        values = {
            "num_instructions": draw.choice([25, 60, 120]),
            "window": draw.choice([1, 5, 17]),
            "window_share": draw.choice([0.0, 0.25]),
            "max_in_flight": draw.choice([2, 12, 60]),
            "seed": draw.randrange(10**6),
        }
        whole = make_config(output_dir=str(tmp_path / f"whole-{runs}"), **values)
        run_scripted(whole)
        interval = draw.choice([0.0, 0.05, 1.0])
        config = make_config(output_dir=str(tmp_path / f"killed-{runs}"), **values | {"fsync_interval": interval})
        driven = Driven(tmp_path, config, latency=draw.choice([0.0, 0.02, 0.1]))
        kills += kill_until_done(driven, draw, SIGNALS, most_kills=min(KILLS_PER_RUN, KILLS - done))
        assert_same(config, whole)
        runs += 1
        _say(kills, runs=runs)


# --------------------------------------------------------------------------------------------------------- real vLLM


@pytest.mark.integration
@pytest.mark.skipif(VLLM_KILLS == 0, reason="TORTURE_VLLM_KILLS=0")
def test_vllm_runs_keep_every_invariant(make_config: Any, tmp_path: Path) -> None:
    """Assert: nothing committed is lost, changed or doubled, no process is left, and the export can be loaded."""
    draw = random.Random(SEED)
    engine = {"enforce_eager": True, "max_num_seqs": 32}
    config = make_config(
        model="demo",
        seeds=("seed_tasks",),
        output_dir=str(tmp_path / "run"),
        num_instructions=100_000,
        window=16,
        window_share=0.25,
        max_in_flight=48,
        fsync_interval=1.0,
        engine=engine,
    )
    run, kills = RunDirectory(tmp_path / "run"), Counter[str]()
    for k in range(VLLM_KILLS + 1):
        if k == VLLM_KILLS:  # A last one, to its end: a little more than there is.
            reached = len(replay(read_lines(run.journal)).pool)
            config = config.model_copy(update={"num_instructions": reached + 5})
            _shrink_target(run, config.num_instructions)
        file = tmp_path / "config.yaml"
        file.write_text(dump_yaml(config))
        before = run.journal.read_bytes() if run.journal.exists() else b""
        with (tmp_path / "said.txt").open("w+") as said:
            command = [sys.executable, "-m", "selfinstruct", "generate", "--config", str(file)]
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=said, stderr=said, stdin=subprocess.DEVNULL, preexec_fn=listen
            )
            family: dict[int, psutil.Process] = {}
            number = None
            if k < VLLM_KILLS:
                number = draw.choice(SIGNALS)
                least = before.count(b"\n") + draw.randint(0, 60)
                _watch(process, family, until=lambda least=least: _lines(run) > least)
                if draw.random() < 0.8:
                    time.sleep(draw.random())
                process.send_signal(number)
            while process.poll() is None:
                _watch(process, family, until=lambda: True)
                time.sleep(0.05)
            text = (tmp_path / "said.txt").read_text()
        assert process.returncode in (ENDED_BY_SIGNAL if k < VLLM_KILLS else {0}), text
        assert "Traceback" not in text and "never retrieved" not in text, text
        _assert_gone(family)
        assert any("EngineCore" in name for name in map(_name, family.values())) or len(family) > 1
        data = run.journal.read_bytes() if run.journal.exists() else b""
        assert data.startswith(before[: before.rfind(b"\n") + 1]), "something committed was lost"
        if data:
            found = status(run.path).to_json()
            _assert_sums(found, list(map(to_json, read_lines(run.journal))))
        if number is not None:
            kills[signal.Signals(number).name] += 1
        _say(kills, lines=_lines(run))
    rows = exported(config)
    assert rows
    from datasets import load_dataset

    loaded = load_dataset(str(run.dataset.path))
    assert sum(split.num_rows for split in loaded.values()) > 0


def _shrink_target(run: RunDirectory, target: int) -> None:
    """Give the run a target that it can reach: a recorded target can only be raised."""
    lines = run.journal.read_bytes().split(b"\n")
    header = json.loads(lines[0])
    header["num_instructions"] = target
    run.journal.write_bytes(b"\n".join([json.dumps(header).encode(), *lines[1:]]))


def _lines(run: RunDirectory) -> int:
    return run.journal.read_bytes().count(b"\n") if run.journal.exists() else 0


def _watch(process: subprocess.Popen[bytes], family: dict[int, psutil.Process], until: Any) -> None:
    """Collect every process that is started below this one, until this moment or until the process ends."""
    while process.poll() is None:
        try:
            family.update({p.pid: p for p in psutil.Process(process.pid).children(recursive=True)})
        except psutil.NoSuchProcess:
            return
        if until():
            return
        time.sleep(0.05)


def _name(process: psutil.Process) -> str:
    try:
        return f"{process.name()} {' '.join(process.cmdline())}"
    except psutil.NoSuchProcess:
        return ""


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _assert_gone(family: dict[int, psutil.Process]) -> None:
    end = time.monotonic() + 30
    while any(map(_alive, family.values())) and time.monotonic() < end:
        time.sleep(0.1)
    left = [_name(p) for p in family.values() if _alive(p)]
    assert not left, f"processes stayed behind: {left}"


def _assert_sums(found: dict[str, Any], lines: list[dict[str, Any]]) -> None:
    proposals = [x for x in lines if x["kind"] == "proposal"]
    assert [x["n"] for x in proposals] == list(range(len(proposals)))
    for kind in ("classification", "instances"):
        ids = [x["id"] for x in lines if x["kind"] == kind]
        assert len(ids) == len(set(ids)), f"a {kind} is there twice"
    candidates = [c for x in proposals for c in x.get("candidates", ())]
    assert len({c["id"] for c in candidates}) == len(candidates)
    counts = found["candidates"]
    assert counts["total"] == len(candidates) == counts["accepted"] + counts["rejected"]
    assert counts["rejected"] == sum(counts["reasons"].values())
    by_kind = Counter(x["kind"] for x in lines)
    for kind, requests in found["requests"].items():
        assert requests["committed"] + requests["failed"] == by_kind[kind]
