"""Each filter at its boundaries, with its evidence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.config.schema import Filters
from selfinstruct.generation.filters import heuristics
from selfinstruct.generation.filters.characters import invalid_characters
from selfinstruct.generation.filters.instances import check_instances
from selfinstruct.generation.filters.keywords import any_of, keyword, opening
from selfinstruct.generation.filters.length import length
from selfinstruct.generation.filters.script import first_character, from_first_word, script_of, scripts_of
from selfinstruct.generation.instance_parsing import ParsedInstance
from selfinstruct.generation.parsing import TRUNCATED, ambiguous, fault_of
from selfinstruct.records import Rejection

ENGLISH = ["Name a river in Asia."]
check = heuristics(Filters(), ENGLISH)


def reason(rejection: Rejection | None) -> str | None:
    return rejection.reason if rejection else None


# -------------------------------------------------------------------------------------------------- length


@pytest.mark.parametrize(
    ("text", "words", "rejected"),
    [
        ("Name a river.", 3, "too_short"),
        ("Name a long river.", 4, None),
        ("Don't stop now.", 4, None),  # rouge_score's tokens: don, t, stop, now
        ("word " * 150, 150, None),
        ("word " * 151, 151, "too_long"),
        ("请写一首诗", 4, None),  # Each pair of characters: a word has about 1.6.
        ("写一首诗", 3, "too_short"),
        ("Напиши короткий рассказ", 3, "too_short"),
        ("Напиши короткий рассказ здесь", 4, None),
        ("Résume cet article déjà", 4, None),
        ("", 0, "too_short"),
        ("?!", 0, "too_short"),
    ],
)
def test_length_counts_words_of_any_script(text: str, words: int, rejected: str | None) -> None:
    found = length(text, min_words=4, max_words=150)
    assert reason(found) == rejected
    if found is not None:
        limit = {"too_short": {"min_words": 4}, "too_long": {"max_words": 150}}[found.reason]
        assert found.evidence == {"words": words, **limit}


# ------------------------------------------------------------------------------------------------ keywords


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Describe the image to a friend.", "image"),
        ("Describe the IMAGE to a friend.", "image"),
        ("List the files.", "files"),
        ("Draw it.", "draw"),
        ("Where to go  to\nlearn this?", "go  to\nlearn"[:6]),
        ("Tell (graphs) apart.", "graphs"),
        ("Explain a paragraph.", None),
        ("Write a profile of a filer.", None),
        ("Imagine a mapping from words.", None),
        ("Discuss drawbacks of the plotline.", None),
        ("He is going to go together.", None),
    ],
)
def test_keywords_are_whole_words_in_any_case(text: str, found: str | None) -> None:
    rejection = keyword(text, keywords=Filters().keywords)
    assert (rejection.evidence["keyword"] if rejection else None) == found
    assert reason(rejection) == ("keyword" if found else None)


@given(
    st.lists(st.sampled_from(["Go", "GO  to", "to", "maps", "map,", "\u212aind", "kind", "c++", ".", "é"])).map(
        " ".join
    )
)
def test_the_quick_look_for_keywords_misses_none(text: str) -> None:
    keywords = ("go to", "map", "kind", "\u212a", "C++", " ")
    found = any_of(keywords).search(text)
    assert (keyword(text, keywords=keywords) is None) == (found is None)


def test_keywords_of_other_scripts_and_with_punctuation() -> None:
    assert reason(keyword("Explain C++ to me.", keywords=["C++"])) == "keyword"
    assert keyword("Explain C+ to me.", keywords=["C++"]) is None
    assert reason(keyword("Нарисуй картинку дома", keywords=["картинку"])) == "keyword"
    assert reason(keyword("描述 图片 里的人", keywords=["图片"])) == "keyword"
    assert reason(keyword("描述图片里的人", keywords=["图片"])) == "keyword"
    assert reason(keyword("อธิบายรูปภาพนี้", keywords=["รูปภาพ"])) == "keyword"
    assert reason(keyword("De\u0301cris l'ide\u0301e", keywords=["idée"])) == "keyword"
    assert keyword("Décris les idéees", keywords=["idée"]) is None
    assert keyword("Anything with an image", keywords=[]) is None


@pytest.mark.parametrize(
    ("text", "word", "found"),
    [
        ("एक चित्र बनाओ", "चित्र", True),
        ("चित्र।", "चित्र", True),
        ("इन चित्रों को देखो", "चित्र", False),  # The plural: a vowel sign follows.
        ("फ़ाइलें खोलो", "फ़ाइल", False),
        ("फ़ाइल खोलो", "फ़ाइल", True),
        ("किताब", "त", False),  # A vowel sign comes before it and another one behind it.
        ("ছবিটা আঁকো", "ছবি", False),
        ("ছবি আঁকো", "ছবি", True),
        ("the x\u0302 image", "image", True),
    ],
)
def test_a_keyword_ends_where_no_vowel_sign_follows(text: str, word: str, found: bool) -> None:
    assert (keyword(text, keywords=[word]) is not None) == found


@pytest.mark.parametrize(
    ("text", "rejected"),
    [
        ("Write a program that sorts.", True),
        ("write a  PROGRAM that sorts.", True),
        ("Write a programme for the evening.", False),
        ("Please write a program that sorts.", False),
        ("Write a poem.", False),
    ],
)
def test_openings(text: str, rejected: bool) -> None:
    found = opening(text, openings=["Write a program"])
    assert (found is not None) == rejected
    if found is not None:
        assert found == Rejection("opening", {"opening": text[: text.lower().index("program") + len("program")]})
    assert opening(text, openings=[]) is None


def test_opening_punctuation_is_an_option() -> None:
    strict = heuristics(Filters(opening_punctuation=False), ENGLISH)
    for text, rejected in (("“Name” it in a long poem.", None), ("“Write a program” in a few words.", "opening")):
        assert reason(check(text)) == rejected
        assert reason(strict(text)) == "leading_punctuation"


# -------------------------------------------------------------------------------------------------- script


@pytest.mark.parametrize(
    ("text", "seeds", "rejected"),
    [
        ("Name a river.", ENGLISH, None),
        ("École ou collège ?", ENGLISH, None),
        ("9 lives: explain.", ENGLISH, None),
        ("\u212a is for kelvin.", ENGLISH, None),  # KELVIN SIGN, a compatibility form of K
        ("\uff21 full-width letter.", ENGLISH, None),
        ("写一首关于春天的诗", ENGLISH, "foreign_script"),
        ("写一首关于春天的诗", ["翻译这句话"], None),
        ("ひらがなで書いて", ["翻訳して"], None),
        ("〇から九まで数えて", ["翻訳して"], None),
        ("Напиши рассказ", ENGLISH, "foreign_script"),
        ("Напиши рассказ", ["Переведи текст"], None),
        ("Name a river.", ["Переведи текст"], "foreign_script"),
        ("12 предложений", ["Переведи текст"], None),
        ("اكتب قصة", ENGLISH, "foreign_script"),
        ("- Name a river.", ENGLISH, "leading_punctuation"),
        ("«Nommez» un fleuve", ENGLISH, None),
        ("« Nommez » un fleuve", ENGLISH, None),
        ("¿Cuál es la capital?", ENGLISH, None),
        ("¡Escribe un poema!", ENGLISH, None),
        ("“Hello”: translate it.", ENGLISH, None),
        ("»Haus« ins Englische", ENGLISH, None),
        ("„Haus“ ins Englische", ENGLISH, None),
        ("'Home' in French", ENGLISH, None),
        ("「海」について書いて", ["翻訳して"], None),
        ("\u200f\u200bName a river.", ENGLISH, None),
        ("\u2067اكتب قصة", ["اكتب"], None),
        ("“写一首诗”", ENGLISH, "foreign_script"),
        ("“- Name a river.”", ENGLISH, "leading_punctuation"),
        ("“”", ENGLISH, "leading_punctuation"),
        ("_name_ a river", ENGLISH, "leading_punctuation"),
        ("\u0301a combining accent", ENGLISH, "leading_punctuation"),
        ("😀 smile at them", ENGLISH, "leading_punctuation"),
        (" Name a river.", ENGLISH, "leading_punctuation"),
        ("", ENGLISH, "leading_punctuation"),
    ],
)
def test_an_instruction_begins_in_the_script_of_the_seeds(text: str, seeds: list[str], rejected: str | None) -> None:
    found = first_character(from_first_word(text), scripts=scripts_of(map(from_first_word, seeds)))
    assert reason(found) == rejected
    if found is not None:
        assert found.evidence["character"] == from_first_word(text)[:1]
    if rejected == "foreign_script":
        assert found is not None
        assert found.evidence["script"] == script_of(found.evidence["character"])


def test_the_seeds_scripts_are_those_of_their_first_letters() -> None:
    assert scripts_of(["Name", "翻译", "(odd)", ""]) == {"LATIN", "CJK", "DIGIT"}


# ---------------------------------------------------------------------------------------------- characters


@pytest.mark.parametrize(
    "character", ["\0", "\x07", "\x0b", "\x1b", "\x7f", "\x80", "\x9f", "\u202e", "\ud800", "\udfff", "\ufffd"]
)
def test_invalid_characters(character: str) -> None:
    expected = Rejection("invalid_characters", {"character": f"U+{ord(character):04X}", "position": 3})
    assert invalid_characters(f"abc{character}d{character}") == expected


@pytest.mark.parametrize(
    "text",
    [
        "tab\tand\nlines\r\n",
        "\xa0\xe4",
        "写诗",
        "K",
        "👩‍🚀",
        "\u2028",
        "می\u200cروم",  # Persian: the parts of one word do not join
        "क्\u200dष",
        "The word \u2067שלום\u2069 means peace.",
        "\u202bاكتب\u202c",
        "Right: \u200f and left: \u200e",
        "ภาษา\u200bไทย",  # Thai: where a word ends
        "\ufeffName it",
        "one\u200b two",
        "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",  # the flag of Scotland
    ],
)
def test_valid_characters(text: str) -> None:
    assert invalid_characters(text) is None


@pytest.mark.parametrize(
    ("text", "character", "position"),
    [
        ("if admin\u2066: pay\u2069", "U+2066", 8),
        ("a \u202bb\u202c", "U+202B", 2),
        ("pass\u200bword", "U+200B", 4),
        ("pass\ufeffword", "U+FEFF", 4),
        ("stra\u2060ße", "U+2060", 4),
        ("сло\u200bво", "U+200B", 3),
        ("שלום \u202e abc", "U+202E", 5),
        ("pass\u200bword \0", "U+200B", 4),
        ("pass\u00adword", "U+00AD", 4),
        ("pass\u200dword", "U+200D", 4),
        ("pass\u200eword", "U+200E", 4),
        ("\u200fif admin\u2066: pay\u2069", "U+2066", 9),
        ("Name it.\U000e0041\U000e0042", "U+E0041", 8),
    ],
)
def test_characters_that_hide_in_a_text(text: str, character: str, position: int) -> None:
    assert invalid_characters(text) == Rejection("invalid_characters", {"character": character, "position": position})


# --------------------------------------------------------------------------------------------------- chain


@pytest.mark.parametrize(
    ("text", "rejected"),
    [
        ("Name a long river in Asia.", None),
        ("Draw\0", "invalid_characters"),
        ("Draw it", "too_short"),
        ("Write a program that draws an image of it.", "keyword"),
        ("Write a program that sorts numbers.", "opening"),
        ("- Name a long river in Asia.", "leading_punctuation"),
    ],
)
def test_the_first_objection_in_order_is_the_reason(text: str, rejected: str | None) -> None:
    assert reason(check(text)) == rejected


@given(st.text(st.characters()))
def test_any_text_gets_a_decision(text: str) -> None:
    found = check(text)
    assert found is None or found.reason


# ----------------------------------------------------------------------------------------------- instances


def decide(*instances: tuple[str, str], max_instances: int = 5) -> list[str | None]:
    parsed = [ParsedInstance(*instance) for instance in instances]
    return [reason(found) for found in check_instances(parsed, max_instances=max_instances)]


@pytest.mark.parametrize(
    ("instance", "rejected"),
    [
        (("a", "b"), None),
        (("", "b"), None),
        (("a", ""), "empty_output"),
        (("", ""), "empty_output"),
        (("a", "a"), "output_equals_input"),
        (("a", "The steps are:"), "ends_in_colon"),
        (("Is it:", "b"), None),
        (("a", "nul \0"), "invalid_characters"),
        (("surrogate \ud83d", "b"), "invalid_characters"),
        (("a", "<nooutput>"), "placeholder"),
        (("a", "<noinput>"), "placeholder"),
        (("a", "(no output)"), "placeholder"),
        (("a", "[Your answer here]"), "placeholder"),
        (("[Insert text here]", "b"), "placeholder"),
        (("a", "[Deine Antwort]"), "placeholder"),
        (("a", "[Tu respuesta aquí]"), "placeholder"),
        (("a", "[Insérez votre texte ici]"), "placeholder"),
        (("a", "【请输入答案】"), "placeholder"),
        (("a", "（ここに回答を入力）"), "placeholder"),
        (("a", "[إجابتك هنا]"), "placeholder"),
        (("a", "<कोई आउटपुट नहीं>"), "placeholder"),
        (("a", "(keine Ausgabe)"), "placeholder"),
        (("a", "[None]"), None),
        (("a", "(vide)"), None),
        (("a", "[das Antwortschreiben]"), None),
        (("a", "[1, 2]"), None),
        (("a", "<b>"), None),
        (("a", "(Your move.) Knight to f3"), None),
    ],
)
def test_instances_by_themselves(instance: tuple[str, str], rejected: str | None) -> None:
    assert decide(instance) == [rejected]


def test_a_cut_instance_is_dropped() -> None:
    (found,) = check_instances([ParsedInstance("a", "b", TRUNCATED)], max_instances=5)
    assert reason(found) == "truncated"


def test_a_fault_of_the_parser_is_the_reason_and_is_known_again_by_it() -> None:
    fault = ambiguous("text before its output")
    (found,) = check_instances([ParsedInstance("a", "b", fault)], max_instances=5)
    assert found == fault == fault_of(fault.reason, fault.evidence)
    assert fault_of("empty_output", {}) is None


def test_conflicting_outputs_go_both_and_say_how_many() -> None:
    parsed = [ParsedInstance("a", "yes"), ParsedInstance("b", "yes"), ParsedInstance("a", "no")]
    conflict = Rejection("conflicting_outputs", {"outputs": 2})
    assert check_instances(parsed, max_instances=5) == [conflict, None, conflict]


def test_an_output_that_is_dropped_anyway_conflicts_with_nothing() -> None:
    parsed = [ParsedInstance("a", "yes"), ParsedInstance("a", "ye", TRUNCATED)]
    assert [reason(f) for f in check_instances(parsed, max_instances=5)] == [None, "truncated"]
    assert decide(("a", "yes"), ("a", ""), ("a", "That is:"), ("a", "a")) == [
        None,
        "empty_output",
        "ends_in_colon",
        "output_equals_input",
    ]


def test_of_outputs_without_input_the_first_stays() -> None:
    assert decide(("", "one"), ("", "two"), ("", "one")) == [None, "second_without_input", "second_without_input"]


def test_duplicates_name_the_first() -> None:
    parsed = [ParsedInstance("a", "b"), ParsedInstance("c", "d"), ParsedInstance("c", "d")]
    assert check_instances(parsed, max_instances=5)[2] == Rejection("duplicate_instance", {"first": 1})


def test_at_most_max_instances_are_kept() -> None:
    many = [(str(k), "b") for k in range(7)]
    assert decide(*many) == [None] * 5 + ["over_max_instances"] * 2
    assert decide(("x", ""), *many[:2], max_instances=1) == ["empty_output", None, "over_max_instances"]


@given(st.lists(st.tuples(st.sampled_from(["", "a", "b"]), st.sampled_from(["", "x", "y", "a", "z:"])), max_size=9))
def test_what_is_kept_has_one_output_per_input(instances: list[tuple[str, str]]) -> None:
    decisions = decide(*instances, max_instances=3)
    kept = [instance for instance, rejected in zip(instances, decisions, strict=True) if rejected is None]
    assert len(kept) <= 3
    assert len({given for given, _ in kept}) == len(kept)
    assert all(output and output != given and not output.endswith(":") for given, output in kept)
