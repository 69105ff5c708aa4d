"""Answers that only say the instruction, the input or a constraint again.

A row that a small model wrote:

    instruction  I am not going to do that. I will not do that.
    output       I am not going to do that.

And one that keeps its constraint, and says nothing else:

    instruction  Why is the sea salty? The last words must be "That is all." and nothing may follow them.
    output       That is all.
"""

from __future__ import annotations

import re

from rapidfuzz.distance import LCSseq

from selfinstruct.constraints import TYPES, keeps
from selfinstruct.generation.filters.row import Row
from selfinstruct.novelty import rouge_l, tokenize
from selfinstruct.records import Constraint, Rejection

_LEAST_WORDS = 4
_FROM_INSTRUCTION = 0.95
"""Least share of the output's words that are in the instruction in the same order; an answer brings new ones."""
_OF_INSTRUCTION = 0.4
"""Least share of the instruction's words that the output says again."""
_FROM_CONSTRAINT = 0.75
"""Least share of the words beside those that keep a constraint that stand in the same order in its sentence: "the last
word must be ..." keeps it."""
_COURTESIES = re.compile(
    r"\b(?:sure|certainly|of course|absolutely|(?:great|good|awesome|excellent) question)\b"
    r"|\bI(?: would|['’]d| am|['’]m| can|['’]ll| will)[^.!?\n]{0,20}? (?:help|assist)\b[^.!?\n]*"
    r"|\b(?:the|my|your) (?:answer|response)(?: to [^.!?:\n]{1,40})? (?:is|would be)\b"
    r"|\bhere(?: is|['’]s)[^.!?\n]{0,30}:",
    re.I,
)
"""What can come before any answer."""
_FUNCTION_WORDS = frozenset("a an the is are be of to in and".split())
_ANSWERS_OF_ONE_WORD = ("keywords/digits", "keywords/long_word")
"""Types that many a word or number keeps that answers a question."""
_ASKS_FOR_SENTENCES = re.compile(
    r"\bhow (?!many|much|old|long|far|high|tall|big|large|often|heavy|fast|deep|wide)|\b(?:why|explain|describe|"
    r"tell me|discuss|help|assist|advi[cs]e|tips?|ideas?|steps?|ways?|guide|suggest\w*|recommend\w*)\b",
    re.I,
)
"""What a word or a number alone hardly answers."""
_OF_INPUT = 0.9
"""Least share of the input's words that the output says again, to the letter and nothing else."""
_HOLDS_A_TEXT = re.compile(r"[:：\n\"“„«「]")
# What leaves most of a text as it is: correct, translate, sort, punctuate ... By the beginnings of words.
_KEEPS_THE_TEXT = re.compile(
    r"\b(?:add|adjust|alphabet|arrange|break|capital|chang|check|choose|clean|combin|complet|connect|conver|copy|copie|"
    r"correct|cut|decid|delet|divid|edit|enhanc|error|expand|extract|fill|find|fix|format|formal|grammar|identif|improv|"
    r"insert|join|link|lower|mask|merg|mistake|modif|order|organi[sz]|paraphras|pars|pick|polish|print|pronoun|proofread|"
    r"punctuat|put|quot|rank|re-?arrang|redact|remov|reorder|repeat|rephras|replac|reproduc|return|revers|revis|rewrit|"
    r"rewrote|re-?word|say|select|separat|shorten|simplif|sort|spell|split|substitut|suggest|swap|tense|transcrib|transform|"
    r"translat|turn|unscrambl|upper|verbatim|voice|which|write out)",
    re.I,
)


def echo(row: Row) -> Rejection | None:
    """Reject an output that is the instruction, the input or a constraint again.

    An answer may restate the question if it says something new. Part of the instruction may come back where it holds a
    text, or where it is asked to correct, to choose or to copy; in the latter case the input, too. Labels are not
    looked at. The evidence is what comes back, and the ROUGE-L F with it; of an answer that only keeps a constraint,
    the constraint.
    """
    output = tokenize(row.output)
    if row.is_classification:
        return None
    for constraint in row.constraints:
        if _only_keeps(row, constraint):
            return Rejection("echo", {"of": "constraint", "keeps": constraint.text})
        demanded, beside = tokenize(constraint.text), tokenize(_beside(row.output, constraint))
        common = LCSseq.similarity(demanded, beside)
        if common >= _FROM_CONSTRAINT * max(len(beside), _LEAST_WORDS):
            return _rejection("constraint", common, demanded, beside)
    if len(output) < _LEAST_WORDS:
        return None
    instruction = tokenize(row.instruction)
    least = max(_FROM_INSTRUCTION * len(output), _OF_INSTRUCTION * len(instruction))
    may_be = min(len(instruction), len(output)) >= least
    again = may_be and (common := LCSseq.similarity(instruction, output)) >= least
    excused = again and (_works_on_text(row) or _HOLDS_A_TEXT.search(row.instruction) is not None)
    if again and (output[:2] == instruction[:2] or not excused):
        return _rejection("instruction", common, instruction, output)
    begins = len(instruction) >= _LEAST_WORDS + 2 and output[: len(instruction)] == instruction
    if begins and row.instruction.rstrip().endswith((".", "?", "!")):  # An open sentence may be completed.
        return _rejection("instruction", len(instruction), instruction, output)
    question = tokenize(row.input)
    if not len(output) >= _OF_INPUT * len(question) > 0:
        return None
    # To the letter: one word or mark more makes a question of a statement, and the verbs are known in English only.
    if " ".join(row.output.split()) not in " ".join(row.input.split()) or _works_on_text(row):
        return None
    return _rejection("input", len(output), question, output)


def _only_keeps(row: Row, constraint: Constraint) -> bool:
    """Return whether an output keeps its constraint and says nothing else, except what can come before any answer.

    Words of the instruction or the input are an answer of their own, and so is a number or a long word where nothing
    longer is asked for.
    """
    said = _COURTESIES.sub("", row.output)
    rest = _beside(said, constraint)
    demanded = set(tokenize(said)) - set(tokenize(rest))
    if rest == said or not set(tokenize(rest)) <= _FUNCTION_WORDS.union(tokenize(constraint.text)):
        return False
    if constraint.type in _ANSWERS_OF_ONE_WORD and not _ASKS_FOR_SENTENCES.search(row.instruction):
        return False
    if not keeps(row.output, constraint):
        return False
    return not demanded or not demanded <= set(tokenize(f"{row.instruction}\n{row.input}"))


def _beside(text: str, constraint: Constraint) -> str:
    kind = TYPES.get(constraint.type)
    return text if kind is None else kind.beside(text, constraint.parameters)


def _works_on_text(row: Row) -> bool:
    """Return whether the instruction asks for a text that stays mostly as it is."""
    return _KEEPS_THE_TEXT.search(row.instruction) is not None


def _rejection(of: str, common: int, earlier: list[str], output: list[str]) -> Rejection:
    return Rejection("echo", {"of": of, "score": round(rouge_l(common, len(earlier), len(output)), 4)})
