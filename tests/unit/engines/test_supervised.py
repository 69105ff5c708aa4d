"""The supervised engine: every request is answered exactly once, whatever the engines beneath it do."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfinstruct.config.section import Sampling
from selfinstruct.engines import processes
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.engines.scripted import Answer, ScriptedEngine
from selfinstruct.engines.supervised import Restart, SupervisedEngine
from selfinstruct.errors import ConfigError, EngineError, Interrupted
from selfinstruct.generation.generate import generate
from selfinstruct.records import Completion
from tests.conftest import examples, journal_lines, run_scripted, script
from tests.faults.same import assert_same

pytestmark = pytest.mark.whole

NEVER = 1e6  # seconds: a timeout that does not come


def request(name: str) -> Request:
    return Request(name, f"prompt {name}", Sampling(max_tokens=4))


def echo(asked: Request) -> Completion:
    return Completion(f"answer to {asked.prompt}", "stop", 2, 1)


class Mortal(ScriptedEngine):
    """Dies after so many answers, of any poison at once, and hangs on request.

    Args:
        answers: how many it gives before it dies; None for any number.
        poisons: keys of requests that kill it.
        hangs: whether it hangs where it would die.
        seed: of its latencies.
    """

    def __init__(
        self,
        script: Callable[[Request], Answer] = echo,
        *,
        answers: int | None = None,
        poisons: Iterable[str] = (),
        hangs: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(script)
        self.left = answers
        self.poisons = frozenset(poisons)
        self.hangs = hangs
        self.dead = asyncio.Event()
        self.draw = random.Random(seed)
        self.aborted: list[str] = []

    async def generate(self, request: Request) -> Completion:
        try:
            for _ in range(self.draw.randrange(4)):
                await asyncio.sleep(0)
            if request.key in self.poisons or self.left == 0:
                self.dead.set()
            if self.dead.is_set():
                if self.hangs:
                    await asyncio.sleep(NEVER)
                raise EngineError("died")
            if self.left is not None:
                self.left -= 1
            return await super().generate(request)
        except asyncio.CancelledError:
            self.aborted.append(request.key)
            raise


class Factory:
    """Starts the engines of a list, then immortal ones; an exception in the list is one that does not start."""

    def __init__(
        self, *plan: Engine | Exception, poisons: Iterable[str] = (), then: Callable[[], Engine] | None = None
    ):
        self.plan = list(plan)
        self.then = then or (lambda: Mortal(poisons=poisons))
        self.started: list[Any] = []
        self.restarts: list[Restart] = []

    async def __call__(self) -> Engine:
        engine = self.plan.pop(0) if self.plan else self.then()
        if isinstance(engine, Exception):
            raise engine
        self.started.append(engine)
        return engine

    async def launch(self, **options: Any) -> SupervisedEngine:
        given = {"max_restarts": 5, "stall_timeout": NEVER, "request_timeout": NEVER, "first_delay": 0.0}
        return await SupervisedEngine(self, on_restart=self.restarts.append, **(given | options)).launch()


async def ask(engine: SupervisedEngine, names: Iterable[str]) -> dict[str, Completion | BaseException]:
    names = list(names)
    answers = await asyncio.wait_for(
        asyncio.gather(*(engine.generate(request(name)) for name in names), return_exceptions=True), 30
    )
    return dict(zip(names, answers, strict=True))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)


def right(answers: dict[str, Any]) -> bool:
    return all(answer == echo(request(name)) for name, answer in answers.items())


NAMES = [f"r{k}" for k in range(20)]


# --------------------------------------------------------------------------------------------------------------- death


async def test_requests_in_flight_at_a_death_are_asked_again() -> None:
    factory = Factory(Mortal(answers=7), Mortal(answers=3))
    engine = await factory.launch()
    assert right(await ask(engine, NAMES))
    assert len(factory.started) == 3 and all(e._closed for e in factory.started[:2])
    assert [r.cause for r in factory.restarts] == ["died", "died"]
    assert factory.restarts[0].resent == 13 and factory.restarts[0].attempt == 1
    await engine.close()
    assert factory.started[2]._closed


async def test_requests_asked_between_two_engines_wait_for_the_next() -> None:
    factory = Factory(Mortal(answers=0))
    engine = await factory.launch(first_delay=0.05)
    first = asyncio.ensure_future(engine.generate(request("first")))
    await until(lambda: not engine._running)
    assert engine.count_tokens("a b c") == 3
    assert right(await ask(engine, NAMES)) and await first == echo(request("first"))
    await engine.close()


async def test_an_engine_that_does_not_start_again_is_tried_again() -> None:
    factory = Factory(Mortal(answers=2), EngineError("no memory"), ConfigError("the Hub cannot be reached"))
    engine = await factory.launch()
    assert right(await ask(engine, NAMES))
    assert [r.attempt for r in factory.restarts] == [3]
    await engine.close()


async def test_the_first_start_is_not_repeated() -> None:
    factory = Factory(EngineError("no memory"))
    with pytest.raises(EngineError, match="no memory"):
        await factory.launch()
    assert factory.started == []


async def test_after_so_many_restarts_without_an_answer_the_engine_is_given_up() -> None:
    factory = Factory(Mortal(answers=4), then=lambda: Mortal(answers=0))
    engine = await factory.launch(max_restarts=2)
    answers = await ask(engine, NAMES)
    given = {name: answer for name, answer in answers.items() if isinstance(answer, Completion)}
    assert len(given) == 4 and right(given)
    assert {type(answer) for name, answer in answers.items() if name not in given} == {EngineError}
    assert len(factory.started) == 3 and all(e._closed for e in factory.started)
    with pytest.raises(EngineError, match=r"3 times without an answer.*died(.|\n)*--max-engine-restarts"):
        await engine.generate(request("late"))
    await engine.close()


async def test_an_answer_between_deaths_resets_the_count() -> None:
    factory = Factory(*(Mortal(answers=2) for _ in range(9)))
    engine = await factory.launch(max_restarts=1)
    assert right(await ask(engine, NAMES))
    assert len(factory.restarts) == 9
    await engine.close()


async def test_a_defect_ends_it_for_everybody() -> None:
    factory = Factory(Mortal(answers=2), ZeroDivisionError("a defect"))
    engine = await factory.launch()
    answers = await ask(engine, NAMES)
    assert Counter(type(answer) for answer in answers.values()) == {Completion: 2, ZeroDivisionError: 18}
    await engine.close()


async def test_an_engine_that_comes_back_different_is_refused() -> None:
    factory = Factory(Mortal(answers=2), ScriptedEngine(echo, context_length=77))
    engine = await factory.launch()
    answers = await ask(engine, NAMES)
    assert "77" in str(answers["r19"]) and isinstance(answers["r19"], EngineError)
    await engine.close()
    assert all(e._closed for e in factory.started)


# --------------------------------------------------------------------------------------------------------------- poison


async def test_a_poison_request_alone_fails_and_is_asked_alone_before() -> None:
    factory = Factory(poisons=["r3"])
    engine = await factory.launch()
    answers = await ask(engine, NAMES)
    failure = answers.pop("r3")
    assert isinstance(failure, RequestFailed) and failure.reason == "killed_engine" and failure.detail == "died"
    assert right(answers)
    assert 4 <= len(factory.started) <= 5  # killed two with others, perhaps one that was not fresh, and one alone
    await engine.close()


async def test_a_request_that_killed_an_engine_alone_is_not_blamed_while_no_engine_works() -> None:
    """A broken GPU kills whatever is asked; nothing of that is the requests' fault, and they can be asked again."""
    factory = Factory(then=lambda: Mortal(answers=0))
    engine = await factory.launch(max_restarts=6)
    answers = await ask(engine, NAMES)
    assert {type(answer) for answer in answers.values()} == {EngineError}
    await engine.close()


