"""Lists of new tasks: how models really write them, and text that nobody would."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.config.schema import PromptLanguage
from selfinstruct.generation import parsing, proposal_parsing
from selfinstruct.generation.frame import load_frame
from selfinstruct.generation.parsing import ambiguous
from selfinstruct.records import Style


def texts(answer: str, style: Style = "chat", *, truncated: bool = False, language: PromptLanguage = "en") -> list[str]:
    found = proposal_parsing.parse_proposal(
        answer, truncated=truncated, num_examples=8, num_new=8, style=style, frame=load_frame(language)
    )
    return [candidate.text for candidate in found]


def test_a_base_models_list() -> None:
    answer = " Find the odd word out.\nTask 10: Turn the sentence into a question.\nTask 11: Give three reasons"
    found = proposal_parsing.parse_proposal(answer, truncated=True, num_examples=8, num_new=8, style="completion")
    assert [(c.text, (c.fault is not None)) for c in found] == [
        ("Find the odd word out.", False),
        ("Turn the sentence into a question.", False),
        ("Give three reasons", True),
    ]


def test_the_last_item_is_whole_when_the_answer_ended_by_itself_or_a_remark_followed_it() -> None:
    parse = proposal_parsing.parse_proposal
    stopped = parse(" Name a river.", truncated=False, num_examples=8, num_new=8, style="completion")
    remark = parse("Task 9: Name a river.\n\nLet me kn", truncated=True, num_examples=8, num_new=8, style="chat")
    assert [(c.fault is not None) for c in stopped + remark] == [False, False]


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
    "({n}) {text}",
    "[{n}] {text}",
    "(Task {n}) {text}",
    "【{n}】{text}",
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


@pytest.mark.parametrize("remark", ["I hope these tasks help!", "Let me know if you need more ideas."])
def test_a_remark_right_after_a_list_is_no_part_of_its_last_item(remark: str) -> None:
    assert texts(f"9. Name a river.\n10. Name a lake.\n{remark}") == ["Name a river.", "Name a lake."]


def test_an_inner_list_in_brackets_stays_in_its_item() -> None:
    assert texts("Task 9: Order:\n(1) boil\n(2) pour\nTask 10: Name a lake.") == [
        "Order: (1) boil (2) pour",
        "Name a lake.",
    ]


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


@pytest.mark.parametrize(
    "form",
    [
        "Task {n}：{text}",
        "{n}、{text}",
        "任务{n}：{text}",
        "任务 {n}: {text}",
        "Aufgabe {n}: {text}",
        "Tâche {n} : {text}",
        "Tâche {n}\u00a0: {text}",
        "कार्य {n}: {text}",
        "المهمة {n}: {text}",
        "\u200fTask {n}: {text}",
        "\ufeff{n}. {text}",
    ],
)
def test_numbers_in_other_languages(form: str) -> None:
    listed = "\n".join(form.format(n=n, text=text) for n, text in enumerate(TASKS, 9))
    assert texts(listed) == TASKS


HAN = ["九", "十", "十一"]
CIRCLED = ["⑨", "⑩", "⑪"]
DIGITS = ["9", "10", "11"]


@pytest.mark.parametrize(
    ("language", "form", "numbers"),
    [
        ("zh", "任务{n}：{text}", HAN),
        ("zh", "**任务{n}：** {text}", HAN),
        ("zh", "题目{n}：{text}", HAN),
        ("zh", "第{n}题：{text}", HAN),
        ("zh", "第{n}题：{text}", DIGITS),
        ("zh", "第 {n} 个任务\n{text}", DIGITS),
        ("zh", "{n}、{text}", HAN),
        ("zh", "（{n}）{text}", HAN),
        ("ja", "タスク{n}：{text}", HAN),
        ("ja", "問題{n}：{text}", HAN),
        ("ja", "問題{n}：{text}", DIGITS),
        ("ja", "第{n}問：{text}", HAN),
        ("en", "{n} {text}", CIRCLED),
        ("en", "{n}、{text}", CIRCLED),
        ("en", "**{n}** {text}", CIRCLED),
        ("en", "{n} {text}", ["9\ufe0f\u20e3", "🔟", "11\ufe0f\u20e3"]),
    ],
)
def test_numbers_that_are_not_in_plain_digits(language: PromptLanguage, form: str, numbers: list[str]) -> None:
    written = ["写一首诗。", "3 + 4 是多少？", "翻译这句话"]
    listed = "\n".join(form.format(n=n, text=text) for n, text in zip(numbers, written, strict=True))
    assert texts(listed, language=language) == written


def test_a_base_models_list_goes_on_in_chinese_numbers() -> None:
    answer = " 写一首诗。\n任务十：翻译。\n第十一题：说说。\n⑫ 排序"
    assert texts(answer, "completion", language="zh") == ["写一首诗。", "翻译。", "说说。 ⑫ 排序"]


@pytest.mark.parametrize(
    "line",
    [
        "十、二十和三十的和",
        "一、二月的天气",
        "十分钟后再试：",
        "统一：各部分合为一体",
        "第九天：出发",
        "任务一词的意思：",
        "⑩ 说明",
    ],
)
def test_chinese_text_that_only_begins_like_a_number_opens_nothing(line: str) -> None:
    assert texts(f"任务9：概括下文：\n{line}\n任务10：翻译。", language="zh") == [f"概括下文： {line}", "翻译。"]


def test_signs_and_chinese_numbers_in_an_item_are_a_list_inside_it() -> None:
    assert texts("9. 排序：\n① 煮\n② 倒\n10. 翻译。", language="zh") == ["排序： ① 煮 ② 倒", "翻译。"]
    assert texts("1. 写诗。\n2. 排序：\n一、煮\n二、倒", language="zh") == ["写诗。", "排序： 一、煮 二、倒"]


def test_several_tasks_on_a_line_with_chinese_numbers() -> None:
    listed = "任务九：写一首诗。任务十：翻译。第十一题：说说。"
    assert texts(listed, language="zh") == ["写一首诗。", "翻译。", "说说。"]
    assert texts("⑨ 写一首诗。⑩ 翻译。") == ["写一首诗。", "翻译。"]


chinese = st.tuples(
    st.sampled_from("写诗任第示"), st.text("一九十百⑨⑩第题个任务问示例、：（） 写诗9", max_size=30)
).map(lambda parts: parsing.one_line("".join(parts)))


@given(st.lists(chinese, min_size=1, max_size=12))
def test_no_candidate_in_chinese_is_lost_or_altered(candidates: list[str]) -> None:
    listed = "\n".join(f"任务{n}：{text}" for n, text in enumerate(candidates, 9))
    assert texts(listed, language="zh") == candidates


def test_a_word_that_is_none_for_a_task_opens_only_the_item_that_is_due() -> None:
    assert texts("Step 1: Boil water.\nStep 2: Wait.") == []
    assert texts("Frage 9: Was ist das?\nSchritt 2: Warten.") == ["Was ist das? Schritt 2: Warten."]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Task 9: Name a river. Task 10: Name a lake.", ["Name a river.", "Name a lake."]),
        ("9. Name a river. 10. Name a lake.\n11. Name a sea.", ["Name a river.", "Name a lake.", "Name a sea."]),
        ("任务9：写一首诗。任务10：翻译。", ["写一首诗。", "翻译。"]),
        ("Task 9: Compare Task 10 and Task 11: which is it?", ["Compare Task 10 and Task 11: which is it?"]),
        ("Task 9: Name it.\nInstruction 10: Sort it.", ["Name it.", "Sort it."]),
    ],
)
def test_several_tasks_on_a_line(answer: str, expected: list[str]) -> None:
    assert texts(answer) == expected


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("Task 9:\nInstruction: Classify it.\nInput: <noinput>\nOutput: x", "Classify it."),
        ("Task 9: Sentiment\nInstruction: Classify it.\nInput: a\nOutput: x", "Classify it."),
        ("Task 9: Sentiment\n\n**Instruction:** Classify it.\n\n**Input:** a", "Classify it."),
        ("Task 9: Classify it.\nInput: a\nOutput: b", "Classify it."),
        ("Task 9: Classify it.\nExample:\nInput: a", "Classify it."),
        ("### Task 9: Feelings\n\nClassify it.\n\nEnjoy!", "Classify it."),
        ("**Task 9: Feelings**\n\nClassify it.", "Classify it."),
        ("**Task 9: Name a river.**\n\nThis asks for a fact.", "Name a river."),
    ],
)
def test_an_item_with_a_title_or_with_fields_gives_its_instruction(item: str, expected: str) -> None:
    assert texts(item) == [expected]
    assert texts(f"{item}\n{item.replace('9', '10')}") == [expected] * 2


def test_an_item_with_fields_but_no_instruction_is_ambiguous() -> None:
    (found,) = proposal_parsing.parse_proposal(
        "Task 9:\nInput: a\nOutput: b", truncated=False, num_examples=8, num_new=8, style="chat"
    )
    assert found.fault == ambiguous("fields without an instruction")


def test_items_in_a_fence_that_never_ends_are_ambiguous() -> None:
    answer = "Task 9: Fix it:\n```\nx\nTask 10: Name a lake."
    (found,) = proposal_parsing.parse_proposal(answer, truncated=False, num_examples=8, num_new=8, style="chat")
    assert found.fault is not None


@pytest.mark.parametrize("style", get_args(Style))
def test_thinking_tags_inside_a_task_are_its_text(style: Style) -> None:
    tasks = ["Answer with your thoughts in <think> tags and the result after them.", "Write about </think> here."]
    answer = f"Task 9: {tasks[0]}\nTask 10: {tasks[1]}"
    assert texts(answer if style == "chat" else answer.removeprefix("Task 9:"), style) == tasks


@pytest.mark.parametrize(
    "code", ["```python\ndef f():\n\n    return 1\n```", "def f(x):\n    return x", "```\nTask 10: x\n```"]
)
def test_code_in_a_task_keeps_its_lines(code: str) -> None:
    assert texts(f"Task 9: Explain:\n{code}\nTask 10: Name a lake.") == [f"Explain:\n{code}", "Name a lake."]


def test_lines_that_only_wrap_are_folded() -> None:
    assert texts("9. Name a river\n   in Asia\n   or Europe.") == ["Name a river in Asia or Europe."]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("9. Do these:\n1. add\n2. subtract\n10. Name a lake.", ["Do these: 1. add 2. subtract", "Name a lake."]),
        ("1. Do these:\n   1. add\n   2. cut\n2. Name a lake.", ["Do these: 1. add 2. cut", "Name a lake."]),
        ("Task 9: Plan:\nTask 1: Book.\nTask 2: Pack.\nTask 10: Sort.", ["Plan: Task 1: Book. Task 2: Pack.", "Sort."]),
        ("1. Name a river.\n1. Name a lake.", ["Name a river.", "Name a lake."]),
    ],
)
def test_inner_lists(answer: str, expected: list[str]) -> None:
    assert texts(answer) == expected


@given(st.lists(words.filter(lambda t: t[0].isalpha()), min_size=1, max_size=12), st.sampled_from(get_args(Style)))
def test_no_candidate_is_lost_or_altered(candidates: list[str], style: Style) -> None:
    listed = "\n".join(f"Task {n}: {text}" for n, text in enumerate(candidates, 9))
    assert texts(listed.removeprefix("Task 9:") if style == "completion" else listed, style) == candidates


@given(st.text(), st.booleans(), st.sampled_from(get_args(Style)))
def test_any_text_can_be_parsed_as_a_proposal(answer: str, truncated: bool, style: Style) -> None:
    found = proposal_parsing.parse_proposal(answer, truncated=truncated, num_examples=8, num_new=8, style=style)
    assert all(c.text and c.text == parsing.one_line(c.text) for c in found)
    assert not any((c.fault is not None) for c in found[:-1])
    if style == "completion" and answer.strip() and "\n" not in parsing.one_line(answer):
        assert truncated or not any((c.fault is not None) for c in found)
