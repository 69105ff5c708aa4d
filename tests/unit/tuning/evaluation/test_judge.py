"""Pairwise judgement by scripted judges: fair, biased, mute; what is kept, what is asked again, and the scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from selfinstruct.config.section import Sampling
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.engines.openai_endpoint import Endpoint
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import ConfigError, EngineError
from selfinstruct.records import Completion
from selfinstruct.run.folders import EvaluationDirectory
from selfinstruct.run.scores import JudgeScores, PositionBias
from tests.growth import assert_linear
from tuning.evaluation.answer_cache import AnswerCache
from tuning.evaluation.answers import Answer
from tuning.evaluation.bootstrap import Resampling
from tuning.evaluation.evaluation_plan import EvaluationPlan
from tuning.evaluation.judge import JUDGEMENTS, encode, judge, parse, score

pytestmark = pytest.mark.whole

RESAMPLING = Resampling(num_resamples=500, confidence=0.95, seed=1)


def rows(answer: Callable[[int], str], n: int = 8, name: str = "mine") -> list[Answer]:
    return [
        Answer(id=f"e{k}-0", task=f"e{k}", set=name, instruction=f"Do thing {k}.", response=answer(k)) for k in range(n)
    ]


def shown(request: Request) -> tuple[str, str]:
    """The two answers of a prompt, in their order."""
    text = request.prompt if isinstance(request.prompt, str) else request.prompt[0]["content"]
    first, _, rest = text.partition("[Answer 1]\n")[2].partition("\n\n[Answer 2]\n")
    return first, rest.partition("\n\n[End of the answers]")[0]


def by(rule: Callable[[str, str], str]) -> Callable[[Request], Any]:
    def answers(request: Request) -> Any:
        said = rule(*shown(request))
        return Completion(f"I have looked at both.\n{said}", "stop", 9, 9)

    return answers


def longer_wins(first: str, second: str) -> str:
    if len(first) == len(second):
        return "Verdict: tie"
    return "Verdict: 1" if len(first) > len(second) else "Verdict: 2"


class Judges:
    """Starts scripted judges, and remembers them."""

    def __init__(self, answers: Callable[[Request], Any], **options: Any) -> None:
        self.answers, self.options = answers, {"has_chat_template": True} | options
        self.engines: list[ScriptedEngine] = []

    async def __call__(self, plan: EvaluationPlan) -> Engine:
        self.engines.append(ScriptedEngine(self.answers, **self.options))
        return self.engines[-1]

    @property
    def asked(self) -> int:
        return sum(len(engine.history) for engine in self.engines)


@pytest.fixture
def plan(make_config: Any) -> EvaluationPlan:
    return EvaluationPlan.of(make_config(evaluate={"judge": "org/judge", "judge_max_tokens": 50}))


@pytest.fixture
def cache(tmp_path: Path) -> AnswerCache:
    return AnswerCache(EvaluationDirectory(tmp_path / "evaluation"))


def but(plan: EvaluationPlan, **options: Any) -> EvaluationPlan:
    return replace(plan, options=plan.options.model_copy(update=options))


PREDICTIONS = {"base": rows(lambda k: "word"), "tuned": rows(lambda k: "a longer answer" if k < 6 else "w")}


def judged(plan: EvaluationPlan, cache: AnswerCache, rule: Callable[[str, str], str]) -> JudgeScores:
    return score(judge(plan, cache, PREDICTIONS, Judges(by(rule))), RESAMPLING)


def test_a_fair_judge(plan: EvaluationPlan, cache: AnswerCache) -> None:
    found = judged(plan, cache, longer_wins)
    pair = found.pairs[0]
    assert (pair.a, pair.b, pair.set, pair.n, pair.n_tasks) == ("tuned", "base", "mine", 8, 8)
    assert (pair.wins, pair.ties, pair.losses, pair.failed) == (6, 0, 2, 0)
    assert pair.win_rate == 0.75
    assert pair.low is not None and pair.high is not None and pair.low < 0.75 < pair.high
    assert found.position == PositionBias(judgements=16, first=0.5, second=0.5, tie=0.0, turned=0.0)


@pytest.mark.parametrize(("says", "place"), [("Verdict: 1", "first"), ("Verdict: 2", "second")])
def test_a_judge_that_goes_by_the_place_ends_with_ties(
    plan: EvaluationPlan, cache: AnswerCache, says: str, place: str
) -> None:
    found = judged(plan, cache, lambda first, second: says)
    pair = found.pairs[0]
    assert (pair.wins, pair.ties, pair.losses) == (0, 8, 0)
    assert (pair.win_rate, pair.significant) == (0.5, False)
    assert getattr(found.position, place) == 1.0
    assert found.position.turned == 1.0


def test_a_judge_that_cannot_be_understood_has_failed(plan: EvaluationPlan, cache: AnswerCache) -> None:
    made = judge(plan, cache, PREDICTIONS, Judges(by(lambda first, second: "Both are fine.")))
    pair = score(made, RESAMPLING).pairs[0]
    assert (pair.n, pair.failed, pair.win_rate, pair.low) == (8, 8, None, None)
    assert {row.failed for row in made["base"]} == {"unparsable"}
    assert made["base"][0].text == "I have looked at both.\nBoth are fine."


def test_one_unparsable_judgement_fails_its_pair_alone(plan: EvaluationPlan, cache: AnswerCache) -> None:
    def rule(first: str, second: str) -> str:
        return "hm" if first == "w" else longer_wins(first, second)

    pair = judged(plan, cache, rule).pairs[0]
    assert (pair.wins, pair.losses, pair.failed) == (6, 0, 2)
    assert (pair.win_rate, pair.n, pair.n_tasks) == (1.0, 8, 6)


def test_a_tie_in_one_order_is_no_win(plan: EvaluationPlan, cache: AnswerCache) -> None:
    def rule(first: str, second: str) -> str:
        return "Verdict: 1" if first.startswith("a longer") else "Verdict: tie"

    pair = judged(plan, cache, rule).pairs[0]
    assert (pair.wins, pair.ties) == (0, 8)


def test_a_request_that_fails_is_kept_as_failed(plan: EvaluationPlan, cache: AnswerCache) -> None:
    start = Judges(lambda request: RequestFailed("refused", "too long"))
    made = judge(plan, cache, PREDICTIONS, start)
    assert score(made, RESAMPLING).pairs[0].failed == 8
    assert made["base"][0].failed == "refused: too long"


def test_what_failed_is_asked_again_by_the_next_evaluation(plan: EvaluationPlan, cache: AnswerCache) -> None:
    """A refused judgement was kept for ever; what can never be asked is not asked again, so that no engine starts."""
    judge(plan, cache, PREDICTIONS, Judges(lambda request: RequestFailed("refused", "busy")))
    again = Judges(by(longer_wins))
    assert score(judge(plan, cache, PREDICTIONS, again), RESAMPLING).pairs[0].failed == 0
    assert again.asked == 16
    other = but(plan, judge="org/other")
    judge(other, cache, PREDICTIONS, Judges(lambda request: RequestFailed("prompt_too_long", "9 + 9 > 16")))
    start = Judges(by(longer_wins))
    assert score(judge(other, cache, PREDICTIONS, start), RESAMPLING).pairs[0].failed == 8
    assert start.engines == []


def test_the_same_answers_are_a_tie_without_being_asked(plan: EvaluationPlan, cache: AnswerCache) -> None:
    start = Judges(by(longer_wins))
    same = {"base": rows(lambda k: "word"), "tuned": rows(lambda k: "word" if k else "words")}
    found = score(judge(plan, cache, same, start), RESAMPLING)
    assert start.asked == 2
    assert (found.pairs[0].wins, found.pairs[0].ties) == (1, 7)
    assert found.position.judgements == 2


def test_what_is_judged(plan: EvaluationPlan, cache: AnswerCache) -> None:
    """The tuned model against each arm; the generator's own sets are left out, and a limit holds for each set."""
    predictions = {
        name: rows(lambda k: f"{name} {k}", 5) + rows(lambda k: name, 3, "validation_unseen") + rows(str, 2, "other")  # noqa: B023
        for name in ("base", "tuned", "more")
    }
    found = judge(plan, cache, predictions, Judges(by(longer_wins)))
    assert set(found) == {"base", "more"}
    assert {row.set for row in found["base"]} == {"mine", "other"}
    assert len(found["base"]) == 2 * (5 + 2)
    fewer = but(plan, judge_limit=3)
    start = Judges(by(longer_wins))
    limited = judge(fewer, cache, predictions, start)
    assert len(limited["base"]) == 2 * (3 + 2)
    assert start.asked == 0, "these were judged before"


