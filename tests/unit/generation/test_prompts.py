"""Prompts and their parsers, as pairs: what models really write, and text that nobody would."""

from __future__ import annotations

import time
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct import records
from selfinstruct.formats import seed_tasks
from selfinstruct.generation import prompts
from selfinstruct.generation.prompts import ParsedInstance
from selfinstruct.records import Instance, SeedTask, Style

PACKAGED = [task for name in ("seed_tasks", "eval_tasks") for task in seed_tasks.load_seed_tasks([name])]


def texts(answer: str, style: Style = "chat", *, truncated: bool = False) -> list[str]:
    found = prompts.parse_proposal(answer, truncated=truncated, num_examples=8, num_new=8, style=style)
    return [candidate.text for candidate in found]


def seed(*instances: tuple[str, str], is_classification: bool = False) -> SeedTask:
    return SeedTask("s", "Do what the text says.", tuple(Instance(*i) for i in instances), is_classification)


# ------------------------------------------------------------------------------------------------ proposal


def test_proposal_prompt_of_a_base_model_is_a_list_to_continue() -> None:
    prompt = prompts.encode_proposal(["Name a river.", "Sort\nthe   words."], 8, "completion")
    assert isinstance(prompt, str)
    assert prompt.endswith("\nTask 1: Name a river.\nTask 2: Sort the words.\nTask 3:")


def test_proposal_prompt_of_a_chat_model_names_the_numbers_wanted() -> None:
    prompt = prompts.encode_proposal(["Name a river.", "Sort words."], 8, "chat")
    assert isinstance(prompt, list)
    (message,) = prompt
    assert message["role"] == "user"
    assert "Task 2: Sort words.\n\nContinue the list with 8 new tasks." in message["content"]
    assert "from 'Task 3:' to 'Task 10:'" in message["content"]


def test_proposal_stops_at_the_item_after_the_last_one_wanted_and_only_at_the_start_of_a_line() -> None:
    stops = prompts.proposal_stop(8, 8)
    assert "\nTask 17:" in stops
    assert all(stop.startswith("\n") for stop in stops)


def test_a_base_models_list() -> None:
    answer = " Find the odd word out.\nTask 10: Turn the sentence into a question.\nTask 11: Give three reasons"
    found = prompts.parse_proposal(answer, truncated=True, num_examples=8, num_new=8, style="completion")
    assert [(c.text, c.truncated) for c in found] == [
        ("Find the odd word out.", False),
        ("Turn the sentence into a question.", False),
        ("Give three reasons", True),
    ]


def test_the_last_item_is_whole_when_the_answer_ended_by_itself_or_a_remark_followed_it() -> None:
    parse = prompts.parse_proposal
    stopped = parse(" Name a river.", truncated=False, num_examples=8, num_new=8, style="completion")
    remark = parse("Task 9: Name a river.\n\nLet me kn", truncated=True, num_examples=8, num_new=8, style="chat")
    assert [c.truncated for c in stopped + remark] == [False, False]


ITEM_FORMS = [
    "Task {n}: {text}",
    "Task {n}. {text}",
    "task {n}: {text}",
    "Task {n} - {text}",
    "Task {n} – {text}",
    "Task #{n}: {text}",
    "**Task {n}:** {text}",
    "**Task {n}**: {text}",
    "**Task {n}: {text}**",
    "**{n}.** {text}",
    "**{n}. {text}**",
    "{n}. {text}",
    "{n}) {text}",
    "{n}: {text}",
    "{n}. **{text}**",
    '{n}. "{text}"',
    "{n}. `{text}`",
    "- Task {n}: {text}",
    "* Task {n}: {text}",
    "### Task {n}: {text}",
    "### Task {n}\n{text}",
    "### **Task {n}:**\n\n{text}",
    "Task {n}: Instruction: {text}",
    "  Task {n}: {text}",
]
TASKS = ["Name a river in Asia.", "Explain why 2**3 is 8, with 1.5 as a second case", "Is (a) or b) right?"]


