"""Prompts, and that their parsers read them back."""

from __future__ import annotations

import hashlib
import json
from typing import get_args

import pytest

from selfinstruct import records
from selfinstruct.config.schema import PromptLanguage
from selfinstruct.formats import seed_tasks
from selfinstruct.generation import instance_parsing, parsing, prompts
from selfinstruct.generation.frame import LANGUAGES, load_frame
from selfinstruct.generation.instance_parsing import ParsedInstance
from selfinstruct.records import Constraint, Instance, Prompt, SeedTask, Style

ENGLISH = load_frame()
PACKAGED = [task for name in ("seed_tasks", "eval_tasks") for task in seed_tasks.load_seed_tasks([name])]


def seed(*instances: tuple[str, str], is_classification: bool = False) -> SeedTask:
    return SeedTask("s", "Do what the text says.", tuple(Instance(*i) for i in instances), is_classification)


def test_english_prompts_have_the_bytes_that_the_demo_model_is_trained_on() -> None:
    tasks = seed_tasks.load_seed_tasks(["demo_heldout"])  # They change with the demo model alone.
    yes, no = ([task for task in tasks if task.is_classification == kind] for kind in (True, False))
    texts: list[Prompt] = []
    for style in ("completion", "chat"):
        texts.append(prompts.encode_proposal([task.instruction for task in tasks], 8, style, ENGLISH))
        texts.append(prompts.encode_classification(tasks[0].instruction, tasks, style, ENGLISH))
        texts.append(prompts.encode_input_first(tasks[0].instruction, no, style, ENGLISH))
        texts.append(prompts.encode_output_first(tasks[0].instruction, yes, style, ENGLISH))
    texts += [prompts.encode_answer("Name it.", task_input, no, ENGLISH) for task_input in ("x\ny", "")]
    digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
    assert digest == "f3a0e18a02e02387458d7961e682a13b4425221b9d9065a6b56e09ee709d7f3d"


def test_examples_may_carry_constraints_and_differ_in_them() -> None:
    demand = Constraint("length/words", {"most": 5}, "At most five words.")
    shown = [SeedTask("s", "Greet.", (Instance("", "Hello.", constraints=c),), False) for c in ((), (demand,))]
    assert len(set(shown)) == 2 and shown[0].instances[0].constraints == ()
    assert len({prompts.encode_input_first("Say it.", [seed], "completion", ENGLISH) for seed in shown}) == 1


# ------------------------------------------------------------------------------------------------ proposal


def test_proposal_prompt_of_a_base_model_is_a_list_to_continue() -> None:
    prompt = prompts.encode_proposal(["Name a river.", "Sort\nthe   words."], 8, "completion", ENGLISH)
    assert isinstance(prompt, str)
    assert prompt.endswith("\nTask 1: Name a river.\nTask 2: Sort the words.\nTask 3:")


def test_proposal_prompt_of_a_chat_model_names_the_numbers_wanted() -> None:
    prompt = prompts.encode_proposal(["Name a river.", "Sort words."], 8, "chat", ENGLISH)
    assert isinstance(prompt, list)
    (message,) = prompt
    assert message["role"] == "user"
    assert "Task 2: Sort words.\n\nContinue the list with 8 new tasks." in message["content"]
    assert "from 'Task 3:' to 'Task 10:'" in message["content"]


def test_proposal_stops_at_the_item_after_the_last_one_wanted_and_only_at_the_start_of_a_line() -> None:
    stops = prompts.proposal_stop(8, 8, ENGLISH)
    assert "\nTask 17:" in stops
    assert all(stop.startswith("\n") for stop in stops)


# ------------------------------------------------------------------------------------------ classification


@pytest.mark.parametrize("style", get_args(Style))
def test_the_choices_offered_to_an_engine_are_what_the_parser_reads(style: Style) -> None:
    assert [parsing.parse_classification(choice) for choice in prompts.choices(style, ENGLISH)] == [True, False]


