"""Where a run stands, asked from outside, also while it is going."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.dataset.export import export
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import InputError, StoppedError
from selfinstruct.records import Completion
from selfinstruct.replay import status
from selfinstruct.replay.status import Rates, RunStatus, Stage, Writer
from selfinstruct.report.page import write_report
from tests import finished_run
from tests.conftest import run_scripted, script


def shown(found: RunStatus) -> str:
    from rich.console import Console

    console = Console(width=200, highlight=False)
    with console.capture() as capture:
        console.print(status.render(found))
    return capture.get()


def done(found: RunStatus) -> list[str]:
    return [name for name, stage in found.stages.items() if stage.done]


def check_sums(found: RunStatus) -> None:
    for name in ("candidates", "instances"):
        counts = getattr(found.counts, name)
        assert counts.total == counts.accepted + counts.rejected
        assert counts.rejected == sum(counts.reasons.values())
    assert sum(asdict(found.counts.classification).values()) == found.counts.candidates.accepted
    assert sum(asdict(found.counts.requests["proposal"]).values()) == found.proposals
    assert sum(found.counts.failures.values()) == sum(kind.failed for kind in found.counts.requests.values())


def test_stage_by_stage(make_config: Any) -> None:
    config = make_config()
    run = finished_run.generated(config)
    stages = ["generate", "export", "tune", "evaluate", "report"]
    steps = [
        lambda: None,
        lambda: export(config),
        lambda: finished_run.tuned(run),
        lambda: finished_run.evaluated(run, config),
        lambda: write_report(run),
    ]
    for k, step in enumerate(steps, 1):
        step()
        found = status.status(run)
        assert json.loads(json.dumps(found.to_json())) == found.to_json()
        check_sums(found)
        assert done(found) == stages[:k]
        following = status.next_command(found)
        assert following == (f"selfinstruct {stages[k]} {run}" if k < 5 else None)
        assert (f"next: {following}" in shown(found)) == (k < 5)
    assert found.counts.complete and found.writer is None and found.rates is None


def test_every_prefix_of_a_journal_adds_up(make_config: Any) -> None:
    run = finished_run.generated(make_config())
    journal = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for length in range(len(journal)):
        (run / "journal.jsonl").write_bytes(b"".join(journal[:length]) + b'{"kind":"instances","id":"p')
        found = status.status(run)
        check_sums(found)
        assert not found.counts.complete and done(found) == []
        assert "interrupted" in shown(found)
        assert status.next_command(found) == f"selfinstruct generate --output-dir {run}"


def test_what_has_grown_makes_later_stages_old(make_config: Any) -> None:
    config = make_config()
    run = finished_run.complete(config)
    write_report(run)
    run_scripted(make_config(num_instructions=40))
    found = status.status(run)
    assert done(found) == ["generate", "tune", "evaluate"]
    assert "out of date: written at 30 instructions" in found.stages["export"].note
    assert "journal.jsonl" in found.stages["report"].note


def test_a_run_without_an_instance_is_told_and_not_to_be_tuned(make_config: Any, tmp_path: Path) -> None:
    config = make_config(num_instructions=5)
    fruitless = ScriptedEngine(lambda r: script(r) if r.key.startswith("p") else Completion("", "stop", 5, 0))
    run_scripted(config, fruitless)
    found = status.status(tmp_path / "run")
    assert found.stages["export"].note.startswith("no instance was kept for any of the 5 accepted instructions")
    assert status.next_command(found) is None and "next:" not in shown(found)
    # An export that an earlier version made of it.
    run_scripted(make_config(num_instructions=5, output_dir=str(tmp_path / "other")))
    export(make_config(output_dir=str(tmp_path / "other")))
    counts = json.loads((tmp_path / "other/dataset/export.json").read_text())
    counts["rows"]["train"] = 0
    (tmp_path / "run/dataset").mkdir()
    (tmp_path / "run/dataset/export.json").write_text(json.dumps(counts))
    assert status.next_command(status.status(tmp_path / "run")) is None


def test_a_training_that_did_not_finish(make_config: Any) -> None:
    run = finished_run.generated(make_config())
    finished_run.tuned(run, state="stopped")
    assert status.status(run).stages["tune"] == Stage(False, "recorded as stopped")


def test_saturation(make_config: Any) -> None:
    config = make_config(num_instructions=5000, saturation={"window": 5, "min_acceptance": 0.9})
    with pytest.raises(StoppedError):
        run_scripted(config)
    found = status.status(Path(config.output_dir))
    assert found.stages["generate"] == Stage(False, "saturated")
    assert "saturated" in shown(found)
    assert status.next_command(found) == f"selfinstruct export {config.output_dir}"


HOLD = """
import pathlib, sys
from selfinstruct.run.directory import RunDirectory
with RunDirectory(pathlib.Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.whole
def test_the_writer_is_seen_without_touching_its_lock(make_config: Any) -> None:
    run = finished_run.generated(make_config())
    command = [sys.executable, "-c", HOLD, str(run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        lock = (run / ".lock").stat()
        found = status.status(run)
        assert found.writer == Writer(process.pid, socket.gethostname(), True)
        assert f"process {process.pid} on" in shown(found) and status.next_command(found) is None
        after = (run / ".lock").stat()
        assert (lock.st_mtime_ns, lock.st_atime_ns) == (after.st_mtime_ns, after.st_atime_ns)
        process.kill()
        process.wait()
    assert status.status(run).writer.alive is False
    assert "has ended" in shown(status.status(run))


def test_a_later_process_with_the_same_number_is_not_the_writer(make_config: Any) -> None:
    run = finished_run.generated(make_config())
    note = run / ".lock.owner"
    note.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
    os.utime(note, (1_000_000_000, 1_000_000_000))
    assert status.status(run).writer.alive is False


def test_a_writer_on_another_machine_cannot_be_seen(make_config: Any) -> None:
    run = finished_run.generated(make_config())
    (run / ".lock.owner").write_text(json.dumps({"pid": 1, "host": "elsewhere"}))
    found = status.status(run)
    assert found.writer == Writer(1, "elsewhere", None)
    assert "state unknown" in shown(found)
    for damaged in ('{"pid": ', '{"pid": -1}', '{"pid": 0}', '{"pid": true}', '{"pid": "1"}', "[]", "null"):
        (run / ".lock.owner").write_text(damaged.replace("}", f', "host": "{socket.gethostname()}"}}'))
        assert status.status(run).writer is None


def test_asked_while_the_run_is_going(make_config: Any) -> None:
    config = make_config(num_instructions=15)
    run = Path(config.output_dir)
    seen: list[RunStatus] = []

    def watched(request: Any) -> Any:
        if len(seen) < 40:
            row = {"time": time.time(), "completion_tokens_per_s": 900.0, "accepted_per_s": 0.5, "left_s": 29.6}
            (run / "metrics.jsonl").write_text(f'{json.dumps(row)}\n{{"time": 17')
            seen.append(status.status(run))
        return script(request)

    run_scripted(config, ScriptedEngine(watched))
    for found in seen:
        check_sums(found)
        assert found.writer.alive and found.stages["generate"] == Stage(False, "going on")
        assert found.rates == Rates(900.0, 0.5, 30)
    assert any("900 tokens/s" in shown(found) for found in seen)
    assert status.status(run).counts.complete


def test_old_measurements_say_nothing(make_config: Any) -> None:
    run = finished_run.generated(make_config())
    finished_run.metrics(run)
    (run / ".lock.owner").write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
    found = status.status(run)
    assert found.writer.alive and found.rates is None


def test_an_empty_journal_is_a_run_that_has_not_begun(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_bytes(b"")
    found = status.status(tmp_path)
    assert not found.counts.complete and done(found) == []
    shown(found)


def test_no_run_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run directory"):
        status.status(tmp_path)


def test_a_long_path_is_shown_whole(make_config: Any, tmp_path: Path) -> None:
    run = finished_run.generated(make_config(output_dir=str(tmp_path / ("long-name-" * 20))))
    assert "…" not in shown(status.status(run))
