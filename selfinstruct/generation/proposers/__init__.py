"""The ways to ask for new instructions, one file each; `interface.py` says what each must do.

A run mixes them by the weights of the section `proposers`. All feed the same filters, order and journal.
"""

from __future__ import annotations

from selfinstruct.config.schema import Proposal, Template
from selfinstruct.generation.frame import Frame
from selfinstruct.generation.proposers.interface import Example, Pool, Proposer, Question, Seen
from selfinstruct.generation.proposers.list_continuation import ListContinuation
from selfinstruct.generation.proposers.template import UserTurn
from selfinstruct.records import Style

__all__ = ["Example", "Pool", "Proposer", "Question", "Seen", "proposers"]


def proposers(listing: Proposal, template: Template, *, style: Style, frame: Frame) -> dict[str, Proposer]:
    """Return every proposer by the name of its weight.

    Args:
        listing: options of `list`.
        template: options of the proposer of this name.
        style: how the model is prompted.
        frame: the words of the prompts.
    """
    return {"list": ListContinuation(listing, style, frame), "template": UserTurn(template)}
