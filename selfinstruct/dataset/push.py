"""Put a run's dataset and its tuned model on the Hugging Face Hub, when asked to and as private repositories.

huggingface_hub sends the files. What is there already is not sent again, so the same command continues after a break.
Checkpoints, training.json and the marks of the chain stay here. Where a file of text holds a path of this machine,
such as that of a model, its last part is sent instead.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from selfinstruct.dataset.export import require_dataset
from selfinstruct.errors import ConfigError, InputError
from selfinstruct.formats import jsonl
from selfinstruct.run.directory import RunDirectory

Kind = Literal["dataset", "model"]

_HIDDEN = (".*", "*.tmp")
_OF_TRL = ("training_args.bin", "runs/*")
"""Patterns of files that a trainer writes about this machine."""
_OF_TEXT = frozenset((".json", ".jsonl", ".md", ".yaml"))


@dataclass(frozen=True, slots=True)
class Upload:
    """A folder for the Hub.

    Attributes:
        kind: of the repository.
        name: of the repository, as OWNER/NAME, or NAME alone for the account of the token.
        folder: what is sent.
        files: (path within the folder, size in bytes) of all that is sent.
        stays_here: patterns of paths that are not sent.
        paths: paths of this machine that the run was made with; each is sent as its last part.
    """

    kind: Kind
    name: str
    folder: Path
    files: list[tuple[str, int]]
    stays_here: list[str]
    paths: list[str]

    @property
    def size(self) -> int:
        """Return the size of all files, in bytes."""
        return sum(size for _, size in self.files)


def uploads(run_dir: Path, *, dataset: str | None, model: str | None) -> list[Upload]:
    """Return what would be sent, without asking the Hub.

    Args:
        run_dir: the run; one of an earlier version is as good.
        dataset: name of the dataset's repository; None leaves it out.
        model: name of the model's repository; None leaves it out.

    Raises:
        ConfigError: neither is named, or a name is none.
        InputError: the run has no dataset, or no tuned model.
    """
    if dataset is None and model is None:
        raise ConfigError("nothing to push: name the dataset's repository (--dataset), the model's (--model), or both")
    run = RunDirectory(run_dir)
    planned, paths = [], _paths_of(run)
    if dataset is not None:
        require_dataset(run)
        planned.append(_upload("dataset", dataset, run.dataset.path, [], paths))
    if model is not None:
        run.model.require_trained()
        if not run.model.holds_model:
            raise InputError(f"{run.model.path}: holds no tuned model; make one with `selfinstruct tune {run.path}`")
        about_here = [run.model.record_path.name, run.model.failed.name, f"{run.model.checkpoints.name}/*", *_OF_TRL]
        planned.append(_upload("model", model, run.model.path, about_here, paths))
    return planned


def _paths_of(run: RunDirectory) -> list[str]:
    """Return the paths that a run's journal, configuration and training name, those that hold others first."""
    said: list[Any] = [str(run.path.resolve()), run.header().identity]
    with contextlib.suppress(OSError, ValueError, yaml.YAMLError):
        said.append(yaml.safe_load(run.config_path.read_text(encoding="utf-8")))
    if run.model.record_path.exists():
        said.append(jsonl.read_json(run.model.record_path))
    return sorted({text for text in _texts(said) if _is_path(text)}, key=len, reverse=True)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts(list(value.values()))
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def _is_path(text: str) -> bool:
    """Return whether a text is an absolute path of at least two parts: `/no_think` is none."""
    return text.startswith("/") and text.count("/") > 1 and len(Path(text).parts) > 2 and text.isprintable()


@contextlib.contextmanager
def _without_paths(upload: Upload) -> Iterator[Path]:
    """Yield a folder with the files to send; of those that are the same, links to them."""
    with tempfile.TemporaryDirectory(prefix="selfinstruct-push-") as name:
        for file, _ in upload.files:
            source, copy = upload.folder / file, Path(name) / file
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.suffix not in _OF_TEXT:
                copy.symlink_to(source.resolve())
                continue
            how: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
            with source.open(**how) as lines, copy.open("w", **how) as out:
                out.writelines(_shortened(line, upload.paths) for line in lines)
            shutil.copymode(source, copy)
        yield Path(name)


def _shortened(line: str, paths: Sequence[str]) -> str:
    for path in paths:
        for written in (path, json.dumps(path)[1:-1]):
            line = line.replace(written, Path(path).name)
    return line


def _upload(kind: Kind, name: str, folder: Path, stays_here: Sequence[str], paths: list[str]) -> Upload:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import filter_repo_objects, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(f"--{kind} {name!r} is no name of a repository; give NAME or OWNER/NAME") from error
    names = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    patterns = [*_HIDDEN, *stays_here]
    sent = filter_repo_objects(names, ignore_patterns=patterns)
    return Upload(kind, name, folder, [(file, (folder / file).stat().st_size) for file in sent], patterns, paths)


def push(upload: Upload, *, public: bool = False) -> str:
    """Send a folder to the Hub. Return the address of the repository, which is made if it is missing.

    Args:
        upload: what to send.
        public: whether everybody may see a repository that is made now; one that is there stays as it is.

    Raises:
        ConfigError: the Hub refuses it, cannot be reached, or shows the repository to everybody while `public` is not
            set.
    """
    from huggingface_hub import HfApi

    api = HfApi(library_name="selfinstruct")
    with _telling(upload), _without_paths(upload) as folder:
        created = api.create_repo(upload.name, repo_type=upload.kind, private=not public, exist_ok=True)
        if not public and not api.repo_info(created.repo_id, repo_type=upload.kind).private:
            raise ConfigError(
                f"the {upload.kind} {created.repo_id} is public: give --public to push to it, or another name"
            )
        api.upload_folder(
            repo_id=created.repo_id,
            repo_type=upload.kind,
            folder_path=folder,
            ignore_patterns=upload.stays_here,
            commit_message="Upload with selfinstruct",
        )
    return str(created)


@contextlib.contextmanager
def _telling(upload: Upload) -> Iterator[None]:
    """Turn what the Hub or the network says into a `ConfigError` with its remedy."""
    from huggingface_hub import constants, errors

    start, again = f"the {upload.kind} {upload.name} was not pushed", "what was sent already is kept"
    try:
        yield
    except errors.LocalTokenNotFoundError as error:
        raise ConfigError(f"{start}: no token; set HF_TOKEN or run `hf auth login`") from error
    except errors.HfHubHTTPError as error:
        status, said = error.response.status_code, " ".join(str(error.server_message or error).split())[:200]
        if status in (401, 403):
            remedy = "set HF_TOKEN (or `hf auth login`) to a token that may write there, or correct the name"
        else:
            remedy = f"give the same command again later: {again}"
        raise ConfigError(f"{start}: the Hub answers {status}: {said}; {remedy}") from error
    except errors.OfflineModeIsEnabled as error:
        raise ConfigError(f"{start}: HF_HUB_OFFLINE forbids it; unset it") from error
    except (OSError, errors.HTTPError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConfigError(
            f"{start}: {constants.ENDPOINT}: {reason}; check the network, and give the same command again: {again}"
        ) from error
