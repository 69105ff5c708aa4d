"""Tuning by several processes, as `accelerate launch` starts them: on the CPU here, by gloo."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
    return root


def tune(folder: Path, output: str, **options) -> None:
    section = Tune(max_steps=2, eval_strategy="no", **options)
    places = {"model": str(folder / "base"), "dataset_dir": folder / "data", "output_dir": folder / output}
    stages._call(tune_command(section, **places), "tune")


def test_a_configuration_of_accelerates_decides_the_processes(folder):
    tune(folder, "out", accelerate_config=str(folder / "accelerate.yaml"))
    found = json.loads((folder / "out/training.json").read_text())
    assert (found["state"], found["machine"]["num_processes"], found["steps"]) == ("finished", 2, 2)
    assert (folder / "out/model.safetensors").exists()


def test_the_exit_code_is_the_failing_process_own(folder, capfd):
    """accelerate makes 1 of every code."""
    with pytest.raises(ConfigError, match=r"tune did not finish \(exit code 2\)"):
        tune(folder, "failed", num_processes=2, eos_token="<nope>")
    assert capfd.readouterr().err.count("--eos_token '<nope>' is not in the model's vocabulary") == 1
