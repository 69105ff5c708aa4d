"""Tuning by several processes, as `accelerate launch` starts them: on the CPU here, by gloo, also under FSDP2."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from selfinstruct.chain import stage_process
from selfinstruct.config.later_stages import Tune
from selfinstruct.errors import ConfigError, Interrupted, StoppedError
from tests import tiny_model
from tuning.training.launch import tune_command

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("processes")
    tiny_model.save(root / "base")
    tiny_model.dataset(root / "data")
    common = {"compute_environment": "LOCAL_MACHINE", "num_machines": 1, "num_processes": 2, "mixed_precision": "no"}
    fsdp = {
        "fsdp_version": 2,
        "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "fsdp_cpu_ram_efficient_loading": False,
    }
    zero3 = {
        "zero_stage": 3,
        "gradient_accumulation_steps": 1,
        "zero3_init_flag": False,
        "zero3_save_16bit_model": False,
    }
    kinds = {
        "accelerate": {"distributed_type": "MULTI_GPU"},
        "fsdp": {"distributed_type": "FSDP", "fsdp_config": fsdp},
        "zero3": {"distributed_type": "DEEPSPEED", "deepspeed_config": zero3},
    }
    for name, kind in kinds.items():
        (root / f"{name}.yaml").write_text(json.dumps(common | kind))
    return root


def tune(folder: Path, output: str, module: str = "tuning.sft", **options) -> None:
    section = Tune(**({"max_steps": 2, "eval_strategy": "no"} | options))
    places = {"model": str(folder / "base"), "dataset_dir": folder / "data", "output_dir": folder / output}
    command = tune_command(section, **places)
    stage_process.run_stage([module if word == "tuning.sft" else word for word in command], "tune")


def best_of_four_steps(folder: Path, output: str, method: str, module: str = "tuning.sft", **launch) -> Path:
    """Tune into the folder `output`, unless another test has; return it."""
    options = {"max_steps": 4, "eval_strategy": "steps", "eval_steps": 1, "load_best_model_at_end": True}
    options["per_device_train_batch_size"] = 4  # The choice that is played here sets none.
    if not (folder / output).exists():
        tune(folder, output, module, **launch, **options, **({"use_peft": True} if method == "lora" else {}))
    return folder / output


def of_two_plain_processes(folder: Path, method: str) -> Path:
    return best_of_four_steps(folder, f"plain-{method}", method, accelerate_config=str(folder / "accelerate.yaml"))


def test_a_configuration_of_accelerates_decides_the_processes(folder):
    output = of_two_plain_processes(folder, "full")
    record = json.loads((output / "training.json").read_text())
    assert (record["state"], record["machine"]["num_processes"], record["steps"]) == ("finished", 2, 4)
    assert (output / "model.safetensors").exists()


without_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed")


@pytest.mark.parametrize(
    ("sharding", "method"),
    [
        ("chosen", "full"),
        pytest.param("chosen", "lora", marks=pytest.mark.long),
        pytest.param("fsdp", "full", marks=pytest.mark.long),
        pytest.param("fsdp", "lora", marks=pytest.mark.long),
        pytest.param("zero3", "full", marks=[pytest.mark.long, without_deepspeed]),
        pytest.param("zero3", "lora", marks=[pytest.mark.long, without_deepspeed]),
    ],
)
def test_sharded_weights_become_a_whole_model_as_good_as_that_of_two_plain_processes(folder, sharding, method):
    """Their checkpoints are in parts, by default; the best of them is loaded, and the model gathered from it."""
    module = "tuning.sft" if sharding == "zero3" else "tests.integration.fsdp_on_cpu"
    launch = {"num_processes": 2} if sharding == "chosen" else {"accelerate_config": str(folder / f"{sharding}.yaml")}
    sharded = best_of_four_steps(folder, f"{sharding}-{method}", method, module, **launch)
    plain = of_two_plain_processes(folder, method)
    record, expected = (json.loads((at / "training.json").read_text()) for at in (sharded, plain))
    assert (record["state"], record["machine"]["num_processes"]) == ("finished", 2)
    assert record["loss"]["final"] == pytest.approx(expected["loss"]["final"], rel=1e-3)
    assert record["loss"]["final"]["validation_unseen"] < record["loss"]["base"]["validation_unseen"]
    for file in ["model.safetensors", *(["adapter/adapter_model.safetensors"] if method == "lora" else [])]:
        one, other = load_file(sharded / file), load_file(plain / file)
        assert one.keys() == other.keys()
        assert all(torch.allclose(one[name], other[name], atol=1e-3) for name in one)
        assert all(one[name].dtype == other[name].dtype for name in one)


def test_the_exit_code_is_the_failing_process_own(folder, capfd):
    """accelerate turns every exit code into 1."""
    said = "--eos_token '<nope>' is not in the model's vocabulary"
    with pytest.raises(ConfigError, match=said):
        tune(folder, "failed", "tests.integration.refusing_tuner", num_processes=2)
    assert capfd.readouterr().err == "", "the chain says it, once, and the launcher writes no traceback"


def test_a_killed_process_is_one_line_and_the_launchers_traceback_is_in_the_log(folder, capfd, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (folder / "journal.jsonl").touch()
    killed = "tune: process 1 was killed by SIGKILL; the same command continues; .*libraries.log has its last words"
    with pytest.raises(StoppedError, match=killed):
        tune(folder, "killed", "tests.integration.refusing_tuner", num_processes=2)
    assert capfd.readouterr().err == ""
    assert "ChildFailedError" in (folder / "libraries.log").read_text()
    assert not list(tmp_path.iterdir()), "nor does it leave temporary folders"


def test_a_signal_to_the_launcher_is_no_failure(folder, capfd):
    with pytest.raises(Interrupted) as stopped:
        tune(folder, "signalled", "tests.integration.refusing_tuner", num_processes=2)
    assert stopped.value.exit_code == 143
    assert "Traceback" not in capfd.readouterr().err
