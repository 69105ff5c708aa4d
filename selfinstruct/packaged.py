"""Files that the package brings along: seed and evaluation tasks, example configurations, the demo model."""

from __future__ import annotations

from pathlib import Path

PACKAGED = ("seed_tasks", "eval_tasks", "demo_heldout")
"""Names under which the packaged files go wherever a seed file is asked for."""


def model_path() -> Path:
    """The directory of the embedded model, as transformers and vLLM load it."""
    return Path(__file__).parent / "demo" / "model"


def heldout_path() -> Path:
    """The demo's own evaluation tasks, one JSON object a line, in the schema of the seed tasks."""
    return Path(__file__).parent / "demo" / "heldout_tasks.jsonl"


def packaged_folder(name: str = "seeds") -> Path:
    """A folder of packaged data: inside an installed wheel, or the repository's own."""
    here = Path(__file__).resolve().parent
    installed = here / "data" / name
    return installed if installed.is_dir() else here.parent / name


def resolve(name: str | Path) -> Path:
    """A seed file's path from what the user wrote: a path, or the name of a packaged file."""
    if name == "demo_heldout":
        return heldout_path()
    return packaged_folder() / f"{name}.jsonl" if name in PACKAGED else Path(name)
