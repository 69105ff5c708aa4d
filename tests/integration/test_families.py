"""Every dataset family on its whole way: converted, as seeds, mixed into a training, and as evaluation.

One training and one evaluation take the files of all families, so that it stays cheap. The evaluation starts vLLM, for
what `test_evaluation_vllm.py` shows of it in `make test`; it is left to `make test-long`.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfinstruct.cli import cli
from selfinstruct.formats.evaluation_tasks import load_evaluation_tasks
from selfinstruct.formats.seed_tasks import load_seed_tasks
from selfinstruct.packaged import model_path
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.training_record import read_training_record
from tests import tiny_model
from tuning import sft

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("one_thread")]

ASKED = [
    ("Name a river in Africa.", "The Niger."),
    ("Which colour has a ripe lemon?", "Yellow."),
    ("Write the number seven as a word.", "seven"),
    ("How do you say goodbye in Spanish?", "Adiós."),
    ("Give the opposite of tall.", "short"),
    ("What do bees make?", "Honey."),
    ("Sort these words: pear, apple.", "apple, pear"),
    ("Who paints walls for a living?", "A painter."),
]
Chat = list[dict[str, Any]]


def chat(question: str, answer: str, role: str = "role", text: str = "content", who: Iterable[str] = ()) -> Chat:
    user, assistant = who or ("user", "assistant")
    return [{role: user, text: question}, {role: assistant, text: answer}]


def tree(number: int, question: str, answer: str) -> dict[str, Any]:
    reply = {"message_id": f"a{number}", "text": answer, "role": "assistant", "rank": 0, "replies": []}
    first = {"message_id": f"q{number}", "text": question, "role": "prompter", "lang": "en", "replies": [reply]}
    return {"message_tree_id": f"q{number}", "tree_state": "ready_for_export", "prompt": first}


RECORDS: dict[str, list[dict[str, Any]]] = {
    "self-instruct": [
        {"id": f"s{k}", "instruction": q, "instances": [{"input": "", "output": a}], "is_classification": False}
        for k, (q, a) in enumerate(ASKED)
    ],
    "alpaca": [{"instruction": q, "input": "No input", "output": a} for q, a in ASKED],
    "openassistant": [tree(k, q, a) for k, (q, a) in enumerate(ASKED)],
    "flan": [{"inputs": q, "targets": a, "_task_name": "talk", "_template_type": "zs_noopt"} for q, a in ASKED],
    "messages": [{"messages": chat(q, a)} for q, a in ASKED],
    "prompt-completion": [{"prompt": f"{q}\n\n", "completion": f" {a}<|endoftext|>"} for q, a in ASKED],
    "preference": [{"prompt": q, "chosen": a, "rejected": "No."} for q, a in ASKED],
    "sharegpt": [{"conversations": chat(q, a, "from", "value", ("human", "gpt"))} for q, a in ASKED],
}
TASKS = {
    f"task{n}_talk": {"Definition": [f"Answer like person {n}. {q}"], "Categories": ["Talk"], "Instances": instances}
    for n, (q, a) in enumerate(ASKED)
    for instances in [[{"id": f"{n}-{k}", "input": f"person {k}", "output": [a, a.upper()]} for k in range(2)]]
}
"""Super-NaturalInstructions has a file for each task."""
FAMILIES = [*RECORDS, "super-natural-instructions"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of each family; every form of file is among them."""
    folder, files = tmp_path_factory.mktemp("families"), {}
    # The rows differ from family to family: else the mixture would drop them as duplicates.
    for name, records in RECORDS.items():
        text = json.dumps(records, ensure_ascii=False)
        for question, _ in ASKED:
            text = text.replace(question, f"{question[:-1]}, for {name}{question[-1]}")
        own = json.loads(text)
        lines = "".join(json.dumps(record) + "\n" for record in own)
        files[name] = folder / f"{name}.jsonl"
        if name in ("alpaca", "sharegpt"):
            files[name] = folder / f"{name}.json"
            files[name].write_text(json.dumps(own, indent=2))
        elif name == "openassistant":
            files[name] = folder / f"{name}.jsonl.gz"
            files[name].write_bytes(gzip.compress(lines.encode()))
        else:
            files[name].write_text(lines)
    files["super-natural-instructions"] = folder / "superni"
    files["super-natural-instructions"].mkdir()
    for name, task in TASKS.items():
        (folder / "superni" / f"{name}.json").write_text(json.dumps(task))
    return files


def selfinstruct(*arguments: object) -> str:
    ran = CliRunner().invoke(cli, [str(word) for word in arguments])
    assert ran.exit_code == 0, ran.output
    return ran.output


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_converted_and_gives_seeds(family: str, files: dict[str, Path], tmp_path: Path) -> None:
    said = selfinstruct("convert", files[family], tmp_path / "rows.jsonl", "--to", "messages")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert f"{family} -> messages: {len(rows)} rows" in said
    assert len(rows) == (16 if family == "super-natural-instructions" else 8)
    assert [turn["role"] for turn in rows[0]["messages"]] == ["user", "assistant"]
    selfinstruct("seeds", "from-dataset", files[family], "-n", 5, "-o", tmp_path / "seeds.jsonl")
    seeds = load_seed_tasks([tmp_path / "seeds.jsonl"])
    assert len(seeds) == 5 and all("No input" not in instance.input for seed in seeds for instance in seed.instances)
    assert "no problems" in selfinstruct("seeds", "check", tmp_path / "seeds.jsonl")


@pytest.fixture(scope="module")
def run(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run whose model was tuned on a mixture of all families."""
    run = RunDirectory(tmp_path_factory.mktemp("run"))
    tiny_model.dataset(run.dataset.path)
    config = {
        "model": "demo",
        "engine": {"dtype": "float32", "max_model_len": 1024},
        "evaluate": {"tasks": [str(file) for file in files.values()], "max_tokens": 4, "limit": 2},
    }
    (run.path / "config.yaml").write_text(json.dumps(config))
    arguments = [
        "--model_name_or_path",
        model_path(),
        "--dataset_dir",
        run.dataset.path,
        "--output_dir",
        run.model.path,
    ]
    quick = ["--max_steps", "2", "--per_device_train_batch_size", "2", "--mix", *files.values()]
    assert sft.main([str(word) for word in [*arguments, *quick]]) == 0
    return run


def test_it_is_mixed_into_a_training(run: RunDirectory, files: dict[str, Path]) -> None:
    record = read_training_record(run.model.record_path)
    assert record is not None
    taken = {source.name: source.taken for source in record.mixture}
    assert taken == {str(file): 16 if file.is_dir() else 8 for file in files.values()}


@pytest.mark.parametrize("family", FAMILIES)
def test_its_tasks_are_read_for_an_evaluation(family: str, files: dict[str, Path]) -> None:
    tasks = load_evaluation_tasks(str(files[family]))
    assert len(tasks) == 8


@pytest.mark.long
def test_it_is_an_evaluation(run: RunDirectory, files: dict[str, Path]) -> None:
    command = [sys.executable, "-m", "tuning.evaluate", "--run-dir", str(run.path)]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900, check=False)
    assert ran.returncode == 0, ran.stderr
    scores = run.evaluation.scores()
    assert scores is not None
    for arm in ("base", "tuned"):
        sets = scores.arms[arm].sets
        asked = {name: sets[name].n_tasks for name in sets if not name.startswith("validation")}
        assert asked == dict.fromkeys([*RECORDS, "superni"], 2)
