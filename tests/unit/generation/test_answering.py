"""Answers in a step of their own: inputs alone are written, and then each is answered as a user would ask it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfinstruct.chain import chain
from selfinstruct.cli import cli
from selfinstruct.config.schema import Answer, Config, Filters
from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.engines.scripted import Answer as Scripted
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import StoppedError
from selfinstruct.generation.answering import Answering
from selfinstruct.generation.examples import Examples
from selfinstruct.generation.filters.rows import row_check
from selfinstruct.generation.frame import load_frame
from selfinstruct.records import Completion, Instance, SeedTask
from selfinstruct.replay.refilter import refilter
from selfinstruct.replay.repair import repair
from selfinstruct.replay.status import status
from selfinstruct.run.counting import run_counts
from selfinstruct.run.journal import read_lines
from selfinstruct.run.state import RunState, replay
from tests.conftest import journal_lines, replayed, run_scripted, script

SEED = SeedTask("s", "Name the opposite.", (Instance("hot", "cold"),), False)
CHAT: Any = {"answering": "auto", "prompting": "auto"}


def chat(answers: Callable[[Request], Scripted] = script, **options: Any) -> ScriptedEngine:
    return ScriptedEngine(answers, has_chat_template=True, **options)


def answered(say: Callable[[Request], Scripted]) -> Callable[[Request], Scripted]:
    """A model that answers inputs like this, and all else like `script`."""
    return lambda request: say(request) if request.key.startswith("answer/") else script(request)


def answers(run: Path) -> list[dict[str, Any]]:
    return [line for line in journal_lines(run) if line["kind"] == "answer"]


def as_set(run: Path) -> list[str]:
    return sorted(map(json.dumps, journal_lines(run)))


def exported(config: Config) -> dict[str, bytes]:
    chain.export(config)
    folder = Path(str(config.output_dir)) / "dataset"
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# ------------------------------------------------------------------------------------------------------- what is asked


def test_a_chat_model_gets_the_bare_question_and_a_base_model_worked_examples(make_config: Any, tmp_path: Path) -> None:
    asked = chat()
    run_scripted(make_config(), asked)
    state = replayed(journal_lines(tmp_path / "run"))
    texts = {i.id: i.text for i in state.pool}
    first = [r for r in asked.history if r.key.startswith("answer/") and not r.key.endswith("/rest")]
    assert first
    for request in first:
        _, name, number = request.key.split("/")
        task_input = state.inputs[name][int(number)]
        text = f"{texts[name]}\n\n{task_input}" if task_input else texts[name]
        assert request.prompt == [{"role": "user", "content": text}]
        assert request.stop_loops and not request.thinking and not request.ends_before
    base = ScriptedEngine(script)
    run_scripted(make_config(output_dir=str(tmp_path / "base"), answering="separate"), base)
    questions = [r for r in base.history if r.key.startswith("answer/") and not r.key.endswith("/rest")]
    assert questions and all(str(r.prompt).endswith("Output:") and "\n\nTask: " in str(r.prompt) for r in questions)
    assert all(r.ends_before for r in questions)


def test_auto_is_separate_for_chat_models_only(make_config: Any, tmp_path: Path) -> None:
    run_scripted(make_config())
    assert not answers(tmp_path / "run")
    assert run_counts(replayed(journal_lines(tmp_path / "run"))).answers is None
    run_scripted(make_config(output_dir=str(tmp_path / "chat")), chat())
    lines = journal_lines(tmp_path / "chat")
    forms = {line["id"]: line.get("form") for line in lines if line["kind"] == "instances" and "failed" not in line}
    is_label = {line["id"]: line.get("is_classification") for line in lines if line["kind"] == "classification"}
    assert {(forms[name], is_label[name]) for name in forms} == {("output_first", True), ("input_only", False)}
    assert {line["id"] for line in lines if line["kind"] == "answer"} <= {
        n for n, f in forms.items() if f == "input_only"
    }


def test_the_prompt_for_inputs_shows_no_output(make_config: Any) -> None:
    engine = chat()
    run_scripted(make_config(), engine)
    prompts = [
        r.prompt[0]["content"]  # type: ignore[index]
        for r in engine.history
        if r.key.startswith("instances/") and "first a label" not in str(r.prompt)
    ]
    assert prompts and all("Input: " in p and "Output:" not in p and "'no input'" in p for p in prompts)


def test_a_system_message_comes_first_and_is_no_part_of_the_row(make_config: Any, tmp_path: Path) -> None:
    engine = chat()
    config = make_config(answer={"system_prompt": "Be brief."})
    run_scripted(config, engine)
    asked = [r for r in engine.history if r.key.startswith("answer/")]
    assert asked and all(r.prompt[0] == {"role": "system", "content": "Be brief."} for r in asked)
    assert not any(b"Be brief." in content for content in exported(config).values())


def test_an_answer_takes_at_most_half_of_the_context() -> None:
    engine = ScriptedEngine(script, context_length=100, has_chat_template=True)
    ask = Answering(
        Answer(max_tokens=1024), Examples((), load_frame()), engine, "chat", row_check(Filters(), load_frame())
    )
    assert ask.request("k", "Say it.", "").sampling.max_tokens == 50
    with pytest.raises(RequestFailed, match="no room for an answer in the context of 100 tokens"):
        ask.request("k", "word " * 60, "")
    # The rest of an answer has what the beginning leaves.
    assert ask.request("k", "Say it.", "", Completion("x " * 80, "length")).sampling.max_tokens == 18
    with pytest.raises(RequestFailed, match="no room"):
        ask.request("k", "Say it.", "", Completion("x " * 120, "length"))


# -------------------------------------------------------------------------------------------------- what is made of it


def test_a_cut_answer_goes_on_once_from_its_beginning(make_config: Any, tmp_path: Path) -> None:
    def say(request: Request) -> Scripted:
        if request.key.endswith("/rest"):
            return Completion(" and the end.", "stop", 5, 5)
        return Completion("A beginning", "length", 5, 5)

    engine = chat(answered(say))
    state = run_scripted(make_config(num_instructions=8), engine)
    rests = [r for r in engine.history if r.key.endswith("/rest")]
    assert rests and all(r.prompt[-1] == {"role": "assistant", "content": "A beginning"} for r in rests)
    kept = [i for name in state.inputs for i in state.instances[name]]
    assert kept and {i.output for i in kept} == {"A beginning and the end."}
    lines = answers(tmp_path / "run")
    assert sum(line.get("to_be_continued", False) for line in lines) == len(lines) / 2
    counts = run_counts(state).answers
    assert counts is not None and counts.continued == counts.total == counts.kept == len(kept)


@pytest.mark.parametrize(
    ("say", "continue_cut", "reason", "lines"),
    [
        (Completion("On and on", "length", 1, 1), True, "truncated", 2),
        (Completion("On and on", "length", 1, 1), False, "truncated", 1),
        (Completion("On and on " * 50, "repetition", 1, 1), True, "repetition", 1),
        (Completion("", "stop", 1, 1), True, "empty_output", 1),
        (Completion("Sure, here it is:", "stop", 1, 1), True, "ends_in_colon", 1),
    ],
)
def test_an_answer_that_cannot_stay_is_rejected_with_its_reason(
    make_config: Any, tmp_path: Path, say: Completion, continue_cut: bool, reason: str, lines: int
) -> None:
    config = make_config(num_instructions=6, answer={"continue_cut": continue_cut})
    state = run_scripted(config, chat(answered(lambda request: say)))
    counts = run_counts(state).answers
    assert counts is not None and counts.reasons == {reason: counts.total} and counts.total > 0
    assert len(answers(tmp_path / "run")) == lines * counts.total
    assert state.complete and not any(state.instances[name] for name in state.inputs)


@pytest.mark.parametrize(
    ("thinking", "asked", "kept"), [("off", False, ""), ("strip", True, ""), ("keep", True, "Rivers, hm.")]
)
def test_thinking_is_never_part_of_the_answer(
    make_config: Any, tmp_path: Path, thinking: str, asked: bool, kept: str
) -> None:
    text = "<think>\nRivers, hm.\n</think>\n\nThe Elbe is one of them."
    engine = chat(answered(lambda request: Completion(text, "stop", 1, 1)))
    config = make_config(num_instructions=6, answer={"thinking": thinking})
    state = run_scripted(config, engine)
    assert {r.thinking for r in engine.history if r.key.startswith("answer/")} == {asked}
    found = {i for name in state.inputs for i in state.instances[name]}
    assert {(i.output, i.thinking) for i in found} == {("The Elbe is one of them.", kept)}
    rows = [json.loads(line) for line in exported(config)["train.jsonl"].splitlines()]
    said = [row for row in rows if row["output"].startswith("The Elbe")]
    assert said and all("Rivers" not in row["completion"][0]["content"] for row in said)
    assert {row.get("thinking", "") for row in said} == {kept}
    assert {row["completion"][0].get("thinking", "") for row in said} == {kept}


def test_thinking_goes_into_the_text_on_request(make_config: Any) -> None:
    text = "<think>Rivers, hm.</think>\nThe Elbe is one of them."
    config = make_config(num_instructions=6, answer={"thinking": "keep"}, export={"thinking": "text"})
    run_scripted(config, chat(answered(lambda request: Completion(text, "stop", 1, 1))))
    rows = [json.loads(line) for line in exported(config)["train.jsonl"].splitlines()]
    said = [row for row in rows if row["output"].startswith("The Elbe")]
    assert said and all(
        row["completion"][0]["content"] == "<think>\nRivers, hm.\n</think>\n\nThe Elbe is one of them."
        and row["output"] == "The Elbe is one of them."
        for row in said
    )


# --------------------------------------------------------------------------------------------------------- the promises


@pytest.mark.parametrize("engine", [chat, ScriptedEngine])
def test_latencies_change_nothing_but_the_order(make_config: Any, tmp_path: Path, engine: Any) -> None:
    found = []
    for seed in range(4):
        config = make_config(output_dir=str(tmp_path / str(seed)), answering="separate")
        run_scripted(config, engine(script, latency=0.01 * bool(seed), seed=seed))
        found.append((as_set(tmp_path / str(seed)), exported(config)))
    assert all(one == found[0] for one in found)
    assert any('"to_be_continued": true' in line for line in found[0][0]), "no answer was cut: this shows too little"


def test_a_run_stopped_anywhere_goes_on_the_same(make_config: Any, tmp_path: Path) -> None:
    whole = make_config(output_dir=str(tmp_path / "whole"), num_instructions=12)
    run_scripted(whole, chat())
    raw = (tmp_path / "whole" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for stop in range(1, len(raw), 3):
        config = make_config(output_dir=str(tmp_path / f"stopped-{stop}"), num_instructions=12)
        (tmp_path / f"stopped-{stop}").mkdir()
        (tmp_path / f"stopped-{stop}" / "journal.jsonl").write_bytes(b"".join(raw[:stop]))
        run_scripted(config, chat(latency=0.002, seed=stop))
        assert as_set(tmp_path / f"stopped-{stop}") == as_set(tmp_path / "whole")
        assert exported(config) == exported(whole)


def test_the_counts_of_every_prefix_add_up(make_config: Any, tmp_path: Path) -> None:
    run_scripted(make_config(num_instructions=15), chat(latency=0.003, seed=1))
    state = RunState()
    for line in read_lines(tmp_path / "run" / "journal.jsonl"):
        state.apply(line)
        counts = run_counts(state)
        if (of := counts.answers) is not None:
            assert of.total == of.kept + of.rejected + of.failed + of.pending
            assert of.rejected == sum(of.reasons.values())
            assert of.pending == sum(left.kind == "answer" for left in state.pending())
        assert counts.instances.total == counts.instances.accepted + counts.instances.rejected
        assert counts.instances.accepted == sum(map(len, state.instances.values())) == state.num_instances
    assert state.complete and counts.answers is not None and not counts.answers.pending


@pytest.mark.parametrize("limits", [{"max_requests": 40}, {"max_tokens_total": 900}])
def test_a_budget_leaves_enough_for_the_answers(make_config: Any, tmp_path: Path, limits: dict[str, int]) -> None:
    engine = chat()
    with pytest.raises(StoppedError, match="is used up"):
        run_scripted(make_config(num_instructions=500, limits=limits, answer={"max_tokens": 40}), engine)
    state = replayed(journal_lines(tmp_path / "run"))
    assert state.pending() == [] and run_counts(state).answers is not None
    ((name, value),) = limits.items()
    spent = state.completion_tokens if name == "max_tokens_total" else len(engine.history)
    # A proposal at most goes beyond, with four instructions of two inputs each, of which a third is continued.
    most = 40 + 4 * (21 + 2 * 27) if name == "max_tokens_total" else 1 + 4 * (2 + 3)
    assert value - most <= spent <= value + most


def test_the_same_filters_change_no_line_and_others_leave_answers_out(make_config: Any, tmp_path: Path) -> None:
    config = make_config()
    run_scripted(config, chat())
    same, fewer = tmp_path / "same", tmp_path / "fewer"
    refilter(tmp_path / "run", same, config.filters)
    _, *before = (tmp_path / "run" / "journal.jsonl").read_bytes().splitlines()
    _, *after = (same / "journal.jsonl").read_bytes().splitlines()
    assert after == before
    result = refilter(tmp_path / "run", fewer, Filters(max_instances=1))
    state = replay(read_lines(fewer / "journal.jsonl"))
    assert result.answers_left_out.answer > 0 and result.instances.dropped > 0
    moves = result.instances
    assert moves.kept == moves.before - moves.lost - moves.dropped + moves.gained == state.num_instances
    assert all(len(inputs) <= 1 for inputs in state.inputs.values())
    assert state.pending() == []


def test_repair_drops_answers_without_their_input_and_asks_lost_ones_again(make_config: Any, tmp_path: Path) -> None:
    config = make_config(num_instructions=10)
    run_scripted(config, chat())
    journal = tmp_path / "run" / "journal.jsonl"
    whole, raw = as_set(tmp_path / "run"), journal.read_bytes().splitlines(keepends=True)
    name = answers(tmp_path / "run")[0]["id"]
    of_it = [k for k, line in enumerate(map(json.loads, raw)) if line.get("id") == name and line["kind"] == "answer"]
    at = next(
        k for k, line in enumerate(map(json.loads, raw)) if line.get("id") == name and line["kind"] == "instances"
    )
    for position, dropped in ((at, len(of_it)), (of_it[0], 0)):
        journal.write_bytes(b"".join([*raw[:position], b"?\n", *raw[position + 1 :]]))
        result = repair(tmp_path / "run")
        assert sum(drop.lines for drop in result.dropped if drop.why == "its input is gone") == dropped
        run_scripted(config, chat())
        assert [line for line in as_set(tmp_path / "run") if line not in whole] == []


def test_status_explain_and_report_show_it(make_config: Any, tmp_path: Path) -> None:
    run_scripted(make_config(), chat())
    run = tmp_path / "run"
    counts = status(run).counts.answers
    assert counts is not None
    shown = " ".join(CliRunner().invoke(cli, ["status", str(run)]).output.split())
    assert f"to {counts.total} inputs: {counts.kept} kept" in shown
    cut = next(line for line in answers(run) if line.get("to_be_continued"))
    told = CliRunner().invoke(cli, ["explain", str(run), cut["id"]]).output
    assert "  inputs (journal line " in told and "cut, and asked to go on" in told
    assert "answer to input " in told and "] " in told
    done = CliRunner().invoke(cli, ["report", str(run)])
    assert done.exit_code == 0, done.output
    assert "Inputs answered separately" in (run / "report.html").read_text()
    assert asdict(counts)["failed"] == 0


# --------------------------------------------------------------------------------- instructions that need no input


def turns(request: Request) -> Scripted:
    """A model that writes whole user's turns, answers inputs like `script`, and is asked nothing else."""
    if request.key.startswith("proposal/"):
        draw = random.Random(request.key)
        words = ["".join(draw.choices("bdfgklmnprstvz", k=5)) for _ in range(8)]
        return Completion(f"Tell me about {' '.join(words)}.", "stop", 5, 20)
    assert request.key.startswith("answer/"), request.key
    return script(request)


