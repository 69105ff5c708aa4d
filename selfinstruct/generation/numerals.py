"""Numbers as lists write them besides plain digits: "⑨", "9️⃣", and in Chinese characters."""

from __future__ import annotations

import re
import unicodedata

HAN_DIGITS = "一二三四五六七八九"
HAN = rf"(?:[{HAN_DIGITS}]?十[{HAN_DIGITS}]?|[{HAN_DIGITS}][〇零{HAN_DIGITS}]?)(?![〇零{HAN_DIGITS}十百千万])"
"""A number from 1 to 99 in Chinese characters: 十一 or 一一."""
SIGN = r"(?:[①-⑳⑴-⒇⒈-⒛❶-❿➀-➓⓫-⓴㉑-㉟㊱-㊿]|\d{1,3}\ufe0f?\u20e3|\U0001f51f)"
"""A number that is a mark of a list by itself: in a circle, in brackets, with its point, or on a key."""


def value_of(written: str) -> int:
    """Return the number that is written in digits or in one of the ways above.

    >>> [value_of(written) for written in ("9", "９", "⑨", "9️⃣", "🔟", "九", "十", "十一", "二十", "九十九", "一〇")]
    [9, 9, 9, 9, 10, 9, 10, 11, 20, 99, 10]
    """
    digits = re.match(r"\d+", written)
    if digits is not None:
        return int(digits[0])
    tens, ten, ones = written.partition("十")
    if ten:
        return 10 * (_han(tens) or 1) + _han(ones)
    if len(written) > 1 or written in HAN_DIGITS:
        return _han(written)
    return 10 if written == "\U0001f51f" else int(unicodedata.numeric(written))


def _han(digits: str) -> int:
    """Return the number that Chinese characters write digit by digit: 21 for 二一; 0 without any.

    >>> _han("二一"), _han("一〇"), _han("")
    (21, 10, 0)
    """
    return sum((HAN_DIGITS.find(digit) + 1) * 10**power for power, digit in enumerate(reversed(digits)))
