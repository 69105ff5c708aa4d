"""A configuration names its files so that a run continues from any directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfinstruct.config.earlier_defaults import completed
from selfinstruct.config.paths import anchored
from selfinstruct.config.schema import Config


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("template.jinja", "task.yaml", "arc_easy/x", "tokenizer/x", "model/config.json", "tuned/config.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


VALUES: dict[str, Any] = {
    "model": "model",
    "seeds": ["seed_tasks:0.25", "seeds.jsonl:0.25", "general"],
    "engine": {"tokenizer": "tokenizer", "dtype": "model"},
    "tune": {
        "model": "./tuned",
        "accelerate_config": "fsdp.yaml",
        "chat_template_path": "template.jinja",
        "optim": "model",
        "mix": ["template.jinja:0.5", "owner/name:2", "task.yaml", "domain:healthcare", "seed_tasks:2"],
        "resume_from_checkpoint": True,
    },
    "evaluate": {
        "tasks": ["eval_tasks", "tasks.jsonl"],
        "plain_text": ["notes.txt"],
        "ifeval": "ifeval.jsonl",
        "judge": "Qwen/Qwen3-32B",
        "lm_eval": ["arc_easy", "task.yaml"],
    },
}


def test_every_path_is_absolute_and_every_name_stays(here: Path) -> None:
    config = Config.model_validate(VALUES).anchored()
    assert config.model == f"{here}/model" and config.seeds == (
        "seed_tasks:0.25",
        f"{here}/seeds.jsonl:0.25",
        "general",
    )
    assert config.engine == {"tokenizer": f"{here}/tokenizer", "dtype": "model"}
    assert (config.tune.model, config.tune.accelerate_config) == (f"{here}/tuned", f"{here}/fsdp.yaml")
    arguments = {"chat_template_path": f"{here}/template.jinja", "optim": "model", "resume_from_checkpoint": True}
    arguments["mix"] = [
        f"{here}/template.jinja:0.5",
        "owner/name:2",
        f"{here}/task.yaml",
        "domain:healthcare",
        "seed_tasks:2",
    ]
    assert config.tune.arguments == arguments
    evaluate = config.evaluate
    assert evaluate.tasks == ("eval_tasks", f"{here}/tasks.jsonl") and evaluate.plain_text == (f"{here}/notes.txt",)
    assert (evaluate.ifeval, evaluate.judge) == (f"{here}/ifeval.jsonl", "Qwen/Qwen3-32B")
    assert evaluate.lm_eval == ("arc_easy", f"{here}/task.yaml"), "lm-eval takes names and files, no folders"
    assert config.anchored() == config
    named = ["seed_tasks", "tokenizer", "fsdp.yaml", "ifeval.jsonl", "notes.txt", "arc_easy", "Qwen/Qwen3-32B"]
    assert {*named, "model", "./tuned", "template.jinja", "seeds.jsonl"} <= {*Config.model_validate(VALUES).inputs()}


def test_options_that_were_left_out_stay_so(here: Path) -> None:
    config = Config.model_validate({"tune": {"packing": True}, "evaluate": {"ifeval": "a"}}).anchored()
    assert config.model_fields_set == {"tune", "evaluate"} and config.evaluate.model_fields_set == {"ifeval"}
    assert anchored({}) == {} and anchored({"tune": None}) == {"tune": None}


def test_an_identity_that_was_recorded_with_paths_as_they_were_given_is_still_the_same(here: Path) -> None:
    recorded = {"tune": {"chat_template_path": "template.jinja"}, "evaluate": {"plain_text": ["notes.txt"]}}
    now = {"tune": {"chat_template_path": f"{here}/template.jinja"}, "evaluate": {"plain_text": [f"{here}/notes.txt"]}}
    assert completed(recorded) == completed(now)
