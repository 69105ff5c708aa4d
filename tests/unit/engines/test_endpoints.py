"""Generation over endpoints that fail in every way: each request has one outcome, and the journal is the same."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfinstruct.cli import cli
from selfinstruct.config.schema import Config
from selfinstruct.config.section import Sampling
from selfinstruct.engines import congestion, endpoints, openai_client
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.engines.endpoints import Endpoints
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import ConfigError, EngineError
from selfinstruct.generation.generate import generate
from selfinstruct.records import Completion, OpenTurn
from tests.conftest import journal_lines, run_scripted, script
from tests.faults.same import assert_same
from tests.faulty_server import CONTEXT, MODEL, FaultyServer, now_and_then, servers

pytestmark = pytest.mark.whole

KEY = "sk-CanaryThatNobodyMaySee"
FAULTS = ("reset", "stall", "half", "busy", "unavailable", "malformed", "error", "unfinished")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test wait for long, and read no certificates: no server here has one."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **__: None)
    rest = congestion.rest_s
    monkeypatch.setattr(endpoints, "rest_s", lambda failures, *more: rest(failures, *more) / 50)


def echo(request: Request) -> Completion:
    """Answer with the end of the prompt."""
    text = request.prompt if isinstance(request.prompt, str) else request.prompt[-1]["content"]
    return Completion(f" {text[-20:]}", "stop", len(text), 3)


async def connected(*several: FaultyServer, timeout_s: float = 30.0, **options: Any) -> Endpoints:
    given = {"context_length": None, "enough": 4096, "sample": "Some words to count."} | options
    return await Endpoints.connect([server.url for server in several], [MODEL], timeout_s=timeout_s, **given)


async def answers(engine: Endpoints, number: int, sampling: Sampling | None = None) -> list[str]:
    """Ask a number of different questions at once; return the answers, and the errors of single requests."""

    async def one(k: int) -> str:
        try:
            return (await engine.generate(Request(f"k{k}", f"Question {k}", sampling or Sampling()))).text
        except RequestFailed as failure:
            return str(failure)

    try:
        return await asyncio.gather(*map(one, range(number)))
    finally:
        await engine.close()


def starts(*several: FaultyServer, **options: Any) -> Callable[[], Any]:
    async def start() -> Engine:
        return await connected(*several, **options)

    return start


def expected(number: int) -> list[str]:
    return [f" Question {k}" for k in range(number)]


# ------------------------------------------------------------------------------------------ the whole pipeline


def test_a_run_has_the_journal_of_any_other_engine(make_config: Any, tmp_path: Path) -> None:
    here = make_config(output_dir=str(tmp_path / "here"), num_instructions=12)
    run_scripted(here, ScriptedEngine(script, context_length=CONTEXT))
    there = make_config(output_dir=str(tmp_path / "there"), num_instructions=12)
    with servers(FaultyServer(script)) as (server,):
        generate(there, starts(server))
    assert_same(there, here)


def test_faults_change_no_line(make_config: Any, tmp_path: Path) -> None:
    """On each of two servers requests go wrong, in every way: nothing is lost, and nothing counted twice."""
    here = make_config(output_dir=str(tmp_path / "here"), num_instructions=8)
    run_scripted(here, ScriptedEngine(script, context_length=CONTEXT))
    for fault in FAULTS:
        there = make_config(output_dir=str(tmp_path / fault), num_instructions=8)
        both = [FaultyServer(script, now_and_then(fault, share=0.25, seed=k, most=3)) for k in range(2)]
        with servers(*both):
            generate(there, starts(*both, timeout_s=1.0 if fault == "stall" else 30.0, patience_s=60.0))
        assert both[0].asked[fault] + both[1].asked[fault] > 0, fault
        assert_same(there, here)


def test_all_faults_at_once_and_a_stop_in_between(make_config: Any, tmp_path: Path) -> None:
    here = make_config(output_dir=str(tmp_path / "here"), num_instructions=12)
    run_scripted(here, ScriptedEngine(script, context_length=CONTEXT))
    there = make_config(output_dir=str(tmp_path / "there"), num_instructions=12)
    both = [FaultyServer(script, now_and_then(*FAULTS, share=0.3, seed=k, most=20)) for k in range(2)]
    with servers(*both):
        few = there.model_copy(update={"limits": there.limits.model_copy(update={"max_requests": 15})})
        for config in (few, there):
            try:
                generate(config, starts(*both, timeout_s=1.0, patience_s=60.0))
            except Exception as error:  # noqa: BLE001 - stopped at its budget
                assert config is few, error
    lines = [line for line in journal_lines(Path(there.output_dir)) if line["kind"] != "control"]
    ours, theirs = (
        [line for line in journal_lines(Path(str(config.output_dir))) if line["kind"] == "proposal"]
        for config in (there, here)
    )
    assert ours == theirs
    keys = Counter((line["kind"], line.get("n", line.get("id"))) for line in lines)
    assert set(keys.values()) == {1}


def test_a_request_that_no_server_can_answer_fails_alone(make_config: Any) -> None:
    with servers(FaultyServer(script, lambda body: "error" if "Classification:" in body["prompt"] else None)) as (one,):
        config: Config = make_config(num_instructions=6)
        state = generate(config, starts(one))
    assert len(state.pool) == 6 and {reason for _, reason in state.failures} == {"endpoint_failed"}
    assert state.complete


# --------------------------------------------------------------------------------------------------- endpoints


async def test_requests_of_an_endpoint_that_dies_go_to_the_others_until_it_is_back() -> None:
    with servers(FaultyServer(echo), FaultyServer(echo)) as (one, two):
        engine = await connected(one, two)
        one.die()
        try:
            found = await asyncio.gather(*(_ask(engine, k) for k in range(20)))
            assert found == expected(20)
            assert len(two.bodies) >= 20
            one.listen()
            before = len(one.bodies)
            while len(one.bodies) < before + 5:  # It is asked again, and then gets its share.
                assert await _ask(engine, 0) == " Question 0"
        finally:
            await engine.close()


async def _ask(engine: Endpoints, k: int) -> str:
    return (await engine.generate(Request(f"k{k}", f"Question {k}", Sampling()))).text


async def test_many_answers_that_break_off_at_once_are_one_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """One of several replicas behind the endpoint has died; the others answer what is asked again."""
    broken: set[str] = set()

    def breaks_the_first_time(body: dict[str, Any]) -> str | None:
        first = body["prompt"] not in broken
        broken.add(body["prompt"])
        return "half" if first else None

    with servers(FaultyServer(echo, breaks_the_first_time)) as (one,):
        engine = await connected(one)
        assert await answers(engine, 32) == expected(32)
    assert one.asked["half"] == 32
    assert engine._endpoints[0].window.size >= 32
    assert "tried again" not in "".join(capsys.readouterr())


async def test_one_that_is_away_at_first_is_taken_in_later() -> None:
    with servers(FaultyServer(echo), FaultyServer(echo)) as (one, two):
        one.die()
        engine = await connected(one, two)
        assert "1 not answering" in engine.summary()
        one.listen()
        try:
            while not one.bodies:
                assert await _ask(engine, 0) == " Question 0"
        finally:
            await engine.close()


async def test_an_outage_of_all_is_waited_for() -> None:
    with servers(FaultyServer(echo)) as (one,):
        engine = await connected(one)
        one.die()
        threading.Timer(0.5, one.listen).start()
        assert await answers(engine, 20) == expected(20)


async def test_an_outage_without_end_is_the_end_of_the_engine() -> None:
    with servers(FaultyServer(echo)) as (one,):
        engine = await connected(one, patience_s=0.2)
        one.die()
        with pytest.raises(EngineError, match=r"no endpoint has answered for 0\.2 s; .* cannot be reached"):
            await answers(engine, 20)
        one.listen()


async def test_a_server_that_is_always_busy_is_the_end_of_the_engine() -> None:
    with servers(FaultyServer(echo, lambda body: "busy")) as (one,):
        engine = await connected(one, patience_s=0.2)
        with pytest.raises(EngineError, match="429"):
            await answers(engine, 20)


async def test_a_server_that_hangs_is_taken_out() -> None:
    with servers(FaultyServer(echo, lambda body: "stall"), FaultyServer(echo)) as (one, two):
        engine = await connected(one, two, timeout_s=1.0, patience_s=60.0)
        assert await answers(engine, 12) == expected(12)
        assert one.asked["stall"] < 12


async def test_it_finds_how_much_a_server_takes_at_once() -> None:
    """A server that answers 429 past eight at once gets fewer, and all are answered.

    The client counts what is open: the first 32 requests are open before the server sees one, however slow it all is.
    """
    engines: list[Endpoints] = []
    with servers(FaultyServer(echo, lambda body: "busy" if engines[0]._endpoints[0].in_flight > 8 else None)) as (one,):
        engines.append(await connected(one))
        assert await answers(engines[0], 80) == expected(80)
        assert one.asked["busy"] > 0
        assert engines[0]._endpoints[0].window.size < 32


async def test_a_cancelled_request_gives_its_place_back() -> None:
    with servers(FaultyServer(echo, lambda body: "stall" if "Question 1" in body["prompt"] else None)) as (one,):
        engine = await connected(one)
        tasks = [asyncio.ensure_future(engine.generate(Request("k", "Question 1", Sampling()))) for _ in range(40)]
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert engine._endpoints[0].in_flight == 0
        assert await _ask(engine, 2) == " Question 2"
        await engine.close()


# ------------------------------------------------------------------------------------------------- what is sent


async def test_vllm_gets_every_option_and_others_only_those_that_change_something() -> None:
    sampling = Sampling(temperature=0.7, min_p=0.05, sampling_seed=True)
    for context, kept in ((512, {"top_k", "repetition_penalty", "min_p"}), (None, {"min_p"})):
        with servers(FaultyServer(echo, context=context)) as (one,):
            await answers(await connected(one), 1, sampling)
            body = one.bodies[-1]
            assert {"top_k", "repetition_penalty", "min_p"} & set(body) == kept
            assert body["temperature"] == 0.7 and body["max_tokens"] == 512 and isinstance(body["seed"], int)


async def test_an_option_that_a_server_does_not_know_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    sampling = Sampling(temperature=0.7, min_p=0.05, top_k=7)
    with servers(FaultyServer(echo, context=None, refused=("min_p", "top_k"))) as (one,):
        assert await answers(await connected(one), 1, sampling) == expected(1)
        assert not {"min_p", "top_k"} & set(one.bodies[-1])
    assert "does not know the option min_p" in " ".join(capsys.readouterr().err.split())


async def test_chats_rename_the_limit_where_they_must() -> None:
    with servers(FaultyServer(echo, chat=True, context=None, refused=("max_tokens",))) as (one,):
        engine = await connected(one)
        message = [{"role": "user", "content": "Question 1"}]
        assert (await engine.generate(Request("k", message, Sampling()))).text == " Question 1"
        assert one.bodies[-1]["max_completion_tokens"] == 512
        await engine.close()


async def test_the_answer_ends_before_each_stop_string() -> None:
    """Whether the server knows it or not; a server of OpenAI's interface takes four."""
    stops = tuple(f"[{k}]" for k in range(6))
    for context, sent in ((None, 4), (4096, 6)):
        with servers(FaultyServer(lambda _: Completion("One[5]two[0]", "length", 1, 1), context=context)) as (one,):
            engine = await connected(one)
            answer = await engine.generate(Request("k", "?", Sampling(), stops))
            await engine.close()
        assert (answer.text, answer.finish_reason) == ("One", "stop") and len(one.bodies[-1]["stop"]) == sent


