"""The context that a run's prompts need, reckoned without a tokenizer."""

from __future__ import annotations

from typing import Any

from selfinstruct.config.schema import Config
from selfinstruct.engines.context import ENOUGH
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.formats.seed_tasks import load_seed_tasks
from selfinstruct.generation.context_need import needed_context
from selfinstruct.generation.method import Method
from selfinstruct.generation.steps import Steps
from selfinstruct.records import Instance, Instruction, SeedTask


def needed(tasks: list[SeedTask], **options: Any) -> int:
    return needed_context(tasks, Method.of(Config.model_validate(options)))


def test_no_prompt_of_a_run_exceeds_what_is_needed() -> None:
    """In bytes, of which a token has at least one."""
    tasks = load_seed_tasks(["seed_tasks"])
    method, enough = Method.of(Config()), needed(tasks)
    steps = Steps(method, tasks, [], ScriptedEngine(lambda request: ""), "completion")
    pool = [Instruction(f"p{n:06}-00", "carefully " * 150, 0) for n in range(4)]
    requests = [
        *(steps.proposal_request(n, pool, len(pool))[0] for n in range(40)),
        steps.classification_request(pool[0]),
        steps.instances_request(pool[0], is_classification=True),
        steps.instances_request(pool[0], is_classification=False),
    ]
    assert max(len(str(r.prompt).encode()) + r.sampling.max_tokens for r in requests) <= enough < ENOUGH


def test_what_is_needed_follows_from_seeds_and_options() -> None:
    tasks = [SeedTask(str(n), "Translate.", (Instance("a", "b"),), False) for n in range(9)]
    few: dict[str, Any] = {
        "proposal": {"num_seed_examples": 1, "num_generated_examples": 1},
        "filters": {"max_words": 20},
        "answer": {"max_tokens": 350},
    }
    assert needed(tasks, **few) == 8192
    assert needed(tasks, **few, instances={"max_tokens": 9000}) == 24576, "an input may be so long, and is then shown"
    assert needed(tasks, **few | {"answer": {"max_tokens": 8192}}) == 24576, "half of the context is an answer's"
    assert needed(tasks, **few, plan={"max_tokens": 9000}) == 16384
    assert needed([*tasks, SeedTask("9", "Sum up.", (Instance("word " * 3000, "b"),), False)], **few) == 20480
    assert needed([*tasks, SeedTask("9", "Sum up.", (Instance("word " * 30_000, "b"),), False)], **few) == ENOUGH
