"""Open tasks: there are many right answers, so the checkers look at the form and at the words that must occur."""

from __future__ import annotations

import random
import re

from tools.demo_model.families.base import Family
from tools.demo_model.lexicon import CATEGORIES, DESCRIPTIONS, EVENTS, NAMES, OCCASIONS, PEOPLE, REASONS, THINGS
from tools.demo_model.wording import Choice, Params, one_article

_COUNTS = Choice({"two": 2, "three": 3, "four": 4, "five": 5})
_CATEGORY = Choice.of([name for name in CATEGORIES if name not in ("clothes", "furniture")])
_LAYOUT = Choice(
    {
        "with commas": ", ",
        "on one line": ", ",
        "one per line": "\n",
        "each on its own line": "\n",
        "joined by dashes": " - ",
    }
)
_THING = Choice.of(tuple(DESCRIPTIONS))
_NAME = Choice.of(NAMES)
_REASON = Choice.of(tuple(REASONS))
_PERSON = Choice.of(PEOPLE)
_EVENT = Choice.of(EVENTS)
_OCCASION = Choice.of(OCCASIONS)


def is_sentence(text: str, *needed: str) -> bool:
    """Return whether a text starts with a capital, ends as a sentence does, and holds the words needed."""
    return bool(re.fullmatch(r"[A-Z][^\n]*[.!?]", text)) and all(word.lower() in text.lower() for word in needed)


def _list(rng: random.Random, params: Params, text: str) -> str:
    return params.get("layout", ", ").join(rng.sample(CATEGORIES[params["category"]], params["count"]))


def _is_list(params: Params, text: str, answer: str) -> bool:
    members = answer.split(params.get("layout", ", "))
    return len(members) == len(set(members)) == params["count"] and set(members) <= set(CATEGORIES[params["category"]])


def _describe(rng: random.Random, params: Params, text: str) -> str:
    thing = params["thing"]
    what, does = DESCRIPTIONS[thing]
    return one_article(rng.choice((f"A {thing} is {what} that {does}.", f"A {thing} is {what}. It {does}.")))


def _thanks(rng: random.Random, params: Params, text: str) -> str:
    reason, name = REASONS[params["reason"]], params["name"]
    return rng.choice(
        (
            f"Dear {name}, thank you for {reason}!",
            f"Dear {name}, many thanks for {reason}. It made me happy.",
            f"Hello {name}, thank you so much for {reason}. You are very kind.",
        )
    )


def _greeting(rng: random.Random, params: Params, text: str) -> str:
    wish = {
        "the morning": "Good morning",
        "the evening": "Good evening",
        "a birthday": "Happy birthday",
        "the new year": "Happy new year",
        "a wedding": "Best wishes for your wedding",
        "a holiday": "Have a lovely holiday",
    }.get(params["occasion"], "Good luck on your first day")
    return rng.choice(
        (f"{wish}, {params['name']}!", f"{wish}, dear {params['name']}!", f"Hello {params['name']}! {wish}!")
    )


def _invitation(rng: random.Random, params: Params, text: str) -> str:
    event = params["event"]
    return rng.choice(
        (
            f"Hello! You are invited to {event}. Please come and bring a friend.",
            f"Would you like to come to {event}? We would love to see you there.",
            f"We are planning {event} and hope that you can come.",
        )
    )


def _advert(rng: random.Random, params: Params, text: str) -> str:
    thing = params["thing"]
    _, does = DESCRIPTIONS[thing]
    return rng.choice(
        (
            f"Come and see our {thing}: it {does}!",
            f"Our {thing} {does}, every day!",
            f"Every home needs a good {thing}!",
        )
    )


def _sentence_with(rng: random.Random, params: Params, text: str) -> str:
    return one_article(
        rng.choice(
            (
                f"{rng.choice(NAMES)} has a {text} at home.",
                f"There is a {text} on the table.",
                f"The {text} belongs to {rng.choice(NAMES)}.",
                f"I saw a {text} in the shop.",
            )
        )
    )


