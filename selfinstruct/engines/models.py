"""What a model's name means: a folder, an adapter, a name on the Hub, or the demo model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from selfinstruct.config.schema import DEMO_MODEL
from selfinstruct.errors import ConfigError
from selfinstruct.packaged import model_path

LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The sizes in which vLLM keeps room for adapters."""


def resolve_model(name: str) -> str:
    """The path or Hub name that vLLM and transformers load for a model's name in the configuration.

    Raises:
        ConfigError: the name looks like a path (or is one) and holds no model.
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
    """vLLM's arguments for a folder that holds a LoRA adapter alone: its base model, and room for its rank.

    Empty for whole models, those that lie beside an adapter included.

    Raises:
        ConfigError: the adapter's configuration does not say what it belongs to.
    """
    path = Path(name) / "adapter_config.json"
    if not path.exists() or path.with_name("config.json").exists():
        return {}
    try:
        adapter = json.loads(path.read_text(encoding="utf-8"))
        base, rank = str(adapter["base_model_name_or_path"]), int(adapter["r"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: not the configuration of a LoRA adapter: {error!r}") from error
    room = next((most for most in LORA_RANKS if most >= rank), rank)
    arguments = {"model": resolve_model(base), "enable_lora": True, "max_lora_rank": room}
    # The tuned tokenizer brings the chat template and the end token.
    return arguments | ({"tokenizer": name} if path.with_name("tokenizer_config.json").exists() else {})


def adapts_output(folder: str) -> bool:
    """Whether the adapter in a folder changes the output layer."""
    adapter = json.loads((Path(folder) / "adapter_config.json").read_text(encoding="utf-8"))
    return "lm_head" in str(adapter.get("target_modules"))


def model_fingerprint(model: str, revision: str | None = None) -> str:
    """What tells one model from another without reading gigabytes: small files by content, weights by size and time.

    For a model on the Hub it is the name with the revision.
    """
    folder = Path(resolve_model(model))
    if not folder.is_dir():
        return f"{model}@{revision or 'main'}"
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in {".json", ".jinja", ".txt"}:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        elif path.suffix in {".safetensors", ".bin", ".model"}:
            about = path.stat()
            digest.update(f"{path.name}\0{about.st_size}\0{about.st_mtime_ns}\0".encode())
    return digest.hexdigest()
