"""Tasks that work on the words and letters of a text as such."""

from __future__ import annotations

import random
from collections.abc import Callable

from tools.demo_model import sentences
from tools.demo_model.families.base import Family
from tools.demo_model.lexicon import NAMES, PLAIN_WORDS
from tools.demo_model.wording import Choice, Params

TEXT = "[sentence|line|text]"
LIST = "[list|list of words|row of words]"
_TEXT_NOUNS = ("sentence", "line", "text", "short sentence")
_LIST_NOUNS = ("list of words", "short list of words", "row of words")

_NTH = Choice({"first": 0, "second": 1, "third": 2, "last": -1})
_END = Choice({"first": 0, "last": -1})
_CASE = Choice(
    {
        "upper case": str.upper,
        "capital letters": str.upper,
        "capitals": str.upper,
        "lower case": str.lower,
        "small letters": str.lower,
    }
)
_TIMES = Choice({"once": 1, "twice": 2, "two times": 2, "three times": 3})
_ORDER = Choice(
    {
        "alphabetical order": False,
        "order from A to Z": False,
        "reverse alphabetical order": True,
        "order from Z to A": True,
    }
)
_JOINER = Choice.of(("and", "or"))
_MARK = Choice({"semicolons": "; ", "dashes": " - ", "spaces": " ", "slashes": " / ", "plus signs": " + "})
_PLACE = Choice({"at the start of": 0, "at the beginning of": 0, "in front of": 0, "at the end of": 1, "after": 1})
_ADDED = Choice.of("please today now again maybe sadly luckily often soon tomorrow".split())
_NAME = Choice.of(NAMES)


def draw_sentence(rng: random.Random, params: Params) -> str:
    """Return a simple sentence."""
    return sentences.make(rng)


def word_list(rng: random.Random, fewest: int = 3, most: int = 5) -> str:
    """Return different words with commas."""
    return ", ".join(rng.sample(PLAIN_WORDS, rng.randint(fewest, most)))


def draw_list(rng: random.Random, params: Params) -> str:
    """Return some words with commas."""
    return word_list(rng)


def draw_word(rng: random.Random, params: Params) -> str:
    """Draw one lower-case word."""
    return rng.choice(PLAIN_WORDS)


def items(text: str) -> list[str]:
    """Return the members of a comma list; an empty list when it has fewer than two."""
    members = text.split(", ")
    return members if len(members) > 1 and all(members) else []


def on_list(change: Callable[[Params, list[str]], str]) -> Callable[[Params, str], str | None]:
    """Return a solver that works on the members of a comma list, and knows no answer where there is none."""
    return lambda params, text: change(params, members) if (members := items(text)) else None


def _copy(params: Params, text: str) -> str | None:
    return " ".join([text] * params.get("times", 1)) or None


def _draw_for_copy(rng: random.Random, params: Params) -> str:
    # Long texts are copied once only: the tasks are simple ones.
    return rng.choice(PLAIN_WORDS) if params.get("times", 1) > 1 else sentences.make(rng)


def _nth_word(params: Params, text: str) -> str | None:
    words = sentences.words(text)
    return words[params["nth"]] if len(words) >= 3 else None


def _without_word(params: Params, text: str) -> str | None:
    words = text.split()
    kept = words[1:] if params["end"] == 0 else words[:-1]
    return " ".join(kept) if len(words) > 2 else None


def _draw_bare(rng: random.Random, params: Params) -> str:
    return sentences.make(rng).removesuffix(".")


def _add_word(params: Params, text: str) -> str | None:
    parts = [params["added"], text] if params["place"] == 0 else [text, params["added"]]
    return " ".join(parts) if text else None


def _swap_name(params: Params, text: str) -> str | None:
    name = sentences.find("person", text)
    return text.replace(name, params["name"]) if name else None


def _letter(params: Params, text: str) -> str | None:
    return text[params["end"]] if text.isalpha() else None


def _draw_words(rng: random.Random, params: Params) -> str:
    return " ".join(rng.sample(PLAIN_WORDS, rng.randint(2, 5)))


