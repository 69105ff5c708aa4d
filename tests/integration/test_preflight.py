"""The tuner's arguments before a run: TRL itself reads them, in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfinstruct.checks.preflight import check
from selfinstruct.hardware import Gpu, Hardware
from selfinstruct.packaged import model_path
from selfinstruct.text import GIB
from tests.gpu_box import model_folder
from tests.gpu_box.families import FAMILIES
from tests.heavy import Heavy

pytestmark = pytest.mark.integration

preview = Heavy("tuning.training.preview")
HOST = Hardware((), 64 * GIB, 64 * GIB)
H100 = Gpu("NVIDIA H100", 80 * GIB, 79 * GIB)


def test_the_tuners_arguments_are_read_by_trl(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def problems(**tune: Any) -> list[str]:
        return [
            str(p) for p in check(make_config(model=str(model_path()), tune=tune), tuned=True, hardware=HOST).problems
        ]

    assert problems(lerning_rate=1e-4) == [
        "tune: --lerning_rate: TRL has no such argument; did you mean --learning_rate?"
    ]
    assert "tune.output_dir is decided by the run's model folder" in problems(output_dir="x")[0]
    (tmp_path / "trl.py").write_text("raise ImportError('libwrong.so: no such file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert problems() == [
        "tune: the tuner cannot be started here: ImportError: libwrong.so: no such file; repair its installation"
    ]


def test_the_method_of_tuning_is_known_from_the_configuration_and_the_gpus(make_config: Any, tmp_path: Path) -> None:
    """An 8B model generates on one GPU of 80 GB, and full fine-tuning of it would not fit there."""

    def of(**options: Any) -> Any:
        return make_config(model=str(model_path()), **options)

    model = str(model_folder.full(FAMILIES["qwen3-base"], tmp_path / "8b"))
    gpus = Hardware((H100,), 64 * GIB, 64 * GIB)
    found = check(of(tune={"model": model}), tuned=True, hardware=gpus)
    assert found.problems == [] and found.tuning is not None
    assert (found.tuning.method, found.tuning.arguments["use_peft"]) == ("lora", True)
    assert "of the GPU's 80.0 GiB; full fine-tuning would take 138.2 GiB" in found.tuning.reason
    # What the process would print, without a second process.
    arguments = ["--model_name_or_path", model, "--dataset_dir", "dataset", "--output_dir", "model"]
    refused = preview.preview(
        {"memory": H100.total, "processes": 1, "shared": False}, [*arguments, "--use_peft", "false"]
    )
    assert "the training does not fit: full fine-tuning takes about 138.2 GiB" in refused["error"]
