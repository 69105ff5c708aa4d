"""The decisions about the candidates of a proposal, which are compared with the pool together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.generation.candidates import CandidateDecisions
from selfinstruct.generation.filters.rows import RowDecision
from selfinstruct.generation.proposal_parsing import ProposedText
from selfinstruct.novelty import NoveltyIndex
from selfinstruct.records import Instruction, Rejection, SeedTask
from selfinstruct.run.lines import ProposalLine, Verdict

SEEDS = [SeedTask("s1", "Name a river in Asia.", (), False)]
TEXTS = [
    "Name a river in Asia!",
    "Name a lake in Asia.",
    "Sort the words.",
    "Sort the words",
    "bad",
    "Explain the tides.",
]


def decisions(threshold: float | None = None, rejects: bool = True) -> CandidateDecisions:
    def accepts(text: str) -> Rejection | None:
        return Rejection("keyword") if text == "bad" else None

    return CandidateDecisions(SEEDS, [], accepts, lambda row: RowDecision(), threshold, rejects)


@given(st.lists(st.sampled_from(TEXTS), max_size=8), st.integers(-1, 4), st.booleans())
def test_candidates_together_are_decided_as_one_after_the_other(texts: list[str], room: int, rejects: bool) -> None:
    decide = decisions(threshold=0.0, rejects=rejects).decide
    proposed = [ProposedText(text) for text in texts]
    line = ProposalLine(3, (), verdicts=tuple(Verdict(k, log_odds=k - 2.0) for k in range(0, 8, 2)))
    together = decide(line, proposed, NoveltyIndex([seed.instruction for seed in SEEDS]), [], room, 0)
    index, pool = NoveltyIndex([seed.instruction for seed in SEEDS]), list[Instruction]()
    for position, text in enumerate(proposed):
        (alone,) = decide(line, [text], index, pool, room - len(pool), position)
        assert together[position] == alone
        if alone.accepted:
            pool.append(Instruction(alone.id, alone.instruction, line.n))
    assert len(together) == len(texts)
    assert len(pool) <= max(room, 0)


def test_what_comes_after_the_last_that_is_wanted_is_not_looked_at() -> None:
    texts = ["Sort the words.", "Sort the words.", "Explain the tides.", "bad"]
    proposed = [ProposedText(text) for text in texts]
    index = NoveltyIndex([SEEDS[0].instruction])
    decided = decisions().decide(ProposalLine(0, ()), proposed, index, [], 1, 0)
    assert [candidate.reason for candidate in decided] == [None, "target_reached", "target_reached", "target_reached"]
    assert len(index) == 2
