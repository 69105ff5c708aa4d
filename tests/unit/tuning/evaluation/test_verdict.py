"""Every sentence that a verdict can be."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from selfinstruct.run.scores import BASE, FEW_SHOT, SEEDS_ONLY, TUNED, ArmScores, ChanceLevel, Comparison, SetScores
from tuning.evaluation.verdict import Shown, headline, in_words
from tuning.evaluation.verdict import verdict as of


def difference(b: str, low: float, high: float, name: str = "eval_tasks", **values: Any) -> Comparison:
    fields: dict[str, Any] = {
        "set": name,
        "metric": "rouge_l",
        "a": TUNED,
        "b": b,
        "difference": (low + high) / 2,
        "low": low,
        "high": high,
        "confidence": 0.95,
        "n": 90,
        "n_tasks": 60,
        "significant": not low <= 0 <= high,
    }
    return Comparison(**(fields | values))


def chance(low: float, high: float, mean: float = 3.3) -> dict[str, Any]:
    return {"chance": ChanceLevel(mean=mean, over=(low + high) / 2, low=low, high=high, above=low > 0)}


def arms(*names: str, **unfinished: dict[str, Any]) -> dict[str, ArmScores]:
    """Arms, all of whose answers end but for those shares; with their chance levels, if given."""
    fine = {"empty": 0.0, "no_eos": 0.0}
    sets = {name: SetScores(n=90, n_tasks=60, **(fine | unfinished.get(name, {}))) for name in names}  # type: ignore[arg-type]
    return {
        name: ArmScores(sets=dict.fromkeys(("eval_tasks", "mine", "made"), of_arm)) for name, of_arm in sets.items()
    }


def verdict(
    *found: Comparison,
    sets: tuple[str, ...] = ("eval_tasks",),
    others: tuple[str, ...] = (),
    leaks: Any = None,
    **unfinished: dict[str, float],
) -> str:
    return of(found, arms(TUNED, *dict.fromkeys(c.b for c in found), **unfinished), sets, others, leaks)


WHERE = "on the 60 tasks of eval_tasks (written by people)"
BETTER, SAME, WORSE = (1.0, 3.0), (-2.0, 2.0), (-5.0, -3.0)


def test_better_than_all() -> None:
    assert verdict(difference(BASE, 6, 10), difference(FEW_SHOT, 1, 2), difference(SEEDS_ONLY, 6.9, 9.8)) == (
        f"The generated data helped {WHERE}: +8.0 [6.0, 10.0] over the base model; "
        "+8.4 [6.9, 9.8] over the model tuned on the seeds alone; "
        "+1.5 [1.0, 2.0] over the base model with examples in its prompt (ROUGE-L, 95 % intervals)."
    )


def test_no_difference() -> None:
    assert verdict(difference(BASE, -1, 3), difference(FEW_SHOT, -2, 0)) == (
        f"No significant difference {WHERE}: +1.0 [-1.0, 3.0] over the base model, which includes 0; "
        "-1.0 [-2.0, 0.0] over the base model with examples in its prompt, which includes 0 (ROUGE-L, 95 % intervals)."
    )


@pytest.mark.parametrize(
    ("base", "seeds", "few_shot", "headline"),
    [
        (BETTER, BETTER, BETTER, f"The generated data helped {WHERE}:"),
        (BETTER, None, BETTER, f"Tuning on the generated data helped {WHERE}:"),
        (
            BETTER,
            BETTER,
            WORSE,
            f"The generated data helped {WHERE}, but the base model with examples in its prompt does better still:",
        ),
        (
            BETTER,
            None,
            SAME,
            (
                f"Tuning on the generated data helped {WHERE}, but is not significantly better than the base model "
                "with examples in its prompt:"
            ),
        ),
        (WORSE, WORSE, BETTER, f"The generated data did harm {WHERE}:"),
        (WORSE, None, SAME, f"Tuning on the generated data did harm {WHERE}:"),
        (
            BETTER,
            SAME,
            SAME,
            (
                "The tuned model is better than the base model and not significantly different from the model tuned on "
                f"the seeds alone and the base model with examples in its prompt {WHERE}:"
            ),
        ),
        (
            SAME,
            SAME,
            WORSE,
            (
                "The tuned model is worse than the base model with examples in its prompt and not significantly "
                f"different from the base model and the model tuned on the seeds alone {WHERE}:"
            ),
        ),
        (
            WORSE,
            BETTER,
            SAME,
            (
                "The tuned model is better than the model tuned on the seeds alone, worse than the base model and not "
                f"significantly different from the base model with examples in its prompt {WHERE}:"
            ),
        ),
        (None, None, WORSE, f"The tuned model is worse than the base model with examples in its prompt {WHERE}:"),
        (SAME, SAME, SAME, f"No significant difference {WHERE}:"),
    ],
)
def test_headline(base: Any, seeds: Any, few_shot: Any, headline: str) -> None:
    bounds = {BASE: base, SEEDS_ONLY: seeds, FEW_SHOT: few_shot}
    text = verdict(*(difference(arm, *found) for arm, found in bounds.items() if found))
    assert text.startswith(headline)
    assert text.count(" [") == sum(b is not None for b in bounds.values()), "every comparison is in it"


def test_worse_is_said_against() -> None:
    assert "-4.0 [-5.0, -3.0] against the base model" in verdict(difference(BASE, *WORSE))


def test_too_few_tasks() -> None:
    few = difference(BASE, 80, 90, n_tasks=5, significant=False)
    assert verdict(few) == (
        "No significant difference on the 5 tasks of eval_tasks (written by people): "
        "95 % confidence needs at least 6 tasks."
    )
    assert "on the 1 task of eval_tasks" in verdict(difference(BASE, 80, 90, n_tasks=1, significant=False))


def test_a_sentence_for_each_set() -> None:
    text = verdict(difference(BASE, 1, 3), difference(BASE, -1, 3, "mine"), sets=("eval_tasks", "mine"))
    assert text.count(f"helped {WHERE}") == 1
    assert text.count("No significant difference on the 60 tasks of mine") == 1


def test_tasks_that_a_program_wrote_are_beside_it() -> None:
    made = difference(BASE, 50, 60, "made")
    text = verdict(difference(BASE, -1, 3), made, others=("made",))
    assert text.startswith(verdict(difference(BASE, -1, 3)))
    assert text.endswith(
        "Beside the verdict: Tuning on the generated data helped on the 60 tasks of made (written by a program): "
        "+55.0 [50.0, 60.0] over the base model (ROUGE-L, 95 % intervals)."
    )
    alone = verdict(made, sets=(), others=("made",))
    assert alone.startswith("No verdict: there are no evaluation tasks that people wrote. Beside the verdict: ")


def test_an_arm_whose_answers_are_mostly_cut_or_empty_is_not_compared() -> None:
    """The case that was called harm: a base that rambles to the limit scores 4.0, and its tuned model 1.1."""
    harm = difference(BASE, -3.5, -2.3)
    equal = difference(BASE, -0.4, 0.2, metric="rouge_l_equal")
    assert verdict(harm, equal, base={"no_eos": 0.98, "empty": 0.01}) == (
        f"Not comparable {WHERE}: -2.9 [-3.5, -2.3] (-0.1 [-0.4, 0.2] at equal lengths) against the base model, not "
        "comparable, since of its answers 98 % are cut at the token limit and 1 % are empty "
        "(ROUGE-L, 95 % intervals)."
    )
    assert verdict(harm, tuned={"empty": 0.6}).startswith(
        f"Not comparable {WHERE}, since of the tuned model's answers 60 % are empty: -2.9"
    )
    fair = difference(FEW_SHOT, -5, -3)
    assert verdict(harm, fair, base={"no_eos": 0.98}).startswith(
        f"The tuned model is worse than the base model with examples in its prompt {WHERE}: -2.9"
    )
    assert verdict(harm, base={"no_eos": 0.3, "empty": 0.2}).startswith("Tuning on the generated data did harm")


def test_a_difference_that_turns_at_equal_lengths_is_no_difference() -> None:
    turned = difference(BASE, 1, 3, metric="rouge_l_equal")
    assert verdict(difference(BASE, *WORSE), turned) == (
        f"Not comparable {WHERE}: -4.0 [-5.0, -3.0] (+2.0 [1.0, 3.0] at equal lengths) against the base model, not "
        "comparable, since the difference turns at equal lengths (ROUGE-L, 95 % intervals)."
    )
    alike = difference(BASE, -1, 3, metric="rouge_l_equal")
    assert "did harm" in verdict(difference(BASE, *WORSE), alike)


NO_BETTER, ABOVE = chance(-0.9, 0.3), chance(0.8, 4.3, 1.7)


def test_two_arms_at_chance_level_say_nothing_about_the_data() -> None:
    """The demo's tasks that people wrote: 3.0 before, 1.5 after. Rambling shares words with any reference."""
    harm, fair = difference(BASE, -2.7, -0.1), difference(FEW_SHOT, -4.3, -1.0)
    tuned = chance(-0.1, 2.1, 0.7)
    assert verdict(harm, fair, base=NO_BETTER, tuned=tuned, **{FEW_SHOT: ABOVE}) == (
        f"At chance level {WHERE}, which says nothing about the data: -1.4 [-2.7, -0.1] against the base model, not "
        "comparable, since neither is above chance, which is what its answers score with the references of other tasks "
        "(0.7 and 3.3); -2.6 [-4.3, -1.0] against the base model with examples in its prompt (ROUGE-L, 95 % intervals)."
    )
    assert verdict(harm, base=ABOVE, tuned=tuned).startswith("Tuning on the generated data did harm")
    assert verdict(difference(BASE, 1, 3), base=NO_BETTER, tuned=ABOVE).startswith(
        "Tuning on the generated data helped"
    )
    seeds = difference(SEEDS_ONLY, -3, -1)
    only = verdict(harm, seeds, base=NO_BETTER, tuned=tuned, **{SEEDS_ONLY: ABOVE})
    assert only.startswith("The generated data did harm") and only.count("neither is above chance") == 1


