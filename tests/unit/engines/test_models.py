"""A revision goes with its model: with what is tuned, and with the base of an adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.config.later_stages import Tune
from selfinstruct.engines import hub
from selfinstruct.engines.models import adapter_arguments, fetch_model, with_weights
from selfinstruct.errors import ConfigError
from tuning import chat_session
from tuning.evaluation.answers import Arm
from tuning.evaluation.lm_eval_tasks import arguments
from tuning.training.launch import tuned_from


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    settings = {"base_model_name_or_path": "org/base", "r": 12, "revision": "v2"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    return tmp_path


def test_an_adapter_s_base_is_loaded_at_the_revision_that_it_was_trained_on(
    adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(hub, "whole_model", lambda name, revision: asked.append((name, revision)))
    fetch_model(str(adapter))
    fetch_model("org/base", "v1")
    assert asked == [("org/base", "v2"), ("org/base", "v1")]
    assert adapter_arguments(str(adapter))["max_lora_rank"] == 16
    model = arguments(Arm("tuned", str(adapter)), {})["model_args"]
    assert (model["pretrained"], model["revision"]) == ("org/base", "v2")
    assert arguments(Arm("base", "org/base", revision="v1"), {})["model_args"]["revision"] == "v1"
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base", "r": 8, "revision": null}')
    assert with_weights(str(adapter), "v3") == ("org/base", "v3") and with_weights("org/x") == ("org/x", None)
    (adapter / "adapter_config.json").write_text('{"r": 8}')
    with pytest.raises(ConfigError, match="not the configuration of a LoRA adapter"):
        with_weights(str(adapter))


@pytest.mark.parametrize(
    ("tune", "expected"),
    [
        ({}, ("org/base", "v1")),
        ({"model": "org/base"}, ("org/base", "v1")),
        ({"model": "org/other"}, ("org/other", None)),
        ({"model": "org/other", "model_revision": "v2"}, ("org/other", "v2")),
        ({"model_revision": "v2"}, ("org/base", "v2")),
    ],
)
def test_the_generator_s_revision_is_that_of_the_generator_alone(tune: dict[str, Any], expected: Any) -> None:
    assert tuned_from(Tune.model_validate(tune), "org/base", "v1") == expected


def test_chat_asks_the_base_at_the_revision_that_was_tuned(tmp_path: Path) -> None:
    record = {"state": "finished", "model": "org/base", "arguments": {"model_revision": "v2"}}
    (tmp_path / "training.json").write_text(json.dumps(record))
    tuned = chat_session.NamedModel("tuned", str(tmp_path))
    base = chat_session.NamedModel("base", "org/base", "v2")
    assert chat_session.models(str(tmp_path)) == [tuned, base] == chat_session.models(str(tmp_path), "org/base")
    record["arguments"] = {"model_revision": "main"}
    (tmp_path / "training.json").write_text(json.dumps(record))
    assert chat_session.models(str(tmp_path))[1] == chat_session.NamedModel("base", "org/base")
