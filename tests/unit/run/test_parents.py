"""Runs that build on earlier ones: novelty, examples, identity, and the union of their datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.config.schema import Config
from selfinstruct.dataset.export import export
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import ConfigError, InputError
from selfinstruct.records import SPLITS
from selfinstruct.report.page import write_report
from selfinstruct.run import parents
from tests import rouge
from tests.conftest import Once, journal_lines, run_scripted, script

SHARES = {"validation_unseen": 0.2, "validation_seen": 0.3}


@pytest.fixture
def first(make_config: Any, tmp_path: Path, once: Once) -> Config:
    config: Config = make_config(output_dir=str(tmp_path / "first"), export=SHARES)
    once(lambda: run_scripted(config))
    return config


@pytest.fixture
def second(first: Config, make_config: Any, tmp_path: Path, once: Once) -> Config:
    config: Config = make_config(
        output_dir=str(tmp_path / "second"), parent_runs=[str(first.output_dir)], export=SHARES
    )
    once(lambda: run_scripted(config))
    return config


def accepted(config: Config) -> list[str]:
    candidates = [
        c
        for line in journal_lines(Path(str(config.output_dir)))
        if line["kind"] == "proposal"
        for c in line.get("candidates", ())
    ]
    return [c["instruction"] for c in candidates if c["accepted"]]


def rows(config: Config, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(str(config.output_dir)) / "dataset" / f"{name}.jsonl").open()]


def test_new_instructions_are_novel_against_those_of_earlier_runs(first: Config, make_config: Any) -> None:
    """The script knows few words, so that without the earlier pool the two runs would meet."""
    scorer = rouge.scorer()

    def nearest(of: list[str]) -> float:
        return max(scorer.score(old, new)["rougeL"].fmeasure for old in accepted(first) for new in of)

    alone, on_top = make_config(output_dir=f"{first.output_dir}-alone", seed=7), None
    run_scripted(alone)
    assert nearest(accepted(alone)) > 0.7, "or the test shows nothing"
    on_top = make_config(output_dir=f"{first.output_dir}-on-top", seed=7, parent_runs=[str(first.output_dir)])
    run_scripted(on_top)
    assert nearest(accepted(on_top)) <= 0.7
    evidence = [
        c["evidence"]["nearest"]["id"]
        for line in journal_lines(Path(str(on_top.output_dir)))
        for c in line.get("candidates", ())
        if c.get("reason") == "near_duplicate"
    ]
    named = {i.id: i.text for i in parents.load_parents(on_top.parent_runs).instructions}
    assert any(name in named for name in evidence), "evidence names instructions of the earlier run"


def test_evidence_names_the_text_it_means(first: Config, second: Config) -> None:
    texts = {i.id: i.text for i in parents.load_parents(second.parent_runs).instructions}
    scorer, found = rouge.scorer(), 0
    for line in journal_lines(Path(str(second.output_dir))):
        for candidate in line.get("candidates", ()):
            near = (candidate.get("evidence") or {}).get("nearest") or {}
            if near.get("id") in texts:
                score = scorer.score(texts[near["id"]], candidate["instruction"])["rougeL"].fmeasure
                assert score == pytest.approx(near["score"])
                found += 1
            if candidate.get("nearest_seed"):
                assert candidate["nearest_seed"]["id"].startswith("s"), "the nearest seed is a seed"
    assert found


def test_prompts_show_instructions_of_earlier_runs_from_the_first_on(first: Config, make_config: Any) -> None:
    engine = ScriptedEngine(script)
    config = make_config(output_dir=f"{first.output_dir}-2", parent_runs=[str(first.output_dir)])
    run_scripted(config, engine)
    proposals = [line for line in journal_lines(Path(str(config.output_dir))) if line["kind"] == "proposal"]
    assert sum(name.startswith("first/") for name in proposals[0]["examples"]) == 2
    prompt = next(r.prompt for r in engine.history if r.key == "proposal/0")
    texts = {i.id: i.text for i in parents.load_parents(config.parent_runs).instructions}
    assert all(texts[name] in prompt for name in proposals[0]["examples"] if name in texts)
    own = {name for line in proposals for name in line["examples"] if name.startswith("p")}
    assert own, "what the run itself accepted is shown as well"


def test_earlier_runs_are_part_of_what_a_run_is(first: Config, second: Config, make_config: Any) -> None:
    with pytest.raises(ConfigError, match=r"earlier_sha256: recorded '.*', now None"):
        run_scripted(second.model_copy(update={"parent_runs": ()}))
    run_scripted(first.model_copy(update={"num_instructions": 31}))
    with pytest.raises(ConfigError, match="earlier_sha256"):
        run_scripted(second.model_copy(update={"num_instructions": 31}))
    with pytest.raises(InputError, match="changed since"):
        export(second)


def test_a_run_without_earlier_ones_is_what_it_was(first: Config) -> None:
    identity = journal_lines(Path(str(first.output_dir)))[0]["identity"]
    assert not {"earlier", "earlier_sha256"} & identity.keys()


def test_an_interrupted_run_on_top_of_another_continues_the_same(second: Config) -> None:
    journal = Path(str(second.output_dir)) / "journal.jsonl"
    whole = sorted(journal.read_bytes().splitlines())
    lines = journal.read_bytes().splitlines(keepends=True)
    for kept in (1, 2, len(lines) // 2, len(lines) - 1):
        journal.write_bytes(b"".join(lines[:kept]))
        run_scripted(second)
        assert sorted(journal.read_bytes().splitlines()) == whole


def test_runs_of_the_same_name_cannot_be_told_apart(first: Config, make_config: Any) -> None:
    with pytest.raises(ConfigError, match="have the same name"):
        run_scripted(make_config(parent_runs=[str(first.output_dir), str(first.output_dir)]))
    with pytest.raises(InputError, match="is not a run directory"):
        run_scripted(make_config(parent_runs=["nowhere"]))


def test_the_dataset_holds_all_runs_and_every_row_keeps_its_split(first: Config, second: Config) -> None:
    export(first)
    counts = export(second)
    for name in SPLITS:
        before, now = rows(first, name), rows(second, name)
        assert [r["id"] for r in now[: len(before)]] == [f"first/{r['id']}" for r in before]
        assert [r["output"] for r in now[: len(before)]] == [r["output"] for r in before]
        assert {r["origin"] for r in now[: len(before)]} <= {"earlier"}
        assert {r["origin"] for r in now[len(before) :]} <= {"generated"}
        assert counts.parents.rows[name] == len(before)
        assert counts.rows[name] == len(now)
    ids = [r["id"] for name in SPLITS for r in rows(second, name)]
    assert len(ids) == len(set(ids))
    own = sum(counts.rows.values()) - sum(counts.parents.rows.values())
    assert own == counts.instances.accepted, "counts of the run itself still add up"
    run = Path(str(second.output_dir))
    assert len(json.loads((run / "dataset" / "alpaca.json").read_text())) == counts.rows["train"]
    written = (run / "dataset" / "self_instruct" / "machine_generated_instructions.jsonl").read_text()
    assert [json.loads(line)["instruction"] for line in written.splitlines()] == accepted(first) + accepted(second)
    assert (
        f"| parent runs included | 1: {counts.parents.instructions.with_instances} instructions"
        in (run / "dataset" / "README.md").read_text()
    )
    page = write_report(run).read_text()
    assert "Instances at the export" in page


def test_left_out_rows_of_earlier_runs_are_counted_apart(first: Config, second: Config, tmp_path: Path) -> None:
    export(first)
    victim = rows(first, "train")[0]["instruction"]
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text(
        json.dumps({"id": "e", "instruction": victim, "instances": [{"output": "x"}], "is_classification": False})
    )
    strict = Config.model_validate(
        second.model_dump() | {"evaluate": {"tasks": [str(tasks)]}, "export": SHARES | {"eval_threshold": 0.99}}
    )
    counts = export(strict)
    assert counts.instructions.left_out == {}
    assert counts.parents.instructions.left_out == {"near_evaluation_task": 1}
    found = counts.parents
    assert sum(found.rows.values()) + sum(found.instances.left_out.values()) == found.instances.accepted
    card = (Path(str(second.output_dir)) / "dataset" / "README.md").read_text()
    assert "with 1 whole instructions, were left out" in card
