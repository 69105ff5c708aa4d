"""The verdict: what the comparisons allow to say, and no more than that.

It rests on tasks that people wrote, and on a user's datasets that do not say who wrote theirs. Two baselines say
whether the data helped: the base model with bare instructions, and the model tuned on the seeds alone. Only the second
separates the effect of the data from that of any tuning. A third baseline, the base with examples in its prompt, shows
what is possible without tuning: it qualifies the sentence, it does not change its direction. A difference that is not
significant counts for neither side.

ROUGE-L moves with the length of answers alone. So each difference has the one at equal lengths beside it, where every
answer is cut to the length of its reference. An arm most of whose answers are cut at the token limit or empty is not
compared; nor is a pair whose difference turns at equal lengths, or of which neither is above chance (`chance.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from selfinstruct.run.scores import (
    BASE,
    FEW_SHOT,
    SEEDS_ONLY,
    TUNED,
    ArmScores,
    ChanceLevel,
    Comparison,
    Means,
    SetScores,
)
from tuning.evaluation.bootstrap import least_tasks
from tuning.evaluation.leakage import Leaks

_BASELINES = {
    BASE: "the base model",
    SEEDS_ONLY: "the model tuned on the seeds alone",
    FEW_SHOT: "the base model with examples in its prompt",
}
_MOST_UNFINISHED = 0.5
"""Share of an arm's answers that may be cut or empty."""


def verdict(
    comparisons: Sequence[Comparison],
    arms: Mapping[str, ArmScores],
    sets: Sequence[str],
    others: Sequence[str] = (),
    leaks: Leaks | None = None,
    unknown: Collection[str] = (),
) -> str:
    """Return one sentence on the tuned model for each set of tasks, by ROUGE-L.

    Args:
        comparisons: all that were made.
        arms: the arms that were evaluated, with their scores.
        sets: the sets that the verdict may rest on.
        others: sets of tasks that a program wrote; a sentence on each is added, marked as no part of the verdict.
        leaks: by arm and set, the tasks that the arm was trained on: comparisons with it leave them out.
        unknown: sets of which nobody says who wrote them; people wrote the others of `sets`.
    """
    if TUNED not in arms:
        return "No verdict: there is no tuned model."
    if not any(arm in _BASELINES for arm in arms):
        return "No verdict: there is no baseline to compare the tuned model with."
    by_set = {name: [c for c in comparisons if c.set == name] for name in (*sets, *others)}

    def author(name: str) -> str:
        return "" if name in unknown else " (written by people)"

    sentences = [text for name in sets if (text := _sentence(by_set[name], arms, author(name)))]
    left_out = _left_out(leaks or {}, (*sets, *others))
    if not sentences:
        why = "were not trained on" if left_out else "people wrote"
        sentences = [f"No verdict: there are no evaluation tasks that {'the models ' if left_out else ''}{why}."]
    for name in others:
        if text := _sentence(by_set[name], arms, " (written by a program)"):
            sentences.append(f"Beside the verdict: {text}")
    return " ".join([*sentences, *left_out])


def headline(
    comparisons: Sequence[Comparison],
    arms: Mapping[str, ArmScores],
    sets: Sequence[str],
    others: Sequence[str] = (),
    unknown: Collection[str] = (),
) -> str:
    """Return the verdict in one look: a sentence without figures, of at most 25 words.

    Args:
        comparisons: as for `verdict`.
        arms: likewise.
        sets: likewise.
        others: likewise; they are spoken of where `sets` show nothing.
        unknown: likewise.
    """
    if TUNED not in arms or not any(arm in _BASELINES for arm in arms):
        return ""
    by_set = {name: _shown([c for c in comparisons if c.set == name], arms) for name in (*sets, *others)}
    of_people, of_programs = ({by_set[name] for name in names if by_set[name]} for names in (sets, others))
    said = in_words(of_people, _where([name for name in sets if by_set[name]], unknown))
    if of_programs and not of_people & {"helped", "harmed", "mixed"}:
        beside = in_words(of_programs, "on tasks that a program wrote")
        return f"{said}; {beside[0].lower()}{beside[1:]}." if said else f"{beside}."
    if of_people == {"chance"}:
        return f"{said}, which says nothing about the data."
    return f"{said}." if said else ""


