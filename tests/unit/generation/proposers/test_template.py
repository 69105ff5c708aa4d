"""The proposer `template`: a chat model writes the user's turn."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.config.schema import Template
from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import ConfigError
from selfinstruct.formats.seed_tasks import load_seed_tasks
from selfinstruct.generation.instance_parsing import ParsedInstance, parse_users_input
from selfinstruct.generation.parsing import TRUNCATED
from selfinstruct.generation.proposers import Pool, Seen
from selfinstruct.generation.proposers.template import UserTurn
from selfinstruct.records import Completion, Instance, OpenTurn, SeedTask
from selfinstruct.replay.explain import explain
from selfinstruct.replay.explanation_text import render
from selfinstruct.replay.refilter import refilter
from selfinstruct.run.classification_share import odd_share
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.lines import ProposalLine
from tests.conftest import journal_lines, run_scripted, script

ASKED = ProposalLine(0, (), proposer="template")


def user(request: Request) -> Completion:
    """A user's turn that depends on the request's number: all prompts are the same."""
    if request.key.startswith("proposal/") and isinstance(request.prompt, OpenTurn):
        number = int(request.key.partition("/")[2])
        return Completion(f"  What is sold at stall {number} of market {number * 7}?\n", "stop", 5, 9)
    return script(request)


def test_a_run_asks_by_the_template_and_says_so(make_config: Any, tmp_path: Path) -> None:
    engine = ScriptedEngine(user, has_chat_template=True)
    config = make_config(
        num_instructions=12, prompting="chat", proposers={"list": 1, "template": 3}, filters={"threshold": 0.95}
    )
    state = run_scripted(config, engine)
    asked = [r for r in engine.history if r.key.startswith("proposal/") and isinstance(r.prompt, OpenTurn)]
    assert asked and all(list(r.prompt) == [{"role": "user", "content": ""}] for r in asked)
    assert {(r.sampling.temperature, r.sampling.top_p, r.stop) for r in asked} == {(1.0, 1.0, ())}
    lines = [line for line in journal_lines(tmp_path / "run") if line["kind"] == "proposal"]
    by = [line for line in lines if line.get("proposer") == "template"]
    assert by and all(line["examples"] == [] for line in by) and any("proposer" not in line for line in lines)
    counts = state.counts().proposers
    assert counts["template"].asked == len(by) and counts["list"].asked == len(lines) - len(by)
    assert sum(count.accepted for count in counts.values()) == len(state.pool) == 12


def test_the_whole_turn_is_one_instruction_and_one_that_was_cut_is_none() -> None:
    proposer = UserTurn(Template())
    (whole,) = proposer.parse(Completion("\nSum it up:\n\nRain fell.\n", "stop"), ASKED)
    assert (whole.text, whole.fault) == ("Sum it up:\n\nRain fell.", None)
    (cut,) = proposer.parse(Completion("Sum it", "length"), ASKED)
    assert cut.fault == TRUNCATED
    assert proposer.parse(Completion(" \n", "stop"), ASKED) == []


def test_a_system_message_comes_first(make_config: Any) -> None:
    engine = ScriptedEngine(user, has_chat_template=True)
    options = {"proposers": {"list": 0, "template": 1}, "template": {"system": "You help bakers."}}
    run_scripted(make_config(num_instructions=3, filters={"threshold": 0.95}, **options), engine)
    assert engine.history[0].prompt[:1] == [{"role": "system", "content": "You help bakers."}]


SEEDS = [
    SeedTask(
        "s0", "Explain how a lock lifts a boat up to the higher level.", (Instance("", "x"),), False, category="why"
    ),
    SeedTask("s1", "Why not?", (Instance("", "x"),), False),
    SeedTask("s2", "运河的船闸怎样把船抬高到上游？", (Instance("", "x"),), False),
]


def test_the_first_words_of_a_seed_open_the_users_turn_and_the_instruction() -> None:
    proposer = UserTurn(Template(openings=1))
    asked = [proposer.ask(Seen(SEEDS, Pool([], [], 0), random.Random(n))) for n in range(60)]
    assert {a.begun for a in asked} == {
        "Explain",
        "Explain how",
        "Explain how a",
        "Why",
        "运",
        "运河",
        "运河的",
    }
    assert {(a.examples[0].id, a.category) for a in asked} == {("s0", "why"), ("s1", ""), ("s2", "")}
    assert all(a.encode(a.examples) == [{"role": "user", "content": a.begun}] for a in asked)
    line = ProposalLine(0, ("s0",), proposer="template", begun="Explain how")
    (found,) = proposer.parse(Completion(" bees find home.\n", "stop"), line)
    assert found.text == "Explain how bees find home."
    assert proposer.parse(Completion("\n", "stop"), line) == [], "the words of the seed alone are no new instruction"


def test_a_share_of_the_users_turns_has_an_opening_and_refilter_reads_them_alike(
    make_config: Any, tmp_path: Path
) -> None:
    options = {"proposers": {"list": 0, "template": 1}, "template": {"openings": 0.5}, "filters": {"threshold": 0.95}}
    config = make_config(num_instructions=20, prompting="chat", **options)
    state = run_scripted(config, ScriptedEngine(user, has_chat_template=True))
    lines = [line for line in journal_lines(tmp_path / "run") if line["kind"] == "proposal"]
    begun = [line for line in lines if "begun" in line]
    assert 0 < len(begun) < len(lines) and all(len(line["examples"]) == 1 for line in begun)
    assert all(c["instruction"].startswith(line["begun"]) for line in begun for c in line["candidates"])
    refilter(tmp_path / "run", tmp_path / "again", config.filters)
    again = RunDirectory(tmp_path / "again").state()
    assert [i.text for i in again.pool] == [i.text for i in state.pool]


def test_after_the_words_of_a_seed_with_an_input_the_user_goes_on(make_config: Any, tmp_path: Path) -> None:
    def answer(request: Request) -> Completion:
        if request.key.startswith("instances/") and isinstance(request.prompt, OpenTurn):
            return Completion(f"The tram {request.key} was late again.\n", "stop", 5, 9)
        return user(request)

    options = {"proposers": {"list": 0, "template": 1}, "template": {"openings": 1, "system": "You help."}}
    config = make_config(num_instructions=30, prompting="chat", seeds=["seed_tasks"], **options)
    engine = ScriptedEngine(answer, has_chat_template=True)
    run_scripted(config, engine)
    lines = journal_lines(tmp_path / "run")
    accepted = {c["id"] for line in lines for c in line.get("candidates", ()) if c["accepted"] and "id" in c}
    seeds = {seed.id: seed for seed in load_seed_tasks(["seed_tasks"])}
    with_input = {}
    for line in (line for line in lines if line["kind"] == "proposal"):
        has_one = any(i.input for i in seeds[line["examples"][0]].instances)
        assert (line.get("with_input", False), line.get("without_input", False)) == (has_one, not has_one)
        with_input |= {c["id"]: has_one for c in line["candidates"]}
    asked = {r.key.partition("/")[2]: r for r in engine.history if r.key.startswith("instances/")}
    goes_on = {name: r for name, r in asked.items() if isinstance(r.prompt, OpenTurn)}
    assert goes_on.keys() == asked.keys() == {name for name, r in with_input.items() if r and name in accepted}
    assert not any(r.key.startswith("classification/") for r in engine.history), "the proposal says their kind"
    system, turn = next(iter(goes_on.values())).prompt
    assert system["content"] == "You help." and turn["role"] == "user" and turn["content"].endswith("?\n\n")
    state = RunDirectory(tmp_path / "run").state()
    assert state.complete and state.num_of_given_kind == len(asked) and odd_share(state, 0.5) == ""
    told = explain(tmp_path / "run", next(iter(asked)))
    text = render(told)
    assert f'(template, begun "{told.candidates[0].begun}")' in text and "classification" not in text
    assert all(state.inputs[name][0] == f"The tram instances/{name} was late again." for name in goes_on)


def test_stops_and_latencies_change_nothing(make_config: Any, tmp_path: Path) -> None:
    def lines_of(name: str, **engine: Any) -> list[str]:
        options = {"proposers": {"list": 1, "template": 3}, "template": {"openings": 0.7}, "prompting": "chat"}
        config = make_config(num_instructions=12, seeds=["seed_tasks"], output_dir=str(tmp_path / name), **options)
        run_scripted(config, ScriptedEngine(user, has_chat_template=True, **engine))
        return sorted(map(json.dumps, journal_lines(tmp_path / name)))

    whole = lines_of("whole")
    assert any('"with_input": true' in line for line in whole)
    raw = (tmp_path / "whole" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for stop in range(1, len(raw), 9):
        (tmp_path / f"stopped-{stop}").mkdir()
        (tmp_path / f"stopped-{stop}" / "journal.jsonl").write_bytes(b"".join(raw[:stop]))
        assert lines_of(f"stopped-{stop}", latency=0.002, seed=stop) == whole


def test_a_users_input_is_the_whole_text_and_none_if_it_is_the_task_again() -> None:
    assert parse_users_input("\nInput: a\n\nTask: b\n", False, "Sort it.") == [
        ParsedInstance("Input: a\n\nTask: b", "")
    ]
    (cut,) = parse_users_input("Rain fe", True, "Sort it.")
    assert cut.fault == TRUNCATED
    assert parse_users_input(" sort  it\n", False, "Sort it.") == parse_users_input("", False, "x") == []


def test_a_base_model_has_no_users_turn(make_config: Any) -> None:
    with pytest.raises(ConfigError, match=r"proposers\.template 1 needs a model tuned .* --proposers\.template 0"):
        run_scripted(make_config(proposers={"template": 1}), ScriptedEngine(script, has_chat_template=False))


def test_a_runs_identity_holds_the_options_of_the_proposers_that_it_uses(make_config: Any) -> None:
    assert "template" not in make_config().identity()
    assert make_config(proposers={"template": 1}).identity()["template"]["max_tokens"] == 256
