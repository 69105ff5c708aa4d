"""The whole chain, real: vLLM, TRL and the embedded model, through the command line as a user would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfinstruct.engines.processes import lives
from selfinstruct.run.journal import read_lines
from selfinstruct.run.state import replay
from tests import rouge
from tests.conftest import journal_lines
from tests.integration.commands import bereft_of_its_engine, interrupted, selfinstruct

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

CONFIG: dict[str, Any] = {
    "model": "demo",
    "num_instructions": 24,
    "window": 8,
    "max_in_flight": 32,
    "proposal": {"max_tokens": 300, "presence_penalty": 0.0, "top_p": 0.9},
    "instances": {"max_tokens": 96, "presence_penalty": 0.0},
    "export": {"validation_unseen": 0.2, "validation_seen": 0.2},
    "evaluate": {"max_tokens": 24, "num_resamples": 200, "limit": 40},
    "tune": {"max_steps": 3, "per_device_train_batch_size": 4},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished run, and the stderr of its last start. A person interrupted the first; the second lost its engine."""
    folder = tmp_path_factory.mktemp("chain")
    run, config = folder / "run", folder / "config.yaml"
    config.write_text(yaml.safe_dump(CONFIG | {"output_dir": str(run)}))
    interrupted("run", str(config), journal=run / "journal.jsonl", patience=600)
    before = journal_lines(run)
    said, engine = bereft_of_its_engine("run", str(config), run=run, patience=600)
    assert journal_lines(run)[: len(before)] == before
    assert not list(filter(lives, engine))
    return run, said


def test_a_killed_engine_is_replaced_and_nothing_is_lost(finished: tuple[Path, str]) -> None:
    run, said = finished
    lines = journal_lines(run)
    followed = [(line["kind"], line["id"]) for line in lines if line["kind"] in ("classification", "instances")]
    assert len(followed) == len(set(followed))
    state = replay(read_lines(run / "journal.jsonl"))
    assert state.complete and not state.failures.keys() & {("proposal", "refused")}
    cause = "vLLM's engine died: killed by SIGKILL"
    assert cause in said and said.count("the engine is back") >= 1
    metrics = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
    restarts = [row for row in metrics if row.get("event") == "engine_restarted"]
    assert restarts and cause in restarts[0]["cause"] and restarts[0]["resent"] >= 1
    assert not (run / ".engine.json").exists()


def test_the_target_is_met_and_everything_accepted_is_novel(finished: tuple[Path, str]) -> None:
    run, _ = finished
    lines = journal_lines(run)
    assert [line["n"] for line in lines if line["kind"] == "proposal"] == list(
        range(sum(line["kind"] == "proposal" for line in lines))
    )
    accepted = [
        c["instruction"]
        for line in lines
        for c in line.get("candidates", ())
        if line["kind"] == "proposal" and c["accepted"]
    ]
    assert len(accepted) == CONFIG["num_instructions"]
    seeds = [json.loads(line)["instruction"] for line in (Path(__file__).parents[2] / "seeds/seed_tasks.jsonl").open()]
    scorer = rouge.scorer()
    for place, text in enumerate(accepted):
        assert max(scorer.score(earlier, text)["rougeL"].fmeasure for earlier in seeds + accepted[:place]) <= 0.7


def test_status_adds_up(finished: tuple[Path, str]) -> None:
    run, _ = finished
    found = json.loads(selfinstruct("status", str(run), "--json").stdout)
    text = json.dumps(found)
    assert "candidates" in text
    counts = found["candidates"] if "candidates" in found else found["counts"]["candidates"]
    assert counts["total"] == counts["accepted"] + sum(counts["reasons"].values())


def test_the_tuned_model_loads_with_its_template_and_end_token(finished: tuple[Path, str]) -> None:
    run, _ = finished
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert json.loads((run / "model/training.json").read_text())["method"] == "full"
    model = AutoModelForCausalLM.from_pretrained(run / "model")
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    messages = [{"role": "user", "content": "Name a river."}, {"role": "assistant", "content": "The Volta."}]
    marked = tokenizer.apply_chat_template(messages, return_assistant_tokens_mask=True, return_dict=True)
    trained = [i for i, m in zip(marked["input_ids"], marked["assistant_masks"], strict=True) if m]
    assert tokenizer.decode(trained, skip_special_tokens=True).strip() == "The Volta."
    assert tokenizer.eos_token_id in trained
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id


def test_scores_and_report(finished: tuple[Path, str]) -> None:
    run, said = finished
    scores = json.loads((run / "evaluation/scores.json").read_text())
    assert {"base", "base-few-shot", "tuned"} <= scores["arms"].keys()
    assert all(c["low"] <= c["difference"] <= c["high"] for c in scores["comparisons"])
    assert scores["verdict"]
    assert (run / "report.html").read_text().lower().startswith("<!doctype html>")
    assert "is complete" in said


def test_running_again_does_nothing_and_says_so(finished: tuple[Path, str]) -> None:
    run, _ = finished
    before = {path: path.stat().st_mtime_ns for path in [run / "journal.jsonl", run / "model/model.safetensors"]}
    again = selfinstruct("run", str(run.parent / "config.yaml"))
    assert again.returncode == 0, again.stderr
    assert "up to date" in again.stderr
    assert before == {path: path.stat().st_mtime_ns for path in before}
