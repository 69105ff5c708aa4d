"""The training text is deterministic, in the prompts' formats, and holds nothing of the held-out tasks."""

from __future__ import annotations

import re
from itertools import islice

import pytest

from selfinstruct.formats import seed_tasks
from selfinstruct.generation.instance_parsing import parse_input_first, parse_output_first
from selfinstruct.generation.proposal_parsing import parse_proposal
from selfinstruct.packaged import heldout_path, model_path
from selfinstruct.records import SeedTask
from tools.demo_model import check, heldout
from tools.demo_model.corpus import Corpus, Document, instructions, training_seeds


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus(training_seeds())


@pytest.fixture(scope="module")
def documents(corpus: Corpus) -> list[Document]:
    return [*islice(corpus.documents("test"), 400), *islice(corpus.documents("test", long=True), 100)]


@pytest.fixture(scope="module")
def held_out() -> list[SeedTask]:
    return heldout.tasks()


def test_same_seed_same_documents(corpus: Corpus) -> None:
    again = Corpus(training_seeds())
    assert list(islice(corpus.documents("a"), 50)) == list(islice(again.documents("a"), 50))
    assert list(islice(corpus.documents("a"), 50)) != list(islice(corpus.documents("b"), 50))


def test_documents_continue_their_prompts(documents: list[Document]) -> None:
    assert all(document.text.startswith(document.prompt) and document.text != document.prompt for document in documents)
    assert all(not document.text.endswith((":", "\n", " ")) for document in documents)


def test_no_chat_format(documents: list[Document]) -> None:
    text = "\n".join(document.text for document in documents)
    own = "\n".join(document.text[len(document.prompt) :] for document in documents)
    assert not re.search(r"<\|?(im_start|im_end|user|assistant|system)|\[/?INST\]|### ?(Instruction|Response)", text)
    assert not re.search(r"^(user|assistant|system|human|ai) ?:", own, re.M | re.I)


def test_the_parsers_read_the_continuations(documents: list[Document]) -> None:
    lists = [d for d in documents if d.prompt.startswith("Here is a list")]
    for document in lists:
        shown = document.prompt.count("\nTask ") - 1
        new = document.text.count("\nTask ") - shown
        continuation = document.text[len(document.prompt) :]
        parsed = parse_proposal(continuation, truncated=False, num_examples=shown, num_new=new, style="completion")
        assert len(parsed) == new
    blocks = [d for d in documents if d.prompt.startswith("Worked examples")]
    for document in blocks:
        parse = parse_output_first if "Label: " in document.text else parse_input_first
        *_, last = document.text.split("\n\nTask: ")
        instances = parse(last.partition("\n")[2], truncated=False)
        assert instances
        assert all(instance.output for instance in instances)
    assert lists
    assert blocks


def test_held_out_tasks_are_written_as_generated(held_out: list[SeedTask]) -> None:
    assert seed_tasks.load_seed_tasks([heldout_path()]) == held_out
    assert len(held_out) >= 100


def test_held_out_tasks_are_nowhere_in_the_training_text(held_out: list[SeedTask], documents: list[Document]) -> None:
    assert heldout.leaks(held_out, documents) == []
    assert all(check.is_new(task.instruction) for task in held_out)
    assert all(check.is_right(t.instruction, i.input, i.output) for t in held_out for i in t.instances)


def test_leaks_are_found(held_out: list[SeedTask]) -> None:
    task = held_out[0]
    instance = task.instances[0]
    leaking = Document("", f"Task: {task.instruction}\nExample 1\nInput: {instance.input}\nOutput: {instance.output}\n")
    assert len(heldout.leaks(held_out, [leaking])) == 2


def test_new_means_absent_from_the_training_text() -> None:
    (seen, _), *_ = instructions()
    assert not check.is_new(seen)
    assert not check.is_new(training_seeds()[0].instruction)
    assert check.is_new("Write the seven blue words of the upside-down lamp.")
    assert check.share_new([seen, "Something that nobody has ever asked."]) == 0.5


def test_rows_are_judged_by_family() -> None:
    verdict = check.judge(
        [
            {"instruction": "Add the two numbers.", "input": "2 and 3", "output": "5"},
            {"instruction": "Add the two numbers.", "input": "2 and 3", "output": "6"},
            {"instruction": "What is a lamp for?", "input": "", "output": "A lamp is a fish."},
            {"instruction": "Sing me a song of seven seas.", "input": "", "output": "La la la."},
        ]
    )
    assert verdict.instructions == 3
    assert verdict.recognised == 2
    assert (verdict.all_simple.right, verdict.all_simple.judged) == (1, 2)
    assert (verdict.all_open.right, verdict.all_open.judged) == (0, 1)
    assert [mistake["output"] for mistake in verdict.mistakes] == ["6", "A lamp is a fish."]


def test_the_model_is_small_enough_to_be_embedded() -> None:
    size = sum(path.stat().st_size for path in model_path().iterdir())
    assert size < 12_000_000
    assert "chat_template" not in (model_path() / "tokenizer_config.json").read_text()
