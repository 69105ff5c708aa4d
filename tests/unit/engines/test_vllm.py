"""What `VLLMEngine` makes of vLLM's answers and errors; vLLM itself is played by a few lines here."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import operator
import os
import sys
import sysconfig
import tempfile
import threading
import types
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from selfinstruct import environment
from selfinstruct.config.section import Sampling
from selfinstruct.engines import startup, usable_gpus, vllm
from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.engines.choices import Choices
from selfinstruct.engines.endings import ending
from selfinstruct.engines.replicas import Replicas
from selfinstruct.engines.vllm import VLLMEngine, prepare_environment
from selfinstruct.errors import EngineError
from selfinstruct.generation.frame import load_frame
from selfinstruct.generation.prompts import next_task
from selfinstruct.hardware import Gpu, Hardware
from selfinstruct.records import Sample

DeadError = type("EngineDeadError", (Exception,), {})
GenerateError = type("EngineGenerateError", (Exception,), {})
ValidationError = type("VLLMValidationError", (Exception,), {})  # of vLLM 0.32; a ValueError in 0.22


@pytest.fixture(autouse=True)
def played_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    def module(name: str, **members: Any) -> None:
        made = types.ModuleType(name)
        made.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, made)

    anything = types.SimpleNamespace
    module("vllm", SamplingParams=anything)
    module("vllm.sampling_params", RequestOutputKind=anything(DELTA=1, FINAL_ONLY=2))
    module("vllm.lora", __path__=[])
    module("vllm.lora.request", LoRARequest=anything)
    module("vllm.v1", __path__=[])
    module("vllm.v1.engine", __path__=[])
    module("vllm.v1.engine.exceptions", EngineDeadError=DeadError, EngineGenerateError=GenerateError)


class PlayedLLM:
    """Answers every request with `outcome`, or raises it."""

    def __init__(self, outcome: Any, *, errored: bool = False, exitcodes: tuple[int | None, ...] = ()) -> None:
        self.outcome = outcome
        self.errored = errored
        processes = [types.SimpleNamespace(exitcode=code) for code in exitcodes]
        manager = types.SimpleNamespace(processes=processes)
        self.engine_core = types.SimpleNamespace(resources=types.SimpleNamespace(engine_manager=manager))
        self.shutdowns = 0

    async def generate(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        yield self.outcome

    def shutdown(self, timeout: float | None = None) -> None:
        assert timeout == 1.0  # vLLM's own is 5 s, and its processes often use all of it.
        self.shutdowns += 1


def finished(reason: str) -> Any:
    return types.SimpleNamespace(
        outputs=[types.SimpleNamespace(index=0, text="text", finish_reason=reason, token_ids=[1, 2], logprobs=None)],
        prompt_logprobs=None,
        num_cached_tokens=3,
    )


class PlayedTokenizer:
    chat_template = None
    eos_token_id = 0
    all_special_ids: tuple[int, ...] = ()
    added_tokens_decoder: dict[int, Any] = {}  # noqa: RUF012 - transformers' own form

    def __call__(self, text: str, add_special_tokens: bool) -> Any:
        return types.SimpleNamespace(input_ids=[0] * len(text.split()))


def make(llm: PlayedLLM) -> VLLMEngine:
    return VLLMEngine(llm, PlayedTokenizer(), 100, {}, release=lambda: None, last_words=startup.LastWords())


ASKED = Request("proposal/0", "a prompt", Sampling(max_tokens=5))


async def test_an_answer_is_an_answer() -> None:
    answer = await make(PlayedLLM(finished("stop"))).generate(ASKED)
    assert (answer.text, answer.completion_tokens, answer.cached_tokens) == ("text", 2, 3)


class WritingLLM(PlayedLLM):
    """Writes an answer in parts of 64 tokens, or as a whole where the parameters ask for that."""

    def __init__(self, parts: list[str]) -> None:
        super().__init__(None)
        self.parts, self.written, self.aborted = parts, 0, False

    async def generate(self, prompt: Any, parameters: Any, *_: Any, **__: Any) -> AsyncIterator[Any]:
        whole = parameters.output_kind == 2
        try:
            for text in ["".join(self.parts)] if whole else self.parts:
                self.written += 1
                last = whole or self.written == len(self.parts)
                ended = "length" if last else None
                answer = types.SimpleNamespace(index=0, text=text, token_ids=[1] * 64, finish_reason=ended)
                yield types.SimpleNamespace(outputs=[answer], prompt_logprobs=None, num_cached_tokens=None)
        except GeneratorExit:
            self.aborted = True
            raise


LOOP = "It is what it is, as they say. "
WATCHED = Request("proposal/0", "a prompt", Sampling(max_tokens=5), stop_loops=True)


async def test_an_answer_that_only_repeats_itself_is_ended_early() -> None:
    llm = WritingLLM(["A beginning. ", *[LOOP * 7] * 9])
    answer = await make(llm).generate(WATCHED)
    assert (answer.finish_reason, answer.completion_tokens) == ("repetition", 3 * 64)
    assert answer.text == "A beginning. " + LOOP * 14
    assert llm.written == 3 and llm.aborted, "vLLM does not write the rest"


async def test_an_answer_that_goes_on_is_whole() -> None:
    parts = [
        f"Sentence {k} says that {k * k} is the square of {k}, and so on to the end of line {k}. " for k in range(9)
    ]
    llm = WritingLLM(parts)
    answer = await make(llm).generate(WATCHED)
    assert (answer.text, answer.finish_reason, answer.completion_tokens) == ("".join(parts), "length", 9 * 64)


class SamplingLLM(PlayedLLM):
    """Writes three answers side by side; the second one only repeats itself."""

    def __init__(self) -> None:
        super().__init__(None)
        self.wanted: Any = None

    async def generate(self, prompt: Any, parameters: Any, *_: Any, **__: Any) -> AsyncIterator[Any]:
        self.wanted = parameters
        for index, text, ended in [
            (2, "The third", None),
            (1, LOOP * 14, None),
            (0, "The first.", "stop"),
            (1, LOOP, "length"),
            (2, " one", "length"),
        ]:
            part = types.SimpleNamespace(index=index, text=text, token_ids=[1] * 4, finish_reason=ended)
            yield types.SimpleNamespace(outputs=[part], prompt_logprobs=None, num_cached_tokens=None)


async def test_several_answers_come_in_their_order_whoever_ends_first() -> None:
    llm = SamplingLLM()
    sampling = Sampling(max_tokens=5, temperature=0.7)
    answer = await make(llm).generate(Request("answer/1", "a prompt", sampling, stop_loops=True, samples=3))
    assert llm.wanted.n == 3
    assert answer.samples == (
        Sample("The first.", "stop"),
        Sample(LOOP * 14, "repetition"),
        Sample("The third one", "length"),
    )
    assert (answer.prompt_tokens, answer.completion_tokens) == (2, 4 + 4 + 8)


async def test_an_answer_ends_where_another_task_begins_and_not_at_a_line_like_one() -> None:
    """The stop string of another task would be ordinary text: an output may hold a line `Task:` after a blank line."""
    answer = "Example 1\nOutput: Dear Sam,\n\nTask: Book a van.\nDue: Friday.\n\nAnn"
    llm = WritingLLM(list(f"{answer}\n\nTask: Name a river.\nExample 1\nOutput: the Nile") + ["and so on"] * 9)
    asked = dataclasses.replace(ASKED, ends_before=next_task(load_frame()))
    completion = await make(llm).generate(asked)
    assert (completion.text, completion.finish_reason) == (answer, "stop")
    assert llm.aborted and llm.written < len(llm.parts) - 9
    whole = ending(asked, "", f"{answer}\n\nTask: Name a river.\nExample 1\n" + "x" * 9_000, "length")
    assert whole == (answer, "stop"), "a whole answer is searched from its beginning"


async def test_loops_are_left_alone_where_nobody_asks_to_end_them() -> None:
    llm = WritingLLM(["A beginning. ", *[LOOP * 7] * 9])
    answer = await make(llm).generate(ASKED)
    assert answer.finish_reason == "length" and len(answer.text) > 9 * 7 * len(LOOP)


async def test_an_abort_that_nobody_asked_for_is_the_end_of_the_engine() -> None:
    """A core that is asked to end (Ctrl-C reaches it too) aborts what it has; no request has failed by that."""
    with pytest.raises(EngineError, match="asked to end"):
        await make(PlayedLLM(finished("abort"))).generate(ASKED)


async def test_a_death_says_how_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(EngineError, match="killed by SIGKILL"):
        await make(PlayedLLM(DeadError("see above"), exitcodes=(None, -9))).generate(ASKED)
    engine = make(PlayedLLM(DeadError("see above"), exitcodes=(1,)))
    with open(engine._last_words._file.name, "a") as log:  # noqa: ASYNC230, PTH123 - as the engine's process does
        log.write("fatal\nTraceback\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n")
    with pytest.raises(EngineError, match=r"torch\.OutOfMemoryError.*2 GiB; its log is .*\n.*--gpu-memory-utilization"):
        await engine.generate(ASKED)


@pytest.mark.parametrize("error", [GenerateError(), ValueError("bad"), ValidationError("bad"), RuntimeError("bad")])
async def test_an_error_fails_the_request_unless_the_engine_is_dead(error: Exception) -> None:
    with pytest.raises(RequestFailed, match="refused"):
        await make(PlayedLLM(error)).generate(ASKED)
    with pytest.raises(EngineError, match="died"):
        await make(PlayedLLM(error, errored=True)).generate(ASKED)


async def test_sampling_that_vllm_refuses_fails_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise ValidationError("top_k is too large")

    monkeypatch.setattr("vllm.SamplingParams", refuse)
    engine = make(PlayedLLM(finished("stop")))
    with pytest.raises(RequestFailed, match="VLLMValidationError: top_k is too large"):
        await engine.generate(ASKED)
    with pytest.raises(RequestFailed, match="top_k is too large"):
        await engine.response_logprob([1], [2])


async def test_an_error_that_vllm_hides_is_named() -> None:
    error = GenerateError()
    error.__cause__ = KeyError("no such adapter")
    with pytest.raises(RequestFailed, match="KeyError: 'no such adapter'"):
        await make(PlayedLLM(error)).generate(ASKED)


async def test_choices_are_a_bias_and_an_allowance_where_vllm_refuses_the_bias() -> None:
    llm = PlayedLLM(finished("length"))
    engine = make(llm)
    asked = dataclasses.replace(ASKED, choices=("Yes", "No"))
    choices, ends = Choices({7: "Yes", 5: "No"}, []), engine.ends(asked.prompt)
    assert engine._sampling(asked, choices, ends)["logit_bias"] == {5: 100.0, 7: 100.0}
    engine._known_choices[("Yes", "No")] = Choices({1: "Yes", 3: "No"}, [])
    assert (await engine.generate(asked)).text == "Yes"  # the played answer begins with token 1
    engine._known_choices[("Yes", "No")] = Choices({2: "Yes", 3: "No"}, [])
    with pytest.raises(RequestFailed, match="no_choice"):
        await engine.generate(asked)
    llm.vllm_config = types.SimpleNamespace(speculative_config=object())  # type: ignore[attr-defined]
    assert make(llm)._sampling(asked, Choices({7: "Yes", 5: "No"}, []), ends)["allowed_token_ids"] == [5, 7]


def test_every_end_token_and_end_string_is_a_stop_of_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make(PlayedLLM(finished("stop")))
    monkeypatch.setattr(engine, "ends", lambda prompt: (frozenset({9, 2}), ("<|im_end|>",)))
    sampling = engine._sampling(dataclasses.replace(ASKED, stop=("\nTask 17",)), None, engine.ends(ASKED.prompt))
    assert sampling["stop_token_ids"] == [2, 9]
    assert sampling["stop"] == ["\nTask 17", "<|im_end|>"]


def test_a_seed_goes_to_gpus_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """On a CPU vLLM 0.32 dies of a seeded request whose prompt it computes in parts."""
    llm = PlayedLLM(finished("stop"))
    asked = dataclasses.replace(ASKED, sampling=Sampling(sampling_seed=True))
    for device, seeded in (("cuda", True), ("cpu", False)):
        llm.vllm_config = types.SimpleNamespace(  # type: ignore[attr-defined]
            device_config=types.SimpleNamespace(device_type=device)
        )
        assert (make(llm)._sampling(asked, None, (frozenset(), ()))["seed"] is not None) == seeded
    assert "vLLM on a CPU dies of seeds" in capsys.readouterr().err


async def test_a_choice_brings_the_log_probabilities_of_all_choices() -> None:
    outcome = finished("length")
    outcome.outputs[0].logprobs = [{token: types.SimpleNamespace(logprob=-float(token)) for token in (1, 3)}]
    engine = make(PlayedLLM(outcome))
    asked = dataclasses.replace(ASKED, choices=("Yes", "No"))
    engine._known_choices[("Yes", "No")] = Choices({1: "Yes", 3: "No"}, [8, 9])
    answer = await engine.generate(asked)
    assert answer.choice_logprobs == {"Yes": -1.0, "No": -3.0}
    assert answer.prompt_tokens == len(engine.encode(ASKED.prompt)) + 2, "the shared tokens are in the prompt"
    assert (await engine.generate(ASKED)).choice_logprobs is None


async def test_progress_counts_tokens_of_requests_under_way() -> None:
    llm = PlayedLLM(finished("stop"))
    engine = make(llm)
    assert engine.progress() == 0
    states = [types.SimpleNamespace(detokenizer=types.SimpleNamespace(num_output_tokens=lambda: 7)) for _ in range(2)]
    states.append(types.SimpleNamespace(detokenizer=None))
    llm.output_processor = types.SimpleNamespace(request_states=dict(enumerate(states)))  # type: ignore[attr-defined]
    assert engine.progress() == 14


async def test_closing_twice_is_harmless() -> None:
    llm = PlayedLLM(finished("stop"))
    engine = make(llm)
    await engine.close()
    await engine.close()
    assert llm.shutdowns == 1 and engine.progress() == 0


# ------------------------------------------------------------------------------------------------------- a GPU is dead


@pytest.mark.parametrize(("code", "kept"), [(1, True), (None, True), (-9, True), (-2, False), (-15, False), (0, False)])
async def test_the_log_of_a_dead_engine_stays_and_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None, kept: bool
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    engine = make(PlayedLLM(RuntimeError("gone"), errored=True, exitcodes=(code,)))
    log = Path(os.environ[environment.LAST_WORDS])
    log.write_text("torch.AcceleratorError: an illegal address\n")  # noqa: ASYNC240 - as the engine's process does
    said = []
    for _ in range(3):  # Every request in flight learns of it.
        with pytest.raises(EngineError) as caught:
            await engine.generate(Request("k", "p", Sampling(max_tokens=5)))
        said.append(str(caught.value))
    await engine.close()
    left = list(tmp_path.glob("selfinstruct-failed-engine-*.log"))  # noqa: ASYNC240
    assert len(set(said)) == 1 and "torch.AcceleratorError: an illegal address" in said[0]
    assert len(left) == kept and ("; its log is " in said[0]) == kept
    for path in left:
        assert str(path) in said[0] and "illegal address" in path.read_text()


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Four GPUs, of which the third has failed: an engine that uses it does not start. Returns the starts."""
    attempts: list[dict[str, Any]] = []
    anything = types.SimpleNamespace
    model = anything(max_model_len=100, try_get_generation_config=dict)
    config = anything(
        scheduler_config=anything(max_num_seqs=8),
        parallel_config=anything(data_parallel_size=3),
        speculative_config=None,
    )

    def start(model_name: str, revision: str | None, arguments: dict[str, Any], enough: int) -> PlayedLLM:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0,1,2,3")
        attempts.append({"gpus": visible, **arguments})
        if "2" in visible.split(","):
            raise RuntimeError("CUDA error: unspecified launch failure")
        llm = PlayedLLM(finished("stop"))
        llm.vllm_config = config  # type: ignore[attr-defined]
        llm.model_config, llm.get_tokenizer = model, PlayedTokenizer  # type: ignore[attr-defined]
        llm.vllm_config = types.SimpleNamespace(  # type: ignore[attr-defined]
            scheduler_config=types.SimpleNamespace(max_num_seqs=1024),
            parallel_config=types.SimpleNamespace(data_parallel_size=len(visible.split(","))),
        )
        return llm

    monkeypatch.setattr(os, "environ", {"PATH": ""})
    monkeypatch.setattr(vllm, "_start_llm", start)
    monkeypatch.setattr(vllm, "_placed", lambda model, revision, given: (given, [{}]))  # In this process.
    machine = Hardware(tuple(Gpu("GPU", 80 << 30, 80 << 30, index=str(n)) for n in range(4)), 1 << 40, 1 << 40)
    monkeypatch.setattr(vllm, "_hardware", lambda: machine)
    monkeypatch.setattr(usable_gpus, "try_each", lambda names, share: [name for name in names if name != "2"])
    return attempts


