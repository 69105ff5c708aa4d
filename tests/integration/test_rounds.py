"""Two rounds of `iterate`, real: vLLM, TRL and the embedded model, interrupted once; and outputs written again."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import rouge
from tests.conftest import journal_lines
from tests.integration.commands import interrupted, selfinstruct

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(3000)]

CONFIG: dict[str, Any] = {
    "model": "demo",
    "num_instructions": 16,
    "window": 8,
    "max_in_flight": 32,
    "proposal": {"max_tokens": 300, "presence_penalty": 0.0, "top_p": 0.9},
    "instances": {"max_tokens": 96, "presence_penalty": 0.0},
    "export": {"validation_unseen": 0.3, "validation_seen": 0.0},
    "evaluate": {"max_tokens": 24, "num_resamples": 200, "limit": 40},
    "tune": {"max_steps": 5, "per_device_train_batch_size": 4, "learning_rate": 1e-3},
    "rounds": {"num_rounds": 2},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Two finished rounds, interrupted in the generation of the second, and what `--json` said at the end."""
    folder = tmp_path_factory.mktemp("rounds")
    out, config = folder / "out", folder / "config.yaml"
    config.write_text(yaml.safe_dump(CONFIG | {"output_dir": str(out)}))
    interrupted("iterate", str(config), journal=out / "round-02" / "journal.jsonl", patience=1500)
    before = {path: path.stat().st_mtime_ns for path in (out / "round-01").rglob("*") if path.is_file()}
    done = selfinstruct("iterate", str(config), "--json")
    assert done.returncode == 0, done.stderr
    after = {path: path.stat().st_mtime_ns for path in (out / "round-01").rglob("*") if path.is_file()}
    assert after == before, "the round that was done is not touched"
    return out, json.loads(done.stdout)


def accepted(run: Path) -> list[str]:
    lines = [line for line in journal_lines(run) if line["kind"] == "proposal"]
    return [c["instruction"] for line in lines for c in line.get("candidates", ()) if c["accepted"]]


def rows(run: Path, split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "dataset" / f"{split}.jsonl").open(encoding="utf-8")]


def test_each_round_is_a_whole_run(finished: tuple[Path, dict[str, Any]]) -> None:
    out, found = finished
    assert [row["run"] for row in found["rounds"]] == ["round-01", "round-02"]
    for row in found["rounds"]:
        status = json.loads(selfinstruct("status", str(out / row["run"]), "--json").stdout)
        assert all(stage["done"] for stage in status["stages"].values()), status["stages"]
        assert "rouge_l" in row["scores"]["eval_tasks"]
    assert found == json.loads((out / "rounds.json").read_text())
    assert (out / "best").readlink() == Path(found["best"])
    assert (out / "report.html").read_text().lower().startswith("<!doctype html>")


def test_the_second_round_is_the_tuned_model_s_and_new(finished: tuple[Path, dict[str, Any]]) -> None:
    out, _ = finished
    headers = [journal_lines(out / run)[0] for run in ("round-01", "round-02")]
    assert headers[1]["identity"]["model"] == str(out / "round-01" / "model")
    assert {header["resolved"]["style"] for header in headers} == {"completion"}
    trained = [
        json.loads((out / run / "model" / "training.json").read_text())["model"] for run in ("round-01", "round-02")
    ]
    assert trained[0] == trained[1], "both rounds tune the original model"
    scorer = rouge.scorer()
    first, second = accepted(out / "round-01"), accepted(out / "round-02")
    assert len(first) == 16 and second
    for new in second:
        assert max(scorer.score(old, new)["rougeL"].fmeasure for old in first) <= 0.7


def test_the_second_round_trains_on_both(finished: tuple[Path, dict[str, Any]]) -> None:
    out, found = finished
    for split in ("train", "validation_unseen"):
        earlier = [row["output"] for row in rows(out / "round-02", split) if row["origin"] == "earlier"]
        assert earlier == [row["output"] for row in rows(out / "round-01", split)]
    assert found["rounds"][1]["train_rows"] > found["rounds"][0]["train_rows"]
    assert found["rounds"][1]["held_out"]["n"] == found["rounds"][0]["held_out"]["n"] > 0


def test_running_again_does_nothing(finished: tuple[Path, dict[str, Any]]) -> None:
    out, found = finished
    began = time.monotonic()
    again = selfinstruct("iterate", str(out.parent / "config.yaml"), "--json")
    assert (again.returncode, json.loads(again.stdout)) == (0, found), again.stderr
    assert "starting the engine" not in again.stderr, f"after {time.monotonic() - began:.0f} s"


def test_outputs_written_again_by_the_tuned_model(finished: tuple[Path, dict[str, Any]]) -> None:
    out, _ = finished
    new = out.parent / "rewritten"
    words = ["regenerate", str(out / "round-01"), "--model", str(out / "round-01" / "model"), "-o", str(new)]
    done = selfinstruct(*words, "--max-tokens", "32")
    assert done.returncode == 0, done.stderr
    outputs = json.loads(selfinstruct("status", str(new), "--json").stdout)["outputs"]
    assert outputs["pending"] == 0
    parts = ("rewritten", "unchanged", "rejected", "failed")
    assert outputs["total"] == sum(outputs[part] for part in parts) > 0
    assert selfinstruct("export", str(new)).returncode == 0
    questions = [[(r["instruction"], r["input"]) for r in rows(run, "train")] for run in (out / "round-01", new)]
    assert questions[0] == questions[1]
