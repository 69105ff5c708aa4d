"""The package's metadata, where it runs from a checkout: vLLM finds the plugin that ends its processes through them."""

from __future__ import annotations

import importlib.util
import os
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def described(folder: Path) -> list[str]:
    """Return what must be on the Python path besides the checkout: nothing if the package is installed."""
    try:
        metadata.distribution("selfinstruct")
    except metadata.PackageNotFoundError:
        return [str(describe(folder / "metadata"))]
    return []


def bytecode(folder: Path, module: str = "torch") -> dict[str, str]:
    """Return variables that let processes share what they compile of Python: it takes ten seconds for each of them.

    Args:
        folder: for it, where the module's own folder holds none and cannot be written.
        module: one that is large.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # Some container images set it.
    spec = importlib.util.find_spec(module)
    if spec is None or spec.cached is None or Path(spec.cached).exists():
        return {}
    return {} if os.access(Path(spec.cached).parents[1], os.W_OK) else {"PYTHONPYCACHEPREFIX": str(folder / "bytecode")}


def describe(folder: Path) -> Path:
    """Write name, version, requirements and entry points as an installer would; return the folder."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    target = folder / f"{project['name']}-{project['version']}.dist-info"
    target.mkdir(parents=True)
    requires = "".join(f"Requires-Dist: {line}\n" for line in project["dependencies"])
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n{requires}"
    (target / "METADATA").write_text(head)
    groups = project["entry-points"].items()
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in entries.items()) for group, entries in groups]
    (target / "entry_points.txt").write_text("\n".join(lines))
    return folder
