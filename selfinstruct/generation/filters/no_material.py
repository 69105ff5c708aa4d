"""Instructions that speak of a text which is not there.

A row that a small model wrote, without an input:

    instruction  Summarize the article below in one sentence.
"""

from __future__ import annotations

import re

from selfinstruct.generation.filters.row import Row
from selfinstruct.records import Rejection

_MATERIAL = (
    r"(?:text|sentence|paragraph|passage|article|essay|story|poem|letter|e-?mail|message|conversation|dialogue|dialog|"
    r"transcript|review|comment|tweet|post|quote|statement|question|excerpt|abstract|document|report|recipe|list|table|"
    r"data(?:set| set)?|code|function|snippet|script|program|query|numbers?|words?|phrases?|equation|expression|lines?|"
    r"notes?|paragraphs|sentences|items|titles?|headlines?|input|information|details|example|scenario|situation|log|"
    r"lyrics|song|speech|description|problem|dates?|names?|options|recordings?|audio|video|clip|photo(?:graph)?s?|"
    r"pictures?|images?|screenshots?|chart|graph|diagram)"
)
_SPEAKS_OF_IT = re.compile(
    rf"\bthe (?:(?:following|given|provided|attached|supplied|enclosed) (?:[\w'-]+ ){{0,3}}?{_MATERIAL}\b"
    rf"|(?:[\w'-]+ )?{_MATERIAL} (?:\w+ )?(?:below|above|provided|given here|that follows|attached)\b)"
    rf"|\b(?:this|these|following) (?:[\w'-]+ ){{0,2}}?{_MATERIAL}\b|\b(?:is|are) (?:given|shown|listed) below\b",
    re.I,
)
# Material in the instruction itself: after a colon or a line's end, in quotation marks, brackets or code.
_HOLDS_IT = re.compile(r"[:：]\s*\S+\s*\S|\n\s*\S|[\"“”«»「『`]|(?<!\w)['‘][^'’]+['’](?!\w)|[\[{|=<]|\d+\s*,\s*\d+")
# "Can you shorten the given text?" asks for something; its mark is no question that the instruction holds.
_POLITE = re.compile(r"(?:can|could|would|will) (?:you|someone|anyone)\b[^?]*\?\s*$", re.I)


def no_material(row: Row) -> Rejection | None:
    """Reject a row whose instruction speaks of given material, while neither it nor the input holds any.

    "Write a function that sorts a given list" speaks of none. Only English instructions are understood. The evidence is
    the words.
    """
    if row.input.strip():
        return None
    mention = _SPEAKS_OF_IT.search(row.instruction)
    if mention is None or _HOLDS_IT.search(row.instruction):
        return None
    if "?" in row.instruction[mention.end() :] and not _POLITE.match(row.instruction):
        return None
    return Rejection("no_material", {"words": mention[0]})
