"""`training.json`: what was done and what came of it; the report reads it.

{"state": "running" | "stopped" | "failed" | "finished", "identity": {...}, "exit_code": 0, "error": null,
 "model": ..., "method": "full" | "lora", "merge": null | "adapter" | "merged" | "both", "dataset_dir": ...,
 "rows": {"train": n, "trained_on": n, ...} (with packing also "blocks"),
 "template": {"source", "end_token", "pad_token"}, "findings": [{"name", "message", "fatal", "count", "examples"}],
 "arguments": {...}, "versions": {...}, "machine": {"device", "num_processes"},
 "parameters": {"total", "trainable"}, "tokens": {"train", "learnt"}, "steps", "epochs",
 "runtime": {"startup_s", "train_s", "total_s", "steps_per_s", "tokens_per_s"}, "resumed_from_step": null | n,
 "loss": {"train": [{"step", "epoch", "loss", "learning_rate"}], "evaluation": {split: [{"step", "loss"}]},
          "base": {split: x}, "final": {split: x}},
 "memory": {"estimate": {"weights", "gradients", ..., "total"}, "free", "total", "peak"} (bytes on one device),
 "overfitting": null | {"lowest_step", "lowest", "last"}}
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers")


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that train."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def losses(history: list[dict[str, Any]], final_step: int | None = None) -> dict[str, Any]:
    """The trainer's log as the losses of training, and of each validation split over the steps.

    Args:
        history: `trainer.state.log_history`.
        final_step: step of the model that was kept; the last one unless the best was loaded at the end.
    """
    train = [
        {name: row[name] for name in ("step", "epoch", "loss", "learning_rate") if name in row}
        for row in history
        if "loss" in row
    ]
    evaluation: dict[str, list[dict[str, Any]]] = {}
    for row in history:
        for name, value in row.items():
            if name.startswith("eval_") and name.endswith("_loss"):
                points = evaluation.setdefault(name[len("eval_") : -len("_loss")], [])
                if not points or points[-1]["step"] != row["step"]:  # a resumed run evaluates its first step again
                    points.append({"step": row["step"], "loss": value})
    base = {split: points[0]["loss"] for split, points in evaluation.items() if points[0]["step"] == 0}
    final = {
        split: next((p["loss"] for p in points if p["step"] == final_step), points[-1]["loss"])
        for split, points in evaluation.items()
    }
    return {"train": train, "evaluation": evaluation, "base": base, "final": final}


def overfitting(evaluation: Mapping[str, list[dict[str, Any]]], tolerance: float = 0.02) -> dict[str, Any] | None:
    """Whether the loss on unseen tasks rose again: its lowest point, and the last one.

    Args:
        evaluation: losses of each split over the steps; the base model's (step 0) is left out of account.
        tolerance: the share by which the last loss may lie above the lowest.
    """
    points = [point for point in evaluation.get("validation_unseen", ()) if point["step"]]
    if not points:
        return None
    lowest, last = min(points, key=lambda point: point["loss"]), points[-1]
    if last["loss"] <= lowest["loss"] * (1 + tolerance):
        return None
    return {"lowest_step": lowest["step"], "lowest": lowest["loss"], "last": last["loss"]}
