"""Pairs of a kept and a bad answer to the same question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selfinstruct.chain import chain
from selfinstruct.constraints import keeps
from selfinstruct.dataset.convert import convert
from selfinstruct.dataset.preferences import preferences
from selfinstruct.dataset.tuner_files import llama_factory_entry
from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.formats import jsonl
from selfinstruct.formats.families import FAMILIES, family_named
from selfinstruct.records import Completion, Constraint, Sample
from selfinstruct.run.answer_scores import Place
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import read_lines
from selfinstruct.run.lines import AnswerLine, InstanceCandidate
from tests import tiny_model
from tests.conftest import run_scripted, script

SMALL = Constraint("case/lower", {}, "Use small letters only.")


def line(*candidates: tuple[str, str | None], **values: Any) -> AnswerLine:
    decided = tuple(InstanceCandidate("", text, reason is None, reason) for text, reason in candidates)
    completion = Completion("", "stop", further=(Sample("", "stop"),) * (len(candidates) - 1))
    return AnswerLine("p000000-00", 0, completion, candidates=decided, **values)


def pairs(*lines: AnswerLine, train: str = "p000000-00") -> list[dict[str, Any]]:
    return list(preferences(lines, {"p000000-00": "Name a river"}, {train}))


def test_a_broken_constraint_is_the_bad_answer() -> None:
    (pair,) = pairs(line(("x x x", "loop"), ("The Nile", "constraint"), ("the nile", None), constraints=(SMALL,)))
    assert pair == {
        "id": "p000000-00-0",
        "prompt": [{"role": "user", "content": "Name a river. Use small letters only."}],
        "chosen": [{"role": "assistant", "content": "the nile"}],
        "rejected": [{"role": "assistant", "content": "The Nile"}],
        "reason": "constraint",
    }


def test_where_there_is_no_bad_or_no_kept_answer_there_is_no_pair() -> None:
    assert not pairs(line(("a", None), ("b", "not_chosen"), ("a", "duplicate_instance")))
    assert not pairs(line(("a", "constraint"), ("b", "loop")))
    assert not pairs(line((" ", "empty_output"), ("b", None)))
    assert not pairs(line(("a", "loop"), ("b", None)), train="p000000-01")
    assert [pair["reason"] for pair in pairs(line(("a", "loop"), ("b", None)))] == ["loop"]


def test_of_good_answers_the_best_and_the_worst_are_a_pair_once_they_have_scores() -> None:
    good = line(("a", None), ("b", "not_chosen"), ("c", "not_chosen"), ("d", "not_chosen"))
    scores = {Place("p000000-00", 0, k): value for k, value in enumerate([3.0, 4.5, 1.5])}

    def paired(of: AnswerLine, values: dict[Place, float]) -> list[dict[str, Any]]:
        return list(preferences([of], {"p000000-00": "Name a river"}, {"p000000-00"}, values))

    (pair,) = paired(good, scores)
    assert (pair["chosen"][0]["content"], pair["rejected"][0]["content"]) == ("b", "c")
    assert (pair["reason"], pair["scores"]) == ("low_score", [4.5, 1.5])
    assert not paired(good, dict.fromkeys(scores, 3.0)) and not paired(good, {})
    # What a filter rejects is the bad one, whatever its score.
    (sure,) = paired(line(("a", None), ("b", "constraint")), scores)
    assert (sure["rejected"][0]["content"], sure["reason"]) == ("b", "constraint")


def answers(request: Request) -> Completion:
    if not request.key.startswith("answer/"):
        return script(request)
    return Completion("a small boat" if request.key.endswith("#1") else "A boat, I think!", "stop", 5, 5)


def test_an_export_writes_them_when_asked(make_config: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"answering": "separate", "constraints": {"share": 1.0}, "answer": {"num_samples": 2}}
    config = make_config(**options, num_instructions=40, export={"preferences": True})
    run_scripted(config, ScriptedEngine(answers, has_chat_template=True))
    chain.export(config)
    run = RunDirectory(tmp_path / "run")
    written = [json.loads(text) for text in run.dataset.preferences.read_text().splitlines()]
    constraints = {
        f"{one.id}-{one.instance}": one.constraints for one in read_lines(run.journal) if isinstance(one, AnswerLine)
    }
    broken = [pair for pair in written if pair["reason"] == "constraint"]
    assert broken
    for pair in broken:
        demanded = constraints[pair["id"]]
        assert all(keeps(pair["chosen"][0]["content"], one) for one in demanded)
        assert not all(keeps(pair["rejected"][0]["content"], one) for one in demanded)
    trained = {row["id"].rpartition("-")[0] for row in map(json.loads, run.dataset.split("train").open())}
    assert {pair["id"].rpartition("-")[0] for pair in written} <= trained
    assert any(family.recognises(written[0]) for family in FAMILIES), "a family that `convert` and tuners read"
    chain.export(make_config(**options, num_instructions=40))
    assert not run.dataset.preferences.exists()


def test_trl_s_trainer_takes_them_as_they_are_and_llama_factory_after_convert(tmp_path: Path) -> None:
    import torch
    from datasets import load_dataset
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    from tuning.training import prompt_formats

    scored = {Place("p000000-00", 0, 0): 2.0, Place("p000000-00", 0, 1): 4.0}
    lines = [
        line(("the nile", None), ("The Nile.", "constraint"), constraints=(SMALL,)),
        line(("The long river Nile.", None), ("The Nile.", "not_chosen")),
    ]
    written = list(preferences(lines, {"p000000-00": "Name a river"}, {"p000000-00"}, scored))
    assert len(written) == 2
    jsonl.write(tmp_path / "preferences.jsonl", written)
    rows = load_dataset("json", data_files=str(tmp_path / "preferences.jsonl"), cache_dir=str(tmp_path), split="train")
    options = DPOConfig(
        str(tmp_path / "out"), max_steps=1, learning_rate=1e-2, report_to="none", save_strategy="no", use_cpu=True
    )
    model = str(tiny_model.save(tmp_path / "model"))
    tokenizer = AutoTokenizer.from_pretrained(model)
    prompt_formats.prepare(tokenizer)
    trainer = DPOTrainer(model, args=options, train_dataset=rows, processing_class=tokenizer)
    before = {name: weights.detach().clone() for name, weights in trainer.model.named_parameters()}
    trainer.train()
    changed = [name for name, weights in trainer.model.named_parameters() if not torch.equal(before[name], weights)]
    assert len(changed) > len(before) / 2
    target = tmp_path / "pairs.json"
    done = convert(tmp_path / "preferences.jsonl", target, to=family_named("sharegpt"))
    entry = llama_factory_entry(target, done)
    assert entry is not None and entry["ranking"] is True
    assert entry["columns"] == {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}
    first = json.loads(target.read_text())[0]
    assert first["chosen"] == {"from": "gpt", "value": "the nile"}, "a dict: LLaMA-Factory reads no list there"
