"""The proposer `single_step`: whole tasks in one completion, about which nothing more is asked."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.chain import chain
from selfinstruct.cli import cli
from selfinstruct.config.proposing import SingleStep
from selfinstruct.config.schema import Config
from selfinstruct.engines.base import Engine, Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import StoppedError
from selfinstruct.generation.frame import LANGUAGES, load_frame
from selfinstruct.generation.parsing import TRUNCATED
from selfinstruct.generation.proposal_parsing import ProposedText
from selfinstruct.generation.proposers import Pool, Seen
from selfinstruct.generation.proposers.single_step import WholeTasks, read_tasks
from selfinstruct.generation.proposers.wording import load_wording
from selfinstruct.generation.rate import rate
from selfinstruct.records import Completion, Instance, OpenTurn, SeedTask
from selfinstruct.replay.refilter import refilter
from selfinstruct.replay.show import rows
from selfinstruct.run.counting import run_counts
from selfinstruct.run.journal import read_lines
from selfinstruct.run.lines import ProposalLine, WrittenInstance
from selfinstruct.run.state import RunState
from tests.conftest import journal_lines, replayed, run_scripted

ENGLISH, WORDING = load_frame(), load_wording("en")
SEEDS = [
    SeedTask("s0", "Turn the sentence into a question.", (Instance("The tram was late.", "Was it late?"),), False),
    SeedTask("s1", "Name a river.", (Instance("", "The Niger."),), False),
    SeedTask("s2", "Say what the log holds.", (Instance("Task 2: stop", "Input: nothing\nOutput: less"),), False),
]


def proposer(**options: Any) -> WholeTasks:
    return WholeTasks(SingleStep(**options), "completion", ENGLISH, WORDING)


def line(shown: int) -> ProposalLine:
    return ProposalLine(0, tuple(f"s{k}" for k in range(shown)), proposer="single_step")


def whole(instruction: str, given: str, output: str) -> ProposedText:
    return ProposedText(instruction, None, WrittenInstance(given, output))


def test_the_prompt_shows_seeds_with_an_instance_each_but_none_that_would_be_read_otherwise() -> None:
    asked = proposer().ask(Seen(SEEDS, Pool([], [], 0), random.Random(1)))
    assert {example.id for example in asked.examples} == {"s0", "s1"}
    prompt = asked.encode(asked.examples)
    assert isinstance(prompt, str) and prompt.startswith(WORDING.single_step.header)
    assert "Turn the sentence into a question.\nInput: The tram was late.\nOutput: Was it late?\n\n" in prompt
    assert "Name a river.\nInput: no input\nOutput: The Niger." in prompt
    assert prompt.endswith("\n\nTask 3:") and asked.stop(2) == ("\nTask 8:",)


def test_a_chat_model_writes_on_in_its_own_turn() -> None:
    chat = WholeTasks(SingleStep(), "chat", ENGLISH, WORDING)
    asked = chat.ask(Seen(SEEDS, Pool([], [], 0), random.Random(1)))
    prompt = asked.encode(asked.examples)
    assert isinstance(prompt, OpenTurn) and [message["role"] for message in prompt] == ["user", "assistant"]
    assert prompt[1]["content"].startswith("Task 1: ") and prompt[1]["content"].endswith("\n\nTask 3:")


def test_each_task_brings_its_instance() -> None:
    text = """ Correct the spelling.
Input: I recieved it.
Output: I received it.

Task 4: Write a haiku
about rain.
Input: No input
Output:
Grey roofs, one by one

