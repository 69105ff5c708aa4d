"""Instances: how models really write them, and what must not be taken for a mark."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.generation import instance_parsing
from selfinstruct.generation.frame import LANGUAGES, load_frame
from selfinstruct.generation.parsing import ambiguous


def pairs(answer: str, *, truncated: bool = False) -> list[tuple[str, str]]:
    return [(p.input, p.output) for p in instance_parsing.parse_input_first(answer, truncated=truncated)]


def labelled(answer: str) -> list[tuple[str, str]]:
    return [(p.input, p.output) for p in instance_parsing.parse_output_first(answer, truncated=False)]


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
    "form",
    [
        "示例{n}\n输入：{i}\n输出：{o}\n",
        "示例{n}：\n输入：{i}\n输出：{o}\n\n",
        "{n}、输入：{i}\n输出：{o}\n",
        "输入{n}：{i}\n输出{n}：{o}\n",
    ],
)
@pytest.mark.parametrize("numbers", ["一二", "①②", "１２", "12"])
def test_examples_with_numbers_that_are_not_in_plain_digits(form: str, numbers: str) -> None:
    answer = "".join(form.format(n=n, i=i, o=o) for n, (i, o) in zip(numbers, TWO, strict=True))
    found = instance_parsing.parse_input_first(answer, truncated=False, frame=load_frame("zh"))
    assert [(p.input, p.output, p.fault) for p in found] == [(i, o, None) for i, o in TWO]


@pytest.mark.parametrize(
    "line", ["示例一词的意思", "输出一个句子：好", "一、二月的输入：多", "⑨ 输出它", "示例\u200b九九"]
)
def test_chinese_text_that_only_begins_like_a_numbered_mark_is_text(line: str) -> None:
    (found,) = instance_parsing.parse_input_first(f"输出：甲\n{line}\n乙", truncated=False, frame=load_frame("zh"))
    assert (found.output, found.fault) == (f"甲\n{line}\n乙", None)


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
    assert pairs("Input: a\n\nTask: next\nInput: b\nOutput: c") == [("a", "")]


@pytest.mark.parametrize(
    ("answer", "cut"),
    [
        ("Example 1\nInput: a\nOutput: b\nExample 2\nInput: c\nOutput: the ha", [False, True]),
        ("Example 1\nInput: a\nOutput: b\nExample 2\nInput: the ha", [False, True]),
        ("Example 1\nInput: a\nOutput: b\nExample 2", [False]),
        ("Example 1\nInput: a\nOutput: b\nExamp", [True]),
        ("Input: a\nOutput: b\nTask: Find the ha", [True]),
    ],
)
def test_only_what_was_cut_counts_as_truncated(answer: str, cut: list[bool]) -> None:
    assert [(p.fault is not None) for p in instance_parsing.parse_input_first(answer, truncated=True)] == cut
    assert not any((p.fault is not None) for p in instance_parsing.parse_input_first(answer, truncated=False))


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
    found = instance_parsing.parse_output_first("Label: yes\nInput: a\nLabel: n", truncated=True)
    assert [(p.output, (p.fault is not None)) for p in found] == [("yes", False), ("n", True)]


def rows(answer: str, *, frame: str = "en", truncated: bool = False) -> list[tuple[str, str, str | None]]:
    """Return the instances of an input-first answer, with the reason of a fault."""
    found = instance_parsing.parse_input_first(answer, truncated=truncated, frame=load_frame(frame))
    return [(p.input, p.output, p.fault.reason if p.fault else None) for p in found]


SKY = [("The sky is blue.", "Der Himmel ist blau.", None), ("I am tired.", "Ich bin muede.", None)]


@pytest.mark.parametrize(
    "form",
    [
        "{n}. Input: {i}\n   Output: {o}\n",
        "{n}. **Input:** {i}\n   **Output:** {o}\n",
        "**{n}. Input:** {i}\n**Output:** {o}\n",
        "{n}) Input: {i}\n{n}) Output: {o}\n",
        "Input {n}: {i}\nOutput {n}: {o}\n",
        "**Input {n}:** {i}\n**Output {n}:** {o}\n\n",
        "Example {letter}\nInput: {i}\nOutput: {o}\n",
        "Example {n}\nINPUT: {i}\nOUTPUT: {o}\n",
        "input: {i}\noutput: {o}\n",
        "Example {n}\nInput (text): {i}\nOutput (German): {o}\n",
        "Example {n}\r\nInput: {i}\r\nOutput: {o}\r\n",
        "Example {n}\nInput：{i}\nOutput：{o}\n",
        "\ufeffExample {n}\n\u200bInput: {i}\n\u200fOutput: {o}\n",
        "Example {n}\n{i}\nOutput: {o}\n",
        "Example {n}: {i}\nOutput: {o}\n",
        "Example {n} - {i}\nOutput: {o}\n",
        "### Example {n}\n\n{i}\n\n### Output\n\n{o}\n\n",
        "Example {n}\n```\nInput: {i}\nOutput: {o}\n```\n",
        "```\nInput: {i}\nOutput: {o}\n```\n\n",
    ],
)
def test_numbers_letters_and_fences_belong_to_the_marks(form: str) -> None:
    answer = "".join(form.format(n=n, letter="AB"[n - 1], i=i, o=o) for n, (i, o, _) in enumerate(SKY, 1))
    assert rows(answer) == SKY


@pytest.mark.parametrize(
    ("frame", "answer"),
    [
        ("zh", "示例1\n输入：天空\n输出：sky\n示例2\n输入：海\n输出：sea"),
        ("zh", "Example 1\nInput：天空\nOutput: sky\nExample 2\nInput：海\nOutput: sea"),
        ("de", "Beispiel 1\nEingabe: 天空\nAusgabe: sky\nBeispiel 2\nEingabe: 海\nAusgabe: sea"),
        ("fr", "Exemple 1\nEntrée : 天空\nSortie : sky\nExemple 2\nEntrée : 海\nSortie : sea"),
        ("hi", "उदाहरण 1\nइनपुट: 天空\nआउटपुट: sky\nउदाहरण 2\nइनपुट: 海\nआउटपुट: sea"),
        ("ar", "مثال 1\nالمدخل: 天空\nالمخرج: sky\nمثال 2\nالمدخل: 海\nالمخرج: sea"),
    ],
)
def test_marks_in_the_language_of_the_prompt_and_in_english(frame: str, answer: str) -> None:
    assert rows(answer, frame=frame) == [("天空", "sky", None), ("海", "sea", None)]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Example 1\nSentence: The sky.\nOutput: Himmel", [("Sentence: The sky.", "Himmel", None)]),
        ("Example 1\n**Text:** The sky.\n**Output:** Himmel", [("**Text:** The sky.", "Himmel", None)]),
        ("Example 1\n```\nx = 1\n```\nOutput: one", [("```\nx = 1\n```", "one", None)]),
        ("Here is one:\n\nOutput: A poem.", [("", "A poem.", None)]),
        ("The sky.\nOutput: Himmel", [("", "Himmel", "ambiguous")]),
        ("Example 1\nContext: Day.\nInput: The sky.\nOutput: x", [("Context: Day.\nThe sky.", "x", "ambiguous")]),
        ("Output: one\nOutput: two", [("", "one", "ambiguous"), ("", "two", "ambiguous")]),
        ("Example 1\nInput: a\nOutput: b\nOutput: c", [("a", "b", "ambiguous"), ("", "c", "ambiguous")]),
        ("Example 1\nOutput: b\nInput: a", [("", "b", "ambiguous"), ("a", "", "ambiguous")]),
        ("Input: a\nOutput: Note\nInput: by Friday", [("a", "Note", "ambiguous"), ("by Friday", "", None)]),
    ],
)
def test_an_input_is_neither_lost_nor_pushed_into_an_output(answer: str, expected: object) -> None:
    assert rows(answer) == expected


PLAN = "Here is a plan.\n\nTask 1: Book a van.\nTask 2: Pack."
FENCED = "```\nExample 1\nInput: 3\nOutput: 9\n```"
LETTER = "Dear Sam,\nTask: clean the house.\nBest, Ann"


@pytest.mark.parametrize("output", [PLAN, FENCED, LETTER, "See\n# Output: 3", "a\nLabel: b", "Output of 3\nExample: 4"])
def test_lines_like_marks_do_not_cut_an_output(output: str) -> None:
    assert rows(f"Example 1\nOutput: {output}") == [("", output, None)]
    two = f"Example 1\nInput: x\nOutput: {output}\nExample 2\nInput: y\nOutput: z"
    assert rows(two) == [("x", output, None), ("y", "z", None)]


@pytest.mark.parametrize(
    "answer",
    [
        "Example 1\nOutput: Dear Sam,\n\nTask: clean.\nBest, Ann",
        "Example 1\nOutput: a\nTask: clean\nInput: x\nOutput: y",
        "Example 1\nInput: a\nOutput: see\nExample 2\nof the book",
        "Example 1\nOutput:\n```\nx\nExample 2\nOutput: y",
    ],
)
def test_what_cannot_be_told_apart_is_rejected(answer: str) -> None:
    assert rows(answer)[0][2] == "ambiguous"


def test_an_answer_may_repeat_the_task_first_but_not_answer_another() -> None:
    def reasons(task: str, **given: str) -> list[object]:
        answer = f"Task: {task}\n\nExample 1\nInput: a\nOutput: b"
        return [p.fault for p in instance_parsing.parse_input_first(answer, truncated=False, **given)]  # type: ignore[arg-type]

    asked = "Decide whether the review is good."
    assert reasons(asked) == reasons(asked, instruction=asked) == [None]
    assert reasons("Tell whether the review is good or bad.", instruction=asked) == [None]
    assert reasons("Name a river in Asia.", instruction=asked) == [ambiguous("the answer opens with another task")]


def test_the_next_task_ends_the_answer() -> None:
    first = "Example 1\nInput: a\nOutput: b"
    for following in (
        "\n\nTask: Next\nExample 1\nOutput: x",
        "\nTask: Next\nExample 1\nOutput: x",
        "\n\nTask: Next\nExample 2\nOutput: x",  # as our prompts have it, but for the number
    ):
        assert rows(first + following) == rows(first + following, truncated=True) == [("a", "b", None)]


def test_an_output_may_end_in_a_line_like_a_task() -> None:
    output = "Plan:\n\nTask: Book a van."
    two = f"Example 1\nInput: x\nOutput: {output}\n\nExample 2\nInput: y\nOutput: z"
    assert rows(two) == [("x", output, None), ("y", "z", None)]


CODE = "    c = a + b\n    return c"


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        (f"Output:\n{CODE}", CODE),
        (f"Output: {CODE}", CODE),
        (f"Output:\n\n{CODE}\n\n", CODE),
        ("- Output:\n  ```\n  if x:\n      y\n  ```", "```\nif x:\n    y\n```"),
        ("Output:   two  spaces  ", "two  spaces"),
    ],
)
def test_indentation_belongs_to_the_text(answer: str, output: str) -> None:
    assert rows(answer) == [("", output, None)]


@pytest.mark.parametrize("remark", ["I hope these examples help!", "*Let me know if you'd like more examples.*"])
def test_closing_remarks_about_the_examples_are_no_output(remark: str) -> None:
    assert rows(f"Example 1\nInput: a\nOutput: b\n\n{remark}") == [("a", "b", None)]
    assert rows(f"Example 1\nInput: a\nOutput: b\n{remark}") == [("a", "b", None)]
    assert rows(f"Example 1\nInput: a\nOutput: {remark}") == [("a", remark, None)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Example one", "Example two"),
        ("First example:", "Second example:"),
        ("**1st Example**", "**2nd Example**"),
        ("Example: 1", "Example: 2"),
        ("Example (1)", "Example (2)"),
        ("Case 1", "Case 2"),
        ("1.", "2."),
        ("(1)", "(2)"),
        ("[Example 1]", "[Example 2]"),
        ("Here is an example:", "Here is an example:"),
    ],
)
def test_a_title_without_a_mark_is_not_the_end_of_the_example_before(first: str, second: str) -> None:
    answer = f"{first}\nInput: a\nOutput: b\n{second}\nInput: c\nOutput: d"
    assert rows(answer) == [("a", "b", None), ("c", "d", None)]


@pytest.mark.parametrize("title", ["Another example:", "Here is one more example:", "Zweites Beispiel", "再举一个例子"])
def test_what_may_be_the_title_of_the_next_example_is_not_kept(title: str) -> None:
    answer = f"Sure!\nInput: a\nOutput: b\n{title}\nInput: c\nOutput: d"
    assert rows(answer) == [("a", f"b\n{title}", "ambiguous"), ("c", "d", None)]


def test_what_speaks_of_an_example_before_a_mark_is_text() -> None:
    answer = "Example 1\nInput: a\nOutput: be a good example\nExample 2\nInput: c\nOutput: Example two"
    assert rows(answer) == [("a", "be a good example", None), ("c", "Example two", None)]
    assert rows("Input: a\nOutput: an example\nInput: c\nOutput: d")[0] == ("a", "an example", None)


@pytest.mark.parametrize(
    "answer",
    [
        "*Input*: a\n*Output*: b",
        "`Input`: a\n`Output`: b",
        "<input>a</input>\n<output>b</output>",
        "[Input] a\n[Output] b",
        "Input - a\nOutput - b",
        "Sample Input:\na\nSample Output:\nb",
        "# Input\na\n\n# Output\nb",
        '"input": "a",\n"output": "b"',
        "Beispiel 1\nEingabe: a\nAusgabe: b",
        "示例1\n输入：a\n输出：b",
    ],
)
def test_what_looks_like_an_input_and_an_output_is_not_one_output(answer: str) -> None:
    (parsed,) = instance_parsing.parse_input_first(answer, truncated=False, plain=True)
    assert parsed == instance_parsing.ParsedInstance(
        "", answer, ambiguous("lines like the marks of an input and an output")
    )


@pytest.mark.parametrize(
    "answer", ["Input devices are read.\nOutput devices are not.", "```\n*Input*: a\n*Output*: b\n```"]
)
def test_text_that_only_speaks_of_inputs_is_an_output(answer: str) -> None:
    assert instance_parsing.parse_input_first(answer, truncated=False, plain=True)[0].fault is None


@pytest.mark.parametrize(
    "paragraph",
    [
        "These are the three rivers of the valley.",
        "Please note that the office is closed on Monday.",
        "Please let me know if you can come.",
        "If you have a receipt, bring it along.",
        "I hope to see you soon.",
        "Feel free to bring a friend.",
        "Let me know if you need a ride.",
    ],
)
def test_a_last_paragraph_is_the_outputs_unless_it_speaks_to_the_user(paragraph: str) -> None:
    assert rows(f"Example 1\nInput: a\nOutput: b\n\n{paragraph}") == [("a", f"b\n\n{paragraph}", None)]


@pytest.mark.parametrize(
    "remark", ["I hope this helps!", "Let me know if you need anything else.", "These are examples of good habits."]
)
def test_what_may_be_a_remark_to_the_user_is_rejected_whole(remark: str) -> None:
    assert rows(f"Example 1\nInput: a\nOutput: b\n\n{remark}") == [("a", f"b\n\n{remark}", "ambiguous")]


@pytest.mark.parametrize(
    "said", ["This task does not require an input.", "N/A (no input needed)", "null", "无", "(no input)", "没有输入"]
)
def test_more_ways_to_say_that_there_is_no_input(said: str) -> None:
    assert rows(f"Example 1\nInput: {said}\nOutput: A poem.", frame="zh") == [("", "A poem.", None)]


@pytest.mark.parametrize("frame", LANGUAGES)
@pytest.mark.parametrize(
    "said",
    [
        "Für diese Aufgabe ist keine Eingabe erforderlich.",
        "(keine Eingabe)",
        "Esta tarea no requiere entrada.",
        "<sin entrada>",
        "Cette tâche n'a pas d'entrée.",
        "[aucune]",
        "这个任务不需要输入。",
        "无",
        "このタスクに入力は不要です。",
        "(なし)",
        "هذه المهمة لا يتطلب مدخلات",
        "इस कार्य में इनपुट की आवश्यकता नहीं है।",
        "This task has no input.",
    ],
)
def test_every_language_is_read_whatever_that_of_the_prompt(said: str, frame: str) -> None:
    assert rows(f"Example 1\nInput: {said}\nOutput: A poem.", frame=frame) == [("", "A poem.", None)]


@pytest.mark.parametrize(
    "said", ["vide", "leer", "keine", "aucun", "空", "Es gibt keine Eingabe vom Benutzer: was tun?"]
)
def test_a_word_of_another_language_may_be_an_input(said: str) -> None:
    assert rows(f"Example 1\nInput: {said}\nOutput: A translation.") == [(said, "A translation.", None)]


def test_none_is_an_input_beside_other_inputs() -> None:
    answer = "Example 1\nInput: None\nOutput: NoneType\nExample 2\nInput: 5\nOutput: int"
    assert rows(answer) == [("None", "NoneType", None), ("5", "int", None)]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Label: positive\nReview: What a day!", [("Review: What a day!", "positive", None)]),
        ("Label: positive\n\nWhat a day!\nLabel: negative\nBad.", [("What a day!", "positive"), ("Bad.", "negative")]),
        ("Example 1\nReview: What a day!\nLabel: positive", [("Review: What a day!", "positive", None)]),
        ("Label: a\nmore\nInput: x", [("x", "a\nmore", "ambiguous")]),
        ("1. Is it?\nOutput: no\n2. Is he?\nOutput: yes", [("2. Is he?", "no", "ambiguous"), ("", "yes", "ambiguous")]),
        ("Label: odd\nInput: 12\nOutput: 12", [("12\nOutput: 12", "odd", "ambiguous")]),
        ("Here they are:\nLabel: odd\n13", [("13", "odd", None)]),
        ("Label: a\nInput 1: x\nInput 2: y", [("x", "a", None), ("y", "a", None)]),
        ("1. Label: a\n   Input: x\n2. Label: b\n   Input: y", [("x", "a", None), ("y", "b", None)]),
        ("标签：正面\n输入：好\n标签：负面\n输入：坏", [("好", "正面", None), ("坏", "负面", None)]),
    ],
)
def test_a_label_is_one_line(answer: str, expected: list[tuple[str, ...]]) -> None:
    found = instance_parsing.parse_output_first(answer, truncated=False, frame=load_frame("zh"))
    assert [(p.input, p.output, p.fault and p.fault.reason) for p in found] == [(*row, None)[:3] for row in expected]


MARKS = ["```", "Example 1", "Example 2", "Example 3", "Input:", "Output:", "Label:", "Task:", "Task 2:", "- Input:"]
marked_lines = st.lists(st.tuples(st.sampled_from([*MARKS, *[""] * 4]), st.sampled_from(["", "w"])), max_size=14)


@given(marked_lines, st.booleans())
def test_no_word_is_lost_after_the_first_mark(lines: list[tuple[str, str]], truncated: bool) -> None:
    """Each word is in an instance, or names an example, or follows a fence around one."""
    written = [f"{mark} {word}{k}" if word else mark for k, (mark, word) in enumerate(lines)]
    written = [line for line in written if "```" not in line and not line.startswith("Task:")]
    answer = "\n".join(["Example 1", "Input: in", "Output: out", *written])
    for parse in (instance_parsing.parse_input_first, instance_parsing.parse_output_first):
        found = parse(answer, truncated=truncated)
        held = "\n".join(f"{p.input}\n{p.output}" for p in found)
        titles = [line for line in written if line.startswith("Example")]
        assert [
            w for line in written if line not in titles for w in line.split() if w[0] == "w" and w not in held
        ] == []


@given(marked_lines)
def test_a_kept_instance_has_one_mark_of_each_kind(lines: list[tuple[str, str]]) -> None:
    """Marks outside of fences are never text of an instance without a fault, unless they are of another form."""
    answer = "\n".join(f"{mark} {word}{k}".strip() for k, (mark, word) in enumerate(lines))
    for parsed in instance_parsing.parse_input_first(f"Input: a\nOutput: b\n{answer}", truncated=False):
        outside = re.sub(r"(?ms)^ *```.*?^ *```\n?", "", f"{parsed.input}\n{parsed.output}\n")
        assert parsed.fault or not re.search(r"(?m)^(Input|Output):", outside)


@given(st.text(), st.booleans())
def test_any_text_can_be_parsed_as_instances(answer: str, truncated: bool) -> None:
    for text in (answer, f"Input: {answer}", f"Input: a\nOutput: {answer}", f"Label: {answer}\nInput: {answer}"):
        for found in (
            instance_parsing.parse_input_first(text, truncated=truncated),
            instance_parsing.parse_output_first(text, truncated=truncated),
        ):
            reasons = [p.fault.reason for p in found if p.fault]
            assert "truncated" not in reasons[:-1] or not truncated
            assert truncated or "truncated" not in reasons
