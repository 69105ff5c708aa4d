"""Compose whole instructions from an opening, the request of a family and an ending; recognise them in a text.

    You are given a line from an old diary. Please write the third word of the line. Put your answer in brackets.
    ^ opening, says what is given           ^ request of the family "word position"  ^ ending, may change the form

The parts are independent of each other, and each has many forms. So there are far more possible instructions than any
training text holds, and a model that was trained on the parts composes new ones.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from selfinstruct.records import Instance
from tools.demo_model.families import FAMILIES, Family
from tools.demo_model.wording import Choice, Params, Slot, one_article, pattern, say

_TRIES = 200
_SOURCE_KIND = (
    "travel diary/school newspaper/shopping list/cook book/birthday card/family letter/song book/"
    "village newsletter/garden calendar/weather report/sports page/children's story/language course/"
    "spelling lesson/phone message/notebook/poster/train timetable/museum guide/library card/theatre programme/"
    "kitchen note/fairy tale/postcard/radio show/chat with a friend/quiz evening/word game/worksheet/"
    "classroom board/shop window/school exercise/job advertisement/hotel brochure/club magazine/town website"
).split("/")
_SOURCE_LOOK = "/short /old /new /small /long /funny /local /handwritten /simple /well-known ".split("/")
_PURPOSE = (
    "a quiz/a puzzle page/a spelling lesson/a birthday game/a school newsletter/a language course/"
    "a crossword/a small website/a children's book/a memory game/"
    "a vocabulary test/a family evening/a reading club/an exercise sheet/a wall calendar/a talk at work/a museum sign/"
    "my homework/a shop sign/a game night/a radio quiz/a pocket dictionary"
).split("/")
_SLOTS: dict[str, Slot] = {
    "source": Choice.of([f"a {look}{kind}" for look in _SOURCE_LOOK for kind in _SOURCE_KIND]),
    "purpose": Choice.of(_PURPOSE),
}
_OPENINGS = (
    "you [are given|get|will see|have] a GIVEN.",
    "you [are given|get|will see|have] a GIVEN from {source}.",
    "here is a GIVEN[ for you|].",
    "here is a GIVEN from {source}.",
    "[read|look at] the GIVEN [carefully|first|below].",
    "the input is a GIVEN from {source}.",
    "[someone|my teacher|a friend|my sister] [found|copied|wrote down] a GIVEN from {source}.",
    "I [found|saw|have] a GIVEN in {source}.",
    "this is [about|part of] {source}, and you get a GIVEN.",
)
_PURPOSES = (
    "[this is|it is|I need it|I need this] for {purpose}.",
    "I am [preparing|making] something for {purpose}.",
    "we are working on {purpose}.",
    "[help me|please help] with {purpose}.",
)
_LEADS = (
    "please",
    "your job is to",
    "I want you to",
    "I would like you to",
    "now",
    "for {purpose},",
    "as part of {purpose},",
    "given a GIVEN,",
    "given a GIVEN from {source},",
    "with the GIVEN from {source},",
    "try to",
    "in {source} you find a GIVEN:",
)
_PLAIN_ENDINGS = (
    "[write|give|return] [only the answer|nothing else|no explanation].",
    "[keep|make] [it|the answer] [short|simple|neat].",
    "[do not|never] [add|write] anything [else|more|around it].",
    "[one line|a single line] is enough.",
    "[check|read] your answer [once more|before you write it].",
    "[be|stay] [exact|careful|precise].",
    "an explanation is not [needed|necessary].",
    "the answer alone is [enough|fine|all I need].",
)


@dataclass(frozen=True, slots=True)
class Form:
    """An ending that prescribes how a short answer is written."""

    endings: tuple[str, ...]
    apply: Callable[[str], str]


FORMS: Mapping[str, Form] = {
    "quotes": Form(
        (
            "[put|write|set] [the|your] answer in [quotation marks|double quotes].",
            "use [quotation marks|double quotes] around the answer.",
        ),
        lambda answer: f'"{answer}"',
    ),
    "brackets": Form(
        (
            "[put|write|set] [the|your] answer in [brackets|round brackets].",
            "use [brackets|round brackets] around the answer.",
        ),
        lambda answer: f"({answer})",
    ),
    "capitals": Form(
        (
            "[write|give|type] [the|your] answer in [capitals|capital letters].",
            "[the|your] answer should be in [capitals|capital letters].",
        ),
        str.upper,
    ),
    "label": Form(
        ("[begin|start] [the|your] answer with 'Answer:'.", "write 'Answer:' [before|in front of] the answer."),
        lambda answer: f"Answer: {answer}",
    ),
    "stop": Form(
        (
            "[end|finish] [the|your] answer with an exclamation mark.",
            "[add|write|put] an exclamation mark after the answer.",
        ),
        lambda answer: f"{answer}!",
    ),
}
_FORM_PATTERNS = [(name, pattern(ending.rstrip("."), {})) for name, form in FORMS.items() for ending in form.endings]


@dataclass(frozen=True, slots=True)
class Request:
    """The request of an instruction: a family, its parameters, and perhaps a form of the answer."""

    family: Family
    params: Params
    form: str = ""

    def answer(self, rng: random.Random, text: str) -> str:
        """Return a right answer for an input."""
        plain = self.family.answer(rng, self.params, text)
        return FORMS[self.form].apply(plain) if self.form else plain

    def instance(self, rng: random.Random, *, reserved: bool = False) -> Instance | None:
        """Return an input with a right answer; None if no try gave one.

        Some parameters have no such instance.

        Args:
            rng: source of randomness.
            reserved: whether it is one of those kept out of the training text.
        """
        for _ in range(_TRIES):
            text = self.family.draw(rng, self.params)
            answer = self.answer(rng, text)
            if self.family.reserves(text, answer) == reserved:
                return Instance(text, answer)
        return None

    def is_right(self, text: str, answer: str) -> bool:
        """Return whether an answer is right for an input."""
        if not self.form:
            return self.family.is_right(self.params, text, answer)
        plain = self.family.solve(self.params, text) if self.family.solve else None
        return plain is not None and FORMS[self.form].apply(plain) == answer


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _write_out(wording: str, family: Family, rng: random.Random) -> str:
    input_name = rng.choice(family.input_names) if family.input_names else ""
    slots = {name: slot.pick(rng) for name, slot in _SLOTS.items() if f"{{{name}}}" in wording}
    return say(wording.replace("GIVEN", input_name), _SLOTS, slots, rng)


def _fitting(wordings: tuple[str, ...], family: Family) -> list[str]:
    """Return the openings; without those that mention the input if the family has none."""
    return [w for w in wordings if family.input_names or "GIVEN" not in w]


def compose(family: Family, rng: random.Random, *, reserved: bool = False) -> tuple[str, Request]:
    """Return an instruction of a family in random words, and its request.

    Args:
        family: of the request.
        rng: source of randomness.
        reserved: use a wording that is kept out of the training text.
    """
    ask, params = family.ask(rng, reserved=reserved)
    lead = ""
    if "?" not in ask and rng.random() < 0.4:
        lead = rng.choice(_fitting(_LEADS, family))
        ask = f"{_write_out(lead, family, rng)} {ask}"
    parts = [_sentence(ask) if ask.endswith("?") else f"{_sentence(ask)}."]
    if family.input_names and "GIVEN" not in lead and rng.random() < 0.5:
        parts.insert(0, _sentence(_write_out(rng.choice(_OPENINGS), family, rng)))
    elif rng.random() < 0.25:
        parts.insert(rng.randint(0, 1), _sentence(_write_out(rng.choice(_PURPOSES), family, rng)))
    form = rng.choice(list(FORMS)) if family.short and rng.random() < 0.25 else ""
    if form:
        parts.append(_sentence(_write_out(rng.choice(FORMS[form].endings), family, rng)))
    elif rng.random() < 0.3:
        parts.append(_sentence(_write_out(rng.choice(_PLAIN_ENDINGS), family, rng)))
    return one_article(" ".join(parts)), Request(family, params, form)


def recognise(text: str) -> Request | None:
    """Return the request of an instruction; None if it contains the wording of no family, or of several.

    >>> request = recognise("For a quiz, count the letters in the word. Use brackets around the answer.")
    >>> request.family.name, request.form, request.is_right("lamp", "(4)")
    ('counting letters', 'brackets', True)
    """
    form = ""
    for name, ending in _FORM_PATTERNS:
        if ending.search(text):
            form, text = name, ending.sub("", text)
    best: dict[str, tuple[int, Request]] = {}
    for family in FAMILIES:
        for wording in family.patterns:
            match = wording.search(text)
            if match and len(match[0]) > best.get(family.name, (0,))[0]:
                params = {slot: family.slots[slot].read(words) for slot, words in match.groupdict().items()}
                best[family.name] = len(match[0]), Request(family, params, form)
    longest = sorted(best.values(), key=lambda hit: hit[0], reverse=True)
    if not longest or (len(longest) > 1 and longest[0][0] == longest[1][0]):
        return None
    return longest[0][1]
