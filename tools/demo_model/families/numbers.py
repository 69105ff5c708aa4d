"""Small arithmetic and the comparison of numbers."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from itertools import pairwise

from tools.demo_model.families.base import Family
from tools.demo_model.lexicon import NAMES, NUMBERS, PLURALS, THINGS
from tools.demo_model.wording import Choice, Params

_EXTREME = Choice({"larger": max, "bigger": max, "higher": max, "smaller": min, "lower": min})
_MOST = Choice({"largest": max, "biggest": max, "highest": max, "smallest": min, "lowest": min})
_ORDER = Choice(
    {
        "ascending order": False,
        "rising order": False,
        "order from low to high": False,
        "descending order": True,
        "falling order": True,
        "order from high to low": True,
    }
)
_LIMIT = Choice({str(n): n for n in (5, 10, 15, 20, 25, 30, 40, 50)})
_STEP = Choice({str(n): n for n in range(1, 11)})
_PARITY_LABELS = "[odd or even|even or odd]"
_PAIR = ("pair of numbers", "pair of whole numbers")
_LIST = ("list of numbers", "row of numbers", "short list of numbers")


def numbers(text: str) -> list[int]:
    """Return all whole numbers in a text."""
    return [int(n) for n in re.findall(r"\d{1,4}", text)]


def _pair(low: int, high: int) -> Callable[[random.Random, Params], str]:
    def draw(rng: random.Random, params: Params) -> str:
        a, b = rng.sample(range(low, high + 1), 2)
        return f"{a} and {b}"

    return draw


def _draw_falling_pair(rng: random.Random, params: Params) -> str:
    b, a = sorted(rng.sample(range(1, 21), 2))
    return f"{a} and {b}"


def _draw_list(rng: random.Random, params: Params) -> str:
    return ", ".join(map(str, rng.sample(range(1, 100), rng.randint(3, 4))))


def _draw_one(rng: random.Random, params: Params) -> str:
    return str(rng.randint(1, 99))


def on_pair(work: Callable[[Params, int, int], int]) -> Callable[[Params, str], str | None]:
    """Return a solver for exactly two numbers."""

    def solve(params: Params, text: str) -> str | None:
        values = numbers(text)
        return str(work(params, *values)) if len(values) == 2 else None

    return solve


def on_one(work: Callable[[Params, int], str]) -> Callable[[Params, str], str | None]:
    """Return a solver for exactly one number."""

    def solve(params: Params, text: str) -> str | None:
        values = numbers(text)
        return work(params, values[0]) if len(values) == 1 else None

    return solve


def _sorted(params: Params, text: str) -> str | None:
    values = numbers(text)
    return ", ".join(map(str, sorted(values, reverse=params["order"]))) if len(values) > 1 else None


def _most(params: Params, text: str) -> str | None:
    values = numbers(text)
    return str(params["most"](values)) if len(values) > 1 else None


def _draw_story(rng: random.Random, params: Params) -> str:
    name, things = rng.choice(NAMES), PLURALS[rng.choice(THINGS)]
    b, a = sorted(rng.sample(range(1, 13), 2))
    change = rng.choice(("buys", "finds", "gets", "loses", "sells", "gives away"))
    return f"{name} has {a} {things} and {change} {b}{' more' if change in _GAINS else ''}."


_GAINS = ("buys", "finds", "gets")


def _story(params: Params, text: str) -> str | None:
    values = numbers(text)
    gain, loss = (any(f" {verb} " in text for verb in verbs) for verbs in (_GAINS, ("loses", "sells", "gives away")))
    if len(values) != 2 or gain == loss:
        return None
    return str(values[0] + values[1] if gain else values[0] - values[1])


def _draw_word(rng: random.Random, params: Params) -> str:
    n = rng.randrange(len(NUMBERS))
    return NUMBERS[n] if params["form"] == "digits" else str(n)


def _other_form(params: Params, text: str) -> str | None:
    if params["form"] == "digits":
        return str(NUMBERS.index(text)) if text in NUMBERS else None
    return NUMBERS[int(text)] if text.isdigit() and int(text) < len(NUMBERS) else None


def _draw_row(rng: random.Random, params: Params) -> str:
    start, step = rng.randint(1, 20), rng.choice((1, 2, 3, 5, 10))
    return ", ".join(str(start + k * step) for k in range(4))


def _next(params: Params, text: str) -> str | None:
    values = numbers(text)
    steps = {b - a for a, b in pairwise(values)}
    return str(values[-1] + steps.pop()) if len(values) >= 3 and len(steps) == 1 else None


def _draw_sum(rng: random.Random, params: Params) -> str:
    a, b = rng.randint(1, 10), rng.randint(1, 10)
    return f"{a} + {b} = {a + b + (rng.choice((-2, -1, 1, 2)) if rng.random() < 0.5 else 0)}"


def _is_sum(params: Params, text: str) -> str | None:
    match = re.fullmatch(r"(\d+) \+ (\d+) = (\d+)", text)
    if not match:
        return None
    a, b, c = map(int, match.groups())
    return "true" if a + b == c else "false"


FAMILIES = (
    Family(
        "addition",
        asks=(
            "add the two [given |]numbers",
            "[write|give|find|calculate|work out] the sum of the two [given |]numbers",
            "what is the sum of the two [given |]numbers?",
            "how much are the two [given |]numbers together?",
        ),
        reserved=("what do you get when you add the two numbers?", "find out how much the two numbers are together"),
        input_names=_PAIR,
        draw=_pair(1, 20),
        solve=on_pair(lambda params, a, b: a + b),
        short=True,
    ),
    Family(
        "subtraction",
        asks=(
            "[subtract|take] the second number from the first[ one|]",
            "[write|give|find|calculate|work out] the difference [of|between] the two [given |]numbers",
            "what is the difference [of|between] the two [given |]numbers?",
        ),
        reserved=("what do you get when you subtract the second number from the first?",),
        input_names=_PAIR,
        draw=_draw_falling_pair,
        solve=on_pair(lambda params, a, b: a - b),
        short=True,
    ),
    Family(
        "steps",
        asks=(
            "add {step} to the [given |]number",
            "[make|raise] the [given |]number {step} higher",
            "what is the [given |]number plus {step}?",
            "[increase|raise] the [given |]number by {step}",
        ),
        reserved=("what do you get when you add {step} to the number?", "how much is {step} more than the number?"),
        input_names=("number", "whole number"),
        slots={"step": _STEP},
        draw=lambda rng, params: str(rng.randint(1, 40)),
        solve=on_one(lambda params, a: str(a + params["step"])),
        short=True,
    ),
    Family(
        "comparing two numbers",
        asks=(
            "[write|give|name|choose|pick] the {extreme} [one |]of the two [given |]numbers",
            "which of the two [given |]numbers is {extreme}?",
            "[find|say|decide] which number is the {extreme} one",
        ),
        reserved=("what is the {extreme} number of the two?", "compare the two numbers and write the {extreme} one"),
        input_names=_PAIR,
        slots={"extreme": _EXTREME},
        draw=_pair(1, 99),
        solve=on_pair(lambda params, a, b: params["extreme"](a, b)),
        short=True,
    ),
    Family(
        "extreme of a list",
        asks=(
            "[write|give|name|choose|find] the {most} number [in|of|on] the list",
            "which number [in|of|on] the list is the {most}[ one|]?",
            "what is the {most} number [in|of|on] the list?",
        ),
        reserved=("look through the list and write its {most} number", "which one of these numbers is the {most}?"),
        input_names=_LIST,
        slots={"most": _MOST},
        draw=_draw_list,
        solve=_most,
        short=True,
    ),
    Family(
        "sorting numbers",
        asks=(
            "[sort|arrange|order] the [given |]numbers in {order}",
            "[put|write|list] the [given |]numbers in {order}",
            "[put|bring] the list of numbers [in|into] {order}",
        ),
        reserved=("what are the numbers in {order}?", "order the list so that the numbers stand in {order}"),
        input_names=_LIST,
        slots={"order": _ORDER},
        draw=_draw_list,
        solve=_sorted,
    ),
    Family(
        "word problems",
        asks=(
            "how many [things |]does the person have [now|in the end|at the end]?",
            "[say|tell me|work out|find out] how many [things |]the person has [now|in the end|at the end]",
            "[solve|answer] the [small |little |]word problem [with|by] a number",
        ),
        reserved=("[read|solve] the story and write how many things are left",),
        input_names=("word problem", "little story", "short story"),
        draw=_draw_story,
        solve=_story,
        short=True,
    ),
    Family(
        "number words",
        asks=(
            "[write|put|give] the [given |]number in {form}",
            "[change|turn|convert] the [given |]number [to|into] {form}",
            "how do you write the [given |]number in {form}?",
        ),
        reserved=("use {form} to write the number", "what is the number in {form}?"),
        input_names=("number", "small number", "number up to twenty"),
        slots={"form": Choice.of(("digits", "words"))},
        lookup=True,
        draw=_draw_word,
        solve=_other_form,
        short=True,
    ),
    Family(
        "number rows",
        asks=(
            "[write|give|find|name] the number that comes next [in the row|in the list|]",
            "[continue|extend] the [row|list] of numbers [with|by] one [more |]number",
            "which number comes next[ in the row| in the list|]?",
        ),
        reserved=("what is the next number of the [row|list]?",),
        input_names=("row of numbers", "list of numbers"),
        draw=_draw_row,
        solve=_next,
        short=True,
    ),
    Family(
        "odd or even",
        asks=(
            f"is the [given |]number {_PARITY_LABELS}?",
            f"[say|tell me|decide|write] whether the [given |]number is {_PARITY_LABELS}",
            f"[label|mark|classify] the [given |]number as {_PARITY_LABELS}",
        ),
        reserved=(
            f"what is the number: {_PARITY_LABELS}?",
            f"sort the number into one of two groups, {_PARITY_LABELS}",
        ),
        input_names=("number", "whole number"),
        draw=_draw_one,
        solve=on_one(lambda params, a: "odd" if a % 2 else "even"),
        is_classification=True,
    ),
    Family(
        "limits",
        asks=(
            "is the [given |]number [more|greater|larger] than {limit}? [Answer|Reply|Write] yes or no",
            "[say|answer|write] yes if the [given |]number is [above|over] {limit}, and no [otherwise|if it is not]",
        ),
        reserved=("answer yes or no: is the number [more|greater] than {limit}?",),
        input_names=("number", "whole number"),
        slots={"limit": _LIMIT},
        draw=lambda rng, params: str(rng.randint(1, 2 * params["limit"])),
        solve=on_one(lambda params, a: "yes" if a > params["limit"] else "no"),
        is_classification=True,
    ),
    Family(
        "checking sums",
        asks=(
            "is the [given |]sum [true|correct] [or|or is it] false? [Answer|Reply|Write] true or false",
            "[say|decide|check|write] whether the [given |]sum is true or false",
            "[label|mark] the [given |]sum as true or false",
        ),
        reserved=("check the calculation and answer true or false",),
        input_names=("sum", "small sum", "calculation"),
        draw=_draw_sum,
        solve=_is_sum,
        is_classification=True,
    ),
)
