"""Every sentence that a verdict can be."""

from __future__ import annotations

from typing import Any

import pytest

from selfinstruct.run.scores import BASE, FEW_SHOT, SEEDS_ONLY, TUNED, Comparison
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


def verdict(*found: Comparison, sets: tuple[str, ...] = ("eval_tasks",), others: tuple[str, ...] = ()) -> str:
    return of(found, sets, [TUNED, *dict.fromkeys(c.b for c in found)], others)


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
    assert of([], ["eval_tasks"], [BASE, FEW_SHOT]) == "No verdict: there is no tuned model."
    assert of([], [], [BASE, TUNED]) == "No verdict: there are no evaluation tasks that people wrote."
    assert "no baseline" in of([], ["eval_tasks"], [TUNED, "other"])
