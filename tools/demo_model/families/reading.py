"""Tasks that need a look at what a sentence says: extraction, questions, sentence forms, templates."""

from __future__ import annotations

import random
import re

from tools.demo_model import sentences
from tools.demo_model.families.base import Family
from tools.demo_model.lexicon import CITIES, COLOURS, NAMES, PLURALS, THINGS, VERBS
from tools.demo_model.wording import Choice, Params

TEXT = "[sentence|line|text]"
_TEXT_NOUNS = ("sentence", "line", "text", "short text")
_PARTS = {
    "city": "city",
    "place": "city",
    "town": "city",
    "colour": "colour",
    "number": "number",
    "amount": "number",
    "day": "day",
    "day of the week": "day",
    "person": "person",
    "name of the person": "person",
}
_PART = Choice(_PARTS)
_MENTIONED = Choice(
    {
        "a city": "city",
        "a place": "city",
        "a colour": "colour",
        "a number": "number",
        "a day of the week": "day",
        "a day": "day",
    }
)
_YES_NO = "[Answer|Reply|Answer with|Reply with] yes or no"
_BASE = {verb.third: verb.base for verb in VERBS}
_THIRD = {verb.base: verb.third for verb in VERBS}
_TENSE_OF = {verb.past: "past" for verb in VERBS} | {verb.third: "present" for verb in VERBS} | {"will": "future"}
_TENSE_LABELS = "[past, present or future|past, present, or future|present, past or future]"
_KIND_LABELS = "[statement or question|question or statement]"

_TEMPLATES: dict[str, tuple[str, ...]] = {
    # a template as instructions name it: its fields
    "NAME lives in CITY.": ("name", "city"),
    "NAME comes from CITY.": ("name", "city"),
    "Dear NAME, welcome to CITY!": ("name", "city"),
    "NAME has a COLOUR THING.": ("name", "colour", "thing"),
    "The COLOUR THING belongs to NAME.": ("name", "colour", "thing"),
    "NAME lost a THING in CITY.": ("name", "thing", "city"),
    "For sale: a COLOUR THING.": ("colour", "thing"),
    "NAME wants the COLOUR one.": ("name", "colour"),
    "Where is the THING, NAME?": ("name", "thing"),
}
_FIELD_WORDS = {"name": NAMES, "city": CITIES, "colour": [c for c in COLOURS if c != "orange"], "thing": THINGS}


def _draw_with_part(rng: random.Random, params: Params) -> str:
    part = params["part"]
    return sentences.make(rng, with_parts=[part] if part in sentences.PARTS else [])


def _draw_mention(rng: random.Random, params: Params) -> str:
    kind, wanted = params["mentioned"], rng.random() < 0.5
    while sentences.mentions(kind, text := sentences.make(rng, with_parts=[kind] if wanted else [])) != wanted:
        pass
    return text


def _draw_present(rng: random.Random, params: Params) -> str:
    return sentences.make(rng, tense="present")


def _to_question(params: Params, text: str) -> str | None:
    match = re.fullmatch(r"(\w+) (\w+) (.+)\.", text)
    if not match or match[2] not in _BASE:
        return None
    return f"Does {match[1]} {_BASE[match[2]]} {match[3]}?"


def _draw_question(rng: random.Random, params: Params) -> str:
    return _to_question({}, sentences.make(rng, tense="present")) or ""


def _to_statement(params: Params, text: str) -> str | None:
    match = re.fullmatch(r"Does (\w+) (\w+) (.+)\?", text)
    return f"{match[1]} {_THIRD[match[2]]} {match[3]}." if match and match[2] in _THIRD else None


def _negated(params: Params, text: str) -> str | None:
    match = re.fullmatch(r"(\w+) (\w+) (.+)\.", text)
    if not match or match[2] not in _BASE:
        return None
    return f"{match[1]} does not {_BASE[match[2]]} {match[3]}."


def _tense(params: Params, text: str) -> str | None:
    words = sentences.words(text)
    return _TENSE_OF.get(words[1]) if len(words) > 2 else None


def _draw_either(rng: random.Random, params: Params) -> str:
    return _draw_question(rng, params) if rng.random() < 0.5 else sentences.make(rng)


def _sentence_kind(params: Params, text: str) -> str | None:
    return {"?": "question", ".": "statement"}.get(text[-1:])


def _draw_fields(rng: random.Random, params: Params) -> str:
    return ", ".join(f"{field}: {rng.choice(_FIELD_WORDS[field])}" for field in _TEMPLATES[params["template"]])


def _fill(params: Params, text: str) -> str | None:
    filled = params["template"]
    for field in _TEMPLATES[filled]:
        match = re.search(rf"\b{field}: ([A-Za-z]+)", text)
        if not match:
            return None
        filled = filled.replace(field.upper(), match[1])
    return re.sub(r"\ba (?=[aeiou])", "an ", filled)


def _thing(params: Params, text: str) -> str | None:
    thing = sentences.find("thing", text)
    return {plural: one for one, plural in PLURALS.items()}.get(thing, thing) if thing else None