**Task 5:** Write a loop.
Output: ```
Task 6: is text in code
Input: so is this
```
Task 9: is text, too
Task 6: Say it ag"""
    found = proposer().parse(Completion(text, "length"), line(2))
    assert found == [
        whole("Correct the spelling.", "I recieved it.", "I received it."),
        whole("Write a haiku about rain.", "", "Grey roofs, one by one"),
        whole("Write a loop.", "", "```\nTask 6: is text in code\nInput: so is this\n```\nTask 9: is text, too"),
        ProposedText("Say it ag", TRUNCATED, WrittenInstance("", "")),
    ]


def test_what_cannot_be_told_apart_is_no_task() -> None:
    (two,) = read_tasks("Task 1: Do it.\nInput: a\nOutput: b\nInput: c\nOutput: d", ENGLISH)
    assert two.fault is not None and two.fault.evidence == {"why": "fields out of order"}
    (fence,) = read_tasks("Task 1: Do it.\nOutput: ```\nTask 2: Go.", ENGLISH)
    assert fence.fault is not None and "code fence" in str(fence.fault.evidence)
    assert read_tasks("Nothing like it.", ENGLISH) == []


@pytest.mark.parametrize("language", LANGUAGES)
@given(data=st.data())
def test_what_is_shown_is_read(language: Any, data: st.DataObject) -> None:
    frame = load_frame(language)
    text = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1, max_size=20)
    tasks = data.draw(st.lists(st.tuples(text, st.just("") | text, text), min_size=1, max_size=4))
    wording = load_wording(language)
    made = WholeTasks(SingleStep(num_examples=9), "completion", frame, wording)
    seeds = [SeedTask(f"s{k}", i, (Instance(g, o),), False) for k, (i, g, o) in enumerate(tasks)]
    asked = made.ask(Seen(seeds, Pool([], [], 0), random.Random(0)))
    prompt = str(asked.encode(asked.examples)).partition("\n\n")[2]
    shown = {seed.id: seed for seed in seeds}
    found = read_tasks(prompt, frame)[: len(asked.examples)]
    assert [task.text for task in found] == [" ".join(shown[e.id].instruction.split()) for e in asked.examples]


@given(st.text(), st.sampled_from(["stop", "length"]))
def test_any_answer_can_be_read(text: str, ended: Any) -> None:
    for task in proposer().parse(Completion(text, ended), line(3)):
        assert task.text and task.instance is not None


# ------------------------------------------------------------------------------------------------------ in a run


def writes(request: Request) -> Completion:
    """A model that writes whole tasks, some with a bad instance, and is asked nothing else."""
    assert request.key.startswith("proposal/"), request.key
    draw = random.Random(f"{request.key} {request.prompt}")
    word = lambda: "".join(draw.choices("bdfgklmnprstvz", k=5))  # noqa: E731
    blocks = []
    for k in range(4):
        task = f"Tell me about {word()} and {word()} in a few words, {word()} {word()}."
        given = draw.choice(["no input", f"{word()} {word()}"])
        output = draw.choice([f"It is {word()} and {word()}.", f"It is {word()} and {word()}.", "", task])
        blocks.append(f"{'' if not k else f'Task {4 + k}: '}{task}\nInput: {given}\nOutput: {output}")
    return Completion("\n\n".join(blocks), draw.choice(["stop", "length"]), 50, 90)


@pytest.fixture
def config_of(make_config: Any, tmp_path: Path) -> Any:
    def config_of(name: str, **options: Any) -> Config:
        section = {"proposers": {"list": 0.0, "single_step": 1.0}, "num_instructions": 15}
        config: Config = make_config(output_dir=str(tmp_path / name), **section | options)
        return config

    return config_of


def test_nothing_more_is_asked_and_every_accepted_task_is_a_row(config_of: Any, tmp_path: Path) -> None:
    config = config_of("run")
    state = run_scripted(config, ScriptedEngine(writes))
    assert {entry["kind"] for entry in journal_lines(tmp_path / "run")} == {"run", "proposal"}
    assert state.complete and len(state.pool) == state.num_instances == 15
    assert {"truncated", "empty_output", "echo"} <= state.rejected.keys()
    chain.export(config)
    rows = [json.loads(row) for path in (tmp_path / "run" / "dataset").glob("*.jsonl") for row in path.open()]
    assert len(rows) == 15 and {bool(row["input"]) for row in rows} == {True, False}
    counts = run_counts(state)
    assert counts.instances.total == counts.instances.accepted == 15 and counts.classification.pending == 0
    accepted = next(c for c in journal_lines(tmp_path / "run")[1]["candidates"] if c["accepted"])
    told = CliRunner().invoke(cli, ["explain", str(tmp_path / "run"), accepted["id"]]).output
    assert f"-> {accepted['instance']['output']}" in told and "pending" not in told and "not requested" not in told


def test_show_and_rate_know_the_instances_that_tasks_bring(config_of: Any, tmp_path: Path) -> None:
    config = config_of("run")
    state = run_scripted(config, ScriptedEngine(writes))

    async def start() -> Engine:
        return ScriptedEngine(lambda request: Completion("4", "stop", 9, 1), has_chat_template=True)

    assert rate(config, start).scored == state.num_instances
    shown = rows(tmp_path / "run")
    assert [row.output for row in shown] == [one.output for task in state.tasks() for one in task.instances]
    assert {row.scores["judge"] for row in shown} == {4.0}


def test_stops_and_latencies_change_nothing(config_of: Any, tmp_path: Path) -> None:
    run_scripted(config_of("whole"), ScriptedEngine(writes))
    raw = (tmp_path / "whole" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for stop in range(1, len(raw)):
        (tmp_path / f"stopped-{stop}").mkdir()
        (tmp_path / f"stopped-{stop}" / "journal.jsonl").write_bytes(b"".join(raw[:stop]))
        run_scripted(config_of(f"stopped-{stop}"), ScriptedEngine(writes, latency=0.002, seed=stop))
        assert journal_lines(tmp_path / f"stopped-{stop}") == journal_lines(tmp_path / "whole")
    state = RunState()
    for entry in read_lines(tmp_path / "whole" / "journal.jsonl"):
        state.apply(entry)
        assert state.num_instances == sum(map(len, state.instances.values())) == len(state.pool)
        assert state.pending() == []


def test_refilter_decides_about_the_instance_again(config_of: Any, tmp_path: Path) -> None:
    config = config_of("run")
    run_scripted(config, ScriptedEngine(writes))
    refilter(tmp_path / "run", tmp_path / "same", config.filters)
    assert journal_lines(tmp_path / "same")[1:] == journal_lines(tmp_path / "run")[1:]
    off = config.filters.model_copy(update={"echo": "off"})
    result = refilter(tmp_path / "run", tmp_path / "new", off)
    assert result.candidates.entered > 0 and "echo" not in result.candidates.reasons
    moves, state = result.instances, replayed(journal_lines(tmp_path / "new"))
    assert moves.kept == moves.before - moves.lost - moves.dropped + moves.gained == state.num_instances


def test_a_budget_is_not_kept_for_requests_that_nobody_makes(config_of: Any, tmp_path: Path) -> None:
    engine = ScriptedEngine(writes)
    with pytest.raises(StoppedError, match="is used up"):
        run_scripted(config_of("run", num_instructions=500, limits={"max_requests": 20}), engine)
    assert len(engine.history) == 20