TEMPLATE: Any = CHAT | {"proposers": {"list": 0.0, "template": 1.0}}


def test_a_users_turn_is_answered_as_it_stands(make_config: Any, tmp_path: Path) -> None:
    config = make_config(num_instructions=12, **TEMPLATE)
    run_scripted(config, chat(turns))
    assert {line["kind"] for line in journal_lines(tmp_path / "run")} == {"run", "proposal", "answer"}
    state = replayed(journal_lines(tmp_path / "run"))
    assert state.complete and len(state.pool) == 12
    assert {tuple(inputs.items()) for inputs in state.inputs.values()} == {((0, ""),)}
    rows = exported(config)["train.jsonl"].decode().splitlines()
    assert rows and all(json.loads(row)["input"] == "" for row in rows)
    counts = run_counts(state)
    assert (counts.classification.yes, counts.classification.no, counts.classification.pending) == (0, 0, 0)
    result = refilter(tmp_path / "run", tmp_path / "same", config.filters)
    assert result is not None
    assert journal_lines(tmp_path / "same")[1:] == journal_lines(tmp_path / "run")[1:]


def test_a_run_of_users_turns_stopped_anywhere_goes_on_the_same(make_config: Any, tmp_path: Path) -> None:
    run_scripted(make_config(num_instructions=8, **TEMPLATE), chat(turns))
    whole = tmp_path / "run" / "journal.jsonl"
    lines = whole.read_bytes().splitlines(keepends=True)
    for cut in range(1, len(lines), 3):
        part = tmp_path / f"cut{cut}"
        part.mkdir()
        (part / "journal.jsonl").write_bytes(b"".join(lines[:cut]))
        run_scripted(make_config(num_instructions=8, output_dir=str(part), **TEMPLATE), chat(turns))
        assert as_set(part) == as_set(tmp_path / "run")


def test_inline_answers_still_ask_for_instances(make_config: Any, tmp_path: Path) -> None:
    def any_step(request: Request) -> Scripted:
        return turns(request) if request.key.startswith("proposal/") else script(request)

    run_scripted(make_config(num_instructions=4, **(TEMPLATE | {"answering": "inline"})), chat(any_step))
    kinds = {line["kind"] for line in journal_lines(tmp_path / "run")}
    assert "classification" in kinds and "answer" not in kinds


def test_a_model_that_writes_no_input_is_asked_without_one(make_config: Any, tmp_path: Path) -> None:
    def restates(request: Request) -> Scripted:
        if request.key.startswith("instances/"):
            return Completion("Task: the same again", "stop", 5, 5)
        return script(request)

    run_scripted(make_config(num_instructions=6, **CHAT), chat(restates))
    state = replayed(journal_lines(tmp_path / "run"))
    asked = [line for line in journal_lines(tmp_path / "run") if line.get("form") == "input_only"]
    assert asked and all([c["input"] for c in line["candidates"]] == [""] for line in asked)
    assert {state.inputs[line["id"]][0] for line in asked} == {""}
