"""The proposer `template`: a chat model writes the user's turn."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.config.proposing import Template
from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import ConfigError
from selfinstruct.generation.parsing import TRUNCATED
from selfinstruct.generation.proposers import Pool, Question, Seen
from selfinstruct.generation.proposers.template import UserTurn
from selfinstruct.records import Completion, Instance, OpenTurn, SeedTask
from selfinstruct.replay.explain import explain
from selfinstruct.replay.explanation_text import render
from selfinstruct.replay.refilter import refilter
from selfinstruct.run.counting import run_counts
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
    counts = run_counts(state).proposers
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


def seed(number: int, instruction: str) -> SeedTask:
    return SeedTask(f"s{number}", instruction, (Instance("", "x"),), False, category=f"c{number}")


SEEDS = [
    seed(0, "Explain how a lock lifts a boat up to the higher level."),
    seed(1, "Why not?"),
    seed(2, "Rain fell on the canal: what now?"),
    seed(3, "explain this to a child"),
    seed(4, "请把这句话翻译成英语。"),
    seed(5, "Why is the sky blue?"),
    seed(6, "请解释船闸。"),
    seed(7, "Rain falls. What now?"),
    seed(8, "Rain fell。What now?"),
]


def ask(seeds: list[SeedTask], n: int) -> Question:
    return UserTurn(Template(openings=1)).ask(Seen(seeds, Pool([], [], 0), random.Random(n)))


def test_the_first_word_of_several_seeds_opens_the_users_turn_and_the_instruction() -> None:
    asked = [ask(SEEDS, n) for n in range(80)]
    opened = {(a.begun, a.examples[0].id, a.category) for a in asked}
    words = {0: "Explain", 1: "Why", 3: "explain", 4: "请", 5: "Why", 6: "请"}
    assert opened == {(word, f"s{k}", f"c{k}") for k, word in words.items()}
    assert all(a.encode(a.examples) == [{"role": "user", "content": a.begun}] for a in asked)
    line = ProposalLine(0, ("s0",), proposer="template", begun="Explain")
    (found,) = UserTurn(Template()).parse(Completion(" how bees find home.\n", "stop"), line)
    assert found.text == "Explain how bees find home."
    assert UserTurn(Template()).parse(Completion("\n", "stop"), line) == [], "a seed's word alone is no new instruction"


def test_where_no_two_seeds_begin_alike_the_model_begins_itself() -> None:
    asked = [ask(SEEDS[:3], n) for n in range(20)]
    assert {(a.begun, a.examples) for a in asked} == {("", ())}
    assert asked[0].encode(()) == [{"role": "user", "content": ""}]


def test_a_share_of_the_users_turns_has_an_opening_and_refilter_reads_them_alike(
    make_config: Any, tmp_path: Path
) -> None:
    options = {"proposers": {"list": 0, "template": 1}, "template": {"openings": 0.5}, "filters": {"threshold": 0.95}}
    config = make_config(num_instructions=20, prompting="chat", seeds=["seed_tasks"], **options)
    state = run_scripted(config, ScriptedEngine(user, has_chat_template=True))
    lines = [line for line in journal_lines(tmp_path / "run") if line["kind"] == "proposal"]
    begun = [line for line in lines if "begun" in line]
    assert 0 < len(begun) < len(lines) and all(len(line["examples"]) == 1 for line in begun)
    assert all(c["instruction"].startswith(line["begun"]) for line in begun for c in line["candidates"])
    name = begun[0]["candidates"][0]["id"]
    assert f'(template, begun "{begun[0]["begun"]}")' in render(explain(tmp_path / "run", name))
    refilter(tmp_path / "run", tmp_path / "again", config.filters)
    again = RunDirectory(tmp_path / "again").state()
    assert [i.text for i in again.pool] == [i.text for i in state.pool]


def test_stops_and_latencies_change_nothing(make_config: Any, tmp_path: Path) -> None:
    def lines_of(name: str, **engine: Any) -> list[str]:
        options = {"proposers": {"list": 1, "template": 3}, "template": {"openings": 0.7}, "prompting": "chat"}
        config = make_config(num_instructions=12, seeds=["seed_tasks"], output_dir=str(tmp_path / name), **options)
        run_scripted(config, ScriptedEngine(user, has_chat_template=True, **engine))
        return sorted(map(json.dumps, journal_lines(tmp_path / name)))

    whole = lines_of("whole")
    assert any('"begun": "' in line for line in whole)
    raw = (tmp_path / "whole" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for stop in range(1, len(raw), 9):
        (tmp_path / f"stopped-{stop}").mkdir()
        (tmp_path / f"stopped-{stop}" / "journal.jsonl").write_bytes(b"".join(raw[:stop]))
        assert lines_of(f"stopped-{stop}", latency=0.002, seed=stop) == whole


def test_a_base_model_has_no_users_turn(make_config: Any) -> None:
    with pytest.raises(ConfigError, match=r"proposers\.template 1 needs a model tuned .* --proposers\.template 0"):
        run_scripted(make_config(proposers={"template": 1}), ScriptedEngine(script, has_chat_template=False))


def test_a_runs_identity_holds_the_options_of_the_proposers_that_it_uses(make_config: Any) -> None:
    assert "template" not in make_config().identity()
    assert make_config(proposers={"template": 1}).identity()["template"]["max_tokens"] == 256