@pytest.mark.parametrize("separator", ["\n", "\n\n"], ids=["lines", "blank-lines"])
@pytest.mark.parametrize("form", ITEM_FORMS)
def test_every_way_in_which_chat_models_number_a_list(form: str, separator: str) -> None:
    listed = separator.join(form.format(n=n, text=text) for n, text in enumerate(TASKS, 9))
    assert texts(listed) == TASKS


@pytest.mark.parametrize("form", ["Task {n}: {text}", "**Task {n}:** {text}", "{n}. {text}"])
@pytest.mark.parametrize(
    "wrapped",
    [
        "Sure! Here are 3 new tasks for you:\n\n{list}\n\nLet me know if you want more!",
        "<think>\nI need tasks.\nTask 9: not this one\n</think>\n\n{list}",
        "I need tasks.\nTask 9: not this one\n</think>\n{list}",
        "```\n{list}\n```",
        "```text\n{list}\n```",
        "Of course:\n\n```markdown\n{list}\n```\nEnjoy!",
        "```\n{list}",
        "{list}\n\n---\n\n*All of them are new.*",
    ],
)
def test_what_chat_models_wrap_around_a_list(wrapped: str, form: str) -> None:
    listed = "\n".join(form.format(n=n, text=text) for n, text in enumerate(TASKS, 9))
    assert texts(wrapped.replace("{list}", listed)) == TASKS


def test_a_thinking_block_that_never_ends_holds_no_candidates() -> None:
    assert texts("<think>\nMaybe:\nTask 9: Name a river.\nTask 10: Name a") == []


def test_surplus_items_are_candidates_too() -> None:
    assert len(texts("\n".join(f"Task {n}: Name river {n}." for n in range(9, 31)))) == 22


def test_bold_that_is_never_closed() -> None:
    assert texts("**9. Name a river.\n**10. Name a lake.") == ["Name a river.", "Name a lake."]


def test_a_list_that_begins_again_at_one() -> None:
    assert texts("1. Name a river.\n2. Name a lake.") == ["Name a river.", "Name a lake."]


@pytest.mark.parametrize("style", get_args(Style))
def test_a_numbered_list_inside_an_item_stays_there(style: Style) -> None:
    answer = "Task 9: Do these:\n1. add\n2. subtract\nTask 10: Name a lake."
    answer = answer if style == "chat" else answer.removeprefix("Task 9:")
    assert texts(answer, style) == ["Do these: 1. add 2. subtract", "Name a lake."]


def test_a_bare_number_that_counts_on_opens_an_item() -> None:
    assert texts(" Name a river.\n10. Name a lake.\n11. Name a sea.", "completion") == [
        "Name a river.",
        "Name a lake.",
        "Name a sea.",
    ]


@pytest.mark.parametrize("line", ["2024: a year in review", "1.5 litres are left", "10:30 is the time", "16.", "3 men"])
def test_numbers_in_running_text_open_nothing(line: str) -> None:
    (found,) = texts(f" Shorten the text.\n{line}" if line != "16." else " Say what follows 16.", "completion")
    assert line in found


def test_acronyms_code_and_case_are_left_alone() -> None:
    assert texts("Task 9: explain what NASA's `os.path` **does** *not* do") == [
        "explain what NASA's `os.path` does *not* do"
    ]


@pytest.mark.parametrize("answer", ["", "   ", "\n\n", "I cannot help with that.", "Task 9:", "Task 9:\nTask 10:\n"])
def test_answers_without_a_candidate(answer: str) -> None:
    assert texts(answer) == []


# A candidate of plain words, so that what the prompt's own form adds can be told from it.
words = st.text("abcdefghijklmnopqrstuvwxyzäöüжя写诗 ,.?", min_size=1, max_size=60).map(prompts.one_line).filter(bool)


@given(st.lists(words.filter(lambda t: t[0].isalpha()), min_size=1, max_size=12), st.sampled_from(get_args(Style)))
def test_no_candidate_is_lost_or_altered(candidates: list[str], style: Style) -> None:
    listed = "\n".join(f"Task {n}: {text}" for n, text in enumerate(candidates, 9))
    assert texts(listed.removeprefix("Task 9:") if style == "completion" else listed, style) == candidates