LOOP = "The same line again.\n"


@pytest.mark.parametrize("chat", [False, True])
async def test_an_answer_that_only_repeats_itself_is_ended_while_it_is_written(chat: bool) -> None:
    """It costs a few hundred characters, not all that it was allowed."""
    prompt: Any = [{"role": "user", "content": "?"}] if chat else "?"

    def loop(request: Request) -> Completion:
        return Completion(LOOP * (2_000 if request.prompt == prompt else 1), "length", 7, 9)

    with servers(FaultyServer(loop, chat=chat)) as (one,):
        engine = await connected(one)
        answer = await engine.generate(Request("k", prompt, Sampling(), stop_loops=True))
        await engine.close()
    assert (answer.text, answer.finish_reason) == ((LOOP * 30)[:512], "repetition")
    assert answer.completion_tokens == 512 // 3 + 1, "as the server counted them while it wrote"
    assert one.sent < 10_000, "the server noticed"


@pytest.mark.parametrize("context", [None, CONTEXT])
@pytest.mark.parametrize(
    ("text", "reason"), [("A river. " * 3, "stop"), ("", "stop"), (LOOP * 60, "length"), (LOOP * 60, "stop")]
)
async def test_whether_it_comes_in_parts_changes_nothing_of_an_answer(
    text: str, reason: Any, context: int | None
) -> None:
    found = []
    for options in ({}, {"streams": False}, {"refused": ("stream",)}, {"refused": ("stream_options",)}):
        server = FaultyServer(lambda _: Completion(text, reason, 7, 9), context=context, **options)  # type: ignore[arg-type]
        with servers(server) as (one,):
            engine = await connected(one)
            answer = await engine.generate(Request("k", "?", Sampling(), stop_loops=True))
            await engine.close()
        found.append((answer.text, answer.finish_reason, answer.prompt_tokens))
    assert found == found[:1] * 4