async def test_a_single_request_that_kills_every_engine_fails() -> None:
    factory = Factory(poisons=["r0"])
    engine = await factory.launch()
    answer = (await ask(engine, ["r0"]))["r0"]
    assert isinstance(answer, RequestFailed) and answer.reason == "killed_engine"
    assert right(await ask(engine, NAMES[1:]))
    await engine.close()


async def test_suspects_have_nothing_beside_them() -> None:
    beside: list[int] = []

    class Watched(ScriptedEngine):
        now = 0

        async def generate(self, request: Request) -> Completion:
            Watched.now += 1
            beside.append(Watched.now)
            try:
                await asyncio.sleep(0)
                return await super().generate(request)
            finally:
                Watched.now -= 1

    factory = Factory(Mortal(answers=0), Mortal(answers=0), Watched(echo))
    engine = await factory.launch()
    asked = asyncio.ensure_future(ask(engine, NAMES))
    await until(lambda: bool(beside))
    late = await ask(engine, ["late"])
    assert right(await asked) and right(late)
    assert beside == [1] * 21
    await engine.close()


async def test_what_is_asked_while_the_last_suspect_is_alone_waits() -> None:
    class Slow(Mortal):
        now = most = 0

        async def generate(self, request: Request) -> Completion:
            self.now += 1
            self.most = max(self.most, self.now)
            for _ in range(10):
                await asyncio.sleep(0)
            self.now -= 1
            return await super().generate(request)

    slow = Slow()
    engine = await Factory(Mortal(answers=0), Mortal(answers=0), slow).launch()
    asked = asyncio.ensure_future(ask(engine, ["r0"]))
    await until(lambda: slow.now == 1)
    assert right(await ask(engine, ["late"])) and right(await asked)
    assert slow.most == 1
    await engine.close()