def test_judgements_are_kept_and_asked_again_only_where_an_answer_changed(
    plan: EvaluationPlan, cache: AnswerCache
) -> None:
    first = judge(plan, cache, PREDICTIONS, Judges(by(longer_wins)))
    start = Judges(by(longer_wins))
    assert judge(plan, cache, PREDICTIONS, start) == first
    assert start.engines == []
    changed = {**PREDICTIONS, "tuned": rows(lambda k: "another" if k == 3 else PREDICTIONS["tuned"][k].response)}
    judge(plan, cache, changed, start)
    assert start.asked == 2
    other = but(plan, judge="org/other")
    judge(other, cache, changed, start)
    assert start.asked == 2 + 16


def test_a_judge_that_dies_keeps_what_it_said(plan: EvaluationPlan, cache: AnswerCache) -> None:
    said = []

    def dies(request: Request) -> Any:
        assert len(cache.kept(JUDGEMENTS, "base")) == len(said), "each is kept as soon as it is made"
        said.append(request)
        return by(longer_wins)(request) if len(said) <= 5 else EngineError("gone")

    with pytest.raises(EngineError, match="gone"):
        judge(plan, cache, PREDICTIONS, Judges(dies))
    assert len(cache.kept(JUDGEMENTS, "base")) == 5
    start = Judges(by(longer_wins))
    found = score(judge(plan, cache, PREDICTIONS, start), RESAMPLING)
    assert start.asked == 11
    assert found.pairs[0].wins == 6


