"""A model's files: in a folder, in the Hub's cache on this machine, or on the Hub.

Every way of not reaching the Hub is a `ConfigError` of one line that names the remedy.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from selfinstruct.errors import ConfigError

_HUB_TIMEOUT_S = 20.0
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx", ".ot", ".ckpt", ".tflite")
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


def weight_files(files: Iterable[str]) -> list[str]:
    """Return those of a repository's files that an engine loads as the model's weights.

    A repository may hold the same weights again: in another format, or for another program in a folder of its own.

    >>> weight_files(["consolidated.safetensors", "model-00001-of-00001.safetensors", "original/model.safetensors"])
    ['model-00001-of-00001.safetensors']
    """
    top = [name for name in files if "/" not in name]
    tensors = [name for name in top if name.endswith(".safetensors")]
    if tensors:
        return sorted([name for name in tensors if not name.startswith("consolidated")] or tensors)
    return sorted(name for name in top if name.endswith(".bin") and not name.startswith(("training_args", "optimizer")))


def small_files(files: Iterable[str]) -> list[str]:
    """Return the files beside the weights that a model needs: configuration, tokenizer, templates, code."""
    kept = (".json", ".jinja", ".txt", ".model", ".py", ".tiktoken")
    return sorted(
        name for name in files if name.endswith(kept) and (PurePosixPath(name).parent.name in ("", "chat_templates"))
    )


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
    there = weight_files(path.name for path in folder.iterdir())
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


def listing(name: str, revision: str | None = None) -> HubListing:
    """Return what the Hub says of a model.

    Raises:
        ConfigError: the Hub cannot be reached, or shows no such model.
    """
    from huggingface_hub import HfApi

    with reaching(name, revision):
        info = HfApi().model_info(name, revision=revision, timeout=_HUB_TIMEOUT_S, files_metadata=True)
    numbers = dict(info.safetensors.parameters) if info.safetensors else {}
    return HubListing({file.rfilename: file.size or 0 for file in info.siblings or ()}, numbers)


def fetch_small_files(name: str, revision: str | None = None) -> Path:
    """Return the folder of a model's configuration and tokenizer; fetch them if they are not on this machine.

    Raises:
        ConfigError: they are not here, and the Hub cannot be reached or shows no such model.
    """
    if is_local(name):
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        with reaching(name, revision):
            patterns = ["*.json", "*.jinja", "*.txt", "*.model", "*.py", "*.tiktoken"]
            return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except ConfigError:
        if folder := cached_folder(name, revision):
            return folder
        raise
    finally:
        if shown:
            enable_progress_bars()


@contextlib.contextmanager
def reaching(name: str, revision: str | None = None) -> Iterator[None]:
    """Turn every way of not getting a model from the Hub into a `ConfigError` with its remedy.

    Args:
        name: the model's name on the Hub.
        revision: as the user gave it.
    """
    from huggingface_hub import constants, errors

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
        if constants.is_offline_mode():
            raise ConfigError(
                f"model {name!r} is not on this machine, and HF_HUB_OFFLINE forbids fetching it: unset HF_HUB_OFFLINE, "
                f"or fetch it beforehand with `hf download {name}`, or give the path of a local copy"
            ) from error
        raise ConfigError(
            f"model {name!r} is not on this machine, and the Hub cannot be reached: {_first_line(error):.200}; check "
            "the network (HF_ENDPOINT names a mirror), or give the path of a local copy"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__
