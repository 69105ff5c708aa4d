"""Tuning by several processes, as `accelerate launch` starts them: on the CPU here, by gloo, also under FSDP2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from selfinstruct import stages
from selfinstruct.config import Tune
from selfinstruct.errors import ConfigError
from tests import tiny_model
from tuning.launch import tune_command

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("processes")
    tiny_model.save(root / "base")
    tiny_model.dataset(root / "data")
    two = ["compute_environment: LOCAL_MACHINE", "distributed_type: MULTI_GPU", "num_machines: 1", "num_processes: 2"]
    (root / "accelerate.yaml").write_text("\n".join([*two, "mixed_precision: 'no'"]))
    two[1] = "distributed_type: FSDP"
    fsdp = {"fsdp_version": 2, "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "fsdp_cpu_ram_efficient_loading": False}
    (root / "fsdp.yaml").write_text("\n".join([*two, "mixed_precision: 'no'", f"fsdp_config: {json.dumps(fsdp)}"]))
    return root


def tune(folder: Path, output: str, module: str = "tuning.sft", **options) -> None:
    section = Tune(**({"max_steps": 2, "eval_strategy": "no"} | options))
    places = {"model": str(folder / "base"), "dataset_dir": folder / "data", "output_dir": folder / output}
    command = tune_command(section, **places)
    stages._call([module if word == "tuning.sft" else word for word in command], "tune")


def test_a_configuration_of_accelerates_decides_the_processes(folder):
    tune(folder, "out", accelerate_config=str(folder / "accelerate.yaml"))
    found = json.loads((folder / "out/training.json").read_text())
    assert (found["state"], found["machine"]["num_processes"], found["steps"]) == ("finished", 2, 2)
    assert (folder / "out/model.safetensors").exists()


@pytest.mark.parametrize("method", ["full", pytest.param("lora", marks=pytest.mark.long)])
def test_fsdp_saves_a_whole_model_as_good_as_the_one_of_two_plain_processes(folder, method):
    """FSDP2 keeps its checkpoints in parts, by default; the best of them is loaded, and the model gathered from it."""
    options = {"max_steps": 4, "eval_strategy": "steps", "eval_steps": 1, "load_best_model_at_end": True}
    options |= {"use_peft": True} if method == "lora" else {}
    tune(folder, f"plain-{method}", num_processes=2, **options)
    parts = {"accelerate_config": str(folder / "fsdp.yaml"), "module": "tests.integration.fsdp_on_cpu"}
    tune(folder, f"fsdp-{method}", **parts, **options)
    plain, sharded = (json.loads((folder / f"{x}-{method}/training.json").read_text()) for x in ("plain", "fsdp"))
    assert (sharded["state"], sharded["machine"]["num_processes"]) == ("finished", 2)
    assert sharded["loss"]["final"] == pytest.approx(plain["loss"]["final"], rel=1e-3)
    assert sharded["loss"]["final"]["validation_unseen"] < sharded["loss"]["base"]["validation_unseen"]
    files = ["model.safetensors", *(["adapter/adapter_model.safetensors"] if method == "lora" else [])]
    for file in files:
        one, other = (load_file(folder / f"{x}-{method}" / file) for x in ("plain", "fsdp"))
        assert one.keys() == other.keys()
        assert all(torch.allclose(one[name], other[name], atol=1e-3) for name in one)
        assert {weight.dtype for weight in one.values()} == {weight.dtype for weight in other.values()}


def test_the_exit_code_is_the_failing_process_own(folder, capfd):
    """accelerate makes 1 of every code."""
    with pytest.raises(ConfigError, match=r"tune did not finish \(exit code 2\)"):
        tune(folder, "failed", num_processes=2, eos_token="<nope>")
    assert capfd.readouterr().err.count("--eos_token '<nope>' is not in the model's vocabulary") == 1
