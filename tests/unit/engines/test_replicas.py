"""Replicas in processes of their own: what one answers, how it fails and ends, and what the others do then."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from selfinstruct.config.section import Sampling
from selfinstruct.engines import replica_process
from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.engines.parallelism import own_replicas
from selfinstruct.engines.processes import lives
from selfinstruct.engines.replicas import Replica, Replicas, placed
from selfinstruct.engines.supervised import Restart, SupervisedEngine
from selfinstruct.engines.usable_gpus import for_each_replica
from selfinstruct.engines.vllm import engine_arguments
from selfinstruct.errors import ConfigError, EngineError
from selfinstruct.hardware import Gpu, Hardware
from selfinstruct.records import Completion
from selfinstruct.text import GIB
from tests.replica_engine import WordTokenizer
from tests.unit.engines.test_parallelism import GPT_OSS_120B, LLAMA_70B

pytestmark = [pytest.mark.whole, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[3]
START = "tests.replica_engine:start"
EIGHT = Hardware(tuple(Gpu("GPU", 141 * GIB, 141 * GIB, index=str(n)) for n in range(8)), 64 * GIB, 64 * GIB)


def request(prompt: str, **options: Any) -> Request:
    return Request(f"key of {prompt}", prompt, Sampling(max_tokens=5), **options)


@asynccontextmanager
async def running(folder: Path, number: int = 2, **options: Any) -> AsyncIterator[Replicas]:
    limits = {"max_restarts": 2, "stall_timeout": 3600.0, "first_delay": 0.0} | options.pop("limits", {})
    variables = [{"CUDA_VISIBLE_DEVICES": f"gpu{n}"} for n in range(number)]
    engine = await Replicas.start(START, {"folder": str(folder), **options}, variables, WordTokenizer(), **limits)
    try:
        async with asyncio.timeout(120):
            yield engine
    finally:
        await engine.close()


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return the replicas that were started there and run."""
    pids = [int(path.name.rpartition("-")[2]) for path in found(folder, "started-*")]
    return [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid) and lives(psutil.Process(pid))]


def found(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


async def until(condition: Callable[[], object], seconds: float = 120) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.02)


async def test_half_a_character_fails_its_own_request_alone(tmp_path: Path) -> None:
    """In either direction: messages that go in the same batch arrive."""
    async with running(tmp_path, 1) as engine:
        asked = [request("say 7"), request("surrogate"), request("say 8", stop=("\ud83d",)), request("say 9")]
        first, back, forth, last = await asyncio.gather(*map(engine.generate, asked), return_exceptions=True)
        assert isinstance(first, Completion) and isinstance(last, Completion)
        for failed in (back, forth):
            assert isinstance(failed, RequestFailed) and failed.reason == "refused" and "surrogate" in failed.detail


async def test_what_is_asked_arrives_whole_and_what_is_answered_comes_back(tmp_path: Path) -> None:
    async with running(tmp_path) as engine:
        assert (engine.context_length, engine.capacity, engine.tells_logprobs) == (64, 8, True)
        assert engine.count_tokens("say 1 2") == 3 and not engine.has_chat_template
        asked = request("say 7 8", choices=("a", "b"), stop=("x",), ends_before=re.compile("^q", re.MULTILINE))
        answer = await engine.generate(asked)
        assert answer.text == "[7, 8] 5 ^q [0] ('x',)"
        assert (answer.prompt_tokens, answer.cached_tokens) == (3, 3)
        assert answer.choice_logprobs == {"a": -0.5, "b": -0.5}
        with pytest.raises(RequestFailed) as refused:
            await engine.generate(request("refuse"))
        assert (refused.value.reason, refused.value.detail) == ("refused", "key of refuse: no")
        with pytest.raises(RequestFailed, match="refused: ValueError"):  # by the driver's own tokenizer
            await engine.generate(request("say nothing"))
        assert await engine.response_logprob([1, 2], [3]) == -12.0
        many = await asyncio.gather(*(engine.generate(request(f"say {n}")) for n in range(200)))
        assert [answer.text.partition("]")[0] for answer in many] == [f"[{n}" for n in range(200)]
        seen = await asyncio.gather(*(engine.generate(request("who")) for _ in range(8)))
        by_replica = {answer.text for answer in seen}
        assert [text.split()[1] for text in sorted(by_replica, key=lambda text: text.split()[1])] == ["gpu0", "gpu1"]
        assert [sum(answer.text == text for answer in seen) for text in by_replica] == [4, 4], "the load is even"
        left = processes_of(tmp_path)
        assert len(left) == 2
    assert not any(map(lives, left)) and len(found(tmp_path, "closed-*")) == 2, "they end in good order"


