"""Several answers to one question: all are in the journal, and which of them are kept can be decided again."""

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
from selfinstruct.config.schema import Config
from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import ConfigError
from selfinstruct.generation.kept_samples import choose
from selfinstruct.records import Completion
from selfinstruct.replay.refilter import refilter
from selfinstruct.run.counting import run_counts
from selfinstruct.run.journal import read_lines
from selfinstruct.run.lines import InstanceCandidate
from selfinstruct.run.state import RunState
from tests.conftest import journal_lines, replayed, run_scripted, script


def candidate(output: str, accepted: bool = True) -> InstanceCandidate:
    return InstanceCandidate("", output, accepted, None if accepted else "echo", None if accepted else {"of": "input"})


A, B, BAD = candidate("a"), candidate("b"), candidate("c", accepted=False)


def decisions(kept: tuple[InstanceCandidate, ...]) -> list[Any]:
    return [True if c.accepted else (c.reason, c.evidence) for c in kept]


def test_the_first_good_answer_is_kept() -> None:
    assert decisions(choose([BAD, A, B], "first")) == [("echo", {"of": "input"}), True, ("not_chosen", {"chosen": 1})]
    assert decisions(choose([BAD, BAD], "first")) == [("echo", {"of": "input"})] * 2


def test_all_that_differ_are_kept() -> None:
    assert decisions(choose([A, BAD, B, A], "all")) == [
        True,
        ("echo", {"of": "input"}),
        True,
        ("duplicate_instance", {"first": 0}),
    ]


def test_the_best_good_answer_is_kept_and_the_first_of_equal_or_unknown_ones() -> None:
    assert decisions(choose([A, BAD, B], "best", [1.0, 5.0, 2.0])) == [
        ("not_chosen", {"chosen": 2}),
        ("echo", {"of": "input"}),
        True,
    ]
    for scores in ([2.0, 5.0, 2.0], [1.0, None, None], [None, None, None], []):
        assert choose([A, BAD, B], "best", scores) == choose([A, BAD, B], "first")


@given(st.lists(st.builds(candidate, st.sampled_from("abc"), st.booleans())), st.sampled_from(["first", "all"]))
def test_choosing_never_accepts_what_was_rejected_and_keeps_one_if_it_can(
    decided: list[InstanceCandidate], keep: Any
) -> None:
    kept = choose(decided, keep)
    assert [c.output for c in kept] == [c.output for c in decided]
    assert all(before.accepted or before == now for before, now in zip(decided, kept, strict=True))
    accepted = [c.output for c in kept if c.accepted]
    different = {c.output for c in decided if c.accepted}
    assert len(accepted) == (len(different) if keep == "all" else min(1, len(different)))
    assert len(set(accepted)) == len(accepted)


# ------------------------------------------------------------------------------------------------------ in a run


def speaks(request: Request) -> Completion:
    """A model whose samples differ; some are cut, some are empty, some the same as another."""
    if not request.key.startswith("answer/"):
        return script(request)
    draw = random.Random(f"{request.key} {request.prompt}")
    text = draw.choice([script(request).text, f" The {draw.choice(['old', 'new'])} one, as far as it is known.", ""])
    return Completion(text, draw.choice(["stop", "stop", "length"]), 7, 20)


def model(**options: Any) -> ScriptedEngine:
    return ScriptedEngine(speaks, **options)


@pytest.fixture
def config_of(make_config: Any, tmp_path: Path) -> Any:
    def config_of(name: str, keep: str = "first", **options: Any) -> Config:
        section = {"num_samples": 3, "keep": keep}
        config: Config = make_config(
            output_dir=str(tmp_path / name), num_instructions=12, answering="separate", answer=section, **options
        )
        return config

    return config_of


def answers(run: Path) -> list[dict[str, Any]]:
    return [line for line in journal_lines(run) if line["kind"] == "answer"]


def as_set(run: Path) -> list[str]:
    return sorted(map(json.dumps, journal_lines(run)))


def exported(config: Config) -> dict[str, bytes]:
    chain.export(config)
    folder = Path(str(config.output_dir)) / "dataset"
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_one_request_brings_all_answers_and_each_is_a_candidate(config_of: Any, tmp_path: Path) -> None:
    engine = model()
    state = run_scripted(config_of("run"), engine)
    asked = [r for r in engine.history if r.key.startswith("answer/")]
    assert len(asked) == state.num_inputs > 5 and {r.samples for r in asked} == {3}
    assert {r.samples for r in engine.history if r not in asked} == {1}
    lines = answers(tmp_path / "run")
    assert len(lines) == len(asked), "none of them is continued"
    for line in lines:
        assert len(line["candidates"]) == 3 and len(line["completion"]["further"]) == 2
        assert line["completion"]["completion_tokens"] == 60
        accepted = [c["accepted"] for c in line["candidates"]]
        assert sum(accepted) <= 1
        before = line["candidates"][: accepted.index(True)] if any(accepted) else line["candidates"]
        assert all(c["reason"] != "not_chosen" for c in before), "the first good one is kept"
    reasons = {c.get("reason") for line in lines for c in line["candidates"]}
    assert {"not_chosen", "truncated", "empty_output"} <= reasons


