"""The question whether a text is a task: something that can be done without more information. Pure functions.

A model that continues a list also writes statements, halves of sentences and nonsense. It is asked about each text, in
one token, after examples of both kinds. Seeds are tasks; what is none is made from them: sentences of their inputs and
outputs, their words shuffled, their second halves.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from selfinstruct.config.schema import Filters
from selfinstruct.config.section import Sampling
from selfinstruct.engines.base import RequestFailed
from selfinstruct.generation.frame import Frame
from selfinstruct.generation.parsing import one_line
from selfinstruct.records import Completion, Rejection, SeedTask
from selfinstruct.run.header_values import Calibration
from selfinstruct.run.lines import Failure, Verdict

MOST_SHOWN = 8
"""Most examples of each kind; never more than a third of the seeds."""
_SENTENCE = re.compile(r"[^\n.!?。！？।؟]+[.。।]")
_LEAST_LENGTH, _MOST_LENGTH = 15, 160
"""Characters of a sentence; scripts without spaces need half of them."""


SAMPLING = Sampling(temperature=0, max_tokens=1)
"""One token, greedy: only its log-probabilities are read."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text whose answer is known."""

    text: str
    is_task: bool


@dataclass(frozen=True, slots=True)
class KnownTexts:
    """Texts whose answer is known: those that every prompt shows, and others that the answers are measured on."""

    shown: tuple[Text, ...]
    held_out: tuple[Text, ...]

    @classmethod
    def of(cls, seeds: Sequence[SeedTask], draw: random.Random) -> KnownTexts:
        """Return the texts that seeds give.

        Args:
            seeds: the seed tasks.
            draw: of all random choices.
        """
        order = draw.sample(list(seeds), len(seeds))
        tasks = [Text(one_line(seed.instruction), True) for seed in order]
        others = [Text(non_task(seed, k, draw), False) for k, seed in enumerate(order)]
        number = min(MOST_SHOWN, len(order) // 3)
        # One half of the seeds gives examples of tasks, the other half of what is none: no text is there twice.
        both = _short(tasks, range(0, len(order), 2), number), _short(others, range(1, len(order), 2), number)
        shown = [text for pair in zip(*both, strict=False) for text in pair]
        held_out = [text for text in (*tasks, *others) if text not in shown]
        return cls(tuple(draw.sample(shown, len(shown))), tuple(held_out))


def _short(texts: Sequence[Text], which: range, number: int) -> list[Text]:
    """Return the first of the shorter half of some texts, so that the prompt is short."""
    some = [texts[k] for k in which]
    limit = sorted(len(text.text) for text in some)[len(some) // 2] if some else 0
    return [text for text in some if len(text.text) <= limit][:number]


def non_task(seed: SeedTask, kind: int, draw: random.Random) -> str:
    """Return a text made from a seed that is no task.

    Args:
        seed: the seed task.
        kind: its number modulo 4 says how: a sentence of an output, a sentence of an input, the instruction's words
            shuffled, its second half. Where there is no such sentence, the words are shuffled.
        draw: of the random choices.
    """
    texts = [instance.output if kind % 2 == 0 else instance.input for instance in seed.instances]
    sentences = [one_line(sentence) for text in texts for sentence in _SENTENCE.findall(text)]
    fitting = [s for s in sentences if _LEAST_LENGTH <= len(s) * (2 if " " not in s else 1) <= _MOST_LENGTH]
    if kind % 4 < 2 and fitting:
        return draw.choice(fitting)
    text = one_line(seed.instruction)
    words, space = (text.split(" "), " ") if " " in text else (list(text), "")
    if kind % 4 == 3:
        return space.join(words[len(words) // 2 :])
    return space.join(draw.sample(words, len(words)))


def encode_is_task(text: str, shown: Sequence[Text], frame: Frame) -> str:
    """Return the prompt that asks whether a text is a task: text to be continued, also for a chat model.

    Args:
        text: the text.
        shown: examples of both kinds.
        frame: the words of the prompt.
    """
    blocks = [
        f"{frame.line(frame.text, example.text)}\n"
        f"{frame.line(frame.is_task, (frame.yes if example.is_task else frame.no)[0])}"
        for example in shown
    ]
    asked = f"{frame.line(frame.text, one_line(text))}\n{frame.opening(frame.is_task)}"
    return "\n\n".join([frame.is_task_header, *blocks, asked])


def log_odds(answer: Completion) -> float | None:
    """Return the log-probability of yes less that of no; None where the engine did not tell.

    Args:
        answer: to a request whose choices are yes and no, in this order.
    """
    if answer.choice_logprobs is None:
        return None
    yes, no = answer.choice_logprobs.values()
    return round(yes - no, 4)


def verdict(position: int, answer: Completion | RequestFailed) -> Verdict:
    """Return the model's verdict about a candidate.

    Args:
        position: the candidate's, in its proposal.
        answer: to the question, or why there is none.
    """
    if isinstance(answer, RequestFailed):
        return Verdict(position, failed=Failure(answer.reason, answer.detail))
    return Verdict(position, log_odds(answer), answer.prompt_tokens, answer.completion_tokens)


def threshold(filters: Filters, calibration: Calibration | None) -> float | None:
    """Return the least log-odds of a task; None: no text is rejected for it.

    Args:
        filters: the options.
        calibration: of the question, if there is one.
    """
    if filters.is_task == "off":
        return None
    if filters.is_task_threshold is not None:
        return filters.is_task_threshold
    return None if calibration is None else calibration.threshold


def objection(verdict: Verdict | None, threshold: float) -> Rejection | None:
    """Return why a text is no task; None where it is one, or where nobody knows.

    Args:
        verdict: the model's.
        threshold: least log-odds of a task.
    """
    if verdict is None or verdict.log_odds is None or verdict.log_odds >= threshold:
        return None
    return Rejection("not_a_task", {"log_odds": verdict.log_odds, "threshold": threshold})