FAMILIES = (
    Family(
        "copying",
        asks=(
            f"[copy|repeat] the {TEXT} [exactly|word for word|without any change]",
            "[write|say] the [given|same] word {times}",
            f"[write|give] back the {TEXT} [just as it is|exactly as it stands]",
            "repeat the [given|same] word {times} [with spaces between|in a row]",
        ),
        reserved=(f"return the same {TEXT} without any change", "[say|repeat] this word {times} with spaces between"),
        input_names=("text", "word or sentence", "line"),
        slots={"times": _TIMES},
        draw=_draw_for_copy,
        solve=_copy,
    ),
    Family(
        "letter case",
        asks=(
            f"[write|rewrite|put|type] the [whole |]{TEXT} in {{case}}",
            f"[change|turn|convert] the [whole |]{TEXT} [to|into] {{case}}",
            f"[change|turn|convert] every letter of the {TEXT} [to|into] {{case}}",
            f"what does the {TEXT} look like in {{case}}?",
        ),
        reserved=(f"use {{case}} for every letter of the {TEXT}", f"write every word of the {TEXT} in {{case}}"),
        input_names=_TEXT_NOUNS,
        slots={"case": _CASE},
        draw=draw_sentence,
        solve=lambda params, text: params["case"](text) if text else None,
    ),
    Family(
        "word position",
        asks=(
            f"[write|copy|give|find|name] [only |]the {{nth}} word of the {TEXT}",
            f"[which|what] word is the {{nth}} [one |]in the {TEXT}?",
            f"what is the {{nth}} word of the {TEXT}?",
            f"[pick|take] the {{nth}} word [from|out of] the {TEXT}",
        ),
        reserved=(
            f"[which|what] word [comes|stands] {{nth}} in the {TEXT}?",
            f"look for the {{nth}} word in the {TEXT} and write it",
        ),
        input_names=_TEXT_NOUNS,
        slots={"nth": _NTH},
        draw=draw_sentence,
        solve=_nth_word,
        short=True,
    ),
    Family(
        "counting words",
        asks=(
            f"count the words [in|of] the {TEXT}",
            "how many words [does the sentence have|are there in the sentence]?",
            f"[write|give|find] the number of words in the {TEXT}",
            f"[say|tell me] how many words the {TEXT} has",
        ),
        reserved=(f"what is the number of words in the {TEXT}?", f"count how many words the {TEXT} has"),
        input_names=_TEXT_NOUNS,
        draw=lambda rng, params: _draw_words(rng, params) if rng.random() < 0.5 else sentences.make(rng),
        solve=lambda params, text: str(len(sentences.words(text))) if text else None,
        short=True,
    ),
    Family(
        "counting letters",
        asks=(
            "count the letters [in|of] the [given |]word",
            "how many letters does the [given |]word have?",
            "[write|give|find] the number of letters in the [given |]word",
            "[say|tell me] how many letters the [given |]word has",
        ),
        reserved=("what is the number of letters in the word?", "count how many letters the word has"),
        input_names=("word", "single word", "short word"),
        draw=draw_word,
        solve=lambda params, text: str(len(text)) if text.isalpha() else None,
        short=True,
    ),
    Family(
        "counting items",
        asks=(
            f"count the [items|words] [in|on] the {LIST}",
            "how many [items|words] are [in|on] the list?",
            f"[say|tell me] how many [items|words] the {LIST} holds",
        ),
        reserved=(
            "what is the number of [items|words] [in|on] the list?",
            f"count how many [items|words] the {LIST} holds",
        ),
        input_names=_LIST_NOUNS,
        draw=draw_list,
        solve=on_list(lambda params, members: str(len(members))),
        short=True,
    ),
    Family(
        "list position",
        asks=(
            f"[write|copy|give|find|name] [only |]the {{nth}} [item|entry] of the {LIST}",
            "what is the {nth} [item|entry] [in|on] the list?",
            f"[pick|take] the {{nth}} [item|entry] [from|out of] the {LIST}",
        ),
        reserved=("which [item|entry] [comes|stands] {nth} [in|on] the list?",),
        input_names=_LIST_NOUNS,
        slots={"nth": _NTH},
        draw=draw_list,
        solve=on_list(lambda params, members: members[params["nth"]]),
        short=True,
    ),
    Family(
        "sorting words",
        asks=(
            "[sort|arrange] the [words|list] in {order}",
            "[put|write|list] the [given |]words in {order}",
            "[put|bring] the [items|entries] of the list [in|into] {order}",
        ),
        reserved=("order the words so that they stand in {order}", "what are the words in {order}?"),
        input_names=_LIST_NOUNS,
        slots={"order": _ORDER},
        draw=lambda rng, params: word_list(rng, 3, 4),
        solve=on_list(lambda params, members: ", ".join(sorted(members, reverse=params["order"]))),
    ),
    Family(
        "reversing",
        asks=(
            f"[reverse|turn around|invert] the [order of the |]{LIST}",
            "[write|give|put] the [words|items] [of the list |]in [reverse|the opposite|backward] order",
            f"[write|read] the {LIST} [backwards|from the end to the start|from back to front]",
        ),
        reserved=("[write|list] the words [again |]with the last one first", f"turn the {LIST} the other way round"),
        input_names=_LIST_NOUNS,
        draw=draw_list,
        solve=on_list(lambda params, members: ", ".join(reversed(members))),
    ),
    Family(
        "joining",
        asks=(
            "[join|connect] the last two [words|items] [of the list |]with the word '{joiner}'",
            "[write|turn] the list [as|into] a phrase with '{joiner}' before the last [word|item]",
            "[put|write] '{joiner}' [in place of|instead of] the last comma",
        ),
        reserved=(
            "use the word '{joiner}' before the last [word|item] of the list",
            "replace the last comma by '{joiner}'",
        ),
        input_names=_LIST_NOUNS,
        slots={"joiner": _JOINER},
        draw=draw_list,
        solve=on_list(lambda params, members: f"{', '.join(members[:-1])} {params['joiner']} {members[-1]}"),
    ),
    Family(
        "separators",
        asks=(
            "[replace|exchange|swap] the commas [for|with|by] {mark}",
            "[separate|divide] the [words|items] [of the list |][with|by] {mark} instead of commas",
            "[write|put] {mark} [where the commas are|between the words]",
        ),
        reserved=("use {mark} in place of the commas", "change all the commas to {mark}"),
        input_names=_LIST_NOUNS,
        slots={"mark": _MARK},
        draw=draw_list,
        solve=on_list(lambda params, members: params["mark"].join(members)),
    ),
    Family(
        "adding a word",
        asks=(
            "[add|put|write] the word '{added}' {place} the [sentence|line|phrase]",
            "[place|set] '{added}' {place} the [sentence|line|phrase]",
            "[extend|change] the [sentence|line|phrase] with the word '{added}' {place} it",
        ),
        reserved=(
            "let the word '{added}' stand {place} the [sentence|line|phrase]",
            "insert '{added}' {place} the [sentence|line|phrase]",
        ),
        input_names=("sentence", "line", "phrase"),
        slots={"added": _ADDED, "place": _PLACE},
        draw=_draw_bare,
        solve=_add_word,
    ),
    Family(
        "removing a word",
        asks=(
            "[remove|delete|drop] the {end} word [of|from] the [sentence|line|phrase]",
            "[write|repeat|copy] the [sentence|line|phrase] without [its|the] {end} word",
            "leave out the {end} word of the [sentence|line|phrase]",
        ),
        reserved=(
            "take away the {end} word of the [sentence|line|phrase]",
            "what remains of the line without its {end} word?",
        ),
        input_names=("sentence", "line", "phrase"),
        slots={"end": _END},
        draw=_draw_bare,
        solve=_without_word,
    ),
    Family(
        "changing a name",
        asks=(
            "[change|set|turn] the name in the [sentence|line] [to|into] {name}",
            "[replace|swap] the [person's name|name of the person|person] in the [sentence|line] [with|by|for] {name}",
            "[rewrite|write] the [sentence|line] so that it is about {name}",
        ),
        reserved=(
            "use the name {name} in place of the name in the [sentence|line]",
            "[let|make] {name} the person in the [sentence|line]",
        ),
        input_names=("sentence", "line", "line about a person"),
        slots={"name": _NAME},
        draw=draw_sentence,
        solve=_swap_name,
    ),
    Family(
        "letters",
        asks=(
            "[write|give|name|find] [only |]the {end} letter of the [given |]word",
            "what is the {end} letter of the [given |]word?",
            "[which|what] letter does the [given |]word [start|begin] with?",
        ),
        reserved=(
            "[which|what] letter [comes|stands] {end} in the word?",
            "look at the word and write its {end} letter",
        ),
        input_names=("word", "single word", "short word"),
        slots={"end": _END},
        draw=draw_word,
        solve=lambda params, text: _letter({"end": 0, **params}, text),
        short=True,
    ),
    Family(
        "spelling",
        asks=(
            "spell the [given |]word with [a dash|dashes] between [the|its] letters",
            "[write|put] [a dash|dashes] between the letters of the [given |]word",
            "[split|break] the [given |]word into letters with dashes",
        ),
        reserved=("separate the letters of the word with dashes",),
        input_names=("word", "single word", "short word"),
        draw=draw_word,
        solve=lambda params, text: "-".join(text) if text.isalpha() else None,
    ),
    Family(
        "initials",
        asks=(
            "[write|give|join] the first letters of [all |]the words [as one word|without spaces]",
            "[make|build|form] [a short form|an abbreviation] [from|out of] the first letter of each word",
            "[take|collect] the first letter of each word",
        ),
        reserved=("[make|form] a new word from the first letters of the words",),
        input_names=("phrase", "row of words", "short phrase"),
        draw=lambda rng, params: " ".join(rng.sample(PLAIN_WORDS, 3)),
        solve=lambda params, text: "".join(w[0] for w in text.split()) if len(text.split()) > 1 else None,
        short=True,
    ),
)
