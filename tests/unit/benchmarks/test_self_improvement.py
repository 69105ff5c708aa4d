"""The proof that a model gets better by its own checked answers: its rows, its copies, its table."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import self_improvement as proof
from selfinstruct.chain import chain
from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.formats import jsonl
from selfinstruct.records import Completion
from selfinstruct.replay.refilter import refilter
from selfinstruct.run.directory import RunDirectory
from tests.conftest import run_scripted, script
from tests.evaluation_fakes import Starter, says
from tuning.evaluation.evaluation import evaluate

pytestmark = pytest.mark.whole

LATER = 'title: boats\n\n12 boats and 13 boats; for example, is it "small"?'
"""An answer that keeps many constraints that the first one breaks."""


def answers(request: Request) -> Completion:
    if not request.key.startswith("answer/"):
        return script(request)
    return Completion(LATER if request.key.endswith("#1") else "I think it is a boat!", "stop", 5, 5)


@pytest.fixture
def runs(make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[RunDirectory, RunDirectory]:
    """A run with constraints, and the same without the check; commands act in this process."""
    verified, unverified = RunDirectory(tmp_path / "verified"), RunDirectory(tmp_path / "unverified")
    options: dict[str, Any] = {"answering": "separate", "constraints": {"share": 1.0}, "num_instructions": 40}
    splits = {"validation_seen": 0.0, "validation_unseen": 0.0}
    config = make_config(**options, answer={"num_samples": 2}, export=splits, output_dir=str(verified.path))
    run_scripted(config, ScriptedEngine(answers, has_chat_template=True))
    chain.export(config)

    def command(name: str, path: Path, *words: Any, **_: Any) -> None:
        if name == "refilter":
            refilter(path, Path(words[1]), config.filters.model_copy(update={"constraint": "off"}))
        else:
            chain.export(RunDirectory(path).config())

    monkeypatch.setattr(proof, "command", command)
    proof.refilter(verified, unverified)
    return verified, unverified


def test_both_arms_have_as_many_rows_of_one_journal(runs: tuple[RunDirectory, RunDirectory]) -> None:
    figures = proof.rows_of(*runs)
    assert figures["rows"]["verified"] == figures["rows"]["unverified"] > 0
    assert figures["first_verified"] < figures["any_verified"]
    again = [run.dataset.split("train").read_bytes() for run in runs]
    proof.refilter(*runs)
    assert [run.dataset.split("train").read_bytes() for run in runs] == again
    checked = [row for row in proof.rows_in(runs[0]) if "constraints" in row]
    broken = [row for row in proof.rows_in(runs[1]) if "constraints" in row and row not in proof.rows_in(runs[0])]
    assert checked and broken


def test_another_tuning_takes_the_rows_and_the_answers_of_the_base(
    runs: tuple[RunDirectory, RunDirectory], tmp_path: Path
) -> None:
    kept = runs[0].evaluation.path / "kept"
    for name in ("constraints-base", "constraints-tuned", "constraints-unverified"):
        jsonl.write_text(kept / f"{name}.jsonl", "{}\n")
    runs[0].evaluation.scores_path.write_text("{}")
    (runs[0].path / "model").mkdir()
    proof.copy_data(tmp_path, tmp_path / "second")
    copied = RunDirectory(tmp_path / "second" / "verified")
    assert copied.journal.exists() and copied.dataset.split("train").exists() and not copied.model.path.exists()
    assert [path.name for path in copied.evaluation.path.rglob("*.jsonl")] == ["constraints-base.jsonl"]
    assert not copied.evaluation.scores_path.exists()


def test_a_tuning_forgets_the_arguments_of_an_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(proof, "command", lambda *words: called.extend(map(str, words)))
    proof.tune(Namespace(tune="--learning-rate 1e-5 --max-steps 3"), RunDirectory(tmp_path))
    assert called == ["tune", str(tmp_path), *"--unset all --learning-rate 1e-5 --max-steps 3".split()]


def test_the_first_prompts_of_a_packaged_file(tmp_path: Path) -> None:
    assert proof.cut(Namespace(prompts=None, out=tmp_path), "ifeval_prompts") == "ifeval_prompts"
    path = Path(proof.cut(Namespace(prompts=3, out=tmp_path), "ifeval_prompts"))
    assert len(path.read_text().splitlines()) == 3


def test_the_small_size_gives_way_to_what_is_said() -> None:
    plain, small = (
        proof.parse(["--out", "x", *words]) for words in ([], ["--small", "--limit", "3", "--set", "seed=7"])
    )
    assert (plain.instructions, plain.limit, plain.prompts, plain.set) == (500, 40, None, [])
    assert (small.instructions, small.limit, small.prompts) == (proof.SMALL["instructions"], 3, proof.SMALL["prompts"])
    assert small.set == [*proof.SMALL["set"], "seed=7"] and plain.set == []


def test_the_scores_of_an_evaluation_become_the_table(make_config: Any, tmp_path: Path) -> None:
    task = {"id": "e", "instruction": "Say.", "instances": [{"input": "", "output": "a"}], "is_classification": False}
    lower = {"type": "case/lower", "parameters": {}, "text": "Use small letters only."}
    prompts = [{"id": f"c{k}", "request": f"Name colour {k}", "constraints": [lower]} for k in range(8)]
    (tmp_path / "text.txt").write_text("A river runs to the sea.")
    jsonl.write(tmp_path / "eval_tasks.jsonl", [task])
    jsonl.write(tmp_path / "prompts.jsonl", prompts)
    config = make_config(
        evaluate={
            "tasks": [str(tmp_path / "eval_tasks.jsonl")],
            "constraints": str(tmp_path / "prompts.jsonl"),
            "plain_text": [str(tmp_path / "text.txt")],
            "num_resamples": 200,
        }
    )
    run = RunDirectory(tmp_path / "run")
    for folder in (run.dataset.path, run.model.path, tmp_path / "other"):
        folder.mkdir(parents=True)
    for folder in (run.model.path, tmp_path / "other"):
        (folder / "config.json").write_text("{}")
    start = Starter(scripted=says("Blue"), model=says("blue"), other=says("Blue"))
    evaluate(config, run, [f"unverified={tmp_path / 'other'}"], start=start)
    found = proof.scores_of(run)
    assert found["arms"]["tuned"]["held-out prompts, %"] == 100
    assert found["differences"]["verified - unverified"]["held-out prompts, %"] == [100, 100, 100]
    assert found["arms"]["base"]["IFEval form, prompts, %"] is None
    shown = proof.table({"rows": {}, "seconds": {}, **found})
    assert "| held-out prompts, % | 0.00 | 0.00 | 100.00 | +100.00 (+100.00 to +100.00) |" in shown


def test_the_table_has_arms_and_differences() -> None:
    about = {"ROUGE-L": 12.0, "plain text, bits per byte": None}
    figures = {
        "rows": {"verified": 5, "unverified": 5},
        "any_verified": 0.5,
        "seconds": {},
        "arms": {"base": about, "unverified": about, "tuned": about},
        "differences": {"verified - base": {"ROUGE-L": [1.5, -0.5, 3.0]}, "verified - base-few-shot": {}},
    }
    assert proof.table(figures).splitlines()[-4:] == [
        "| | before | unverified | verified | verified - base |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| ROUGE-L | 12.00 | 12.00 | 12.00 | +1.50 (-0.50 to +3.00) |",
        "| plain text, bits per byte |  |  |  |  |",
    ]