@settings(max_examples=examples(12))
@given(
    stillborn=st.booleans(),
    lives=st.lists(st.tuples(st.integers(1, 6), st.booleans()), max_size=5),
    poisons=st.sets(st.sampled_from(NAMES), max_size=3),
    refused=st.sets(st.sampled_from(NAMES), max_size=3),
    cancelled=st.sets(st.sampled_from(NAMES), max_size=3),
    seed=st.integers(0, 1000),
)
async def test_every_request_is_answered_once_as_by_an_undisturbed_engine(
    stillborn: bool,
    lives: list[tuple[int, bool]],
    poisons: set[str],
    refused: set[str],
    cancelled: set[str],
    seed: int,
) -> None:
    def answers(asked: Request) -> Answer:
        return RequestFailed("refused", asked.key) if asked.key in refused else echo(asked)

    def mortal(left: int | None, hangs: bool, k: int) -> Mortal:
        return Mortal(answers, answers=left, poisons=poisons, hangs=hangs, seed=seed + k)

    plan = [mortal(left, hangs, k) for k, (left, hangs) in enumerate([(0, False)] * stillborn + lives)]
    factory = Factory(*plan, then=lambda: mortal(None, False, 99))
    engine = await factory.launch(max_restarts=20, stall_timeout=0.2)
    draw = random.Random(seed)
    told: Counter[str] = Counter()

    async def one(name: str) -> Any:
        for _ in range(draw.randrange(6)):
            await asyncio.sleep(0)
        try:
            return await engine.generate(request(name))
        except RequestFailed as failure:
            return failure
        finally:
            told[name] += 1

    async def cancel(task: asyncio.Task[Any]) -> None:
        for _ in range(draw.randrange(30)):
            await asyncio.sleep(0)
        task.cancel()

    tasks = {name: asyncio.ensure_future(one(name)) for name in NAMES}
    cancelling = [asyncio.ensure_future(cancel(tasks[name])) for name in sorted(cancelled)]
    await asyncio.wait_for(asyncio.wait(tasks.values()), 30)
    await asyncio.gather(*cancelling)
    for name, task in tasks.items():
        assert told[name] == 1 or name in cancelled
        if task.cancelled():
            assert name in cancelled
        elif name in poisons:
            assert task.result().reason == "killed_engine"
        elif name in refused:
            assert task.result().reason == "refused"
        else:
            assert task.result() == echo(request(name))
    assert not engine._in_flight and not engine._waiting and not engine._condemned
    await engine.close()
    assert all(e._closed for e in factory.started)
    assert {t for t in asyncio.all_tasks() if t is not asyncio.current_task()} == set()