@pytest.mark.parametrize("keep", ["first", "all"])
def test_latencies_and_stops_change_nothing(config_of: Any, tmp_path: Path, keep: str) -> None:
    whole = config_of("whole", keep)
    run_scripted(whole, model())
    late = config_of("late", keep)
    run_scripted(late, model(latency=0.01, seed=2))
    assert as_set(tmp_path / "late") == as_set(tmp_path / "whole") and exported(late) == exported(whole)
    raw = (tmp_path / "whole" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for stop in range(1, len(raw), 5):
        config = config_of(f"stopped-{stop}", keep)
        (tmp_path / f"stopped-{stop}").mkdir()
        (tmp_path / f"stopped-{stop}" / "journal.jsonl").write_bytes(b"".join(raw[:stop]))
        run_scripted(config, model(latency=0.002, seed=stop))
        assert as_set(tmp_path / f"stopped-{stop}") == as_set(tmp_path / "whole")
        assert exported(config) == exported(whole)


@pytest.mark.parametrize("keep", ["first", "all"])
def test_the_counts_of_every_prefix_add_up(config_of: Any, tmp_path: Path, keep: str) -> None:
    run_scripted(config_of("run", keep), model(latency=0.003, seed=1))
    state = RunState()
    for line in read_lines(tmp_path / "run" / "journal.jsonl"):
        state.apply(line)
        counts = run_counts(state)
        if (of := counts.answers) is not None:
            assert of.total == of.kept + of.rejected + of.failed + of.pending
            assert of.rejected == sum(of.reasons.values())
        assert counts.instances.total == counts.instances.accepted + counts.instances.rejected
        assert counts.instances.accepted == sum(map(len, state.instances.values())) == state.num_instances
    assert counts.answers is not None and counts.answers.rejected > 0
    kept = sum(len(state.instances[name]) for name in state.inputs)
    assert (kept > counts.answers.kept) == (keep == "all")


def test_refilter_chooses_again(config_of: Any, tmp_path: Path) -> None:
    config = config_of("run")
    for keep in ("first", "all"):
        run_scripted(config_of(keep, keep), model())
    run_scripted(config, model())
    refilter(tmp_path / "run", tmp_path / "same", config.filters)
    assert journal_lines(tmp_path / "same")[1:] == journal_lines(tmp_path / "run")[1:]
    result = refilter(tmp_path / "run", tmp_path / "again", config.filters, "all")
    assert as_set(tmp_path / "again")[:-1] == as_set(tmp_path / "all")[:-1], "as if all had been kept from the start"
    assert journal_lines(tmp_path / "again")[0]["identity"]["answer"]["keep"] == "all"
    moves = result.instances
    assert (
        moves.gained > 0
        and moves.kept == moves.before + moves.gained == replayed(journal_lines(tmp_path / "again")).num_instances
    )
    # The new run goes on with its own choice.
    run_scripted(config_of("again", "all"), model())
    back = refilter(tmp_path / "again", tmp_path / "back", config.filters, "first")
    assert back.instances.dropped == moves.gained
    assert journal_lines(tmp_path / "back")[1:] == journal_lines(tmp_path / "run")[1:]


def test_the_commands_take_the_choice(config_of: Any, tmp_path: Path) -> None:
    run_scripted(config_of("run"), model())
    run, new = str(tmp_path / "run"), str(tmp_path / "new")
    done = CliRunner().invoke(cli, ["refilter", run, "-o", new, "--answer.keep", "all", "--max-instances", "4"])
    assert done.exit_code == 0, done.output
    header = journal_lines(tmp_path / "new")[0]
    assert (header["identity"]["answer"]["keep"], header["identity"]["filters"]["max_instances"]) == ("all", 4)
    name = next(line["id"] for line in answers(tmp_path / "new") if sum(c["accepted"] for c in line["candidates"]) > 1)
    told = CliRunner().invoke(cli, ["explain", run, name]).output
    assert "not_chosen (chosen: " in told


def test_samples_at_temperature_0_are_refused(config_of: Any, make_config: Any) -> None:
    with pytest.raises((ConfigError, ValueError), match="3 samples at temperature 0 are all the same"):
        make_config(answer={"num_samples": 3, "temperature": 0.0})


def test_other_filters_choose_another_sample(config_of: Any, tmp_path: Path) -> None:
    def says(request: Request) -> Completion:
        if not request.key.startswith("answer/"):
            return script(request)
        first = "#" not in request.key
        return Completion(
            "See https://www.regenbogen-heute.de/all for that." if first else "The new one is known.", "stop", 7, 9
        )

    config = config_of("run")
    run_scripted(config, ScriptedEngine(says))
    found = answers(tmp_path / "run")
    assert found and all([c["accepted"] for c in line["candidates"]] == [True, False, False] for line in found)
    refilter(tmp_path / "run", tmp_path / "new", config.filters.model_copy(update={"url": "reject"}))
    decided = {tuple(c.get("reason") for c in line["candidates"]) for line in answers(tmp_path / "new")}
    assert ("url", None, "not_chosen") in decided
    assert decided <= {("url", None, "not_chosen"), (None, "not_chosen", "not_chosen")}  # Some tasks ask for one.
