"""The reference of commands, configuration and formats, written from the code whenever the documentation is built.

`mkdocs.yml` names this file as a hook. The pages are not committed, so that they cannot be out of date.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
from pydantic import BaseModel

from selfinstruct.cli import cli
from selfinstruct.config.schema import Config
from selfinstruct.environment import variable_of
from selfinstruct.formats import exported_rows
from selfinstruct.formats.families import FAMILIES

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those of `docs/`; mkdocs calls this."""
    from mkdocs.structure.files import File

    pages = {"commands": commands_page(), "configuration": configuration_page(), "formats": formats_page()}
    for name, text in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def commands_page() -> str:
    """Return the page of all commands: what `--help-all` prints of each."""
    parts = ["# Commands\n\nWhat `--help-all` prints, command by command.\n"]
    for path, command in leaves(cli, "selfinstruct"):
        context = click.Context(command, info_name=path, **(cli.context_settings | command.context_settings))
        context.terminal_width = 110
        context.meta["selfinstruct.help_all"] = True
        parts.append(f"\n## {path.removeprefix('selfinstruct ')}\n\n```text\n{command.get_help(context)}\n```\n")
    return "".join(parts)


def configuration_page() -> str:
    """Return the page of all options: name, default, type and bounds, description."""
    parts = [
        "# Configuration\n\nEvery option of a configuration file, as `selfinstruct init --full` writes it. On the "
        "command line it is `--SECTION.NAME`, in the environment `"
        + variable_of("section.name")
        + "`. `engine` takes vLLM's engine arguments, and `tune` also TRL's, by their own names.\n"
    ]
    top = [(name, info) for name, info in Config.model_fields.items() if _section(info.annotation) is None]
    parts += ["\n## Top level\n\n", *_table(top)]
    for name, info in Config.model_fields.items():
        section = _section(info.annotation)
        if section is not None:
            about = inspect.getdoc(section) or ""
            parts += [f"\n## {name}\n\n{about.partition(chr(10) * 2)[0]}\n\n", *_table(section.model_fields.items())]
    return "".join(parts)


def formats_page() -> str:
    """Return the page of data formats: what an exported row holds, and every family with real records."""
    about = (
        "`selfinstruct convert`, and everything else that reads a dataset, reads every family below. The content "
        "tells the family."
    )
    parts = [f"# Formats\n\n{about}\n\n| family | what it is | written |\n| --- | --- | --- |\n"]
    parts += [f"| `{one.name}` | {one.about} | {'yes' if one.write else 'no'} |\n" for one in FAMILIES]
    modules = list(dict.fromkeys(inspect.getmodule(one.recognises) for one in FAMILIES))
    for title, module in [("Exported rows", exported_rows), *((None, module) for module in modules)]:
        first, _, rest = (inspect.getdoc(module) or "").partition("\n")
        title, colon, said = (title, ":", first) if title else first.rstrip(".").partition(": ")
        parts.append(f"\n## {title}\n\n{said[:1].upper() + said[1:] if colon else ''}\n{rest}\n")
    return "".join(parts)


def leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that is not a group, with its whole name."""
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from leaves(command.commands[name], f"{path} {name}")
    elif not command.hidden:
        yield path, command


def _table(fields: Any) -> Iterator[str]:
    yield "| option | default | values | what it does |\n| --- | --- | --- | --- |\n"
    for name, info in fields:
        default = "" if info.is_required() else f"`{_shown(info.get_default(call_default_factory=True))}`"
        values = ", ".join([_type(info.annotation), *(_bound(one) for one in info.metadata if _bound(one))])
        yield f"| `{name}` | {default} | {_cell(values)} | {_cell(info.description or '')} |\n"


def _section(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) if 0 < len(value) < 4 else "[]" if not value else f"{len(value)} values"
    return {None: "null", True: "true", False: "false", "": '""'}.get(value, str(value)) if _plain(value) else "{}"


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _type(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return " ".join(f"`{value}`" for value in typing.get_args(annotation))
    if arguments := typing.get_args(annotation):
        named = [_type(one) for one in arguments if one not in (type(None), ...)]
        return " or ".join(dict.fromkeys(named))
    return getattr(annotation, "__name__", str(annotation))


def _bound(constraint: Any) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return next(
        (f"{sign} {getattr(constraint, name)}" for name, sign in signs.items() if hasattr(constraint, name)), ""
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
