"""Consistency, forgetting, IFEval and lm-eval: what arms are asked, what is kept, and its scores."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.config.schema import Config
from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.errors import ConfigError, InputError, SelfInstructError
from selfinstruct.records import Completion
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.scores import Agreement, InstructionScore, PlainTextScores, TaskMetric
from tests.evaluation_fakes import Model, Starter
from tuning.evaluation import consistency, forgetting, ifeval, lm_eval_tasks
from tuning.evaluation.answers import Arm
from tuning.evaluation.bootstrap import Resampling
from tuning.evaluation.consistency import Variant
from tuning.evaluation.evaluation import evaluate, score_saved
from tuning.evaluation.evaluation_plan import EvaluationPlan
from tuning.evaluation.forgetting import Chunk
from tuning.evaluation.questions import Question

RESAMPLING = Resampling(num_resamples=300, confidence=0.95, seed=1)


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    rows = [
        {
            "id": f"e{k}",
            "instruction": f"Name the colour number {k}.",
            "instances": [{"input": "", "output": "blue"}],
            "is_classification": False,
            "paraphrases": ["Which colour has this number?", "What colour is it?"] if k == 0 else [],
        }
        for k in range(6)
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
    return run


@pytest.fixture
def config(make_config: Any, tasks: Path) -> Config:
    config: Config = make_config(evaluate={"tasks": [str(tasks)], "num_resamples": 200, "max_tokens": 20})
    return config


def changed(config: Config, **values: Any) -> Config:
    return config.model_copy(update={"evaluate": config.evaluate.model_copy(update=values)})


def kept(run: RunDirectory, part: str, arm: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.evaluation.path / f"{part}-{arm}.jsonl").read_text().splitlines()]


def answers_by(rule: Callable[[str, float], str]) -> Callable[[Request], Any]:
    def answers(request: Request) -> Completion:
        text = request.prompt if isinstance(request.prompt, str) else request.prompt[0]["content"]
        return Completion(rule(text, request.sampling.temperature), "stop", 5, 3)

    return answers


# ---------------------------------------------------------------------------------------------- consistency


def test_consistency_of_arms(config: Config, run: RunDirectory) -> None:
    """The base answers with what it was asked, the tuned model always the same."""
    options = changed(config, consistency=True, num_paraphrases=3, num_samples=4)
    start = Starter(scripted=answers_by(lambda text, _: text), model=answers_by(lambda text, _: "Blue."))
    scores = evaluate(options, run, start=start)
    tuned, base = (scores.arms[arm].consistency for arm in ("tuned", "base"))
    assert tuned and base
    assert (tuned["paraphrase"].exact, tuned["paraphrase"].rouge_l, tuned["sample"].exact) == (100, 100, 100)
    assert tuned["paraphrase"].exact_interval == (100, 100)
    assert (base["paraphrase"].exact, base["sample"].exact) == (0, 100)
    assert 0 < base["paraphrase"].rouge_l < 100
    assert (tuned["paraphrase"].n, tuned["paraphrase"].n_tasks, tuned["paraphrase"].failed) == (6, 6, 0)
    assert start.models == ["scripted", "model"], "one engine for everything that a model is asked"

    rows = kept(run, "consistency", "tuned")
    assert len(rows) == 6 * (1 + 3 + 4)
    assert {(row["kind"], row["temperature"]) for row in rows} == {("asked", 0), ("paraphrase", 0), ("sample", 0.7)}
    of_first = [row["instruction"] for row in rows if row["of"] == "e0-0" and row["kind"] == "paraphrase"]
    assert of_first == [
        "Which colour has this number?",
        "What colour is it?",
        "Please do the following. Name the colour number 0.",
    ]
    temperatures = {r.sampling.temperature for r in start.started[0][1].history if "/sample/" in r.key}
    assert temperatures == {0.7}


def test_consistency_is_kept_and_scored_alone(config: Config, run: RunDirectory) -> None:
    options = changed(config, consistency=True)
    first = evaluate(options, run, start=Starter())
    again = Starter()
    assert evaluate(options, run, start=again) == first
    assert again.models == []
    assert score_saved(run, options.evaluate, options.seed).arms == first.arms
    other = Starter()
    evaluate(changed(config, consistency=True, num_samples=2), run, start=other)
    assert all("/" in r.key.partition("mine/")[2] for _, engine in other.started for r in engine.history), (
        "the plain answers are not asked again"
    )


def agreement(*answers: str, failed: int = 0) -> dict[str, Agreement]:
    about: dict[str, Any] = {"id": "q/sample/1", "set": "s", "of": "q", "task": "t", "kind": "sample"}
    rows = [Variant(**about, response=text) for text in answers]
    rows += [Variant(**about, finish_reason="failed")] * failed
    return consistency.score(rows, RESAMPLING)


def test_agreement_is_the_mean_over_pairs() -> None:
    found = agreement("a b", "a b.", "a c")["sample"]
    assert found.exact == pytest.approx(100 / 3)
    assert found.rouge_l == pytest.approx((100 + 50 + 50) / 3)


def test_an_answer_that_failed_agrees_with_nothing() -> None:
    found = agreement("a", "a", failed=2)["sample"]
    assert (found.exact, found.failed) == (100, 2)
    assert agreement("a", failed=1) == {}, "one answer has nothing to agree with"


@pytest.mark.parametrize(("a", "b", "alike"), [("", "", 100), ("?!", "?!", 100), ("", "a", 0), ("Yes", "yes.", 100)])
def test_alike(a: str, b: str, alike: float) -> None:
    assert consistency.alike(a, b) == alike


def test_templates_hold_the_instruction_as_it_is() -> None:
    question = Question("q", "t", "s", "", False, "Do {x} now.", "", ("r",), paraphrases=("Own.",))
    found = consistency.paraphrases(question, 99)
    assert found[0] == "Own."
    assert len(found) == 1 + len(consistency.TEMPLATES)
    assert all("Do {x} now." in text for text in found[1:])
    assert consistency.paraphrases(question, 0) == []


# ----------------------------------------------------------------------------------------------- forgetting


def test_perplexity_of_plain_text(config: Config, run: RunDirectory, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(("word " * 399 + "last\n") * 3)
    start = Starter()
    scores = evaluate(changed(config, plain_text=(str(path),)), run, start=start)
    found = scores.arms["tuned"].plain_text
    assert found
    assert (found.chunks, found.failed, found.tokens, found.bytes) == (3, 0, 1200, 5999)
    assert found.perplexity == pytest.approx(math.e**2, abs=1e-5), "the scripted model has 2 nats a token"
    assert found.bits_per_byte == pytest.approx(2 * 1200 / math.log(2) / 5999, abs=1e-5)
    assert not scores.arms["base-few-shot"].plain_text, "it would be the base once more"
    assert [(c.a, c.b, c.difference, c.chunks) for c in scores.forgetting or []] == [("tuned", "base", 0.0, 3)]
    engine = start.started[1][1]
    assert [len(ids) for ids in engine.measured] == [400, 400, 400]
    path.write_text("other")
    again = Starter()
    evaluate(changed(config, plain_text=(str(path),)), run, start=again)
    assert again.models == ["scripted", "model"]
    assert all(engine.history == [] for _, engine in again.started)


def test_a_chunk_that_does_not_fit_is_counted(config: Config, run: RunDirectory, tmp_path: Path) -> None:
    class Short(Model):
        async def response_logprob(self, prompt_ids: list[int], response_ids: list[int]) -> float:
            raise RequestFailed("prompt_too_long", "9 tokens")

    class Starts(Starter):
        async def __call__(self, arm: Arm, arguments: dict[str, Any]) -> Model:
            return Short(lambda request: Completion("a", "stop"))

    path = tmp_path / "text.txt"
    path.write_text("some text")
    found = evaluate(changed(config, plain_text=(str(path),)), run, start=Starts()).arms["base"].plain_text
    assert found == PlainTextScores(chunks=0, failed=1, tokens=0, bytes=0, perplexity=None, bits_per_byte=None)
    assert kept(run, "plain-text", "base")[0]["failed"] == "prompt_too_long: 9 tokens"


def test_forgetting_is_the_difference_in_bits_per_byte() -> None:
    def rows(nats: float) -> list[Chunk]:
        return [Chunk(id=f"c{k}", logprob=-nats * (k + 1), tokens=5, bytes=10 * (k + 1)) for k in range(9)]

    found = forgetting.compared({"base": rows(10), "tuned": rows(12)}, "tuned", RESAMPLING)
    assert len(found) == 1
    assert found[0].difference == pytest.approx(0.2 / math.log(2), abs=1e-6)
    assert found[0].significant


@pytest.mark.parametrize(
    ("content", "expected"), [(None, "cannot be read"), (b" \n", "holds no text"), (b"\xff", "not UTF-8")]
)
def test_a_text_that_cannot_be_measured(
    config: Config, run: RunDirectory, tmp_path: Path, content: bytes | None, expected: str
) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    start = Starter()
    with pytest.raises(InputError, match=expected):
        evaluate(changed(config, plain_text=(str(path),)), run, start=start)
    assert start.models == [], "it is found before any engine starts"


@given(st.text("ab \n", max_size=200), st.integers(2, 20))
def test_chunks_make_up_the_text(text: str, size: int) -> None:
    pieces = forgetting.cut(text, size)
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= size for piece in pieces)


# --------------------------------------------------------------------------------------------------- IFEval

CONSTRAINTS = [
    {
        "key": 1,
        "prompt": "Describe a harbour in lower case, without a comma.",
        "instruction_id_list": ["change_case:english_lowercase", "punctuation:no_comma"],
        "kwargs": [{}, {}],
    },
    {
        "key": 2,
        "prompt": "Write three sentences at least.",
        "instruction_id_list": ["length_constraints:number_sentences"],
        "kwargs": [{"relation": "at least", "num_sentences": 3, "num_words": None}],
    },
    {
        "key": 3,
        "prompt": "Say it in CAPITALS twice.",
        "instruction_id_list": ["change_case:capital_word_frequency"],
        "kwargs": [{"capital_relation": "at least", "capital_frequency": 2}],
    },
]


@pytest.fixture
def constraints(tmp_path: Path) -> Path:
    path = tmp_path / "ifeval.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in CONSTRAINTS))
    return path


def checks(responses: Sequence[tuple[ifeval.Line, str]]) -> list[ifeval.Checked]:
    """Stand in for lm-eval's checks, which `tests/integration/test_ifeval.py` runs. One answer follows nothing."""
    return [
        ifeval.Checked(error=f"lm-eval has no check {unknown!r}")
        if (unknown := next((name for name in line.instruction_id_list if name.startswith("no:")), None))
        else ifeval.Checked(strict=(follows,) * len(line.kwargs), loose=(follows,) * len(line.kwargs), sentences_by="x")
        for line, text in responses
        for follows in [text != "Well, no."]
    ]


