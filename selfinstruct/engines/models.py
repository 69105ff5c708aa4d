"""Resolve a model's name: a folder, an adapter, a name on the Hub, or the demo model."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfinstruct.config.schema import DEMO_MODEL
from selfinstruct.engines import hub
from selfinstruct.errors import ConfigError
from selfinstruct.packaged import model_path

LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The values of `max_lora_rank` that vLLM accepts."""


def resolve_model(name: str) -> str:
    """Return the path or Hub name that vLLM and transformers load for a model's name in the configuration.

    Raises:
        ConfigError: the name looks like a path (or is one), and there is no model.
    """
    if name == DEMO_MODEL:
        return str(model_path())
    path = Path(name)
    looks_like_path = path.is_absolute() or name.startswith((".", "~")) or path.exists() or name.count("/") > 1
    if not looks_like_path:
        return name
    path = path.expanduser()
    if not (path / "config.json").exists() and not (path / "adapter_config.json").exists():
        raise ConfigError(f"model {name!r}: no such model; {path / 'config.json'} does not exist")
    return str(path.resolve())


def adapter_arguments(name: str) -> dict[str, Any]:
    """Return vLLM's arguments for a folder that holds only a LoRA adapter: its base model and its rank.

    Return no arguments for a whole model, also if an adapter is in the same folder.

    Raises:
        ConfigError: the adapter's configuration does not name its base model and its rank.
    """
    adapter = _adapter(name)
    if adapter is None:
        return {}
    max_rank = next((size for size in LORA_RANKS if size >= adapter.rank), adapter.rank)
    arguments = {"model": adapter.base, "enable_lora": True, "max_lora_rank": max_rank}
    # The tuned tokenizer brings the chat template and the end token.
    return arguments | ({"tokenizer": name} if (Path(name) / "tokenizer_config.json").exists() else {})


def with_weights(name: str, revision: str | None = None) -> tuple[str, str | None]:
    """Return the model whose weights are loaded for a resolved name, and their revision on the Hub.

    For a folder that holds only an adapter, these are the base model and the revision that it was trained on.

    Raises:
        ConfigError: the adapter's configuration does not name its base model.
    """
    adapter = _adapter(name)
    return (name, revision) if adapter is None else (adapter.base, adapter.revision or revision)


@dataclass(frozen=True, slots=True)
class _Adapter:
    base: str
    revision: str | None
    rank: int


def _adapter(name: str) -> _Adapter | None:
    path = Path(name) / "adapter_config.json"
    if not path.exists() or path.with_name("config.json").exists():
        return None
    try:
        adapter = json.loads(path.read_text(encoding="utf-8"))
        base, revision, rank = str(adapter["base_model_name_or_path"]), adapter.get("revision"), int(adapter["r"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: not the configuration of a LoRA adapter: {error!r}") from error
    return _Adapter(resolve_model(base), str(revision) if revision else None, rank)


def fetch_model(name: str, revision: str | None = None) -> str:
    """Return the folder of a model, or of an adapter's base model; fetch what is not on this machine.

    Args:
        name: as in the configuration.
        revision: on the Hub; default: its main one. An adapter's own goes before it.

    Raises:
        ConfigError: it does not exist, cannot be reached, or does not fit on the disk.
    """
    return hub.whole_model(*with_weights(resolve_model(name), revision))


def adapts_output(folder: str) -> bool:
    """Return whether the adapter in a folder changes the output layer."""
    adapter = json.loads((Path(folder) / "adapter_config.json").read_text(encoding="utf-8"))
    return "lm_head" in str(adapter.get("target_modules"))


def model_fingerprint(model: str, revision: str | None = None) -> str:
    """Return a hash that identifies a model without reading gigabytes.

    It covers small files by their content, and weights by size and time of change. For a model on the Hub, return
    the name with the revision.
    """
    folder = Path(resolve_model(model))
    if not folder.is_dir():
        return f"{model}@{revision or 'main'}"
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in {".json", ".jinja", ".txt"}:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        elif path.suffix in {".safetensors", ".bin", ".model"}:
            status = path.stat()
            digest.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()
