"""Every command that README and guide show is run, on a run that is there already.

Stand-ins: the scripted engine for vLLM, the demo model for every model that is named, and nothing at all for what takes
minutes and has tests of its own (training, evaluation, the whole chain, a conversation, the checks of the machine);
twenty instructions are enough. What the commands read is made here in the smallest form; what they are piped into is
not run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from selfinstruct.checks.doctor import Check
from selfinstruct.cli import cli
from selfinstruct.config.load import load_config
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.engines.vllm import VLLMEngine
from tests import finished_run
from tests.conftest import script

pytestmark = pytest.mark.whole

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
MODELS = re.compile(r"(?<= )(?:\./model|[A-Za-z]+/(?:Qwen|Skywork)[\w.-]+)(?= |$)")


def commands(page: Path) -> list[str]:
    """Return the commands of a page, without comments and what they are piped into; a trailing backslash goes on."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(), re.S)
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    ours = [line.partition(" #")[0].partition(" | ")[0].strip() for line in lines]
    return [line for line in ours if line.startswith("selfinstruct ")]


SHOWN = sorted({command for page in PAGES for command in commands(page)})


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two finished runs and every file that a command names."""
    folder = tmp_path_factory.mktemp("documented")
    seeds = folder / "my_seeds.jsonl"
    rows = [
        {
            "id": f"s{k}",
            "name": f"s{k}",
            "instruction": f"{verb} the {thing}.",
            "instances": [{"input": "", "output": f"The {thing} {k}."}],
            "is_classification": k % 3 == 0,
        }
        for k, (verb, thing) in enumerate(
            (v, t) for v in ("Describe", "Name", "Count") for t in ("river", "hill", "town")
        )
    ]
    seeds.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("first", "night"):
        changes = {
            "model": "demo",
            "seeds": [str(seeds)],
            "num_instructions": 12,
            "output_dir": str(folder / "runs" / name),
        }
        run = finished_run.complete(load_config(None, changes))
        (run / "model" / "config.json").write_text("{}")
        (run / "model" / "model.safetensors").write_bytes(b"x")
    row = {"instruction": "Name a river.", "input": "", "output": "The Elbe.", "id": "r1"}
    asked = [f"Describe the river that flows through town number {k} to a child." for k in range(200)]
    (folder / "alpaca_data.json").write_text(json.dumps([row | {"instruction": text} for text in asked]))
    for name in ("new.jsonl", "pool.jsonl"):
        (folder / name).write_text(json.dumps(row) + "\n")
    prediction = {"id": "r1", "target": "The Elbe.", "response": "Elbe", "prediction": "Elbe"}
    (folder / "predictions.jsonl").write_text(json.dumps(prediction) + "\n")
    for name, text in {
        "notes.txt": "Plain text.\n",
        "mine.txt": "{instruction}\n{output}\n",
        "fsdp.yaml": "{}\n",
    }.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def workplace(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The prepared directory, with what takes long left out; yields the names of what was left out."""
    shutil.copytree(prepared, tmp_path / "here", symlinks=True)
    monkeypatch.chdir(tmp_path / "here")
    before = dict(os.environ)
    left_out: list[str] = []

    def note(name: str, result: Any = None) -> Callable[..., Any]:
        return lambda *_, **__: left_out.append(name) or result

    async def start(*_: Any, **__: Any) -> ScriptedEngine:
        return ScriptedEngine(script, has_chat_template=True)

    monkeypatch.setattr(VLLMEngine, "start", start)
    for module in ("chain", "round", "stage", "look"):
        monkeypatch.setattr(f"selfinstruct.cli.{module}_commands.preflight", note("preflight"))
    monkeypatch.setattr("selfinstruct.dataset.semantic.embed", lambda texts, _: np.eye(len(texts), dtype=np.float32))
    monkeypatch.setattr("selfinstruct.checks.doctor.examine", note("examine", [Check("python", "ok", "3.11")]))
    for name in ("run_all", "tune", "evaluate"):
        monkeypatch.setattr(f"selfinstruct.chain.chain.{name}", note(name))
    monkeypatch.setattr("selfinstruct.chain.rounds.iterate", note("iterate", SimpleNamespace(rounds=[])))
    monkeypatch.setattr("selfinstruct.report.rounds_page.table", note("table", ""))
    speaker = SimpleNamespace(name="tuned", cut=False, forget=lambda: None, answer=lambda *_, **__: iter(["Elbe."]))
    monkeypatch.setattr("tuning.chat_session.load_speakers", note("load_speakers", [speaker]))
    monkeypatch.setattr("selfinstruct.review.server.ReviewServer.serve_forever", note("serve_forever"))
    monkeypatch.setattr("webbrowser.open", note("browser"))
    monkeypatch.setattr("selfinstruct.cli.review_command.require_terminal", note("terminal"))
    monkeypatch.setattr("selfinstruct.cli.review_command._ask", note("ask"))
    monkeypatch.setattr("selfinstruct.cli.status_command._watch", note("watch"))
    monkeypatch.setattr("selfinstruct.dataset.push.push", note("push", "http://127.0.0.1/x"))
    yield left_out
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize("command", SHOWN)
def test_command(command: str, workplace: list[str]) -> None:
    words = shlex.split(re.sub(r"(?<=--num-instructions )\d+", "20", MODELS.sub("demo", command)))[1:]
    if "night.yaml" in words and words[0] != "init":
        assert CliRunner().invoke(cli, ["init", "night.yaml", "--model", "demo"]).exit_code == 0
    if any(by in command for by in ("best", "balanced")):  # They go by scores.
        assert CliRunner().invoke(cli, ["rate", "runs/first"]).exit_code == 0
    if "--quota" in command:  # And these by tags.
        assert CliRunner().invoke(cli, ["tag", "runs/first"]).exit_code == 0
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"