def test_ifeval_of_arms(config: Config, run: RunDirectory, constraints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ifeval, "run_checks", checks)
    quiet = "the boats lie in the harbour and the water is still and nobody is about this morning"
    answers = {"harbour": quiet, "three": "Here is one. It is a start! Is there another?", "CAPITALS": "SO BE it."}

    def rule(text: str, _: float) -> str:
        return next((answer for word, answer in answers.items() if word in text), "x")

    start = Starter(scripted=answers_by(lambda text, _: "Well, no."), model=answers_by(rule))
    options = changed(config, ifeval=str(constraints), ifeval_max_tokens=77)
    scores = evaluate(options, run, start=start)
    limits = {r.sampling.max_tokens for r in start.started[0][1].history}
    assert limits == {20, 77}, "an answer under constraints may be longer"
    tuned, base = scores.arms["tuned"].ifeval, scores.arms["base"].ifeval
    assert tuned and base
    assert (tuned.n, tuned.n_instructions) == (3, 4)
    assert {
        getattr(tuned, f"{what}_{level}") for what in ("prompt", "instruction") for level in ("strict", "loose")
    } == {100}
    assert tuned.per_instruction["punctuation:no_comma"] == InstructionScore(n=1, strict=100, loose=100)
    assert base.prompt_strict == 0
    rows = kept(run, "ifeval", "tuned")
    assert [row["strict"] for row in rows] == [[True, True], [True], [True]]
    assert score_saved(run, config.evaluate, config.seed).arms["tuned"].ifeval == tuned
    assert kept(run, "predictions", "tuned")[0]["set"] == "mine", "it is no set of the verdict's"
    assert "ifeval" not in scores.verdict


