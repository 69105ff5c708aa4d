"""The verdict: what the comparisons allow to say, and no more than that.

It rests on tasks that people wrote. Two baselines say whether the data helped: the base model with bare instructions,
and the model tuned on the seeds alone. Only the second separates the effect of the data from that of any tuning. A
third baseline, the base with examples in its prompt, shows what is possible without tuning: it qualifies the sentence,
it does not change its direction. A difference that is not significant counts for neither side.
"""

from __future__ import annotations

from collections.abc import Sequence

from selfinstruct.run.scores import BASE, FEW_SHOT, SEEDS_ONLY, TUNED, Comparison
from tuning.evaluation.bootstrap import least_tasks

_BASELINES = {
    BASE: "the base model",
    SEEDS_ONLY: "the model tuned on the seeds alone",
    FEW_SHOT: "the base model with examples in its prompt",
}


def verdict(
    comparisons: Sequence[Comparison], sets: Sequence[str], arms: Sequence[str], others: Sequence[str] = ()
) -> str:
    """Return one sentence on the tuned model for each set of tasks, by ROUGE-L.

    Args:
        comparisons: all that were made.
        sets: the sets that the verdict may rest on: tasks that people wrote and that the training did not use.
        arms: the arms that were evaluated.
        others: sets of tasks that a program wrote; a sentence on each is added, marked as no part of the verdict.
    """
    if TUNED not in arms:
        return "No verdict: there is no tuned model."
    if not any(arm in _BASELINES for arm in arms):
        return "No verdict: there is no baseline to compare the tuned model with."
    relevant = [c for c in comparisons if c.metric == "rouge_l" and c.a == TUNED and c.b in _BASELINES]
    by_set = {name: [c for c in relevant if c.set == name] for name in (*sets, *others)}
    sentences = [_sentence(by_set[name], "written by people") for name in sets if by_set[name]]
    if not sentences:
        sentences = ["No verdict: there are no evaluation tasks that people wrote."]
    for name in others:
        if by_set[name]:
            sentences.append(f"Beside the verdict: {_sentence(by_set[name], 'written by a program')}")
    return " ".join(sentences)


def _sentence(of_set: Sequence[Comparison], author: str) -> str:
    """Return what one set shows."""
    first = of_set[0]
    where = f"on the {first.n_tasks} task{'s' if first.n_tasks > 1 else ''} of {first.set} ({author})"
    confidence = f"{100 * first.confidence:g} %"
    if first.n_tasks < (needed := least_tasks(first.confidence)):
        return f"No significant difference {where}: {confidence} confidence needs at least {needed} tasks."
    ordered = sorted(of_set, key=lambda c: list(_BASELINES).index(c.b))
    clauses = "; ".join(_clause(c) for c in ordered)
    return f"{_headline(ordered, where)}: {clauses} (ROUGE-L, {confidence} intervals)."


def _headline(comparisons: Sequence[Comparison], where: str) -> str:
    if not any(c.significant for c in comparisons):
        return f"No significant difference {where}"
    bare = [c for c in comparisons if c.b != FEW_SHOT]
    # Only a model tuned on the seeds alone separates the effect of the data from that of any tuning.
    subject = "The generated data" if any(c.b == SEEDS_ONLY for c in bare) else "Tuning on the generated data"
    signs = {_sign(c) for c in bare}
    if signs == {1}:
        return f"{subject} helped {where}{_qualified(comparisons)}"
    if signs == {-1}:
        return f"{subject} did harm {where}"
    parts = [_relation(sign, [_BASELINES[c.b] for c in comparisons if _sign(c) == sign]) for sign in (1, -1, 0)]
    return f"The tuned model is {_joined([part for part in parts if part])} {where}"


def _qualified(comparisons: Sequence[Comparison]) -> str:
    """Return what to add to "helped" when examples in the prompt help as much."""
    few_shot = next((c for c in comparisons if c.b == FEW_SHOT), None)
    if few_shot is None or _sign(few_shot) > 0:
        return ""
    if _sign(few_shot) < 0:
        return f", but {_BASELINES[FEW_SHOT]} does better still"
    return f", but is not significantly better than {_BASELINES[FEW_SHOT]}"


def _relation(sign: int, names: Sequence[str]) -> str:
    how = {1: "better than", -1: "worse than", 0: "not significantly different from"}[sign]
    return f"{how} {_joined(names)}" if names else ""


def _joined(parts: Sequence[str]) -> str:
    return " and ".join((", ".join(parts[:-1]), parts[-1]) if len(parts) > 1 else parts)


def _sign(comparison: Comparison) -> int:
    return 0 if not comparison.significant else 1 if comparison.difference > 0 else -1


def _clause(comparison: Comparison) -> str:
    relation = "against" if _sign(comparison) < 0 else "over"
    points = f"{comparison.difference:+.1f} [{comparison.low:.1f}, {comparison.high:.1f}]"
    return f"{points} {relation} {_BASELINES[comparison.b]}{'' if comparison.significant else ', which includes 0'}"