@given(st.text(), st.booleans(), st.sampled_from(get_args(Style)))
def test_any_text_can_be_parsed_as_a_proposal(answer: str, truncated: bool, style: Style) -> None:
    found = prompts.parse_proposal(answer, truncated=truncated, num_examples=8, num_new=8, style=style)
    assert all(c.text and c.text == prompts.one_line(c.text) for c in found)
    assert not any(c.truncated for c in found[:-1])
    if style == "completion" and answer.strip() and "\n" not in prompts.one_line(answer):
        assert truncated or not any(c.truncated for c in found)


@given(st.text(st.sampled_from("Task Exmpl:12.*#-`\n<>hink/IOL"), max_size=200))
def test_text_made_of_markers_can_be_parsed(answer: str) -> None:
    for truncated in (False, True):
        texts(answer, truncated=truncated)
        prompts.parse_input_first(answer, truncated=truncated)
        prompts.parse_output_first(answer, truncated=truncated)
        prompts.parse_classification(answer)


@pytest.mark.parametrize(
    "unit", [" ", "\t", "*", "**", "#", "-", "\n", "Task ", "<think>", "```\n", "`", "(", "1.", "a "]
)
def test_degenerate_repetition_is_parsed_in_linear_time(unit: str) -> None:
    answer = unit * (20_000 // len(unit))
    began = time.process_time()
    texts(answer)
    texts(answer, "completion")
    prompts.parse_input_first(f"Input: {answer}", truncated=True)
    prompts.parse_output_first(f"Label: {answer}", truncated=True)
    prompts.parse_classification(f"Answer:{answer}x")
    assert time.process_time() - began < 2.0


# ------------------------------------------------------------------------------------------ classification


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (" Yes", True),
        (" No\n", False),
        ("yes.", True),
        ("NO", False),
        ("**Yes**", True),
        ("`No`", False),
        ('"Yes"', True),
        ("Classification: Yes", True),
        ("**Classification:** No", False),
        ("Answer: No", False),
        ("Yes, because the answers are fixed.", True),
        ("<think>No fixed set? It is.</think>\nYes", True),
        ("```\nNo\n```", False),
        ("Maybe", None),
        ("Yesterday", None),
        ("Nothing", None),
        ("Yes or No", None),
        ("yes/no", None),
        ("<think>No", None),
        ("", None),
    ],
)
def test_classification_answers(answer: str, expected: bool | None) -> None:
    assert prompts.parse_classification(answer) is expected


@pytest.mark.parametrize("style", get_args(Style))
def test_the_choices_offered_to_an_engine_are_what_the_parser_reads(style: Style) -> None:
    assert [prompts.parse_classification(choice) for choice in prompts.CHOICES[style]] == [True, False]


@pytest.mark.parametrize("style", get_args(Style))
def test_classification_prompt_shows_examples_before_the_question(style: Style) -> None:
    prompt = prompts.encode_classification("Is it\nspam?", [seed(("a", "b"), is_classification=True)], style)
    text = prompt if isinstance(prompt, str) else prompt[0]["content"]
    assert "Task: Do what the text says.\nClassification: Yes\n\n" in text
    assert text.endswith("Task: Is it spam?\nClassification:")


@given(st.text())
def test_any_text_can_be_parsed_as_a_classification(answer: str) -> None:
    assert prompts.parse_classification(answer) in (True, False, None)


# ----------------------------------------------------------------------------------------------- instances


@pytest.mark.parametrize("task", PACKAGED, ids=lambda task: task.id)
def test_every_packaged_task_survives_the_instance_prompts(task: SeedTask) -> None:
    """The block that shows the task to a model is parsed back to the task: markers in its text would show here."""
    assert prompts.can_be_shown(task)
    encode = prompts.encode_output_first if task.is_classification else prompts.encode_input_first
    parse = prompts.parse_output_first if task.is_classification else prompts.parse_input_first
    prompt = encode("Another task.", [task], "completion")
    assert isinstance(prompt, str)
    block = prompt.partition(f"Task: {prompts.one_line(task.instruction)}\n")[2]
    expected = [ParsedInstance(i.input, i.output) for i in task.instances]
    assert parse(block, truncated=False) == expected
    assert parse(block, truncated=True) == expected, "the next task's marker shows that nothing was cut"


