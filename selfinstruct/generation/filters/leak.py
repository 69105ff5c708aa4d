"""Words of the prompt in what a model wrote: chat tokens, our marks, our own sentences.

Instructions that a small model proposed:

    Write one task per line, from 'Task 4:' to 'Task 16:' and nothing else.
    Name a river.<|im_end|>
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

import msgspec

from selfinstruct.generation.filters.row import Row
from selfinstruct.generation.frame import Frame
from selfinstruct.generation.markers import frames_read, mark_reader, split_lines
from selfinstruct.novelty import has_unspaced, tokenize
from selfinstruct.records import Rejection

# Of all families: <|im_end|>, <|eot_id|>, <|channel|>, DeepSeek's <｜User｜>, <start_of_turn>, [/INST], <<SYS>>.
_TOKEN = re.compile(
    r"<[|｜][\w▁\-./ ]{1,40}[|｜]>|</?(?:start_of_turn|end_of_turn|bos|eos|begin_of_text|end_of_text|unused\d+)>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]|<</?SYS>>|\[gMASK\]"
)
_QUOTES = "`'\"‘’“”«»"
_WORDS = 6
_CHARACTERS = 12
"""Of a script without spaces, where each two neighbours are a word."""


def leak(row: Row, frame: Frame | None) -> Rejection | None:
    """Reject a row that holds a chat token, or words of the prompts; of the output, those that the rest does not hold.

    A question about tokens or an answer that quotes them from the input is none. The evidence is what was found.

    Args:
        row: the row.
        frame: the words of the prompts; English if None.
    """
    if (rejection := leak_in(row.instruction, frame)) is not None:
        return rejection
    question = f"{row.instruction}\n{row.input}"
    for text, known in ((row.input, row.instruction), (row.output, question)):
        token = next((token for token in _tokens(text) if token not in known), None)
        if token is not None:
            return Rejection("leak", {"token": token})
        if (sentence := _of_prompts(text, frame)) is not None:
            return Rejection("leak", {"words": sentence})
        if (mark := _task_mark(text, frame)) is not None and mark not in known:
            return Rejection("leak", {"mark": mark})
    return None


@functools.lru_cache(maxsize=4096)
def leak_in(instruction: str, frame: Frame | None) -> Rejection | None:
    """Reject an instruction with a chat token that is not quoted, with words of the prompts, or behind a mark.

    It is asked when the instruction is proposed, and again for each of its rows.

    Args:
        instruction: the instruction.
        frame: the words of the prompts; English if None.
    """
    token = next((t for t in _tokens(instruction) if not _is_quoted(instruction, t)), None)
    if token is not None:
        return Rejection("leak", {"token": token})
    if (sentence := _of_prompts(instruction, frame)) is not None:
        return Rejection("leak", {"words": sentence})
    first, *_ = split_lines(instruction)
    if (mark := mark_reader(frame)(first)) is not None and mark.rest.strip():
        return Rejection("leak", {"mark": first[: len(first) - len(mark.rest)].strip()})
    return None


def _tokens(text: str) -> Iterable[str]:
    if "<" not in text and "[" not in text:  # Nearly always.
        return
    yield from _TOKEN.findall(text)
    # Also the end of struck text in HTML; but no tag opens that at the beginning of everything.
    before, end, _ = text.partition("</s>")
    if end and "<s>" not in before.lstrip().removeprefix("<s>"):
        yield end


def _is_quoted(text: str, token: str) -> bool:
    start = text.index(token)
    return text[start - 1 : start] in tuple(_QUOTES)


def _task_mark(text: str, frame: Frame | None) -> str | None:
    """Return the mark of a numbered task ("Task 9:") at the beginning of a line."""
    read = mark_reader(frame)
    for line in split_lines(text):
        mark = read(line)
        if mark is not None and mark.kind == "task" and mark.number:
            return line[: len(line) - len(mark.rest)].strip()
    return None


def _of_prompts(text: str, frame: Frame | None) -> str | None:
    """Return the first words in a row that are a sentence's of our prompts; None if there are none."""
    words = tokenize(text)
    size = _CHARACTERS if has_unspaced(text) else _WORDS
    ours, first_words = _runs(frames_read(frame), size)
    if first_words.isdisjoint(words):
        return None
    begun = (words[k : k + size] for k in range(len(words) - size + 1) if words[k] in first_words)
    return next((" ".join(run) for run in begun if tuple(run) in ours), None)


@functools.cache
def _runs(frames: tuple[Frame, ...], size: int) -> tuple[frozenset[tuple[str, ...]], frozenset[str]]:
    """Return every sequence of `size` words in a sentence of our prompts, and the first words of all of them."""
    sentences = [
        piece
        for frame in frames
        for value in msgspec.structs.asdict(frame).values()
        if isinstance(value, str)
        for piece in re.split(r"\{\w+\}", value)
    ]
    split = map(tokenize, sentences)
    runs = frozenset(tuple(words[k : k + size]) for words in split for k in range(len(words) - size + 1))
    return runs, frozenset(run[0] for run in runs)