async def test_requests_travel_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    flush = replica_process.Batches.flush

    def counted(self: replica_process.Batches) -> None:
        sent.append(len(self._outbox))
        flush(self)

    async with running(tmp_path, 1) as engine:
        monkeypatch.setattr(replica_process.Batches, "flush", counted)
        await asyncio.gather(*(engine.generate(request(f"say {n}")) for n in range(64)))
        assert sent == [64]


async def test_a_request_that_is_taken_back_is_aborted_in_its_replica(tmp_path: Path) -> None:
    async with running(tmp_path) as engine:
        asked = asyncio.ensure_future(engine.generate(request("sleep 5")))
        await asyncio.sleep(0.3)
        asked.cancel()
        await until((tmp_path / "withdrawn-5").exists)
        assert (await engine.generate(request("say 1"))).text.startswith("[1]")


async def test_a_replica_that_is_killed_is_replaced_and_the_others_answer_for_it(tmp_path: Path) -> None:
    deaths: list[str] = []
    restarts: list[Restart] = []
    async with running(tmp_path) as engine:
        engine.report_to(lambda cause, delay: deaths.append(cause), restarts.append, lambda: None)
        asked = [asyncio.ensure_future(engine.generate(request("who"))) for n in range(8)]
        await asyncio.sleep(0.1)
        first, second = processes_of(tmp_path)
        second.send_signal(signal.SIGKILL)
        answers = await asyncio.gather(*asked)
        assert {answer.text for answer in answers} == {f"{first.pid} gpu0"}, "nobody waits for the one that starts"
        await until(lambda: restarts)
        assert deaths == [f"replica 1: {restarts[0].cause.partition(': ')[2]}"]
        assert "killed by SIGKILL" in deaths[0] and restarts[0].resent == 4
        assert lives(first), "the other one goes on"
        again = await asyncio.gather(*(engine.generate(request("who")) for _ in range(4)))
        assert len({answer.text for answer in again}) == 2, "the new one answers, on the same GPU"
        assert {answer.text.split()[1] for answer in again} == {"gpu0", "gpu1"}


async def test_an_engine_that_ends_in_a_living_process_is_replaced(tmp_path: Path) -> None:
    restarts: list[Restart] = []
    async with running(tmp_path) as engine:
        engine.report_to(lambda *_: None, restarts.append, lambda: None)
        before = processes_of(tmp_path)
        with pytest.raises(RequestFailed, match="killed_engine"):  # wherever it is asked, and then alone
            await engine.generate(request("break"))
        assert (await engine.generate(request("say 1"))).text.startswith("[1]")
        assert "the engine broke" in restarts[0].cause
        assert not all(map(lives, before))


async def test_a_request_that_kills_fails_alone(tmp_path: Path) -> None:
    async with running(tmp_path, limits={"max_restarts": 5}) as engine:
        prompts = [*(f"say {n}" for n in range(20)), "die"]
        answers = await asyncio.gather(*(engine.generate(request(p)) for p in prompts), return_exceptions=True)
        *others, killer = answers
        assert isinstance(killer, RequestFailed) and killer.reason == "killed_engine"
        assert not [answer for answer in others if isinstance(answer, BaseException)]


