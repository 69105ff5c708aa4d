"""The printed commands run against the tuners' own code where that is installed (docs/guide/after.md names versions).

Each reads the command or file that `export` prints, and then the rows, up to the tokens and the labels of a training.
"""

from __future__ import annotations

import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfinstruct.dataset.export import export
from selfinstruct.dataset.tuner_files import export_commands
from selfinstruct.engines.models import resolve_model
from selfinstruct.formats import jsonl
from selfinstruct.records import TRAIN
from selfinstruct.run.folders import DatasetDirectory
from tests import finished_run
from tests.conftest import Once

MODEL = str(resolve_model("demo"))


@pytest.fixture
def dataset(make_config: Any, tmp_path: Path, once: Once) -> DatasetDirectory:
    config = make_config()
    once(lambda: (finished_run.generated(config), export(config)))
    return DatasetDirectory(tmp_path / "run" / "dataset")


@pytest.fixture
def answers(dataset: DatasetDirectory) -> list[str]:
    return [str(row["output"]) for _, row in jsonl.read(dataset.split(TRAIN))]


def test_llama_factory(dataset: DatasetDirectory, answers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("llamafactory")
    monkeypatch.setenv("DISABLE_VERSION_CHECK", "1")
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from transformers import AutoTokenizer

    words = shlex.split(export_commands(dataset, MODEL)["LLaMA-Factory"])
    assert words[:2] == ["llamafactory-cli", "train"]
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    for name in ("train", "alpaca"):
        options = [name if before == "--dataset" else word for before, word in pairwise(words[1:])]
        model, data, training, _, _ = get_train_args(options)
        template = get_template_and_fix_tokenizer(tokenizer, data)
        read = get_dataset(template, model, data, training, stage="sft", tokenizer=tokenizer)["train_dataset"]
        learnt = [tokenizer.decode([t for t in labels if t != -100]) for labels in read["labels"]]
        assert len(learnt) == len(answers)
        assert all(text.startswith(answer) for text, answer in zip(learnt, answers, strict=True))


def test_axolotl(dataset: DatasetDirectory, answers: list[str]) -> None:
    pytest.importorskip("axolotl")
    from axolotl.prompt_strategies import load
    from axolotl.utils.dict import DictDefault
    from axolotl.utils.schemas.config import AxolotlInputConfig
    from transformers import AutoTokenizer

    command = export_commands(dataset, MODEL)["axolotl"]
    settings = yaml.safe_load(command.partition("<<'END'\n")[2].partition("END\n")[0])
    checked = AxolotlInputConfig(**settings).model_dump(exclude_none=True)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    source = DictDefault(checked["datasets"][0])
    strategy = load(source.type, tokenizer, DictDefault(checked | {"train_on_inputs": False}), source)
    for (_, row), answer in zip(jsonl.read(Path(source.path)), answers, strict=True):
        labels = strategy.tokenize_prompt(row)["labels"]
        assert tokenizer.decode([t for t in labels if t != -100]).startswith(answer)


def test_torchtune(dataset: DatasetDirectory, answers: list[str], tmp_path: Path) -> None:
    pytest.importorskip("torchtune")
    from torchtune.config import instantiate
    from torchtune.config._parse import TuneRecipeArgumentParser
    from torchtune.config._utils import _merge_yaml_and_cli_args

    (tmp_path / "config.yaml").write_text("dataset: {_component_: torchtune.datasets.alpaca_dataset, packed: false}\n")
    words = shlex.split(export_commands(dataset, MODEL)["torchtune"])[3:]
    words[words.index("CONFIG")] = str(tmp_path / "config.yaml")
    settings = _merge_yaml_and_cli_args(*TuneRecipeArgumentParser().parse_known_args(words))
    read = instantiate(settings.dataset, bytes_of)
    learnt = [bytes(token for token in row["labels"] if token != -100).decode() for row in read]
    assert learnt == answers


def bytes_of(sample: dict[str, Any], inference: bool = False) -> dict[str, Any]:
    """Be a tokenizer of torchtune: each byte is a token."""
    parts = [(message.text_content.encode(), message.masked) for message in sample.pop("messages")]
    tokens = [byte for text, _ in parts for byte in text]
    return sample | {"tokens": tokens, "mask": [masked for text, masked in parts for _ in text]}
