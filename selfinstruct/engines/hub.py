"""A model's files: in a folder, in the Hub's cache on this machine, or on the Hub.

Every way of not reaching the Hub is a `ConfigError` of one line that names the remedy.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from selfinstruct.console import console
from selfinstruct.errors import ConfigError
from selfinstruct.hardware import free_disk
from selfinstruct.text import size_text

_HUB_TIMEOUT_S = 20.0
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class HubListing:
    """What the Hub says of a model without a download.

    Attributes:
        sizes: bytes of each file.
        numbers: how many numbers its safetensors hold, by their type (`BF16`); empty where the Hub does not know.
    """

    sizes: Mapping[str, int]
    numbers: Mapping[str, int] = field(default_factory=dict)


def is_local(name: str) -> bool:
    """Return whether a resolved name is a folder on this machine."""
    return Path(name).is_dir()


def is_modelscope() -> bool:
    """Return whether the user has set vLLM to fetch models from ModelScope; then nothing here looks for them."""
    return os.environ.get("VLLM_USE_MODELSCOPE", "").lower() in ("1", "true")


def weight_files(files: Iterable[str]) -> list[str]:
    """Return those of a repository's files that an engine loads as the model's weights.

    A repository may hold the same weights again: in another format, or for another program in a folder of its own.

    >>> weight_files(["consolidated.safetensors", "model-00001-of-00001.safetensors", "original/model.safetensors"])
    ['model-00001-of-00001.safetensors']
    """
    top = [name for name in files if "/" not in name]
    tensors = [name for name in top if name.endswith(".safetensors")]
    return sorted([name for name in tensors if not name.startswith(("consolidated", "adapter_"))] or tensors)


def require_safetensors(model: str, files: Iterable[str]) -> None:
    """Raise `ConfigError` if a model's files hold weights as pickles alone: a pickle may run code as it is read.

    Args:
        model: its name, for the message.
        files: the names of all its files.
    """
    names = list(files)
    pickles = [name for name in names if "/" not in name and name.endswith((".bin", ".pt", ".pth"))]
    pickles = [name for name in pickles if not name.startswith(("training_args", "optimizer", "scheduler", "rng_"))]
    if pickles and not weight_files(names):
        raise ConfigError(
            f"model {model!r}: its weights are a pickle ({sorted(pickles)[0]}), which may run code as it is read; load "
            "it with transformers, and save model and tokenizer by `save_pretrained`, which writes safetensors"
        )


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _small(files: Iterable[str]) -> list[str]:
    """Return the files beside the weights that a model needs: configuration, tokenizer, templates, code."""
    kept = (".json", ".jinja", ".txt", ".model", ".py", ".tiktoken")
    folders = ("", "additional_chat_templates")
    return sorted(name for name in files if name.endswith(kept) and name.rpartition("/")[0] in folders)


def cached_folder(name: str, revision: str | None = None) -> Path | None:
    """Return the folder of a model's files on this machine, complete or not; None if there is none.

    Args:
        name: a folder, or a name on the Hub.
        revision: on the Hub; default: its main one.
    """
    if is_local(name):
        return Path(name)
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError as error:
        raise ConfigError(f"model {name!r}: {_first_line(error)}; give a folder, or OWNER/NAME on the Hub") from error
    return Path(cached).parent if isinstance(cached, str) else None


def weights_here(folder: Path) -> dict[str, int]:
    """Return the bytes of each weight file in a folder; empty where some are missing."""
    there = weight_files(_names(folder))
    index = folder / _INDEX
    if index.exists():
        try:
            wanted = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{index}: not an index of safetensors ({error!r}); fetch the model again") from error
        if not set(wanted) <= set(there):
            return {}
        there = wanted
    return {name: (folder / name).stat().st_size for name in there}


@functools.cache
def listing(name: str, revision: str | None = None) -> HubListing:
    """Return what the Hub says of a model; ask only once.

    Raises:
        ConfigError: the Hub cannot be reached, or shows no such model.
    """
    from huggingface_hub import HfApi

    with reaching(name, revision):
        info = HfApi().model_info(name, revision=revision, timeout=_HUB_TIMEOUT_S, files_metadata=True)
    numbers = dict(info.safetensors.parameters) if info.safetensors else {}
    return HubListing({file.rfilename: file.size or 0 for file in info.siblings or ()}, numbers)


def small_files(name: str, revision: str | None = None) -> Path:
    """Return the folder of a model's configuration and tokenizer; fetch them if they are not on this machine.

    Raises:
        ConfigError: they are not here, and the Hub cannot be reached or shows no such model; its weights are pickles.
    """
    if is_local(name):
        require_safetensors(name, _names(Path(name)))
        return Path(name)
    try:
        sizes = listing(name, revision).sizes
    except ConfigError:
        if folder := cached_folder(name, revision):
            require_safetensors(name, _names(folder))
            return folder
        raise
    require_safetensors(name, sizes)
    with _quietly():
        return _download(name, revision, _small(sizes))


def whole_model(name: str, revision: str | None = None) -> str:
    """Return the folder of a model with its weights; fetch what is missing, and show how far that is.

    Args:
        name: a folder, or a name on the Hub.
        revision: on the Hub; default: its main one.

    Raises:
        ConfigError: it is not here, and the Hub cannot be reached, shows no such model, or the disk is too small.
    """
    if is_local(name):
        require_safetensors(name, _names(Path(name)))
        return name
    if is_modelscope():
        return name
    try:
        sizes = listing(name, revision).sizes
    except ConfigError:
        folder = cached_folder(name, revision)
        if folder is not None and weights_here(folder):
            return str(folder)
        raise
    require_safetensors(name, sizes)
    wanted = [*_small(sizes), *weight_files(sizes)]
    folder = cached_folder(name, revision)
    missing = sum(sizes[file] for file in wanted if folder is None or not (folder / file).exists())
    if missing:
        _require_disk(name, missing)
        console.print(f"fetching {name}: {size_text(missing)} from the Hub", markup=False)
    with contextlib.nullcontext() if missing else _quietly():
        return str(_download(name, revision, wanted))


def _download(name: str, revision: str | None, files: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    with reaching(name, revision):
        return Path(snapshot_download(name, revision=revision, allow_patterns=files))


def _require_disk(name: str, size: int) -> None:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    if (free := free_disk(cache)) < size:
        raise ConfigError(
            f"model {name!r}: {size_text(size)} are to be fetched, and {size_text(free)} are free in {cache}; make "
            "room there, or set HF_HOME to a directory with more"
        )


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Show no progress: the block takes a second."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextlib.contextmanager
def reaching(name: str, revision: str | None = None) -> Iterator[None]:
    """Turn every way of not getting a model from the Hub into a `ConfigError` with its remedy.

    Args:
        name: the model's name on the Hub.
        revision: as the user gave it.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise ConfigError(
            f"model {name!r} is gated: accept its terms on its page of the Hub, then set HF_TOKEN or `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ConfigError(f"model {name!r} has no revision {revision!r} on the Hub; correct --revision") from error
    except errors.RepositoryNotFoundError as error:
        raise ConfigError(
            f"model {name!r} is neither a folder here nor a model on the Hub that can be seen; correct the name, or, "
            "when it is private, set HF_TOKEN or `hf auth login`"
        ) from error
    except errors.HFValidationError as error:
        raise ConfigError(f"model {name!r}: {_first_line(error)}; give a folder, or OWNER/NAME on the Hub") from error
    except (OSError, errors.HTTPError, ValueError, RuntimeError) as error:
        raise ConfigError(_unreached(name, revision, error)) from error


def _unreached(name: str, revision: str | None, error: Exception) -> str:
    """Return why the Hub gave nothing, and what to do."""
    from huggingface_hub import constants

    what = "only partly" if cached_folder(name, revision) else "not"
    start, reason = f"model {name!r} is {what} on this machine, and", f"{_first_line(error):.200}"
    elsewhere = "give the path of a local copy"
    if constants.is_offline_mode():
        return (
            f"{start} HF_HUB_OFFLINE forbids fetching it: unset HF_HUB_OFFLINE, or fetch it beforehand with "
            f"`hf download {name}`, or {elsewhere}"
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"{start} the disk is full: make room in {constants.HF_HUB_CACHE}, or set HF_HOME to another directory"
    status = getattr(getattr(error, "response", None), "status_code", 0)
    if status in (401, 403):
        return f"{start} the Hub refuses access: {reason}; correct the name, or set HF_TOKEN or `hf auth login`"
    if status >= 400:
        return f"{start} the Hub answers with an error: {reason}; try again later, or {elsewhere}"
    return (
        f"{start} the Hub cannot be reached: {reason}; check the network (HF_ENDPOINT names a mirror), or {elsewhere}"
    )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
