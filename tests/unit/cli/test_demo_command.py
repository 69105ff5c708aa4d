"""`demo --domain`: a pack steers seeds, topics and evaluation."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from selfinstruct.chain import chain
from selfinstruct.cli import chain_commands, cli
from selfinstruct.config.later_stages import Evaluate
from selfinstruct.config.schema import Config
from tuning.evaluation.questions import task_questions


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    configs: list[Config] = []

    def run_all(config: Config, **_: Any) -> None:
        configs.append(config)

    monkeypatch.setattr(chain, "run_all", run_all)
    monkeypatch.setattr(chain_commands, "preflight", lambda config, **_: None)
    return configs


def test_a_pack_stands_beside_the_general_tasks(made: list[Config]) -> None:
    result = CliRunner().invoke(cli, ["demo", "--domain", "healthcare", "--model", "some/model"])
    assert result.exit_code == 0, result.output
    (config,) = made
    assert config.seeds == ("domain:healthcare:0.5", "general") and config.topics == "domain:healthcare"
    assert config.evaluate.tasks == ("domain:healthcare", "eval_tasks")
    assert {question.set for question in task_questions(config.evaluate)} == {"healthcare", "eval_tasks"}


@pytest.mark.parametrize("model", [None, "some/model"])
def test_the_embedded_model_promises_no_rows_of_a_pack(made: list[Config], model: str | None) -> None:
    named = ["--model", model] if model else []
    result = CliRunner().invoke(cli, ["demo", "--domain", "healthcare", *named])
    assert made and ("no row will be of healthcare" in result.output) == (model is None)


def test_an_unknown_pack_is_told_the_others(made: list[Config]) -> None:
    result = CliRunner().invoke(cli, ["demo", "--domain", "law"])
    assert result.exit_code == 4 and "healthcare" in result.output and not made


def test_packs_are_sets_of_their_own() -> None:
    both = Evaluate(tasks=("domain:healthcare", "domain:education/eval"))
    assert {question.set for question in task_questions(both)} == {"healthcare", "education"}
