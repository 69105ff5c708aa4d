"""A run with every stage done, for the tests of report and status.

Generation is real (on the scripted engine), the rest is made by hand.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from selfinstruct.config.schema import Config
from selfinstruct.dataset.export import export
from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.formats import jsonl
from selfinstruct.records import SEEN, UNSEEN, Completion
from selfinstruct.run.folders import EvaluationDirectory
from selfinstruct.run.scores import BASE, FEW_SHOT, SEEDS_ONLY, TUNED
from tests.conftest import THINGS, run_scripted, script

if TYPE_CHECKING:
    from tuning.evaluation.answers import Answer
    from tuning.evaluation.score_rows import EvaluationRows

HOSTILE = "</script></style><img src=http://evil.example/x.png onerror=alert(1)>\x00\ud800\u202e{{ 7*7 }} $x$ &amp; "
HOSTILE += "long" * 2_000


def hostile_script(request: Request) -> Completion:
    """Like `script`, but texts hold what a page must not."""
    answer = script(request)
    kind = request.key.partition("/")[0]
    nasty = "<script>alert(1)</script></p> & \"q\" 'q' {{ 7*7 }} http://evil.example"
    if kind == "proposal":
        text = answer.text.replace(".", f" {nasty}.", 1) + f"Task 14: Explain the bad character \x00 of {THINGS[3]}.\n"
        return Completion(text, "stop", answer.prompt_tokens, answer.completion_tokens)
    if kind == "instances" and "Output:" in answer.text:
        return Completion(answer.text + f"\nExample 3\nInput: {HOSTILE}\nOutput: {HOSTILE}!", "stop", 9, 9)
    return answer


def generated(config: Config, *, hostile: bool = False) -> Path:
    """A run of which generation alone is done."""
    run_scripted(config, ScriptedEngine(hostile_script if hostile else script))
    return Path(str(config.output_dir))


def metrics(run: Path, rows: int = 200) -> None:
    """An hour of work with a night in between."""
    draw = random.Random(1)
    with (run / "metrics.jsonl").open("w") as stream:
        for k in range(rows):
            time = 1_790_000_000 + 18 * k + (30_000 if k > rows // 2 else 0)
            row = {
                "time": time,
                "accepted": 30 * k // rows,
                "proposals": k,
                "completion_tokens": 30_000 * k,
                "completion_tokens_per_s": 1700 + draw.gauss(0, 120),
                "accepted_per_s": 0.2,
            }
            stream.write(json.dumps(row) + "\n")
        stream.write('{"time": 17900')


def tuned(run: Path, folder: str = "model", **changes: Any) -> None:
    """A tuning run's record, in the form of `tuning.training.record`."""
    steps = range(10, 310, 10)
    record = {
        "state": "finished",
        "exit_code": 0,
        "error": None,
        "model": "demo",
        "method": "full",
        "rows": {"train": 190, "validation_seen": 8, "validation_unseen": 11, "trained_on": 190},
        "findings": [
            {"name": "leak", "message": "2 training rows <b>have</b> the prompt of a validation row", "count": 2}
        ],
        "arguments": {
            "learning_rate": 0.001,
            "num_train_epochs": 3.0,
            "per_device_train_batch_size": 8,
            "packing": False,
        },
        "given": ["learning_rate", "num_train_epochs"],
        "parameters": {"total": 3_500_000, "trainable": 3_500_000},
        "machine": {"device": "cpu", "num_processes": 1},
        "tokens": {"train": 20_000, "learnt": 6_000},
        "steps": 300,
        "epochs": 3.0,
        "runtime": {"startup_s": 4.0, "train_s": 127.0, "total_s": 131.0, "steps_per_s": 2.36, "tokens_per_s": 4100.0},
        "loss": {
            "train": [
                {"step": s, "epoch": s / 100, "loss": 1.2 + 2.6 / (1 + s / 40), "learning_rate": 0.001} for s in steps
            ],
            "evaluation": {
                "validation_seen": [{"step": s, "loss": 1.5 + 2.4 / (1 + s / 40)} for s in (0, 100, 200, 300)],
                "validation_unseen": [{"step": s, "loss": 1.7 + 2.3 / (1 + s / 40)} for s in (0, 100, 200, 300)],
            },
            "base": {"validation_seen": 3.9, "validation_unseen": 4.0},
            "final": {"validation_seen": 1.78, "validation_unseen": 1.97},
        },
    }
    jsonl.write_json(run / folder / "training.json", record | changes)


