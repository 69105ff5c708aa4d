"""`selfinstruct init`: a configuration file with every option, explained and commented out at its default."""

from __future__ import annotations

import json
import textwrap
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from selfinstruct.config.schema import Config

_TOP = """\
# Configuration of a selfinstruct run:   selfinstruct run {name}.yaml
# Options that are commented out show their defaults; those of `engine` and `tune` are examples.

"""
_EXAMPLES = {
    "engine": "# gpu_memory_utilization: 0.9\n# max_model_len: 4096",
    "tune": "# use_peft: true\n# lora_r: 16\n# learning_rate: 2e-4\n# num_train_epochs: 2",
}
_ABOUT = {
    "engine": "vLLM engine arguments by their own names (`vllm serve --help` lists them).",
    "tune": "The tuning stage; any argument of TRL's SFTConfig and ModelConfig by its own name.",
}


def starter_yaml(model: str | None, name: str) -> str:
    """Return the text of a starter configuration.

    Args:
        model: to write into it; default: a base model that fits most GPUs.
        name: of the file, without suffix; the run directory gets it too.
    """
    chosen = {"model": model or "Qwen/Qwen3-8B-Base", "output_dir": f"runs/{name}", "num_instructions": 1000}
    parts = [_TOP.format(name=name)]
    for field, info in Config.model_fields.items():
        parts.append(_section(field, info) if _section_of(info) or field in _EXAMPLES else _option(field, info, chosen))
    return "".join(parts)


def _option(name: str, info: FieldInfo, chosen: dict[str, Any], indent: str = "") -> str:
    about = textwrap.indent(textwrap.fill(str(info.description), 110, break_on_hyphens=False), f"{indent}# ")
    value = chosen.get(name, info.default)
    flow = json.dumps(value) if isinstance(value, tuple) else yaml.safe_dump(value).removesuffix("...\n").strip()
    shown = f"{name}: {flow if value is not None else ''}".rstrip()
    return f"{about}\n{indent}{'' if name in chosen else '# '}{shown}\n"


def _section(name: str, info: FieldInfo) -> str:
    section = _section_of(info)
    about = _ABOUT.get(name) or (section.__doc__ or "").strip().splitlines()[0]
    body = "".join(_option(n, i, {}, "  ") for n, i in section.model_fields.items()) if section else ""
    examples = textwrap.indent(_EXAMPLES[name], "  ") + "\n" if name in _EXAMPLES else ""
    return f"\n# {about}\n{name}:\n{body}{examples}"


def _section_of(info: FieldInfo) -> type[BaseModel] | None:
    kind = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
