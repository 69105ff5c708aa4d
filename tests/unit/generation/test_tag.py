"""Tagging a run: from its tasks to lines of the journal, and what becomes of these."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfinstruct.cli import cli
from selfinstruct.config.schema import Config
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import EngineError, InputError
from selfinstruct.generation.regenerate import regenerate
from selfinstruct.generation.tag import TagResult, tag
from selfinstruct.records import Completion, Tags
from selfinstruct.replay.explain import explain
from selfinstruct.replay.refilter import refilter
from selfinstruct.replay.repair import repair
from selfinstruct.replay.show import rows
from selfinstruct.replay.status import status
from selfinstruct.run.counting import run_counts
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.lines import TagsLine
from tests.conftest import Once, journal_lines, run_scripted, script
from tests.faulty_server import MODEL, FaultyServer


def model(script: Callable[[Request], Any] = script, **options: Any) -> ScriptedEngine:
    return ScriptedEngine(script, has_chat_template=True, **options)


def tagged(config: Config, engine: Engine | None = None) -> TagResult:
    async def start() -> Engine:
        return engine if engine is not None else model()

    return tag(config, start)


@pytest.fixture
def config(make_config: Any, once: Once) -> Config:
    made: Config = make_config(answering="separate", num_instructions=12)
    once(lambda: run_scripted(made, model()))
    return made


@pytest.fixture
def run(config: Config) -> RunDirectory:
    return RunDirectory.at(config.output_dir)


def tags(run: RunDirectory) -> list[dict[str, Any]]:
    return [line for line in journal_lines(run.path) if line["kind"] == "tags"]


def test_every_task_is_asked_about_once_in_the_order_of_the_pool(config: Config, run: RunDirectory) -> None:
    before = run.journal.read_bytes()
    engine = model()
    result = tagged(config, engine)
    assert run.journal.read_bytes().startswith(before)
    tasks = [task.id for task in run.state().tasks()]
    assert [line["id"] for line in tags(run)] == tasks == [r.key.partition("/")[2] for r in engine.history]
    assert (result.before, result.tagged, result.failed) == (0, len(tasks), 0)
    assert all(line["tags"] == json.loads(line["completion"]["text"]) for line in tags(run))
    assert all(sum(of.values()) == len(tasks) for of in result.values.values())


def test_the_lines_are_the_same_whatever_the_latencies(config: Config, run: RunDirectory) -> None:
    before = run.journal.read_bytes()
    journals = set()
    for seed in (1, 2):
        run.journal.write_bytes(before)
        tagged(config, model(latency=0.003, seed=seed))
        journals.add(run.journal.read_bytes())
    assert len(journals) == 1


def test_a_tagging_that_was_stopped_goes_on_to_the_same_journal(config: Config, run: RunDirectory) -> None:
    before = run.journal.read_bytes()
    tagged(config)
    whole = run.journal.read_bytes()
    for after in (0, 1, 5):
        run.journal.write_bytes(before)
        asked = iter(range(100))
        dies = model(
            lambda request, asked=asked, after=after: script(request) if next(asked) < after else EngineError("x")
        )
        with pytest.raises(EngineError):
            tagged(config, dies)
        assert whole.startswith(run.journal.read_bytes())
        tagged(config)
        assert run.journal.read_bytes() == whole
    for cut in range(len(before), len(whole), max(1, (len(whole) - len(before)) // 7)):
        run.journal.write_bytes(whole[:cut])
        tagged(config)
        assert run.journal.read_bytes() == whole


def test_what_is_no_answer_is_counted_and_tried_again(config: Config, run: RunDirectory) -> None:
    tasks = [task.id for task in run.state().tasks()]

    def babbles(request: Request) -> Any:
        if tasks[0] in request.key:
            return RequestFailed("timeout")
        return Completion("It is about rivers.", "stop", 9, 5) if tasks[1] in request.key else script(request)

    first = tagged(config, model(babbles))
    assert (first.tagged, first.failed) == (len(tasks) - 2, 2)
    counts = run_counts(run.state())
    assert {k: n for k, n in counts.failures.items() if "tags" in k} == {"tags: no_tags": 1, "tags: timeout": 1}
    shown = counts.tags[0]
    assert (shown.tagged, shown.failed, shown.pending) == (len(tasks) - 2, 2, 0)
    assert counts.requests["tags"].committed == shown.tagged and counts.requests["tags"].failed == 2
    asked = run.state().usage["tags"]
    assert asked.completion_tokens == 5 + 30 * shown.tagged, "an answer that is none has cost its tokens"
    again = model()
    second = tagged(config, again)
    assert (len(again.history), second.tagged, second.failed, second.before) == (2, 2, 0, len(tasks) - 2)
    idle = model()
    assert tagged(config, idle).before == len(tasks) and not idle.history
    assert run_counts(run.state()).tags[0].failed == 0


def test_tagging_changes_no_later_proposal_and_new_tasks_wait(
    config: Config, run: RunDirectory, tmp_path: Path
) -> None:
    tagged(config)
    more = config.model_copy(update={"num_instructions": 20})
    run_scripted(more, model())
    alone = more.model_copy(update={"output_dir": str(tmp_path / "alone")})
    for target in (12, 20):
        run_scripted(alone.model_copy(update={"num_instructions": target}), model())
    assert [line for line in journal_lines(run.path) if line["kind"] != "tags"] == journal_lines(tmp_path / "alone")
    shown = status(run.path).counts.tags[0]
    assert shown.pending and shown.tagged + shown.failed + shown.pending == len(list(run.state().tasks()))
    assert tagged(more).tagged == shown.pending


def test_a_model_at_an_endpoint_gets_the_schema(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    tasks = len(list(run.state().tasks()))
    answer = '{"category": "advice", "difficulty": "easy", "input": "none", "language": "en"}'
    with FaultyServer(lambda request: Completion(answer, "stop", 50, 30), chat=True) as server:
        words = ["tag", str(run.path), "--model", MODEL, "--endpoint", server.url]
        result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    assert f"advice {tasks}" in result.output
    asked = [body for body in server.bodies if "Say what a task is about" in str(body["messages"])]
    assert len(asked) == tasks
    assert all(body["response_format"]["json_schema"]["schema"]["required"][0] == "category" for body in asked)


# --------------------------------------------------------------------------------------- what becomes of the lines


def test_refilter_keeps_the_tags_of_what_stays(config: Config, run: RunDirectory, tmp_path: Path) -> None:
    tagged(config)
    refilter(run.path, tmp_path / "same", config.filters)
    assert journal_lines(tmp_path / "same")[1:] == journal_lines(run.path)[1:]
    shortest = sorted(len(instruction.text.split()) for instruction in run.state().pool)[6]
    refilter(run.path, tmp_path / "short", config.filters.model_copy(update={"max_words": shortest}))
    stays = {instruction.id for instruction in RunDirectory(tmp_path / "short").state().pool}
    assert [line["id"] for line in tags(RunDirectory(tmp_path / "short"))] == [
        line["id"] for line in tags(run) if line["id"] in stays
    ]
    assert 0 < len(stays) < 12


def test_a_rewritten_run_takes_the_tags_over(config: Config, run: RunDirectory, tmp_path: Path) -> None:
    tagged(config)

    async def start() -> Engine:
        return model()

    section = config.regenerate.model_copy(update={"model": "better"})
    new = config.model_copy(update={"output_dir": str(tmp_path / "new"), "regenerate": section})
    regenerate(run.path, new, start)
    assert tags(RunDirectory(tmp_path / "new")) == tags(run)
    # What `repair` has dropped there is copied again.
    journal = tmp_path / "new/journal.jsonl"
    raw = journal.read_bytes().splitlines(keepends=True)
    gone = max(k for k, line in enumerate(raw) if b'"kind":"proposal"' in line and b'"accepted":true' in line)
    journal.write_bytes(b"".join([*raw[:gone], b"{broken\n", *raw[gone + 1 :]]))
    repair(tmp_path / "new")
    assert len(tags(RunDirectory(tmp_path / "new"))) < len(tags(run))
    regenerate(run.path, new, start)
    assert {line["id"] for line in tags(RunDirectory(tmp_path / "new"))} == {line["id"] for line in tags(run)}


def test_repair_drops_tags_whose_instruction_is_gone(config: Config, run: RunDirectory) -> None:
    tagged(config)
    raw = run.journal.read_bytes().splitlines(keepends=True)
    last = max(k for k, line in enumerate(raw) if b'"kind":"proposal"' in line and b'"accepted":true' in line)
    names = {one["id"] for one in json.loads(raw[last])["candidates"]}
    run.journal.write_bytes(b"".join([*raw[:last], b"{broken\n", *raw[last + 1 :], raw[-1]]))
    dropped = {(drop.kind, drop.why): drop.lines for drop in repair(run.path).dropped}
    lost = sum(line["id"] in names for line in map(json.loads, [*raw, raw[-1]]) if line["kind"] == "tags")
    assert dropped["tags", "its instruction is gone"] + dropped.get(("tags", "repeats an earlier line"), 0) >= lost > 0
    run.state()


def test_explain_and_show_say_the_tags(config: Config, run: RunDirectory) -> None:
    tagged(config)
    line = tags(run)[0]
    (found,) = explain(run.path, line["id"]).candidates
    assert [one.tags for one in found.tags] == [Tags(**line["tags"])]
    shown = CliRunner().invoke(cli, ["explain", str(run.path), line["id"]]).output
    assert f"tags by scripted: {line['tags']['category']}, {line['tags']['difficulty']}" in shown
    of_rows = {row.id.rpartition("-")[0]: row.tags for row in rows(run.path)}
    assert of_rows == {one["id"]: Tags(**one["tags"]) for one in tags(run)}
    assert "by scripted: " in CliRunner().invoke(cli, ["status", str(run.path)]).output


def test_a_line_that_no_program_writes_is_refused(config: Config, run: RunDirectory) -> None:
    tagged(config)
    state = run.state()
    known = Tags("advice", "easy", "none", "en")
    with pytest.raises(ValueError, match="which is missing"):
        state.apply(TagsLine("p999999-00", "m", "v", known))
    line = tags(run)[0]
    with pytest.raises(ValueError, match="again"):
        state.apply(TagsLine(line["id"], line["model"], line["version"], known))


def test_a_run_without_a_task_is_said(make_config: Any) -> None:
    empty: Config = make_config(num_instructions=2)
    run_scripted(empty, model(lambda r: script(r) if r.key.startswith("proposal") else RequestFailed("refused")))
    with pytest.raises(InputError, match="no instruction has an instance"):
        tagged(empty)