def test_no_figure_is_minus_zero() -> None:
    text = verdict(difference(BASE, -0.04, 0.0, difference=-0.02), difference(BASE, -0.01, 0, metric="rouge_l_equal"))
    assert "+0.0 [0.0, 0.0] (+0.0 [0.0, 0.0] at equal lengths)" in text and "-0.0" not in text


def test_tasks_that_were_trained_on_are_said_to_be_left_out() -> None:
    leaks = {TUNED: {"eval_tasks": ["a", "b"], "other": ["c"]}, SEEDS_ONLY: {"eval_tasks": ["a"]}}
    text = verdict(difference(BASE, 1, 3), leaks=leaks)
    assert text.startswith("Tuning on the generated data helped")
    assert text.endswith(
        "intervals). Left out: 2 tasks of eval_tasks that the tuned model was trained on, or on one very close. "
        "Left out: 1 task of eval_tasks that the model tuned on the seeds alone was trained on, or on one very close."
    )
    nothing_left = of([], arms(TUNED, BASE), ["eval_tasks"], (), {TUNED: {"eval_tasks": ["a"]}})
    assert nothing_left == (
        "No verdict: there are no evaluation tasks that the models were not trained on. Left out: 1 task of "
        "eval_tasks that the tuned model was trained on, or on one very close."
    )