def _where(sets: Sequence[str], unknown: Collection[str]) -> str:
    if not any(name in unknown for name in sets):
        return "on tasks that people wrote"
    return f"on the tasks of {sets[0]}" if len(sets) == 1 else "on the evaluation tasks"


Shown = Literal["", "helped", "harmed", "mixed", "nothing", "chance", "incomparable"]
"""What the comparisons on one set show of the data; empty where nothing was compared."""


def _shown(of_set: Sequence[Comparison], arms: Mapping[str, ArmScores]) -> Shown:
    weighed = _weighed(of_set, arms)
    ordered = weighed.comparisons
    if not ordered:
        return ""
    if ordered[0].n_tasks < least_tasks(ordered[0].confidence):
        return "nothing"
    if not weighed.tuned_fault and weighed.at_chance:
        return "chance"
    fair = [c for c in ordered if not weighed.faults[c.b]]
    if weighed.tuned_fault or not fair:
        return "incomparable"
    signs = {_sign(c) for c in fair if c.b != FEW_SHOT}
    if 1 in signs:
        return "helped" if signs == {1} else "mixed"
    return "harmed" if -1 in signs else "nothing"


def in_words(shown: Collection[Shown], where: str) -> str:
    """Return the sentence that says what is shown, and on which tasks."""
    phrases: dict[Shown, str] = {
        "helped": f"The generated data helped {where}",
        "harmed": f"The generated data did harm {where}",
        "mixed": f"The generated data helped against some baselines only {where}",
        "nothing": f"No difference can be shown {where}",
        "chance": f"The models answer at chance level {where}",
        "incomparable": f"The models cannot be compared {where}",
    }
    if len(shown) > 1:
        shown = [what for what in shown if what != "chance"]  # It says nothing against what other sets show.
    if len(shown) > 1:
        return f"Sets disagree whether the generated data helped {where}"
    return next((text for what, text in phrases.items() if what in shown), "")


def _left_out(leaks: Leaks, sets: Sequence[str]) -> list[str]:
    """Return which tasks no comparison rests on, and why."""
    names = {TUNED: "the tuned model", **_BASELINES}
    return [
        f"Left out: {len(tasks)} task{'s' if len(tasks) > 1 else ''} of {name} that "
        f"{names.get(arm, arm)} was trained on, or on one very close."
        for arm, by_set in leaks.items()
        for name, tasks in by_set.items()
        if name in sets
    ]


def _sentence(of_set: Sequence[Comparison], arms: Mapping[str, ArmScores], author: str) -> str:
    """Return what one set shows; empty where nothing was compared."""
    weighed = _weighed(of_set, arms)
    ordered, faults = weighed.comparisons, weighed.faults
    if not ordered:
        return ""
    first = ordered[0]
    where = f"on the {first.n_tasks} task{'s' if first.n_tasks > 1 else ''} of {first.set}{author}"
    confidence = f"{100 * first.confidence:g} %"
    if first.n_tasks < (needed := least_tasks(first.confidence)):
        return f"No significant difference {where}: {confidence} confidence needs at least {needed} tasks."
    if weighed.tuned_fault:
        opening = f"Not comparable {where}, since of the tuned model's answers {weighed.tuned_fault}"
    elif weighed.at_chance:
        opening = f"At chance level {where}, which says nothing about the data"
    else:
        fair = [c for c in ordered if not faults[c.b]]
        opening = _headline(fair, where) if fair else f"Not comparable {where}"
    clauses = "; ".join(_clause(c, weighed.at_equal_lengths.get(c.b), faults[c.b]) for c in ordered)
    return f"{opening}: {clauses} (ROUGE-L, {confidence} intervals)."


