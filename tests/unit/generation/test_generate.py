"""`generate` around the scheduler: what identifies a run, what may change, what is refused before anything is asked."""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.config.load import load_config
from selfinstruct.config.schema import Config
from selfinstruct.engines.base import Engine
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import ConfigError, EngineError, SelfInstructError
from selfinstruct.generation import generate as module
from selfinstruct.generation.generate import continuing, generate, style_of
from selfinstruct.generation.method import Method
from selfinstruct.generation.window import first_window
from selfinstruct.run.journal import JournalWriter
from tests.conftest import journal_lines, run_scripted, script


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 7}, r"seed: recorded 42, now 7"),
        ({"window": 6}, r"window: recorded 5, now 6"),
        ({"model": "other"}, r"model: recorded 'scripted', now 'other'"),
        ({"filters": {"threshold": 0.6}}, r"filters\.threshold: recorded 0\.7, now 0\.6"),
        ({"proposal": {"temperature": 0.9}}, r"proposal\.temperature: recorded 0\.7, now 0\.9"),
        ({"engine": {"dtype": "float32"}}, r"engine\.dtype: recorded None, now 'float32'"),
    ],
)
def test_other_settings_are_refused_with_a_readable_difference(
    make_config: Any, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    run_scripted(make_config(num_instructions=5))
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.is_file()}
    with pytest.raises(ConfigError, match=said) as caught:
        run_scripted(make_config(num_instructions=9, **change))
    assert caught.value.exit_code == 2
    assert str(tmp_path / "run") in str(caught.value) and "--overwrite" in str(caught.value)
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.is_file()} == before


@pytest.mark.parametrize(
    ("target", "window"),
    [(1, 8), (12, 8), (1000, 50), (2500, 125), (10_000, 500), (40_960, 2048), (10**7, 2048)],
)
def test_the_first_window_follows_from_the_target(target: int, window: int) -> None:
    assert Method.of(Config(num_instructions=target)).window == first_window(target) == window
    assert Method.of(Config(num_instructions=target, window=7)).window == 7


def test_a_raised_target_leaves_the_window_of_the_first_start(make_config: Any, tmp_path: Path) -> None:
    def recorded() -> int:
        return journal_lines(tmp_path / "run")[0]["identity"]["window"]  # type: ignore[no-any-return]

    run_scripted(make_config(num_instructions=5, window=None))
    assert recorded() == load_config(tmp_path / "run" / "config.yaml", {}).window == 8
    before = (tmp_path / "run" / "journal.jsonl").read_bytes()
    run_scripted(make_config(num_instructions=9, window=None))
    with pytest.raises(SelfInstructError):  # The few texts of the script do not make so many instructions.
        run_scripted(make_config(num_instructions=5000, window=None, saturation={"window": 3, "min_acceptance": 0.9}))
    assert (tmp_path / "run" / "journal.jsonl").read_bytes().startswith(before) and recorded() == 8
    with pytest.raises(ConfigError, match="window: recorded 8, now 200"):
        run_scripted(make_config(num_instructions=5000, window=200))


def test_a_run_from_before_the_option_keeps_the_window_that_it_reached_soon() -> None:
    identity = Config(window=1024).identity()
    del identity["window_soon"]
    kept = continuing(Config(), identity)
    assert (kept.window, kept.window_soon) == (1024, 1536)
    new = continuing(Config(num_instructions=25_600), {})
    assert (new.window, new.window_soon) == (1280, 1600)
    assert continuing(Config(num_instructions=50_000), new.identity()).window_soon == 1600


@pytest.mark.parametrize("window", [5, 96, 300])
def test_a_run_with_a_window_of_its_own_goes_on_with_it(make_config: Any, tmp_path: Path, window: int) -> None:
    run_scripted(make_config(num_instructions=5, window=window))
    run_scripted(make_config(num_instructions=9, window=None))
    assert journal_lines(tmp_path / "run")[0]["identity"]["window"] == window


def test_other_seeds_are_refused_although_the_file_has_the_same_name(
    make_config: Any, seed_file: Path, seed_rows: list[dict[str, Any]]
) -> None:
    run_scripted(make_config(num_instructions=5))
    seed_rows[3]["instruction"] += " Twice."
    seed_file.write_text("".join(json.dumps(row) + "\n" for row in seed_rows))
    with pytest.raises(ConfigError, match="seeds_sha256"):
        run_scripted(make_config(num_instructions=5))


