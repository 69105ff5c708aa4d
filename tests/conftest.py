"""What many tests share: a small seed set, a scripted model that answers as a function of its prompt, run helpers."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import hashlib
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from selfinstruct.config.schema import Config
from selfinstruct.engines.base import Engine, Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.environment import DEBUG_VARIABLE
from selfinstruct.generation.generate import generate
from selfinstruct.records import TAG_VALUES, Completion
from selfinstruct.run.lines import from_json
from selfinstruct.run.state import RunState, replay

# Other work on the machine must not fail a property. `make test-long` checks them with `--hypothesis-profile thorough`.
EXAMPLES = 40
hypothesis.settings.register_profile("short", deadline=None, max_examples=EXAMPLES)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=5 * EXAMPLES)

# Files of unit tests, by how their paths begin. One that is not among them costs its process some seconds.
WITH_TORCH = (
    "benchmarks/test_night.py",
    "benchmarks/test_number_of_tasks.py",
    "chain/test_chain.py",
    "checks/test_doctor.py",
    "checks/test_preflight.py",
    "checks/test_recipe_choice.py",
    "cli/test_without_a_hub.py",
    "dataset/test_preferences.py",
    "dataset/test_semantic.py",
    "dataset/test_token_counts.py",
    "engines/test_chat_templates.py",
    "engines/test_context.py",
    "engines/test_control_tokens.py",
    "engines/test_known_pieces.py",
    "engines/test_model_facts.py",
    "engines/test_models.py",
    "engines/test_out_of_memory.py",
    "engines/test_shared_beginnings.py",
    "engines/test_vllm.py",
    "generation/scorers/test_reward.py",
    "run/test_trackers.py",
    "test_security.py",
    "tuning/evaluation/test_measures.py",
    "tuning/training/",
)

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several tests at a time share the cores: threads that wait for one another would only slow all of them down.
    # `nobind`: vLLM would bind the engines of all tests to the same cores.
    os.environ |= {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


def pytest_configure(config: pytest.Config) -> None:
    """Check properties with few examples, unless the command line names another profile; let tests be interrupted."""
    # Libraries and runs leave millions of objects that last. By default a tenth of the time goes into looking at them.
    gc.set_threshold(20_000, 10, 20)
    # A shell's background job ignores SIGINT, nohup SIGHUP: a test that sends one would wait for ever.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
    if not config.getoption("--hypothesis-profile"):
        hypothesis.settings.load_profile("short")


def pytest_collection_finish() -> None:
    """Take what the tests have imported out of garbage collection, which would look at all of it again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Do the same with large libraries that a test was the first to import: torch holds a million objects."""
    global _modules
    if len(sys.modules) > _modules + 400:
        _modules = len(sys.modules)
        gc.collect()
        gc.freeze()


_modules = len(sys.modules)


def examples(count: int) -> int:
    """Return the number of examples of a property that is slow to check: `count`, or more in a thorough run."""
    return count * hypothesis.settings.default.max_examples // EXAMPLES


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give one process all files of unit tests that import torch or transformers, so that one alone pays for that."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class OneImports(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "torch" if file.removeprefix("tests/unit/").startswith(WITH_TORCH) else file

    return OneImports(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slow tests first, so that no process works alone on the last of them."""
    folders = ["integration", "gpu_box", "faults"]

    def rank(item: pytest.Item) -> int:
        if (name := item.path.parent.name) in folders:
            return folders.index(name)
        return len(folders) + (item.get_closest_marker("whole") is None)

    items.sort(key=rank)


def pytest_runtest_setup() -> None:
    """Let no test leave `--debug` switched on for the next one: the programs set it in the environment."""
    os.environ[DEBUG_VARIABLE] = ""


VERBS = "Describe Count List Sort Explain Compare Rewrite Shorten Translate Invent Rank Check".split()
THINGS = (
    "rivers tools recipes letters planets birds bridges poems coins clouds stations gardens proverbs shoes maps".split()
)
FORMS = [
    "in one sentence for a child",
    "as a table with two columns",
    "from the oldest to the newest",
    "without using the letter e",
    "so that a busy reader gets it",
    "and give a reason for every choice",
]


SYLLABLES = "ka lo mi ren tu sa vel dor pi nak".split()


def _instruction(draw: random.Random) -> str:
    """A new-looking instruction mostly, a near-duplicate sometimes."""
    invented = ["".join(draw.choices(SYLLABLES, k=3)) for _ in range(draw.choice([0, 4]))]
    return " ".join([draw.choice(VERBS), draw.choice(THINGS), *invented, draw.choice(FORMS)]) + "."


