"""The demo from an installed wheel: what the documentation promises about the embedded model and its effect."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.demo_model import check

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(3600)]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with the package installed from a wheel, outside the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check"]
    uv = [str(Path(sys.executable).parent / "uv"), "--quiet"]
    subprocess.run([*uv, "build", "--wheel", "--out-dir", str(folder), str(ROOT)], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(folder / "site"), str(wheel)], check=True)
    return {**os.environ, "PYTHONPATH": str(folder / "site"), "PYTHONSAFEPATH": "1"}


@pytest.fixture(scope="module")
def run(installed: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished demo."""
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-m", "selfinstruct", "demo", "--output-dir", "run"],
        cwd=folder,
        env=installed,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "is complete" in done.stderr
    return folder / "run"


@pytest.fixture(scope="module")
def scores(run: Path) -> dict[str, Any]:
    return json.loads((run / "evaluation/scores.json").read_text())


def test_the_wheel_is_what_runs(installed: dict[str, str]) -> None:
    code = "import selfinstruct, tuning; print(selfinstruct.__file__, tuning.__file__)"
    said = subprocess.run([sys.executable, "-c", code], env=installed, cwd="/", capture_output=True, text=True)
    assert said.stdout.count(installed["PYTHONPATH"]) == 2


def test_most_instructions_are_new_and_most_instances_right(run: Path) -> None:
    verdict = check.judge(check.generated_rows(run))
    assert verdict.instructions >= 100
    assert verdict.share_new >= 0.5
    assert verdict.all_simple.judged >= 100
    assert verdict.all_simple.share >= 0.6
    assert verdict.all_open.judged > 0
    assert verdict.all_open.share >= 0.6


def test_the_generated_data_teaches_what_the_seeds_alone_do_not(scores: dict[str, Any]) -> None:
    arms = {name: arm["sets"]["demo_heldout"] for name, arm in scores["arms"].items()}
    assert arms.keys() == {"base", "base-few-shot", "tuned", "seeds-only"}
    assert all(arm["n_tasks"] >= 100 for arm in arms.values())
    against = {c["b"]: c for c in scores["comparisons"] if c["set"] == "demo_heldout" and c["metric"] == "rouge_l"}
    for other in ("base", "seeds-only"):
        assert against[other]["significant"]
        assert against[other]["difference"] > 0
    assert arms["base-few-shot"]["rouge_l"] > arms["base"]["rouge_l"]


def test_the_report_says_what_the_demo_is(run: Path) -> None:
    page = re.sub(r"</?span[^>]*>", "", (run / "report.html").read_text())
    assert "This is the demo." in page
    assert "selfinstruct init night.yaml --model" in page