def pairs(answer: str, *, truncated: bool = False) -> list[tuple[str, str]]:
    return [(p.input, p.output) for p in prompts.parse_input_first(answer, truncated=truncated)]


def labelled(answer: str) -> list[tuple[str, str]]:
    return [(p.input, p.output) for p in prompts.parse_output_first(answer, truncated=False)]


TWO = [("The tram was late.\nAgain!", "Was the tram late?"), ("She has read it.", "Has she\n\nread it?")]


@pytest.mark.parametrize(
    "form",
    [
        "Example {n}\nInput: {i}\nOutput: {o}\n",
        "Example {n}:\nInput: {i}\nOutput: {o}\n\n",
        "### Example {n}\nInput:\n{i}\n\nOutput:\n{o}\n\n",
        "**Example {n}**\n**Input:** {i}\n**Output:** {o}\n\n",
        "**Example {n}:**\n**Input**: {i}\n**Output**: {o}\n\n",
        "**Example {n} (easy)**\n\nInput: {i}\n\nOutput: {o}\n\n---\n\n",
        "Example {n}: a question\n- Input: {i}\n- Output: {o}\n",
        "Input: {i}\nOutput: {o}\n\n",
        "  Input: {i}\n  Output: {o}\n",
    ],
)
def test_every_way_in_which_models_write_instances(form: str) -> None:
    answer = "".join(form.format(n=n, i=i, o=o) for n, (i, o) in enumerate(TWO, 1)).rstrip().removesuffix("---")
    assert pairs(answer) == TWO
    assert pairs(f"Here are two examples:\n\n{answer}") == TWO
    assert pairs(f"<think>Input: no\nOutput: no</think>\n{answer}") == TWO
    assert pairs(f"Sure!\n```\n{answer}\n```\nHope this helps!") == TWO
    assert pairs(f"{answer}\n\nTask: The next one\nInput: x\nOutput: y") == TWO


@pytest.mark.parametrize(
    "said",
    ["", "None", "none.", "N/A", "<noinput>", "(none)", "[None]", "No input", "No input needed.", "-", "<empty>"],
)
def test_an_input_that_says_there_is_none_is_empty(said: str) -> None:
    assert pairs(f"Example 1\nInput: {said}\nOutput: A poem.") == [("", "A poem.")]


@pytest.mark.parametrize("said", ["empty", "None of them came.", "n", "nonesuch", "0"])
def test_an_input_that_only_looks_so_is_kept(said: str) -> None:
    assert pairs(f"Input: {said}\nOutput: b") == [(said, "b")]


def test_outputs_without_inputs() -> None:
    assert pairs("Example 1\nOutput: one\nExample 2\nOutput: two") == [("", "one"), ("", "two")]


def test_code_in_an_output_keeps_its_fence_and_blank_lines() -> None:
    code = "```python\na = 1\n\n\nb = 2\n```"
    assert pairs(f"Example 1\nInput: x\nOutput:\n{code}") == [("x", code)]
    assert pairs(f"Output:\n{code}") == [("", code)]


def test_bullets_and_bare_words_in_an_output_are_no_markers() -> None:
    output = "Notes\n- Input: by Friday\nOutput\nTask\n- Output: done"
    assert pairs(f"Example 1\nInput: x\nOutput: {output}") == [("x", output)]


def test_an_input_never_gets_the_output_of_another_example() -> None:
    assert pairs("Example 1\nInput: a\nExample 2\nOutput: b") == [("a", ""), ("", "b")]
    assert pairs("Input: a\nInput: b\nOutput: c") == [("a", ""), ("b", "c")]
    assert pairs("Input: a\nTask: next") == [("a", "")]


