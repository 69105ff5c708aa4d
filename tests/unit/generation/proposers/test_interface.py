"""What a proposal sees, and who makes it."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from pydantic import ValidationError

from selfinstruct.config.proposing import Proposers
from selfinstruct.config.schema import Config
from selfinstruct.generation.proposers import Mixture, Pool
from selfinstruct.records import Instruction


def instructions(name: str, count: int) -> list[Instruction]:
    return [Instruction(f"{name}{k}", f"Do {name}{k}.", k) for k in range(count)]


def test_the_pool_is_that_of_the_parents_and_then_what_is_visible_of_the_run() -> None:
    parents, own = instructions("a", 2), instructions("b", 3)
    pool = Pool(parents, own, 2)
    assert list(pool) == [*parents, *own[:2]] == pool[:] and len(pool) == 4
    assert pool[-1] == own[1] and pool[1:3] == [parents[1], own[0]]
    with pytest.raises(IndexError):
        pool[4]


def test_proposers_are_drawn_by_their_weights() -> None:
    mixture = Mixture.of(Config.model_validate({"proposers": {"list": 3, "template": 1, "plan": 0}}))
    counts = Counter(mixture.drawn(random.Random(f"9/proposer/{n}")) for n in range(4000))
    assert counts.keys() == {"list", "template"} and 0.72 < counts["list"] / 4000 < 0.78


def test_some_weight_must_be_greater_than_zero() -> None:
    with pytest.raises(ValidationError, match="at least one weight"):
        Proposers(list=0)


def test_the_sum_of_the_weights_must_be_a_number() -> None:
    with pytest.raises(ValidationError, match="sum of the weights is too large"):
        Proposers(list=1e308, plan=1e308)