def test_without_a_tuned_model(plan: EvaluationPlan, cache: AnswerCache) -> None:
    start = Judges(by(longer_wins))
    assert judge(plan, cache, {"base": PREDICTIONS["base"]}, start) == {}
    assert start.engines == []


def test_the_prompt() -> None:
    chat = encode("Name it.\n\n{x}", "{first}", "two", chat=True)
    assert isinstance(chat, list)
    text = chat[0]["content"]
    assert "[Task]\nName it.\n\n{x}\n\n[Answer 1]\n{first}\n\n[Answer 2]\ntwo\n" in text, "braces are left alone"
    assert encode("t", "a", "b", chat=False) == encode("t", "a", "b", chat=True)[0]["content"] + "\n\nReasons:"  # type: ignore[index, operator]


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Because.\nVerdict: 1", "1"),
        ("verdict: 2.", "2"),
        ("**Verdict:** tie", "tie"),
        ("Verdict: Answer 2", "2"),
        ("Verdict: 1\nNo, wait.\nVerdict: 2\n", "2"),
        ("<think>Verdict: 1</think>Verdict: 2", "2"),
        ("<think>Verdict: 1", None),
        ("The verdict: 1 is hard", None),
        ("Verdict: 1 or 2", None),
        ("Verdict: 3", None),
        ("Verdict: 12", None),
        ("1", None),
        ("", None),
    ],
)
def test_parse(text: str, verdict: str | None) -> None:
    assert parse(text) == verdict


@pytest.mark.parametrize("unit", ["---\n", "\n", "- ", "verdict: ", "Verdict: 1 or\n", "Verdict:\n\n", "answer "])
@pytest.mark.parametrize("end", ["", "x", "\nVerdict: 2"])
def test_parsing_a_verdict_takes_work_in_proportion_to_the_text(unit: str, end: str) -> None:
    assert_linear(parse, unit, end=end)


def test_what_the_judge_is_shown_is_parsed_back(plan: EvaluationPlan, cache: AnswerCache) -> None:
    start = Judges(by(longer_wins))
    judge(plan, cache, PREDICTIONS, start)
    orders = [shown(request) for request in start.engines[0].history]
    assert ("a longer answer", "word") in orders and ("word", "a longer answer") in orders
    assert {request.sampling.max_tokens for request in start.engines[0].history} == {50}