async def test_an_engine_goes_on_without_a_dead_gpu(starts: list[dict[str, Any]]) -> None:
    engine = await VLLMEngine.start("demo", arguments={"data_parallel_size": 4, "seed": 1})
    assert engine.capacity == 3 * 1024
    await engine.close()
    assert starts == [{"gpus": "0,1,2,3", "data_parallel_size": 4, "seed": 1}, {"gpus": "0,1,3", "seed": 1}]
    await (await VLLMEngine.start("demo")).close()
    assert starts[2:] == [{"gpus": "0,1,3"}], "it is dead for good"


async def test_a_start_that_fails_with_all_gpus_alive_is_an_error(
    starts: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usable_gpus, "try_each", lambda names, share: names)
    with pytest.raises(EngineError, match="unspecified launch failure"):
        await VLLMEngine.start("demo")
    assert len(starts) == 1


async def test_several_gpus_get_a_replica_each_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    async def start(
        function: str, options: dict[str, Any], environments: list[Any], tokenizer: Any, **limits: Any
    ) -> str:
        module, _, name = function.partition(":")
        assert operator.attrgetter(name)(sys.modules[module]) == VLLMEngine.load
        asked.append((options, environments, limits))
        return "replicas"

    monkeypatch.setattr(os, "environ", {"PATH": ""})
    monkeypatch.setattr(Replicas, "start", start)
    machine = Hardware(tuple(Gpu("GPU", 80 << 30, 80 << 30, index=str(n)) for n in range(2)), 1 << 40, 1 << 40)
    monkeypatch.setattr(vllm, "_hardware", lambda: machine)
    assert await VLLMEngine.start("demo", arguments={"seed": 1}, max_restarts=3, stall_timeout=7.0) == "replicas"
    [(options, environments, limits)] = asked
    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments] == ["0", "1"]
    assert options["arguments"] == {"seed": 1, "tensor_parallel_size": 1, "pipeline_parallel_size": 1}
    assert limits == {"max_restarts": 3, "stall_timeout": 7.0}
    inspect.signature(VLLMEngine.load).bind(**options)