def test_another_engine_is_refused(make_config: Any) -> None:
    run_scripted(make_config(num_instructions=5))
    with pytest.raises(ConfigError, match="context_length: recorded 1000000, now 5000"):
        run_scripted(make_config(num_instructions=9), ScriptedEngine(script, context_length=5000))


@pytest.mark.parametrize(
    "change",
    [
        {"max_in_flight": 3},
        {"fsync_interval": 0},
        {"saturation": {"window": 50}},
        {"engine": {"gpu_memory_utilization": 0.5}},
        {"export": {"include_seeds": True}},
    ],
)
def test_what_only_paces_a_run_may_change(make_config: Any, change: dict[str, Any]) -> None:
    run_scripted(make_config(num_instructions=5))
    assert len(run_scripted(make_config(num_instructions=9, **change)).pool) == 9


def test_a_run_keeps_the_style_that_it_began_with(make_config: Any) -> None:
    """Earlier versions asked base models through a template that they had not learnt."""
    run_scripted(make_config(num_instructions=3), ScriptedEngine(script, has_chat_template=True))
    base = ScriptedEngine(script, has_chat_template=False)
    base.brings_chat_template = True
    assert run_scripted(make_config(num_instructions=6), base).complete
    assert base.history and all(isinstance(request.prompt, list) for request in base.history)


def test_a_template_that_the_model_has_not_learnt_is_used_only_when_told_to(make_config: Any) -> None:
    base = ScriptedEngine(script, has_chat_template=False)
    base.brings_chat_template = True
    assert style_of("auto", "m", base) == "completion"
    assert style_of("chat", "m", base) == "chat"


def test_a_finished_run_starts_no_engine_and_changes_no_line(make_config: Any, tmp_path: Path) -> None:
    run_scripted(make_config())
    before = (tmp_path / "run" / "journal.jsonl").read_bytes()

    async def refuse() -> Engine:
        pytest.fail("an engine was started")

    assert generate(make_config(), refuse).complete
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() == before


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_folder_that_holds_no_run_is_left_as_it_is(make_config: Any, tmp_path: Path, overwrite: bool) -> None:
    mine = [tmp_path / "run" / name for name in ("config.yaml", "dataset/train.jsonl", "model/model.safetensors")]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("- mine")
    with pytest.raises(ConfigError, match=r"would write over .*: config\.yaml, dataset, model"):
        run_scripted(make_config(), overwrite=overwrite)
    assert all(path.read_text() == "- mine" for path in mine)
    assert not (tmp_path / "run/journal.jsonl").exists()


def test_a_run_is_overwritten_only_when_the_new_engine_has_started(make_config: Any, tmp_path: Path) -> None:
    async def start() -> Engine:
        raise EngineError("no GPU is free")

    run_scripted(make_config(num_instructions=5))
    before = (tmp_path / "run/journal.jsonl").read_bytes()
    with pytest.raises(EngineError, match="no GPU is free"):
        generate(make_config(num_instructions=7, seed=3), start, overwrite=True)
    assert (tmp_path / "run/journal.jsonl").read_bytes() == before
    assert run_scripted(make_config(num_instructions=5)).complete


def test_a_run_is_not_overwritten_by_one_that_reads_it(make_config: Any, tmp_path: Path) -> None:
    run_scripted(make_config(num_instructions=5))
    before = (tmp_path / "run/journal.jsonl").read_bytes()
    with pytest.raises(ConfigError, match="run, which the new run reads"):
        run_scripted(make_config(parent_runs=[str(tmp_path / "run")]), overwrite=True)
    assert (tmp_path / "run/journal.jsonl").read_bytes() == before


def test_overwrite_starts_anew_and_leaves_foreign_files_alone(make_config: Any, tmp_path: Path) -> None:
    run_scripted(make_config(num_instructions=5))
    run = tmp_path / "run"
    (run / "notes.txt").write_text("mine")
    (run / "dataset").mkdir()
    (run / "dataset" / "train.jsonl").write_text("old")
    state = run_scripted(make_config(num_instructions=7, seed=3), overwrite=True)
    assert len(state.pool) == 7 and journal_lines(run)[0]["identity"]["seed"] == 3
    assert (run / "notes.txt").read_text() == "mine" and not (run / "dataset").exists()


def test_the_written_configuration_continues_the_run(make_config: Any, tmp_path: Path) -> None:
    config = make_config(num_instructions=5)
    run_scripted(config)
    again = load_config(tmp_path / "run" / "config.yaml", {})
    assert again == config
    assert run_scripted(again).complete