async def test_only_what_may_end_early_comes_in_parts() -> None:
    with servers(FaultyServer(echo)) as (one,):
        engine = await connected(one)
        for options in ({}, {"stop_loops": True}, {"ends_before": re.compile("x")}):
            await engine.generate(Request("k", "?", Sampling(), **options))  # type: ignore[arg-type]
        await engine.close()
    assert [body.get("stream", False) for body in one.bodies[-3:]] == [False, True, True]


@pytest.mark.parametrize("fault", ["half", "malformed", "error", "unfinished", "reset"])
async def test_an_answer_in_parts_that_is_none_is_asked_for_again(fault: str) -> None:
    with servers(FaultyServer(echo, now_and_then(fault, share=1.0, most=2))) as (one,):
        engine = await connected(one)
        answer = await engine.generate(Request("k", "Question 1", Sampling(), stop_loops=True))
        await engine.close()
    assert (answer.text, answer.completion_tokens, one.asked[fault]) == (" Question 1", 3, 2)


async def test_a_server_that_sends_signs_of_life_but_no_answer_is_left() -> None:
    with servers(FaultyServer(echo, lambda _: "drip"), FaultyServer(echo)) as (drips, well):
        engine = await connected(drips, well, timeout_s=1.0)
        asked = (engine.generate(Request(f"k{k}", f"Question {k}", Sampling(), stop_loops=True)) for k in range(4))
        found = await asyncio.gather(*asked)
        await engine.close()
    assert [answer.text for answer in found] == expected(4) and drips.asked["drip"]


