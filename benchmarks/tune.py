"""Compare the tune step with TRL's own script on the same data and arguments; packing's gain; memory and its estimate.

    python benchmarks/tune.py                       # on CPU: the demo model, full fine-tuning
    python benchmarks/tune.py --model random-7b     # on a GPU: Llama 2 7B's architecture with random weights,
                                                    # LoRA and full fine-tuning, packed to 2,048 tokens

Both programs use the same prepared copy of the model (template, end token), the rows of the packaged seed tasks,
repeated, and the same arguments. Evaluation and checkpoints are off. Weights are in bfloat16 on a GPU, in float32 on
CPU. The programs take turns, `--repeats` times; the table shows medians. Steps/s come from the trainer, which measures
from before its first step to after its last one. Startup is the rest of the process's time; it includes saving the
model.

The matrix rate is measured: the best of some products of two 8,192 x 8,192 matrices in bfloat16. The share of it counts
6 operations per parameter and token (4 with LoRA, whose frozen weights get no gradients) and attention over the mean
document. What gradient checkpointing computes twice is not counted.
"""

from __future__ import annotations

import argparse
import ast
import importlib.metadata
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from selfinstruct import records
from selfinstruct.hardware import processor
from selfinstruct.run.folders import DatasetDirectory, ModelDirectory

ROOT = Path(__file__).resolve().parents[1]
Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", default="demo", help="demo, random-7b, or a model's folder; one without weights gets random ones"
    )
    parser.add_argument("--methods", nargs="+", choices=["full", "lora"], help="default: full; both for random-7b")
    parser.add_argument("--steps", type=int, default=40, help="steps of each run")
    parser.add_argument(
        "--batch-size", type=int, default=8, help="rows of a step; with packing: blocks, a quarter of it"
    )
    parser.add_argument("--max-length", type=int, help="default: 512 on CPU, 2048 on a GPU")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--show", action="store_true", help="show the output of the runs")
    options = parser.parse_args()
    import torch

    gpu = torch.cuda.is_available()
    methods = options.methods or (["lora", "full"] if options.model == "random-7b" else ["full"])
    length = options.max_length or (2048 if gpu else 512)
    with tempfile.TemporaryDirectory(prefix="selfinstruct-") as name:
        bench = Bench(Path(name), options.model, options.show)
        rows = []
        for method in methods:
            for packing in (False, True):
                batch = max(1, options.batch_size // 4) if packing else options.batch_size
                arguments = bench.arguments(method, packing, batch, options.steps, length)
                rows.append((method, packing, bench.alternate(arguments, options.repeats)))
        print(f"{machine()}\n\n{len(bench.lengths):,} rows, {statistics.mean(bench.lengths):.0f} tokens on average\n")
        print(table(rows, bench, matrix_rate() if gpu else None))


class Bench:
    """A model, a dataset, and the two programs that tune the model on the dataset."""

    def __init__(self, folder: Path, model: str, show: bool) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.show = show
        self.model = folder / "model"
        self.dataset = folder / "dataset"
        self.runs = 0
        self._prepare_model(model)
        self.lengths = self._prepare_dataset()

    def _prepare_model(self, model: str) -> None:
        """Save a copy of the model with a chat template, so that both programs render rows in the same way."""
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig

        from selfinstruct.engines.models import resolve_model
        from tuning.training import prompt_formats

        source = resolve_model("demo" if model == "random-7b" else model)
        tokenizer = AutoTokenizer.from_pretrained(source)
        prompt_formats.prepare(tokenizer)
        tokenizer.save_pretrained(self.model)
        if model == "random-7b" or not any(Path(source).glob("*.safetensors")):
            llama = LlamaConfig(dtype="bfloat16", eos_token_id=1, pad_token_id=2)
            config = llama if model == "random-7b" else AutoConfig.from_pretrained(source)
            with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
                loaded = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        else:
            loaded = AutoModelForCausalLM.from_pretrained(source, dtype="auto")
        loaded.config.get_text_config().pad_token_id = tokenizer.pad_token_id
        self.config = loaded.config
        self.parameters = sum(parameter.numel() for parameter in loaded.parameters())
        loaded.save_pretrained(self.model)
        del loaded
        torch.cuda.empty_cache()  # the runs are other processes

    def _prepare_dataset(self, repeats: int = 8) -> list[int]:
        """Write the rows of the seed tasks; return their lengths in tokens."""
        from transformers import AutoTokenizer

        from selfinstruct.formats import seed_tasks
        from tuning.training import data

        rows = [
            {
                "prompt": [{"role": "user", "content": records.user_message(task.instruction, instance.input)}],
                "completion": [{"role": "assistant", "content": instance.output}],
            }
            for task in seed_tasks.load_seed_tasks(["seed_tasks"])
            for instance in task.instances
        ]
        self.dataset.mkdir()
        text = "".join(json.dumps(row) + "\n" for row in rows)
        DatasetDirectory(self.dataset).split("train").write_text(text * repeats)
        tokenized = data.tokenize(data.load_splits(self.dataset)["train"], AutoTokenizer.from_pretrained(self.model))
        return [len(row.input_ids) for row in tokenized]

    def arguments(self, method: str, packing: bool, batch: int, steps: int, length: int) -> list[str]:
        """Return the arguments of both programs."""
        import torch

        gpu = torch.cuda.is_available()
        values: dict[str, Any] = {
            "max_steps": steps,
            "max_length": length,
            "per_device_train_batch_size": batch,
            "packing": packing,
            "learning_rate": 1e-4,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 0.03,
            "eval_strategy": "no",
            "save_strategy": "no",
            "logging_steps": 5,
            "report_to": "none",
            "disable_tqdm": True,
            "gradient_checkpointing": gpu,
            "bf16": gpu,
            "use_cpu": not gpu,
            "dataloader_pin_memory": gpu,
            "dtype": "bfloat16" if gpu else "float32",
        }
        values["use_peft"] = method == "lora"  # said for both: the tuner chooses where nothing is said
        if method == "lora":
            values["lora_target_modules"] = "all-linear"
        return [
            f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in values.items()
        ]

    def alternate(self, arguments: list[str], repeats: int) -> tuple[Figures, Figures]:
        """Run both programs in turns; return the medians of our figures, and of TRL's."""
        figures: tuple[list[Figures], list[Figures]] = ([], [])
        for turn in range(repeats):
            for k in (0, 1) if turn % 2 == 0 else (1, 0):
                figures[k].append((self.ours, self.theirs)[k](arguments))
                print(f"{('ours', 'TRL')[k]}: {figures[k][-1]['steps_per_s']:.3f} steps/s", file=sys.stderr, flush=True)
        return median(figures[0]), median(figures[1])

    def ours(self, arguments: list[str]) -> Figures:
        """Run `tuning.sft` once."""
        output = self._output()
        keep = ["--merge=adapter"] if "--use_peft=true" in arguments else []
        command = [
            "-m",
            "tuning.sft",
            f"--dataset_dir={self.dataset}",
            f"--output_dir={output}",
            "--show_row=no",
            *keep,
        ]
        seconds, _ = self._run([*command, f"--model_name_or_path={self.model}", *arguments])
        record = ModelDirectory(output).training_record()
        shutil.rmtree(output)
        return {
            "steps_per_s": record.runtime.steps_per_s,
            "tokens_per_s": record.runtime.tokens_per_s,
            "startup_s": seconds - record.runtime.train_s,
            "peak": record.memory.peak,
            "estimate": record.memory.estimate["total"],
        }

    def theirs(self, arguments: list[str]) -> Figures:
        """Run `trl.scripts.sft` once."""
        output = self._output()
        command = ["-m", "trl.scripts.sft", f"--dataset_name={self.dataset}", f"--output_dir={output}"]
        seconds, said = self._run([*command, f"--model_name_or_path={self.model}", *arguments])
        shutil.rmtree(output)
        last = ast.literal_eval(re.findall(r"\{[^{}]*'train_runtime'[^{}]*\}", said)[-1])
        return {
            "steps_per_s": float(last["train_steps_per_second"]),
            "startup_s": seconds - float(last["train_runtime"]),
        }

    def _output(self) -> Path:
        self.runs += 1
        return self.folder / f"run-{self.runs}"

    def _run(self, command: list[str]) -> tuple[float, str]:
        """Run a program that must succeed; return (seconds, its stdout)."""
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        own = {"PYTHONPATH": path, "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "true"}
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            env=os.environ | own | {"HF_DATASETS_CACHE": str(self.folder / "cache"), "HF_HUB_OFFLINE": "1"},
        )
        seconds = time.monotonic() - began
        if self.show or done.returncode:
            print(done.stdout[-4000:], done.stderr[-4000:], file=sys.stderr)
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with exit code {done.returncode}")
        return seconds, done.stdout


def median(figures: list[Figures]) -> Figures:
    return {name: statistics.median(one[name] for one in figures) for name in figures[0]}


def matrix_rate() -> float:
    """Return the operations per second of the best of some products in bfloat16."""
    import torch

    a, b = (torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    best = float("inf")
    for _ in range(20):
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(10):
            a @ b
        torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - began) / 10)
    return 2 * 8192**3 / best