def test_it_rests_on_nothing_else() -> None:
    """Neither other sets nor other metrics nor other arms can turn it."""
    decoys = [
        difference(BASE, 50, 60, "validation_unseen"),
        difference(BASE, 50, 60, metric="exact_match"),
        difference("other", 50, 60),
        difference(BASE, 50, 60, a="other"),
    ]
    assert verdict(difference(BASE, -1, 3), *decoys) == verdict(difference(BASE, -1, 3))


def test_no_verdict() -> None:
    assert of([], arms(BASE, FEW_SHOT), ["eval_tasks"]) == "No verdict: there is no tuned model."
    assert of([], arms(BASE, TUNED), []) == "No verdict: there are no evaluation tasks that people wrote."
    assert "no baseline" in of([], arms(TUNED, "other"), ["eval_tasks"])


def at_a_glance(*found: Comparison, others: tuple[str, ...] = (), **unfinished: dict[str, Any]) -> str:
    said = headline(
        found, arms(TUNED, *dict.fromkeys(c.b for c in found), **unfinished), ("eval_tasks", "mine"), others
    )
    assert len(said.split()) <= 25
    assert not any(character.isdigit() for character in said)
    return said


PEOPLE, PROGRAM = "on tasks that people wrote", "on tasks that a program wrote"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([difference(BASE, *BETTER), difference(SEEDS_ONLY, *BETTER)], f"The generated data helped {PEOPLE}."),
        ([difference(BASE, *WORSE)], f"The generated data did harm {PEOPLE}."),
        ([difference(BASE, *SAME)], f"No difference can be shown {PEOPLE}."),
        ([difference(BASE, *SAME), difference(FEW_SHOT, *WORSE)], f"No difference can be shown {PEOPLE}."),
        ([difference(BASE, *SAME), difference(SEEDS_ONLY, *WORSE)], f"The generated data did harm {PEOPLE}."),
        (
            [difference(BASE, *BETTER), difference(SEEDS_ONLY, *WORSE)],
            f"The generated data helped against some baselines only {PEOPLE}.",
        ),
        (
            [difference(BASE, *BETTER), difference(BASE, *WORSE, name="mine")],
            f"Sets disagree whether the generated data helped {PEOPLE}.",
        ),
        (
            [difference(BASE, *SAME), difference(BASE, *BETTER, name="made")],
            f"No difference can be shown {PEOPLE}; the generated data helped {PROGRAM}.",
        ),
        ([difference(BASE, *BETTER), difference(BASE, *WORSE, name="made")], f"The generated data helped {PEOPLE}."),
        ([difference(BASE, *BETTER, name="made")], f"The generated data helped {PROGRAM}."),
        ([difference(BASE, *BETTER, n_tasks=3)], f"No difference can be shown {PEOPLE}."),
        ([], ""),
    ],
)
def test_the_verdict_in_one_look(found: list[Comparison], said: str) -> None:
    assert at_a_glance(*found, others=("made",)) == said


