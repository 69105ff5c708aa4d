"""What follows from the model and the data before the model is loaded: the final `SFTConfig`."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfinstruct.errors import ConfigError, InputError
from tests import tiny_model
from tuning.training import data
from tuning.training.arguments import parse
from tuning.training.prepare import BaseModel, Prepared, in_16_bits, prepare, sft_config
from tuning.training.tuning_method import Device


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_model.save(tmp_path_factory.mktemp("base"))


@pytest.fixture
def dataset(tmp_path) -> Path:
    return tiny_model.dataset(tmp_path / "dataset")


def prepared(model: Path, dataset: Path, *options: str):
    argv = [f"--model_name_or_path={model}", f"--dataset_dir={dataset}", "--output_dir=out", *options]
    arguments = parse(argv, Device(cuda=False, bf16=False))
    return arguments, prepare(arguments, BaseModel.of(arguments), data.load_splits(dataset))


def configured(model: Path, dataset: Path, *options: str, continues: bool = False):
    arguments, what = prepared(model, dataset, *options)
    return sft_config(arguments, what, continues=continues)


def test_what_the_user_leaves_out_follows_from_the_model(model, dataset):
    config = configured(model, dataset)
    assert config.max_length == 512  # the model's context; TRL's is 1024
    assert config.learning_rate == 1e-3  # by the model's size; TRL's is 2e-5
    assert (config.output_dir, config.eval_on_start) == ("out/checkpoints", True)
    given = configured(model, dataset, "--max_length=1000", "--learning_rate=1e-4")
    assert (given.max_length, given.learning_rate) == (1000, 1e-4)
    assert configured(model, dataset, continues=True).eval_on_start is False


def test_what_is_done_before_is_not_left_to_trl(model, dataset):
    """It refuses these arguments for rows that are tokenized."""
    config = configured(model, dataset, "--completion_only_loss=true", "--assistant_only_loss")
    assert (config.completion_only_loss, config.assistant_only_loss) == (None, False)


def test_the_models_options_reach_its_loading(model, dataset):
    config = configured(model, dataset, "--attn_implementation=eager", '--model_init_kwargs={"use_cache": false}')
    assert config.model_init_kwargs["attn_implementation"] == "eager"
    assert config.model_init_kwargs["use_cache"] is False
    with pytest.raises(ConfigError, match="--model_init_kwargs must be a JSON object"):
        configured(model, dataset, "--model_init_kwargs=[1]")


def test_weights_in_mxfp4_are_loaded_in_16_bits(model):
    """On those no adapter can be trained, neither in training nor when it is merged."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model)
    assert in_16_bits(config) == {}
    config.quantization_config = {"quant_method": "mxfp4"}
    assert in_16_bits(config)["quantization_config"].dequantize is True


def test_validation_rows_without_a_trained_token_are_left_out(model, dataset):
    long = tiny_model.row("a", "word " * 60, "answer")
    tiny_model.write(dataset, validation_unseen=[long])
    _, what = prepared(model, dataset, "--max_length=64")
    assert isinstance(what, Prepared)
    assert list(what.validation) == ["validation_seen"]


def test_without_validation_rows_there_is_no_evaluation_and_no_best_checkpoint(model, dataset):
    tiny_model.write(dataset, validation_seen=[], validation_unseen=[])
    config = configured(model, dataset)
    assert (config.eval_strategy, config.eval_on_start, config.load_best_model_at_end) == ("no", False, False)


def test_a_best_checkpoint_that_was_asked_for_needs_unseen_rows(model, dataset):
    tiny_model.write(dataset, validation_unseen=[])
    assert configured(model, dataset).load_best_model_at_end is False
    with pytest.raises(InputError, match="validation_unseen, which has no row"):
        configured(model, dataset, "--early_stopping_patience=2")