# ------------------------------------------------------------------------------------------------------ the environment


async def test_a_model_is_fetched_before_anything_of_the_engine_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(*name: Any) -> str:
        asked.append(name)
        assert threading.current_thread() is threading.main_thread(), "elsewhere no signal ends a download"
        raise EngineError("not fetched")

    monkeypatch.setattr(vllm, "fetch_model", fetch)
    monkeypatch.setattr(vllm, "_placed", lambda *_: pytest.fail("the engine was looked at"))
    with pytest.raises(EngineError, match="not fetched"):
        await VLLMEngine._start_once("owner/model", "v1", {})
    assert asked == [("owner/model", "v1")]


def test_flashinfers_sampler_is_off_unless_the_user_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It compiles when the engine warms up, and ends it on a machine without nvcc or ninja."""
    monkeypatch.setattr(os, "environ", {"PATH": "/usr/bin"})
    prepare_environment()
    assert os.environ["VLLM_USE_FLASHINFER_SAMPLER"] == "0"
    monkeypatch.setattr(os, "environ", {"PATH": "/usr/bin", "VLLM_USE_FLASHINFER_SAMPLER": "1"})
    prepare_environment()
    assert os.environ["VLLM_USE_FLASHINFER_SAMPLER"] == "1"


@pytest.mark.parametrize(("cores", "reserved"), [(1, "0"), (2, "0"), (3, None), (64, None)])
def test_a_small_cpu_computes_with_all_its_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, reserved: str | None
) -> None:
    """vLLM keeps one core for its scheduler, which is half of two."""
    monkeypatch.setattr(os, "environ", {"PATH": "/usr/bin"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    prepare_environment()
    assert os.environ.get("VLLM_CPU_NUM_OF_RESERVED_CPU") == reserved
    monkeypatch.setattr(os, "environ", {"PATH": "/usr/bin", "VLLM_CPU_NUM_OF_RESERVED_CPU": "1"})
    prepare_environment()
    assert os.environ["VLLM_CPU_NUM_OF_RESERVED_CPU"] == "1"


@pytest.mark.parametrize(("path", "expected"), [("/usr/bin", "/usr/bin:{}"), ("{}:/bin", "{}:/bin"), (None, "{}")])
def test_programs_of_the_environment_are_found(monkeypatch: pytest.MonkeyPatch, path: str, expected: str) -> None:
    own = sysconfig.get_path("scripts")
    monkeypatch.setattr(os, "environ", {"PATH": path.format(own)} if path else {})
    prepare_environment()
    prepare_environment()
    assert os.environ["PATH"] == expected.format(own)


# ----------------------------------------------------------------------------------------------- the thread that starts


async def test_the_thread_that_starts_an_engine_lasts_until_released() -> None:
    made: list[threading.Thread] = []

    def make_it() -> str:
        made.append(threading.current_thread())
        return "engine"

    value, release = await startup.in_lasting_thread(make_it, lambda unwanted: pytest.fail("it is wanted"))
    assert value == "engine" and made[0] is not threading.main_thread() and made[0].is_alive()
    release()
    assert not made[0].is_alive()


async def test_the_error_of_a_start_is_raised_and_its_thread_ends() -> None:
    def fail() -> None:
        raise KeyError("why")

    before = threading.active_count()
    with pytest.raises(KeyError, match="why"):
        await startup.in_lasting_thread(fail, lambda unwanted: None)
    for _ in range(1000):
        if threading.active_count() <= before:
            break
        await asyncio.sleep(0.01)
    assert threading.active_count() <= before


async def test_an_engine_that_comes_after_its_start_was_cancelled_is_discarded() -> None:
    go, discarded = threading.Event(), asyncio.Event()

    def slow() -> str:
        go.wait(30)
        return "engine"

    call = asyncio.ensure_future(startup.in_lasting_thread(slow, lambda unwanted: discarded.set()))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    go.set()
    await asyncio.wait_for(discarded.wait(), 30)