def test_answers_that_do_not_end_are_not_compared_at_a_glance() -> None:
    said = at_a_glance(difference(BASE, *BETTER), **{TUNED: {"no_eos": 0.9}})
    assert said == f"The models cannot be compared {PEOPLE}."


def test_who_wrote_a_set_is_said_only_where_it_is_known() -> None:
    found, compared = [difference(BASE, *BETTER, name="mine")], arms(TUNED, BASE)
    assert of(found, compared, ["mine"], unknown={"mine"}).startswith(
        "Tuning on the generated data helped on the 60 tasks of mine: +2.0"
    )
    assert headline(found, compared, ["mine"], unknown={"mine"}) == "The generated data helped on the tasks of mine."
    both = [*found, difference(BASE, *BETTER)]
    said = of(both, compared, ["mine", "eval_tasks"], unknown={"mine"})
    assert f"{WHERE}: " in said and "of mine: " in said
    glance = headline(both, compared, ["mine", "eval_tasks"], unknown={"mine"})
    assert glance == "The generated data helped on the evaluation tasks."


def test_chance_level_at_a_glance() -> None:
    harm, helped = difference(BASE, *WORSE), difference(BASE, *BETTER, name="made")
    at = {TUNED: NO_BETTER, BASE: NO_BETTER}
    assert at_a_glance(harm, **at) == f"The models answer at chance level {PEOPLE}, which says nothing about the data."
    sets = {"eval_tasks": NO_BETTER, "made": ABOVE, "mine": ABOVE}
    of_sets = {n: SetScores(n=90, n_tasks=60, empty=0.0, no_eos=0.0, **about) for n, about in sets.items()}
    both = {name: ArmScores(sets=of_sets) for name in (TUNED, BASE)}
    assert headline([harm, helped], both, ["eval_tasks"], ["made"]) == (
        f"The models answer at chance level {PEOPLE}; the generated data helped {PROGRAM}."
    )
    mine = difference(BASE, *BETTER, name="mine")
    assert headline([harm, mine], both, ["eval_tasks", "mine"]) == f"The generated data helped {PEOPLE}."


def test_the_verdict_in_one_look_has_at_most_25_words_whatever_the_sets_show() -> None:
    shown: list[set[Shown]] = [{what} for what in get_args(Shown) if what] + [{"helped", "nothing"}]
    for people in shown:
        for programs in shown:
            both = f"{in_words(people, PEOPLE)}; {in_words(programs, PROGRAM)}"
            assert people & {"helped", "harmed", "mixed"} or len(both.split()) <= 25, both
