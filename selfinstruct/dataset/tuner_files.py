"""What other tuners need to read a converted file: for LLaMA-Factory, axolotl and TRL."""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote
from typing import Any

from selfinstruct.dataset.convert import Conversion
from selfinstruct.formats import jsonl
from selfinstruct.records import TRAIN
from selfinstruct.run.folders import DatasetDirectory


def hints(target: Path, done: Conversion) -> list[str]:
    """Return the YAML that makes TRL's and axolotl's commands read a converted file, as lines for people.

    Args:
        target: the file.
        done: its conversion.
    """
    trl = f"TRL (trl {'dpo' if done.target == 'preference' else 'sft'} --config FILE)"
    stanzas = {trl: trl_stanza(target, done), "axolotl": axolotl_stanza(target, done)}
    return [
        line
        for tool, stanza in stanzas.items()
        if stanza is not None
        for line in (f"{tool}:", *(f"  {text}" for text in stanza.splitlines()))
    ]


_ALPACA = Conversion("", "alpaca", fields={"instruction", "input", "output"})
"""What `alpaca.json` of an exported dataset is."""
_MESSAGES = Conversion("", "messages", fields={"messages"})
"""What the splits of an exported dataset are to tuners that read messages."""


def describe_export(dataset: DatasetDirectory) -> None:
    """Write the `dataset_info.json` by which LLaMA-Factory finds the training split, as messages and as Alpaca."""
    files = {dataset.split(TRAIN): _MESSAGES, dataset.alpaca: _ALPACA}
    entries = {entry_name(path): llama_factory_entry(path, done) for path, done in files.items()}
    jsonl.write_json(dataset.llama_factory, entries)


def export_commands(dataset: DatasetDirectory, model: str) -> dict[str, str]:
    """Return the command of each tuner that trains a model on an exported dataset, by the tuner's name.

    TRL and axolotl read a file: their commands write it first.

    Args:
        dataset: the exported dataset.
        model: the model to train, as these tools name it.
    """
    folder, train = quote(str(dataset.path.absolute())), dataset.split(TRAIN)
    file, base = quote(str(train.absolute())), quote(model)
    rows = Conversion("", "prompt-completion", fields={"prompt", "completion"})
    hint = "# chat_template_path: FILE.jinja  # for a base model, which has none of its own"
    trl = f"model_name_or_path: {json.dumps(model)}\n{trl_stanza(train, rows)}output_dir: tuned\n{hint}\n"
    axolotl = f"base_model: {json.dumps(model)}\n{axolotl_stanza(train, _MESSAGES)}"
    axolotl += "    chat_template: tokenizer_default_fallback_chatml  # a base model has none of its own\n"
    axolotl += "sequence_len: 2048\nmicro_batch_size: 1\nlearning_rate: 0.0002\noutput_dir: tuned\n"
    return {
        "TRL": f"cat > trl.yaml <<'END'\n{trl}END\ntrl sft --config trl.yaml",
        "axolotl": f"cat > axolotl.yaml <<'END'\n{axolotl}END\naxolotl train axolotl.yaml",
        "LLaMA-Factory": (
            f"llamafactory-cli train --stage sft --do_train --model_name_or_path {base} --dataset_dir {folder} "
            f"--dataset {entry_name(train)} --template default --finetuning_type lora --output_dir tuned"
        ),
        "torchtune": (
            "tune run lora_finetune_single_device --config CONFIG dataset._component_=torchtune.datasets.chat_dataset "
            f"dataset.source=json dataset.data_files={file} dataset.conversation_column=messages "
            "dataset.conversation_style=openai dataset.split=train"
        ),
    }


def trl_stanza(target: Path, done: Conversion) -> str | None:
    """Return the YAML that makes TRL's command read the file; None for a family that it does not read.

    Args:
        target: the file.
        done: its conversion.
    """
    columns = {
        "messages": ["messages"],
        "prompt-completion": ["prompt", "completion"],
        "preference": ["prompt", "chosen", "rejected"],
    }.get(done.target)
    if columns is None:
        return None
    kind = "parquet" if target.suffix == ".parquet" else "json"
    lines = ["datasets:", f"  - path: {kind}", f"    data_files: {json.dumps(str(target.absolute()))}"]
    return "\n".join([*lines, f"    columns: [{', '.join(columns)}]"]) + "\n"


def llama_factory_entry(target: Path, done: Conversion) -> dict[str, Any] | None:
    """Return how LLaMA-Factory's `dataset_info.json` describes the file; None for a family that it does not read.

    It names only fields that the rows have: LLaMA-Factory fails on a named field that is missing.

    Args:
        target: the file.
        done: its conversion.
    """
    entry: dict[str, Any] = {"file_name": target.name}
    ranking = {"ranking": True} if done.preferences else {}
    if done.target == "alpaca":
        names = {"prompt": "instruction", "query": "input", "response": "output"}
        names |= {name: name for name in ("system", "history", "chosen", "rejected")}
        return entry | ranking | {"columns": {k: v for k, v in names.items() if v in done.fields}}
    if done.target == "sharegpt":
        names = {"messages": "conversations"} | {name: name for name in ("system", "chosen", "rejected")}
        columns = {k: v for k, v in names.items() if v in done.fields}
        return entry | {"formatting": "sharegpt"} | ranking | {"columns": columns}
    if done.target == "messages":
        tags = {f"{role}_tag": role for role in ("user", "assistant", "system")}
        tags = {"role_tag": "role", "content_tag": "content"} | tags
        return entry | {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": tags}
    return None


def register_with_llama_factory(target: Path, entry: dict[str, Any]) -> Path:
    """Add the entry of a file to the `dataset_info.json` beside it, and return that file's path. Other entries stay.

    Args:
        target: the data file; its name up to the first dot is the name of the entry.
        entry: as `llama_factory_entry` returns it.

    Raises:
        InputError: there is a `dataset_info.json` that holds no JSON object.
    """
    path = DatasetDirectory(target.parent).llama_factory
    known = jsonl.read_json(path) if path.exists() else {}
    jsonl.write_json(path, known | {entry_name(target): entry})
    return path


def entry_name(target: Path) -> str:
    """Return the name by which LLaMA-Factory knows the file."""
    return target.name.split(".")[0]


def axolotl_stanza(target: Path, done: Conversion) -> str | None:
    """Return the YAML that makes axolotl read the file; None for a family that it does not read, and for preferences.

    Args:
        target: the file.
        done: its conversion.
    """
    if done.preferences or done.target not in ("alpaca", "messages", "sharegpt"):
        return None
    kind = "parquet" if target.suffix == ".parquet" else "json"
    lines = ["datasets:", f"  - path: {json.dumps(str(target.absolute()))}", f"    ds_type: {kind}"]
    if done.target == "alpaca":
        unread = sorted(done.fields & {"system", "history"})
        note = (
            [f"# axolotl reads no {' and no '.join(unread)} of this form; --to messages keeps them"] if unread else []
        )
        return "\n".join([*note, *lines, "    type: alpaca"]) + "\n"
    lines += ["    type: chat_template"]
    if done.target == "messages":
        return "\n".join([*lines, "    field_messages: messages"]) + "\n"
    mapping = ["    field_messages: conversations", "    message_property_mappings:", "      role: from"]
    return "\n".join([*lines, *mapping, "      content: value"]) + "\n"
