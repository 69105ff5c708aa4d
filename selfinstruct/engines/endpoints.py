"""Several OpenAI-compatible endpoints as one engine: `vllm serve`, a Ray Serve LLM cluster, a hosted interface.

Every request waits for a place at the endpoint that is least loaded. How many an endpoint gets at once adapts
(`congestion.py`). One that is too busy rests, as long as it asks for; one that gives no answer is taken out, and is
asked a question of one token now and then until it answers. The requests that it had go to the others.

    waiting ──> asked ──> answered, refused
       ^          │ too busy, no answer
       └──────────┘ after some tries, if others were answered meanwhile ──> failed

The caller of `generate` waits meanwhile, and gets exactly one answer. When no endpoint has answered anything for long,
all callers get an `EngineError`.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from selfinstruct.config.section import Sampling
from selfinstruct.console import console
from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.engines.congestion import Window, rest_s
from selfinstruct.engines.samples import joined, singles
from selfinstruct.engines.served_model import ServedModel, ServerFailed
from selfinstruct.errors import ConfigError, EngineError
from selfinstruct.records import Completion, OpenTurn, Prompt

FIRST_AT_ONCE = 32
MOST_AT_ONCE = 256
"""Requests that one endpoint gets at once: at first, and at most by default."""
_TRIES = 8
"""Tries without an answer after which a request fails, if the endpoints answered others meanwhile."""
_TRIES_OF_A_TIMEOUT = 3
"""What a try counts that took all its time."""
_FAILURES_IN_A_ROW = 3
"""Tries without an answer, each of them sent after the one before had failed, after which an endpoint is taken out."""
_PROBE_S = 60.0
"""Longest time of an answer to the question of one token."""
_SAMPLE_BYTES = 4_000
_MARGIN = 1.1
"""Prompts may have more tokens a byte than the sample."""
_BETWEEN_REMARKS_S = 60.0
_PROBE = Request("probe", "Yes or no?", Sampling(max_tokens=1))
_CHAT_PROBE = Request("probe", [{"role": "user", "content": "Yes or no?"}], Sampling(max_tokens=1))


class _Endpoint:
    """An endpoint, and what is known of how it is doing."""

    def __init__(self, model: ServedModel, most: int) -> None:
        self.model = model
        self.window = Window(FIRST_AT_ONCE, most)
        self.in_flight = 0
        self.is_out = False
        self.rests_until = 0.0
        self.answers = 0
        self.failures = 0
        self.times_busy = 0
        self.epoch = 0
        """Grows when it is found busy or is taken out: what was sent before says nothing new then."""
        self.next_remark = 0.0

    def has_room(self, now: float) -> bool:
        """Return whether it may get another request."""
        return not self.is_out and now >= self.rests_until and self.in_flight < self.window.size

    @property
    def load(self) -> float:
        """The share of its places that are taken."""
        return self.in_flight / self.window.size


@dataclass(frozen=True, slots=True)
class _Sent:
    """How an endpoint was doing when a request was sent to it."""

    epoch: int
    answers: int
    failures: int


class Endpoints:
    """An `Engine` on several endpoints of one model. Make it with `await Endpoints.connect(...)`.

    Only a server knows its tokenizer. So `count_tokens` estimates: by the tokens that it counted in a sample.

    Args:
        models: the model at each endpoint; those that could be asked come first.
        reached: how many of them could.
        chat: whether they answer chats.
        context_length: tokens of prompt and answer together, at most.
        timeout_s: longest time of one try, in seconds.
        patience_s: seconds without any answer after which the engine has ended.
        most_at_once: most requests that one endpoint gets at once.
    """

    tells_logprobs = False

    def __init__(
        self,
        models: Sequence[ServedModel],
        reached: int,
        *,
        chat: bool,
        context_length: int,
        timeout_s: float,
        patience_s: float,
        most_at_once: int = MOST_AT_ONCE,
    ) -> None:
        self.context_length = context_length
        self.capacity = most_at_once * len(models)
        self.has_chat_template = self.brings_chat_template = chat
        self._endpoints = [_Endpoint(model, most_at_once) for model in models]
        self._continues = all(model.continues for model in models[:reached])
        self._tokens_per_byte = max(model.tokens_per_byte for model in models[:reached])
        self._probe = _CHAT_PROBE if chat else _PROBE
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._numbers = count()
        self._waiting: list[tuple[int, asyncio.Future[_Endpoint], _Endpoint | None]] = []
        self._reviving: set[asyncio.Task[None]] = set()
        self._answers = 0
        self._last_answer = asyncio.get_running_loop().time()
        self._looked = 0
        self._ended: EngineError | None = None

    @classmethod
    async def connect(
        cls,
        urls: Sequence[str],
        names: Sequence[str],
        *,
        context_length: int | None,
        enough: int,
        timeout_s: float,
        patience_s: float | None = None,
        sample: str = "",
        most_at_once: int | None = None,
    ) -> Endpoints:
        """Connect to the endpoints, and find out how they are asked. One that does not answer is tried again later.

        Args:
            urls: of the servers; they mostly end in `/v1`.
            names: of the model, the likeliest first.
            context_length: tokens of prompt and answer together; None: as the servers say.
            enough: tokens that no prompt with its answer exceeds, for servers that do not say.
            timeout_s: longest time of one try, in seconds.
            patience_s: seconds without any answer after which the engine has ended; default: three times `timeout_s`.
            sample: text like that of the prompts, to learn how many tokens it has.
            most_at_once: most requests that one endpoint gets at once; default: 256.

        Raises:
            ConfigError: a URL, the key, the model or the context is wrong, or no endpoint can be reached.
        """
        models = [ServedModel.at(url, names) for url in dict.fromkeys(urls)]
        try:
            outcomes = await asyncio.gather(*(_examined(model, sample, timeout_s) for model in models))
            reached = {m: chat for m, chat in zip(models, outcomes, strict=True) if isinstance(chat, bool)}
            failed = {m: f for m, f in zip(models, outcomes, strict=True) if isinstance(f, ServerFailed)}
            if not reached:
                causes = "; ".join(f"{model.url}: {why}" for model, why in failed.items())
                raise ConfigError(f"{causes}; is the server up, and the URL right?")
            if len(set(reached.values())) > 1:
                raise ConfigError("some of the endpoints answer chats, others do not; do they serve the same model?")
            engine = cls(
                [*reached, *failed],
                len(reached),
                chat=next(iter(reached.values())),
                context_length=_context(list(reached), context_length, enough),
                timeout_s=timeout_s,
                patience_s=patience_s or 3 * timeout_s,
                most_at_once=most_at_once or MOST_AT_ONCE,
            )
        except BaseException:
            await asyncio.gather(*(model.close() for model in models), return_exceptions=True)
            raise
        for endpoint in engine._endpoints:
            if endpoint.model in failed:
                engine._take_out(endpoint, failed[endpoint.model])
        return engine

    def count_tokens(self, prompt: Prompt) -> int:
        """Return about how many tokens the prompt has."""
        size = len(self.render(prompt).encode("utf-8", "surrogatepass"))
        return int(size * self._tokens_per_byte * _MARGIN) + 4

    def render(self, prompt: Prompt) -> str:
        """Return the prompt as text; how messages are joined is the server's matter."""
        return prompt if isinstance(prompt, str) else "\n".join(f"{m['role']}: {m['content']}" for m in prompt)

    def summary(self) -> str:
        """Return in words how many endpoints there are, and how they are asked."""
        number, away = len(self._endpoints), sum(endpoint.is_out for endpoint in self._endpoints)
        text = f"{number} endpoint{'s' * (number > 1)}, asked in {'chats' if self.has_chat_template else 'text'}"
        return f"{text} ({away} not answering now)" if away else text

    def progress(self) -> int:
        """Return another number each time: every try has its own limit, and so has the time without any answer."""
        self._looked += 1
        return self._looked

    async def generate(self, request: Request) -> Completion:
        """Answer one request, with as many tries as it takes.

        Raises:
            RequestFailed: a server refuses it, or it alone finds no answer.
            EngineError: no endpoint has answered anything for long.
        """
        if request.samples > 1:  # Not every server knows `n`; most keep the prompt that they have just read.
            return joined(await asyncio.gather(*map(self.generate, singles(request))))
        if isinstance(request.prompt, OpenTurn) and not self._continues:
            raise RequestFailed("refused", "this endpoint answers messages only; it cannot go on with one")
        number, asked_at, tries, answers = next(self._numbers), self._now(), 0, self._answers
        failed_at: _Endpoint | None = None
        while True:
            endpoint = await self._place(number, failed_at)
            full, sent = endpoint.load >= 1, _Sent(endpoint.epoch, endpoint.answers, endpoint.failures)
            try:
                completion = await endpoint.model.ask(request, self._timeout_s)
            except ServerFailed as failed:
                failed_at, text = endpoint, f"{endpoint.model.url}: {failed}"
                self._note_failure(endpoint, failed, sent)
                if failed.busy and self._now() - max(self._last_answer, asked_at) > self._patience_s:
                    self._end(text)
                tries += _TRIES_OF_A_TIMEOUT if failed.timed_out else not failed.busy
                if tries >= _TRIES and self._answers > answers:
                    raise RequestFailed("timeout" if failed.timed_out else "endpoint_failed", text) from None
            except RequestFailed:
                self._note_answer(endpoint, full)
                raise
            else:
                self._note_answer(endpoint, full)
                return completion
            finally:
                self._leave(endpoint)
            if tries:
                await asyncio.sleep(rest_s(tries, 0.1, 5.0))

    async def close(self) -> None:
        """Close the connections; fail what still waits."""
        self._fail_waiting(EngineError("the engine is closed"))
        tasks = list(self._reviving)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(endpoint.model.close() for endpoint in self._endpoints), return_exceptions=True)

    # -------------------------------------------------------------------------------------------------- places

    async def _place(self, number: int, failed_at: _Endpoint | None) -> _Endpoint:
        """Wait for a place at an endpoint.

        Args:
            number: of the request; those that were asked first get the first places.
            failed_at: the endpoint that did not answer it; another one is better.
        """
        if self._ended is not None:
            raise self._ended
        free: asyncio.Future[_Endpoint] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (number, free, failed_at))
        self._hand_out()
        try:
            return await free
        except asyncio.CancelledError:
            if free.done() and not free.cancelled() and free.exception() is None:
                self._leave(free.result())
            raise

    def _leave(self, endpoint: _Endpoint) -> None:
        endpoint.in_flight -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        """Give free places to those that wait."""
        now = self._now()
        while self._waiting:
            free = [endpoint for endpoint in self._endpoints if endpoint.has_room(now)]
            if not free:
                return
            _, waiting, failed_at = heapq.heappop(self._waiting)
            if not waiting.done():  # Else its caller was cancelled.
                endpoint = min(free, key=lambda e: (e is failed_at, e.load, e.answers))
                endpoint.in_flight += 1
                waiting.set_result(endpoint)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # ------------------------------------------------------------------------------------------------- outcomes

    def _note_answer(self, endpoint: _Endpoint, full: bool) -> None:
        self._answers += 1
        endpoint.answers += 1
        self._last_answer = self._now()
        endpoint.failures = endpoint.times_busy = 0
        if full and not endpoint.is_out:
            endpoint.window.answered()

    def _note_failure(self, endpoint: _Endpoint, failed: ServerFailed, sent: _Sent) -> None:
        if sent.epoch != endpoint.epoch or endpoint.is_out:
            return
        if failed.timed_out and sent.answers == endpoint.answers:  # It answers nobody: it hangs.
            self._take_out(endpoint, failed)
            return
        if failed.busy:
            endpoint.epoch += 1
            endpoint.times_busy += 1
            endpoint.window.congested()
            self._rest(endpoint, failed)
        if not failed.busy or failed.timed_out:
            # Many break off at once where one of several replicas behind the endpoint dies: that is one failure.
            endpoint.failures += sent.failures == endpoint.failures
            if endpoint.failures >= _FAILURES_IN_A_ROW or failed.misconfigured:
                self._take_out(endpoint, failed)

    def _rest(self, endpoint: _Endpoint, failed: ServerFailed) -> None:
        wait = min(max(rest_s(endpoint.times_busy), failed.retry_after or 0.0), self._patience_s)
        endpoint.rests_until = self._now() + wait
        asyncio.get_running_loop().call_later(wait + 0.001, self._hand_out)
        if self._now() >= endpoint.next_remark:
            endpoint.next_remark = self._now() + _BETWEEN_REMARKS_S
            text = f"{endpoint.model.url}: {failed}; it gets at most {endpoint.window.size} requests at once"
            console.print(text, markup=False)

    def _take_out(self, endpoint: _Endpoint, failed: ServerFailed) -> None:
        endpoint.is_out = True
        endpoint.epoch += 1
        others = sum(not other.is_out for other in self._endpoints)
        rest = f"its requests go to the other {others}" if others else "no other is left, so all requests wait"
        console.print(f"{endpoint.model.url}: {failed}; {rest}; it is tried again until it answers", markup=False)
        task = asyncio.ensure_future(self._revive(endpoint))
        self._reviving.add(task)
        task.add_done_callback(self._reviving.discard)

    async def _revive(self, endpoint: _Endpoint) -> None:
        """Ask an endpoint a question of one token now and then, until it answers."""
        for failures in count(1):
            await asyncio.sleep(rest_s(failures, 1.0))
            try:
                if endpoint.model.context_length is None:  # It may have been away from the beginning.
                    await endpoint.model.discover()
                await endpoint.model.ask(self._probe, min(self._timeout_s, _PROBE_S))
            except (ServerFailed, RequestFailed, ConfigError) as failed:
                if all(e.is_out for e in self._endpoints) and self._now() - self._last_answer > self._patience_s:
                    self._end(f"{endpoint.model.url}: {failed}")
                    return
            else:
                break
        endpoint.is_out = False
        endpoint.window.restart()
        self._note_answer(endpoint, full=False)
        console.print(f"{endpoint.model.url}: answers again", markup=False)
        self._hand_out()

    def _end(self, text: str) -> None:
        """End the engine: all that wait, and all that come, get an error."""
        self._fail_waiting(EngineError(f"no endpoint has answered for {self._patience_s:g} s; {text}"))

    def _fail_waiting(self, error: EngineError) -> None:
        self._ended = self._ended or error
        for _, waiting, _ in self._waiting:
            if not waiting.done():
                waiting.set_exception(self._ended)
        self._waiting.clear()