def test_answers_that_an_interruption_left_unchecked_are_checked_later(
    config: Config, run: RunDirectory, constraints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def checks(responses: Sequence[tuple[ifeval.Line, str]]) -> list[ifeval.Checked]:
        calls.append([text for _, text in responses])
        if len(calls) == 2:
            raise SelfInstructError("killed")
        kept = [(True,) * len(line.kwargs) for line, _ in responses]
        return [ifeval.Checked(strict=each, loose=each, sentences_by="punkt_tab") for each in kept]

    monkeypatch.setattr(ifeval, "run_checks", checks)
    options = changed(config, ifeval=str(constraints))
    with pytest.raises(SelfInstructError, match="killed"):
        evaluate(options, run, start=Starter())
    assert not run.evaluation.scores_path.exists()
    start = Starter()
    tuned = evaluate(options, run, start=start).arms["tuned"].ifeval
    assert start.models == [], "the answers were kept"
    assert tuned and tuned.prompt_strict == 100
    assert calls == [["anything"] * 3, ["the answer"] * 9, ["anything"] * 3, ["the answer"] * 9]


def test_without_lm_eval_the_remedy_is_named(
    constraints: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "langdetect.py").write_text("raise ImportError(\"No module named 'langdetect'\")")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"No module named 'langdetect'; install them: pip install .*\[lm-eval\]"):
        ifeval.read(constraints)


