"""Files that come with the package: seed and evaluation tasks, example configurations, the demo model."""

from __future__ import annotations

from pathlib import Path

PACKAGED = ("seed_tasks", "eval_tasks", "demo_heldout")
"""Names of the packaged files. An option that takes a seed file also takes these names."""


def model_path() -> Path:
    """Return the directory of the demo model, in the form that transformers and vLLM load."""
    return Path(__file__).parent / "demo" / "model"


def heldout_path() -> Path:
    """Return the path of the demo's evaluation tasks: one JSON object per line, in the schema of the seed tasks."""
    return Path(__file__).parent / "demo" / "heldout_tasks.jsonl"


def packaged_folder(name: str = "seeds") -> Path:
    """Return a folder of packaged data: the one in the installed wheel, or the one in the repository."""
    here = Path(__file__).resolve().parent
    installed = here / "data" / name
    return installed if installed.is_dir() else here.parent / name


def resolve(name: str | Path) -> Path:
    """Return the path of a seed file. The user gives a path, or the name of a packaged file."""
    if name == "demo_heldout":
        return heldout_path()
    return packaged_folder() / f"{name}.jsonl" if name in PACKAGED else Path(name)
