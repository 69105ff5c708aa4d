"""The three steps: examples that are a function of the configuration and n, and verdicts with their evidence."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from selfinstruct.config.schema import Config
from selfinstruct.engines.base import RequestFailed
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.formats import seed_tasks
from selfinstruct.generation.method import Method
from selfinstruct.generation.steps import Steps
from selfinstruct.novelty import NoveltyIndex
from selfinstruct.records import Completion, Instance, Instruction, SeedTask, Style
from selfinstruct.run.lines import Failure, ProposalLine
from tests.conftest import script

WORDS = "alder birch cedar elm fir hazel larch maple oak pine rowan yew".split()


def seed(k: int, is_classification: bool = False) -> SeedTask:
    outputs = ("yes", "no") if is_classification else ("one", "two")
    instances = tuple(Instance(f"text {k} {o}", o) for o in outputs)
    return SeedTask(f"s{k}", f"Describe the {WORDS[k]} number {k} to a child.", instances, is_classification)


SEEDS = [seed(k, k % 3 == 0) for k in range(12)]
POOL = [Instruction(f"p{k:06d}-00", f"Compare tool {k} with its elder sister {k}.", k) for k in range(20)]
ASKED = Instruction("p000001-00", "Sort the letters of a word.", 1)


def steps(
    seeds: list[SeedTask] | None = None,
    borrowed: list[SeedTask] | None = None,
    *,
    context_length: int = 100_000,
    style: Style = "completion",
    **options: Any,
) -> Steps:
    engine = ScriptedEngine(script, context_length=context_length)
    return Steps(
        Method.of(Config.model_validate(options)), SEEDS if seeds is None else seeds, borrowed or [], engine, style
    )


# ------------------------------------------------------------------------------------------------ examples


@pytest.mark.parametrize("style", ["completion", "chat"])
def test_a_proposal_is_a_function_of_configuration_number_and_visible_pool(style: Style) -> None:
    def ask(n: int, pool: list[Instruction], visible: int, seed: int = 42) -> Any:
        return steps(style=style, seed=seed).proposal_request(n, pool, visible)

    asked = ask(3, POOL, 10)
    assert ask(3, POOL, 10) == asked
    assert ask(3, POOL[:10], 10) == asked, "what came later cannot be seen"
    assert ask(4, POOL, 10) != asked
    assert ask(3, POOL, 20) != asked
    assert ask(3, POOL, 10, seed=43) != asked
    shared = steps(style=style)
    shared.proposal_request(9, POOL, 20)
    assert shared.proposal_request(3, POOL, 10) == asked, "no generator is shared between requests"


def test_six_seeds_and_two_generated_examples_or_eight_seeds() -> None:
    for visible, generated in [(0, 0), (1, 1), (2, 2), (20, 2)]:
        request, asked = steps().proposal_request(0, POOL, visible)
        shown = asked.examples
        assert len(shown) == len(set(shown)) == 8
        assert sum(name.startswith("p") for name in shown) == generated
        assert str(request.prompt).endswith("\nTask 9:")
    orders = {tuple(name[0] for name in steps().proposal_request(n, POOL, 20)[1].examples) for n in range(30)}
    assert len(orders) > 5, "generated examples stand at any place"


def test_fewer_seeds_than_wanted_are_all_shown() -> None:
    request, asked = steps(SEEDS[:3]).proposal_request(0, [], 0)
    assert sorted(asked.examples) == ["s0", "s1", "s2"]
    assert str(request.prompt).endswith("\nTask 4:")
    assert request.stop[0] == "\nTask 12:"


def test_every_seed_and_every_visible_instruction_is_shown_sooner_or_later() -> None:
    shown = {name for n in range(100) for name in steps().proposal_request(n, POOL, 20)[1].examples}
    assert shown == {s.id for s in SEEDS} | {i.id for i in POOL}


def test_requests_carry_sampling_and_stops_of_their_step() -> None:
    made = steps(proposal={"temperature": 0.3}, instances={"max_tokens": 77})
    proposal, _ = made.proposal_request(5, [], 0)
    assert (proposal.key, proposal.sampling.temperature) == ("proposal/5", 0.3)
    classification = made.classification_request(ASKED)
    assert classification.choices == (" Yes", " No")
    assert classification.stop == ("\n",)
    instances = made.instances_request(ASKED, False)
    assert (instances.key, instances.sampling.max_tokens) == ("instances/p000001-00", 77)
    assert all(stop.startswith("\n") for stop in (*proposal.stop, *classification.stop))
    assert instances.stop == () and instances.ends_before is not None
    chat = steps(style="chat")
    assert not chat.proposal_request(0, [], 0)[0].stop
    assert chat.instances_request(ASKED, True).ends_before is None


def test_classification_shows_both_kinds_all_through_the_prompt() -> None:
    prompt = str(steps().classification_request(ASKED).prompt)
    answers = [line.split()[-1] for line in prompt.splitlines() if line.startswith("Classification: ")]
    assert answers.count("Yes") == 4
    assert answers.count("No") == 8
    assert {"Yes", "No"} == set(answers[:4]) == set(answers[-4:])


def test_each_form_of_instances_shows_its_own_kind() -> None:
    first, second = (str(steps().instances_request(ASKED, kind).prompt) for kind in (True, False))
    assert "Label: yes\nInput: text 0 yes" in first
    assert "Output:" not in first
    assert "Example 1\nInput: text 1 one\nOutput: one\nExample 2\n" in second
    assert "Label:" not in second


@pytest.mark.parametrize("lacking", [True, False])
def test_examples_of_a_kind_that_the_seeds_lack_are_borrowed(lacking: bool) -> None:
    packaged = seed_tasks.load_seed_tasks(["seed_tasks"])
    own = [s for s in SEEDS if s.is_classification != lacking]
    made = steps(own, packaged)
    kind = "no classification task" if lacking else "no task that is no classification task"
    assert made.remarks == [f"the seeds hold {kind}: the examples of such tasks are packaged ones in English"]
    borrowed = str(made.instances_request(ASKED, lacking).prompt)
    assert sum(task.instruction in borrowed for task in packaged if task.is_classification == lacking) >= 5
    assert " to a child." not in borrowed
    assert " to a child." in str(made.instances_request(ASKED, not lacking).prompt), "the other kind is their own"
    answers = {
        line for line in str(made.classification_request(ASKED).prompt).splitlines() if "Classification: " in line
    }
    assert answers == {"Classification: Yes", "Classification: No"}
    assert set(made.proposal_request(0, [], 0)[1].examples) <= {s.id for s in own}, (
        "proposals come from the user's seeds alone"
    )
    assert steps(SEEDS, packaged).remarks == []


def test_a_seed_that_cannot_be_shown_is_no_example_but_still_proposes() -> None:
    odd = SeedTask("odd", "Fill in the form that is given.", (Instance("none", "b"),), False)
    made = steps([*SEEDS, odd])
    assert odd.instruction not in str(made.instances_request(ASKED, False).prompt)
    assert "odd" in {name for n in range(50) for name in made.proposal_request(n, [], 0)[1].examples}


# -------------------------------------------------------------------------------------------------- fitting


def test_examples_are_cut_to_fit_a_small_context_by_token_count() -> None:
    engine = ScriptedEngine(script)
    whole, shown = steps().proposal_request(0, [], 0)
    size = engine.count_tokens(whole.prompt)
    for spare in (0, -1, -20):
        cut, fewer = steps(context_length=400 + size + spare).proposal_request(0, [], 0)
        assert engine.count_tokens(cut.prompt) + 400 <= 400 + size + spare
        number = len(fewer.examples)
        assert fewer.examples == shown.examples[:number]
        assert (number == 8) == (spare == 0)
        assert str(cut.prompt).endswith(f"\nTask {number + 1}:")
        assert cut.stop[0] == f"\nTask {number + 9}:"


def test_follow_ups_are_cut_too_and_need_no_example() -> None:
    made = steps(context_length=120, classification={"max_tokens": 1}, instances={"max_tokens": 20})
    assert 0 < str(made.classification_request(ASKED).prompt).count("Classification: ") < 12
    assert 0 < str(made.instances_request(ASKED, False).prompt).count("Example 1") < 8
    tiny = steps(context_length=40, instances={"max_tokens": 10})
    assert "Example 1\n" not in str(tiny.instances_request(ASKED, False).prompt)


def test_what_cannot_fit_fails_with_numbers() -> None:
    made = steps(context_length=406)
    with pytest.raises(RequestFailed) as caught:
        made.proposal_request(7, [], 0)
    assert caught.value.reason == "prompt_too_long"
    assert "the context of 406 leaves 6 beside max_tokens=400" in caught.value.detail
    long = Instruction("p000000-00", "word " * 5000, 0)
    with pytest.raises(RequestFailed):
        steps(context_length=2000).instances_request(long, False)


def test_every_request_is_answered_by_an_engine_of_that_context() -> None:
    made = steps(context_length=1200)
    engine = ScriptedEngine(script, context_length=1200)
    for n in range(5):
        request, _ = made.proposal_request(n, POOL, 20)
        asyncio.run(engine.generate(request))
    for kind in (True, False):
        asyncio.run(engine.generate(made.instances_request(ASKED, kind)))


# -------------------------------------------------------------------------------------------------- verdicts


def decide(text: str, *, room: int = 9, finish: Any = "stop", pool: list[Instruction] | None = None) -> Any:
    pool = pool or []
    index = NoveltyIndex([s.instruction for s in SEEDS])
    for instruction in pool:
        index.add(instruction.text)
    asked = ProposalLine(4, tuple(s.id for s in SEEDS[:8]))
    return steps().decide_proposal(asked, Completion(text, finish, 10, 5), index, pool, room)


def test_every_candidate_gets_a_verdict_with_evidence() -> None:
    line = decide(
        " Explain how tides come about at sea.\n"
        "Task 10: explain how  tides come about at sea.\n"
        "Task 11: Explain how tides come about at sea today.\n"
        "Task 12: Describe the maple number 7 to a child.\n"
        "Task 13: Too short.\n"
        "Task 14: Compare tool 3 with its elder sister 3\n"
        "Task 15: Invent a board game that ends",
        finish="length",
        pool=POOL[3:4],
    )
    verdicts = {c.id: (c.accepted, c.reason, c.evidence) for c in line.candidates}
    first = "p000004-00"
    assert line.n == 4
    assert line.examples == tuple(f"s{k}" for k in range(8))
    assert line.completion.finish_reason == "length"
    assert line.candidates[0].nearest_seed.id.startswith("s")
    assert verdicts["p000004-01"] == (False, "identical", {"nearest": {"id": first, "score": 1.0}})
    assert verdicts["p000004-02"][1] == "near_duplicate"
    assert verdicts["p000004-02"][2]["nearest"] == {"id": first, "score": pytest.approx(14 / 15)}
    assert verdicts["p000004-03"] == (False, "identical", {"nearest": {"id": "s7", "score": 1.0}})
    assert verdicts["p000004-04"] == (False, "too_short", {"words": 2, "min_words": 4})
    assert verdicts["p000004-05"][2]["nearest"] == {"id": "p000003-00", "score": 1.0}
    assert verdicts["p000004-06"] == (False, "truncated", {})


def test_past_the_target_candidates_are_recorded_as_such() -> None:
    line = decide(" Explain how tides come about.\nTask 10: Name three old bridges in Rome.\nTask 11: No.", room=1)
    assert [c.reason for c in line.candidates] == [None, "target_reached", "target_reached"]


def test_answers_without_candidates_fail() -> None:
    assert decide("   ").failed.reason == "no_candidates"
    assert decide("   ").candidates == ()


def test_classification_verdicts() -> None:
    made = steps()
    assert made.decide_classification(ASKED, Completion(" Yes", "stop")).is_classification is True
    assert made.decide_classification(ASKED, Completion(" No", "length")).is_classification is False
    line = made.decide_classification(ASKED, Completion(" Perhaps", "stop"))
    assert line.failed == Failure("unparsable_classification", " Perhaps")
    assert line.is_classification is None


def test_instance_verdicts() -> None:
    made = steps(filters={"max_instances": 1})
    answer = "Example 1\nInput: a\nOutput: b\nExample 2\nInput: c\nOutput: c\nExample 3\nInput: d\nOutput: e"
    line = made.decide_instances(ASKED, False, Completion(answer, "stop"))
    assert (line.id, line.form) == (ASKED.id, "input_first")
    assert [(c.output, c.accepted, c.reason) for c in line.candidates] == [
        ("b", True, None),
        ("c", False, "output_equals_input"),
        ("e", False, "over_max_instances"),
    ]
    labelled = made.decide_instances(ASKED, True, Completion("Label: yes\nInput: a", "length"))
    assert labelled.form == "output_first"
    assert labelled.candidates[0].reason == "truncated"
    assert made.decide_instances(ASKED, True, Completion("I cannot.", "stop")).failed.reason == "no_instances"
