"""The model card: what a model was made of, how, and how well it did, for whoever finds it later.

Written when tuning ends, and again with the scores when the model has been evaluated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from selfinstruct.engines.models import LORA_RANKS
from selfinstruct.formats import jsonl
from tuning.training.checkpoints import RECORD

NAME = "README.md"

_TOLD = (
    "learning_rate lr_scheduler_type warmup_steps num_train_epochs max_steps per_device_train_batch_size "
    "gradient_accumulation_steps max_length packing optim weight_decay seed bf16 fp16"
).split()
_TOLD_OF_LORA = (
    "lora_r lora_alpha lora_dropout lora_target_modules use_dora use_rslora load_in_4bit load_in_8bit".split()
)
_NOT_TOLD = frozenset("dataset_dir output_dir eval_tasks hub_token".split())
"""Paths of one machine, and secrets."""

_LIMITS = """## Limits

Generated data carries its generator's errors and biases; nobody has read all of it. Mind the licences of the base model
and of the model that wrote the data."""


def write(folder: Path, scores: Path | None = None) -> None:
    """Write the card of the tuned model in `folder` from its `training.json`.

    Args:
        folder: the model's.
        scores: `scores.json` of an evaluation that had this model as its arm `tuned`.
    """
    notes = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    found = json.loads(scores.read_text(encoding="utf-8")) if scores is not None else None
    jsonl.write_text(folder / NAME, card(folder.resolve().name, notes, provenance(Path(notes["dataset_dir"])), found))


def provenance(dataset_dir: Path) -> dict[str, Any]:
    """What a dataset that a run has exported was made of; empty for one from elsewhere."""
    try:
        counts = json.loads((dataset_dir / "export.json").read_text(encoding="utf-8"))
        with (dataset_dir.parent / "journal.jsonl").open("rb") as journal:
            identity = json.loads(next(islice(journal, 1)))["identity"]
        return {
            "generator": identity["model"],
            "revision": identity.get("revision"),
            "seeds_sha256": identity["seeds_sha256"],
            "instructions": counts["instructions"]["accepted"],
            "instances": counts["instances"]["accepted"],
            "include_seeds": counts["include_seeds"],
        }
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return {}


def card(title: str, notes: Mapping[str, Any], made_of: Mapping[str, Any], scores: Mapping[str, Any] | None) -> str:
    """The text of the card.

    Args:
        title: the model's name.
        notes: what `training.json` holds.
        made_of: see `provenance`.
        scores: what `scores.json` holds, or None before an evaluation.
    """
    sections = [
        _front_matter(notes),
        f"# {title}",
        f"Tuned with `selfinstruct` (TRL's SFTTrainer) from `{_name(notes['model'])}`, {_method(notes)}.",
        "```bash\n" + _serve(notes) + "\n```",
        "## Data\n\n" + _data(notes, made_of),
        "## Training\n\n" + _training(notes),
        *([f"## Scores\n\n{_scores(scores)}"] if scores else []),
        _LIMITS,
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(notes: Mapping[str, Any]) -> str:
    alone = notes.get("merge") == "adapter"
    about = {
        "library_name": "peft" if alone else "transformers",
        "pipeline_tag": "text-generation",
        **({} if _is_local(notes["model"]) else {"base_model": notes["model"]}),
        "tags": ["trl", "sft", "selfinstruct", *(["lora"] if notes["method"] == "lora" else [])],
    }
    return f"---\n{yaml.safe_dump(about, sort_keys=False)}---"


def _method(notes: Mapping[str, Any]) -> str:
    if notes["method"] != "lora":
        return "all parameters"
    kept = {"adapter": "the adapter alone", "merged": "merged"}
    return f"LoRA, {kept.get(notes.get('merge', 'both'), 'merged (the adapter alone is in `adapter/`)')}"


def _serve(notes: Mapping[str, Any]) -> str:
    if notes.get("merge") != "adapter":
        return "vllm serve ."
    rank = notes["arguments"]["lora_r"]
    room = next((most for most in LORA_RANKS if most >= rank), rank)
    return (
        f"vllm serve {_name(notes['model'])} --enable-lora --max-lora-rank {room} --lora-modules tuned=. \\\n"
        "    --tokenizer . --generation-config ."
    )


def _data(notes: Mapping[str, Any], made_of: Mapping[str, Any]) -> str:
    rows = {"training rows": f"{notes['rows']['trained_on']} of `{_short(notes['dataset_dir'])}`"}
    if made_of:
        revision = f" at revision `{made_of['revision']}`" if made_of["revision"] else ""
        rows |= {
            "written by": f"`{_name(made_of['generator'])}`{revision}, with Self-Instruct",
            "out of": f"seed tasks with the SHA-256 {made_of['seeds_sha256'][:16]}…",
            "accepted": f"{made_of['instructions']} instructions, {made_of['instances']} instances",
            "seed tasks included": "yes" if made_of["include_seeds"] else "no",
        }
    rows["learnt"] = f"{notes['tokens']['learnt']:,} of {notes['tokens']['train']:,} tokens: the response and its end"
    template = notes["template"]
    rows["chat template"] = f"{_short(template['source'])}; an answer ends with `{template['end_token']}`"
    return _table(("", ""), rows.items())


def _training(notes: Mapping[str, Any]) -> str:
    arguments = notes["arguments"]
    wanted = [*_TOLD, *(_TOLD_OF_LORA if notes["method"] == "lora" else ()), *notes.get("given", ())]
    names = [name for name in dict.fromkeys(wanted) if name in arguments and name not in _NOT_TOLD]
    shown: dict[str, Any] = {
        "steps": f"{notes['steps']} ({notes['epochs']:g} epochs)",
        "processes": notes["machine"]["num_processes"],
        **{f"`{name}`": _value(arguments[name]) for name in names if name != "model_name_or_path"},
        "versions": ", ".join(f"{name} {version}" for name, version in notes["versions"].items()),
    }
    loss = notes["loss"]
    losses = [
        (split, "" if (base := loss["base"].get(split)) is None else f"{base:.3f}", f"{final:.3f}")
        for split, final in loss["final"].items()
    ]
    parts = [_table(("argument", "value"), shown.items())]
    if losses:
        parts.append(_table(("loss on", "before", "after"), losses))
    return "\n\n".join([*parts, "All arguments and the course of the loss are in `training.json`."])


def _scores(scores: Mapping[str, Any]) -> str:
    arms = scores["arms"]
    sets = list(dict.fromkeys(name for arm in arms.values() for name in arm["sets"]))
    rows = [(arm, *(_rouge(about["sets"].get(name)) for name in sets)) for arm, about in arms.items()]
    titles = ("ROUGE-L", *(f"{name} ({_tasks(arms, name)})" for name in sets))
    confidence = scores.get("settings", {}).get("confidence", 0.95)
    return f"{scores['verdict']}\n\n{_table(titles, rows)}\n\nIn brackets the {confidence:.0%} interval over tasks."


def _tasks(arms: Mapping[str, Any], name: str) -> str:
    some = next(about["sets"][name] for about in arms.values() if name in about["sets"])
    return f"{some['n_tasks']} tasks"


def _rouge(about: Mapping[str, Any] | None) -> str:
    if not about or about.get("rouge_l") is None:
        return "-"
    interval = about.get("rouge_l_interval")
    return f"{about['rouge_l']:.1f}" + (f" [{interval[0]:.1f}, {interval[1]:.1f}]" if interval else "")


def _table(titles: tuple[str, ...], rows: Any) -> str:
    return "\n".join(_lines(titles, rows))


def _lines(titles: tuple[str, ...], rows: Any) -> Iterator[str]:
    yield "| " + " | ".join(titles) + " |"
    yield "| " + " | ".join("---" for _ in titles) + " |"
    for row in rows:
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |"


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _is_local(model: str) -> bool:
    return model.startswith(("/", ".", "~"))


def _name(model: str) -> str:
    return _short(model) if _is_local(model) else model


def _short(path: str) -> str:
    """The last two parts of a path: a card travels, a home directory does not."""
    return "/".join(Path(path).parts[-2:])