async def test_answers_that_only_repeat_themselves_are_called_that() -> None:
    text = "The same line again.\n" * 60
    with servers(FaultyServer(lambda _: Completion(text, "length", 1, 1))) as (one,):
        engine = await connected(one)
        for stop_loops, reason in ((True, "repetition"), (False, "length")):
            answer = await engine.generate(Request("k", "?", Sampling(), stop_loops=stop_loops))
            assert answer.finish_reason == reason
        await engine.close()


async def test_only_vllm_goes_on_with_a_message() -> None:
    begun = OpenTurn([{"role": "user", "content": "?"}, {"role": "assistant", "content": "One"}])
    with servers(FaultyServer(echo, chat=True), FaultyServer(echo, chat=True, context=None)) as (vllm, other):
        engine = await connected(vllm)
        await engine.generate(Request("k", begun, Sampling()))
        assert vllm.bodies[-1]["continue_final_message"] and not vllm.bodies[-1]["add_generation_prompt"]
        await engine.close()
        engine = await connected(other)
        with pytest.raises(RequestFailed, match="refused"):
            await engine.generate(Request("k", begun, Sampling()))
        await engine.close()


# ------------------------------------------------------------------------------------------------- connecting


async def test_what_a_server_says_of_its_model() -> None:
    with servers(FaultyServer(echo, chat=True, context=2048), FaultyServer(echo, context=None)) as (chat, text):
        engine = await connected(chat)
        assert engine.has_chat_template and engine.context_length == 2048
        # The sample's tokens are its bytes here: a prompt of 100 bytes has as many, and a tenth more to be sure.
        assert 100 <= engine.count_tokens("x" * 100) <= 120
        await engine.close()
        engine = await connected(text)
        assert not engine.has_chat_template and engine.context_length == 4096
        await engine.close()


