"""Answers in another language than the question's, where no other language was asked for.

instruction  Nenne drei Flüsse in Asien und beschreibe einen davon.
output       The Yangtze is the longest river in Asia, and it flows through China alone.
"""

from __future__ import annotations

import functools
import re
from itertools import islice

from selfinstruct.generation.filters.row import Row
from selfinstruct.language_identification import identifier
from selfinstruct.records import Rejection

_LEAST_LETTERS = {"instruction": 20, "output": 40}
"""Below that, even text of one language is often taken for another (`docs/benchmarks.md`)."""
_LONGEST = 500
"""Characters of an output that are looked at; the time grows with them."""
_SURE = {"instruction": 0.9, "output": 0.95}
_CODE = re.compile(r"^[ \t]*(```|~~~).*?(?:^[ \t]*\1|\Z)|`[^`\n]*`", re.M | re.S)
# No opening mark inside: else many of them would take quadratic time.
_QUOTED = re.compile(r"[\"“„«「『][^\"“„«「『”»」』]*[\"“”»」』]")
# Any name of a language is enough: "Give the French for ...".
_ABOUT_LANGUAGES = re.compile(
    r"\b(?:translat|language|bilingual|foreign|übersetz|sprache|tradu[cijz]|idioma|langue|lingua|Afrikaans|Albanian|Arabic"
    r"|Armenian|Basque|Bengali|Bulgarian|Catalan|Chinese|Croatian|Czech|Danish|Dutch|English|Esperanto|Estonian|Finnish"
    r"|French|Galician|Georgian|German|Greek|Gujarati|Hebrew|Hindi|Hungarian|Icelandic|Indonesian|Irish|Italian|Japanese"
    r"|Kannada|Korean|Latin|Latvian|Lithuanian|Malay|Mandarin|Marathi|Mongolian|Nepali|Norwegian|Persian|Polish"
    r"|Portuguese|Punjabi|Romanian|Russian|Sanskrit|Serbian|Slovak|Sloven|Spanish|Swahili|Swedish|Tagalog|Tamil|Telugu"
    r"|Thai|Turkish|Ukrainian|Urdu|Vietnamese|Welsh|Yiddish|Englisch|Deutsch|Französisch|Spanisch|anglais|français"
    r"|allemand|espagnol|inglés|español|francés|alemán)"
    r"|翻译|译成|英语|中文|法语|德语|日语|西班牙语|英訳|和訳|翻訳|英語|日本語|中国語|フランス語|ドイツ語"
    r"|अनुवाद|अंग्रेज़ी|हिंदी|ترجم|الإنجليزية|العربية|الفرنسية",
    re.I,
)


def language(row: Row) -> Rejection | None:
    """Object to an output in another language than the instruction, if both are long enough to be sure.

    An instruction that speaks of a language may be answered in any, and one with a quotation or an input in another
    language may be answered in that. Code and labels are not looked at. The evidence is both languages (ISO 639-1), and
    how probable that of the output is.
    """
    if row.is_classification:
        return None
    output = _without_code(row.output)[:_LONGEST]
    asked = _asked(row.instruction) if _is_long(output, "output") else ""
    written, probability = identify(output, "output") if asked else ("", 0.0)
    if not written or asked == written or _ABOUT_LANGUAGES.search(row.instruction):
        return None
    for foreign in (row.input, *_QUOTED.findall(row.instruction)):
        if foreign and identifier().classify(foreign)[0] == written:
            return None
    return Rejection("language", {"asked": asked, "written": written, "probability": round(probability, 4)})


@functools.lru_cache(maxsize=1024)
def _asked(instruction: str) -> str:
    """Return the language of an instruction, whose rows are looked at one after the other."""
    return identify(_QUOTED.sub(" ", _without_code(instruction)), "instruction")[0]


def _without_code(text: str) -> str:
    return _CODE.sub(" ", text) if "`" in text or "~~~" in text else text


def _is_long(text: str, part: str) -> bool:
    least = _LEAST_LETTERS[part]
    return sum(1 for _ in islice(filter(str.isalpha, text), least)) == least


def identify(text: str, part: str) -> tuple[str, float]:
    """Return the language of a text and its probability; an empty one if the text is too short or it is not sure.

    Args:
        text: the text.
        part: whose limits hold, "instruction" or "output".
    """
    if not _is_long(text, part):
        return "", 0.0
    code, probability = identifier().classify(text)
    return (str(code), float(probability)) if probability >= _SURE[part] else ("", 0.0)