@pytest.mark.parametrize(
    ("answer", "cut"),
    [
        ("Example 1\nInput: a\nOutput: b\nExample 2\nInput: c\nOutput: the ha", [False, True]),
        ("Example 1\nInput: a\nOutput: b\nExample 2\nInput: the ha", [False, True]),
        ("Example 1\nInput: a\nOutput: b\nExample 2", [False]),
        ("Example 1\nInput: a\nOutput: b\nExamp", [True]),
        ("Input: a\nOutput: b\nTask: Find the ha", [False]),
    ],
)
def test_only_what_was_cut_counts_as_truncated(answer: str, cut: list[bool]) -> None:
    assert [p.truncated for p in prompts.parse_input_first(answer, truncated=True)] == cut
    assert not any(p.truncated for p in prompts.parse_input_first(answer, truncated=False))


@pytest.mark.parametrize(
    "answer",
    [
        "Label: positive\nInput: What a day!\n\nLabel: negative\nInput: My money back!",
        "**Label:** positive\n**Input:** What a day!\n\n**Label:** negative\n**Input:** My money back!",
        "**Label: positive**\nInput: What a day!\n\n---\n\n**Label: negative**\nInput: My money back!",
        "Example 1\nLabel: positive\nInput: What a day!\nExample 2\nLabel: negative\nInput: My money back!",
        "Class label: positive\nInput: What a day!\nClass label: negative\nInput: My money back!",
        "Output: positive\nInput: What a day!\nOutput: negative\nInput: My money back!",
        "Input: What a day!\nLabel: positive\n\nInput: My money back!\nLabel: negative",
        "Sure:\n- Label: positive\n- Input: What a day!\n- Label: negative\n- Input: My money back!",
    ],
)
def test_every_way_in_which_models_write_labels(answer: str) -> None:
    assert labelled(answer) == [("What a day!", "positive"), ("My money back!", "negative")]


def test_a_label_may_have_several_inputs_or_none() -> None:
    assert labelled("Label: a\nInput: x\nInput: y\nLabel: b") == [("x", "a"), ("y", "a"), ("", "b")]
    assert labelled("Example 1\nLabel: a\nExample 2\nLabel: b\nInput: x") == [("", "a"), ("x", "b")]


def test_a_cut_label() -> None:
    found = prompts.parse_output_first("Label: yes\nInput: a\nLabel: n", truncated=True)
    assert [(p.output, p.truncated) for p in found] == [("yes", False), ("n", True)]


@pytest.mark.parametrize("text", ["Input: x", "Example 2", "a\nTask: b", "Label: c", "**Output:** d"])
def test_a_seed_that_holds_a_marker_cannot_be_shown(text: str) -> None:
    assert prompts.can_be_shown(seed(("a", "b")))
    assert not prompts.can_be_shown(seed((f"first\n{text}", "b")))


@given(st.text(), st.booleans())
def test_any_text_can_be_parsed_as_instances(answer: str, truncated: bool) -> None:
    for text in (answer, f"Input: {answer}", f"Input: a\nOutput: {answer}", f"Label: {answer}\nInput: {answer}"):
        for found in (
            prompts.parse_input_first(text, truncated=truncated),
            prompts.parse_output_first(text, truncated=truncated),
        ):
            assert not any(p.truncated for p in found[:-1])
            assert truncated or not any(p.truncated for p in found)


field = st.text("abcdefgh äж写\n.,!", min_size=1, max_size=80).map(str.strip).filter(bool)


@given(st.lists(st.tuples(field, field), min_size=1, max_size=6))
def test_no_instance_is_lost_or_altered(instances: list[tuple[str, str]]) -> None:
    task = seed(*instances)
    assert prompts.instances_of(task) == list(task.instances)
    labels = SeedTask("s", "Label it.", task.instances, is_classification=True)
    assert prompts.instances_of(labels) == list(task.instances)