async def test_one_that_cannot_start_again_is_taken_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with running(tmp_path, once=True, limits={"max_restarts": 1}) as engine:
        processes_of(tmp_path)[0].send_signal(signal.SIGKILL)
        asked = [asyncio.ensure_future(engine.generate(request("who"))) for n in range(4)]
        assert {answer.text.split()[1] for answer in await asyncio.gather(*asked)} == {"gpu1"}
        await until(lambda: len(found(tmp_path, "started-*")) == 3)
        await until(lambda: sum(lane.engine.is_over for lane in engine._lanes) == 1)
        assert (await engine.generate(request("say 1"))).text.startswith("[1]")
        processes_of(tmp_path)[0].send_signal(signal.SIGKILL)
        with pytest.raises(EngineError, match="it cannot start"):
            await asyncio.gather(*(engine.generate(request("who")) for n in range(4)))


async def test_a_replica_that_hangs_is_replaced(tmp_path: Path) -> None:
    restarts: list[Restart] = []
    async with running(tmp_path, limits={"stall_timeout": 10.0}) as engine:
        engine.report_to(lambda *_: None, restarts.append, lambda: None)
        _, second = processes_of(tmp_path)
        second.send_signal(signal.SIGSTOP)
        answers = await asyncio.gather(*(engine.generate(request("who")) for _ in range(4)))
        assert {answer.text.split()[1] for answer in answers} == {"gpu0"}
        await until(lambda: restarts)
        assert "no progress for 10 s" in restarts[0].cause and not lives(second)


