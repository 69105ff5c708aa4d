"""Seeds in prompts by quota: each file has its share, whatever its size."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.chain.rounds import rounds_identity
from selfinstruct.config.proposing import Evolve, Plan, Proposal, SingleStep
from selfinstruct.config.schema import Config
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import ConfigError
from selfinstruct.formats.seed_tasks import load_seed_tasks
from selfinstruct.generation.frame import load_frame
from selfinstruct.generation.proposers import Pool, Seen, seed_draws
from selfinstruct.generation.proposers.evolve import EvolvedTask
from selfinstruct.generation.proposers.interface import Proposer
from selfinstruct.generation.proposers.list_continuation import ListContinuation
from selfinstruct.generation.proposers.plan import PlannedTasks
from selfinstruct.generation.proposers.single_step import WholeTasks
from selfinstruct.generation.proposers.wording import load_wording
from selfinstruct.records import Instance, Quota, SeedTask
from tests.conftest import journal_lines, run_scripted, script


def tasks(name: str, number: int, share: float | None) -> list[SeedTask]:
    quota = None if share is None else Quota(name, share)
    kind = "some kind"  # Of both files, as with `declining and asking back`.
    return [
        SeedTask(f"{name}{k}", f"Do {name} {k}.", (Instance("", "x"),), False, category=kind, quota=quota)
        for k in range(number)
    ]


HEALTH_AND_GENERAL = [*tasks("h", 30, 0.5), *tasks("g", 175, None)]


@given(st.integers(1, 9), st.floats(0.01, 0.99), st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_the_quota_is_kept_to_less_than_one_seed_as_far_as_the_files_reach(
    count: int, share: float, of_quota: int, others: int, number: int
) -> None:
    seeds = [*tasks("h", of_quota, share), *tasks("g", others, None)]
    drawn = seed_draws.some(seeds, count, random.Random(number))
    assert len({seed.id for seed in drawn}) == len(drawn) == min(count, len(seeds))
    shown = sum(seed.quota is not None for seed in drawn)
    wanted = share * count
    assert wanted - 1 < shown < wanted + 1 or shown in (of_quota, len(drawn) - others)
    everything = list(seed_draws.all_of(seeds, count, random.Random(number)))
    assert Counter(seed.id for seed in everything) == Counter(seed.id for seed in seeds)


@pytest.mark.parametrize(("count", "share"), [(1, 0.1), (3, 0.5), (6, 0.7)])
def test_the_mean_share_is_the_quota(count: int, share: float) -> None:
    seeds = [*tasks("h", 40, share), *tasks("g", 40, None)]
    drawn = [seed_draws.some(seeds, count, random.Random(n)) for n in range(3000)]
    assert sum(seed.quota is not None for d in drawn for seed in d) / (3000 * count) == pytest.approx(share, abs=0.03)


def test_two_files_of_the_same_quota_have_each_their_own() -> None:
    seeds = [*tasks("a", 5, 0.5), *tasks("b", 200, 0.5)]
    drawn = seed_draws.some(seeds, 6, random.Random(0))
    assert Counter(seed.id[0] for seed in drawn) == {"a": 3, "b": 3}


def test_nothing_changes_without_quotas() -> None:
    seeds = tasks("g", 20, None)
    assert seed_draws.some(seeds, 6, random.Random(1)) == random.Random(1).sample(seeds, 6)
    assert seed_draws.one(seeds, random.Random(1)) == random.Random(1).choice(seeds)
    assert list(seed_draws.all_of(seeds, 3, random.Random(1))) == random.Random(1).sample(seeds, 20)


ENGLISH, WORDING = load_frame(), load_wording("en")
PROPOSERS: list[tuple[Proposer, Callable[[Sequence[str]], bool]]] = [
    (ListContinuation(Proposal(), "completion", ENGLISH), lambda ids: ids.count("h") == 4 and len(ids) == 8),
    (WholeTasks(SingleStep(num_examples=4), "completion", ENGLISH, WORDING), lambda ids: ids.count("h") == 2),
    (PlannedTasks(Plan(), "completion", ENGLISH, WORDING), lambda ids: len(set(ids)) == 1),
    (EvolvedTask(Evolve(), "completion", ENGLISH, WORDING), lambda ids: len(ids) == 1),
]


@pytest.mark.parametrize(("proposer", "expected"), PROPOSERS, ids=lambda one: type(one).__name__)
def test_every_proposer_keeps_the_quota(proposer: Proposer, expected: Callable[[Sequence[str]], bool]) -> None:
    first = Counter[str]()
    for n in range(200):
        asked = proposer.ask(Seen(HEALTH_AND_GENERAL, Pool([], [], 0), random.Random(n)))
        ids = [example.id[0] for example in asked.examples]
        assert expected(ids)
        first[ids[0]] += 1
    assert 70 < first["h"] < 130


def test_a_quota_stands_behind_the_name_of_a_seed_file_and_is_part_of_the_run(make_config: Any, tmp_path: Path) -> None:
    names = ("domain:healthcare:0.5", "general")
    seeds = load_seed_tasks(names)
    assert [seed.quota for seed in seeds] == [Quota("domain:healthcare", 0.5)] * 30 + [None] * 175
    config = make_config(seeds=names, num_instructions=4)
    run_scripted(config)
    header, *lines = journal_lines(tmp_path / "run")
    assert header["identity"]["seed_quotas"] == [[30, 0.5], [175, None]]
    first = next(line for line in lines if line["kind"] == "proposal")
    assert sum(name.startswith("healthcare") for name in first["examples"]) == len(first["examples"]) // 2
    run_scripted(config)
    other = make_config(seeds=("domain:healthcare:0.3", "general"), num_instructions=4)
    with pytest.raises(ConfigError, match="seed_quotas"):
        run_scripted(other, ScriptedEngine(script))


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("a.jsonl:2",), "a quota is in"),
        (("a.jsonl:nan", "b.jsonl"), "a quota is in"),
        (("a.jsonl:0.5", "b.jsonl:0.6"), "add up to 1.1"),
        (("a.jsonl:0.5",), "add up to 0.5, not 1"),
        (("a.jsonl:1", "b.jsonl"), "leave nothing"),
    ],
)
def test_quotas_that_make_no_whole_are_refused(names: tuple[str, ...], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Config(seeds=names)
    Config(seeds=("a.jsonl:0.1", "b.jsonl:0.2", "c.jsonl:0.7"))


def test_rounds_are_others_with_another_quota() -> None:
    plain, half, third = (
        rounds_identity(Config(seeds=seeds, output_dir="x"))
        for seeds in (("general",), ("domain:healthcare:0.5", "general"), ("domain:healthcare:0.3", "general"))
    )
    assert "seed_quotas" not in plain and half["seed_quotas"] == [[30, 0.5], [175, None]]
    assert {name for name in half if half[name] != third[name]} == {"seed_quotas"}


# ---------------------------------------------------------------------------------------------------- categories


def of_kinds(**kinds: int) -> list[SeedTask]:
    return [
        SeedTask(f"{kind}{k}", f"Do {kind} {k}.", (Instance("", "x"),), False, category=kind)
        for kind, number in kinds.items()
        for k in range(number)
    ]


def test_a_category_has_its_quota_of_the_seeds_in_prompts() -> None:
    seeds = seed_draws.with_quotas(of_kinds(code=5, writing=20, advice=60), {"code": 0.5, "writing": 0.25})
    drawn = Counter(seed.category for number in range(400) for seed in seed_draws.some(seeds, 4, random.Random(number)))
    assert drawn["code"] == 800 and drawn["writing"] == 400 and drawn["advice"] == 400
    assert seed_draws.with_quotas(HEALTH_AND_GENERAL, {}) == HEALTH_AND_GENERAL


def test_a_quota_of_a_category_that_no_seed_has_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no seed has the category 'poetry'; there are: advice, code"):
        seed_draws.with_quotas(of_kinds(code=1, advice=1), {"poetry": 0.5})
    with pytest.raises(ConfigError, match="a seed file has a quota, too"):
        seed_draws.with_quotas(HEALTH_AND_GENERAL, {"some kind": 0.5})
    for wrong, said in (
        (["code"], "no quota such as"),
        (["a:0.6", "b:0.6"], "add up to 1.2"),
        (["a:0.1", "a:0.1"], "two"),
    ):
        with pytest.raises(ValueError, match=said):
            Proposal.model_validate({"seed_quota": wrong})


def test_a_run_shows_seeds_by_their_categories(make_config: Any, tmp_path: Path) -> None:
    rows = [
        {"id": f"s{k}", "instruction": text, "instances": [{"input": "", "output": "x"}], "is_classification": False}
        | {"category": "code" if k < 2 else "writing"}
        for k, text in enumerate(["Sort a list of numbers.", "Parse a date.", "Write a poem.", "Tell a joke.", "Sing."])
    ]
    (tmp_path / "seeds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {"num_seed_examples": 2, "num_generated_examples": 0, "seed_quota": "code:0.5"}
    config = make_config(seeds=[str(tmp_path / "seeds.jsonl")], proposal=values, num_instructions=20)
    run_scripted(config)
    shown = [line["examples"] for line in journal_lines(tmp_path / "run") if line["kind"] == "proposal"]
    assert shown and all(sum(name in ("s0", "s1") for name in names) == 1 for names in shown)
    run_scripted(config.model_copy(update={"num_instructions": 22}))  # It goes on.
    with pytest.raises(ConfigError, match="seed_quota"):
        run_scripted(make_config(seeds=[str(tmp_path / "seeds.jsonl")], proposal=values | {"seed_quota": "code:0.6"}))
