"""The ways to ask for new instructions, one file each; `interface.py` says what each must do.

A run mixes them by the weights of the section `proposers`. All feed the same filters, order and journal.
"""

from __future__ import annotations

from selfinstruct.generation.frame import Frame
from selfinstruct.generation.proposers.evolve import EvolvedTask
from selfinstruct.generation.proposers.interface import Example, Pool, Proposer, Question, Seen
from selfinstruct.generation.proposers.list_continuation import ListContinuation
from selfinstruct.generation.proposers.plan import PlannedTasks
from selfinstruct.generation.proposers.proposer_draw import Mixture
from selfinstruct.generation.proposers.single_step import WholeTasks
from selfinstruct.generation.proposers.template import UserTurn
from selfinstruct.records import Style

__all__ = ["WITHOUT_INPUT", "Example", "Mixture", "Pool", "Proposer", "Question", "Seen", "proposers"]

WITHOUT_INPUT = frozenset({"template"})
"""Proposers whose instructions are complete: what a user would send, with everything that it needs."""


def proposers(mixture: Mixture, style: Style, frame: Frame) -> dict[str, Proposer]:
    """Return the proposers by the names of their weights.

    Args:
        mixture: their options.
        style: how the model is prompted.
        frame: the words of the prompts.
    """
    made: dict[str, Proposer] = {
        "list": ListContinuation(mixture.listing, style, frame, mixture.wording),
        "template": UserTurn(mixture.template, mixture.wording),
    }
    if mixture.wording is not None:
        made["plan"] = PlannedTasks(mixture.plan, style, frame, mixture.wording)
        made["evolve"] = EvolvedTask(mixture.evolve, style, frame, mixture.wording)
        made["single_step"] = WholeTasks(mixture.single_step, style, frame, mixture.wording)
    return made