async def test_what_is_wrong_is_one_line() -> None:
    with servers(FaultyServer(echo, context=2048)) as (one,):
        for options, said in (
            ({"context_length": 9999}, "9,999 tokens are more than the 2,048"),
            ({"names": ["other"]}, "serves 'scripted', not 'other'; name a model of it with --model"),
        ):
            given = {"names": [MODEL], "context_length": None} | options
            with pytest.raises(ConfigError, match=said) as caught:
                await Endpoints.connect([one.url], enough=4096, timeout_s=5, **given)  # type: ignore[arg-type]
            assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"http://127\.0\.0\.1:9/v1: cannot be reached .*is the server up") as caught:
        await Endpoints.connect(["http://127.0.0.1:9/v1"], [MODEL], context_length=None, enough=9, timeout_s=5)
    assert "\n" not in str(caught.value)


async def test_nothing_shows_the_key(capsys: pytest.CaptureFixture[str]) -> None:
    def keyed(_: Request) -> Completion:
        return Completion(f"It is {KEY}", "stop", 1, 1)

    with servers(FaultyServer(keyed)) as (one,):
        assert await answers(await connected(one), 1) == ["It is [OPENAI_API_KEY]"]
    assert KEY not in "".join(capsys.readouterr())


def test_each_client_has_few_requests_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client's work for a request grows with the number of its connections."""
    monkeypatch.setattr(openai_client, "_PER_CLIENT", 2)
    clients = openai_client.Clients(object)
    with contextlib.ExitStack() as open_now:
        used = Counter(id(open_now.enter_context(clients.one())) for _ in range(5))
        assert sorted(used.values()) == [1, 2, 2]
    with contextlib.ExitStack() as open_now:
        again = {id(open_now.enter_context(clients.one())) for _ in range(5)}
    assert again == set(used), "clients are used again"


@pytest.mark.parametrize("key", ["x", "EMPTY", "none"])
async def test_a_placeholder_instead_of_a_key_changes_no_answer(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """They are words, and letters, of lists of models and of answers."""
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with servers(FaultyServer(lambda _: Completion(f"It is {key}", "stop", 1, 1), context=8192)) as (one,):
        engine = await connected(one, enough=99)
        assert engine.context_length == 8192
        assert await answers(engine, 1) == [f"It is {key}"]


# ----------------------------------------------------------------------------------------------- the command line


def test_the_commands_need_no_engine_here(seed_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`generate` on a machine without vLLM, its dry run, and `regenerate`, which asks for the outputs anew."""
    monkeypatch.setitem(sys.modules, "vllm", None)
    options = ["--model", MODEL, "--seeds", str(seed_file), "--num-instructions", "4", "--window", "5"]
    run, again = str(tmp_path / "run"), str(tmp_path / "again")
    with servers(FaultyServer(script)) as (one,):
        generating = ["generate", *options, "--output-dir", run, "--endpoint", one.url]
        shown = CliRunner().invoke(cli, [*generating, "--dry-run"])
        assert shown.exit_code == 0, shown.output
        assert f"1 endpoint, asked in text, a context of {CONTEXT:,} tokens" in shown.output
        assert "first prompt of kind proposal" in shown.output and not Path(run).exists()
        for command in (generating, ["regenerate", run, "--model", MODEL, "--endpoint", one.url, "-o", again]):
            done = CliRunner().invoke(cli, command)
            assert done.exit_code == 0, done.output
        assert journal_lines(Path(again))[-1]["kind"] == "output"
        refused = CliRunner().invoke(cli, [*generating[:-1], "http://127.0.0.1:9/v1", "--output-dir", again + "2"])
    assert refused.exit_code == 2 and refused.output.count("\n") == 1
    assert "http://127.0.0.1:9/v1: cannot be reached" in refused.output and KEY not in refused.output


def test_a_url_that_holds_a_key_is_refused(make_config: Any) -> None:
    for url in ("http://user:secret@host/v1", "https://host/v1?api_key=abcdefgh", "host:8000/v1"):
        with pytest.raises(ValueError, match="set the key as OPENAI_API_KEY"):
            make_config(endpoint=url)
    assert make_config(endpoint="http://host/v1").endpoint == ("http://host/v1",)
    assert make_config(endpoint="http://host/v1").identity() == make_config().identity()
