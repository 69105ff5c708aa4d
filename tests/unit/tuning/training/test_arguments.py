"""Arguments: TRL's own by their own names, our defaults only where nothing was said, errors a person can act on."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from selfinstruct.config.later_stages import Tune
from selfinstruct.errors import ConfigError
from tuning.sft import set_environment
from tuning.training.arguments import defaults, learning_rate, parse
from tuning.training.launch import processes_of, tune_command
from tuning.training.tuning_method import Device

CPU = Device(cuda=False, bf16=False)
GPU = Device(cuda=True, bf16=True)
OLD_GPU = Device(cuda=True, bf16=False)
NEEDED = ["--dataset_dir", "data", "--output_dir", "out", "--model_name_or_path", "model"]


def test_arguments_of_every_owner_go_to_their_owner():
    parsed = parse([*NEEDED, "--learning-rate", "1e-3", "--packing", "--lora_r=4", "--prompt-format", "alpaca"], CPU)
    assert (parsed.training["learning_rate"], parsed.training["packing"]) == (1e-3, True)
    assert (parsed.model.lora_r, parsed.tune.prompt_format) == (4, "alpaca")
    assert set(parsed.by_user) == {
        "dataset_dir", "output_dir", "model_name_or_path", "learning_rate", "packing", "lora_r", "prompt_format",
    }  # fmt: skip


def test_defaults_hold_only_where_nothing_was_given():
    silent = parse(NEEDED, CPU).sft_config()
    assert (silent.use_cpu, silent.bf16, silent.gradient_checkpointing, silent.report_to) == (True, False, False, [])
    assert (silent.eval_strategy, silent.eval_on_start, silent.logging_nan_inf_filter) == ("steps", True, False)
    said = parse(
        [*NEEDED, "--gradient_checkpointing", "true", "--eval_strategy", "no", "--report_to", "tensorboard", "wandb"],
        CPU,
    ).sft_config()
    assert (said.gradient_checkpointing, said.eval_strategy, said.eval_on_start) == (True, "no", False)
    assert said.report_to == ["tensorboard", "wandb"]


def test_defaults_follow_the_machine_and_the_method():
    assert defaults({}, GPU)["bf16"] is True
    assert "dtype" not in defaults({}, GPU)  # full fine-tuning keeps float32 weights
    assert defaults({"use_peft": True}, GPU)["dtype"] == "bfloat16"
    assert defaults({"use_peft": True, "fp16": True}, GPU).get("dtype") is None
    assert defaults({}, OLD_GPU)["bf16"] is False
    assert defaults({"use_cpu": True}, GPU)["gradient_checkpointing"] is False
    assert "gradient_checkpointing" not in defaults({}, GPU)  # TRL's default


@pytest.mark.parametrize("cuda", [True, False])
@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_a_step_has_as_many_rows_on_any_number_of_gpus_where_no_method_is_chosen(cuda: bool, processes: int):
    """The model cannot be sized, or its memory is not known."""
    device = Device(cuda=cuda, bf16=cuda, processes=processes)
    parsed = parse(NEEDED, device)
    rows = [parsed.training[name] for name in ("per_device_train_batch_size", "gradient_accumulation_steps")]
    assert parsed.choice is None and rows[0] * rows[1] * processes == 8
    given = parse([*NEEDED, "--per_device_train_batch_size", "3"], device).training
    assert (given["per_device_train_batch_size"], given["gradient_accumulation_steps"]) == (3, 1)


def test_the_best_checkpoint_is_kept_by_the_loss_on_unseen_tasks():
    ours = defaults({}, CPU)
    assert ours["load_best_model_at_end"] is True
    assert ours["metric_for_best_model"] == "eval_validation_unseen_loss"
    assert ours["save_strategy"] == ours["eval_strategy"] == "steps"
    assert ours["save_steps"] == ours["eval_steps"] == 0.2


@pytest.mark.parametrize(
    ("by_user", "kept", "strategy", "interval"),
    [
        ({"eval_steps": 7}, True, "steps", 7),
        ({"save_steps": 7}, True, "steps", 7),
        ({"eval_strategy": "epoch"}, True, "epoch", 0.2),
        ({"eval_strategy": "no"}, False, "steps", 0.2),
        ({"save_strategy": "no"}, False, "no", 0.2),
        ({"save_strategy": "epoch"}, False, "epoch", 0.2),  # of another step than the evaluations
        ({"save_strategy": "best"}, True, "best", 0.2),
        ({"eval_steps": 10, "save_steps": 20}, True, "steps", 20),
        ({"eval_steps": 10, "save_steps": 25}, False, "steps", 25),
        ({"eval_steps": 0.1, "save_steps": 100}, False, "steps", 100),
        ({"eval_steps": 0.1, "save_steps": 0.3}, True, "steps", 0.3),
        ({"load_best_model_at_end": False}, False, "steps", 0.2),
    ],
)
def test_the_best_is_kept_wherever_checkpoints_are_evaluated(by_user, kept, strategy, interval):
    options = [f"--{name}={value}" for name, value in by_user.items()]
    training = parse([*NEEDED, *options], CPU).sft_config()  # transformers raises where the two do not go together
    assert training.load_best_model_at_end is kept
    assert (training.save_strategy, training.save_steps) == (strategy, interval)


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "mix_temperature"])
@pytest.mark.parametrize(("value", "in_yaml"), [("inf", ".inf"), ("1e400", "-.inf"), ("nan", ".nan")])
def test_numbers_are_finite(name, value, in_yaml, tmp_path):
    (tmp_path / "more.yaml").write_text(f"{name}: {in_yaml}\n")
    for given in (f"--{name}={value}", f"--config={tmp_path / 'more.yaml'}"):
        with pytest.raises(ConfigError, match=rf"^--{name} must be a finite number, got -?(inf|nan)$"):
            parse([*NEEDED, given], CPU)


def test_a_gradients_norm_may_have_no_bound():
    assert parse([*NEEDED, "--max_grad_norm=inf"], CPU).training["max_grad_norm"] == float("inf")


def test_merge_is_for_adapters():
    assert parse([*NEEDED, "--use_peft", "--merge", "adapter"], CPU).tune.merge == "adapter"
    with pytest.raises(ConfigError, match="--merge merged: full fine-tuning makes no adapter"):
        parse([*NEEDED, "--merge", "merged"], CPU)


def test_none_is_absence_except_where_it_is_a_name():
    assert parse([*NEEDED, "--max_length", "none"], CPU).sft_config().max_length is None
    assert parse([*NEEDED, "--attn_implementation=none"], CPU).model.attn_implementation is None
    assert parse([*NEEDED, "--report_to", "none"], CPU).sft_config().report_to == []


def test_config_file_stands_between_defaults_and_command_line(tmp_path: Path):
    path = tmp_path / "tune.yaml"
    path.write_text("learning_rate: 1e-3\nnum_train_epochs: 2\nuse_peft: true\nreport_to: tensorboard\n")
    parsed = parse([*NEEDED, "--config", str(path), "--num_train_epochs", "5"], CPU)
    config = parsed.sft_config()
    assert (config.learning_rate, config.num_train_epochs) == (1e-3, 5)
    assert parsed.model.use_peft
    assert config.report_to == ["tensorboard"]
    assert {"learning_rate", "use_peft", "report_to"} <= set(parsed.by_user)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([*NEEDED, "--lerning_rate", "1"], "--lerning_rate: TRL has no such argument; did you mean --learning_rate?"),
        ([*NEEDED, "--learning_rate", "fast"], "invalid float value: 'fast'"),
        ([*NEEDED, "--max_length", "long"], "invalid int value: 'long'"),
        ([*NEEDED, "--lr_scheduler_type", "steep"], "invalid choice: 'steep'"),
        ([*NEEDED, "--prompt_format", "chatml"], "invalid choice: 'chatml'"),
        ([*NEEDED, "stray"], "'stray' belongs to no argument"),
        ([*NEEDED, "--load_in_4bit", "--load_in_8bit"], "TRL refuses the arguments: You can't use 8 bit and 4 bit"),
        (NEEDED[2:], "--dataset_dir"),
        (NEEDED[:2] + NEEDED[4:], "--output_dir is missing"),
        (NEEDED[:4], "--model_name_or_path is missing"),
        ([*NEEDED, "--config", "/nonexistent.yaml"], "/nonexistent.yaml: cannot be read"),
    ],
)
def test_bad_arguments_are_named(argv, message):
    with pytest.raises(ConfigError) as caught:
        parse(argv, CPU)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_help_shows_the_defaults_that_hold(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(["--help"], CPU)
    assert caught.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "--dataset_dir DATASET_DIR" in shown
    assert "(default: cosine)" in shown


def test_unknown_key_of_a_config_file_is_named(tmp_path: Path):
    path = tmp_path / "tune.yaml"
    path.write_text("lora_alfa: 4\n")
    with pytest.raises(ConfigError, match=r"--lora_alfa: .*did you mean --lora_alpha\?"):
        parse([*NEEDED, "--config", str(path)], CPU)


def test_learning_rate_falls_with_size_and_rises_for_adapters():
    assert learning_rate(8_000_000_000, lora=False) == learning_rate(1_000_000_000, lora=False) == 2e-5
    assert learning_rate(8_000_000_000, lora=True) == 2e-4
    assert learning_rate(135_000_000, lora=False) == 9e-5
    assert learning_rate(5_000_000, lora=False) == 1e-3
    assert learning_rate(5_000_000, lora=True) == 2e-3


# ------------------------------------------------------------------------------------------------------ launch


def command(tmp_path: Path, num_processes: int = 1, section: Tune | None = None, **options) -> list[str]:
    model = tmp_path / "base"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text("{}")
    return tune_command(
        section or Tune(**options),
        model=str(model),
        dataset_dir=tmp_path / "data",
        output_dir=tmp_path / "out",
        num_processes=num_processes,
    )


def test_one_process_needs_no_launcher(tmp_path):
    assert command(tmp_path) == [
        sys.executable,
        "-m",
        "tuning.sft",
        f"--model_name_or_path={tmp_path / 'base'}",
        f"--dataset_dir={tmp_path / 'data'}",
        f"--output_dir={tmp_path / 'out'}",
    ]


def test_several_processes_are_launched_by_accelerate(tmp_path):
    argv = command(tmp_path, num_processes=4)
    assert argv[:4] == [sys.executable, "-m", "tuning.training.accelerate_launch", "--num_processes=4"]
    assert argv[argv.index("--module") + 1] == "tuning.sft"
    assert "--num_processes=2" in command(tmp_path, num_processes=4, section=Tune(num_processes=2))


def test_a_configuration_of_accelerates_is_launched_by(tmp_path):
    path = tmp_path / "fsdp.yaml"
    path.write_text("distributed_type: FSDP\n")
    argv = command(tmp_path, num_processes=4, accelerate_config=str(path))
    assert argv[2:5] == ["tuning.training.accelerate_launch", f"--config_file={path}", "--module"]
    section = Tune(accelerate_config=str(path), num_processes=2)
    assert "--num_processes=2" in command(tmp_path, section=section)
    assert not any("accelerate_config" in word for word in argv)
    with pytest.raises(ConfigError, match=r"tune\.accelerate_config: no such file: nowhere\.yaml"):
        command(tmp_path, accelerate_config="nowhere.yaml")


def test_the_processes_of_a_tuning_are_known_before_it(tmp_path):
    assert processes_of(Tune(), 8) == (8, False)
    assert processes_of(Tune(), 0) == (1, False)
    # A step has 8 rows on any machine.
    assert [processes_of(Tune(), gpus)[0] for gpus in (1, 2, 3, 4, 6, 7, 16)] == [1, 2, 2, 4, 4, 4, 8]
    assert processes_of(Tune(num_processes=3), 8) == (3, False)
    assert processes_of(Tune(num_processes=2), 8) == (2, False)
    path = tmp_path / "accelerate.yaml"
    path.write_text("distributed_type: FSDP\nnum_processes: 4\n")
    assert processes_of(Tune(accelerate_config=str(path)), 8) == (4, True)
    path.write_text("distributed_type: MULTI_GPU\n")
    assert processes_of(Tune(accelerate_config=str(path)), 8) == (8, False)


def test_the_generators_revision_is_tuned(tmp_path):
    def revision(tune: Tune, revision: str | None = "v2") -> list[str]:
        argv = tune_command(tune, model="demo", revision=revision, dataset_dir=tmp_path, output_dir=tmp_path)
        return [word for word in argv if word.startswith("--model_revision")]

    assert revision(Tune(num_processes=1)) == ["--model_revision=v2"]
    assert revision(Tune(num_processes=1), None) == []
    assert revision(Tune(num_processes=1, model="some/other")) == []  # It has revisions of its own.
    assert revision(Tune(num_processes=1, model_revision="v1")) == ["--model_revision=v1"]


@pytest.mark.parametrize(("before", "after"), [(None, "0"), ("3,5", "3"), ("", "")])
def test_one_process_sees_one_gpu(monkeypatch, before, after):
    """TRL refuses several."""
    for name in ("WORLD_SIZE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "")  # restored in the end
        monkeypatch.delenv(name)
    if before is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
    set_environment(debug=True)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == after
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    set_environment(debug=True)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"


def test_a_user_hears_nothing_of_pefts_patterns(monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        set_environment(debug=False)
        warnings.warn("The following rank_pattern keys did not match any targeted module", RuntimeWarning, stacklevel=1)
        warnings.warn("another", RuntimeWarning, stacklevel=1)
    assert [str(warning.message) for warning in heard] == ["another"]


def test_evaluation_tasks_are_handed_on(tmp_path):
    command(tmp_path)
    names = ["eval_tasks", "mine/tasks.jsonl"]
    places = {"model": str(tmp_path / "base"), "dataset_dir": tmp_path, "output_dir": tmp_path / "out"}
    argv = tune_command(Tune(), **places, eval_tasks=names, num_processes=1)
    parsed = parse(argv[argv.index("tuning.sft") + 1 :], CPU)
    assert parsed.tune.eval_tasks == names


def test_every_kind_of_value_comes_back_from_the_parser(tmp_path):
    options = {
        "learning_rate": 0.0003,
        "packing": False,
        "bf16": False,
        "max_length": None,
        "lora_target_modules": ["q_proj", "v_proj"],
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "eos_token": "--odd",
        "report_to": ["tensorboard", "wandb"],
    }
    argv = command(tmp_path, **options)
    parsed = parse(argv[argv.index("tuning.sft") + 1 :], CPU)
    assert {name: parsed.by_user[name] for name in options} == {
        **options,
        "gradient_checkpointing_kwargs": '{"use_reentrant": false}',
    }
    assert parsed.sft_config().gradient_checkpointing_kwargs == {"use_reentrant": False}


def test_what_the_run_decides_cannot_be_given(tmp_path):
    with pytest.raises(ConfigError, match=r"tune\.output_dir is decided by the run's model folder"):
        command(tmp_path, output_dir="elsewhere")


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no such model"):
        tune_command(
            Tune(model="./nothing/here"), model="x", dataset_dir=tmp_path, output_dir=tmp_path, num_processes=1
        )


@pytest.mark.whole
def test_launching_imports_nothing_heavy():
    heavy = ("torch", "transformers", "trl", "datasets")
    code = f"import sys, tuning.training.launch; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(("name", "value"), [("temperature", "0.001"), ("task_cap", "0")])
def test_values_that_no_mixture_can_be_drawn_with(name, value):
    with pytest.raises(ConfigError, match=f"--mix_{name} must be at least"):
        parse([*NEEDED, f"--mix_{name}", value], CPU)


def test_fewer_tasks_need_some_that_are_held_out():
    with pytest.raises(ConfigError, match="nothing is held out; add --mix_hold_out task"):
        parse([*NEEDED, "--mix", "a.json", "--mix_most_seen", "4"], CPU)
    with pytest.raises(ConfigError, match="--mix_most_seen must be at least 1, got 0"):
        parse([*NEEDED, "--mix", "a.json", "--mix_hold_out", "task", "--mix_most_seen", "0"], CPU)