@pytest.mark.parametrize("encode", [prompts.encode_input_first, prompts.encode_output_first])
def test_instance_prompts_put_what_never_changes_first(encode: object) -> None:
    examples = [seed(("a", "b")), seed(("", "c"))]
    first, second = (encode(text, examples, "completion") for text in ("Name a river.", "Sort\nwords."))  # type: ignore[operator]
    assert first.removesuffix("Task: Name a river.\n") == second.removesuffix("Task: Sort words.\n")
    (message,) = encode("Name a river.", examples, "chat")  # type: ignore[operator]
    assert message["content"].startswith(first.partition("\n\nTask: Name a river.")[0])
    assert message["content"].endswith("\n\nTask: Name a river.")


# ------------------------------------------------------------------------------------------------- answers


SHOWN = [
    SeedTask("s1", "Say hello.", (Instance("", "Hello!"),), False),
    SeedTask("s2", "Shorten.", (Instance("long text", "text"), Instance("b c", "b")), False),
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" Paris.", "Paris."),
        (" Paris.\nExample 2\nInput: x", "Paris."),
        (" Paris.\nExample 12:\n", "Paris."),
        (" Paris.\n\nTask: Next", "Paris."),
        (" Paris.\nInput: next", "Paris."),
        (" An Example 2 of it\nExample 2 shows more", "An Example 2 of it\nExample 2 shows more"),
        ("Task: in the first line", "Task: in the first line"),
        ("\nTask: nothing", ""),
        ("", ""),
    ],
)
def test_parse_answer(text: str, expected: str) -> None:
    assert prompts.parse_answer(text) == expected


@pytest.mark.parametrize("task_input", ["", "some\ninput"])
def test_few_shot_round_trip(task_input: str) -> None:
    """What a model writes in the form of the examples is parsed to what it meant."""
    block = prompts.encode_answer(SHOWN[1].instruction, task_input, SHOWN[:1])
    completion = " the output\nof two lines\n" + prompts.encode_answer("Next.", "", SHOWN).partition("\n\n")[2]
    assert block.endswith("Output:")
    assert prompts.parse_answer(completion) == "the output\nof two lines"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Paris", "Paris"),
        ("<think>a</think> Paris", "Paris"),
        ("hm, so</think>\nParis", "Paris"),
        ("\n<think>cut in the", ""),
        ("In HTML, <think> is no tag", "In HTML, <think> is no tag"),
    ],
)
def test_strip_thinking(text: str, expected: str) -> None:
    assert prompts.strip_thinking(text) == expected


def test_few_shot_examples_are_short_and_stay(seed_file: Path) -> None:
    long = SeedTask("long", "Write.", (Instance("", ("word " * 500).strip()),), False)
    broken = SeedTask("broken", "Write.", (Instance("", "text\nInput: of a field"),), False)
    tasks = [long, broken, *seed_tasks.load_seed_tasks([seed_file])]
    shown = prompts.few_shot_examples(tasks, 4, seed=1)
    assert len(shown) == 4
    for number in range(20):
        assert not {"long", "broken"} & {task.id for task in prompts.few_shot_examples(tasks, 4, number)}
    assert shown == prompts.few_shot_examples(tasks, 4, seed=1)
    assert shown != prompts.few_shot_examples(tasks, 4, seed=2)
    assert len(prompts.few_shot_examples(tasks, 99, seed=1)) == 11


# ------------------------------------------------------------------------------------------------- fitting


@pytest.mark.parametrize("limit", range(14))
def test_fit_shows_as_many_examples_as_there_is_room_for(limit: int) -> None:
    fitted = prompts.fit(lambda k: "x " * (3 + 2 * k), 4, limit, lambda prompt: len(str(prompt).split()))
    if limit < 3:
        assert fitted is None
    else:
        assert fitted is not None
        assert fitted[1] == min(4, (limit - 3) // 2)
        assert fitted[0] == "x " * (3 + 2 * fitted[1])


def test_user_message_has_the_input_after_a_blank_line() -> None:
    assert records.user_message("Sort.", "b a") == "Sort.\n\nb a"
    assert records.user_message("Name a river.", "") == "Name a river."
