"""The real SFTTrainer on the CPU with a tiny model: what is trained, what is saved, what stops it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch
import trl
from safetensors.torch import load_file
from trl import get_peft_config

from selfinstruct.config.later_stages import Evaluate
from selfinstruct.dataset import tuner_files
from selfinstruct.dataset.convert import Conversion, convert
from selfinstruct.formats import exported_rows
from selfinstruct.formats.exported_rows import ExportedRow
from selfinstruct.formats.families import family_named
from selfinstruct.packaged import model_path
from selfinstruct.run.folders import ModelDirectory
from selfinstruct.run.training_record import Finding
from tests import tiny_model
from tests.gpu_box import model_folder
from tests.gpu_box.families import FAMILIES
from tuning import sft
from tuning.evaluation.mixture_questions import mixture_questions
from tuning.training import data, findings, prompt_formats, train
from tuning.training.callbacks import ShowProgress

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("one_thread")]
QUICK = ["--max_steps", "4", "--per_device_train_batch_size", "4"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_model.save(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return tiny_model.dataset(tmp_path_factory.mktemp("dataset"))


def tune(model: Path, dataset: Path, output: Path, *options: str) -> int:
    arguments = ["--model_name_or_path", str(model), "--dataset_dir", str(dataset), "--output_dir", str(output)]
    return sft.main([*arguments, *map(str, options)])


def training(output: Path) -> dict:
    return json.loads((output / "training.json").read_text())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def answer(model, tokenizer, question: str, max_new_tokens: int = 12) -> list[int]:
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    with torch.no_grad():
        ids = model.generate(**prompt, max_new_tokens=max_new_tokens, do_sample=False)
    return ids[0, prompt["input_ids"].shape[1] :].tolist()


@pytest.fixture(scope="module")
def full(model, dataset, tmp_path_factory) -> Path:
    """A full fine-tuning long enough to memorise its few rows."""
    output = tmp_path_factory.mktemp("full")
    options = ["--num_train_epochs", "50", "--learning_rate", "1e-2", "--eval_delay", "1000"]
    assert tune(model, dataset, output, *options) == 0
    return output


@pytest.fixture(scope="module")
def quick(model, dataset, tmp_path_factory) -> Path:
    """A full fine-tuning of four steps, to be copied by tests of what follows one."""
    output = tmp_path_factory.mktemp("quick")
    assert tune(model, dataset, output, *QUICK) == 0
    return output


@pytest.fixture(scope="module")
def lora(model, dataset, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("lora")
    options = ["--use_peft", "--lora_r", "4", "--num_train_epochs", "15", "--learning_rate", "2e-2"]
    assert tune(model, dataset, output, *options) == 0
    return output


# ------------------------------------------------------------------------------------------------ TRL's own command


@pytest.mark.long
@pytest.mark.parametrize("form", ["as exported", "messages", "preference"])
def test_trls_own_command_trains_on_exported_and_converted_rows(model, tmp_path, form):
    source, target = tmp_path / "train.jsonl", tmp_path / "converted.jsonl"
    if form == "preference":
        rows = [{"prompt": f"Say {k}.", "chosen": f"{k}!", "rejected": "no"} for k in range(16)]
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        rows = [ExportedRow(f"r{k}", f"Say {k}.", "loud" if k % 2 else "", "ok", False) for k in range(16)]
        exported_rows.write(source, rows)
    if form == "as exported":
        stanza = tuner_files.trl_stanza(source, Conversion("", "prompt-completion"))
    else:
        stanza = tuner_files.trl_stanza(target, convert(source, target, to=family_named(form)))
    base = shutil.copytree(model, tmp_path / "base")
    template = Path(prompt_formats.__file__).parent / "chat_templates" / "default.jinja"
    shutil.copy(template, base / "chat_template.jinja")
    (tmp_path / "trl.yaml").write_text(f"{stanza}use_cpu: true\nreport_to: none\n")
    script = Path(trl.__file__).parent / "scripts" / ("dpo.py" if form == "preference" else "sft.py")
    arguments = ["--model_name_or_path", base, "--output_dir", tmp_path / "out", "--max_steps", "2"]
    command = [sys.executable, script, "--config", tmp_path / "trl.yaml", *arguments]
    ran = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert (tmp_path / "out" / "model.safetensors").exists()


# ------------------------------------------------------------------------------------------------ mixtures


def test_other_datasets_are_mixed_in(model, dataset, tmp_path, capfd):
    held_out = tmp_path / "held_out.jsonl"
    task = {"id": "e", "instruction": "Name three long rivers of Asia.", "instances": [{"output": "x"}]}
    held_out.write_text(json.dumps(task | {"is_classification": False}))
    alpaca = [{"instruction": f"Say {word}.", "input": "", "output": word} for word in ("one", "two", "three", "four")]
    alpaca.append({"instruction": "Name three long rivers of Asia.", "output": "x"})
    (tmp_path / "a.json").write_text(json.dumps(alpaca))
    flan = [{"inputs": f"Which is {k}?", "targets": str(k), "_task_name": "t"} for k in range(6)]
    (tmp_path / "f.jsonl").write_text("".join(json.dumps(row) + "\n" for row in flan))
    mix = ["--mix", f"{tmp_path}/a.json", f"{tmp_path}/f.jsonl:0.25", "--mix_task_cap", "5", "--eval_tasks", held_out]
    own = len(data.load_splits(dataset)["train"])
    assert tune(model, dataset, tmp_path / "out", *QUICK, *mix) == 0
    said = capfd.readouterr().err
    assert "a.json: 4 of 5 rows, 1 overlapping with evaluation tasks by exact" in said
    record = training(tmp_path / "out")
    whole, quarter = record["mixture"]
    assert (whole["taken"], quarter["taken"]) == (4, round(own / 4))
    assert quarter["left_out"] == {"beyond the most of a task": 1}
    assert record["rows"]["train"] == own + 4 + quarter["taken"]
    assert "mixed in" in (tmp_path / "out" / "README.md").read_text()


def test_what_is_held_out_of_a_mixture_is_asked_later(model, dataset, tmp_path):
    for task in range(4):
        instances = [{"id": f"{task}-{k}", "input": f"in {task} {k}", "output": [f"{k}"]} for k in range(60)]
        value = {"Definition": [f"Do thing {task}."], "Categories": [f"c{task % 2}"], "Instances": instances}
        (tmp_path / "mix").mkdir(exist_ok=True)
        (tmp_path / "mix" / f"task{task}.json").write_text(json.dumps(value))
    own = tmp_path / "own"
    shutil.copytree(dataset, own)
    with (own / "train.jsonl").open("a") as file:
        for task in range(4):
            file.write(json.dumps(tiny_model.row(f"twin{task}", f"Do thing {task}.", "ok")) + "\n")
    hold_out = ["--mix", f"{tmp_path}/mix", "--mix_hold_out", "category", "--mix_hold_out_share", "0.5"]
    assert tune(model, own, tmp_path / "out", *QUICK, *hold_out) == 0
    source, of_run = training(tmp_path / "out")["mixture"]
    assert of_run["left_out"] == {"near a question of an unseen task": 2} and of_run["name"] == str(own)
    (category,) = source["held_out"]
    assert source["left_out"]["held out, unseen"] == 120 and source["left_out"]["held out, seen"] > 0
    questions = mixture_questions(ModelDirectory(tmp_path / "out"), Evaluate(held_out_by="category"))
    assert {q.category for q in questions if q.set == "mixture_unseen"} == {category}
    assert {q.category for q in questions if q.set == "mixture_seen"} == {"c0", "c1"} - {category}


def test_a_mixture_by_tokens(model, dataset, tmp_path):
    rows = [{"instruction": f"Say {k}.", "input": "", "output": "word " * 5} for k in range(200)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    assert tune(model, dataset, tmp_path / "out", *QUICK, "--mix", f"{tmp_path}/a.json:0.5", "--mix_by", "tokens") == 0
    (source,) = training(tmp_path / "out")["mixture"]
    assert 0 < source["taken"] < 200
    assert source["left_over"] == 200 - source["taken"]


# ------------------------------------------------------------------------------------------------ what is trained


def test_full_tuning_changes_every_parameter(model, full):
    before, after = weights(model), weights(full)
    assert before.keys() == after.keys()
    assert [name for name in before if torch.equal(before[name], after[name])] == []


def test_lora_changes_the_linear_layers_alone(model, lora):
    before, after = weights(model), weights(lora)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "_proj.weight" in name}
    assert training(lora)["parameters"]["trainable"] < training(lora)["parameters"]["total"]


def test_dora_learns_in_the_linear_layers_alone_and_is_merged(model, dataset, tmp_path):
    assert tune(model, dataset, tmp_path, *QUICK, "--use_peft", "--use_dora", "--learning_rate", "1e-2") == 0
    before, after = weights(model), weights(tmp_path)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "_proj.weight" in name}
    assert json.loads((tmp_path / "adapter/adapter_config.json").read_text())["use_dora"] is True
    assert [finding["name"] for finding in training(tmp_path)["findings"]] == ["adapter_kind"]


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_qlora_without_bitsandbytes_says_what_to_install(model, dataset, tmp_path, capfd):
    assert tune(model, dataset, tmp_path, *QUICK, "--use_peft", "--load_in_4bit") == 2
    assert "bitsandbytes" in capfd.readouterr().err


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_qlora_learns_an_adapter_and_merges_it_into_whole_weights(dataset, tmp_path):
    """With the demo model: the tiny one's layers are smaller than a block of 4-bit weights."""
    assert tune(model_path(), dataset, tmp_path, *QUICK, "--use_peft", "--load_in_4bit") == 0
    before, after = weights(model_path()), weights(tmp_path)
    changed = {name for name in before if not torch.equal(before[name].float(), after[name].float())}
    assert changed == {name for name in before if "_proj.weight" in name}
    loss = training(tmp_path)["loss"]
    assert loss["final"]["validation_unseen"] < loss["base"]["validation_unseen"]


