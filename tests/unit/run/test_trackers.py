"""Measurements in experiment trackers: what their clients are given, and that none of them can stop a run."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from selfinstruct import library_log
from selfinstruct.config.schema import Config
from selfinstruct.errors import ConfigError
from selfinstruct.run import trackers
from selfinstruct.run.directory import RunDirectory
from tests import finished_run
from tests.conftest import run_scripted

ROW = {"proposals": 7, "accepted": 3, "read": {"proposal": 40}, "engine": "vllm"}


def trackio_init(
    project: str,
    name: str | None = None,
    group: str | None = None,
    space_id: str | None = None,
    server_url: str | None = None,
    dataset_id: str | None = None,
    bucket_id: str | None = None,
    config: dict[str, Any] | None = None,
    resume: str = "never",
    settings: Any = None,
    private: bool | None = None,
    embed: bool = True,
    auto_log_gpu: bool | None = None,
) -> None:
    """`trackio.init` of 0.43, with which a whole run was tried; its later arguments are not used."""


class Tracked:
    """What a client's run is given."""

    client = ""

    def __init__(self) -> None:
        self.begun: dict[str, Any] = {}
        self.rows: list[dict[str, float]] = []
        self.ends = 0

    def init(self, **begun: Any) -> Tracked:
        if self.client == "trackio":
            inspect.signature(trackio_init).bind(**begun)
        os.write(1, f"* {self.client} project initialized\n".encode())  # As trackio does, on stdout.
        self.begun = begun
        return self

    def log(self, values: dict[str, float]) -> None:
        self.rows.append(values)

    def finish(self) -> None:
        self.ends += 1


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_PROJECT", "WANDB_RUN_GROUP", "TENSORBOARD_LOGGING_DIR"):
        monkeypatch.setenv(name, "before")
        monkeypatch.delenv(name)


def install(monkeypatch: pytest.MonkeyPatch, name: str, tracked: Tracked) -> None:
    module: Any = ModuleType(name)
    module.init, module.Settings, tracked.client = tracked.init, SimpleNamespace, name
    if name == "trackio":
        module.finish = tracked.finish
    monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_gets_every_number_and_is_closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: Any) -> None:
    tracked = Tracked()
    install(monkeypatch, name, tracked)
    (tmp_path / "night").mkdir()
    with trackers.opened([name], RunDirectory(tmp_path / "night")) as log:
        log(ROW)
    assert tracked.rows == [{"proposals": 7.0, "accepted": 3.0, "read/proposal": 40.0}]
    assert tracked.begun["name"] == "night generate" and tracked.ends == 1


def test_what_a_client_prints_is_in_the_log_of_libraries(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A command's stdout may be JSON that another program reads."""
    tracked = Tracked()
    install(monkeypatch, "trackio", tracked)
    with trackers.opened(["trackio"], RunDirectory(tmp_path)) as log:
        log(ROW)
    assert "trackio project" not in "".join(capfd.readouterr())
    assert "generate| * trackio project initialized" in (tmp_path / "libraries.log").read_text()
    assert library_log.path() is None and tracked.ends == 1


def test_the_stages_of_a_run_are_one_group(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trackers.group_stages(RunDirectory(tmp_path / "night"))
    assert (os.environ["WANDB_PROJECT"], os.environ["WANDB_RUN_GROUP"]) == ("selfinstruct", "night")
    trackers.group_stages(RunDirectory(tmp_path / "other"))
    assert os.environ["WANDB_RUN_GROUP"] == "night", "what is set stays"


def test_training_is_shown_where_generation_is(tmp_path: Path) -> None:
    model = tmp_path / "night" / "model"
    assert trackers.training_arguments((), model) == []
    assert trackers.training_arguments(("wandb",), model, {"report_to": "none"}) == []
    words = trackers.training_arguments(("wandb", "trackio"), model)
    assert words == ["--report_to", "wandb", "trackio", "--project=selfinstruct", "--run_name=night tune model"]


def test_trackios_training_is_in_the_group_of_its_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tracked = Tracked()
    install(monkeypatch, "trackio", tracked)
    trackers.group_training(["trackio"], tmp_path / "night" / "model")
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ
    trackers.group_training(["tensorboard"], tmp_path / "night" / "model")
    given = {"project": "selfinstruct", "name": "night tune", "space_id": None, "resume": "allow", "bucket_id": None}
    sys.modules["trackio"].init(**given, private=None)  # As transformers' callback does.
    assert tracked.begun == {**given, "private": None, "group": "night"}
    assert os.environ["TENSORBOARD_LOGGING_DIR"].endswith("night/tensorboard/tune-model")


def test_scores_are_shown_and_a_missing_client_costs_only_that(
    monkeypatch: pytest.MonkeyPatch, make_config: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished_run.evaluated(tmp_path / "run", make_config())
    run, tracked = RunDirectory(tmp_path / "run"), Tracked()
    install(monkeypatch, "trackio", tracked)
    trackers.show_scores(("trackio",), run)
    (row,) = tracked.rows
    assert {"tuned/eval_tasks/rouge_l", "base/eval_tasks/exact_match"} <= row.keys()
    assert tracked.begun["name"] == "run evaluate" and tracked.begun["group"] == "run" and tracked.ends == 1
    monkeypatch.setitem(sys.modules, "wandb", None)
    trackers.show_scores(("wandb",), run)
    assert "pip install wandb" in capsys.readouterr().err


def test_tensorboard_gets_scalars_by_the_number_of_proposals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scalars: list[tuple[str, float, int]] = []
    closed: list[bool] = []

    class SummaryWriter:
        def __init__(self, folder: Path) -> None:
            assert folder == tmp_path / "tensorboard"

        def add_scalar(self, *scalar: Any) -> None:
            scalars.append(scalar)

        def close(self) -> None:
            closed.append(True)

    module: Any = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    with trackers.opened(["tensorboard"], RunDirectory(tmp_path)) as log:
        log(ROW)
    assert ("generate/accepted", 3.0, 7) in scalars and closed == [True]


def test_a_tracker_that_fails_is_left_out_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = Tracked(), Tracked()
    install(monkeypatch, "trackio", good)
    install(monkeypatch, "wandb", bad)
    calls = []

    def refuse(values: dict[str, float]) -> None:
        calls.append(values)
        raise OSError("no route to host")

    monkeypatch.setattr(bad, "log", refuse)
    with trackers.opened(["wandb", "trackio"], RunDirectory(tmp_path)) as log:
        log(ROW)
        log(ROW)
    assert len(good.rows) == 2 and len(calls) == 1
    assert "wandb is left out from here on: no route to host" in capsys.readouterr().err


def test_a_client_that_is_not_installed_ends_the_command_before_the_engine_starts(
    monkeypatch: pytest.MonkeyPatch, make_config: Any
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="pip install wandb"):
        run_scripted(make_config(report_to=["wandb"]))


def test_generation_reports_and_its_identity_does_not_change(monkeypatch: pytest.MonkeyPatch, make_config: Any) -> None:
    tracked = Tracked()
    install(monkeypatch, "trackio", tracked)
    run_scripted(make_config(report_to=["trackio"]))
    assert tracked.rows[-1]["accepted"] > 0 and tracked.ends == 1
    assert Config(report_to=["trackio"]).identity() == Config().identity()
