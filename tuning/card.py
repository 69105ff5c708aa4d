"""The model card: what a model was made of and how, for whoever finds it later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_CARD = """---
library_name: transformers
pipeline_tag: text-generation
{base_model}tags:
- trl
- sft
- selfinstruct
---

# {title}

Tuned with `selfinstruct` (TRL's SFTTrainer) from `{model}`, {method}.

| | |
|---|---|
| data | {rows} rows of `{dataset}`, instructions and answers written by a language model (Self-Instruct) |
| learnt | {learnt:,} of {tokens:,} tokens: the response and its end |
| steps | {steps} ({epochs:g} epochs), peak learning rate {learning_rate:g} |
| chat template | {template}; an answer ends with `{end_token}` |
| versions | {versions} |

{losses}
All arguments and the course of the loss are in `training.json`. Generated data carries its generator's errors and
biases.
"""


def card(title: str, notes: dict[str, Any]) -> str:
    """The text of `README.md` for what `training.json` holds."""
    lora = notes["method"] == "lora"
    splits = [(split, notes["loss"]["base"].get(split), final) for split, final in notes["loss"]["final"].items()]
    rows = [f"| {split} | {'' if base is None else f'{base:.3f}'} | {final:.3f} |" for split, base, final in splits]
    local = notes["model"].startswith(("/", ".", "~"))
    return _CARD.format(
        base_model="" if local else f"base_model: {notes['model']}\n",
        title=title,
        model=_short(notes["model"]) if local else notes["model"],
        method="LoRA, merged (the adapter alone is in `adapter/`)" if lora else "all parameters",
        rows=notes["rows"]["trained_on"],
        dataset=_short(notes["dataset_dir"]),
        learnt=notes["tokens"]["learnt"],
        tokens=notes["tokens"]["train"],
        steps=notes["steps"],
        epochs=notes["epochs"],
        learning_rate=notes["arguments"]["learning_rate"],
        template=notes["template"]["source"],
        end_token=notes["template"]["end_token"],
        versions=", ".join(f"{name} {version}" for name, version in notes["versions"].items()),
        losses="\n".join(["| loss on | before | after |", "|---|---|---|", *rows, ""]) if rows else "",
    )


def _short(path: str) -> str:
    """The last two parts of a path: a card travels, a home directory does not."""
    return "/".join(Path(path).parts[-2:])