def operations_per_token(bench: Bench, method: str) -> float:
    """Return the operations of training per token, counted as described above."""
    config = bench.config
    embeddings = config.vocab_size * config.hidden_size
    forward = 2 * (bench.parameters - (0 if config.tie_word_embeddings else embeddings))
    forward += 2 * 2 * config.num_hidden_layers * config.hidden_size * statistics.mean(bench.lengths)
    return forward * (2 if method == "lora" else 3)


def machine() -> str:
    """Return a line with hardware and versions."""
    import torch

    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "trl", "peft")]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else processor()
    return f"{device}, {os.cpu_count()} cores, Python {platform.python_version()}, {', '.join(versions)}"


def table(rows: list[tuple[str, bool, tuple[Figures, Figures]]], bench: Bench, rate: float | None) -> str:
    titles = ["method", "packing", "ours, steps/s", "TRL, steps/s", "ratio", "ours, startup", "TRL, startup"]
    titles += [
        "tokens/s",
        "gain of packing",
        "peak memory",
        "estimate",
        *(["share of the matrix rate"] if rate else []),
    ]
    lines = [titles, ["---"] * len(titles)]
    unpacked: dict[str, float] = {}
    for method, packing, (ours, trl) in rows:
        unpacked.setdefault(method, ours["tokens_per_s"])
        share = ours["tokens_per_s"] * operations_per_token(bench, method) / rate if rate else 0.0
        lines.append(
            [
                method,
                "yes" if packing else "no",
                f"{ours['steps_per_s']:.3f}",
                f"{trl['steps_per_s']:.3f}",
                f"{ours['steps_per_s'] / trl['steps_per_s']:.3f}",
                f"{ours['startup_s']:.1f} s",
                f"{trl['startup_s']:.1f} s",
                f"{ours['tokens_per_s']:,.0f}",
                f"{ours['tokens_per_s'] / unpacked[method]:.2f}x" if packing else "",
                f"{ours['peak'] / 2**30:.2f} GiB",
                f"{ours['estimate'] / 2**30:.2f} GiB",
                *([f"{share:.0%}"] if rate else []),
            ]
        )
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return text + (f"\n\nmatrix rate: {rate / 1e12:.0f} TFLOP/s" if rate else "")


if __name__ == "__main__":
    main()
