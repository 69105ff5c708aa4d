"""`selfinstruct init`: a configuration file, explained, with the options that matter or with every one."""

from __future__ import annotations

import json
import textwrap
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from selfinstruct.config.load import load_config
from selfinstruct.config.schema import Config, Recipe

STARTER_MODEL = "Qwen/Qwen3-8B-Base"
"""A base model that fits most GPUs."""
THAT_MATTER = (
    "model recipe seeds output_dir num_instructions prompting prompt_language engine "
    "proposers.list proposers.plan proposers.evolve proposers.template answering answer.max_tokens "
    "filters.threshold filters.keywords limits.finish_by limits.max_tokens_total "
    "export.include_seeds tune evaluate.tasks evaluate.limit evaluate.judge"
).split()
"""The options that a user is most likely to change."""
_TOP = """\
# Configuration of a selfinstruct run:   selfinstruct run {name}.yaml
# Options that are commented out show the values that they have anyway; those of `engine` and `tune` are examples.
"""
_MORE = "# These are the options that matter most; `selfinstruct init --full` writes every one.\n"
_EXAMPLES = {
    "engine": "# gpu_memory_utilization: 0.9\n# max_model_len: 4096",
    "tune": "# use_peft: true\n# lora_r: 16\n# learning_rate: 2e-4\n# num_train_epochs: 2",
}
_ABOUT = {
    "engine": "vLLM engine arguments by their own names (`vllm serve --help` lists them).",
    "tune": "The tuning stage; any argument of TRL's SFTConfig and ModelConfig by its own name.",
}


def starter_yaml(model: str, name: str, recipe: Recipe | None = None, *, every: bool = False) -> str:
    """Return the text of a starter configuration.

    Args:
        model: to write into it.
        name: of the file, without suffix; the run directory gets it too.
        recipe: the one for that model; None: it is left to the user.
        every: write every option, not only those that matter most.
    """
    chosen: dict[str, Any] = {"model": model, "output_dir": f"runs/{name}", "num_instructions": 1000}
    chosen |= {"recipe": recipe} if recipe else {}
    values = load_config(None, chosen)
    parts = [_TOP.format(name=name), "" if every else _MORE, "\n"]
    for field, info in Config.model_fields.items():
        section = _section_of(info)
        if section is None and field not in _EXAMPLES:
            parts += [_option(field, info, values, field in chosen)] if every or field in THAT_MATTER else []
            continue
        shown = [n for n in (section.model_fields if section else ()) if every or f"{field}.{n}" in THAT_MATTER]
        if shown or field in THAT_MATTER:
            parts.append(_section(field, section, shown, getattr(values, field)))
    return "".join(parts)


def _option(name: str, info: FieldInfo, values: BaseModel, is_chosen: bool = False, indent: str = "") -> str:
    about = textwrap.indent(textwrap.fill(str(info.description), 110, break_on_hyphens=False), f"{indent}# ")
    value = getattr(values, name)
    flow = json.dumps(value) if isinstance(value, tuple | dict) else yaml.safe_dump(value).removesuffix("...\n").strip()
    shown = f"{name}: {flow if value is not None else ''}".rstrip()
    return f"{about}\n{indent}{'' if is_chosen else '# '}{shown}\n"


def _section(name: str, section: type[BaseModel] | None, shown: list[str], values: Any) -> str:
    about = _ABOUT.get(name) or str(section.__doc__).strip().splitlines()[0]
    body = "".join(_option(n, section.model_fields[n], values, indent="  ") for n in shown) if section else ""
    examples = textwrap.indent(_EXAMPLES[name], "  ") + "\n" if name in _EXAMPLES else ""
    return f"\n# {about}\n{name}:\n{body}{examples}"


def _section_of(info: FieldInfo) -> type[BaseModel] | None:
    kind = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
