"""Personal data and secrets in rows that were kept, found by well-known detectors; examples are masked."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selfinstruct.generation.filters.personal_data import personal_data
from selfinstruct.generation.filters.row import Row

if TYPE_CHECKING:
    from detect_secrets.plugins.base import RegexBasedDetector

_EXAMPLES = 3
_KINDS = (
    "aws.AWSKeyDetector azure_storage_key.AzureStorageKeyDetector "
    "discord.DiscordBotTokenDetector github_token.GitHubTokenDetector gitlab_token.GitLabTokenDetector "
    "jwt.JwtTokenDetector mailchimp.MailchimpDetector npm.NpmDetector openai.OpenAIDetector "
    "private_key.PrivateKeyDetector pypi_token.PypiTokenDetector sendgrid.SendGridDetector slack.SlackDetector "
    "square_oauth.SquareOAuthDetector stripe.StripeDetector telegram_token.TelegramBotTokenDetector "
    "twilio.TwilioKeyDetector"
).split()
"""detect-secrets' detectors of keys that a service hands out. Those that only look for odd strings or for words such as
"password" are left out: what they find in a text is most often none."""
_MADE_UP = re.compile(r"example|xxx|\.\.\.|1234567890", re.I)


@dataclass(frozen=True, slots=True)
class Sensitive:
    """What a detector found in some rows.

    Attributes:
        what: the kind.
        rows: rows with at least one.
        examples: their beginnings and ends; the rest is masked.
    """

    what: str
    rows: int
    examples: list[str]


def personal(rows: Iterable[Row]) -> list[Sensitive]:
    """Return what the detectors of the filter `personal_data` find in rows that were kept: by kind, masked."""
    evidence = (one.evidence for row in rows if (one := personal_data(row)) is not None)
    return _by_kind((one["what"], f"{one['begins']}…{one['ends']}") for one in evidence)


def secrets(rows: Iterable[Row]) -> list[Sensitive]:
    """Return the keys and tokens of services in rows that were kept: by kind, masked.

    Nothing is asked of the services. Keys that say that they are an example are none.
    """
    detectors = _detectors()
    return _by_kind(
        (detector.secret_type, f"{text[:3]}…{text[-2:]}")
        for row in rows
        for detector in detectors
        if (text := _first(detector, f"{row.instruction}\n{row.input}\n{row.output}"))
    )


def _first(detector: RegexBasedDetector, text: str) -> str:
    """Return the first secret of a kind in a text; empty where there is none."""
    matches = (match[0] for pattern in detector.denylist for match in pattern.finditer(text))
    return next((one.strip() for one in matches if not _MADE_UP.search(one)), "")


def _detectors() -> list[RegexBasedDetector]:
    names = (name.split(".") for name in _KINDS)
    return [getattr(importlib.import_module(f"detect_secrets.plugins.{module}"), name)() for module, name in names]


def _by_kind(findings: Iterable[tuple[str, str]]) -> list[Sensitive]:
    examples: dict[str, list[str]] = {}
    for what, example in findings:
        examples.setdefault(what, []).append(example)
    return [Sensitive(what, len(some), some[:_EXAMPLES]) for what, some in sorted(examples.items())]