# ---------------------------------------------------------------------------------------------------- hangs, timeouts


async def test_a_hang_is_noticed_and_survived() -> None:
    factory = Factory(Mortal(answers=5, hangs=True))
    engine = await factory.launch(stall_timeout=0.1)
    assert right(await ask(engine, NAMES))
    assert [r.cause for r in factory.restarts] == ["no progress for 0.1 s (--stall-timeout)"]
    assert len(factory.started[0].aborted) == 15 and factory.started[0]._closed
    await engine.close()


async def test_an_engine_that_is_slow_but_gets_on_does_not_hang() -> None:
    class Slow(ScriptedEngine):
        tokens = 0

        async def generate(self, request: Request) -> Completion:
            for _ in range(30):
                await asyncio.sleep(0.01)
                self.tokens += 1
            return await super().generate(request)

        def progress(self) -> int:
            return self.tokens

    factory = Factory(Slow(echo))
    engine = await factory.launch(stall_timeout=0.1)
    assert right(await ask(engine, NAMES[:2]))
    assert factory.restarts == []
    await asyncio.sleep(0.2)  # nor does one that has nothing to do
    assert factory.restarts == []
    await engine.close()


async def test_a_request_has_its_own_timeout_and_is_aborted() -> None:
    class Stuck(Mortal):
        async def generate(self, request: Request) -> Completion:
            if request.key == "r1":
                try:
                    await asyncio.sleep(NEVER)
                except asyncio.CancelledError:
                    self.aborted.append(request.key)
                    raise
            return await super().generate(request)

    stuck = Stuck()
    factory = Factory(stuck)
    engine = await factory.launch(request_timeout=0.1)
    answers = await ask(engine, NAMES)
    failure = answers.pop("r1")
    assert isinstance(failure, RequestFailed) and failure.reason == "timeout" and "0.1 s" in failure.detail
    assert right(answers) and stuck.aborted == ["r1"] and factory.restarts == []
    await engine.close()


# ------------------------------------------------------------------------------------------------------ cancel, close


async def test_cancelling_a_call_aborts_it_in_the_engine() -> None:
    engine_below = Mortal(answers=0, hangs=True)
    factory = Factory(engine_below)
    engine = await factory.launch()
    call = asyncio.ensure_future(engine.generate(request("r0")))
    await engine_below.dead.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await engine.close()
    assert engine_below.aborted == ["r0"]


async def test_closing_while_an_engine_starts_ends_the_start() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def start() -> Engine:
        began.set()
        try:
            await asyncio.sleep(NEVER)
        finally:
            ended.set()
        raise AssertionError

    starts = iter([Factory(Mortal(answers=0)), start])
    engine = await SupervisedEngine(
        lambda: next(starts)(), max_restarts=3, stall_timeout=NEVER, request_timeout=NEVER, first_delay=0.0
    ).launch()
    call = asyncio.ensure_future(engine.generate(request("r0")))
    await began.wait()
    await engine.close()
    assert ended.is_set()
    with pytest.raises(EngineError, match="closed"):
        await call


async def test_the_processes_of_an_engine_are_told_and_ended() -> None:
    told: list[set[int]] = []

    def start_with_a_child(engine: Engine) -> Callable[[], Any]:
        async def start() -> Engine:
            children.append(subprocess.Popen(["sleep", "600"]))  # noqa: ASYNC220 - it returns at once
            children[-1].send_signal(signal.SIGSTOP)  # one that hears no SIGTERM
            return engine

        return start

    children: list[subprocess.Popen[bytes]] = []
    starts = [start_with_a_child(Mortal(answers=0)), start_with_a_child(Mortal())]
    engine = await SupervisedEngine(
        lambda: starts.pop(0)(),
        max_restarts=3,
        stall_timeout=NEVER,
        request_timeout=NEVER,
        first_delay=0.0,
        on_processes=lambda found: told.append({p.pid for p in found}),
    ).launch()
    try:
        assert right(await ask(engine, NAMES))
        assert children[0].wait(10) == -9 and children[1].poll() is None
        await engine.close()
        assert children[1].wait(10) == -9
        assert told == [{children[0].pid}, set(), {children[1].pid}, set()]
    finally:
        for child in children:
            child.kill()
            child.wait()


