"""The sentence that the comparisons support, and no more than that.

It rests on tasks that people wrote. Two baselines say whether the data helped: the bare base model and the model tuned
on the seeds alone, which alone can tell what the data did from what any tuning would have done. A third, the base with
examples in its prompt, says what could be had without tuning: it qualifies the sentence, it does not turn it. A
difference that is not shown is said to be just that, and counts for neither side.
"""

from __future__ import annotations

from collections.abc import Sequence

from tuning.evaluation.bootstrap import BASE, FEW_SHOT, SEEDS_ONLY, TUNED, Comparison, least_tasks

_BASELINES = {
    BASE: "the base model",
    SEEDS_ONLY: "the model tuned on the seeds alone",
    FEW_SHOT: "the base model with examples in its prompt",
}


def verdict(
    comparisons: Sequence[Comparison], sets: Sequence[str], arms: Sequence[str], others: Sequence[str] = ()
) -> str:
    """What may be said about the tuned model: one sentence for each set of tasks, by ROUGE-L.

    Args:
        comparisons: all that were made.
        sets: the sets that it may rest on: tasks that people wrote and that the training did not use.
        arms: the arms that were evaluated.
        others: sets of tasks that a program wrote; what they show is added, and named as no part of the verdict.
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


def _sentence(found: Sequence[Comparison], author: str) -> str:
    """What one set shows."""
    first = found[0]
    where = f"on the {first.n_tasks} task{'s' if first.n_tasks > 1 else ''} of {first.set} ({author})"
    confidence = f"{100 * first.confidence:g} %"
    if first.n_tasks < (needed := least_tasks(first.confidence)):
        return f"No difference shown {where}: {confidence} confidence needs at least {needed} tasks."
    ordered = sorted(found, key=lambda c: list(_BASELINES).index(c.b))
    clauses = "; ".join(_clause(c) for c in ordered)
    return f"{_headline(ordered, where)}: {clauses} (ROUGE-L, {confidence} intervals)."


def _headline(found: Sequence[Comparison], where: str) -> str:
    if not any(c.shown for c in found):
        return f"No difference shown {where}"
    bare = [c for c in found if c.b != FEW_SHOT]
    # Only a model tuned on the seeds alone can tell what the data did from what any tuning would have done.
    subject = "The generated data" if any(c.b == SEEDS_ONLY for c in bare) else "Tuning on the generated data"
    signs = {_sign(c) for c in bare}
    if signs == {1}:
        return f"{subject} helped {where}{_qualified(found)}"
    if signs == {-1}:
        return f"{subject} did harm {where}"
    parts = [_relation(sign, [_BASELINES[c.b] for c in found if _sign(c) == sign]) for sign in (1, -1, 0)]
    return f"The tuned model is {_joined([part for part in parts if part])} {where}"


def _qualified(found: Sequence[Comparison]) -> str:
    """What has to be said beside "helped" when examples in the prompt do as much."""
    few_shot = next((c for c in found if c.b == FEW_SHOT), None)
    if few_shot is None or _sign(few_shot) > 0:
        return ""
    if _sign(few_shot) < 0:
        return f", but {_BASELINES[FEW_SHOT]} does better still"
    return f", but is not shown to do better than {_BASELINES[FEW_SHOT]}"


def _relation(sign: int, names: Sequence[str]) -> str:
    how = {1: "better than", -1: "worse than", 0: "not shown to differ from"}[sign]
    return f"{how} {_joined(names)}" if names else ""


def _joined(parts: Sequence[str]) -> str:
    return " and ".join((", ".join(parts[:-1]), parts[-1]) if len(parts) > 1 else parts)


def _sign(found: Comparison) -> int:
    return 0 if not found.shown else 1 if found.difference > 0 else -1


def _clause(found: Comparison) -> str:
    relation = "against" if _sign(found) < 0 else "over"
    return f"{_points(found)} {relation} {_BASELINES[found.b]}{'' if found.shown else ', which includes 0'}"


def _points(found: Comparison) -> str:
    return f"{found.difference:+.1f} [{found.low:.1f}, {found.high:.1f}]"
