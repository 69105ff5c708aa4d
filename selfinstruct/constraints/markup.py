"""Constraints on Markdown: headings, emphasis, tables, code, dividing lines."""

from __future__ import annotations

import re

from selfinstruct.constraints.kind import ConstraintType, nothing, number

_HEADING = re.compile(r"^#{1,6}[ \t]+\S", re.M)
_BOLD = re.compile(r"\*\*(?=\S)[^*\n]+(?<=\S)\*\*")
_FENCED = re.compile(r"^```[^\n`]*\n.*?^```[ \t]*$", re.M | re.S)
_TABLE = re.compile(r"^[ \t]*\|.*\|[ \t]*\n[ \t]*\|?[ \t:|-]*-[ \t:|-]*\n[ \t]*\|.*\|", re.M)
_DIVIDER = re.compile(r"^[ \t]*(?:\*{3}|-{3})[ \t]*$", re.M)
_ANY = re.compile(r"\*\*|__|^#{1,6}[ \t]|`|^[ \t]*[-*+][ \t]|^\|", re.M)


def _parts(text: str, n: int) -> bool:
    parts = _DIVIDER.split(text)
    return len(parts) == n and all(part.strip() for part in parts)


TYPES = (
    ConstraintType(
        "markup/headings",
        lambda text, n: len(_HEADING.findall(text)) >= n,
        number(2, 3),
        (
            "Structure the answer with at least {n} Markdown headings (lines that begin with #).",
            'Use {n} or more headings, each on a line that begins with "# " or "## ".',
            "There must be no fewer than {n} headings in Markdown.",
        ),
        ("layout", "length"),
        ("detectable_format:multiple_sections",),
    ),
    ConstraintType(
        "markup/bold",
        lambda text, n: len(_BOLD.findall(text)) >= n,
        number(1, 3),
        (
            "Set the most important words in bold type in Markdown, like **this**; {n} or more times.",
            "Mark at least {n} of the key terms with double asterisks, as in **term**.",
            "Write {n} or more of the important words in bold type, each like this: **word**.",
        ),
        ("punctuation",),
        ("detectable_format:number_highlighted_sections",),
    ),
    ConstraintType(
        "markup/table",
        lambda text: bool(_TABLE.search(text)),
        nothing,
        (
            "Include a table in Markdown.",
            "Show it in a Markdown table with a line of headings.",
            "Part of the answer must be a table, written with | in Markdown.",
        ),
        ("layout", "length", "punctuation"),
    ),
    ConstraintType(
        "markup/code_block",
        lambda text: bool(_FENCED.fullmatch(text)),
        nothing,
        (
            "Put the whole answer into one block between lines of three backticks (```).",
            "Begin with a line of three backticks and end with one; everything stands between them.",
            "The entire answer should be a fenced block: ``` before it and ``` after it.",
        ),
        ("layout", "start", "end", "punctuation"),
    ),
    ConstraintType(
        "markup/parts",
        _parts,
        number(2, 3),
        (
            "Divide the answer into {n} parts by lines that hold only three asterisks (***).",
            "Write {n} parts, with a line *** between one part and the next.",
            "Separate the {n} parts of your answer by ***, each time on a line of its own.",
        ),
        ("layout", "length"),
        ("length_constraints:number_paragraphs",),
    ),
    ConstraintType(
        "markup/plain",
        lambda text: not _ANY.search(text),
        nothing,
        (
            "Use plain text without any Markdown.",
            "No Markdown: neither asterisks for emphasis nor headings nor lists.",
            "The answer is shown as it is, so do not format it with Markdown.",
        ),
        ("layout", "punctuation"),
    ),
)
