"""Parsers of answers: what models really write, and text that nobody would."""

from __future__ import annotations

import time
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.generation import parsing
from selfinstruct.records import Style


def texts(answer: str, style: Style = "chat", *, truncated: bool = False) -> list[str]:
    found = parsing.parse_proposal(answer, truncated=truncated, num_examples=8, num_new=8, style=style)
    return [candidate.text for candidate in found]


# ------------------------------------------------------------------------------------------------ proposal


def test_a_base_models_list() -> None:
    answer = " Find the odd word out.\nTask 10: Turn the sentence into a question.\nTask 11: Give three reasons"
    found = parsing.parse_proposal(answer, truncated=True, num_examples=8, num_new=8, style="completion")
    assert [(c.text, c.truncated) for c in found] == [
        ("Find the odd word out.", False),
        ("Turn the sentence into a question.", False),
        ("Give three reasons", True),
    ]


def test_the_last_item_is_whole_when_the_answer_ended_by_itself_or_a_remark_followed_it() -> None:
    parse = parsing.parse_proposal
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
words = st.text("abcdefghijklmnopqrstuvwxyzäöüжя写诗 ,.?", min_size=1, max_size=60).map(parsing.one_line).filter(bool)


@given(st.lists(words.filter(lambda t: t[0].isalpha()), min_size=1, max_size=12), st.sampled_from(get_args(Style)))
def test_no_candidate_is_lost_or_altered(candidates: list[str], style: Style) -> None:
    listed = "\n".join(f"Task {n}: {text}" for n, text in enumerate(candidates, 9))
    assert texts(listed.removeprefix("Task 9:") if style == "completion" else listed, style) == candidates


@given(st.text(), st.booleans(), st.sampled_from(get_args(Style)))
def test_any_text_can_be_parsed_as_a_proposal(answer: str, truncated: bool, style: Style) -> None:
    found = parsing.parse_proposal(answer, truncated=truncated, num_examples=8, num_new=8, style=style)
    assert all(c.text and c.text == parsing.one_line(c.text) for c in found)
    assert not any(c.truncated for c in found[:-1])
    if style == "completion" and answer.strip() and "\n" not in parsing.one_line(answer):
        assert truncated or not any(c.truncated for c in found)


@given(st.text(st.sampled_from("Task Exmpl:12.*#-`\n<>hink/IOL"), max_size=200))
def test_text_made_of_markers_can_be_parsed(answer: str) -> None:
    for truncated in (False, True):
        texts(answer, truncated=truncated)
        parsing.parse_input_first(answer, truncated=truncated)
        parsing.parse_output_first(answer, truncated=truncated)
        parsing.parse_classification(answer)


@pytest.mark.parametrize(
    "unit", [" ", "\t", "*", "**", "#", "-", "\n", "Task ", "<think>", "```\n", "`", "(", "1.", "a "]
)
def test_degenerate_repetition_is_parsed_in_linear_time(unit: str) -> None:
    answer = unit * (20_000 // len(unit))
    began = time.process_time()
    texts(answer)
    texts(answer, "completion")
    parsing.parse_input_first(f"Input: {answer}", truncated=True)
    parsing.parse_output_first(f"Label: {answer}", truncated=True)
    parsing.parse_classification(f"Answer:{answer}x")
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
    assert parsing.parse_classification(answer) is expected


@given(st.text())
def test_any_text_can_be_parsed_as_a_classification(answer: str) -> None:
    assert parsing.parse_classification(answer) in (True, False, None)


# ----------------------------------------------------------------------------------------------- instances


def pairs(answer: str, *, truncated: bool = False) -> list[tuple[str, str]]:
    return [(p.input, p.output) for p in parsing.parse_input_first(answer, truncated=truncated)]


def labelled(answer: str) -> list[tuple[str, str]]:
    return [(p.input, p.output) for p in parsing.parse_output_first(answer, truncated=False)]


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
    assert [p.truncated for p in parsing.parse_input_first(answer, truncated=True)] == cut
    assert not any(p.truncated for p in parsing.parse_input_first(answer, truncated=False))


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
    found = parsing.parse_output_first("Label: yes\nInput: a\nLabel: n", truncated=True)
    assert [(p.output, p.truncated) for p in found] == [("yes", False), ("n", True)]


@given(st.text(), st.booleans())
def test_any_text_can_be_parsed_as_instances(answer: str, truncated: bool) -> None:
    for text in (answer, f"Input: {answer}", f"Input: a\nOutput: {answer}", f"Label: {answer}\nInput: {answer}"):
        for found in (
            parsing.parse_input_first(text, truncated=truncated),
            parsing.parse_output_first(text, truncated=truncated),
        ):
            assert not any(p.truncated for p in found[:-1])
            assert truncated or not any(p.truncated for p in found)


# ------------------------------------------------------------------------------------------------- answers


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
    assert parsing.parse_answer(text) == expected


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
    assert parsing.strip_thinking(text) == expected


# ------------------------------------------------------------------------------------------------- fitting
