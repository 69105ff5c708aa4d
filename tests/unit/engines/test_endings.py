"""Where an answer ends does not depend on the parts that it comes in."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.config.section import Sampling
from selfinstruct.engines.base import Request
from selfinstruct.engines.endings import Watched

LINES = st.lists(st.sampled_from(["The same line again.\n", "A river.\n", "\n\nTask: Name it.\n", "x" * 90, "END"]))


def watched(text: str, sizes: list[int]) -> tuple[str, str | None, int]:
    request = Request("k", "?", Sampling(), ("END",), stop_loops=True, ends_before=re.compile("\n\nTask:[^\n]*\n"))
    answer, position = Watched(request), 0
    for size in [*sizes, len(text)]:
        if answer.ended is not None:
            break
        answer.add(text[position : position + size])
        position += size
    answer.finish("stop")
    return answer.text, answer.ended, len(answer.written)


@given(LINES.map(lambda lines: "".join(lines * 4)), st.lists(st.integers(1, 300)))
def test_an_answer_ends_where_it_ends_as_a_whole(text: str, sizes: list[int]) -> None:
    whole, ended, _ = watched(text, [])
    assert watched(text, sizes)[:2] == (whole, ended)
    assert text.startswith(whole) and "END" not in whole and "\n\nTask: Name it.\n" not in whole


def test_it_ends_at_the_first_look_that_finds_a_repetition() -> None:
    text = "The same line again.\n" * 100
    assert watched(text, [7] * 300) == (text[:512], "repetition", 518)
    assert watched("x" * 300 + "EN" + "D" + text, [])[:2] == ("x" * 300, "stop")
