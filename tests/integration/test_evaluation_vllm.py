"""Evaluation with the real vLLM: the demo model and a LoRA adapter on it, against transformers' own numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.packaged import model_path
from selfinstruct.run.directory import RunDirectory
from tuning.evaluation.evaluation import score_saved
from tuning.training import prompt_formats

pytestmark = pytest.mark.integration

MAX_TOKENS = 12
PLAIN = "The market is open. Mary sold a red cup and a green plate to Oskar. " * 40
CONSTRAINTS = [
    {"key": 1, "prompt": "Name a river.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
    {
        "key": 2,
        "prompt": "Write at least two sentences in capitals.",
        "instruction_id_list": ["length_constraints:number_sentences", "change_case:english_capital"],
        "kwargs": [{"relation": "at least", "num_sentences": 2}, {}],
    },
]
HELD_OUT = [("Name a colour.", "", "Blue is one, and so is a deep red."), ("Repeat the words.", "one two", "one two")]


def adapter(folder: Path) -> Path:
    """Save an adapter that changes the model's answers, and the tokenizer that tuning would save beside it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(model_path(), dtype=torch.float32)
    options = LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(model, options).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(model_path())
    prompt_formats.prepare(tokenizer)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("evaluation") / "run"
    (run / "dataset").mkdir(parents=True)
    tasks = [
        {
            "id": f"e{k}",
            "instruction": f"Write the word {word}.",
            "instances": [{"input": "", "output": word}],
            "is_classification": k % 2 == 0,
        }
        for k, word in enumerate("apple river stone cloud garden bread".split())
    ]
    (run / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    rows = [
        {"id": f"p{k}-0", "instruction": text, "input": given, "output": output, "is_classification": False}
        for k, (text, given, output) in enumerate(HELD_OUT)
    ]
    (run / "dataset" / "validation_unseen.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "model": "demo",
        "engine": {"dtype": "float32", "max_model_len": 1024},
        "evaluate": {
            "tasks": [str(run / "tasks.jsonl")],
            "max_tokens": MAX_TOKENS,
            "num_examples": 3,
            "consistency": True,
            "num_paraphrases": 2,
            "num_samples": 2,
            "plain_text": [str(run / "plain.txt")],
            "ifeval": str(run / "ifeval.jsonl"),
            "ifeval_max_tokens": 32,
            "judge": "demo",
            "judge_max_tokens": 24,
        },
    }
    (run / "plain.txt").write_text(PLAIN)
    (run / "ifeval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in CONSTRAINTS))
    (run / "config.yaml").write_text(json.dumps(config))
    adapter(run / "model")
    done = evaluate(run)
    assert done.returncode == 0, done.stderr
    return run


def evaluate(run: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tuning.evaluate", "--run-dir", str(run), *arguments]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900, check=False)


def saved(run: Path, arm: str, part: str = "predictions") -> list[dict[str, Any]]:
    lines = (run / "evaluation" / f"{part}-{arm}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def model_of(arm: str, run: Path) -> tuple[Any, Any]:
    """Return the arm's model and tokenizer in transformers."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_path(), dtype=torch.float32)
    if arm == "tuned":
        model = PeftModel.from_pretrained(model, str(run / "model"))
    return model.eval(), AutoTokenizer.from_pretrained(model_path())


@pytest.mark.parametrize("arm", ["base", "tuned"])
def test_reference_logprobs_are_those_of_transformers(run: Path, arm: str) -> None:
    import torch

    model, tokenizer = model_of(arm, run)
    rows = [row for row in saved(run, arm) if row["set"] == "validation_unseen"]
    assert len(rows) == len(HELD_OUT)
    for row, (text, given, output) in zip(rows, HELD_OUT, strict=True):
        asked = f"{text}\n\n{given}" if given else text
        bos = tokenizer.bos_token if tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id else ""
        assert row["prompt"] == f"{bos}<|user|>\n{asked}\n<|assistant|>\n"
        prompt = tokenizer(row["prompt"], add_special_tokens=False)["input_ids"]
        response = [*tokenizer(output, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            logprobs = model(torch.tensor([prompt + response])).logits[0].log_softmax(-1)
        expected = sum(logprobs[len(prompt) - 1 + k, token].item() for k, token in enumerate(response))
        assert row["reference_tokens"] == len(response)
        assert row["reference_logprob"] == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("arm", ["base", "base-few-shot", "tuned"])
def test_answers_are_those_of_transformers(run: Path, arm: str) -> None:
    import torch

    model, tokenizer = model_of(arm, run)
    for row in [row for row in saved(run, arm) if row["set"] == "tasks"][:3]:
        ids = tokenizer(row["prompt"], add_special_tokens=arm == "base-few-shot", return_tensors="pt")
        with torch.no_grad():
            out = model.generate(**ids, max_new_tokens=MAX_TOKENS, do_sample=False)
        text = tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
        assert text.strip().startswith(row["response"])
        assert row["finish_reason"] in ("stop", "length")
        if arm != "base-few-shot":
            assert text.strip() == row["response"]


def test_the_adapter_answers_otherwise_than_its_base(run: Path) -> None:
    base, tuned = saved(run, "base"), saved(run, "tuned")
    assert [row["prompt"] for row in base] == [row["prompt"] for row in tuned]
    assert all(a["reference_logprob"] != b["reference_logprob"] for a, b in zip(base[:2], tuned[:2], strict=True))


def test_scores_are_written(run: Path) -> None:
    scores = json.loads((run / "evaluation" / "scores.json").read_text())
    assert {arm: about["prompting"] for arm, about in scores["arms"].items()} == {
        "base": "zero_shot",
        "base-few-shot": "few_shot",
        "tuned": "zero_shot",
    }
    assert all(about["sets"]["tasks"]["n"] == 6 for about in scores["arms"].values())
    rows = saved(run, "tuned")[: len(HELD_OUT)]
    loss = -sum(r["reference_logprob"] for r in rows) / sum(r["reference_tokens"] for r in rows)
    assert scores["arms"]["tuned"]["sets"]["validation_unseen"]["loss"] == pytest.approx(loss, abs=1e-5)
    assert {(c["a"], c["b"]) for c in scores["comparisons"]} == {("tuned", "base"), ("tuned", "base-few-shot")}
    assert "on the 6 tasks of tasks" in scores["verdict"]


def test_a_second_run_starts_no_engine(run: Path) -> None:
    before = (run / "evaluation" / "scores.json").read_bytes()
    done = evaluate(run)
    assert done.returncode == 0
    assert done.stderr.count("is up to date") == 3 * 3 + 2, "predictions, consistency, IFEval; plain text of two models"
    assert "all judgements are up to date" in done.stderr
    assert "starting the engine" not in done.stderr
    assert (run / "evaluation" / "scores.json").read_bytes() == before


def test_scoring_alone_comes_to_the_same(run: Path) -> None:
    before = (run / "evaluation" / "scores.json").read_bytes()
    saved = RunDirectory(run).config()
    score_saved(RunDirectory(run), saved.evaluate, saved.seed)
    assert (run / "evaluation" / "scores.json").read_bytes() == before


@pytest.mark.parametrize("arm", ["base", "tuned"])
def test_perplexity_of_plain_text_is_that_of_transformers(run: Path, arm: str) -> None:
    import torch

    model, tokenizer = model_of(arm, run)
    rows = saved(run, arm, "plain-text")
    assert sum(row["bytes"] for row in rows) == len(PLAIN.strip())
    begin = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    ids = tokenizer(PLAIN.strip()[: rows[0]["bytes"]], add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logprobs = model(torch.tensor([[begin, *ids]])).logits[0].log_softmax(-1)
    expected = sum(logprobs[k, token].item() for k, token in enumerate(ids))
    assert rows[0]["tokens"] == len(ids)
    assert rows[0]["logprob"] == pytest.approx(expected, abs=0.05)


def test_consistency_on_the_real_engine(run: Path) -> None:
    scores = json.loads((run / "evaluation" / "scores.json").read_text())
    for arm, about in scores["arms"].items():
        found = about["consistency"]
        assert (found["paraphrase"]["n"], found["sample"]["n"]) == (6, 6), arm
        assert 0 <= found["paraphrase"]["rouge_l"] <= 100
    rows = saved(run, "base", "consistency")
    plain = {row["of"]: row["response"] for row in rows if row["kind"] == "asked"}
    answers = {row["id"]: row["response"] for row in saved(run, "base") if row["set"] == "tasks"}
    assert plain == answers, "the unchanged instruction is answered as before"


def test_constraints_on_the_real_engine(run: Path) -> None:
    scores = json.loads((run / "evaluation" / "scores.json").read_text())
    assert {about["ifeval"]["n_instructions"] for about in scores["arms"].values()} == {3}


def test_a_real_judge(run: Path) -> None:
    """The demo model cannot judge; its answers are kept and counted, and the counts add up."""
    judge = json.loads((run / "evaluation" / "scores.json").read_text())["judge"]
    assert {(pair["a"], pair["b"], pair["n"]) for pair in judge["pairs"]} == {
        ("tuned", "base", 6),
        ("tuned", "base-few-shot", 6),
    }
    for pair in judge["pairs"]:
        assert pair["wins"] + pair["ties"] + pair["losses"] + pair["failed"] == 6
        rows = saved(run, pair["b"], "judgements")
        assert len(rows) == 12
        assert all(row["text"] or not row["asked"] or row["finish_reason"] == "stop" for row in rows)


@pytest.mark.long
def test_an_lm_eval_task_on_local_data_for_base_and_tuned(run: Path) -> None:
    rows = [{"text": f"Is a {name} a colour? Answer:", "label": k % 2} for k, name in enumerate(["cup", "red"] * 5)]
    (run / "yes_no.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "yes_no_of_colours",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(run / "yes_no.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{text}}",
        "doc_to_choice": [" no", " yes"],
        "doc_to_target": "label",
        "metric_list": [{"metric": "acc"}],
    }
    (run / "yes_no.yaml").write_text(json.dumps(task))
    config = json.loads((run / "config.yaml").read_text())
    config["evaluate"]["lm_eval"] = [str(run / "yes_no.yaml")]
    (run / "with-lm-eval.yaml").write_text(json.dumps(config))
    done = evaluate(run, "--config", str(run / "with-lm-eval.yaml"))
    assert done.returncode == 0, done.stderr
    assert "starting the engine" not in done.stderr
    scores = json.loads((run / "evaluation" / "scores.json").read_text())
    for arm in ("base", "tuned"):
        found = scores["arms"][arm]["lm_eval"]["yes_no_of_colours"]["acc"]
        assert (found["n"], found["higher_is_better"]) == (10, True)
        assert 0 <= found["value"] <= 1
    assert "lm_eval" not in scores["arms"]["base-few-shot"]


def test_a_model_that_is_not_there_is_one_message(run: Path) -> None:
    done = evaluate(run, "--model", "other=./no/such/model")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: model './no/such/model': no such model")
    assert "Traceback" not in done.stderr