@dataclass(frozen=True, slots=True)
class _Weighed:
    """A set's comparisons with the baselines by ROUGE-L, and what speaks against each.

    Attributes:
        comparisons: those, in the order of the baselines.
        at_equal_lengths: those at equal lengths, by baseline.
        faults: why a difference says nothing about quality, by baseline; empty if it may.
        tuned_fault: how many of the tuned model's answers are unfinished, if most are; else empty.
        at_chance: whether neither the tuned model nor any baseline without examples is above chance.
    """

    comparisons: list[Comparison]
    at_equal_lengths: dict[str, Comparison]
    faults: dict[str, str]
    tuned_fault: str
    at_chance: bool


def _weighed(of_set: Sequence[Comparison], arms: Mapping[str, ArmScores]) -> _Weighed:
    relevant = [c for c in of_set if c.a == TUNED and c.b in _BASELINES]
    ordered = sorted((c for c in relevant if c.metric == "rouge_l"), key=lambda c: list(_BASELINES).index(c.b))
    at_equal_lengths = {c.b: c for c in relevant if c.metric == "rouge_l_equal"}
    of = ordered[0].set if ordered else ""
    unfinished = {name: _unfinished(about.sets.get(of)) for name, about in arms.items()}
    by_chance = {name: chance for name, about in arms.items() if (chance := _at_chance(about.sets.get(of)))}
    faults = {
        c.b: _fault(c, at_equal_lengths.get(c.b), unfinished.get(c.b, ""), by_chance.get(TUNED), by_chance.get(c.b))
        for c in ordered
    }
    bare = [c.b for c in ordered if c.b != FEW_SHOT] or [c.b for c in ordered]
    at_chance = all(name in by_chance for name in (TUNED, *bare))
    return _Weighed(ordered, at_equal_lengths, faults, unfinished.get(TUNED, ""), at_chance)


def _at_chance(of_set: SetScores | None) -> ChanceLevel | None:
    """Return the chance level of an arm that is not above it."""
    return None if of_set is None or not of_set.chance or of_set.chance.above else of_set.chance


def _unfinished(means: Means | None) -> str:
    """Return how many of an arm's answers are cut or empty, if most are; else nothing."""
    shares = {"cut at the token limit": means.no_eos, "empty": means.empty} if means else {}
    known = {what: share for what, share in shares.items() if isinstance(share, float) and share > 0}
    if sum(known.values()) <= _MOST_UNFINISHED:
        return ""
    return " and ".join(f"{100 * share:.0f} % are {what}" for what, share in known.items())


def _fault(
    raw: Comparison,
    equal: Comparison | None,
    unfinished: str,
    tuned: ChanceLevel | None,
    baseline: ChanceLevel | None,
) -> str:
    """Return why a difference says nothing about quality; empty if it may.

    Args:
        raw: the comparison.
        equal: that at equal lengths.
        unfinished: how many of the baseline's answers are unfinished, if most are.
        tuned: the tuned model's chance level, if it is not above it.
        baseline: the baseline's, likewise.
    """
    if unfinished:
        return f"of its answers {unfinished}"
    if tuned and baseline:
        return (
            "neither is above chance, which is what its answers score with the references of other tasks "
            f"({tuned.mean:.1f} and {baseline.mean:.1f})"
        )
    if equal is not None and _sign(raw) * _sign(equal) < 0:
        return "the difference turns at equal lengths"
    return ""


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


def _clause(comparison: Comparison, equal: Comparison | None, fault: str) -> str:
    relation = "against" if _sign(comparison) < 0 else "over"
    note = f", not comparable, since {fault}" if fault else "" if comparison.significant else ", which includes 0"
    at_equal = f" ({_points(equal)} at equal lengths)" if equal is not None else ""
    return f"{_points(comparison)}{at_equal} {relation} {_BASELINES[comparison.b]}{note}"


def _points(comparison: Comparison) -> str:
    return f"{comparison.difference:+z.1f} [{comparison.low:z.1f}, {comparison.high:z.1f}]"
