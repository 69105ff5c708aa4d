"""Files that come with the package: seed and evaluation tasks, example configurations, the demo model."""

from __future__ import annotations

from pathlib import Path

from selfinstruct.errors import InputError
from selfinstruct.text import name_and_number

_DOMAIN = "domain:"
_GENERAL = "general"
_EVALUATION = "/eval"
PACKAGED = ("seed_tasks", "eval_tasks", "demo_heldout", _GENERAL)
"""Names of the packaged files. An option that takes a seed file also takes these names."""
_PROMPTS = ("constraint_prompts", "ifeval_prompts")
"""Names of the packaged prompts with constraints, which the evaluation asks."""


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


def is_packaged(name: str | Path) -> bool:
    """Return whether a name, with or without `:number`, is that of a packaged file or of a domain's."""
    name = name_and_number(str(name))[0]
    return name in PACKAGED or name in _PROMPTS or name.startswith(_DOMAIN)


def domains() -> tuple[str, ...]:
    """Return the names of the packaged domains, in alphabetical order."""
    return tuple(sorted(path.name for path in (packaged_folder() / "domains").iterdir() if path.is_dir()))


def set_name(name: str) -> str:
    """Return what a set of evaluation tasks is called: the name of its file, or of the domain.

    >>> set_name("mine/tasks.jsonl.gz"), set_name("domain:healthcare"), set_name("domain:healthcare/eval")
    ('tasks', 'healthcare', 'healthcare')
    """
    if name.startswith(_DOMAIN):
        return name.removeprefix(_DOMAIN).removesuffix(_EVALUATION)
    path = Path(name)
    return Path(path.stem).stem if path.suffix in (".gz", ".zst") else path.stem


def resolve(name: str | Path, of_domain: str = "seed_tasks.jsonl") -> Path:
    """Return the path of a file. The user gives a path, or the name of a packaged file.

    Args:
        name: `domain:NAME` is the file of a domain that the option needs; `domain:NAME/eval`, its evaluation tasks;
            `general`, the file of the general tasks that the option needs.
        of_domain: the file of a domain that the option needs.

    Raises:
        InputError: no such domain.
    """
    if name == "demo_heldout":
        return heldout_path()
    if name == _GENERAL:
        return packaged_folder() / of_domain
    if not str(name).startswith(_DOMAIN):
        return packaged_folder() / f"{name}.jsonl" if name in (*PACKAGED, *_PROMPTS) else Path(name)
    domain = str(name).removeprefix(_DOMAIN)
    if domain.endswith(_EVALUATION):
        domain, of_domain = domain.removesuffix(_EVALUATION), "eval_tasks.jsonl"
    if domain not in domains():
        raise InputError(f"{name}: no such domain; give domain:NAME with one of {', '.join(domains())}")
    return packaged_folder() / "domains" / domain / of_domain