def test_broken_lines_are_named(constraints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ifeval, "run_checks", checks)
    broken: list[tuple[dict[str, Any], str]] = [
        ({"prompt": 3}, "`prompt`"),
        ({"prompt": "a\x00"}, "`prompt`: holds a NUL"),
        ({"instruction_id_list": ["no:such_check", "punctuation:no_comma"]}, "lm-eval has no check 'no:such_check'"),
        ({"kwargs": [{}]}, "`kwargs` must have one entry for each"),
        ({"key": 1}, "`key`: 1 is there twice"),
    ]
    with constraints.open("a") as stream:
        for k, (changes, _) in enumerate(broken):
            stream.write(json.dumps(CONSTRAINTS[0] | {"key": 9 + k} | changes) + "\n")
    with pytest.raises(InputError) as error:
        ifeval.read(constraints)
    said = str(error.value).splitlines()
    assert said[0].startswith("5 problem(s)")
    for number, (line, (_, expected)) in enumerate(zip(said[1:], broken, strict=True), 4):
        assert f"line {number}: " in line
        assert expected in line


# -------------------------------------------------------------------------------------------------- lm-eval


WRITTEN = {
    "results": {
        "yes_no": {
            "alias": "yes_no",
            "acc,none": 0.75,
            "acc_stderr,none": 0.1,
            "f1,strict": 0.5,
            "f1_stderr,strict": "N/A",
        }
    },
    "higher_is_better": {"yes_no": {"acc": True, "f1": True}},
    "n-samples": {"yes_no": {"original": 20, "effective": 16}},
}


def test_results_of_lm_eval() -> None:
    rows = lm_eval_tasks.results(WRITTEN)
    assert rows[0] == lm_eval_tasks.TaskResult(
        task="yes_no", metric="acc", filter="none", value=0.75, stderr=0.1, higher_is_better=True, n=16
    )
    assert lm_eval_tasks.score(rows)["yes_no"]["f1 (strict)"] == TaskMetric(
        value=0.5, stderr=None, higher_is_better=True, n=16
    )


def test_lm_eval_runs_once_for_each_model(
    config: Config, run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, task = tmp_path / "rows.jsonl", tmp_path / "task.yaml"
    data.write_text("{}\n")
    task.write_text(f"task: yes_no\ndataset_kwargs: {{data_files: {{test: {data}}}}}\ndoc_to_text: !function utils.f\n")
    asked: list[str] = []

    def runs(plan: EvaluationPlan, arm: Arm) -> dict[str, Any]:
        asked.append(arm.name)
        return WRITTEN

    monkeypatch.setattr(lm_eval_tasks, "run_lm_eval", runs)
    options = changed(config, lm_eval=(str(task),))
    scores = evaluate(options, run, start=Starter())
    assert asked == ["base", "tuned"]
    tuned = scores.arms["tuned"].lm_eval
    assert tuned and tuned["yes_no"]["acc"].value == 0.75
    assert not scores.arms["base-few-shot"].lm_eval
    assert evaluate(options, run, start=Starter()) == scores
    assert asked == ["base", "tuned"]
    data.write_text('{"other": 1}\n')
    evaluate(options, run, start=Starter())
    assert asked == ["base", "tuned"] * 2, "the data of a local task is part of what was measured"
    assert score_saved(run, options.evaluate, options.seed).arms["tuned"].lm_eval == tuned


def test_lm_evals_own_vllm_has_the_environment_of_ours(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []

    def ends(*_: Any, env: dict[str, str], **__: Any) -> Any:
        seen.append(env)
        return subprocess.CompletedProcess([], 1)

    monkeypatch.delenv("VLLM_USE_FLASHINFER_SAMPLER", raising=False)
    monkeypatch.setattr(subprocess, "run", ends)
    with pytest.raises(SelfInstructError, match="lm-eval did not finish"):
        lm_eval_tasks.run_lm_eval(EvaluationPlan.of(config), Arm("base", config.model))
    assert seen[0]["VLLM_USE_FLASHINFER_SAMPLER"] == "0"


def test_a_task_file_that_is_not_there(config: Config, run: RunDirectory) -> None:
    start = Starter()
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file"):
        evaluate(changed(config, lm_eval=("none.yaml",)), run, start=start)
    with pytest.raises(ConfigError, match="no such model"):
        evaluate(changed(config, judge="./none"), run, start=start)
    assert start.models == [], "it is found before any engine starts"
