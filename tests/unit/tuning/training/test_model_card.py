"""The model card: data, training, scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from huggingface_hub import ModelCard

from selfinstruct.config.schema import Config
from selfinstruct.run.export_counts import ExportCounts, InstanceCounts, InstructionCounts, write_export_counts
from selfinstruct.run.folders import EvaluationDirectory, ModelDirectory
from selfinstruct.run.scores import Scores
from selfinstruct.run.training_record import TrainingRecord
from tuning.training import model_card

NOTES = {
    "model": "/home/someone/models/base",
    "method": "full",
    "merge": None,
    "dataset_dir": "/home/someone/runs/first/dataset",
    "rows": {"trained_on": 90},
    "tokens": {"train": 9000, "learnt": 3000},
    "steps": 12,
    "epochs": 3.0,
    "given": ["dataset_dir", "learning_rate", "neftune_noise_alpha", "hub_token"],
    "arguments": {
        "learning_rate": 1e-4,
        "neftune_noise_alpha": 5,
        "hub_token": "secret",
        "lora_r": 20,
        "packing": True,
    },
    "template": {"source": "default", "end_token": "</s>", "pad_token": "<pad>"},
    "versions": {"trl": "1.16"},
    "machine": {"device": "cpu", "num_processes": 1},
    "loss": {"base": {"validation_seen": 2.5}, "final": {"validation_seen": 1.25}},
}
SCORES = {
    "arms": {
        "base": {"sets": {"eval_tasks": {"n": 90, "n_tasks": 60, "rouge_l": 3.0, "rouge_l_interval": [2.0, 4.0]}}},
        "tuned": {
            "sets": {
                "eval_tasks": {"n": 90, "n_tasks": 60, "rouge_l": 20.0, "rouge_l_interval": [15.0, 25.0]},
                "other": {"n": 5, "n_tasks": 5, "rouge_l": None, "rouge_l_interval": None},
            }
        },
    },
    "verdict": "The generated data helped.",
    "settings": {"confidence": 0.95},
}


def made(dataset: model_card.Table = (), scores: dict[str, Any] | None = None, **changes: Any) -> str:
    record = msgspec.convert(NOTES | changes, TrainingRecord)
    return model_card.make_card("first", record, dataset, None if scores is None else msgspec.convert(scores, Scores))


def head(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def test_card_tells_of_data_and_training_without_paths_or_secrets():
    text = made()
    assert head(text) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["trl", "sft", "selfinstruct"],
    }
    for wanted in (
        "from `models/base`, all parameters",
        "| training rows | 90 of `first/dataset` |",
        "| trained tokens | 3,000 of 9,000: ",
        "| `learning_rate` | 0.0001 |",
        "| `neftune_noise_alpha` | 5 |",
        "| `packing` | True |",
        "| validation_seen | 2.500 | 1.250 |",
        "vllm serve .\n",
    ):
        assert wanted in text
    assert "secret" not in text and "someone" not in text and "Scores" not in text


def test_card_lists_mixed_datasets_with_rows_tokens_and_licence():
    sources = [
        {"name": "/home/someone/flan.jsonl", "read": 9, "taken": 4, "left_over": 5, "tokens": 1200, "licence": "a|b"},
        {"name": "owner/rows", "read": 3, "taken": 3, "left_over": 0},
    ]
    mix = ["/home/someone/flan.jsonl:2", "owner/rows"]
    text = made(mixture=sources, given=["mix"], arguments={"mix": mix})
    assert "| `mix` | someone/flan.jsonl:2, owner/rows |" in text and "/home" not in text
    assert "| training rows | 90 of `first/dataset` and of what is mixed in |" in text
    assert r"| mixed in | 4 of 9 rows of `someone/flan.jsonl`, 1,200 tokens, licence a\|b |" in text
    assert "| mixed in | 3 of 3 rows of `owner/rows`, 0 tokens, no licence stated |" in text


def test_card_of_an_adapter_says_how_it_is_served():
    text = made(model="org/base", method="lora", merge="adapter")
    assert head(text)["library_name"] == "peft"
    assert head(text)["base_model"] == "org/base"
    assert "vllm serve org/base --enable-lora --max-lora-rank 32 --lora-modules tuned=. \\\n" in text
    assert "--tokenizer . --generation-config ." in text


@pytest.mark.parametrize(
    ("merge", "text"),
    [
        ("both", "the adapter alone is in `adapter/`"),
        ("merged", "LoRA, merged."),
        ("adapter", "LoRA, the adapter alone."),
    ],
)
def test_card_says_what_is_kept_of_a_lora(merge, text):
    assert text in made(method="lora", merge=merge)


def test_scores_and_verdict():
    text = made(scores=SCORES)
    assert "The generated data helped." in text
    assert "| ROUGE-L | eval_tasks (60 tasks) | other (5 tasks) |" in text
    assert "| base | 3.0 [2.0, 4.0] | - |" in text
    assert "| tuned | 20.0 [15.0, 25.0] | - |" in text
    (result,) = ModelCard(text).data.eval_results
    assert (result.dataset_name, result.metric_name, result.metric_value) == ("eval_tasks (60 tasks)", "ROUGE-L", 20.0)


def test_provenance_of_a_run_and_of_a_dataset_from_elsewhere(tmp_path: Path):
    assert model_card.provenance(tmp_path / "dataset") == []
    (tmp_path / "dataset").mkdir()
    counts = ExportCounts(
        instructions=InstructionCounts(accepted=7, with_instances=7),
        instances=InstanceCounts(accepted=11),
        include_seeds=False,
        rows={},
    )
    write_export_counts(tmp_path / "dataset/export.json", counts)
    identity = Config(model="org/generator").identity() | {"seeds_sha256": "ab" * 32}
    header = {
        "kind": "run",
        "version": 1,
        "identity": identity,
        "resolved": {"style": "chat", "context_length": 9},
        "num_instructions": 7,
    }
    (tmp_path / "journal.jsonl").write_text(json.dumps(header) + "\n{torn")
    text = made(model_card.provenance(tmp_path / "dataset"))
    assert "| written by | `org/generator`, with Self-Instruct |" in text
    assert "seed tasks with the SHA-256 abababababababab…" in text
    assert "| accepted | 7 instructions, 11 instances |" in text


def test_write_reads_the_record_and_the_scores(tmp_path: Path):
    (tmp_path / "training.json").write_text(json.dumps(NOTES))
    (tmp_path / "scores.json").write_text(json.dumps(SCORES))
    model_card.write(ModelDirectory(tmp_path))
    assert "## Scores" not in (tmp_path / "README.md").read_text()
    model_card.write(ModelDirectory(tmp_path), EvaluationDirectory(tmp_path))
    assert "## Scores" in (tmp_path / "README.md").read_text()