def evaluated(run: Path, config: Config, *, hostile: bool = False) -> None:
    """Predictions made up, scores as `tuning.evaluation` makes them of these."""
    from tuning.evaluation.answer_cache import AnswerCache
    from tuning.evaluation.answers import Arm
    from tuning.evaluation.score_rows import score

    quality = {BASE: 0.15, FEW_SHOT: 0.35, SEEDS_ONLY: 0.45, TUNED: 0.75}
    arms = [Arm(name, "demo", "few_shot" if "few" in name else "zero_shot") for name in quality]
    rows = measured(list(quality), predictions(quality, hostile=hostile), hostile=hostile)
    rows.write(AnswerCache(EvaluationDirectory(run / "evaluation")))
    few = config.evaluate.model_copy(update={"num_resamples": 200})  # The width of an interval is not looked at.
    scores = score(arms, rows, few, config.seed)
    jsonl.write_json(run / "evaluation" / "scores.json", msgspec.to_builtins(scores))


def predictions(quality: dict[str, float], *, hostile: bool) -> dict[str, list[Answer]]:
    """Answers of which some are right, by arm; the better the arm, the more."""
    from tuning.evaluation.answers import Answer

    draw = random.Random(2)
    words = "the tram was late again and nobody knew why it had stopped near the old bridge".split()
    answers: dict[str, list[Answer]] = {arm: [] for arm in quality}
    for name, tasks in ((UNSEEN, 12), (SEEN, 9), ("eval_tasks", 60)):
        for k in range(tasks):
            reference = " ".join(draw.choices(words, k=8)) if k % 3 else draw.choice(["yes", "no"])
            for arm, good in quality.items():
                heard = [w if draw.random() < good else draw.choice(words) for w in reference.split()]
                ended = draw.random() < good
                answers[arm].append(
                    Answer(
                        id=f"t{k}-0",
                        task=f"t{k}",
                        set=name,
                        category=["extraction", "rewriting", "labels"][k % 3] if name == "eval_tasks" else "",
                        is_classification=k % 3 == 0,
                        instruction=f"Rewrite sentence {k} so that a child gets it.",
                        input="The tram,\nas ever, was late." if k % 2 else "",
                        references=(reference,),
                        response=HOSTILE if hostile else " ".join(heard) * (1 if ended else 3),
                        finish_reason="stop" if ended else "length",
                        completion_tokens=9,
                        reference_logprob=-14.0 * (1.2 - good),
                        reference_tokens=9,
                    )
                )
    return answers


def measured(arms: list[str], answers: dict[str, list[Answer]], *, hostile: bool) -> EvaluationRows:
    """These predictions, and rows of everything else that an evaluation can measure."""
    from tuning.evaluation.consistency import Variant
    from tuning.evaluation.forgetting import Chunk
    from tuning.evaluation.ifeval import ConstrainedAnswer
    from tuning.evaluation.judge import Judgement
    from tuning.evaluation.lm_eval_tasks import TaskResult
    from tuning.evaluation.score_rows import EvaluationRows

    text = HOSTILE if hostile else "yes"
    about: dict[str, Any] = {"set": "eval_tasks", "response": text}
    kinds: tuple[Any, ...] = ("asked", "paraphrase")
    variants = [
        Variant(**about, id=f"q{k}/{kind}/0", of=f"q{k}", task=f"t{k}", kind=kind) for k in range(8) for kind in kinds
    ]
    checked: dict[str, Any] = {"instructions": ["punctuation:no_comma"], "strict": (False,), "loose": (True,)}
    checked |= {"sentences_by": "punkt_tab"}
    judged: dict[str, Any] = {"set": "eval_tasks", "asked": True, "question": text, "text": text, "a": text, "b": text}
    sides: tuple[Any, ...] = ("a", "b")
    judgements = [
        Judgement(**judged, id=f"q{k}", task=f"t{k}", key="", first=first, choice="a" if k else None)
        for k in range(8)
        for first in sides
    ]
    result = TaskResult(task="yes_no", metric="acc", filter="none", value=0.75, stderr=0.1, higher_is_better=True, n=20)
    return EvaluationRows(
        predictions=answers,
        consistency=dict.fromkeys(arms, variants),
        ifeval={
            arm: [ConstrainedAnswer(**about, **checked, id=f"i{k}", task=f"i{k}") for k in range(3)] for arm in arms
        },
        plain_text={arm: [Chunk(id=f"c{k}", logprob=-900.0, tokens=300, bytes=2000) for k in range(7)] for arm in arms},
        judgements={arm: judgements for arm in arms if arm != TUNED},
        lm_eval={arm: [result] for arm in arms},
    )


def complete(config: Config, *, hostile: bool = False) -> Path:
    """A run with every stage done but the report."""
    run = generated(config, hostile=hostile)
    metrics(run)
    export(config)
    tuned(run)
    tuned(run, "model-seeds")
    evaluated(run, config, hostile=hostile)
    return run
