"""Reject instructions that overlap with an evaluation task: a model must not be trained on what it will be asked."""

from __future__ import annotations

from selfinstruct.novelty.overlap import EvaluationTexts
from selfinstruct.records import Rejection


def near_evaluation(text: str, *, evaluation: EvaluationTexts) -> Rejection | None:
    """Reject an instruction that overlaps with an evaluation task; the evidence names the task, and how much.

    Args:
        text: the instruction.
        evaluation: the evaluation tasks.
    """
    overlap = evaluation.find(text)
    return None if overlap is None else Rejection("near_evaluation_task", overlap.to_json())
