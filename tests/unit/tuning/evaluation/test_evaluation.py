"""The evaluation stage on a scripted engine: what is asked, what is kept, what is asked again, and the scores."""

from __future__ import annotations

import asyncio
import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.config.later_stages import Tune
from selfinstruct.config.schema import Config
from selfinstruct.engines import chat_templates
from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.engines.models import model_fingerprint
from selfinstruct.errors import ConfigError, EngineError, InputError, Interrupted
from selfinstruct.generation.examples import Examples
from selfinstruct.generation.frame import load_frame
from selfinstruct.generation.prompts import encode_answer, next_example
from selfinstruct.program_edge import run_program
from selfinstruct.records import Completion, Instance, SeedTask
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.scores import LossGap
from selfinstruct.run.training_record import MixedIn, TrainingRecord, write_training_record
from selfinstruct.signals import leave, on_signals
from tests.evaluation_fakes import Model, Starter, says
from tuning.evaluate import main
from tuning.evaluation import tables
from tuning.evaluation.answers import Answer, Arm, answer
from tuning.evaluation.evaluation import arms_of, evaluate, score_saved
from tuning.evaluation.evaluation_plan import EvaluationPlan
from tuning.evaluation.questions import BENCHMARK_STOP, Question, load_questions, spread
from tuning.training import prompt_formats


