"""The choice of the method, by published models on made-up GPUs."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.engines.model_facts import read_config
from selfinstruct.errors import ConfigError
from selfinstruct.text import GIB
from tests.gpu_box import model_folder
from tests.gpu_box.families import FAMILIES
from tuning.training import arguments, tuning_method
from tuning.training.tuning_method import Device, Sizes, choose

QWEN_8B, SMALL, LARGE = "qwen3-base", "smollm2", "llama3-70b-instruct"
GPUS = {"24": (23.7, 1), "80": (79.6, 1), "141": (139.8, 1), "8 x 80": (79.6, 8)}


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    @functools.cache
    def of(family: str) -> Sizes:
        folder = model_folder.full(FAMILIES[family], tmp_path_factory.mktemp(family))
        return tuning_method.sizes_of(read_config(str(folder)), {"use_peft": True})

    return of


def gpus(name: str, **other: Any) -> Device:
    memory, processes = GPUS[name]
    return Device(cuda=True, bf16=True, memory=int(memory * GIB), processes=processes, **other)


@pytest.mark.parametrize(
    ("family", "chosen"),
    [
        (QWEN_8B, {"24": "lora", "80": "lora", "141": "lora", "8 x 80": "full, shared"}),
        (SMALL, {"24": "lora", "80": "full", "141": "full", "8 x 80": "full"}),
        (LARGE, {"24": None, "80": "qlora", "141": "qlora", "8 x 80": "lora, shared"}),
        ("gpt-oss", {"24": None, "80": "lora", "141": "lora", "8 x 80": "lora"}),
    ],
)
def test_the_most_thorough_method_that_fits(sizes: Any, family: str, chosen: dict[str, str | None]) -> None:
    for name, expected in chosen.items():
        device = gpus(name, bitsandbytes=True)
        if expected is None:
            with pytest.raises(ConfigError, match="does not fit"):
                choose(sizes(family), {}, device)
            continue
        choice = choose(sizes(family), {}, device)
        assert choice.name + (", shared" if choice.shared else "") == expected, name
        assert choice.needed is not None and choice.needed.total <= tuning_method.SHARE * device.memory


def test_the_reason_names_what_would_not_have_fitted(sizes: Any) -> None:
    reason = choose(sizes(QWEN_8B), {}, gpus("80")).reason
    assert reason.startswith("LoRA: about 21.6 GiB (weights 15.4, ") and reason.endswith(
        ") of the GPU's 79.6 GiB; full fine-tuning would take 138.2 GiB"
    )
    assert "(mxfp4) and cannot be trained" in choose(sizes("gpt-oss"), {}, gpus("80")).reason


def test_without_bitsandbytes_it_is_the_remedy(sizes: Any) -> None:
    with pytest.raises(ConfigError, match=r"LoRA takes about 137\.\d GiB.*the GPU has 79\.6 GiB; install bitsandbytes"):
        choose(sizes(LARGE), {}, gpus("80"))


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        ({"use_peft": True}, "8 x 80", "lora"),
        ({"use_peft": False}, "8 x 80", "full"),
        ({"use_peft": True, "load_in_4bit": True}, "141", "qlora"),
        ({"load_in_4bit": False}, "24", "lora"),
        ({"dtype": "bfloat16"}, "141", "full"),  # 8 bytes a parameter in place of 16
        ({"per_device_train_batch_size": 64}, "80", "lora"),
    ],
)
def test_what_the_user_gives_wins(sizes: Any, given: dict[str, Any], name: str, expected: str) -> None:
    assert choose(sizes(QWEN_8B), given, gpus(name, bitsandbytes=True)).name == expected


@pytest.mark.parametrize("name", ["24", "80"])
def test_a_method_that_was_asked_for_and_cannot_fit_is_refused(sizes: Any, name: str) -> None:
    with pytest.raises(ConfigError, match=r"full fine-tuning takes about 13.*leave out `use_peft: false`"):
        choose(sizes(QWEN_8B), {"use_peft": False}, gpus(name, bitsandbytes=True))


def test_who_shares_the_model_himself_is_not_overruled(sizes: Any) -> None:
    for device, given in ((gpus("8 x 80", shared=True), {}), (gpus("8 x 80"), {"deepspeed": "zero3.json"})):
        choice = choose(sizes(LARGE), given, device)
        assert (choice.name, choice.shared, choice.arguments["gradient_accumulation_steps"]) == ("full", False, 1)
        assert choose(sizes(LARGE), {**given, "use_peft": True}, device).name == "lora"


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
@pytest.mark.parametrize("given", [{}, {"packing": True}])
def test_a_step_takes_the_same_rows_whatever_the_number_of_gpus(
    sizes: Any, processes: int, given: dict[str, Any]
) -> None:
    for family in (QWEN_8B, SMALL):
        device = Device(cuda=True, bf16=True, memory=80 * GIB, processes=processes)
        made = choose(sizes(family), given, device).arguments
        assert made["per_device_train_batch_size"] * made["gradient_accumulation_steps"] * processes == 8


def test_packed_blocks_are_taken_together_only_by_a_kernel_that_keeps_them_apart(sizes: Any) -> None:
    def batch(device: Device, **given: Any) -> tuple[int, int]:
        made = choose(sizes(SMALL), given, device).arguments
        assert made["per_device_eval_batch_size"] == made["per_device_train_batch_size"]
        return made["per_device_train_batch_size"], made["gradient_accumulation_steps"]

    assert batch(gpus("80")) == (8, 1)
    assert batch(gpus("80"), packing=True) == (1, 8)
    assert batch(gpus("80", varlen_attention=True), packing=True) == (8, 1)
    assert batch(gpus("80"), packing=True, per_device_train_batch_size=4) == (4, 1)


def test_a_small_gpu_takes_a_step_in_parts(sizes: Any) -> None:
    made = choose(sizes(QWEN_8B), {}, gpus("24")).arguments
    assert (made["per_device_train_batch_size"], made["gradient_accumulation_steps"]) == (4, 2)


def test_experts_take_no_dropout(sizes: Any) -> None:
    """PEFT would refuse it."""
    assert choose(sizes("qwen3-moe"), {}, gpus("141")).arguments["lora_dropout"] == 0.0
    assert "lora_dropout" not in choose(sizes(QWEN_8B), {}, gpus("80")).arguments


def test_nor_do_they_where_no_method_is_chosen(tmp_path: Path) -> None:
    model_folder.full(FAMILIES["qwen3-moe"], tmp_path)
    needed = ["--dataset_dir=data", "--output_dir=out", f"--model_name_or_path={tmp_path}", "--use_peft"]
    on_cpu = Device(cuda=False, bf16=False)
    assert arguments.parse(needed, on_cpu).model.lora_dropout == 0.0
    assert arguments.parse([*needed, "--lora_dropout=0.1"], on_cpu).model.lora_dropout == 0.1, "PEFT says what is wrong"


# ------------------------------------------------------------------------------------- in the arguments of a training


def parsed(folder: Path, device: Device, *options: str) -> arguments.Arguments:
    model_folder.full(FAMILIES[QWEN_8B], folder)
    needed = ["--dataset_dir=data", "--output_dir=out", f"--model_name_or_path={folder}"]
    return arguments.parse([*needed, *options], Device(cuda=False, bf16=False), device)


def test_the_choice_becomes_the_defaults_and_part_of_what_a_training_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same model is measured once: that takes half a second."""
    sizes_of, measured = tuning_method.sizes_of, dict[str, Sizes]()

    def once(config: Any, *others: Any, **options: Any) -> Sizes:
        key = repr((config.to_json_string(), others, options))
        if key not in measured:
            measured[key] = sizes_of(config, *others, **options)
        return measured[key]

    monkeypatch.setattr(tuning_method, "sizes_of", once)
    chosen = parsed(tmp_path, gpus("80"))
    assert (chosen.model.use_peft, chosen.training["per_device_train_batch_size"]) == (True, 8)
    assert chosen.choice is not None and chosen.choice.identity == {"use_peft": True}
    assert "use_peft" not in chosen.by_user
    mine = parsed(tmp_path, gpus("80"), "--per_device_train_batch_size=2", "--merge=adapter")
    assert (mine.training["per_device_train_batch_size"], mine.tune.merge) == (2, "adapter")
    shared = parsed(tmp_path, gpus("8 x 80"))
    assert shared.choice is not None and shared.choice.identity == {"shared": True}
    with pytest.raises(ConfigError, match="full fine-tuning takes"):
        parsed(tmp_path, gpus("80"), "--use_peft=false")


def test_nothing_is_chosen_on_a_cpu_nor_for_a_model_that_is_not_there(tmp_path: Path) -> None:
    on_cpu = parsed(tmp_path, gpus("80"), "--use_cpu=true")
    assert on_cpu.choice is None and not on_cpu.model.use_peft
    absent = ["--dataset_dir=data", "--output_dir=out", f"--model_name_or_path={tmp_path / 'absent'}"]
    assert arguments.parse(absent, Device(cuda=False, bf16=False), gpus("80")).choice is None