def test_an_engine_that_does_not_start_leaves_nothing_behind(make_config: Any, tmp_path: Path) -> None:
    async def fail() -> Engine:
        raise EngineError("no GPU")

    with pytest.raises(EngineError, match="no GPU"):
        generate(make_config(), fail)
    assert not (tmp_path / "run" / "journal.jsonl").exists()
    assert run_scripted(make_config()).complete


def test_prompts_that_cannot_fit_are_refused_before_anything_is_asked(make_config: Any, tmp_path: Path) -> None:
    engine = ScriptedEngine(script, context_length=406)
    with pytest.raises(ConfigError, match=r"cannot fit.*--proposal\.max-tokens"):
        run_scripted(make_config(), engine)
    assert engine.history == [] and engine._closed and not (tmp_path / "run" / "journal.jsonl").exists()


def test_the_engine_is_closed_however_the_run_ends(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    done = ScriptedEngine(script)
    run_scripted(make_config(num_instructions=3), done)
    assert done._closed
    dead = ScriptedEngine(lambda request: EngineError("died"))
    with pytest.raises(EngineError):
        run_scripted(make_config(num_instructions=9), dead)
    assert dead._closed
    full = ScriptedEngine(script)

    def refuse(self: JournalWriter, line: Any) -> None:
        raise SelfInstructError("disk full")

    monkeypatch.setattr(JournalWriter, "append", refuse)
    with pytest.raises(SelfInstructError, match="disk full"):
        run_scripted(make_config(num_instructions=9), full)
    assert full._closed


def test_metrics_are_written_beside_the_journal(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_METRICS_INTERVAL_S", 0.02)
    run_scripted(make_config(), ScriptedEngine(script, latency=0.01, seed=1))
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows and all(abs(row["time"] - time.time()) < 60 for row in rows)
    assert [row["accepted"] for row in rows] == sorted(row["accepted"] for row in rows)


def test_metrics_that_cannot_be_written_do_not_end_the_run(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_METRICS_INTERVAL_S", 0.001)
    (tmp_path / "run" / "metrics.jsonl").mkdir(parents=True)
    complaints: list[Any] = []
    real = ScriptedEngine.generate

    async def listening(self: ScriptedEngine, request: Any) -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        return await real(self, request)

    monkeypatch.setattr(ScriptedEngine, "generate", listening)
    assert run_scripted(make_config()).complete
    assert complaints == []


def test_no_output_dir_is_a_configuration_error(make_config: Any) -> None:
    with pytest.raises(ConfigError, match="--output-dir"):
        run_scripted(make_config(output_dir=None))


def test_options_with_which_the_engine_does_not_start_are_not_kept(make_config: Any, tmp_path: Path) -> None:
    run_scripted(make_config(num_instructions=3))
    before = (tmp_path / "run" / "config.yaml").read_bytes()

    async def refused() -> Engine:
        raise ConfigError("vLLM refuses an argument")

    with pytest.raises(ConfigError, match="refuses an argument"):
        generate(make_config(num_instructions=9, engine={"gpu_memory_utilization": 7}), refused)
    assert (tmp_path / "run" / "config.yaml").read_bytes() == before
    # An option of a later stage is kept though there is nothing to generate any more.
    generate(make_config(num_instructions=3, tune={"max_steps": 4}), refused)
    assert "max_steps: 4" in (tmp_path / "run" / "config.yaml").read_text()


def test_what_of_a_dataset_is_no_seed_is_said(
    make_config: Any, seed_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"instruction": "Name a lake of Africa.", "output": "Chad."}, {"instruction": "Sing a song.", "output": ""}]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run_scripted(make_config(seeds=[str(seed_file), str(tmp_path / "d.jsonl")], num_instructions=1))
    assert "left out of the seeds: 1 x empty output" in capsys.readouterr().err


def test_a_clock_that_jumps_by_days_changes_no_line(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that slept, or whose clock was set, forwards and back."""
    run_scripted(make_config(output_dir=str(tmp_path / "expected")))
    jumps, asked = random.Random(0), []

    def jumping() -> float:
        asked.append(1.8e9 + jumps.uniform(-5, 5) * 86_400)
        return asked[-1]

    monkeypatch.setattr(time, "time", jumping)
    run_scripted(make_config(output_dir=str(tmp_path / "jumping")), clock=jumping)
    assert asked
    assert journal_lines(tmp_path / "jumping") == journal_lines(tmp_path / "expected")
