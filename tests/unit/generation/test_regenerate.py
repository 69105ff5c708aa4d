"""Rewritten outputs: the requests, what is kept, what is counted, and that an interrupted run continues."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfinstruct.cli import cli
from selfinstruct.config.schema import Config, Filters
from selfinstruct.dataset.export import export
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.engines.scripted import Answer, ScriptedEngine
from selfinstruct.engines.vllm import VLLMEngine
from selfinstruct.errors import ConfigError, EngineError, InputError, Interrupted
from selfinstruct.generation.regenerate import engine_arguments, regenerate
from selfinstruct.records import SPLITS, Completion
from selfinstruct.replay.explain import explain
from selfinstruct.replay.explanation_text import render as render_explained
from selfinstruct.replay.refilter import refilter
from selfinstruct.replay.repair import render as render_repaired
from selfinstruct.replay.repair import repair
from selfinstruct.replay.status import Regeneration, next_command, status
from selfinstruct.report.page import write_report
from selfinstruct.run.counting import run_counts
from selfinstruct.run.journal import read_lines, read_raw_lines
from selfinstruct.run.state import RunState, replay
from tests.conftest import THINGS, Once, journal_lines, replayed, run_scripted


def better(request: Request) -> Answer:
    """A better model: answers at length mostly; some answers are empty, cut, end in a colon or fail."""
    asked = request.prompt[-1]["content"] if isinstance(request.prompt, list) else request.prompt
    word = next((k for k, thing in enumerate(THINGS) if asked.endswith((thing, f"{thing}\nOutput:"))), 0)
    if word == 1:
        return said("")
    if word == 2:
        return said("This was going to be a long answ", "length")
    if word == 3:
        return RequestFailed("refused", "not this one")
    if word == 4:
        return said("Here it comes:")
    return said(f"<think>hm</think>\nA better answer of {len(asked)} characters.")


def said(text: str, finish_reason: Any = "stop") -> Answer:
    return Completion(text, finish_reason, 10, 5)


@pytest.fixture
def source(make_config: Any, tmp_path: Path, once: Once) -> Config:
    config: Config = make_config(output_dir=str(tmp_path / "source"), num_instructions=40)
    once(lambda: run_scripted(config))
    return config


def rewriting(source: Config, **regenerate: Any) -> Config:
    section = {"model": "better"} | regenerate
    return Config.model_validate(
        source.model_dump() | {"output_dir": f"{source.output_dir}-new", "regenerate": section}
    )


def rewrite(source: Config, config: Config | None = None, engine: Engine | None = None, **options: Any) -> RunState:
    used = engine or ScriptedEngine(better, has_chat_template=True)

    async def start() -> Engine:
        return used

    return regenerate(Path(str(source.output_dir)), config or rewriting(source), start, **options)


def state_of(config: Config) -> RunState:
    return replay(read_lines(Path(str(config.output_dir)) / "journal.jsonl"))


def test_instructions_and_inputs_stay_and_good_answers_replace_outputs(source: Config) -> None:
    before, after = state_of(source), rewrite(source)
    assert after.pool == before.pool
    assert after.complete and not after.outputs_left()
    taken = 0
    for name, kept in before.instances.items():
        assert [i.input for i in after.instances[name]] == [i.input for i in kept]
        for old, new in zip(kept, after.instances[name], strict=True):
            rewritten = new.output.startswith("A better answer")
            assert rewritten or new == old, "the old output stays where the new one is no good"
            taken += rewritten
    outputs = asdict(run_counts(after).outputs)
    assert outputs["rewritten"] == taken > 0
    parts = ("rewritten", "unchanged", "rejected", "failed", "pending")
    assert outputs["total"] == sum(outputs[part] for part in parts) == before.num_instances == after.num_instances
    assert outputs["failed"] and set(outputs["reasons"]) == {"empty_output", "truncated", "ends_in_colon"}
    assert sum(outputs["reasons"].values()) == outputs["rejected"]


def test_every_answer_is_recorded_with_its_evidence(source: Config) -> None:
    rewrite(source)
    old, new = journal_lines(Path(str(source.output_dir))), journal_lines(Path(f"{source.output_dir}-new"))
    assert new[1 : len(old)] == old[1:], "it begins with the lines of its source"
    answers = new[len(old) :]
    assert {line["kind"] for line in answers} == {"output"}
    wanted = Counter((name, k) for name, kept in state_of(source).instances.items() for k in range(len(kept)))
    assert Counter((line["id"], line["instance"]) for line in answers) == wanted
    for line in answers:
        assert ("completion" in line) != ("failed" in line)
        for candidate in line.get("candidates", ()):
            assert candidate["accepted"] or candidate["reason"]


def test_the_same_output_again_counts_as_unchanged(source: Config) -> None:
    before = state_of(source)
    known = {
        (i.text + ("\n\n" + k.input if k.input else "")): k.output
        for i in before.pool
        for k in before.instances.get(i.id, ())
    }
    same = ScriptedEngine(lambda r: said(known[r.prompt[0]["content"]]), has_chat_template=True)  # type: ignore[index]
    after = rewrite(source, engine=same)
    assert after.instances == before.instances
    assert asdict(run_counts(after).outputs)["unchanged"] == before.num_instances


def test_it_asks_through_the_chat_template_and_after_examples_without_one(source: Config) -> None:
    chat = ScriptedEngine(better, has_chat_template=True)
    rewrite(source, engine=chat)
    assert all(isinstance(r.prompt, list) and len(r.prompt) == 1 and not r.ends_before for r in chat.history)
    assert len({r.key for r in chat.history}) == len(chat.history) == state_of(source).num_instances
    base = ScriptedEngine(better)
    after = rewrite(source, engine=base, overwrite=True)
    assert all(isinstance(r.prompt, str) and r.prompt.endswith("Output:") and r.ends_before for r in base.history)
    assert all("Task:" in r.prompt for r in base.history)
    assert after.header.resolved["regenerate"]["style"] == "completion"


def test_it_goes_on_as_it_began_where_the_template_does_not_count_any_more(source: Config) -> None:
    def dying(request: Request) -> Answer:
        return EngineError("died") if len(first.history) > 5 else better(request)

    first = ScriptedEngine(dying, has_chat_template=True)
    with pytest.raises(EngineError):
        rewrite(source, engine=first)
    base = ScriptedEngine(better, has_chat_template=False)
    rewrite(source, engine=base)
    assert base.history and all(isinstance(request.prompt, list) for request in base.history)


@pytest.mark.parametrize("latency", [0.0, 0.003])
def test_continuing_gives_the_same_as_going_through(source: Config, latency: float) -> None:
    run = Path(f"{source.output_dir}-new")
    rewrite(source)
    whole = journal_lines(run)
    size = len(journal_lines(Path(str(source.output_dir))))
    for stop_after in (0, 1, 7, len(whole) - size - 1):
        answered = 0

        def dying(request: Request, stop_after: int = stop_after) -> Answer:
            nonlocal answered
            answered += 1
            return EngineError("died") if answered > stop_after else better(request)

        with pytest.raises(EngineError, match="died"):
            rewrite(source, engine=ScriptedEngine(dying, has_chat_template=True, latency=latency), overwrite=True)
        interrupted = journal_lines(run)
        assert len(interrupted) <= size + stop_after
        engine = ScriptedEngine(better, has_chat_template=True, latency=latency, seed=3)
        rewrite(source, engine=engine)
        assert len(engine.history) == len(whole) - len(interrupted), "nothing is asked twice"
        assert sorted(map(json.dumps, journal_lines(run))) == sorted(map(json.dumps, whole))


def test_a_signal_ends_it_in_good_order(source: Config) -> None:
    asked = 0

    def interrupted(request: Request) -> Answer:
        nonlocal asked
        asked += 1
        if asked == 20:
            os.kill(os.getpid(), signal.SIGINT)
        return better(request)

    with pytest.raises(Interrupted):
        rewrite(source, engine=ScriptedEngine(interrupted, has_chat_template=True, latency=0.002))
    *lines, last = journal_lines(Path(f"{source.output_dir}-new"))
    assert (last["event"], last["signal"]) == ("interrupted", "SIGINT")
    done = len(lines) - len(journal_lines(Path(str(source.output_dir))))
    assert 0 < done < state_of(source).num_instances
    run = Path(f"{source.output_dir}-new")
    shown = status(run).to_json()
    assert (shown["stopped"]["event"], shown["stopped"]["signal"]) == ("interrupted", "SIGINT")
    export(rewriting(source))
    assert status(run).stages["export"].done
    engine = ScriptedEngine(better, has_chat_template=True)
    assert rewrite(source, engine=engine).complete
    assert len(engine.history) == state_of(source).num_instances - done
    assert status(run).to_json()["stopped"] is None
    stage = status(run).stages["export"]
    assert not stage.done and f"with {len(engine.history)} outputs still to rewrite" in stage.note
    assert "The run has changed since" in write_report(run).read_text()
    export(rewriting(source))
    assert status(run).stages["export"].done


def test_a_torn_line_is_asked_again(source: Config) -> None:
    rewrite(source)
    journal = Path(f"{source.output_dir}-new") / "journal.jsonl"
    whole = sorted(journal.read_bytes().splitlines())
    journal.write_bytes(journal.read_bytes()[:-9])
    rewrite(source)
    assert sorted(journal.read_bytes().splitlines()) == whole


def test_a_death_before_the_first_answer_leaves_nothing_or_a_whole_beginning(
    source: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    from selfinstruct.generation import regenerate as module

    def break_off(*_: Any) -> Any:
        yield from list(read_raw_lines(Path(str(source.output_dir)) / "journal.jsonl"))[:5]
        raise OSError(errno.ENOSPC, "disk full")

    with monkeypatch.context() as patched:
        patched.setattr(module, "read_raw_lines", break_off)
        with pytest.raises(OSError, match="disk full"):
            rewrite(source)
    assert not (Path(f"{source.output_dir}-new") / "journal.jsonl").exists()
    assert rewrite(source).complete


def test_finished_it_starts_no_engine(source: Config) -> None:
    rewrite(source)

    async def refuse() -> Engine:
        pytest.fail("an engine was started")

    assert regenerate(Path(str(source.output_dir)), rewriting(source), refuse).complete


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "other"}, "regenerate.model: recorded 'better', now 'other'"),
        ({"max_tokens": 7}, "regenerate.max_tokens: recorded 512, now 7"),
        ({"engine": {"dtype": "float32"}}, "regenerate.engine.dtype: recorded None, now 'float32'"),
    ],
)
def test_other_settings_are_refused(source: Config, change: dict[str, Any], message: str) -> None:
    rewrite(source)
    with pytest.raises(ConfigError) as caught:
        rewrite(source, rewriting(source, **change))
    assert message in str(caught.value)


def test_what_cannot_be_rewritten_is_refused(source: Config, make_config: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not rewritten in place"):
        rewrite(source, Config.model_validate(source.model_dump() | {"regenerate": {"model": "better"}}))
    with pytest.raises(ConfigError, match="--model MODEL"):
        rewrite(source, rewriting(source, model=None))
    with pytest.raises(InputError, match="not a run directory"):
        rewrite(make_config(output_dir=str(tmp_path / "nowhere")))
    rewrite(source)
    again = Config.model_validate(source.model_dump() | {"output_dir": f"{source.output_dir}-new"})
    with pytest.raises(InputError, match=f"rewritten ones already.*{source.output_dir}"):
        rewrite(again)
    with pytest.raises(ConfigError, match="regenerate: recorded"):
        run_scripted(again.model_copy(update={"num_instructions": 60}))
    run_scripted(source.model_copy(update={"num_instructions": 42}))
    with pytest.raises(ConfigError, match="source_sha256"):
        rewrite(source)
    journal = Path(str(source.output_dir)) / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:20]))
    with pytest.raises(InputError, match="not finished; first: selfinstruct generate"):
        rewrite(source, overwrite=True)


def test_export_status_and_report_work_on_it(source: Config) -> None:
    rewrite(source)
    new = rewriting(source)
    run = Path(str(new.output_dir))
    counts, old = export(new), export(source)
    assert counts.rows == old.rows
    outputs = [json.loads(line)["output"] for s in SPLITS for line in (run / "dataset" / f"{s}.jsonl").open()]
    found = status(run)
    assert sum(o.startswith("A better answer") for o in outputs) == found.counts.outputs.rewritten
    assert found.stages["generate"].done and found.stages["export"].done
    assert found.regenerate == Regeneration("better", str(Path(str(source.output_dir)).resolve()))
    assert "rewritten by `better`" in (run / "dataset" / "README.md").read_text()
    page = write_report(run).read_text()
    assert "Rewritten outputs" in page and "old one kept: no output" in page
    assert "rewritten by better" in page
    journal = run / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-3]))
    unfinished = status(run)
    assert not unfinished.counts.complete and unfinished.counts.outputs.pending == 3
    assert str(next_command(unfinished)).startswith("selfinstruct regenerate ")
    assert "3 outputs still wait" in write_report(run).read_text()


def test_explain_shows_rewritten_outputs_and_refilter_names_their_source(source: Config, tmp_path: Path) -> None:
    state, run = rewrite(source), Path(f"{source.output_dir}-new")
    name = next(task.id for task in state.tasks() if len(task.instances) > 1)
    (explained,) = (explanation := explain(run, name)).candidates
    assert [output.instance for output in explained.outputs] == list(range(len(state.instances[name])))
    assert "rewritten output of instance 2" in render_explained(explanation)
    with pytest.raises(InputError, match=f"Refilter the run that it was made from, {source.output_dir}"):
        refilter(run, tmp_path / "other", Filters(threshold=0.5))


@pytest.mark.parametrize("kind", ["proposal", "classification", "instances", "output"])
def test_what_repair_dropped_is_copied_from_the_source_or_requested_again(source: Config, kind: str) -> None:
    whole = rewrite(source)
    journal = Path(f"{source.output_dir}-new") / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    place = [k for k, line in enumerate(lines) if line.startswith(b'{"kind":"%s"' % kind.encode())][2]
    journal.write_bytes(b"".join([*lines[:place], b"?\n", *lines[place + 1 :]]))
    result = repair(journal.parent)
    assert result.source == str(Path(str(source.output_dir)).resolve())
    assert f"copies lost lines from {result.source}" in render_repaired(result)
    assert not state_of(rewriting(source)).complete
    state = rewrite(source)
    assert state.complete and run_counts(state).outputs == run_counts(whole).outputs
    assert sorted(journal.read_bytes().splitlines(keepends=True)) == sorted(lines)


def test_a_damaged_journal_is_noticed(source: Config) -> None:
    rewrite(source)
    lines = journal_lines(Path(f"{source.output_dir}-new"))
    with pytest.raises(InputError, match="rewrites instance"):
        replayed([*lines, lines[-1]])
    with pytest.raises(InputError, match="rewrites instance 99"):
        replayed([*lines, lines[-1] | {"instance": 99}])


def test_the_generators_own_arguments_are_not_given_to_the_rewriter(source: Config) -> None:
    engine = {"tokenizer": "./own", "dtype": "bfloat16", "quantization": "awq"}
    config = Config.model_validate(rewriting(source, engine={"max_model_len": 9}).model_dump() | {"engine": engine})
    assert engine_arguments(config.model, config.engine, config.regenerate) == {"dtype": "bfloat16", "max_model_len": 9}
    same = Config.model_validate(config.model_dump() | {"regenerate": {"model": config.model}})
    assert engine_arguments(same.model, same.engine, same.regenerate) == engine


def test_the_command(source: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []

    async def start(model: str, **options: Any) -> Engine:
        started.append((model, options["arguments"]))
        await asyncio.sleep(0)
        return ScriptedEngine(better, has_chat_template=True)

    monkeypatch.setattr(VLLMEngine, "start", start)
    new = f"{source.output_dir}-new"
    words = ["regenerate", str(source.output_dir), "--model", "better", "-o", new, "--max-tokens", "99"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    assert started == [("better", {})]
    assert "old ones kept" in done.stderr and f"selfinstruct export {new}" in done.stderr
    assert CliRunner().invoke(cli, ["export", new]).exit_code == 0
    assert CliRunner().invoke(cli, ["status", new]).exit_code == 0