def script(request: Request) -> Completion:
    """A model: reads nothing, but answers as a function of the whole prompt and in the form of each step."""
    text = json.dumps(request.prompt)
    draw = random.Random(hashlib.sha256(text.encode()).hexdigest())
    kind = request.key.partition("/")[0]
    if kind == "proposal":
        items = [_instruction(draw) for _ in range(4)]
        first = text.count("Task ") if isinstance(request.prompt, str) else 9
        answer = "".join(f"{f'Task {first + k}:' if k else ''} {item}\n" for k, item in enumerate(items))
        if not isinstance(request.prompt, str):
            answer = f"Task 9:{answer}"
        return Completion(answer, draw.choice(["stop", "stop", "length"]), len(text.split()), 40)
    if kind == "classification":
        return Completion(draw.choice([" Yes", " No", " No", " Maybe"]), "stop", len(text.split()), 1)
    if kind == "tags":
        tags = {name: draw.choice(values[:3]) for name, values in TAG_VALUES.items()}
        return Completion(json.dumps(tags), "stop", len(text.split()), 30)
    if kind == "score":
        return Completion(draw.choice("12345"), "stop", len(text.split()), 1)
    output_first = "first a label" in text
    word = lambda: draw.choice(THINGS)  # noqa: E731
    if kind == "answer":
        answer = f" Of {word()} and {word()} much is told {draw.choice(FORMS)}"
        return Completion(answer, draw.choice(["stop", "stop", "length"]), len(text.split()), 20)
    if output_first:
        answer = f"Label: yes\nInput: {word()}\n\nLabel: no\nInput: {word()} {word()}"
    else:
        answer = f"Example 1\nInput: {word()}\nOutput: {word()} {word()}\nExample 2\nInput: {word()}\nOutput: {word()}"
    return Completion(answer, draw.choice(["stop", "stop", "length"]), len(text.split()), 20)


@pytest.fixture
def seed_rows() -> list[dict[str, Any]]:
    """Ten seed tasks, three of them classification."""
    subjects = [
        "a market",
        "the tides",
        "old trains",
        "a choir",
        "paper boats",
        "night buses",
        "bread",
        "a lighthouse",
        "chess",
        "snow",
    ]
    return [
        {
            "id": f"s{k}",
            "name": f"task_{k}",
            "instruction": f"{VERBS[k]} what you know of {subject} {FORMS[k % 3]} number {k}.",
            "instances": [{"input": f"text {k}", "output": "yes"}, {"input": f"other {k}", "output": "no"}],
            "is_classification": k % 4 == 0,
        }
        for k, subject in enumerate(subjects)
    ]


@pytest.fixture
def seed_file(tmp_path: Path, seed_rows: list[dict[str, Any]]) -> Path:
    path = tmp_path / "seeds.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in seed_rows))
    return path


@pytest.fixture(scope="session")
def evaluation_tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with one evaluation task. The packaged ones would take a sixth of the time of a run."""
    task = {
        "id": "e0",
        "instruction": "Name the longest canal of Asia.",
        "instances": [{"input": "", "output": "The Grand Canal."}],
        "is_classification": False,
    }
    path = tmp_path_factory.mktemp("evaluation") / "eval_tasks.jsonl"
    path.write_text(json.dumps(task) + "\n")
    return path


@pytest.fixture
def make_config(tmp_path: Path, seed_file: Path, evaluation_tasks: Path) -> Any:
    """Build a configuration for the scripted engine; keyword arguments override options of the top level."""

    def make(**values: Any) -> Config:
        given = {
            "model": "scripted",
            "seeds": [str(seed_file)],
            "output_dir": str(tmp_path / "run"),
            "num_instructions": 30,
            "window": 5,
            "window_soon": 6,
            "window_share": 0.0,
            "max_in_flight": 12,
            "fsync_interval": 0.05,
            "max_engine_restarts": 0,
            "max_retries": 0,
            "evaluate": {"tasks": [str(evaluation_tasks)]},
        }
        return Config.model_validate(given | values)

    return make


_HERE = b"@FOLDER OF THE TEST@"
_made: dict[Any, dict[Path, bytes | None]] = {}
Once = Callable[[Callable[[], object]], None]


@pytest.fixture
def once(tmp_path: Path) -> Once:
    """Make files in the test's folder, a run above all: the first test does it, the others get what it has made.

    Their files are as if made in their own folders: wherever the path of the first one's folder stands, theirs does.
    """
    here = bytes(tmp_path)

    def once(make: Callable[[], object]) -> None:
        key = make.__code__  # type: ignore[attr-defined]
        if key not in _made:
            make()
            made = {path: path.read_bytes() if path.is_file() else None for path in sorted(tmp_path.rglob("*"))}
            _made[key] = {path.relative_to(tmp_path): text and text.replace(here, _HERE) for path, text in made.items()}
            return
        for name, text in _made[key].items():
            if text is None:
                (tmp_path / name).mkdir(exist_ok=True)
            else:
                (tmp_path / name).write_bytes(text.replace(_HERE, here))

    return once


def run_scripted(
    config: Config, engine: Engine | None = None, answering: Engine | None = None, **options: Any
) -> RunState:
    """Run generation on a scripted engine, and another one where another model answers."""

    async def start() -> Engine:
        return engine if engine is not None else ScriptedEngine(script)

    async def start_answering() -> Engine:
        assert answering is not None
        return answering

    return generate(config, start, None if answering is None else start_answering, **options)


@contextlib.contextmanager
def held_by_another(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory as another process does: by a descriptor that this program knows nothing of."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def replayed(lines: Iterable[dict[str, Any]]) -> RunState:
    """Return the state after journal lines given as JSON values."""
    return replay(map(from_json, lines))


def journal_lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "journal.jsonl").read_bytes().split(b"\n") if line]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For models as small as `tiny_model`'s: more threads only wait for each other over their matrices."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