@pytest.mark.parametrize("style", get_args(Style))
def test_classification_prompt_shows_examples_before_the_question(style: Style) -> None:
    prompt = prompts.encode_classification("Is it\nspam?", [seed(("a", "b"), is_classification=True)], style, ENGLISH)
    text = prompt if isinstance(prompt, str) else prompt[0]["content"]
    assert "Task: Do what the text says.\nClassification: Yes\n\n" in text
    assert text.endswith("Task: Is it spam?\nClassification:")


# ----------------------------------------------------------------------------------------------- instances


@pytest.mark.parametrize("task", PACKAGED, ids=lambda task: task.id)
def test_every_packaged_task_survives_the_instance_prompts(task: SeedTask) -> None:
    """The block that shows the task to a model is parsed back to the task: markers in its text would show here."""
    encode = prompts.encode_output_first if task.is_classification else prompts.encode_input_first
    parse = instance_parsing.parse_output_first if task.is_classification else instance_parsing.parse_input_first
    prompt = encode("Another task.", [task], "completion", ENGLISH)
    assert isinstance(prompt, str)
    block = prompt.partition(f"Task: {parsing.one_line(task.instruction)}\n")[2]
    following = f"{block}Label:" if task.is_classification else f"{block}Example 1\n"
    end = prompts.next_task(ENGLISH, labels_first=task.is_classification).search(following)
    expected = [ParsedInstance(i.input, i.output) for i in task.instances]
    assert end is not None and parse(block[: end.start()], truncated=False) == expected
    assert parse(f"{block}Example 1\nOutput:", truncated=True) == expected, "what follows shows that nothing was cut"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_next_task_ends_an_answer_whatever_the_number_of_its_example(language: PromptLanguage) -> None:
    frame = load_frame(language)
    end = prompts.next_task(frame)
    for number in (1, 2, 12):
        following = f"\n\n{frame.line(frame.task, 'x')}\n{frame.heading(frame.example, number)}\n"
        assert end.search(f"a{following}") is not None
        assert end.search(f"a{following[1:]}") is None
    assert end.search(f"a\n\n{frame.line(frame.task, 'x')}\n\n{frame.heading(frame.example, 2)}\n") is None


@pytest.mark.parametrize("encode", [prompts.encode_input_first, prompts.encode_output_first])
def test_instance_prompts_put_what_never_changes_first(encode: object) -> None:
    examples = [seed(("a", "b")), seed(("", "c"))]
    first, second = (encode(text, examples, "completion", ENGLISH) for text in ("Name a river.", "Sort\nwords."))  # type: ignore[operator]
    assert first.removesuffix("Task: Name a river.\n") == second.removesuffix("Task: Sort words.\n")
    (message,) = encode("Name a river.", examples, "chat", ENGLISH)  # type: ignore[operator]
    assert message["content"].startswith(first.partition("\n\nTask: Name a river.")[0])
    assert message["content"].endswith("\n\nTask: Name a river.")


# ------------------------------------------------------------------------------------------------- answers


SHOWN = [
    SeedTask("s1", "Say hello.", (Instance("", "Hello!"),), False),
    SeedTask("s2", "Shorten.", (Instance("long text", "text"), Instance("b c", "b")), False),
]


@pytest.mark.parametrize("task_input", ["", "some\ninput"])
def test_few_shot_round_trip(task_input: str) -> None:
    """What a model writes in the form of the examples is parsed to what it meant."""
    block = prompts.encode_answer(SHOWN[1].instruction, task_input, SHOWN[:1], ENGLISH)
    completion = (
        " the output\nof two lines\n\n" + prompts.encode_answer("Next.", "", SHOWN, ENGLISH).partition("\n\n")[2]
    )
    assert block.endswith("Output:")
    assert parsing.parse_answer(completion) == ("the output\nof two lines", None)


def test_user_message_has_the_input_after_a_blank_line() -> None:
    assert records.user_message("Sort.", "b a") == "Sort.\n\nb a"
    assert records.user_message("Name a river.", "") == "Name a river."
