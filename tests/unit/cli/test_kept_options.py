"""Options of a command are kept for the next one only if it succeeds, are said aloud, and can be dropped."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from selfinstruct.chain import chain
from selfinstruct.cli import cli
from selfinstruct.config.schema import Config
from selfinstruct.errors import InputError, Interrupted, StoppedError
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.training_record import TrainingRecord, write_training_record
from tests.conftest import Once, run_scripted


@pytest.fixture
def run(make_config: Any, tmp_path: Path, once: Once) -> Path:
    once(lambda: run_scripted(make_config(num_instructions=3, evaluate={})))
    return tmp_path / "run"


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The configurations that were tuned with."""
    configs: list[Config] = []
    monkeypatch.setattr(chain, "tune", lambda config, *, overwrite: configs.append(config))
    return configs


def invoke(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def kept(run: Path) -> Config:
    return RunDirectory(run).config()


def test_what_a_failed_command_was_given_is_forgotten(run: Path, tmp_path: Path) -> None:
    before = (run / "config.yaml").read_bytes()
    (tmp_path / "bad.jsonl").write_text("{\n")
    assert invoke("evaluate", run, "--tasks", tmp_path / "bad.jsonl").exit_code == 4
    assert (run / "config.yaml").read_bytes() == before
    assert invoke("export", run).exit_code == 0


def test_an_evaluation_gets_its_options_before_they_are_kept(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[Any] = []

    def stage(command: list[str], name: str, standard_input: str | None = None, **_: object) -> None:
        commands.append((command, standard_input))
        raise InputError("it fails")

    monkeypatch.setattr(chain, "run_stage", stage)
    assert invoke("evaluate", run, "--max-tokens", 77).exit_code == 4
    ((command, settings),) = commands
    assert command[-2:] == ["--config", "-"] and "max_tokens: 77\n" in settings
    assert kept(run).evaluate.max_tokens == 256


def test_paths_are_kept_absolute(
    run: Path, tuned: list[Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jinja").touch()
    assert invoke("tune", run, "--chat-template-path", "a.jinja").exit_code == 0
    assert kept(run).tune.arguments == tuned[0].tune.arguments == {"chat_template_path": f"{tmp_path}/a.jinja"}


def test_options_that_rule_later_commands_are_said_and_can_be_dropped(run: Path, tuned: list[Config]) -> None:
    assert "kept in" not in invoke("tune", run, "--max-steps", 3, "--packing").stderr
    again = invoke("tune", run, "--learning-rate", 1e-4)
    assert f"kept in {run}/config.yaml: --max-steps 3 --packing; --unset NAME drops one" in again.stderr
    one = invoke("tune", run, "--unset", "max-steps")
    assert "--packing --learning-rate 0.0001;" in one.stderr
    assert tuned[-1].tune.arguments == {"packing": True, "learning_rate": 1e-4}
    assert "kept in" not in invoke("tune", run, "--max-steps", 4, "--unset", "all").stderr
    assert kept(run).tune.arguments == {"max_steps": 4}, "what is given beside --unset counts"
    unknown = invoke("tune", run, "--unset", "max-step")
    assert unknown.exit_code == 2 and "did you mean max_steps?" in unknown.stderr


def test_a_judge_can_be_dropped(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "evaluate", lambda *_, **__: None)
    assert invoke("evaluate", run, "--judge", "gpt", "--judge-endpoint", "http://localhost/v1").exit_code == 0
    assert kept(run).evaluate.judge == "gpt"
    said = invoke("evaluate", run, "--unset", "judge", "--unset", "--evaluate.judge-endpoint")
    assert said.exit_code == 0 and "kept in" not in said.stderr
    assert kept(run).evaluate.judge is None and kept(run).evaluate.judge_endpoint is None


@pytest.mark.parametrize("ended", [Interrupted(signal.SIGINT), StoppedError("out of memory")])
def test_an_interrupted_command_says_which_options_to_give_again(
    run: Path, tuned: list[Config], monkeypatch: pytest.MonkeyPatch, ended: BaseException
) -> None:
    invoke("tune", run, "--packing")
    before = (run / "config.yaml").read_bytes()

    def end(*_: Any, **__: Any) -> None:
        raise ended

    monkeypatch.setattr(chain, "tune", end)
    said = " ".join(invoke("tune", run, "--max-steps", 3, "--learning-rate", 1e-4, "--unset", "packing").stderr.split())
    again = "not kept, as the command has not ended: --max-steps 3 --learning-rate 0.0001 --unset packing;"
    assert f"{again} give them again to continue" in said
    assert (run / "config.yaml").read_bytes() == before
    assert "not kept" not in invoke("tune", run).stderr, "there is nothing to give again"


@pytest.mark.parametrize("state", ["running", "failed"])
def test_a_model_that_is_not_trained_yet_is_neither_asked_nor_compared(
    run: Path, monkeypatch: pytest.MonkeyPatch, state: Any
) -> None:
    monkeypatch.setattr(chain, "evaluate", lambda *_, **__: pytest.fail("it was compared"))
    model = run / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    write_training_record(model / "training.json", TrainingRecord(state=state, error="out of memory"))
    for words in (["evaluate", run], ["evaluate", run, "--model", f"mine={model}"], ["chat", run], ["chat", model]):
        said = invoke(*words)
        assert said.exit_code == 4, said.output
        (line,) = said.stderr.splitlines()
        assert f"{model}: its training " in line and "tunes it again" in line


def test_the_next_command_is_quoted(run: Path, monkeypatch: pytest.MonkeyPatch, tuned: list[Config]) -> None:
    monkeypatch.setattr(chain, "evaluate", lambda *_, **__: None)
    spaced = run.rename(run.with_name("a run"))
    for command, following in (("tune", "evaluate"), ("evaluate", "report")):
        done = invoke(command, spaced)
        assert done.exit_code == 0, done.output
        assert f"selfinstruct {following} '" in done.output, "the directory has a space"