def held_out(name: str, output: str, given: str = "") -> dict[str, Any]:
    instruction = f"Do the held-out thing {name.split('-')[0]}."
    return {"id": name, "instruction": instruction, "input": given, "output": output, "is_classification": False}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """Eight tasks; the first two are classification, the third has two references for one question."""
    rows = [
        {
            "id": f"e{k}",
            "instruction": f"Do the evaluated thing {k}.",
            "instances": [{"input": f"given {k}", "output": "the answer" if k < 4 else "something else"}],
            "is_classification": k < 2,
            "category": "even" if k % 2 == 0 else "odd",
        }
        for k in range(8)
    ]
    rows[2]["instances"] = [
        {"input": "x", "output": "one"},
        {"input": "y", "output": "z"},
        {"input": "x", "output": "uno"},
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.dataset.path.mkdir(parents=True)
    run.model.path.mkdir()
    (run.model.path / "config.json").write_text("{}")
    rows = [held_out("p1-0", "a b c"), held_out("p1-1", "d", "with input"), held_out("p2-0", "the answer")]
    (run.dataset.path / "validation_unseen.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


@pytest.fixture
def config(make_config: Any, tasks: Path) -> Config:
    config: Config = make_config(evaluate={"tasks": [str(tasks)], "num_resamples": 200, "max_tokens": 20})
    return config


def saved(run: RunDirectory, arm: str) -> list[dict[str, Any]]:
    lines = (run.evaluation.path / f"predictions-{arm}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


# --------------------------------------------------------------------------------------------- the stage


def test_the_whole_stage(config: Config, run: RunDirectory) -> None:
    start = Starter(scripted=says("wrong"))
    scores = evaluate(config, run, start=start)

    assert start.models == ["scripted", "model"], "both arms of the base share an engine"
    assert all(engine.closed for _, engine in start.started)
    assert run.evaluation.scores() == scores
    assert list(scores.arms) == ["base", "base-few-shot", "tuned"]
    assert [arm.prompting for arm in scores.arms.values()] == ["zero_shot", "few_shot", "zero_shot"]
    mine = scores.arms["tuned"].sets["mine"]
    assert (mine.n, mine.n_tasks, mine.exact_match, mine.stopped) == (9, 8, 100.0, 1.0)
    assert mine.rouge_l == pytest.approx(100 * 3 / 9)
    assert mine.rouge_l_interval and mine.rouge_l_interval[0] < mine.rouge_l < mine.rouge_l_interval[1]
    assert set(mine.per_category) == {"even", "odd"}
    found = {(c.set, c.metric, c.a, c.b): c for c in scores.comparisons}
    assert found["mine", "rouge_l", "tuned", "base"].difference == pytest.approx(100 * 3 / 9)
    assert found["mine", "exact_match", "tuned", "base-few-shot"].n_tasks == 2
    assert ("validation_unseen", "exact_match", "tuned", "base") not in found, "it has no classification task"
    assert scores.verdict.startswith(
        "At chance level on the 8 tasks of mine, which says nothing about the data: +33.3 ["
    ), "each model gives one answer to all tasks"
    assert "validation_unseen" not in scores.verdict
    assert "(+33.3 [" in scores.verdict, "at equal lengths"
    assert "Left out" not in scores.verdict and not scores.leaks


@pytest.mark.parametrize(
    ("answer", "opening"),
    [
        ("It is {word}.", "Tuning on the generated data helped on the 9 tasks"),
        ("It is a river or a lake.", "At chance level on the 9 tasks"),
    ],
)
def test_older_scores_learn_their_chance_level_from_the_kept_answers(
    config: Config, run: RunDirectory, tmp_path: Path, answer: str, opening: str
) -> None:
    words = ["river", "lake", "hill", "tree", "bird", "fish", "stone", "cloud", "house"]
    rows = [
        {
            "id": word,
            "instruction": f"Which is it: {word}?",
            "instances": [{"input": "", "output": f"a {word}"}],
            "is_classification": False,
        }
        for word in words
    ]
    (tmp_path / "words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def tuned(request: Any) -> Completion:
        word = next((word for word in words if f": {word}?" in str(request.prompt)), "")
        return Completion(answer.format(word=word), "stop", 5, 3)

    options = changed(config, tasks=(str(tmp_path / "words.jsonl"),))
    first = evaluate(options, run, start=Starter(scripted=says("It is it."), model=tuned))
    assert first.verdict.startswith(opening)
    older = json.loads(run.evaluation.scores_path.read_text()) | {"headline": "", "verdict": ""}
    for arm in older["arms"].values():
        for of_set in arm["sets"].values():
            of_set.pop("chance")
    run.evaluation.scores_path.write_text(json.dumps(older))
    assert score_saved(run, options.evaluate, options.seed) == first


def test_a_base_that_does_not_end_is_not_compared(config: Config, run: RunDirectory) -> None:
    scores = evaluate(config, run, start=Starter(scripted=says("and on " * 20, "length"), model=says("")))
    assert scores.verdict.startswith(
        "Not comparable on the 8 tasks of mine, since of the tuned model's answers 100 % are empty"
    )
    assert scores.verdict.count("since of its answers 100 % are cut at the token limit") == 2


@pytest.mark.parametrize("form", ["the instruction", "the whole message, without an instruction of its own"])
def test_tasks_that_an_arm_was_trained_on_are_no_part_of_its_comparisons(
    config: Config, run: RunDirectory, form: str
) -> None:
    rows = []
    for k in (0, 3):
        asked = f"Do the evaluated thing {k}."
        content = asked if form == "the instruction" else f"{asked}\n\ngiven {k}"
        row = {"prompt": [{"role": "user", "content": content}], "completion": [{"role": "assistant", "content": "x"}]}
        rows.append(row | ({"instruction": asked} if form == "the instruction" else {}))
    run.dataset.split("train").write_text("".join(json.dumps(row) + "\n" for row in rows))
    distinct = "sort paint count weigh draw bake sing fold".split()
    path = Path(config.evaluate.tasks[0])
    tasks = [json.loads(line) for line in path.read_text().splitlines()]
    for task, verb in zip(tasks, distinct, strict=True):
        if task["id"] not in ("e0", "e3"):
            task["instruction"] = f"Please {verb} whatever is given below, once or twice."
    path.write_text("".join(json.dumps(task) + "\n" for task in tasks))
    scores = evaluate(config, run, start=Starter(scripted=says("no")))
    assert scores.leaks == {"tuned": {"mine": ["e0", "e3"]}}
    assert {c.n_tasks for c in scores.comparisons if (c.set, c.metric) == ("mine", "rouge_l")} == {6}
    assert scores.verdict.endswith(
        "Left out: 2 tasks of mine that the tuned model was trained on, or on one very close."
    )
    assert scores.arms["tuned"].sets["mine"].n_tasks == 8, "its scores are as they are"
    assert score_saved(run, config.evaluate, config.seed) == scores


def test_the_record_of_a_further_model_says_what_it_was_trained_on(
    config: Config, run: RunDirectory, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    write_training_record(other / "training.json", TrainingRecord(dataset_dir=str(tmp_path / "elsewhere")))
    (tmp_path / "elsewhere").mkdir()
    row: dict[str, Any] = {"prompt": [{"role": "user", "content": "Do the evaluated thing 7."}]}
    row |= {"completion": [{"role": "assistant", "content": "x"}]}
    (tmp_path / "elsewhere" / "train.jsonl").write_text(json.dumps(row))
    scores = evaluate(config, run, [f"other={other}"], start=Starter())
    assert scores.leaks and "e7" in scores.leaks["other"]["mine"] and "tuned" not in scores.leaks


def test_saved_predictions(config: Config, run: RunDirectory) -> None:
    evaluate(config, run, start=Starter())
    assert saved(run, "tuned")[0] == {
        "id": "p1-0",
        "task": "p1-0",
        "set": "validation_unseen",
        "category": "",
        "is_classification": False,
        "instruction": "Do the held-out thing p1.",
        "input": "",
        "references": ["a b c"],
        "written_by": "model",
        "stemmer": False,
        "prompt": "<user>Do the held-out thing p1.",
        "response": "the answer",
        "finish_reason": "stop",
        "completion_tokens": 3,
        "reference_logprob": -8.0,
        "reference_tokens": 4,
    }
    second = saved(run, "tuned")[1]
    assert second["task"] == "p1-0", "rows of one instruction are one task"
    assert second["prompt"] == "<user>Do the held-out thing p1.\n\nwith input"
    x = [row for row in saved(run, "base") if row["id"] == "e2-0"]
    assert x[0]["references"] == ["one", "uno"], "outputs of one input are references of one question"


def test_predictions_can_be_scored_alone(config: Config, run: RunDirectory) -> None:
    from tuning.evaluation.metrics import score_predictions

    scores = evaluate(config, run, start=Starter())
    alone = score_predictions(run.evaluation.path / "predictions-tuned.jsonl", reference_field="references")
    sets = scores.arms["tuned"].sets.values()
    assert alone.rouge_l == pytest.approx(sum((s.rouge_l or 0) * s.n for s in sets) / sum(s.n for s in sets))


def test_validation_loss_counts_the_end_token_and_only_bare_questions(config: Config, run: RunDirectory) -> None:
    start = Starter()
    scores = evaluate(config, run, start=start)
    base = start.started[0][1]
    assert base.measured == [[1, 1, 1, 1000], [1, 1000], [3, 6, 1000]]
    assert scores.arms["base"].sets["validation_unseen"].loss == 2.0
    assert not scores.arms["base-few-shot"].sets["validation_unseen"].loss
    assert not scores.arms["base"].sets["mine"].loss


def test_without_a_tuned_model(config: Config, run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(run.model.path)
    scores = evaluate(config, run, start=Starter())
    assert list(scores.arms) == ["base", "base-few-shot"]
    assert scores.comparisons == []
    assert scores.verdict == "No verdict: there is no tuned model."
    assert "holds no tuned model yet" in capsys.readouterr().err


def test_without_held_out_rows(config: Config, run: RunDirectory) -> None:
    for content in ("", None):
        path = run.dataset.path / "validation_unseen.jsonl"
        path.write_text(content) if content is not None else path.unlink()
        assert list(evaluate(config, run, start=Starter()).arms["tuned"].sets) == ["mine"]


def test_on_held_out_rows_alone_there_is_no_verdict(config: Config, run: RunDirectory) -> None:
    alone = config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"tasks": ()})})
    scores = evaluate(alone, run, start=Starter())
    assert scores.comparisons
    assert scores.verdict == "No verdict: there are no evaluation tasks that people wrote."
    (run.dataset.path / "validation_unseen.jsonl").unlink()
    with pytest.raises(ConfigError, match="nothing to evaluate on"):
        evaluate(alone, run, start=Starter())


def test_tasks_that_a_program_wrote_are_no_part_of_the_verdict(config: Config, run: RunDirectory, tasks: Path) -> None:
    rows = [json.loads(line) for line in tasks.read_text().splitlines()]
    made = tasks.with_name("made.jsonl")
    made.write_text("".join(json.dumps(row | {"written_by": "program"}) + "\n" for row in rows))
    both = changed(config, tasks=(*config.evaluate.tasks, str(made)))
    scores = evaluate(both, run, start=Starter(scripted=says("no")))
    assert scores.arms["tuned"].sets["made"].written_by == "program"
    before, beside, after = scores.verdict.partition(" Beside the verdict: ")
    assert ("mine" in before, "made" in before) == (True, False)
    assert beside and "on the 8 tasks of made (written by a program)" in after
    rows[3]["written_by"] = "program"
    tasks.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert evaluate(config, run, start=Starter()).verdict.startswith("No verdict"), "one such task spoils a set"


def test_the_gap_between_seen_and_unseen_tasks(config: Config, run: RunDirectory) -> None:
    seen = [held_out(f"s{k}-1", "the answer") for k in range(4)]
    (run.dataset.path / "validation_seen.jsonl").write_text("".join(json.dumps(row) + "\n" for row in seen))
    scores = evaluate(config, run, start=Starter(scripted=says("no")))
    tuned, base, few_shot = (scores.arms[arm].gap for arm in ("tuned", "base", "base-few-shot"))
    assert tuned and base and few_shot
    assert (tuned.rouge_l.seen, tuned.rouge_l.seen_tasks) == (100.0, 4)
    assert tuned.rouge_l.unseen == pytest.approx(100 / 3)
    assert tuned.rouge_l_over_base and tuned.rouge_l_over_base.difference == pytest.approx(200 / 3)
    assert tuned.loss == LossGap(seen=2.0, unseen=2.0, difference=0.0)
    assert base.rouge_l.difference == 0
    assert not base.rouge_l_over_base
    assert not few_shot.loss
    assert "validation_seen" not in scores.verdict


def test_the_gap_of_the_mixed_datasets(config: Config, run: RunDirectory, tmp_path: Path) -> None:
    rows = [
        {"inputs": f"Do {task}, {k}.", "targets": "the answer" if task < 9 else "no", "_task_name": f"t{task}"}
        for task in range(10)
        for k in range(20)
    ]
    (tmp_path / "flan.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mixture = [MixedIn(str(tmp_path / "flan.jsonl"), 200, 171, 0, held_out=["t8", "t9"])]
    record = TrainingRecord(arguments={"mix_hold_out": "task", "seed": 1}, mixture=mixture)
    write_training_record(run.model.record_path, record)
    options = config.evaluate.model_copy(update={"held_out_by": "task"})
    scores = evaluate(config.model_copy(update={"evaluate": options}), run, start=Starter(scripted=says("wrong")))
    tuned = scores.arms["tuned"].mixture_gap
    assert tuned and (tuned.rouge_l.seen, tuned.rouge_l.unseen) == (100.0, 50.0)
    assert tuned.rouge_l_over_base and tuned.rouge_l_over_base.difference == 50.0
    assert scores.arms["tuned"].gap != tuned
    assert "mixture_" not in scores.verdict and "mixture_" not in (scores.headline or "")
    (table,) = [table for table in tables.tables(scores, str) if "mixed" in table.title]
    assert table.rows[-2][:3] == ["tuned: ROUGE-L", "100.0", "50.0"]


def test_scoring_alone_needs_neither_engine_nor_tasks_nor_models(
    config: Config, run: RunDirectory, tasks: Path
) -> None:
    first = evaluate(config, run, ["other=some/model"], start=Starter(scripted=says("no")))
    tasks.unlink()
    shutil.rmtree(run.model.path)
    shutil.rmtree(run.dataset.path)
    assert score_saved(run, config.evaluate, config.seed) == first
    assert score_saved(run, changed(config, confidence=0.5).evaluate, config.seed).settings["confidence"] == 0.5
    (run.evaluation.scores_path).unlink()
    alone = score_saved(run, config.evaluate, config.seed)
    assert alone.verdict == first.verdict
    assert list(alone.arms) == ["base", "base-few-shot", "tuned", "other"]


def test_scoring_alone_without_predictions(config: Config, run: RunDirectory) -> None:
    with pytest.raises(InputError, match="holds no predictions to score; run `selfinstruct evaluate"):
        score_saved(run, config.evaluate, config.seed)


def test_benchmark_questions(config: Config, run: RunDirectory, tmp_path: Path) -> None:
    path = tmp_path / "task1.json"
    task = {
        "Definition": ["Name the plural"],
        "Categories": ["Word Analogy"],
        "Positive Examples": [{"input": "cat", "output": "cats"}],
        "Instances": [{"id": f"i{k}", "input": f"dog {k}", "output": ["running", "dogs"]} for k in range(7)],
    }
    path.write_text(json.dumps(task))
    start = Starter(scripted=says(" runs\n"), model=says("runs"))
    scores = evaluate(changed(config, tasks=(str(path),)), run, start=start)
    prompt = (
        "Definition: Name the plural.\n\n Positive Example 1 -\nInput: cat.\n Output: cats.\n\n"
        "Now complete the following example -\nInput: dog 0.\nOutput:"
    )
    rows = {arm: next(row for row in saved(run, arm) if row["set"] == "task1") for arm in scores.arms}
    assert rows["tuned"]["prompt"] == f"<user>{prompt} "
    assert rows["base-few-shot"]["prompt"] == prompt
    assert rows["base-few-shot"]["response"] == "runs"
    few_shot = [r for r in start.started[0][1].history if r.key.startswith("base-few-shot/task1")]
    assert "\nInput:" in few_shot[0].stop
    found = scores.arms["tuned"].sets["task1"]
    assert (found.rouge_l, found.exact_match, found.n_tasks) == (100.0, 0.0, 1), "scored by stems"
    assert scores.settings["stemmer"] == ["task1"]
    assert again(changed(config, tasks=(str(path),), num_positive_examples=0), run) == ["scripted", "model"]


def test_an_answer_to_a_benchmark_is_scored_as_it_was_written(
    config: Config, run: RunDirectory, tmp_path: Path
) -> None:
    """Our own markers mean nothing in a benchmark's prompt: an answer that holds one was cut there."""
    path = tmp_path / "task1.json"
    task = {
        "Definition": "List them.",
        "Instances": [{"input": "a", "output": "one\nExample 2\nInput: two\nOutput: three"}],
    }
    path.write_text(json.dumps(task))
    start = Starter(scripted=says(" one\nExample 2\nInput: two\nOutput: three"))
    scores = evaluate(changed(config, tasks=(str(path),)), run, start=start)
    assert scores.arms["base-few-shot"].sets["task1"].rouge_l == 100
    asked = next(r for r in start.started[0][1].history if r.key.startswith("base-few-shot/task1"))
    assert asked.stop == BENCHMARK_STOP


def test_seeds_only_and_further_arms(config: Config, run: RunDirectory) -> None:
    shutil.copytree(run.model.path, run.seeds_model.path)
    scores = evaluate(config, run, ["other=some/model"], start=Starter(scripted=says("no"), model=says("the answer")))
    assert list(scores.arms) == ["base", "base-few-shot", "tuned", "seeds-only", "other"]
    pairs = {(c.a, c.b) for c in scores.comparisons}
    assert pairs == {("tuned", other) for other in ("base", "base-few-shot", "seeds-only", "other")}
    assert (
        "+0.0 [0.0, 0.0] (+0.0 [0.0, 0.0] at equal lengths) over the model tuned on the seeds alone" in scores.verdict
    )


# ------------------------------------------------------------------------------------------------- reuse


def again(config: Config, run: RunDirectory) -> list[str]:
    """The models whose engines a further evaluation starts."""
    start = Starter()
    evaluate(config, run, start=start)
    return start.models


def changed(config: Config, **values: Any) -> Config:
    return config.model_copy(update={"evaluate": config.evaluate.model_copy(update=values)})


def test_the_second_run_asks_nothing(config: Config, run: RunDirectory) -> None:
    first = evaluate(config, run, start=Starter())
    before = files_of(run)
    start = Starter()
    assert evaluate(config, run, start=start) == first
    assert start.models == []
    assert files_of(run) == before


def files_of(run: RunDirectory) -> dict[str, bytes]:
    folder = run.evaluation.path
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_asking_something_else_forgets_nothing(config: Config, run: RunDirectory, tmp_path: Path) -> None:
    """Another task file: only its questions are asked. Back to the first one: nothing is asked."""
    first = evaluate(config, run, start=Starter())
    other = tmp_path / "other.jsonl"
    task = {"id": "o", "instruction": "Another thing.", "is_classification": False}
    other.write_text(json.dumps(task | {"instances": [{"input": "", "output": "x"}]}))
    start = Starter()
    evaluate(changed(config, tasks=(str(other),)), run, start=start)
    assert {request.key for _, engine in start.started for request in engine.history} == {
        f"{arm}/other/o-0" for arm in ("base", "base-few-shot", "tuned")
    }, "the held-out rows were answered before"
    assert evaluate(config, run, start=Starter()) == first
    assert again(changed(config, tasks=(*config.evaluate.tasks, str(other))), run) == []


@pytest.mark.parametrize("fault", ["a broken file", "an engine that dies"])
def test_a_failed_evaluation_changes_nothing(config: Config, run: RunDirectory, tmp_path: Path, fault: str) -> None:
    evaluate(config, run, start=Starter())
    before = files_of(run)
    other = tmp_path / "other.jsonl"
    task = {"id": "o", "instruction": "Another thing.", "is_classification": False}
    other.write_text(json.dumps(task | {"instances": [{"input": "", "output": "x"}]}))
    if fault == "a broken file":
        other.write_text("{}")
    with pytest.raises((InputError, EngineError)):
        evaluate(changed(config, tasks=(str(other),)), run, start=Starter(model=EngineError("gone")))
    after = files_of(run)
    assert after.keys() == before.keys()
    assert {name for name in before if after[name] != before[name]} <= {name for name in before if "kept/" in name}


def test_scoring_options_ask_nothing(config: Config, run: RunDirectory) -> None:
    evaluate(config, run, start=Starter())
    assert again(changed(config, num_resamples=300, confidence=0.5), run) == []
    assert json.loads((run.evaluation.scores_path).read_text())["settings"]["confidence"] == 0.5


def test_what_changed_is_asked_again(config: Config, run: RunDirectory, tasks: Path) -> None:
    evaluate(config, run, start=Starter())
    assert again(changed(config, max_tokens=21), run) == ["scripted", "model"]
    evaluate(config, run, start=Starter())
    (run.model.path / "config.json").write_text('{"tuned": "again"}')
    assert again(config, run) == ["model"]
    (run.model.path / "model.safetensors").write_bytes(b"weights")
    assert again(config, run) == ["model"]
    tasks.write_text(tasks.read_text().replace("evaluated thing 7", "evaluated thing 77"))
    assert again(config, run) == ["scripted", "model"]
    (run.evaluation.path / "kept" / "predictions-tuned.jsonl").unlink()
    assert again(config, run) == ["model"]


def test_other_examples_concern_the_few_shot_arm_alone(config: Config, run: RunDirectory) -> None:
    evaluate(config, run, start=Starter())
    start = Starter()
    evaluate(changed(config, num_examples=2), run, start=start)
    assert {request.key.partition("/")[0] for request in start.started[0][1].history} == {"base-few-shot"}


def test_an_engine_that_fails_keeps_what_was_answered(config: Config, run: RunDirectory) -> None:
    with pytest.raises(EngineError, match="out of memory"):
        evaluate(config, run, start=Starter(model=EngineError("out of memory")))
    assert not (run.evaluation.scores_path).exists()
    assert again(config, run) == ["model"]


class _Interrupted(Model):
    """Answers five questions; a signal comes while it answers the others."""

    interrupted = False

    async def generate(self, request: Request) -> Completion:
        if len(self.history) < 5:
            return await super().generate(request)
        if not self.interrupted:
            self.interrupted = True
            os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()
        raise AssertionError("never answered")


def test_a_signal_while_answers_are_made_is_no_error_of_the_event_loop_and_loses_no_answer(
    config: Config, run: RunDirectory, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = _Interrupted(says("4"))

    async def start(arm: Arm, _: Any) -> Model:
        return engine

    with pytest.raises(Interrupted), on_signals(leave):
        evaluate(config, run, start=start)
    assert not caplog.records, caplog.text
    assert engine.closed
    kept = (run.evaluation.path / "kept" / "predictions-base.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"]["id"] for line in kept] == ["p1-0", "p1-1", "p2-0", "e0-0", "e1-0"]
    assert json.loads(kept[0])["row"]["reference_logprob"] == -8.0

    again = Starter()
    scores = evaluate(config, run, start=again)
    asked = [request.key for request in again.started[0][1].history if request.key.startswith("base/")]
    assert len(asked) == 12 - 5 and not {"base/mine/e0-0", "base/validation_unseen/p1-0"} & set(asked)
    assert "base: 5 of 12 predictions are kept from before" in capsys.readouterr().err
    assert [row["response"] for row in saved(run, "base")] == ["4"] * 5 + ["the answer"] * 7
    assert scores.arms["base"].sets["validation_unseen"].loss == 2.0


def test_answers_that_came_before_an_engine_died_are_kept(config: Config, run: RunDirectory) -> None:
    said = itertools.count()
    start = Starter(scripted=lambda _: Completion("4", "stop", 5, 1) if next(said) < 5 else EngineError("gone"))
    with pytest.raises(EngineError, match="gone"):
        evaluate(config, run, start=start)
    assert sum(len(path.read_text().splitlines()) for path in run.evaluation.path.glob("kept/*")) == 5
    after = Starter()
    evaluate(config, run, start=after)
    assert len(after.started[0][1].history) == 2 * 12 - 5


def test_an_engine_that_dies_is_one_error(config: Config, run: RunDirectory) -> None:
    start = Starter(scripted=lambda request: EngineError("the engine died"))
    with pytest.raises(EngineError, match="the engine died"):
        evaluate(config, run, start=start)
    assert start.started[0][1].closed
    assert not any(path.stat().st_size for path in run.evaluation.path.rglob("*.*"))


@pytest.mark.parametrize("number", [0, 1, 5, 9, 14, 19])
def test_a_disk_that_is_full_at_any_write_is_one_line_and_loses_no_answer(
    config: Config,
    run: RunDirectory,
    number: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    evaluate(config.model_copy(update={"evaluate": replaced(config.evaluate, num_resamples=100)}), run, start=Starter())
    before = files_of(run)
    fsync, syncs = os.fsync, itertools.count()

    def full(handle: int) -> None:
        if next(syncs) >= number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    more = config.model_copy(update={"evaluate": replaced(config.evaluate, max_tokens=21)})
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        capsys.readouterr()
        assert run_program(lambda: evaluate(more, run, start=Starter())) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error: ")]
    assert len(said) == 1 and "No space left on device" in said[0] and "make room" in said[0]
    after = files_of(run)
    assert not [name for name in after if name.endswith(".partial")]
    for name, content in before.items():
        lines = content.splitlines()
        assert after[name] == content or "/kept/" not in f"/{name}" or set(lines) <= set(after[name].splitlines())
    assert evaluate(more, run, start=Starter()) == run.evaluation.scores()


def replaced(section: Any, **values: Any) -> Any:
    return section.model_copy(update=values)


def test_fingerprint_of_a_hub_name() -> None:
    assert model_fingerprint("org/model", "v1") != model_fingerprint("org/model", "v2")
    assert model_fingerprint("org/model") == "org/model@main"


# ------------------------------------------------------------------------------------------------ asking


def question(**values: Any) -> Question:
    default: dict[str, Any] = {
        "id": "e1-0",
        "task": "e1",
        "set": "mine",
        "category": "",
        "is_classification": False,
        "instruction": "Name a\nriver.",
        "input": "",
        "references": ("Nile",),
    }
    return Question(**(default | values))


SHOWN = [
    SeedTask("s1", "Say hello.", (Instance("", "Hello!"),), False),
    SeedTask("s2", "Shorten.", (Instance("long text", "text"), Instance("b c", "b")), False),
]


def ask(engine: Model, arm: Arm, config: Config, *asked: Question) -> list[Answer]:
    return asyncio.run(answer(engine, arm, asked, EvaluationPlan.of(config, Examples(tuple(SHOWN), load_frame()))))


def test_few_shot_prompt_and_its_answer(config: Config) -> None:
    engine = Model(says(" Nile\nis long\nExample 2\nInput: more"))
    rows = ask(engine, Arm("base-few-shot", "m", "few_shot"), config, question(), question(id="2", input="in Africa"))
    assert rows[0].prompt == (
        "Worked examples of varied tasks. A task that needs no input has outputs only.\n\n"
        "Task: Say hello.\nExample 1\nOutput: Hello!\n\n"
        "Task: Shorten.\nExample 1\nInput: long text\nOutput: text\nExample 2\nInput: b c\nOutput: b\n\n"
        "Task: Name a river.\nExample 1\nOutput:"
    )
    assert rows[1].prompt.endswith("Task: Name a river.\nExample 1\nInput: in Africa\nOutput:")
    assert rows[0].response == "Nile\nis long"
    assert engine.history[0].ends_before == next_example(load_frame())
    assert engine.history[0].sampling.temperature == 0
    assert engine.history[0].sampling.max_tokens == config.evaluate.max_tokens


def test_few_shot_shows_as_many_examples_as_fit(config: Config) -> None:
    whole = len(encode_answer("Name a\nriver.", "", SHOWN, load_frame()).split())
    engine = Model(says("Nile"), context_length=whole - 1 + config.evaluate.max_tokens)
    row = ask(engine, Arm("base-few-shot", "m", "few_shot"), config, question())[0]
    assert "Say hello." in row.prompt
    assert "Shorten." not in row.prompt
    assert row.finish_reason == "stop"


def test_zero_shot_is_the_bare_message_without_stops(config: Config) -> None:
    engine = Model(says(" <think>Rivers...</think>\n```\nTask: none\n```"))
    row = ask(engine, Arm("tuned", "m"), config, question(input="in Africa"))[0]
    assert engine.history[0].prompt == [{"role": "user", "content": "Name a\nriver.\n\nin Africa"}]
    assert engine.history[0].stop == ()
    assert row.response == "```\nTask: none\n```", "what follows the thinking is the answer, fences and all"


def test_a_base_model_without_a_template_is_asked_like_the_tuned_one(config: Config, tmp_path: Path) -> None:
    engine = Model(says("Nile"), has_chat_template=False)
    engine.tokenizer.chat_template = None
    ask(engine, Arm("base", "m"), config, question())
    assert engine.chat_template == prompt_formats.read("default", with_bos=False)
    assert engine.stop_token_ids == {1000}
    ask(engine, Arm("same", "m"), config, question())
    assert engine.chat_template == prompt_formats.read("default", with_bos=False)

    path = tmp_path / "mine.jinja"
    path.write_text("{% for message in messages %}{{ message.content }}{% endfor %}")
    tuned_by = config.model_copy(update={"tune": Tune.model_validate({"chat_template_path": str(path)})})
    engine = Model(says("Nile"), has_chat_template=False)
    engine.tokenizer.chat_template = None
    ask(engine, Arm("base", "m"), tuned_by, question())
    assert engine.chat_template == path.read_text()

    few_shot = Model(says("Nile"), has_chat_template=False)
    ask(few_shot, Arm("base-few-shot", "m", "few_shot"), config, question())
    assert few_shot.chat_template is None


def test_a_template_of_its_own_names_the_end_token(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gemma's chat models write <end_of_turn> after an answer, and their tokenizer names another end token."""
    monkeypatch.setattr(chat_templates, "turn_end", lambda tokenizer, template: 2000)
    engine = Model(says("Nile"))
    ask(engine, Arm("base", "m"), config, question(set="validation_unseen"))
    assert engine.stop_token_ids == {1000, 2000}
    assert engine.chat_template is None
    assert engine.measured == [[4, 2000]]


def test_a_template_that_the_base_has_not_learnt_is_replaced_as_in_tuning(config: Config) -> None:
    engine = Model(says("Nile"), has_chat_template=False)
    assert engine.tokenizer.chat_template
    ask(engine, Arm("base", "m"), config, question())
    assert engine.chat_template == prompt_formats.read("default", with_bos=False)

    kept = config.model_copy(update={"tune": Tune.model_validate({"prompt_format": "model"})})
    engine = Model(says("Nile"), has_chat_template=False)
    ask(engine, Arm("base", "m"), kept, question())
    assert engine.chat_template == "its own"


def test_a_question_that_cannot_be_asked_is_an_empty_answer(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    engine = Model(lambda r: RequestFailed("refused", "odd") if r.key.endswith("bad") else Completion("Nile", "stop"))
    rows = ask(engine, Arm("tuned", "m"), config, question(), question(id="bad"))
    assert [row.finish_reason for row in rows] == ["stop", "failed"]
    assert (rows[1].response, rows[1].completion_tokens, rows[1].failed) == ("", 0, "refused: odd")
    assert "tuned: 1 of 2 questions failed; the first: refused: odd" in capsys.readouterr().err


def test_long_few_shot_questions_fail_alone(config: Config) -> None:
    engine = Model(says("Nile"), context_length=60 + config.evaluate.max_tokens)
    long = question(id="long", input="word " * 100)
    rows = ask(engine, Arm("base-few-shot", "m", "few_shot"), config, long, question())
    assert [row.finish_reason for row in rows] == ["failed", "stop"]


def test_a_reference_that_does_not_fit_has_no_loss(config: Config) -> None:
    class Short(Model):
        async def response_logprob(self, prompt_ids: list[int], response_ids: list[int]) -> float:
            raise RequestFailed("prompt_too_long")

    row = ask(Short(says("Nile")), Arm("tuned", "m"), config, question(set="validation_unseen"))[0]
    assert row.finish_reason == "stop"
    assert not row.reference_logprob


def test_a_context_that_holds_no_question(config: Config) -> None:
    with pytest.raises(ConfigError, match=r"`evaluate\.max_tokens`: 20 tokens .* context of 'm', 20 tokens"):
        ask(Model(says("Nile"), context_length=20), Arm("tuned", "m"), config, question())


# --------------------------------------------------------------------------------------- files and arms


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"id": "a", "instruction": "b", "input": "", "is_classification": False}, "line 4: `output` must be a string"),
        (held_out("a", "b") | {"input": None}, "line 4: `input` must be a string, got None"),
        (held_out("a", "b") | {"is_classification": "no"}, "line 4: `is_classification` must be true or false"),
    ],
)
def test_broken_held_out_rows_are_named(config: Config, run: RunDirectory, row: Any, expected: str) -> None:
    with (run.dataset.path / "validation_unseen.jsonl").open("a") as stream:
        stream.write(json.dumps(row) + "\n")
    with pytest.raises(InputError) as error:
        evaluate(config, run, start=Starter())
    assert expected in str(error.value)


def test_sets_of_the_same_name(config: Config, run: RunDirectory, tasks: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    shutil.copy(tasks, tmp_path / "other" / tasks.name)
    twice = changed(config, tasks=(str(tasks), str(tmp_path / "other" / tasks.name)))
    with pytest.raises(ConfigError, match="more than one set is called 'mine'"):
        load_questions(twice.evaluate, run.dataset)


def test_tasks_of_another_family_are_said_to_be(config: Config, run: RunDirectory, tmp_path: Path, capfd: Any) -> None:
    (tmp_path / "a.json").write_text('[{"instruction": "Say hi.", "input": "", "output": "Hi."}]')
    load_questions(changed(config, tasks=(str(tmp_path / "a.json"), "eval_tasks")).evaluate, run.dataset)
    said = " ".join("".join(capfd.readouterr()).split())
    assert said.count("is no file of seed tasks") == said.count("is read as alpaca (instruction, input, output)") == 1


def test_several_sets(config: Config, run: RunDirectory) -> None:
    both = changed(config, tasks=(*config.evaluate.tasks, "eval_tasks"))
    scores = evaluate(both, run, start=Starter(scripted=says("no")))
    assert list(scores.arms["base"].sets) == ["validation_unseen", "mine", "eval_tasks"]
    assert " on the 8 tasks of mine" in scores.verdict
    assert " on the 150 tasks of eval_tasks" in scores.verdict


def test_arms_of_a_run(run: RunDirectory) -> None:
    tuned = Arm("tuned", str(run.model.path.resolve()))
    base = [Arm("base", "org/base", revision="v2"), Arm("base-few-shot", "org/base", "few_shot", "v2")]
    assert arms_of(base[0], run) == [*base, tuned]
    assert arms_of(base[0], run, ["base", "tuned", "base-few-shot"]) == [*base, tuned]
    assert arms_of(base[0], run, ["/models/some-7b"]) == [*base, tuned, Arm("some-7b", "/models/some-7b")]
    assert arms_of(base[0], run, ["tuned=/b=c"]) == [*base, Arm("tuned", "/b=c")]
    assert arms_of(base[0], run, ["base=x"]) == [Arm("base", "x"), Arm("base-few-shot", "x", "few_shot"), tuned]
    assert arms_of(base[0], run, ["base-few-shot=y", "base=x"])[1] == Arm("base-few-shot", "y", "few_shot")

    run.model.failed.write_text("out of memory")
    assert arms_of(base[0], run) == base, "the model that is there is an earlier one"
    run.model.failed.unlink()

    (run.model.path / "config.json").rename(run.model.path / "adapter_config.json")
    assert arms_of(base[0], run)[2] == tuned


@pytest.mark.parametrize("given", [["a b=x"], ["=x"], ["x="], ["a=1", "a=2"], ["up/../x:y"], ["seeds-only"]])
def test_arms_that_cannot_be(run: RunDirectory, given: list[str]) -> None:
    with pytest.raises(ConfigError, match="--model"):
        arms_of(Arm("base", "m"), run, given)


def test_engine_arguments_of_other_models(make_config: Any) -> None:
    config = make_config(model="a", engine={"dtype": "float32", "tokenizer": "t", "quantization": "awq"})
    plan = EvaluationPlan.of(config)
    assert plan.engine_arguments("a") == config.engine
    assert plan.engine_arguments("b") == {"dtype": "float32"}


# -------------------------------------------------------------------------------------------------- main


@pytest.fixture
def on_scripted(monkeypatch: pytest.MonkeyPatch) -> Starter:
    start = Starter(scripted=says("no"))
    real = evaluate
    monkeypatch.setattr(
        "tuning.evaluation.evaluation.evaluate", lambda config, run, models: real(config, run, models, start)
    )
    monkeypatch.setattr("signal.signal", lambda *_: None)
    return start


def test_main_shows_the_scores(
    config: Config, run: RunDirectory, on_scripted: Starter, capsys: pytest.CaptureFixture[str]
) -> None:
    run.config_path.write_text(json.dumps(config.model_dump(mode="json")))
    assert main(["--run-dir", str(run.path), "--model", "more=some/model"]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "tuned: 12/12 answers" in shown.err
    assert "mine: 9 questions of 8 tasks" in shown.err
    assert "tuned - more: +0.0 [0.0, 0.0] ROUGE-L  no significant difference" in shown.err
    assert "The models answer at chance level on the tasks of mine, which says nothing" in shown.err
    assert on_scripted.models == ["scripted", "model", "model"]


def test_main_without_a_run(tmp_path: Path, on_scripted: Starter, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--run-dir", str(tmp_path)]) == 4
    assert "has no config.yaml" in capsys.readouterr().err


def test_main_with_a_model_that_is_not_there(
    config: Config, run: RunDirectory, on_scripted: Starter, capsys: pytest.CaptureFixture[str]
) -> None:
    run.config_path.write_text(json.dumps(config.model_dump(mode="json")))
    assert main(["--run-dir", str(run.path), "--model", "x=/no/such/model"]) == 2
    assert "error: model '/no/such/model': no such model" in capsys.readouterr().err
    assert on_scripted.models == []


@pytest.mark.whole
def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, tuning.evaluate; print(sorted({'numpy', 'torch', 'vllm', 'yaml', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("limit", "kept"), [(None, [0, 1, 2, 3, 4, 5, 6]), (7, [0, 1, 2, 3, 4, 5, 6]), (3, [0, 2, 4]), (1, [0])]
)
def test_a_limit_takes_tasks_from_the_whole_set(limit: int | None, kept: list[int]) -> None:
    assert spread(list(range(7)), limit) == kept
    assert len(spread(list(range(100)), 30)) == 30
