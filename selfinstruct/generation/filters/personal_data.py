"""Telephone numbers and e-mail addresses that a model invented, or remembers from its training."""

from __future__ import annotations

import re

from selfinstruct.generation.filters.row import Row
from selfinstruct.records import Rejection

_MAIL = re.compile(r"(?<![\w.+-])\w[\w.+-]{0,63}@((?:[\w-]{1,63}\.){1,8}[a-z]{2,24})\b", re.I)
# Reserved for examples (RFC 2606).
_EXAMPLE = re.compile(r"(?:.*\.)?(?:example(?:\.\w+)?|test|invalid|localhost)", re.I)
_FICTITIOUS = re.compile(r"\D*(?:\d\D*){0,4}5\D*5\D*5\D*(?:0\D*1\D*\d\D*\d|\d\D*\d\D*\d\D*\d)\D*")
"""555 numbers, which North America keeps for fiction and directory services."""


def personal_data(row: Row) -> Rejection | None:
    """Object to an output with an e-mail address or a telephone number that the task does not hold.

    Numbers are found with Google's metadata of all countries, written internationally or as in the United States.
    Addresses and numbers that are reserved for examples are none. The evidence says which, and of it only the first and
    last characters.
    """
    question = f"{row.instruction}\n{row.input}"
    for address in _MAIL.finditer(row.output):
        if address[0] not in question and not _EXAMPLE.fullmatch(address[1]):
            return _rejection("e-mail address", address[0])
    if sum(map(str.isdigit, row.output)) < 7:
        return None
    from phonenumbers import Leniency, PhoneNumberMatcher

    for match in PhoneNumberMatcher(row.output, "US", leniency=Leniency.STRICT_GROUPING):
        number = match.raw_string
        if number not in question and not number.isdigit() and not _FICTITIOUS.fullmatch(number):
            return _rejection("telephone number", number)
    return None


def _rejection(what: str, text: str) -> Rejection:
    return Rejection("personal_data", {"what": what, "begins": text[:3], "ends": text[-3:]})
