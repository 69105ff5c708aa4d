"""Classification of short messages: sentiment, topic, purpose."""

from __future__ import annotations

import random
import re

from tools.demo_model.families.base import Family
from tools.demo_model.lexicon import BAD, COLOURS, DAYS, GOOD, INTENT_PHRASES, PLURALS, REVIEWED, THINGS, TOPIC_WORDS
from tools.demo_model.sentences import words
from tools.demo_model.wording import Choice, Labels, Params, one_article

_TEXT = "[text|sentence|message|line]"
_REVIEW = "[review|comment|sentence|message]"
_MOODS = Choice(
    {
        f"{first} or {second}": labels
        for labels in (("positive", "negative"), ("good", "bad"), ("happy", "unhappy"), ("praise", "criticism"))
        for first, second in (labels, labels[::-1])
    }
)
_TOPICS = Labels(tuple(TOPIC_WORDS), 2, 4)
_PURPOSES = Labels(tuple(INTENT_PHRASES), 2, 4)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _draw_review(rng: random.Random, params: Params) -> str:
    good = rng.random() < 0.5
    one, two = rng.sample(GOOD if good else BAD, 2)
    first, second = rng.sample(REVIEWED, 2)
    forms = (
        f"The {first} was {one}.",
        f"The {first} was {one} and {two}.",
        f"The {first} was {one} and the {second} was {two}.",
        f"What a {one} {first}!",
        f"I think the {first} is {one}.",
        f"We had a {one} {first} and a {two} {second}.",
    )
    return one_article(rng.choice(forms))


def _mood(params: Params, text: str) -> str | None:
    present = words(text.lower())
    good, bad = (any(w in present for w in adjectives) for adjectives in (GOOD, BAD))
    return params["moods"][0 if good else 1] if good != bad else None


def _draw_topic(rng: random.Random, params: Params) -> str:
    subjects, predicates = TOPIC_WORDS[rng.choice(params["topics"])]
    return f"{_capital(rng.choice(subjects))} {rng.choice(predicates)}."


def _topic(params: Params, text: str) -> str | None:
    topics = {
        topic
        for topic, phrases in TOPIC_WORDS.items()
        if any(phrase in text.lower() for part in phrases for phrase in part)
    }
    return topics.pop() if len(topics) == 1 and topics <= set(params["topics"]) else None


def _draw_message(rng: random.Random, params: Params) -> str:
    thing = rng.choice(THINGS)
    phrase = rng.choice(INTENT_PHRASES[rng.choice(params["purposes"])])
    text = phrase.format(thing=thing, things=PLURALS[thing], colour=rng.choice(COLOURS), day=rng.choice(DAYS))
    text = _capital(one_article(text))
    return text if text.endswith("?") else f"{text}."


def _purpose(params: Params, text: str) -> str | None:
    for purpose in params["purposes"]:
        for phrase in INTENT_PHRASES[purpose]:
            stem = re.sub(r"\\\{\w+\\\}", r"\\w+", re.escape(phrase)).replace(r"a\ ", r"an?\ ")
            if re.search(stem, text, re.I):
                return purpose
    return None


FAMILIES = (
    Family(
        "sentiment",
        asks=(
            f"is the {_REVIEW} {{moods}}?",
            f"[classify|label|mark] the {_REVIEW} as {{moods}}",
            f"[say|decide|tell me|judge] whether the {_REVIEW} is {{moods}}",
            f"what is the [tone|mood|feeling] of the {_REVIEW}: {{moods}}?",
        ),
        reserved=(
            f"how does the writer of the {_REVIEW} feel: {{moods}}?",
            f"sort the {_REVIEW} into one of two groups: {{moods}}",
        ),
        input_names=("review", "comment", "short review", "message"),
        slots={"moods": _MOODS},
        draw=_draw_review,
        solve=_mood,
        is_classification=True,
    ),
    Family(
        "topic",
        asks=(
            f"is the {_TEXT} about {{topics}}?",
            f"what is the {_TEXT} about: {{topics}}?",
            f"[choose|pick|name|write] the [topic|subject] of the {_TEXT}: {{topics}}",
            f"[classify|label|sort] the {_TEXT} by [topic|subject] as {{topics}}",
        ),
        reserved=(
            f"[which|what] [topic|subject] fits the {_TEXT} best: {{topics}}?",
            f"put the {_TEXT} under one of these headings: {{topics}}",
        ),
        input_names=("sentence", "text", "headline", "message"),
        slots={"topics": _TOPICS},
        draw=_draw_topic,
        solve=_topic,
        is_classification=True,
    ),
    Family(
        "purpose of a message",
        asks=(
            "[say|decide|tell me] what the message is: {purposes}",
            "[classify|label|mark|sort] the message as {purposes}",
            "what [kind|type|sort] of message is it: {purposes}?",
            "[choose|pick|say|name] the purpose of the message: {purposes}",
        ),
        reserved=("why did the customer write: {purposes}?", "decide what the message is for: {purposes}"),
        input_names=("message", "note", "message from a customer"),
        slots={"purposes": _PURPOSES},
        draw=_draw_message,
        solve=_purpose,
        is_classification=True,
    ),
)
