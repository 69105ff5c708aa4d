"""The proposers `plan` and `evolve`: what they show, and what the journal says of it."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import py3langid
import pytest

from selfinstruct.config.proposing import Evolve, Plan
from selfinstruct.config.schema import Filters
from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.generation.filters import heuristics
from selfinstruct.generation.frame import LANGUAGES, load_frame
from selfinstruct.generation.parsing import ambiguous
from selfinstruct.generation.proposers import Pool, Seen
from selfinstruct.generation.proposers.evolve import EvolvedTask
from selfinstruct.generation.proposers.plan import PlannedTasks
from selfinstruct.generation.proposers.topics import Topic
from selfinstruct.generation.proposers.wording import load_wording
from selfinstruct.records import Completion, Instance, Instruction, SeedTask, Style
from selfinstruct.run.lines import ProposalLine
from selfinstruct.run.state import RunState
from tests.conftest import journal_lines, run_scripted, script

ENGLISH, WORDING = load_frame(), load_wording("en")
SEEDS = [
    SeedTask(f"s{k}", f"Do thing {k}.", (Instance("", "x"),), False, category="odd" if k % 2 else "even")
    for k in range(10)
]


def seen(n: int, pool: list[Instruction] | None = None, seeds: list[SeedTask] = SEEDS) -> Seen:
    return Seen(seeds, Pool([], pool or [], len(pool or [])), random.Random(n))


# ---------------------------------------------------------------------------------------------------- plan


def test_two_or_three_seeds_of_one_category_are_shown_with_a_short_or_a_long_plan() -> None:
    asked = [PlannedTasks(Plan(), "completion", ENGLISH, WORDING).ask(seen(n)) for n in range(60)]
    assert {len(a.examples) for a in asked} == {2, 3}
    assert all(len({int(e.id[1:]) % 2 for e in a.examples}) == 1 for a in asked)
    assert all(len({e.id for e in a.examples}) == len(a.examples) for a in asked)
    assert Counter(a.variant for a in asked).keys() == {"short", "long"}


def test_seeds_without_a_category_of_their_own_are_shown_with_others() -> None:
    alone = [SEEDS[0], SEEDS[1]]
    for n in range(10):
        assert {e.id for e in PlannedTasks(Plan(), "chat", ENGLISH, WORDING).ask(seen(n, seeds=alone)).examples} == {
            "s0",
            "s1",
        }
    (only,) = PlannedTasks(Plan(), "chat", ENGLISH, WORDING).ask(seen(0, seeds=SEEDS[:1])).examples
    assert only.id == "s0"


def test_an_accepted_task_of_the_category_takes_the_place_of_a_seed() -> None:
    pool = [Instruction(f"p{k}", f"Do new thing {k}.", k, category=("odd", "even", "")[k % 3]) for k in range(30)]
    category = {seed.id: seed.category for seed in SEEDS} | {one.id: one.category for one in pool}
    asked = [PlannedTasks(Plan(), "chat", ENGLISH, WORDING).ask(seen(n, pool)) for n in range(60)]
    assert all({category[e.id] for e in a.examples} == {a.category} for a in asked)
    made = [[e.id[0] for e in a.examples].count("p") for a in asked]
    assert set(made) == {1} and {len(a.examples) for a in asked} == {2, 3}
    two = [PlannedTasks(Plan(num_generated=2), "chat", ENGLISH, WORDING).ask(seen(n, pool)) for n in range(60)]
    assert all(a.examples[0].id[0] == "s" for a in two)
    assert {[e.id[0] for e in a.examples].count("p") for a in two} == {1, 2}
    before = [PlannedTasks(Plan(num_generated=0), "chat", ENGLISH, WORDING).ask(seen(n, pool)) for n in range(60)]
    assert [a.examples for a in before] == [
        PlannedTasks(Plan(), "chat", ENGLISH, WORDING).ask(seen(n)).examples for n in range(60)
    ]


def test_a_base_model_writes_on_after_the_word_plan_and_a_chat_model_after_worked_turns() -> None:
    asked = PlannedTasks(Plan(), "completion", ENGLISH, WORDING).ask(seen(1))
    shown = "".join(f"Task: {e.text}\n" for e in asked.examples)
    prompt = str(asked.encode(asked.examples))
    assert prompt.endswith(f"\n\n{shown}Plan:") and prompt.count("\nPlan:") == prompt.count("\nNew task:") + 1 == 3
    assert asked.stop(2) == ("\nTask:", "\n\n\n")
    chat = PlannedTasks(Plan(), "chat", ENGLISH, WORDING).ask(seen(1))
    messages: Any = chat.encode(chat.examples)
    assert [m["role"] for m in messages] == ["user", "assistant"] * 2 + ["user"] and chat.stop(2) == ()
    assert messages[1]["content"].startswith("Plan: ") and "\nNew task: " in messages[1]["content"]
    assert messages[-1]["content"].startswith(shown)


@pytest.mark.parametrize("length", ["short", "long"])
def test_worked_plans_are_read_as_they_are_written(length: Any) -> None:
    proposer = PlannedTasks(Plan(), "completion", ENGLISH, WORDING)
    for example in WORDING.plan.examples:
        written = proposer._planned(example, length).removeprefix("Plan:")
        (found,) = proposer.parse(Completion(written, "stop"), ProposalLine(0, ()))
        assert found.text == example.new and found.fault is not None, "it is read, and as a copy it is no new task"


# -------------------------------------------------------------------------------------------------- evolve


def test_a_parent_is_accepted_and_not_changed_too_often_or_a_seed_while_there_is_none() -> None:
    pool = [Instruction("p0", "Do new thing 0.", 0, depth=2), Instruction("p1", "Do new thing 1.", 1)]
    proposer = EvolvedTask(Evolve(max_depth=2), "chat", ENGLISH, WORDING)
    asked = [proposer.ask(seen(n, pool)) for n in range(40)]
    assert {(a.examples[0].id, a.depth) for a in asked} == {("p1", 1)}
    assert Counter(a.variant for a in asked).keys() == {"deeper", "concrete", "constrained", "moved"}
    assert {proposer.ask(seen(n)).examples[0].id[0] for n in range(9)} == {"s"}
    deeper = EvolvedTask(Evolve(max_depth=3), "chat", ENGLISH, WORDING)
    assert {(a.examples[0].id, a.depth) for a in (deeper.ask(seen(n, pool)) for n in range(40))} == {
        ("p0", 3),
        ("p1", 1),
    }
    worn = [Instruction("p0", "Do new thing 0.", 0, depth=2)]
    assert {proposer.ask(seen(n, worn)).examples[0].id[0] for n in range(9)} == {"s"}


@pytest.mark.parametrize("style", ["completion", "chat"])
def test_worked_changes_come_before_the_task(style: Style) -> None:
    asked = EvolvedTask(Evolve(), style, ENGLISH, WORDING).ask(seen(3))
    prompt: Any = asked.encode(asked.examples)
    text = prompt if style == "completion" else "\n".join(m["content"] for m in prompt)
    change = WORDING.evolve[asked.variant]
    assert text.count("New task:") == (3 if style == "completion" else 2)
    assert all(f"Task: {e.before}\n" in text and f"New task: {e.after}" in text for e in change.examples)
    assert f"Task: {asked.examples[0].text}" in text and change.ask in text
    assert style != "completion" or text.endswith("\nNew task:")


def test_a_worked_change_that_is_copied_is_no_new_task() -> None:
    """As SmolLM2-135M-Instruct wrote once in 12 answers."""
    proposer = EvolvedTask(Evolve(), "chat", ENGLISH, WORDING)
    copied = WORDING.evolve["constrained"].examples[1].after
    asked = ProposalLine(0, ("s0",), proposer="evolve", variant="constrained")
    (found,) = proposer.parse(Completion(f"New task: {copied}", "stop"), asked)
    assert found.fault == ambiguous("a worked example of the prompt")
    (other,) = proposer.parse(Completion("New task: Do it in verse.", "stop"), asked)
    assert other.fault is None


def planned(request: Request) -> Completion:
    """Answers `plan` and `evolve` in their form, and all else as the script does."""
    text = str(request.prompt)
    if "New task" not in text:
        return script(request)
    return Completion(f" Of one kind.\nNew task: Weigh stone {request.key} of quarry {len(text)}.", "stop", 50, 12)


def test_plans_show_what_earlier_plans_of_their_category_gave(make_config: Any, tmp_path: Path) -> None:
    options = {
        "proposers": {"list": 0, "plan": 1},
        "filters": {"threshold": 0.95},
        "window": 3,
        "seeds": ["seed_tasks"],
    }
    state = run_scripted(make_config(num_instructions=30, **options), ScriptedEngine(planned))
    lines = [line for line in journal_lines(tmp_path / "run") if line["kind"] == "proposal"]
    category = {c["id"]: line["category"] for line in lines for c in line["candidates"]}
    assert {i.id: i.category for i in state.pool} == {i.id: category[i.id] for i in state.pool}
    shown = [(line["category"], name) for line in lines for name in line["examples"] if name in category]
    assert shown and all(of == category[name] for of, name in shown)


def test_the_journal_says_how_each_was_asked_and_the_run_goes_on_with_it(make_config: Any, tmp_path: Path) -> None:
    mixture = {"proposers": {"list": 1, "plan": 1, "evolve": 2}, "filters": {"threshold": 0.95}, "window": 3}
    state = run_scripted(make_config(num_instructions=30, **mixture), ScriptedEngine(planned))
    lines = [line for line in journal_lines(tmp_path / "run") if line["kind"] == "proposal"]
    by = {name: [x for x in lines if x.get("proposer", "list") == name] for name in ("list", "plan", "evolve")}
    assert all(by.values())
    assert {line["variant"] for line in by["plan"]} <= {"short", "long"}
    assert all("depth" not in line and "variant" not in line for line in by["list"])
    assert all(1 <= line["depth"] <= 3 and len(line["examples"]) == 1 for line in by["evolve"])
    depths = {c["id"]: line.get("depth", 0) for line in lines for c in line["candidates"]}
    assert {i.id: i.depth for i in state.pool} == {i.id: depths[i.id] for i in state.pool}
    parents = [(line["depth"], depths[line["examples"][0]]) for line in by["evolve"] if line["examples"][0] in depths]
    assert parents and all(depth == of_parent + 1 for depth, of_parent in parents)
    before = (tmp_path / "run" / "journal.jsonl").read_bytes()
    longer: RunState = run_scripted(make_config(num_instructions=40, **mixture), ScriptedEngine(planned))
    assert len(longer.pool) == 40 and (tmp_path / "run" / "journal.jsonl").read_bytes().startswith(before)


# ----------------------------------------------------------------------------------------------- in every language


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_wording_is_whole_and_in_its_language(language: Any) -> None:
    wording, frame = load_wording(language), load_frame(language)
    assert list(wording.evolve) == list(WORDING.evolve)
    sentences = [wording.plan.header, wording.plan.short, wording.plan.long, wording.single_step.header]
    sentences += [wording.single_step.ask, *(change.ask for change in wording.evolve.values())]
    sentences += [each.long for each in wording.plan.examples]
    assert {py3langid.classify(text)[0] for text in sentences} == {language}
    for form in ("one", "several", "system"):
        for topic in (Topic("[S]"), Topic("[S]", "[U]")):
            named = wording.topic.sentence(form, topic)  # type: ignore[arg-type]
            assert "[S]" in named and ("[U]" in named) == bool(topic.user) and "{" not in named
    marks = [*wording.new_task, *wording.plan.word]
    assert not {word.casefold() for word in marks} & {word.casefold() for word in frame.task}
    texts = [e.new for e in wording.plan.examples]
    texts += [text for change in wording.evolve.values() for text in (e.after for e in change.examples)]
    accepts = heuristics(Filters(), [text for e in wording.plan.examples for text in e.tasks], frame)
    assert [accepts(text) for text in texts] == [None] * len(texts), "the worked examples are good tasks"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("style", ["completion", "chat"])
def test_a_plan_and_a_change_are_read_in_every_language(language: Any, style: Style) -> None:
    frame, wording = load_frame(language), load_wording(language)
    plan = PlannedTasks(Plan(), style, frame, wording)
    asked = plan.ask(seen(0))
    prompt = asked.encode(asked.examples)
    assert prompt if style == "chat" else str(prompt).endswith(f"\n{frame.opening(wording.plan.word)}")
    line = ProposalLine(0, (), proposer="plan")
    for word in wording.new_task:
        answer = Completion(
            f" {wording.plan.examples[0].long}\n{frame.opening((word,))}{frame.space}Do it now.", "stop"
        )
        assert [text.text for text in plan.parse(answer, line)] == ["Do it now."]
    change = EvolvedTask(Evolve(), style, frame, wording)
    (read,) = change.parse(Completion(" Do it now.", "stop"), ProposalLine(0, (), proposer="evolve", variant="moved"))
    assert read.text == "Do it now."