FAMILIES = (
    Family(
        "extraction",
        asks=(
            f"[find|write|give|name|copy] the {{part}} [in|from] the {TEXT}",
            f"what is the {{part}} in the {TEXT}?",
            "[which|what] {part} [does the text mention|is in the text]?",
            f"[take|pick|extract] the {{part}} [from|out of] the {TEXT}",
        ),
        reserved=(
            f"look for the {{part}} in the {TEXT} and write it",
            f"the {TEXT} mentions one {{part}}: which one is it?",
        ),
        input_names=_TEXT_NOUNS,
        slots={"part": _PART},
        draw=_draw_with_part,
        solve=lambda params, text: sentences.find(params["part"], text),
        short=True,
    ),
    Family(
        "things in a sentence",
        asks=(
            f"[find|write|name] the [thing|object] in the {TEXT}[, in the singular|]",
            f"what [thing|object] is the {TEXT} about?",
            f"[say|tell me] which [thing|object] the {TEXT} is about",
        ),
        reserved=(f"look for the [thing|object] in the {TEXT} and write its name",),
        input_names=_TEXT_NOUNS,
        draw=lambda rng, params: sentences.make(rng),
        solve=_thing,
        short=True,
    ),
    Family(
        "mentions",
        asks=(
            f"does the {TEXT} [mention|contain|name] {{mentioned}}? {_YES_NO}",
            f"[say|decide|tell me] whether the {TEXT} [mentions|contains|names] {{mentioned}}, yes or no",
            (
                f"[answer|write] yes if the {TEXT} [mentions|contains|names] {{mentioned}}, "
                "and no [otherwise|if it does not]"
            ),
        ),
        reserved=(f"answer yes or no: is there {{mentioned}} in the {TEXT}?",),
        input_names=_TEXT_NOUNS,
        slots={"mentioned": _MENTIONED},
        draw=_draw_mention,
        solve=lambda params, text: ("yes" if sentences.mentions(params["mentioned"], text) else "no") if text else None,
        is_classification=True,
    ),
    Family(
        "questions from statements",
        asks=(
            "[turn|change|make] the [sentence|statement] into a question",
            "[write|put|rewrite] the [sentence|statement] as a [yes-or-no |]question",
            "[ask|write] a question [about|from] the statement [that begins|beginning] with Does",
        ),
        reserved=("make a question [from|out of] the [sentence|statement]", "how do you ask this as a question?"),
        input_names=("sentence", "statement"),
        draw=_draw_present,
        solve=_to_question,
    ),
    Family(
        "statements from questions",
        asks=(
            "[turn|change|make] the question into a [statement|sentence]",
            "[write|put|rewrite] the question as a [statement|sentence]",
            "answer the question with yes by a [whole|full] sentence, without [the word yes|saying yes]",
        ),
        reserved=("make a statement [from|out of] the question",),
        input_names=("question", "short question"),
        draw=_draw_question,
        solve=_to_statement,
    ),
    Family(
        "negation",
        asks=(
            "[make|turn] the [sentence|statement] negative",
            "[write|rewrite|put] the [sentence|statement] [in the negative|with does not]",
            "[say|write] that the opposite of the [sentence|statement] is the case, with the word not",
        ),
        reserved=("use the word not to make the [sentence|statement] negative",),
        input_names=("sentence", "statement"),
        draw=_draw_present,
        solve=_negated,
    ),
    Family(
        "templates",
        asks=(
            "[fill|complete] the [template|form] '{template}' with the [given |]words",
            "[use|take] the [given |]words to [fill|complete] the [template|form] '{template}'",
            "[put|write] the [given |]words in the [right |]places of '{template}'",
        ),
        reserved=("replace the words in capitals in '{template}' by the given ones",),
        input_names=("set of words", "small form"),
        slots={"template": Choice.of(tuple(_TEMPLATES))},
        draw=_draw_fields,
        solve=_fill,
    ),
    Family(
        "tenses",
        asks=(
            f"is the {TEXT} in the {_TENSE_LABELS}?",
            f"[classify|label|mark] the tense of the {TEXT} as {_TENSE_LABELS}",
            f"[which|what] tense does the {TEXT} [use|have]: {_TENSE_LABELS}?",
            f"[say|decide|tell me] whether the {TEXT} is about the {_TENSE_LABELS}",
        ),
        reserved=(f"when does it happen: {_TENSE_LABELS}?", f"choose the tense of the {TEXT}: {_TENSE_LABELS}"),
        input_names=_TEXT_NOUNS,
        draw=lambda rng, params: sentences.make(rng),
        solve=_tense,
        is_classification=True,
    ),
    Family(
        "statement or question",
        asks=(
            f"is the {TEXT} a {_KIND_LABELS}?",
            f"[classify|label|mark] the {TEXT} as {_KIND_LABELS}",
            f"[say|decide|tell me] whether the {TEXT} is a {_KIND_LABELS}",
        ),
        reserved=(f"what kind of {TEXT} is it, {_KIND_LABELS}?",),
        input_names=("text", "line", "short text"),
        draw=_draw_either,
        solve=_sentence_kind,
        is_classification=True,
    ),
)
