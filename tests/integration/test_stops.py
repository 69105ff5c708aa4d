"""The demo model, tuned on half of the held-out demo tasks, answers the other half and stops by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from selfinstruct import records
from selfinstruct.formats import seed_tasks
from selfinstruct.packaged import model_path
from selfinstruct.records import Instance, SeedTask
from tests import tiny_model
from tuning import sft

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("one_thread")]
MAX_TOKENS = 64


def question(task: SeedTask, instance: Instance) -> str:
    return records.user_message(task.instruction, instance.input)


def stopped(folder: Path, questions: list[str]) -> float:
    """Return the share of greedy answers that end with the end token within `MAX_TOKENS`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "left"
    inputs = tokenizer.apply_chat_template(
        [[{"role": "user", "content": text}] for text in questions],
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        padding=True,
    )
    with torch.no_grad():
        ids = model.generate(**inputs, max_new_tokens=MAX_TOKENS, do_sample=False)
    answers = ids[:, inputs["input_ids"].shape[1] :]
    return (answers == tokenizer.eos_token_id).any(dim=1).float().mean().item()


def test_the_tuned_demo_model_stops_by_itself(tmp_path):
    tasks = seed_tasks.load_seed_tasks(["demo_heldout"])
    trained, asked = tasks[::2], tasks[1::2]
    rows = [
        tiny_model.row(f"{task.id}/{k}", question(task, instance), instance.output)
        for task in trained
        for k, instance in enumerate(task.instances)
    ]
    tiny_model.write(tmp_path / "data", train=rows)
    arguments = ["--model_name_or_path", model_path(), "--dataset_dir", tmp_path / "data", "--output_dir"]
    learn = ["--num_train_epochs", "6", "--learning_rate", "1e-3", "--save_strategy", "no"]
    assert sft.main([*map(str, arguments), str(tmp_path / "out"), *learn]) == 0
    questions = [question(task, task.instances[0]) for task in asked]
    assert len(questions) > 40
    assert stopped(tmp_path / "out", questions) > 0.95