async def _examined(model: ServedModel, sample: str, longest_s: float) -> bool | ServerFailed:
    """Find out whether an endpoint answers chats, and how many tokens its model makes of a byte.

    Returns:
        Whether it answers chats; why nothing is known.

    Raises:
        ConfigError: it can never be used.
    """
    text = sample.encode()[:_SAMPLE_BYTES].decode("utf-8", "ignore") or "Yes or no?"
    try:
        await model.discover()
        try:
            answer = await model.ask(Request("sample", [{"role": "user", "content": text}], _PROBE.sampling), longest_s)
            chat = True
        except (RequestFailed, ServerFailed) as refused:  # A base model has no chat template.
            if isinstance(refused, ServerFailed) and not refused.not_there:
                raise
            answer = await model.ask(Request("sample", text, _PROBE.sampling), longest_s)
            chat = False
    except RequestFailed as refused:
        raise ConfigError(f"{model.url}: answers neither chats nor completions: {refused}") from None
    except ServerFailed as failed:
        if failed.misconfigured:
            raise ConfigError(f"{model.url}: {failed}") from None
        return failed
    if sample and answer.prompt_tokens:
        model.tokens_per_byte = round(answer.prompt_tokens / len(text.encode()), 3)
    return chat


def _context(models: Sequence[ServedModel], asked: int | None, enough: int) -> int:
    listed = [(model.context_length, model.url) for model in models if model.context_length is not None]
    least, url = min(listed, default=(asked or enough, ""))
    if asked and asked > least:
        raise ConfigError(f"engine.max_model_len: {asked:,} tokens are more than the {least:,} of {url}; give fewer")
    return asked or least