FAMILIES = (
    Family(
        "lists by category",
        asks=(
            "[name|list|write|give] {count} {category}[, |] {layout}",
            "[write|make|give] a list of {count} {category}",
            "[name|list|write down] {count} different {category}",
            "[can you think of|which are] {count} {category}?",
        ),
        reserved=("what are {count} {category} that you know?", "think of {count} {category} and write them {layout}"),
        slots={"count": _COUNTS, "category": _CATEGORY, "layout": _LAYOUT},
        write=_list,
        accept=_is_list,
    ),
    Family(
        "descriptions",
        asks=(
            "describe a {thing} in [one or two sentences|a few words|simple words]",
            "[explain|say|tell a child] what a {thing} is[ in simple words|]",
            "what is a {thing}[ for|]?",
            "[write|give] a [short |]description of a {thing}",
        ),
        reserved=("how would you describe a {thing} to someone?", "tell me in simple words what a {thing} is"),
        slots={"thing": _THING},
        write=_describe,
        accept=lambda params, text, answer: is_sentence(answer, params["thing"], DESCRIPTIONS[params["thing"]][1]),
    ),
    Family(
        "thank-you notes",
        asks=(
            "[write|send] a [short |]note [to thank|that thanks] {name} for {reason}",
            "thank {name} for {reason} in [one or two sentences|a short note|a friendly way]",
            "[write|make] a [short |]thank-you card for {name} about {reason}",
        ),
        reserved=("what could I write to {name} to say thanks for {reason}?",),
        slots={"name": _NAME, "reason": _REASON},
        write=_thanks,
        accept=lambda params, text, answer: is_sentence(answer, params["name"], "thank", REASONS[params["reason"]]),
    ),
    Family(
        "greetings",
        asks=(
            "[write|give|make] a [short |friendly |warm ]greeting [to|for] {name} for {occasion}",
            "[greet|write to] {name} for {occasion} in [one line|a few words|a friendly way]",
            "how [can|do] I greet {name} for {occasion}?",
        ),
        reserved=("what could I say to greet {name} for {occasion}?",),
        slots={"name": _NAME, "occasion": _OCCASION},
        write=_greeting,
        accept=lambda params, text, answer: is_sentence(answer, params["name"]),
    ),
    Family(
        "invitations",
        asks=(
            "[write|make] a [short |friendly ]invitation to {event} for {person}",
            "invite {person} to {event} in [one or two sentences|a short note|a friendly way]",
            "[write|send] a [short |]note to {person} about {event} and ask them to come",
        ),
        reserved=("how could I invite {person} to {event}?",),
        slots={"event": _EVENT, "person": _PERSON},
        write=_invitation,
        accept=lambda params, text, answer: is_sentence(answer, params["event"]),
    ),
    Family(
        "advertisements",
        asks=(
            "[write|make] [a short advertisement|a slogan|one line of advertising] for a {thing}",
            "[advertise|praise] a {thing} in [one line|one short sentence|a few words]",
        ),
        reserved=("how could a shop advertise a {thing}?",),
        slots={"thing": _THING},
        write=_advert,
        accept=lambda params, text, answer: is_sentence(answer, params["thing"]),
    ),
    Family(
        "sentences with a word",
        asks=(
            "[write|make|form] a [short |simple |]sentence with the [given |]word",
            "use the [given |]word in a [short |simple |]sentence",
            "[put|place] the [given |]word [in|into] a [short |simple |]sentence[ of your own|]",
        ),
        reserved=("think of a sentence that contains the given word",),
        input_names=("word", "noun", "single word"),
        draw=lambda rng, params: rng.choice(THINGS),
        write=_sentence_with,
        accept=lambda params, text, answer: bool(text) and is_sentence(answer, text),
    ),
)