@pytest.mark.skipif(find_spec("tensorboard") is not None, reason="tensorboard is installed")
def test_a_tracker_that_is_not_installed_is_named(model, dataset, tmp_path, capfd):
    assert tune(model, dataset, tmp_path, *QUICK, "--report_to", "tensorboard") == 2
    assert "tensorboard" in capfd.readouterr().err.lower()


def test_tensorboards_files_stay_when_the_checkpoints_go(model, dataset, tmp_path, monkeypatch):
    from transformers.integrations import integration_utils

    class Writer(MagicMock):
        def __init__(self, log_dir=None, **_):
            super().__init__()
            if log_dir is not None:
                Path(log_dir).mkdir(parents=True)

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    monkeypatch.setattr(integration_utils, "is_tensorboard_available", lambda: True)
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    assert tune(model, dataset, tmp_path, *QUICK, "--report_to", "tensorboard") == 0
    assert len(list((tmp_path / "runs").iterdir())) == 1 and not (tmp_path / "checkpoints").exists()


def test_trained_tokens_are_those_that_trl_would_choose_from_the_exported_rows(model, dataset, tmp_path):
    """The exported rows go into SFTTrainer unchanged, and our own tokens and labels are the ones that it makes."""
    from datasets import load_dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(model)
    prompt_formats.prepare(tokenizer)
    rows = load_dataset(
        "json", data_files=str(dataset / "train.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    config = SFTConfig(str(tmp_path / "trl"), use_cpu=True, bf16=False, report_to="none")
    trainer = SFTTrainer(str(model), args=config, train_dataset=rows, processing_class=tokenizer)
    ours = data.tokenize(data.load_splits(dataset)["train"], tokenizer)
    assert trainer.train_dataset["input_ids"][:] == [row.input_ids for row in ours]
    assert trainer.train_dataset["labels"][:] == [row.labels for row in ours]


def test_batches_hold_labels_for_the_response_and_its_end_alone(model, dataset, tmp_path, monkeypatch):
    seen: list[dict] = []

    def spy(self, args, state, control, train_dataloader=None, **_):
        seen.extend(train_dataloader)

    monkeypatch.setattr(ShowProgress, "on_train_begin", spy)
    assert tune(model, dataset, tmp_path, *QUICK) == 0
    tokenizer = tiny_model.tokenizer()
    answers = []
    for batch in seen:
        for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
            assert set(labels[labels != -100].tolist()) <= set(ids.tolist())
            answers.append(tokenizer.decode(labels[labels != -100]))
    wanted = [f"{json.loads(line)['output']}</s>" for line in (dataset / "train.jsonl").read_text().splitlines()]
    assert sorted(answers) == sorted(wanted)


@pytest.mark.parametrize(
    ("options", "everything"),
    [
        (["--assistant_only_loss"], False),
        (["--completion_only_loss", "true"], False),
        (["--completion_only_loss", "false"], True),
    ],
)
def test_trls_own_arguments_decide_what_is_trained(model, dataset, tmp_path, options, everything):
    assert tune(model, dataset, tmp_path, *QUICK, *options) == 0
    tokens = training(tmp_path)["tokens"]
    assert (tokens["learnt"] == tokens["train"]) is everything


def test_the_tuned_model_knows_its_rows_and_stops_by_itself(full, dataset):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(full), AutoTokenizer.from_pretrained(full)
    rows = [json.loads(line) for line in (dataset / "train.jsonl").read_text().splitlines()]
    answers = [answer(model, tokenizer, row["instruction"]) for row in rows]
    assert sum(ids[-1] == tokenizer.eos_token_id for ids in answers) / len(answers) > 0.95
    right = [
        tokenizer.decode(ids, skip_special_tokens=True) == row["output"] for ids, row in zip(answers, rows, strict=True)
    ]
    assert sum(right) / len(right) > 0.9


# ------------------------------------------------------------------------------------------------- what is saved


@pytest.mark.parametrize("name", ["full", "lora"])
def test_the_model_folder_loads_plainly_with_template_and_end_token(name, request):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    output = request.getfixturevalue(name)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(output), AutoTokenizer.from_pretrained(output)
    assert tokenizer.chat_template == prompt_formats.read("default", with_bos=True)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("</s>", "<pad>")
    assert model.config.eos_token_id == model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id
    assert not (output / "training_args.bin").exists()
    assert not (output / "checkpoints").exists()
    assert (output / "model.safetensors").stat().st_mode == (output / "config.json").stat().st_mode


def test_merged_and_adapter_give_the_same_greedy_answers(model, lora, dataset):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(lora)
    base = AutoModelForCausalLM.from_pretrained(model)
    merged = AutoModelForCausalLM.from_pretrained(lora)
    questions = [json.loads(line)["instruction"] for line in (dataset / "train.jsonl").read_text().splitlines()[:8]]
    plain = [answer(base, tokenizer, question) for question in questions]
    adapted = PeftModel.from_pretrained(base, lora / "adapter")
    adapted_answers = [answer(adapted, tokenizer, question) for question in questions]
    assert adapted_answers == [answer(merged, tokenizer, question) for question in questions]
    assert adapted_answers != plain


def test_the_record_says_what_was_done(full, lora):
    record = training(full)
    assert (record["state"], record["exit_code"], record["method"]) == ("finished", 0, "full")
    assert record["rows"] == {"train": 16, "validation_seen": 2, "validation_unseen": 2, "trained_on": 16}
    assert (record["steps"], record["epochs"]) == (100, 50.0)
    assert record["template"] == {"source": "default", "end_token": "</s>", "pad_token": "<pad>"}
    assert 0 < record["tokens"]["learnt"] < record["tokens"]["train"]
    assert (
        record["parameters"]["total"]
        == record["parameters"]["trainable"]
        == sum(w.numel() for w in weights(full).values())
    )
    assert record["loss"]["train"][-1]["loss"] < 0.1 < 4 < record["loss"]["train"][0]["loss"]
    assert record["loss"]["base"].keys() == record["loss"]["final"].keys() == {"validation_seen", "validation_unseen"}
    seen = record["loss"]["evaluation"]["validation_seen"]
    assert [point["step"] for point in seen] == [0, 100], "for all its --eval_delay, the end is measured"
    assert record["loss"]["final"]["validation_seen"] == seen[1]["loss"] != seen[0]["loss"]
    assert record["arguments"]["learning_rate"] == 1e-2
    assert record["runtime"]["steps_per_s"] > 0
    assert training(lora)["method"] == "lora"


def test_the_card_says_where_the_model_comes_from(full, lora):
    text = (full / "README.md").read_text()
    before = training(full)["loss"]["base"]["validation_seen"]
    assert "16 of `" in text and "all parameters" in text
    assert "| `learning_rate` | 0.01 |" in text
    assert f"| validation_seen | {before:.3f} |" in text
    assert "LoRA, merged" in (lora / "README.md").read_text()


def test_a_model_comes_back_in_the_precision_that_it_came_in(model, dataset, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = tmp_path / "bf16"
    AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).save_pretrained(base)
    AutoTokenizer.from_pretrained(model).save_pretrained(base)
    assert tune(base, dataset, tmp_path / "out", *QUICK) == 0
    assert {w.dtype for w in weights(tmp_path / "out").values()} == {torch.bfloat16}
    assert training(tmp_path / "out")["arguments"]["learning_rate"] == 1e-3  # by the model's size; TRL's is 2e-5
    assert training(tmp_path / "out")["arguments"]["max_length"] == 512  # the model's context; TRL's is 1024


@pytest.mark.parametrize("method", [[], ["--use_peft"]], ids=["full", "lora"])
def test_a_template_that_the_base_has_not_learnt_is_replaced_and_the_end_token_stays(dataset, tmp_path, method):
    """Qwen3's base models bring the template of the chat models, but end a text with <|endoftext|>."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = model_folder.tiny(FAMILIES["qwen3-base"], tmp_path / "base")
    assert tune(base, dataset, tmp_path / "out", *QUICK, *method) == 0
    tuned = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tuned.chat_template == prompt_formats.read("default", with_bos=False)
    assert tuned.eos_token == "<|endoftext|>"
    generation = AutoModelForCausalLM.from_pretrained(tmp_path / "out").generation_config
    assert generation.eos_token_id == tuned.eos_token_id


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_lora_trains_the_rows_of_an_end_token_that_is_new_to_the_model(dataset, tmp_path, tied):
    from transformers import AutoTokenizer

    family = FAMILIES["qwen3-base"]
    family = replace(family, config={**family.config, "tie_word_embeddings": tied})
    base = model_folder.tiny(family, tmp_path / "base")
    options = ["--use_peft", "--prompt_format", "model", "--learning_rate", "1e-2"]
    assert tune(base, dataset, tmp_path / "out", *QUICK, *options) == 0

    end = AutoTokenizer.from_pretrained(tmp_path / "out").convert_tokens_to_ids("<|im_end|>")
    before, after = weights(base), weights(tmp_path / "out")
    for name in ("model.embed_tokens.weight",) if tied else ("model.embed_tokens.weight", "lm_head.weight"):
        changed = (before[name] != after[name]).any(dim=1).nonzero().flatten().tolist()
        assert changed == [end], name
    names = [finding["name"] for finding in training(tmp_path / "out")["findings"]]
    assert names == ["adapter_kind"], "vLLM does not serve the adapter alone"
    ends = json.loads((tmp_path / "out/generation_config.json").read_text())["eos_token_id"]
    assert ends == [end, 0], "it stops at the new end token, and at its own"


def test_lora_that_leaves_a_new_end_token_as_it_is_is_found(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "adapter_config", lambda model, prepared: get_peft_config(model))
    base = model_folder.tiny(FAMILIES["qwen3-base"], tmp_path / "base")
    assert tune(base, dataset, tmp_path / "out", *QUICK, "--use_peft", "--prompt_format", "model") == 0
    assert "end_not_learnt" in [finding["name"] for finding in training(tmp_path / "out")["findings"]]


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_lora_learns_to_end_where_the_end_token_is_like_unused_ones(dataset, tmp_path, tied):
    """Tokens with the same row are equally likely: without rows of its own the end token has a share of them."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    family = FAMILIES["qwen3-base"]
    family = replace(family, config={**family.config, "tie_word_embeddings": tied})
    base = model_folder.tiny(family, tmp_path / "base")
    tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModelForCausalLM.from_pretrained(base)
    special = sorted(tokenizer.added_tokens_decoder)
    with torch.no_grad():
        model.get_output_embeddings().weight[special] = model.get_output_embeddings().weight[special[0]].clone()
    model.save_pretrained(base)
    options = ["--use_peft", "--learning_rate", "2e-2", "--max_steps", "40", "--eval_strategy", "no"]
    assert tune(base, dataset, tmp_path / "out", *options, "--per_device_train_batch_size", "16") == 0
    assert "end_unlearnt" in [finding["name"] for finding in training(tmp_path / "out")["findings"]]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    tuned = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert answer(tuned, tokenizer, "apple 0")[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("method", [[], ["--use_peft"]], ids=["full", "lora"])
def test_a_models_own_template_is_kept_and_its_turns_end_token_stops_it(dataset, tmp_path, method):
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    base = tiny_model.save(tmp_path / "base")
    GenerationConfig(eos_token_id=[1, 2]).save_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = (
        "{%- for m in messages -%}{{- m['role'] + ': ' + m['content'] + '<pad>' -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- 'assistant: ' -}}{%- endif -%}"
    )
    tokenizer.save_pretrained(base)
    assert tune(base, dataset, tmp_path / "out", *QUICK, *method) == 0
    tuned = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert (tuned.chat_template, tuned.eos_token) == (tokenizer.chat_template, "<pad>")
    generation = AutoModelForCausalLM.from_pretrained(tmp_path / "out").generation_config
    assert generation.eos_token_id == [2, 1]  # the template's, and the model's own


# ------------------------------------------------------------------------------------------- stopped, and again


def test_a_stopped_training_continues_to_the_very_same_weights(model, dataset, tmp_path, monkeypatch):
    options = ["--max_steps", "8", "--per_device_train_batch_size", "4", "--learning_rate", "1e-2"]
    assert tune(model, dataset, tmp_path / "whole", *options) == 0

    def interrupt(self, args, state, control, **_):
        if state.global_step == 3:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    with monkeypatch.context() as patch:
        patch.setattr(ShowProgress, "on_step_begin", interrupt)
        assert tune(model, dataset, tmp_path / "stopped", *options) == 130
    signal.signal(signal.SIGINT, before)
    record = training(tmp_path / "stopped")
    assert (record["state"], record["exit_code"], record["steps"]) == ("stopped", 130, 4)
    assert [point["step"] for point in record["loss"]["evaluation"]["validation_seen"]] == [0, 2, 4]
    assert (tmp_path / "stopped/checkpoints/checkpoint-4").is_dir()
    assert not (tmp_path / "stopped/model.safetensors").exists()

    torn = tmp_path / "stopped/checkpoints/checkpoint-6"  # as a crash would leave it
    torn.mkdir()
    assert tune(model, dataset, tmp_path / "stopped", *options) == 0
    record = training(tmp_path / "stopped")
    assert (record["state"], record["resumed_from_step"], record["steps"]) == ("finished", 4, 8)
    assert record["loss"]["base"] == training(tmp_path / "whole")["loss"]["base"]
    assert record["loss"]["final"] == training(tmp_path / "whole")["loss"]["final"]
    whole = weights(tmp_path / "whole")
    assert all(torch.equal(whole[name], tensor) for name, tensor in weights(tmp_path / "stopped").items())


def test_a_full_tuning_leaves_no_adapter_of_an_earlier_one(model, dataset, lora, tmp_path):
    shutil.copytree(lora, tmp_path, dirs_exist_ok=True)
    assert (tmp_path / "adapter").is_dir()
    assert tune(model, dataset, tmp_path, *QUICK) == 0
    assert not (tmp_path / "adapter").exists()


def test_the_same_command_again_does_nothing_and_another_one_tunes_again(model, dataset, quick, tmp_path, capfd):
    shutil.copytree(quick, tmp_path, dirs_exist_ok=True)
    first = weights(tmp_path)
    before = (tmp_path / "model.safetensors").stat().st_mtime_ns
    assert tune(model, dataset, tmp_path, *QUICK) == 0
    assert "already tuned" in capfd.readouterr().err
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == before
    assert tune(model, dataset, tmp_path, *QUICK, "--learning_rate", "5e-2") == 0
    assert not torch.equal(first["lm_head.weight"], weights(tmp_path)["lm_head.weight"])


def test_a_model_is_not_tuned_into_its_own_folder(dataset, quick, capfd):
    first = weights(quick)
    assert tune(quick, dataset, quick, *QUICK) == 2
    assert "where the tuned model would replace it" in capfd.readouterr().err
    assert all(torch.equal(tensor, first[name]) for name, tensor in weights(quick).items())


def test_the_best_checkpoint_is_kept_when_the_loss_rises(model, dataset, tmp_path):
    options = [
        "--early_stopping_patience",
        "1",
        "--num_train_epochs",
        "30",
        "--learning_rate",
        "2e-2",
        "--lr_scheduler_type=constant",
    ]
    assert tune(model, dataset, tmp_path, *options) == 0
    record = training(tmp_path)
    points = record["loss"]["evaluation"]["validation_unseen"]
    assert record["steps"] < 60  # 30 epochs of 2 steps
    assert (
        record["loss"]["final"]["validation_unseen"] == min(point["loss"] for point in points[1:]) < points[-1]["loss"]
    )


# -------------------------------------------------------------------------------------------------- what stops it


def test_a_diverged_training_ends_with_4_and_leaves_no_spoilt_checkpoint(model, dataset, tmp_path, capfd):
    options = [
        "--learning_rate",
        "1e30",
        "--max_grad_norm",
        "0",
        "--warmup_steps",
        "2",
        "--lr_scheduler_type=constant_with_warmup",
    ]
    assert tune(model, dataset, tmp_path, *QUICK, *options, "--save_steps", "1") == 4
    assert "diverged" in capfd.readouterr().err
    record = training(tmp_path)
    assert (record["state"], record["exit_code"]) == ("failed", 4)
    assert not (tmp_path / "model.safetensors").exists()
    kept = sorted((tmp_path / "checkpoints").glob("checkpoint-*/model.safetensors"))
    assert kept
    for path in kept:
        assert all(w.isfinite().all() for w in load_file(path).values())


def test_a_model_whose_loss_is_no_number_stops_before_the_first_step(model, dataset, tmp_path, capfd):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spoilt = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        spoilt.model.norm.weight[0] = float("nan")
    spoilt.save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path / "base")
    assert tune(tmp_path / "base", dataset, tmp_path / "out", *QUICK) == 4
    assert "loss is nan after step 0" in capfd.readouterr().err
    assert not list((tmp_path / "out").rglob("checkpoint-*"))
    assert training(tmp_path / "out")["state"] == "failed"


def test_a_loss_that_goes_wrong_keeps_the_checkpoint_before_it(model, dataset, tmp_path, monkeypatch):
    """The fault occurs at step 6 of 8; checkpoints are written after steps 2, 4 and 6."""
    from trl import SFTTrainer

    compute = SFTTrainer.compute_loss

    def faulty(self, model, inputs, *args, **options):
        loss = compute(self, model, inputs, *args, **options)
        wrong = self.state.global_step >= 5 and model.training
        return loss * float("nan") if wrong else loss

    monkeypatch.setattr(SFTTrainer, "compute_loss", faulty)
    assert tune(model, dataset, tmp_path, "--max_steps=8", "--per_device_train_batch_size=4") == 4
    kept = sorted(path.name for path in (tmp_path / "checkpoints").glob("checkpoint-*"))
    assert kept == ["checkpoint-2", "checkpoint-4"]
    for path in (tmp_path / "checkpoints").glob("*/model.safetensors"):
        assert all(w.isfinite().all() for w in load_file(path).values())
    monkeypatch.undo()
    assert tune(model, dataset, tmp_path, "--max_steps=8", "--per_device_train_batch_size=4") == 0
    assert training(tmp_path)["resumed_from_step"] == 4


def test_nothing_to_train_on(model, tmp_path, capfd):
    tiny_model.write(tmp_path / "empty", train=[])
    assert tune(model, tmp_path / "empty", tmp_path / "out") == 4
    assert "nothing to train on" in capfd.readouterr().err
    long = tiny_model.row("a", "word " * 60, "answer")
    tiny_model.write(tmp_path / "long", train=[long])
    assert tune(model, tmp_path / "long", tmp_path / "out", "--max_length", "32") == 4
    assert "every prompt fills max_length 32" in capfd.readouterr().err
    assert not (tmp_path / "out/training.json").exists()


def test_a_fatal_finding_about_batches_stops_before_training(model, dataset, tmp_path, monkeypatch, capfd):
    fault = Finding("end_masked_by_padding", "padding masks the end token", fatal=True)
    monkeypatch.setattr(findings, "check_padding", lambda *_: [fault])
    assert tune(model, dataset, tmp_path) == 4
    assert "padding masks the end token" in capfd.readouterr().err
    assert not (tmp_path / "training.json").exists()


def test_packed_documents_that_would_see_each_other_stop_it(model, dataset, tmp_path, monkeypatch, capfd):
    """Without the mask that transformers makes of the positions, attention runs over the whole block."""
    from transformers import masking_utils

    packed = [*QUICK, "--packing", "--max_length", "128"]
    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", lambda _: None)
    assert tune(model, dataset, tmp_path, *packed) == 4
    assert "packed documents attend to each other" in capfd.readouterr().err
    monkeypatch.undo()
    assert tune(model, dataset, tmp_path, *packed) == 0
    record = training(tmp_path)
    assert record["findings"] == []
    assert record["rows"]["trained_on"] == 16 > record["rows"]["blocks"]
    assert record["tokens"]["learnt"] < record["tokens"]["train"]


def test_all_findings_before_the_model_is_loaded_come_at_once(model, tmp_path, capfd, monkeypatch):
    tasks = tmp_path / "tasks.jsonl"
    task = {"id": "t", "instruction": "Name a colour, please.", "instances": [{"input": "", "output": "red"}]}
    tasks.write_text(json.dumps(task | {"is_classification": False}) + "\n")
    rows = [tiny_model.row("a", "Name a colour, please.", "red"), tiny_model.row("b", "word " * 60, "blue")]
    tiny_model.write(tmp_path / "data", train=rows, validation_unseen=rows[:1])
    monkeypatch.setattr(train, "make_trainer", lambda *_: pytest.fail("the model was loaded"))
    template = tmp_path / "no_end.jinja"
    template.write_text("{%- for m in messages -%}{{- m['role'] + ':' + m['content'] -}}{%- endfor -%}")
    options = ["--chat_template_path", template, "--max_length", "40", "--eval_tasks", tasks, "--assistant_only_loss"]
    options += ["--use_peft", "--use_dora", "--lora_r", "1024"]
    assert tune(model, tmp_path / "data", tmp_path / "out", *options) == 4
    shown = capfd.readouterr().err
    for wanted in (
        "row a: ",
        "error: no row trains the end token '</s>'",
        "1 rows are left out: their prompts alone fill max_length 40",
        "error: the chat template has no {% generation %} markers",
        "have the prompt of a validation_unseen row",
        "have the instruction of an evaluation task",
        "lora_r 1024 is above 512",
        "vLLM serves no adapter made with --use_dora",
    ):
        assert wanted in shown
    assert not (tmp_path / "out/training.json").exists()


def test_validation_files_may_be_missing_or_empty(model, tmp_path):
    rows = [tiny_model.row(str(n), f"Question {n}?", "Yes.") for n in range(8)]
    tiny_model.write(tmp_path / "data", train=rows, validation_seen=[])
    assert tune(model, tmp_path / "data", tmp_path / "out", *QUICK) == 0
    assert training(tmp_path / "out")["loss"]["evaluation"] == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lerning_rate", "1"], "did you mean --learning_rate?"),
        (["--model_name_or_path", "./no/such/model"], "no such model"),
        (["--eos_token", "<nope>"], "--eos_token '<nope>' is not in the model's vocabulary"),
        (["--padding_free", "true"], "TRL refuses: When `padding_free=True` without packing"),
    ],
)
def test_bad_arguments_end_with_2_and_no_traceback(model, dataset, tmp_path, capfd, options, message):
    assert tune(model, dataset, tmp_path / "out", *options) == 2
    shown = " ".join(capfd.readouterr().err.split())
    assert message in shown
    assert "Traceback" not in shown


def test_an_unexpected_error_ends_with_1_and_a_traceback_only_when_wanted(model, dataset, tmp_path, capfd, monkeypatch):
    def fail(*_, **__):
        raise LookupError("odd")

    monkeypatch.setattr(data, "tokenize", fail)
    assert tune(model, dataset, tmp_path) == 1
    shown = capfd.readouterr().err
    assert "LookupError: odd" in shown
    assert "Traceback" not in shown
    assert tune(model, dataset, tmp_path, "--debug") == 1
    assert "Traceback" in capfd.readouterr().err


def test_a_row_is_shown_with_its_trained_tokens(model, dataset, tmp_path, capfd):
    assert tune(model, dataset, tmp_path, *QUICK) == 0
    shown = capfd.readouterr().err
    assert "row p000000-00/0:" in shown
    assert "│</s>\n" in shown.split("  trained ")[1]
    assert tune(model, dataset, tmp_path, *QUICK, "--overwrite", "--show_row", "full") == 0
    assert "trained '</s>'" in capfd.readouterr().err
    assert tune(model, dataset, tmp_path, *QUICK, "--overwrite", "--show_row", "no") == 0
    assert "row p000000-00/0:" not in capfd.readouterr().err