# ------------------------------------------------------------------------------------------------- endpoint


class Server:
    """An OpenAI-compatible server: `reply` says what to answer to a request's JSON, as (status, JSON)."""

    def __init__(self, reply: Callable[[dict[str, Any]], tuple[int, Any]]) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._send(200, {"object": "list", "data": [{"id": "served", "object": "model"}]})

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append(asked)
                outer.keys.add(self.headers["Authorization"])
                self._send(*reply(asked))

            def _send(self, status: int, value: Any) -> None:
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def completion(text: str) -> tuple[int, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    return 200, {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }


def error(status: int, message: str, param: str | None = None) -> tuple[int, Any]:
    return status, {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": None}}


def at(plan: EvaluationPlan, url: str, judge: str | None = None) -> EvaluationPlan:
    return but(plan, judge=judge, judge_endpoint=url)


def serve(reply: Callable[[dict[str, Any]], tuple[int, Any]], request: pytest.FixtureRequest) -> Server:
    server = Server(reply)
    request.addfinalizer(server.close)
    return server


def test_a_judge_behind_an_endpoint(
    plan: EvaluationPlan,
    cache: AnswerCache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")

    def reply(asked: dict[str, Any]) -> tuple[int, Any]:
        said = Request("k", asked["messages"], Sampling())
        return completion(longer_wins(*shown(said)))

    server = serve(reply, request)
    found = score(judge(at(plan, server.url), cache, PREDICTIONS), RESAMPLING)
    assert found.pairs[0].wins == 6
    assert {asked["model"] for asked in server.requests} == {"served"}
    assert {(asked["max_tokens"], asked["temperature"]) for asked in server.requests} == {(50, 0.0)}
    assert server.keys == {"Bearer sk-secret"}
    kept = next(tmp_path.rglob("judgements-base.jsonl"))
    assert "sk-secret" not in kept.read_text()


def test_a_server_that_wants_other_options(
    plan: EvaluationPlan, cache: AnswerCache, request: pytest.FixtureRequest
) -> None:
    def reply(asked: dict[str, Any]) -> tuple[int, Any]:
        if "max_tokens" in asked:
            return error(400, "Unsupported parameter: 'max_tokens'", "max_tokens")
        if "temperature" in asked:
            return error(400, "Unsupported value", "temperature")
        return completion("Verdict: 1")

    server = serve(reply, request)
    found = judge(at(plan, server.url, judge="mine"), cache, PREDICTIONS)
    assert all(row.choice for row in found["base"])
    assert server.requests[-1]["max_completion_tokens"] == 50


def test_what_an_endpoint_refuses(plan: EvaluationPlan, cache: AnswerCache, request: pytest.FixtureRequest) -> None:
    server = serve(lambda asked: error(400, "context length exceeded"), request)
    assert judge(at(plan, server.url, judge="m"), cache, PREDICTIONS)["base"][0].failed.startswith("refused: ")
    denied = serve(lambda asked: error(401, "bad key sk-1"), request)
    with pytest.raises(ConfigError, match="put the right one into OPENAI_API_KEY"):
        judge(at(plan, denied.url, judge="m"), cache, PREDICTIONS)
    missing = serve(lambda asked: error(404, "no model m"), request)
    with pytest.raises(ConfigError, match="check the URL"):
        judge(at(plan, missing.url, judge="m"), cache, PREDICTIONS)


async def test_an_endpoint_that_is_not_there() -> None:
    with pytest.raises(EngineError, match="cannot be reached"):
        await Endpoint.connect("http://127.0.0.1:9/v1", None, retries=0)


@pytest.mark.parametrize(
    "url", ["http://user:key@host/v1", "host/v1", "https://host/v1?api_key=k", "https://host/v1?v=1&key=k"]
)
def test_an_endpoint_that_must_not_be_written_down(make_config: Any, url: str) -> None:
    with pytest.raises(ValueError, match="set the key as OPENAI_API_KEY"):
        make_config(evaluate={"judge_endpoint": url})
