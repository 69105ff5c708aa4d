"""What a filter looks up among the words of a text, before it searches with a pattern, hides no match from it."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from selfinstruct.generation.filters import identity, keywords, loop, refusal, url
from selfinstruct.novelty import may_hold

_WORD = st.sampled_from(["Name", "a", "river", "lake", "in", "Asia", "7"])


@pytest.mark.parametrize(
    ("pattern", "looks", "words"),
    [
        (identity._SELF, "search", identity._WORDS_OF_SELF),
        (refusal._SELF, "search", refusal._WORDS),
        (refusal._DECLINES, "match", refusal._WORDS),
        (url._URL, "search", url._WORDS),
    ],
)
@given(data=st.data())
def test_what_a_pattern_finds_holds_one_of_its_words(
    pattern: re.Pattern[str], looks: str, words: frozenset[str], data: st.DataObject
) -> None:
    text = data.draw(st.text(string.printable, max_size=3)) + data.draw(st.from_regex(pattern))
    assume(getattr(pattern, looks)(text))
    assert may_hold(text, words)


@pytest.mark.parametrize("keyword", ["go to", "C++", "draw", "Bild", "e-mail", "R&D"])
@given(before=st.text(string.printable, max_size=3), after=st.text(string.printable, max_size=3))
def test_a_keyword_is_found_behind_and_before_whatever_its_pattern_allows(
    keyword: str, before: str, after: str
) -> None:
    text = f"{before}{keyword.upper()}{after}"
    found = keywords.any_of((keyword,)).search(text)
    assert (keywords.keyword(text, keywords=[keyword]) is None) == (found is None)


def test_a_text_beyond_ascii_may_hold_any_word() -> None:
    assert may_hold("aſ a river", frozenset({"as"})) and may_hold("川", frozenset({"as"}))
    assert may_hold("As_ it", frozenset({"as"})) and not may_hold("Asia", frozenset({"as"}))


@given(st.lists(st.tuples(st.lists(_WORD, max_size=7), st.sampled_from([". ", ".\n", " ", "! "])), max_size=9))
def test_a_sentence_comes_again_only_where_three_words_do(sentences: list[tuple[list[str], str]]) -> None:
    text = "".join(f"{' '.join(words)}{end}" for words, end in sentences)
    with pytest.MonkeyPatch.context() as patch:
        found = loop.repeated_sentences(text)
        patch.setattr(loop, "_comes_again", lambda words: True)
        assert loop.repeated_sentences(text) == found
