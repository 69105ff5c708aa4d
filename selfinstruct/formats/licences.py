"""The licence that a dataset or a model states, where it can be read without the network.

It is in the metadata of the `README.md` beside the files, as on the Hub, or in the records themselves: `license`,
or `Instance License` in Super-NaturalInstructions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from selfinstruct.errors import InputError
from selfinstruct.formats import data_files
from selfinstruct.packaged import model_path, packaged_folder
from selfinstruct.text import capped

_OURS = "Apache-2.0"
_FIELDS = ("license", "licence", "Instance License")
_LONGEST = 200
_MOST_LICENCES = 10


def dataset_licence(path: str | Path) -> str:
    """Return what a dataset says of its licence; empty if it says nothing.

    Args:
        path: a file, a folder, or a name on the Hub, of which only what is cached here is read.
    """
    path = Path(path)
    if path.is_relative_to(packaged_folder()):
        return _OURS
    return _of_readme(path, "dataset") or _of_records(path)


def model_licence(name: str) -> str:
    """Return what a model says of its licence; empty if it says nothing.

    Args:
        name: a folder, or a name on the Hub, of which only what is cached here is read.
    """
    return _OURS if name in ("demo", str(model_path())) else _of_readme(Path(name), "model")


def _of_readme(path: Path, kind: str) -> str:
    from huggingface_hub import RepoCard, try_to_load_from_cache

    if path.exists():
        readme = (path if path.is_dir() else path.parent) / "README.md"
    elif data_files.is_hub_name(path):
        cached = try_to_load_from_cache(str(path), "README.md", repo_type=kind)
        readme = Path(cached) if isinstance(cached, str) else Path("/nowhere")
    else:
        return ""
    try:
        return _text(RepoCard(readme.read_text("utf-8"), ignore_metadata_errors=True).data.get("license"))
    except (OSError, ValueError, yaml.YAMLError):
        return ""


def _of_records(path: Path) -> str:
    """Return the licences that the first records of the files state; a folder may hold files of several."""
    try:
        licences = list(dict.fromkeys(map(_of_file, data_files.files_of(path))))
    except InputError:
        return ""
    stated = capped([text for text in licences if text], _MOST_LICENCES)
    return ", ".join([*stated, "not stated in some files"] if stated and "" in licences else stated)


def _of_file(path: Path) -> str:
    try:
        first = next(data_files.records(path), None)
    except InputError:
        return ""
    value = (first.value if first else None) or {}
    return next((text for name in _FIELDS if (text := _text(value.get(name)))), "")


def _text(value: Any) -> str:
    listed = value if isinstance(value, list) else [value]
    return ", ".join(text for text in listed if isinstance(text, str))[:_LONGEST]
