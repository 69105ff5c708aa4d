"""Answers that decline: "As an AI language model, I cannot ...".

A refusal is right for a task that is to be declined, and wrong for all others. The filter cannot tell these apart, so
it only warns by default.
"""

from __future__ import annotations

import re

from selfinstruct.generation.filters.row import Row
from selfinstruct.novelty import may_hold
from selfinstruct.records import Rejection

_BEGINNING = 240
_SELF = re.compile(
    r"\b(?:as|I am|I'm|being) (?:just |only |merely )?an? (?:[\w-]+ )?(?:AI|artificial intelligence|language model|"
    r"virtual assistant|chatbot)\b(?! (?:engineer|researcher|developer|expert|specialist))"
    r"|\bals (?:KI|künstliche Intelligenz|Sprachmodell)\b|\ben tant qu['’](?:IA|intelligence artificielle|assistant)"
    r"|\bcomo (?:una )?(?:IA|inteligencia artificial|modelo de lenguaje)\b|作为(?:一个|一名)?(?:人工智能|AI|语言模型)"
    r"|(?:AI|人工知能|言語モデル)として",
    re.I,
)
_DECLINES = re.compile(
    r"\W*(?:(?:I['’]m|I am) (?:really |very |so |truly |deeply )?sorry\b|sorry,|(?:I|we) apologi[sz]e\b|my apologies\b"
    r"|unfortunately,? (?:I|we)\b|(?:I|we) regret\b)?[^.!?\n]{0,60}?\b"
    r"I(?: cannot| can['’]?t| can not| (?:won['’]t|will not) (?:be able|help|assist|provide|write|do)"
    r"|(?: am|['’]m) (?:unable|not able) to| (?:do not|don['’]t) have (?:access|the ability)| must decline)\b"
    r"|\W*I['’]m (?:unable|not able) to\b|\W*(?:I['’]m|I am) (?:very |so |really )?sorry,? but\b"
    r"|\W*(?:es tut mir leid|tut mir leid|ich kann (?:das|dir|ihnen|diese[rs]?) .{0,40}nicht|je suis désolée?|lo siento"
    r"|抱歉|很抱歉|对不起|申し訳)",
    re.I,
)
_WORDS = frozenset("i as being als en como es tut ich je lo".split())
"""In ASCII both hold one of these."""


def refusal(row: Row) -> Rejection | None:
    """Object to an output that begins by declining, or in which the model speaks of itself as a model.

    The evidence is the words. Labels are not looked at, nor what the instruction or the input says itself.
    """
    if row.is_classification or not may_hold(row.output, _WORDS):
        return None
    beginning = row.output[:_BEGINNING]
    refused = _SELF.search(beginning) or _DECLINES.match(beginning)
    if refused is None or refused[0] in f"{row.instruction}\n{row.input}":
        return None
    return Rejection("refusal", {"words": refused[0].strip()})