# ---------------------------------------------------------------------------------------------------- the whole run


@pytest.mark.parametrize("hangs", [False, True])
def test_a_run_over_engines_that_die_is_the_run_of_one_that_does_not(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], hangs: bool
) -> None:
    whole = make_config(output_dir=str(tmp_path / "whole"))
    run_scripted(whole)
    monkeypatch.setattr("selfinstruct.generation.supervision.FIRST_RESTART_DELAY_S", 0.0)
    started = 0

    async def start() -> Engine:
        nonlocal started
        started += 1
        return Mortal(script, answers=started * 3 if started < 6 else None, hangs=hangs, seed=started)

    config = make_config(max_engine_restarts=2, stall_timeout=0.1, request_timeout=50)
    assert generate(config, start).complete
    assert started == 6
    lines, undisturbed = journal_lines(tmp_path / "run"), journal_lines(tmp_path / "whole")
    assert [x for x in lines if x["kind"] == "proposal"] == [x for x in undisturbed if x["kind"] == "proposal"]
    assert sorted(map(json.dumps, lines)) == sorted(map(json.dumps, undisturbed))
    metrics = [json.loads(row) for row in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    restarts = [row for row in metrics if row.get("event") == "engine_restarted"]
    assert len(restarts) == 5 and all(row["resent"] >= 1 and row["cause"] for row in restarts)
    said = capfd.readouterr().err
    assert said.count("the engine ended: ") == said.count("the engine is back") == 5
    assert not (tmp_path / "run" / ".engine.json").exists()


def test_a_run_whose_engine_cannot_be_revived_continues_later(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfinstruct.generation.supervision.FIRST_RESTART_DELAY_S", 0.0)
    whole = make_config(output_dir=str(tmp_path / "whole"))
    run_scripted(whole)
    lives = iter([11, 0, 0, 0])

    async def start() -> Engine:
        return Mortal(script, answers=next(lives))

    with pytest.raises(EngineError, match="3 times without an answer") as caught:
        generate(make_config(max_engine_restarts=2), start)
    assert caught.value.exit_code == 3
    assert run_scripted(make_config()).complete
    assert sorted(map(json.dumps, journal_lines(tmp_path / "run"))) == sorted(
        map(json.dumps, journal_lines(tmp_path / "whole"))
    )


@pytest.mark.parametrize("which", [1, 2])
def test_a_signal_while_an_engine_starts_is_heard_at_once(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    monkeypatch.setattr("selfinstruct.generation.supervision.FIRST_RESTART_DELAY_S", 0.0)
    whole = make_config(output_dir=str(tmp_path / "whole"))
    run_scripted(whole)
    started, ended = 0, False

    async def start() -> Engine:
        nonlocal started, ended
        started += 1
        if started == which:
            os.kill(os.getpid(), signal.SIGTERM)
            try:
                await asyncio.sleep(NEVER)
            finally:
                ended = True
        return Mortal(script, answers=9)

    with pytest.raises(Interrupted) as caught:
        generate(make_config(max_engine_restarts=2), start)
    assert caught.value.exit_code == 143 and started == which and ended
    assert run_scripted(make_config()).complete
    assert_same(make_config(), whole)


def test_a_poison_request_is_journaled_as_failed(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfinstruct.generation.supervision.FIRST_RESTART_DELAY_S", 0.0)

    async def start() -> Engine:
        return Mortal(script, poisons=["proposal/2"])

    assert generate(make_config(max_engine_restarts=4), start).complete
    lines = journal_lines(tmp_path / "run")
    failed = [line for line in lines if line.get("failed", {}).get("reason") == "killed_engine"]
    assert [line["n"] for line in failed] == [2] and failed[0]["failed"]["detail"] == "died"


# -------------------------------------------------------------------------------------------------------- leftovers


def test_leftovers_are_ended_only_where_number_and_start_time_match(tmp_path: Path) -> None:
    path = tmp_path / ".engine.json"
    ours, others = subprocess.Popen(["sleep", "600"]), subprocess.Popen(["sleep", "600"])
    try:
        processes.remember(path, [psutil.Process(ours.pid), psutil.Process(others.pid)])
        note = json.loads(path.read_text())
        assert {row["pid"] for row in note["processes"]} == {ours.pid, others.pid}
        for row in note["processes"]:
            row["started"] -= 100 * (row["pid"] == others.pid)  # a process of old whose number was given to another
        note["processes"].append({"pid": 2**22 + 1, "started": 1.0, "name": "sleep"})
        path.write_text(json.dumps(note))
        assert processes.end_leftovers(path) == ([ours.pid], [])
        assert ours.wait(10) == -9 and others.poll() is None
        assert not path.exists() and processes.end_leftovers(path) == ([], [])
    finally:
        for process in (ours, others):
            process.kill()
            process.wait()


@pytest.mark.parametrize("note", ["", "[]", '{"host": 3}', '{"host": "x", "processes": [{"pid": "a", "started": 1}]}'])
def test_a_note_that_cannot_be_read_ends_nothing(tmp_path: Path, note: str) -> None:
    path = tmp_path / ".engine.json"
    path.write_text(note)
    assert processes.end_leftovers(path) == ([], [])


@pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"directory": ["/elsewhere", 1, 2]}, {"program": None}])
def test_processes_that_the_record_does_not_prove_ours_are_left_alone(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / ".engine.json"
    process = subprocess.Popen(["sleep", "600"])
    try:
        processes.remember(path, [psutil.Process(process.pid)])
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        assert processes.end_leftovers(path) == ([], []) and process.poll() is None
    finally:
        process.kill()
        process.wait()


PROGRAM = """
import subprocess, sys, time
from pathlib import Path
import psutil
from selfinstruct.engines import processes
engine = subprocess.Popen(["sleep", "600"])
processes.remember(Path(sys.argv[1]), [psutil.Process(engine.pid)])
print(engine.pid, flush=True)
time.sleep(600)
"""


def test_the_start_of_a_copied_run_ends_nothing_of_the_original(tmp_path: Path) -> None:
    """Nor does a start beside the living program; once that is dead, a start of the original ends its engine."""
    original, copy = tmp_path / "run", tmp_path / "copy"
    original.mkdir()
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, str(original / ".engine.json")], stdout=subprocess.PIPE)
    assert program.stdout is not None
    engine = psutil.Process(int(program.stdout.readline()))
    try:
        record = (original / ".engine.json").read_bytes()
        shutil.copytree(original, copy)
        for folder in (copy, original):
            assert processes.end_leftovers(folder / ".engine.json") == ([], []) and engine.is_running()
        program.kill()
        program.wait()
        (copy / ".engine.json").write_bytes(record)
        assert processes.end_leftovers(copy / ".engine.json") == ([], []) and engine.is_running()
        (original / ".engine.json").write_bytes(record)
        assert processes.end_leftovers(original / ".engine.json") == ([engine.pid], [])
    finally:
        program.kill()
        program.communicate()
        processes.end([engine])


def test_a_start_of_the_run_ends_what_the_last_one_left(
    make_config: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_scripted(make_config(num_instructions=5))
    process = subprocess.Popen(["sleep", "600"])
    try:
        processes.remember(tmp_path / "run" / ".engine.json", [psutil.Process(process.pid)])
        run_scripted(make_config(num_instructions=5))  # even where there is nothing to ask
        assert process.wait(10) == -9
        assert f"left behind: {process.pid}\n" in capfd.readouterr().err
    finally:
        process.kill()
        process.wait()
