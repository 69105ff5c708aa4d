"""The options that name files, folders and models.

Their paths are made absolute, so that a run can continue from any directory. `inputs` lists them, so that
`--overwrite` never removes what a run reads.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfinstruct import packaged
from selfinstruct.text import name_and_number


def anchored(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a configuration, or of a recorded identity, with absolute paths.

    Names of packaged files and names on the Hub stay as they are.

    Args:
        values: by name; sections are nested, and may be missing.
    """
    values = copy.deepcopy(values)
    for name, absolute in _PATHS.items():
        section, option = _found(values, name)
        value = section.get(option)
        if isinstance(value, str):
            section[option] = absolute(value)
        elif isinstance(value, list | tuple):
            section[option] = type(value)(absolute(item) if isinstance(item, str) else item for item in value)
    return values


def inputs(values: dict[str, Any]) -> list[str]:
    """Return the models, files and folders that the values of a configuration name. Not all of them are paths."""
    names: list[str] = []
    for name in _PATHS:
        section, option = _found(values, name)
        value = section.get(option)
        names += [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else []
    return [*names, *(name_and_number(name)[0] for name in names)]  # Of `PATH:weight` as well, and a path may end so.


def _found(values: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """Return the section of an option, empty if it is missing, and the option's own name."""
    *parents, option = name.split(".")
    section: Any = values
    for parent in parents:
        section = section.get(parent) if isinstance(section, dict) else None
    return section if isinstance(section, dict) else {}, option


def _file(name: str) -> str:
    return name if packaged.is_packaged(name) else str(Path(name).resolve())


def _topics(name: str) -> str:
    return name if name == "packaged" or packaged.is_packaged(name) else str(Path(name).resolve())


def _model(name: str) -> str:
    """Return the path of a local model or adapter; other names as they are."""
    local = Path(name).expanduser()
    there = (local / "config.json").exists() or (local / "adapter_config.json").exists()
    return str(local.resolve()) if there else name


def _if_there(name: str) -> str:
    """Return the absolute path if it exists, else the name as it is: these options also accept names."""
    local = Path(name).expanduser()
    return str(local.resolve()) if name and local.exists() else name


def _weighted(name: str) -> str:
    """Return `PATH` or `PATH:weight` with the path of what exists made absolute."""
    path, colon, weight = name.rpartition(":")
    if packaged.is_packaged(name):
        return name
    return f"{_if_there(path)}:{weight}" if colon and not Path(name).exists() else _if_there(name)


def _if_file(name: str) -> str:
    return str(Path(name).resolve()) if Path(name).is_file() else name


_PATHS: dict[str, Callable[[str], str]] = {
    "seeds": _file,
    "parent_runs": _file,
    "topics": _topics,
    "evaluate.tasks": _file,
    "evaluate.plain_text": _file,
    "evaluate.ifeval": _file,
    "evaluate.constraints": _file,
    "tune.accelerate_config": _file,
    "model": _model,
    "answer.model": _model,
    "rate.model": _model,
    "tag.model": _model,
    "rate.rubric": _file,
    "export.embedding_model": _model,
    "regenerate.model": _model,
    "tune.model": _model,
    "evaluate.judge": _model,
    "evaluate.lm_eval": _if_file,
    "engine.tokenizer": _if_there,
    "engine.hf_config_path": _if_there,
    "regenerate.engine.tokenizer": _if_there,
    "tune.chat_template_path": _if_there,
    "tune.mix": _weighted,
    "tune.deepspeed": _if_there,
    "tune.fsdp_config": _if_there,
    "tune.resume_from_checkpoint": _if_there,
}
"""Options that hold paths, by dotted name."""
