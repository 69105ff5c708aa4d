"""README's commands for a GPU box, dry, on boxes made up at their edges: they end in a plan that fits, and print it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from selfinstruct.config.load import load_config
from selfinstruct.hardware import free_disk
from selfinstruct.text import GIB
from tests.gpu_box.box import Box

pytestmark = pytest.mark.integration
README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line for line in README.splitlines() if re.match(r"selfinstruct (init|run) night\.yaml( --model \S+)?$", line)
]
PLANS = {
    (1, 24): (
        "1 x NVIDIA L4, 22.5 GiB",
        "one replica on one GPU, a context of 8,192 of the model's 32,768 tokens",
        "LoRA: about",
    ),
    (1, 80): (
        "1 x NVIDIA H100 80GB HBM3, 79.6 GiB",
        "one replica on one GPU, a context of 24,576 of the model's 32,768 tokens",
        "LoRA: about",
    ),
    (1, 141): (
        "1 x NVIDIA H200, 140.4 GiB",
        "one replica on one GPU, a context of 24,576 of the model's 32,768 tokens",
        "LoRA: about",
    ),
    (8, 80): (
        "8 x NVIDIA H100 80GB HBM3, 79.6 GiB",
        "8 replicas, each on one GPU, a context of 24,576 of the model's 32,768 tokens",
        "full fine-tuning shared between the GPUs: about",
    ),
}


def planned(shown: str) -> dict[str, str]:
    """Return the lines of the plan and of what is expected, by their names."""
    return dict(re.findall(r"^#   (\w+) +(.*)$", shown, re.M))


@pytest.mark.parametrize(
    ("gpus", "gigabytes"), [pytest.param(*case, marks=[pytest.mark.long] * (case != (1, 80))) for case in PLANS]
)
def test_readmes_commands_end_in_a_plan_that_fits(gpus: int, gigabytes: int, tmp_path: Path) -> None:
    box = Box.make(tmp_path / "box", gpus=gpus, gigabytes=gigabytes, families=["qwen3-base"])
    init, run = (shlex.split(line)[1:] for line in COMMANDS)
    assert box.run(*init).returncode == 0
    done = box.run(*run, "--dry-run")
    if free_disk(tmp_path) > 300 * GIB:
        assert done.returncode == 0, done.stderr
    else:  # The disk is this machine's own. Nothing else may be wrong.
        assert done.stderr == "" or re.fullmatch(r"Error: \S+ [\d.]+ GiB are free, and the run [^\n]+\n", done.stderr)
    plan, (hardware, replicas, method) = planned(done.stdout), PLANS[gpus, gigabytes]
    assert plan["model"] == "Qwen/Qwen3-8B-Base: 8.2 billion parameters, 15.3 GiB in bfloat16"
    assert plan["GPUs"] == hardware
    assert plan["generation"] == f"{replicas}, prompts in the style `completion`"
    assert plan["tuning"].startswith(method)
    low, high = (int(n.replace(",", "")) for n in re.findall(r"[\d,]+(?= to| tokens/s)", plan["speed"]))
    assert 100 * gpus < low < high < 30_000 * gpus
    assert re.fullmatch(r".+ in all: .+ of generation, .+ of evaluation, .+ of training, .+ of starts", plan["time"])
    assert float(re.match(r"([\d.]+) GiB", plan["disk"])[1]) < 400  # type: ignore[index]
    (tmp_path / "again.yaml").write_text(done.stdout)
    assert load_config(tmp_path / "again.yaml", {}) == load_config(box.folder / "night.yaml", {})


@pytest.mark.long
def test_a_70b_is_divided_and_one_that_cannot_be_tuned_is_refused_in_time(tmp_path: Path) -> None:
    init = ["init", "night.yaml", "--model", "meta-llama/Meta-Llama-3-70B-Instruct"]
    eight = Box.make(tmp_path / "eight", gpus=8, gigabytes=80, families=["llama3-70b-instruct"])
    eight.run(*init)
    shown = planned(eight.run("run", "night.yaml", "--dry-run").stdout)
    assert shown["generation"].startswith(
        "2 replicas, each on 4 GPUs, a context of 8,192 tokens, prompts in the style `chat`"
    )
    assert shown["tuning"].startswith("LoRA shared between the GPUs: about")
    alone = Box.make(tmp_path / "one", gpus=1, gigabytes=80, families=["llama3-70b-instruct"])
    alone.run(*init)
    done = alone.run("run", "night.yaml", "--dry-run")
    assert done.returncode == 2
    assert "its weights take 131" in done.stderr and "the training does not fit" in done.stderr
    assert "max_length" not in done.stderr, "the weights alone take more"
    shown = planned(done.stdout)
    assert (
        shown["generation"] == "it does not fit" and shown["time"] == "unknown: the model does not fit into these GPUs"
    )
    assert "speed" not in shown and "tuning" not in shown["disk"]
