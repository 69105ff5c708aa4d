"""The driver's ceiling: how many requests it asks, reads, filters and commits when the engine answers at once.

    python benchmarks/driver.py --tokenizer PATH             # base model: text that is continued
    python benchmarks/driver.py --tokenizer PATH --style chat
    python benchmarks/driver.py --instructions 20000 --repeat 3
    python benchmarks/driver.py --processes 2            # simulated engines in processes of replicas

Everything of a run but the model: prompts, their tokens (of any tokenizer of transformers), the supervised engine,
parsers, filters, novelty, and the journal on disk. Half of the proposed instructions are rejected. One proposal in
eight answers is followed by a classification and by instances of each instruction that it brought; in chat style also
by answers. CPU is that of this process from the first request on; what the simulated engine (the stand-in) takes of it
is shown apart, and is in no other column; with --processes it is in other processes, as replicas are. A short run goes
before, so that what is loaded once (languages, patterns) counts nowhere.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import resource
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfinstruct.config.schema import Config
from selfinstruct.engines import chat_templates
from selfinstruct.engines.base import Engine, Request
from selfinstruct.engines.replicas import Replicas
from selfinstruct.engines.tokenized_prompts import TokenizedPrompts
from selfinstruct.generation.generate import generate
from selfinstruct.records import Completion
from selfinstruct.run.directory import RunDirectory

DEMO = Path(__file__).parents[1] / "selfinstruct" / "demo" / "model"
CONTEXT = 8192
_MODULE = __spec__.name if __spec__ else Path(__file__).stem
"""Where a replica finds this module."""
WARM_UP = 64
"""Instructions of the run that goes before."""
WORDS = 12
"""Of an instruction; invented, so that any two are novel."""


class AtOnce(TokenizedPrompts):
    """Takes prompts as vLLM's engine does, as tokens, and answers at the next turn of the event loop.

    Attributes:
        began: when the first request came, in (seconds, CPU seconds of the process).
        invented_s: CPU seconds of the process while answers were invented.
    """

    def __init__(self, tokenizer: Any, *, capacity: int, judges: bool) -> None:
        super().__init__(tokenizer, CONTEXT, {})
        self.capacity = capacity
        self.tells_logprobs = judges
        self.began: tuple[float, float] | None = None
        self.invented_s = 0.0
        self._draw = random.Random(0)

    async def generate(self, request: Request) -> Completion:
        """Answer as a model could that follows the form of each prompt."""
        if self.began is None and not request.key.startswith("calibration"):
            self.began = time.perf_counter(), time.process_time()
        return self._completion(request, len(self.encode(request.prompt, thinking=request.thinking)))

    async def answer(self, request: Request, ids: list[int], ends: object) -> Completion:
        """Answer in the process of a replica, where the prompt is known by its tokens."""
        text = self.tokenizer.decode(ids)
        prompt = text if isinstance(request.prompt, str) else [{"role": "user", "content": text}]
        return self._completion(dataclasses.replace(request, prompt=prompt), len(ids))

    def _completion(self, request: Request, prompt_tokens: int) -> Completion:
        before = time.process_time()
        text, length = self._answer(request)
        self.invented_s += time.process_time() - before
        logprobs = {choice: -0.1 - k for k, choice in enumerate(request.choices)} if request.choices else None
        return Completion(text, "stop", prompt_tokens, length, logprobs if self.tells_logprobs else None)

    def _answer(self, request: Request) -> tuple[str, int]:
        kind, draw = request.key.partition("/")[0], self._draw
        if request.choices:
            return f" {request.choices[draw.random() > 0.2].strip()}", 1  # yes, no
        if kind == "instances":
            if "first a label" in str(request.prompt)[-400:] or "Label:" in str(request.prompt)[:2000]:
                return f"Label: yes\nInput: {self._text(20)}\n\nLabel: no\nInput: {self._text(20)}", 60
            return f"Example 1\nInput: {self._text(25)}\nOutput: {self._text(40)}", 90
        if kind == "answer":
            return f" {self._text(60)}", 90
        tasks = [self._text(WORDS) for _ in range(4)]
        tasks += draw.sample(tasks, 4)  # exact copies: rejected
        if not isinstance(request.prompt, str):
            return "\n".join(f"Task {k}: {task}" for k, task in enumerate(tasks, 9)), 200
        first = request.prompt.count("\nTask ")
        return "".join(f"{f'Task {first + k}:' if k else ''} {task}\n" for k, task in enumerate(tasks)), 200

    def _text(self, words: int) -> str:
        draw = self._draw
        return " ".join(f"{draw.choice(_SYLLABLES)}{draw.choice(_SYLLABLES)}" for _ in range(words)).capitalize() + "."


async def simulated(tokenizer: str, **options: Any) -> AtOnce:
    """Start the simulated engine in the process of a replica."""
    return AtOnce(chat_templates.load_tokenizer(tokenizer), **options)


class Replicated(Replicas):
    """Simulated engines in processes of their own, which invent the texts."""

    began: tuple[float, float] | None = None
    invented_s = 0.0

    async def generate(self, request: Request) -> Completion:
        """Ask one of them."""
        if self.began is None and not request.key.startswith("calibration"):
            self.began = time.perf_counter(), time.process_time()
        return await super().generate(request)


_SYLLABLES = [a + b for a in "bcdfghklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "el", "or")]


@dataclass(frozen=True)
class Measured:
    """One run: requests and accepted instructions, their seconds, CPU seconds (of the driver, and of the stand-in for
    the engine), peak memory, size of the journal."""

    requests: int
    accepted: int
    seconds: float
    cpu_s: float
    stand_in_s: float
    peak_mib: int
    journal_bytes: int


def measure(arguments: argparse.Namespace, tokenizer: Any) -> Measured:
    """Run generation once into a directory that is thrown away."""
    options: dict[str, Any] = {"capacity": arguments.capacity, "judges": arguments.judge}
    started: list[AtOnce | Replicated] = []

    async def start() -> Engine:
        if arguments.processes:
            function, replicas = f"{_MODULE}:simulated", [{}] * arguments.processes
            own = {"tokenizer": arguments.tokenizer, **options}
            started.append(await Replicated.start(function, own, replicas, tokenizer))
        else:
            started.append(AtOnce(tokenizer, **options))
        return started[0]

    with tempfile.TemporaryDirectory(prefix="driver-") as folder:
        configuration = {
            "model": "at-once",
            "output_dir": folder,
            "num_instructions": arguments.instructions,
            "prompting": arguments.style,
            **({"filters": {"is_task_threshold": -100.0}} if arguments.judge else {}),
        }
        state = generate(Config.model_validate(configuration), start)
        [engine] = started
        assert engine.began is not None
        journal_bytes = RunDirectory(Path(folder)).journal.stat().st_size
        seconds, cpu_s = time.perf_counter() - engine.began[0], time.process_time() - engine.began[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return Measured(
        requests=sum(usage.requests for usage in state.usage.values()),
        accepted=len(state.pool),
        seconds=seconds,
        cpu_s=cpu_s - engine.invented_s,
        stand_in_s=engine.invented_s,
        peak_mib=peak,
        journal_bytes=journal_bytes,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", default=str(DEMO), help="folder or name of a model; default: the demo model")
    parser.add_argument("--style", choices=("completion", "chat"), default="completion")
    parser.add_argument("--judge", action="store_true", help="also ask of each candidate whether it is a task")
    parser.add_argument("--instructions", type=int, default=4000)
    parser.add_argument("--capacity", type=int, default=1024, help="requests that the engine claims to compute at once")
    parser.add_argument("--processes", type=int, default=0, help="processes of simulated engines; 0: this one")
    parser.add_argument("--repeat", type=int, default=1)
    arguments = parser.parse_args()
    tokenizer = chat_templates.load_tokenizer(arguments.tokenizer)
    measure(argparse.Namespace(**{**vars(arguments), "instructions": WARM_UP}), tokenizer)
    runs = [measure(arguments, tokenizer) for _ in range(arguments.repeat)]
    print(f"\n{len(tokenizer):,} tokens, {arguments.style}, medians of {len(runs)}")
    print(
        "| requests | accepted | requests/s | CPU ms per request | CPU ms per accepted | ms of the stand-in | peak MiB "
        "| journal bytes |"
    )
    print("|---" * 8 + "|")
    middle = statistics.median
    print(
        f"| {runs[-1].requests:,} | {runs[-1].accepted:,} | {middle(r.requests / r.seconds for r in runs):,.0f} "
        f"| {middle(1000 * r.cpu_s / r.requests for r in runs):.2f} "
        f"| {middle(1000 * r.cpu_s / r.accepted for r in runs):.2f} "
        f"| {middle(1000 * r.stand_in_s / r.accepted for r in runs):.2f} | {runs[-1].peak_mib:,} "
        f"| {runs[-1].journal_bytes / runs[-1].accepted:,.0f} |"
    )


if __name__ == "__main__":
    main()
