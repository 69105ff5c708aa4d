"""What a proposal is to be about: a subject, and who asks. Each gets its quota by the number of the proposal.

The subjects are taken in random order, each once before any comes again; and so are the users. So a run covers all of
them evenly, and the topic of proposal n is a function of the run's seed and n alone.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from selfinstruct.errors import InputError
from selfinstruct.packaged import resolve
from selfinstruct.text_hash import digest

PACKAGED = "packaged"
"""Name of the list that comes with the package."""
_FOLDER = Path(__file__).parent / "topics"


@dataclass(frozen=True, slots=True)
class Topic:
    """A subject, and who asks about it; `user` is empty where the list names only subjects."""

    subject: str
    user: str = ""


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of a run.

    Attributes:
        subjects: what it is to be about; one that is named twice has twice the share.
        users: who asks.
    """

    subjects: tuple[str, ...]
    users: tuple[str, ...] = ()

    def of(self, n: int, seed: int) -> Topic:
        """Return the topic of proposal n.

        Args:
            n: number of the proposal.
            seed: of the run.
        """
        return Topic(_in_turn(self.subjects, n, f"{seed}/subjects"), _in_turn(self.users, n, f"{seed}/users"))

    def fingerprint(self) -> str:
        """Return the SHA-256 of the topics. It is part of a run's identity."""
        return digest("\n".join([*self.subjects, "", *self.users])).hex()


def load_topics(name: str) -> Topics:
    """Read topics.

    Args:
        name: `packaged`, `domain:NAME`, or a text file with one subject a line. Empty lines and lines that begin with
            # are left out.

    Raises:
        InputError: the file cannot be read, or holds no subject.
    """
    if name == PACKAGED:
        return Topics(tuple(_lines(_FOLDER / "subjects.txt")), tuple(_lines(_FOLDER / "users.txt")))
    try:
        subjects = tuple(_lines(resolve(name, "topics.txt")))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not UTF-8 text ({error.reason})"
        raise InputError(
            f"topics: {name} cannot be read: {reason}; give a text file with one subject a line"
        ) from error
    if not subjects:
        raise InputError(f"topics: {name} holds no subject; write one a line, or give `{PACKAGED}`")
    return Topics(subjects)


def _lines(path: Path) -> Iterator[str]:
    for line in path.read_text("utf-8-sig").splitlines():
        text = " ".join(line.split())
        if text and not text.startswith("#"):
            yield text


def _in_turn(texts: tuple[str, ...], n: int, purpose: str) -> str:
    return _order(texts, f"{purpose}/{n // len(texts)}")[n % len(texts)] if texts else ""


@functools.lru_cache(maxsize=8)
def _order(texts: tuple[str, ...], purpose: str) -> list[str]:
    return random.Random(purpose).sample(texts, len(texts))
