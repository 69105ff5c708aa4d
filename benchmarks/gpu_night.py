"""What only a GPU can show, in one command of at most nine minutes: each step prints a line of JSON, whatever happens.

    python benchmarks/gpu_night.py                          # on one GPU of at least 40 GiB; needs no network
    python benchmarks/gpu_night.py --only chain killed
    python benchmarks/gpu_night.py --tiny --only engine     # the same code on tiny models, on a CPU

Steps, the most telling one first:

    machine   hardware, versions, packages that are missing, rate of bfloat16 matrix products
    chain     the demo with 40 instructions; afterwards no process is left and the GPU's memory is back within 5 s
    killed    `kill -9` of the chain, then of its generation, while it generates: the same
    engine    8 billion parameters with dummy weights: start, what vLLM computes at once, its cache; tokens/s of 1,024
              requests with a common prefix, and with as many at a time as vLLM computes where it does not know that it
              works offline; then the real pipeline, with answers of drawn lengths: requests in flight, tokens/s, the
              driver's share, and its efficiency: beside the tokens/s of the same requests all at once; then tokens/s
              of prompts and answers as long as those of a published figure; last, tokens/s without penalties
    refused   full tuning of 8 billion parameters is refused before anything is loaded
    lora      LoRA of 8 billion parameters, unpacked and packed: steps/s, share of the matrix rate, peak and estimate;
              failed if one is not within 20 % of the other
    full      full tuning of 1.7 billion parameters: the same

A step runs in a process of its own. When its time is over it is killed with all its descendants; what it measured until
then is in its line. Its time is its own limit and what the steps before it have left of theirs; the limits add up to
nine minutes, so each step comes. `outcome` is ok, failed (also if a process or GPU memory is left), timeout, or skipped
(a package is missing, no time is left). The exit code is the number of steps that are not ok. The package need not be
installed; what it requires must be.

The model is a dense Qwen3. With vLLM 0.22, `VLLM_USE_V2_MODEL_RUNNER=0` shows what other models pay there.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(ROOT)]  # In place of this folder, whose module names would hide others'.

from benchmarks.night import package, runner  # noqa: E402 - they are found only now
from benchmarks.night.figures import FIGURES  # noqa: E402

MINUTES = 9.0
# Seconds of each step, in all at most MINUTES with what `runner` needs at the end, and its function.
STEPS: dict[str, tuple[float, str]] = {
    "machine": (20, "machine:examine"),
    "chain": (130, "chain:demo"),
    "killed": (75, "chain:killed"),
    "engine": (155, "engine:offline"),
    "refused": (18, "tuning:refused"),
    "lora": (88, "tuning:lora"),
    "full": (48, "tuning:full"),
}
NEEDS = {
    "machine": ["torch", "psutil"],
    "chain": ["vllm", "trl", "peft", "datasets"],
    "killed": ["vllm"],
    "engine": ["vllm"],
    "lora": ["trl", "peft", "datasets"],
    "refused": ["transformers"],
    "full": ["trl", "datasets"],
}
NEEDED_BY_ALL = ["click", "jsonlines", "msgspec", "numba", "psutil", "pydantic", "rapidfuzz", "rouge_score", "yaml"]
TINY_PATIENCE = 5.0
"""How many times longer a CPU needs than a GPU, also for tiny models."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="tiny models, for a machine without a GPU")
    parser.add_argument("--only", nargs="+", choices=list(STEPS), default=list(STEPS), help="these steps alone")
    parser.add_argument(
        "--minutes", type=float, help="longest time of all steps together; default: 9, with --tiny five times as long"
    )
    parser.add_argument("--logs", type=Path, help="keep what the steps print in this folder")
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)  # how this program starts itself
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        run_step(options.step, options.folder, options.tiny)
        return
    with tempfile.TemporaryDirectory(prefix="selfinstruct-night-") as name:
        folder = Path(name)
        logs = options.logs or folder / "logs"
        path = [str(ROOT), *package.described(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {"PYTHONPATH": os.pathsep.join(path), "HF_HUB_OFFLINE": "1", **package.bytecode(folder)}
        patience = TINY_PATIENCE if options.tiny else 1.0
        steps = [
            runner.Step(
                step,
                [sys.executable, str(Path(__file__)), "--step", step, "--folder", name, *["--tiny"] * options.tiny],
                STEPS[step][0] * patience,
                missing(step),
            )
            for step in STEPS
            if step in options.only
        ]
        minutes = options.minutes or MINUTES * (TINY_PATIENCE if options.tiny else 1)
        sys.exit(runner.run_all(steps, logs, minutes * 60, environment))


def missing(step: str) -> tuple[str, ...]:
    """Return the modules that a step needs and that are not installed."""
    wanted = NEEDS[step] if step == "machine" else [*NEEDED_BY_ALL, *NEEDS[step]]
    return tuple(name for name in wanted if importlib.util.find_spec(name) is None)


def run_step(step: str, folder: Path, tiny: bool) -> None:
    module, function = STEPS[step][1].split(":")
    here = folder / step
    here.mkdir()
    os.environ.setdefault(FIGURES, str(here / "figures.jsonl"))
    getattr(importlib.import_module(f"benchmarks.night.{module}"), function)(here, tiny)


if __name__ == "__main__":
    main()
