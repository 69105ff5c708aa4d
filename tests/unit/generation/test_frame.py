"""The words of the prompts: the English ones are those that the demo model is trained on."""

import re
from pathlib import Path

import msgspec
import pytest

from selfinstruct.config.schema import Filters
from selfinstruct.generation import frame as frame_module
from selfinstruct.generation.filters import heuristics
from selfinstruct.generation.filters.script import script_of
from selfinstruct.generation.frame import Frame, load_frame

LANGUAGES = sorted(path.stem for path in (Path(frame_module.__file__).parent / "frames").glob("*.yaml"))
SENTENCES = [name for name in Frame.__struct_fields__ if name.endswith(("_ask", "_header"))]


def test_english_writes_the_lines_of_the_demo_model() -> None:
    frame = load_frame()
    assert frame.heading(frame.example, 1) == "Example 1"
    assert frame.line(frame.task, "Name a river.", 9) == "Task 9: Name a river."
    assert frame.opening(frame.output) == "Output:"
    assert frame.sentence(frame.classification_ask) == "Now answer for this one with Yes or No only."


def test_every_language_that_can_be_chosen_has_a_file() -> None:
    assert sorted(frame_module.LANGUAGES) == LANGUAGES


def test_chinese_writes_no_spaces_and_french_one_before_the_colon() -> None:
    chinese, french = load_frame("zh"), load_frame("fr")
    assert chinese.line(chinese.task, "写一首诗。", 9) == "任务9：写一首诗。"
    assert french.line(french.input, "Il pleut.") == "Entrée : Il pleut."


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_is_in_the_language_and_says_what_the_english_one_says(language: str) -> None:
    frame, english = load_frame(language), load_frame()
    for name in SENTENCES:
        slots = [sorted(re.findall(r"\{\w+\}", getattr(one, name))) for one in (frame, english)]
        assert slots[0] == slots[1], name
        sentence = frame.sentence(getattr(frame, name), num_new=8, first=9, last=16)
        assert {script_of(c) for c in sentence if c.isalpha()} == set(frame.scripts), name
        assert "\n" not in sentence
    for words in msgspec.structs.astuple(frame):
        if isinstance(words, tuple) and words and isinstance(words[0], str):
            assert len({word.casefold() for word in words}) == len(words)
    assert all(word == word.lower() for word in (*frame.no_input, *frame.no_output))


@pytest.mark.parametrize("language", [code for code in LANGUAGES if code != "en"])
def test_every_language_has_examples_of_both_kinds_that_the_filters_accept(language: str) -> None:
    frame = load_frame(language)
    kinds = [task.is_classification for task in frame.examples]
    assert kinds.count(True) >= 4
    assert kinds.count(False) >= 4
    accept = heuristics(Filters(), [task.instruction for task in frame.examples])
    assert [task.id for task in frame.examples if accept(task.instruction) is not None] == []


def test_a_marked_frame_opens_its_lines_as_no_line_of_the_texts_does() -> None:
    frame = load_frame()
    assert frame.marked(["Input: 1\nOutput: 2"]).line(frame.input, "x") == "### Input: x"
    assert frame.marked(["### Title\n  #### Part"]).heading(frame.example, 2) == "##### Example 2"
