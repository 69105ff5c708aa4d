"""The words of the prompts: the English ones are those that the demo model is trained on."""

from selfinstruct.generation.frame import load_frame


def test_english_writes_the_lines_of_the_demo_model() -> None:
    frame = load_frame()
    assert frame.line(frame.numbered(frame.task, 9), "Name a river.") == "Task 9: Name a river."
    assert frame.line(frame.input[0], "a") == "Input: a"
    assert frame.yes[0] == "Yes"
