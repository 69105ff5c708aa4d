"""`repair`: damage in the middle of a journal is taken out, and the run ends as if nothing had happened."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfinstruct.cli import cli
from selfinstruct.dataset.export import export
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import InputError, RunLockedError, StoppedError
from selfinstruct.records import Completion
from selfinstruct.replay.repair import DroppedLines, LineCounts, Lost, render, repair
from selfinstruct.run.journal import read_lines
from selfinstruct.run.state import replay
from tests.conftest import examples, held_by_another, journal_lines, run_scripted, script
from tests.journals import Plan, make_run, plans

pytestmark = pytest.mark.whole

FIXTURE = Path(__file__).parents[2] / "fixtures" / "run_before_layout"


@pytest.fixture
def run(make_config: Any, tmp_path: Path) -> Path:
    run_scripted(make_config(num_instructions=25))
    return tmp_path / "run"


def raw_lines(run: Path) -> list[bytes]:
    return (run / "journal.jsonl").read_bytes().splitlines(keepends=True)


def where(run: Path, kind: str, which: int = 0) -> int:
    """The position of a line of this kind in the journal, from 0."""
    return [k for k, line in enumerate(journal_lines(run)) if line["kind"] == kind][which]


HARM: list[Callable[[bytes], bytes]] = [
    lambda line: b"\x00" * (len(line) - 1) + b"\n",
    lambda line: line[: len(line) // 2] + b"\n",
    lambda line: line[:-1],  # The newline: two lines become one that is none.
    lambda line: line[: len(line) // 2] + b"\n" + line[len(line) // 2 :],
    lambda line: b"",
    lambda line: line + line,
    lambda line: line.replace(b'"', b"\xff", 3),
    lambda line: b'{"kind":"poem"}\n',
    lambda line: line.replace(b'"kind":', b'"kine":'),
    lambda line: line.replace(b'"accepted":', b'"excepted":').replace(b'"reason":', b'"season":'),
    lambda line: b"[" * 5000 + b"\n",
    lambda line: b"\n",
]


@settings(max_examples=examples(8), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_was_damaged_the_repaired_run_ends_like_an_unharmed_one(
    make_config: Any, tmp_path: Path, data: st.DataObject
) -> None:
    """The same proposals in the same order, the same set of lines, the same export."""
    whole = tmp_path / "run"
    if not (whole / "journal.jsonl").exists():
        run_scripted(make_config(num_instructions=25))
        export(make_config())
    lines = raw_lines(whole)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        run.mkdir()
        harmed = list(lines[: data.draw(st.integers(2, len(lines)))])
        for position in data.draw(st.lists(st.integers(1, len(harmed) - 1), min_size=1, max_size=3)):
            harmed[position] = data.draw(st.sampled_from(HARM))(harmed[position])
        broken = b"".join(harmed)
        (run / "journal.jsonl").write_bytes(broken)
        result = repair(run)
        count = result.lines
        assert count.total == count.kept + count.damaged + count.dropped
        assert count.damaged == len(result.damaged)
        assert count.dropped == sum(drop.lines for drop in result.dropped)
        kept = raw_lines(run)
        assert len(kept) == count.kept and set(kept) <= set(lines), "kept lines are kept byte for byte"
        if result.copy:
            tail = (run / "journal.jsonl.torn").read_bytes()[:-1] if result.torn else b""
            assert result.copy.read_bytes() + tail == broken
        assert repair(run).copy is None, "once is enough"
        config = make_config(num_instructions=25, output_dir=str(run))
        assert run_scripted(config).complete
        assert sorted(raw_lines(run)) == sorted(lines)
        proposals = [line for line in lines if b'"kind":"proposal"' in line]
        assert [line for line in raw_lines(run) if b'"kind":"proposal"' in line] == proposals
        export(config)
        for name in ("train.jsonl", "validation_unseen.jsonl", "alpaca.json"):
            assert (run / "dataset" / name).read_bytes() == (whole / "dataset" / name).read_bytes()


JOURNALS = {
    name: (FIXTURE / name / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for name in ("generated", "interrupted", "regenerated", "rounds/round-02")
}
"""Healthy journals: a generated, an interrupted and a regenerated run, and a second round."""


def written(folder: str, lines: list[bytes]) -> Path:
    run = Path(folder) / "run"
    run.mkdir()
    (run / "journal.jsonl").write_bytes(b"".join(lines))
    return run


def leaves_alone(lines: list[bytes]) -> None:
    """`repair` changes no byte of a healthy journal."""
    with tempfile.TemporaryDirectory() as folder:
        run = written(folder, lines)
        complete = replay(read_lines(run / "journal.jsonl")).complete
        result = repair(run)
        assert result.copy is None and result.lines.kept == result.lines.total == len(lines)
        assert raw_lines(run) == lines and replay(read_lines(run / "journal.jsonl")).complete == complete


def mends(lines: list[bytes], data: st.DataObject) -> None:
    """`repair` makes a journal that replays of a damaged one, keeps lines as they are, and counts them all."""
    positions = st.integers(1, len(lines) - 1)
    harmed = list(lines)
    for position in data.draw(st.lists(positions, min_size=1, max_size=5)):
        harmed[position] = data.draw(st.sampled_from(HARM))(harmed[position])
    for position, other in data.draw(st.lists(st.tuples(positions, positions), max_size=2)):
        harmed[position], harmed[other] = harmed[other], harmed[position]
    with tempfile.TemporaryDirectory() as folder:
        run = written(folder, harmed)
        result = repair(run)
        state = replay(read_lines(run / "journal.jsonl"))
        kept, count = raw_lines(run), result.lines
        assert state.proposals == result.next_proposal
        assert count.total == count.kept + count.damaged + count.dropped
        assert len(kept) == count.kept + count.added
        assert len(set(kept) - set(lines)) <= count.added, "kept lines are kept byte for byte"
        outcomes = [line for line in kept if b'"kind":"control"' not in line]
        assert len(set(outcomes)) == len(outcomes)
        assert result.copy or result.torn or b"".join(kept) == b"".join(harmed)
        again = repair(run)
        assert again.copy is None and again.lines.kept == len(kept) and raw_lines(run) == kept


@settings(max_examples=examples(25))
@given(st.sampled_from(sorted(JOURNALS)), st.data())
def test_a_healthy_journal_is_left_alone_wherever_it_ends(name: str, data: st.DataObject) -> None:
    leaves_alone(JOURNALS[name][: data.draw(st.integers(1, len(JOURNALS[name])))])


@settings(max_examples=examples(25))
@given(st.sampled_from(sorted(JOURNALS)), st.data())
def test_whatever_was_damaged_the_repaired_journal_replays(name: str, data: st.DataObject) -> None:
    mends(JOURNALS[name], data)


@settings(max_examples=examples(6), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plans, st.data())
def test_so_it_is_for_journals_of_all_sorts(make_config: Any, plan: Plan, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run, _ = make_run(plan, Path(folder), make_config)
        lines = raw_lines(run)
    leaves_alone(lines)
    mends(lines, data)


def test_a_lost_instance_takes_its_rewritten_outputs(tmp_path: Path) -> None:
    raw = list(JOURNALS["regenerated"])
    lines = [json.loads(line) for line in raw]
    outputs = [line for line in lines if line["kind"] == "output" and line.get("candidates")]
    name = next(line["id"] for line in outputs if line["candidates"][0]["accepted"])
    position = next(k for k, line in enumerate(lines) if line["kind"] == "instances" and line["id"] == name)
    raw[position] = b"?\n"
    run = written(str(tmp_path), raw)
    result = repair(run)
    of_it = [line for line in lines if line["kind"] == "output" and line["id"] == name]
    assert result.dropped == (DroppedLines("output", "its instance is gone", len(of_it)),)
    rewritten = sum(c["accepted"] for line in of_it for c in line.get("candidates", ()))
    assert result.lost == Lost(None, sum("completion" in line for line in of_it), 0, 0, 0, rewritten)
    assert f"{rewritten:,} rewritten outputs" in render(result)
    assert raw_lines(run) == [
        line for line, about in zip(raw, lines, strict=True) if line != b"?\n" and about not in of_it
    ]


def test_a_repeated_output_is_dropped_and_nothing_is_lost_with_it(tmp_path: Path) -> None:
    raw = JOURNALS["regenerated"]
    position = next(k for k, line in enumerate(raw) if b'"kind":"output"' in line)
    run = written(str(tmp_path), [*raw, raw[position]])
    result = repair(run)
    assert result.dropped == (DroppedLines("output", "repeats an earlier line", 1),)
    assert result.lost == Lost(None, 0, 0, 0, 0, 0) and raw_lines(run) == raw


def test_an_output_in_a_run_that_rewrites_none_is_dropped(tmp_path: Path) -> None:
    output = next(line for line in JOURNALS["regenerated"] if b'"kind":"output"' in line)
    run = written(str(tmp_path), [*JOURNALS["generated"], output])
    assert repair(run).dropped == (DroppedLines("output", "the run rewrites no outputs", 1),)
    assert raw_lines(run) == JOURNALS["generated"]


def test_a_missing_proposal_takes_the_later_ones_and_what_belongs_to_them(run: Path) -> None:
    lines = journal_lines(run)
    raw = raw_lines(run)
    position = where(run, "proposal", 4)
    raw[position] = b"{broken\n"
    (run / "journal.jsonl").write_bytes(b"".join(raw))
    with pytest.raises(InputError, match=rf"line {position + 1} \(byte \d+\): damaged: .*selfinstruct repair {run}"):
        list(read_lines(run / "journal.jsonl"))
    result = repair(run)
    later = [line for line in lines if line["kind"] == "proposal" and line["n"] > 4]
    gone = {c["id"] for line in later for c in line.get("candidates", ()) if c["accepted"]}
    offset = sum(map(len, raw[:position]))
    assert [(d.line, d.byte, d.bytes) for d in result.damaged] == [(position + 1, offset, 8)]
    assert result.lost.proposals == (5, later[-1]["n"]) and result.lost.instructions == len(gone)
    assert DroppedLines("proposal", "comes after a missing proposal", len(later)) in result.dropped
    assert {drop.kind for drop in result.dropped} == {"proposal", "classification", "instances"}
    state = replay(read_lines(run / "journal.jsonl"))
    assert state.proposals == result.next_proposal == 4
    assert {i.id for i in state.pool} >= set(state.is_classification) >= set(state.instances)
    assert "proposals 5 to" in render(result) and "the run continues with proposal 4" in render(result)


def test_a_damaged_follow_up_costs_that_follow_up_alone(run: Path) -> None:
    lines, raw = journal_lines(run), raw_lines(run)
    position = next(k for k, line in enumerate(lines) if line["kind"] == "instances" and line.get("candidates"))
    raw[position] = b"\xff\xfe\n"
    (run / "journal.jsonl").write_bytes(b"".join(raw))
    result = repair(run)
    assert result.lines == LineCounts(total=len(raw), kept=len(raw) - 1, damaged=1, dropped=0, added=0)
    assert [left.instruction.id for left in replay(read_lines(run / "journal.jsonl")).pending()] == [
        lines[position]["id"]
    ]


def test_nothing_is_done_where_nothing_is_damaged(run: Path) -> None:
    before = (run / "journal.jsonl").stat()
    result = repair(run)
    assert result.copy is None and "nothing is damaged" in render(result)
    after = (run / "journal.jsonl").stat()
    assert (before.st_ino, before.st_mtime_ns, before.st_size) == (after.st_ino, after.st_mtime_ns, after.st_size)
    with (run / "journal.jsonl").open("ab") as stream:
        stream.write(b'{"kind":"proposal","n":' + "é".encode()[:1])
    result = repair(run)
    assert result.torn == 24 and result.copy is None and "24 bytes moved" in render(result)
    assert (run / "journal.jsonl").stat().st_size == before.st_size
    (run / "journal.jsonl").write_bytes(b"\0" * 40)
    assert "40 bytes moved" in (said := render(repair(run))) and "the journal is empty; the command" in said


def test_a_damaged_header_is_refused_and_nothing_is_changed(run: Path) -> None:
    good = raw_lines(run)
    for first, said in [
        (b"{\n", "first line, which says what the run is, is damaged"),
        (good[0].replace(b'"version":1', b'"version":9'), "version 9; it must be a header of version 1"),
        (good[0].replace(b'"identity"', b'"idontity"'), "missing required field `identity`"),
        (b"", "first line is a line of kind 'proposal'"),
    ]:
        broken = b"".join([first, *good[1:]])
        (run / "journal.jsonl").write_bytes(broken)
        with pytest.raises(InputError, match=said) as caught:
            repair(run)
        assert caught.value.exit_code == 4
        assert (run / "journal.jsonl").read_bytes() == broken
        assert not list(run.glob("*damaged*"))


def test_copies_are_never_overwritten_and_go_with_the_run(run: Path, make_config: Any) -> None:
    for number in (1, 2, 3):
        with (run / "journal.jsonl").open("ab") as stream:
            stream.write(b"rubbish %d\n" % number)
        assert repair(run).copy == run / f"journal.jsonl.damaged-{number}"
        assert (run / f"journal.jsonl.damaged-{number}").read_bytes().endswith(b"rubbish %d\n" % number)
    run_scripted(make_config(num_instructions=3, seed=5), overwrite=True)
    assert not list(run.glob("*damaged*"))


def test_a_run_in_use_is_left_alone(run: Path) -> None:
    with held_by_another(run), pytest.raises(RunLockedError):
        repair(run)
    with pytest.raises(InputError, match="not a run directory"):
        repair(run.parent)


def test_a_stop_whose_lifting_was_damaged_is_lifted_again(make_config: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def dull(request: Any) -> Completion:
        return Completion(" Say it again please now.\n", "stop") if request.key < "proposal/3" else script(request)

    rule = {"saturation": {"window": 3, "min_acceptance": 0.9}}
    with pytest.raises(StoppedError):
        run_scripted(make_config(window=1, **rule), ScriptedEngine(dull))
    assert run_scripted(make_config(window=1, saturation={"min_acceptance": 0})).complete
    raw = raw_lines(run)
    position = where(run, "control", 1)
    assert journal_lines(run)[position]["event"] == "resumed"
    (run / "journal.jsonl").write_bytes(b"".join([*raw[:position], b"?\n", *raw[position + 1 :]]))
    result = repair(run)
    assert result.lines.added == 1 and result.lines.dropped == 0 and "1 line(s) added" in render(result)
    assert sorted(raw_lines(run)) == sorted(raw)
    assert replay(read_lines(run / "journal.jsonl")).complete


def test_control_lines_of_lost_proposals_go_too(make_config: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_scripted(make_config(num_instructions=5))
    run_scripted(make_config(num_instructions=9))
    raw = raw_lines(run)
    raw[where(run, "proposal", 1)] = b"?\n"
    (run / "journal.jsonl").write_bytes(b"".join(raw))
    result = repair(run)
    assert DroppedLines("control", "its proposal is gone", 1) in result.dropped
    state = run_scripted(make_config(num_instructions=9))
    assert state.complete and len(state.pool) == state.target == 9


def test_the_command(run: Path) -> None:
    with (run / "journal.jsonl").open("ab") as stream:
        stream.write(b'{"kind":\x1b[31m\n')
    done = CliRunner().invoke(cli, ["status", str(run)])
    assert done.exit_code in (0, 4)  # A reader of a run that may be going on cannot know yet.
    done = CliRunner().invoke(cli, ["repair", str(run)])
    assert done.exit_code == 0 and "\x1b" not in done.output and "journal.jsonl.damaged-1" in done.stdout
    done = CliRunner().invoke(cli, ["repair", str(run), "--json"])
    result = json.loads(done.stdout)
    assert done.exit_code == 0 and result["lines"]["damaged"] == 0
    assert list(result) == ["run", "copy", "torn", "lines", "damaged", "dropped", "lost", "next_proposal", "source"]
    assert list(result["lines"]) == ["total", "kept", "damaged", "dropped", "added"]
    assert list(result["lost"]) == ["proposals", "completions", "instructions", "inputs", "instances", "outputs"]


def test_an_empty_journal_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_bytes(b"")
    assert "the journal is empty" in render(repair(tmp_path))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_a_journal_in_another_encoding_is_named_and_left_alone(tmp_path: Path, encoding: str) -> None:
    """Every line of it looks cut short, so that all of it was set aside as the last line."""
    journal = tmp_path / "journal.jsonl"
    damaged = (FIXTURE / "generated" / "journal.jsonl").read_text(encoding="utf-8").encode(encoding)
    journal.write_bytes(damaged)
    for read in (repair, lambda run: list(read_lines(run / "journal.jsonl"))):
        with pytest.raises(
            InputError, match=r"is in UTF-(16|32)-[BL]E and must be in UTF-8; restore it .*iconv -f UTF"
        ):
            read(tmp_path)
    assert journal.read_bytes() == damaged and {path.name for path in tmp_path.iterdir()} <= {"journal.jsonl", ".lock"}