@pytest.mark.parametrize(
    ("fails", "kind", "words"),
    [
        ("configuration", ConfigError, "no such model"),
        ("engine", EngineError, "it cannot start"),
        ("death", EngineError, "killed by SIGKILL"),
    ],
)
async def test_a_start_that_fails_says_why_and_leaves_nothing(
    tmp_path: Path, fails: str, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        async with running(tmp_path, fails=fails):
            pass
    assert not processes_of(tmp_path) and len(found(tmp_path, "started-*")) == 1


async def test_a_start_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    starting = asyncio.ensure_future(running(tmp_path, 3, fails="slow").__aenter__())
    await until(lambda: len(found(tmp_path, "started-*")) == 3)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not processes_of(tmp_path)


async def test_one_may_be_ready_as_its_start_is_cancelled() -> None:
    """The message is read before the task that waited for it goes on."""
    replica = Replica(0)
    waiting = asyncio.ensure_future(asyncio.wait_for(replica._ready, 60))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    replica._receive(replica_process.Ready(64, {}, 4, True))
    assert replica.capacity == 4 and replica._ready.cancelled()


async def test_only_the_first_says_what_all_of_them_say(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with running(tmp_path):
        pass
    said = capfd.readouterr()
    assert said.err.count("it has something to say") == 1 and "start 0" in said.err
    assert said.out.count("what libraries say") == 2, "stdout is where the run's log is read from"


def test_no_replica_outlives_a_driver_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys; from selfinstruct.engines.replicas import Replicas\n"
        "from tests.replica_engine import WordTokenizer\n"
        "async def main():\n"
        f"    await Replicas.start({START!r}, {{'folder': sys.argv[1]}}, [{{}}, {{}}], WordTokenizer())\n"
        "    print('started', flush=True); await asyncio.sleep(3600)\n"
        "asyncio.run(main())"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as driver:
        assert driver.stdout is not None
        while (line := driver.stdout.readline()) != "started\n":
            assert line, "it has ended"
        left = processes_of(tmp_path)
        driver.kill()
    assert len(left) == 2
    end = time.monotonic() + 30
    while any(map(lives, left)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(lives, left))


async def test_the_supervision_of_a_run_knows_all_processes_and_all_restarts(tmp_path: Path) -> None:
    seen: list[set[int]] = []
    restarts: list[Restart] = []

    async def start() -> Any:
        limits: dict[str, Any] = {"max_restarts": 2, "first_delay": 0.0}
        return await Replicas.start(START, {"folder": str(tmp_path)}, [{}, {}], WordTokenizer(), **limits)

    engine = await SupervisedEngine(
        start,
        max_restarts=2,
        stall_timeout=1.0,
        request_timeout=600,
        first_delay=0,
        on_restart=restarts.append,
        on_processes=lambda engine_processes: seen.append({process.pid for process in engine_processes}),
    ).launch()
    asked = asyncio.ensure_future(engine.generate(request("sleep 1")))
    await asyncio.sleep(2.5)  # Longer than the timeout: its replica, with another one, is not hanging.
    first, second = processes_of(tmp_path)
    assert seen[-1] == {first.pid, second.pid}
    second.send_signal(signal.SIGKILL)
    await asyncio.gather(*(engine.generate(request("say 1")) for _ in range(4)))
    await until(lambda: restarts)
    assert "replica 1" in restarts[0].cause and lives(first)
    assert seen[-1] == {process.pid for process in processes_of(tmp_path)} and second.pid not in seen[-1]
    asked.cancel()
    began = time.monotonic()
    await engine.close()
    assert time.monotonic() - began < 10 and not processes_of(tmp_path) and seen[-1] == set()


@pytest.mark.parametrize(
    ("given", "number", "experts"),
    [
        ({}, 4, 8),
        ({"tensor_parallel_size": 4}, 2, 2),
        ({"tensor_parallel_size": 8}, 1, 1),
        ({"data_parallel_size": 4, "tensor_parallel_size": 2}, 4, 1),
        ({"data_parallel_size": 4, "data_parallel_backend": "ray"}, 1, 1),
        ({"enable_expert_parallel": True}, 1, 1),
        ({"data_parallel_size": 9}, 1, 1),
    ],
)
def test_which_replicas_are_processes_of_ours(
    given: dict[str, Any], number: int, experts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    mixture = dataclasses.replace(GPT_OSS_120B, experts=128)
    assert own_replicas(mixture, given, 8, 141 * GIB) == experts
    assert own_replicas(LLAMA_70B, given, 8, 141 * GIB) == number
    arguments, environments = placed(LLAMA_70B, given, EIGHT)
    assert len(environments) == number
    if number == 1:
        assert (arguments, environments) == (given, [{}])
        return
    each = 8 // number
    assert environments[1]["CUDA_VISIBLE_DEVICES"] == ",".join(map(str, range(each, 2 * each)))
    one = dataclasses.replace(EIGHT, gpus=EIGHT.gpus[:each])
    made = engine_arguments(LLAMA_70B, arguments, one)
    assert (made["tensor_parallel_size"], made["data_parallel_size"]) == (each, 1)


def test_replicas_on_a_cpu_are_those_that_are_asked_for_and_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_replicas(LLAMA_70B, {}, 0, 0) == 1
    asked, cpu = {"data_parallel_size": 2, "seed": 3}, Hardware((), GIB, GIB)
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(9)))
    shared = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "4"}
    assert placed(LLAMA_70B, asked, cpu) == ({"seed": 3}, [shared, shared])
    monkeypatch.setattr(os, "environ", {"VLLM_CPU_OMP_THREADS_BIND": "0-7"})
    assert placed(LLAMA_70B, asked, cpu) == ({"seed": 3}, [{}, {}])


def test_each_replica_sees_its_gpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    assert for_each_replica(EIGHT.gpus[:4], 2, 2) == [
        {"CUDA_VISIBLE_DEVICES": "0,1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
        {"CUDA_VISIBLE_DEVICES": "2,3", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
    ]
    monkeypatch.setattr(os, "environ", {"CUDA_VISIBLE_DEVICES": "GPU-a, 5,7"})
    assert for_each_replica(EIGHT.gpus[:3], 3, 1) == [{"CUDA_VISIBLE_DEVICES": n} for n in ("GPU-a", "5", "7")]
