"""One model at one OpenAI-compatible server: what is sent, and what comes back.

    POST /v1/chat/completions  {"model": "m", "messages": [...], "temperature": 0.7, "max_tokens": 400, ...}
    POST /v1/completions       {"model": "m", "prompt": "...", "stop": ["\\n\\n"], ...}

A server that says how long the model's context is (vLLM, and Ray Serve LLM) gets every sampling option, so that its own
defaults change nothing, and can go on with a message that has begun. Others get the options of OpenAI's
interface, and those of vLLM's that are not at their defaults. An option that a server does not know is left out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec

from selfinstruct.console import console
from selfinstruct.engines.answer_stream import BYTES_PER_EVENT, read_stream
from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.engines.congestion import retry_after_s
from selfinstruct.engines.endings import Watched
from selfinstruct.engines.openai_client import (
    BYTES_PER_TOKEN,
    LEAST_BYTES,
    NO_MODELS_LIST,
    Clients,
    Model,
    Models,
    NonsenseError,
    api_key,
    body_of,
    decoded,
    open_client,
    said,
    shown,
    without_key,
    without_key_in,
)
from selfinstruct.engines.samples import stable_seed
from selfinstruct.engines.structured import response_format
from selfinstruct.errors import ConfigError
from selfinstruct.records import Completion, FinishReason, OpenTurn

_LIST_S = 10.0
"""Longest time to list the models."""
_MOST_STOPS = 4
"""Stop strings that OpenAI's interface takes. The answer is cut at all of them in any case."""
_BUSY = (429, 503, 529)
_NOT_THERE = (404, 405, 501)
_UNKNOWN_OPTION = re.compile(r"unsupported|not support|unknown|unrecogni[sz]ed|not permitted|unexpected|invalid field")
_TOO_LONG = re.compile(r"context.length|maximum.context|max_model_len|too many tokens|prompt is too long")
UNCOUNTED = 1 / 3
"""Tokens a byte where a server counts none: more than those of most texts, so that prompts fit."""

T = TypeVar("T")


class ServerFailed(Exception):
    """A server has not answered a request; another try may bring an answer, there or elsewhere.

    Attributes:
        busy: it has too much to do.
        timed_out: no answer came in time.
        retry_after: seconds that it asks to be left alone; None where it does not say.
        misconfigured: it will answer no request, as the key, the model or the URL is wrong.
        not_there: it has no such address, or no such model.
    """

    def __init__(
        self,
        text: str,
        *,
        busy: bool = False,
        timed_out: bool = False,
        retry_after: float | None = None,
        misconfigured: bool = False,
        not_there: bool = False,
    ) -> None:
        super().__init__(text)
        self.busy = busy
        self.timed_out = timed_out
        self.retry_after = retry_after
        self.misconfigured = misconfigured
        self.not_there = not_there


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None
    finish_reason: Any = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    usage: Any = None


class ServedModel:
    """A model at a server.

    Args:
        clients: OpenAI's.
        url: of the server.
        key: is removed from whatever it says.
        names: of the model, the likeliest first; the server may know any of them.

    Attributes:
        url: as it is shown to people.
        name: of the model.
        context_length: as the server says; None where it does not.
        tokens_per_byte: of its tokenizer, roughly.
    """

    def __init__(self, clients: Clients, url: str, key: str, names: Sequence[str]) -> None:
        self._clients = clients
        self._key = key
        self._names = names
        self._left_out: set[str] = set()
        self._renamed: dict[str, str] = {}
        self._has_answered = False
        self.url = shown(url)
        self.name = names[0]
        self.context_length: int | None = None
        self.tokens_per_byte = UNCOUNTED

    @property
    def continues(self) -> bool:
        """Whether it can go on with a message that has begun."""
        return self.context_length is not None

    @classmethod
    def at(cls, url: str, names: Sequence[str]) -> ServedModel:
        """Return the model at a URL; nothing is asked yet.

        Args:
            url: of the server; it mostly ends in `/v1`.
            names: of the model, the likeliest first.

        Raises:
            ConfigError: the URL or the key cannot be used.
        """
        key = api_key()
        return cls(Clients(lambda: open_client(url, key, 0, "endpoint")), url, key, names)

    async def listed(self) -> list[Model] | None:
        """Return the models that the server lists; None where it lists none, which it need not do.

        Raises:
            ConfigError: what it answers is no list.
            ServerFailed: it cannot be reached, or fails.
        """
        try:
            read = partial(body_of, bound=100 * LEAST_BYTES)
            body = await self._sent(lambda client: client.models.with_streaming_response.list(), read, _LIST_S)
            return decoded(without_key_in(body, self._key), Models).data
        except RequestFailed:
            return None
        except NonsenseError as error:
            raise ConfigError(f"{self.url}: {error}; is it an OpenAI-compatible endpoint, and the URL right?") from None
        except ServerFailed as failed:
            if failed.not_there:
                return None
            raise

    async def discover(self) -> None:
        """Ask for the model's name and context.

        Raises:
            ConfigError: the server has other models, or is none.
            ServerFailed: it cannot be reached, or fails.
        """
        served = await self.listed()
        if served is None:
            return
        by_name = {model.id: model for model in served}
        name = next((name for name in self._names if name in by_name), None)
        if name is None:
            listed = ", ".join(map(repr, list(by_name)[:10])) or "no model"
            raise ConfigError(f"{self.url}: serves {listed}, not {self._names[0]!r}; name a model of it with --model")
        self.name = name
        self.context_length = by_name[name].context_length

    async def ask(self, request: Request, longest_s: float) -> Completion:
        """Return the answer to one request: text is continued, messages are answered as a chat.

        Args:
            request: the request.
            longest_s: longest time, in seconds.

        Raises:
            RequestFailed: the server refuses this request.
            ServerFailed: it gives no answer.
        """
        answer = Watched(request)
        call, read = partial(self._call, request), partial(self._read, answer)
        return self._completion(answer, *await self._sent(call, read, longest_s, request))

    async def close(self) -> None:
        """Close the connections."""
        await self._clients.close()

    # ------------------------------------------------------------------------------------------------- sending

    def _call(self, request: Request, client: Any) -> Any:
        options = {self._renamed.get(k, k): v for k, v in self._options(request).items() if k not in self._left_out}
        if isinstance(request.prompt, str):
            create = client.completions.with_streaming_response.create
            return create(model=self.name, prompt=request.prompt, extra_body=options)
        create = client.chat.completions.with_streaming_response.create
        return create(model=self.name, messages=list(request.prompt), extra_body=options)

    def _options(self, request: Request) -> dict[str, Any]:
        wanted, knows_all = request.sampling, self.continues
        options: dict[str, Any] = {"max_tokens": wanted.max_tokens, "temperature": wanted.temperature}
        options["top_p"] = wanted.top_p if wanted.temperature > 0 else 1.0
        usual = {"presence_penalty": 0.0, "frequency_penalty": 0.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
        options |= {n: value for n, usually in usual.items() if (value := getattr(wanted, n)) != usually or knows_all}
        if request.stop:
            options["stop"] = list(request.stop if knows_all else request.stop[:_MOST_STOPS])
        if (request.stop_loops or request.ends_before is not None) and "stream" not in self._left_out:
            # vLLM also tells how many tokens an answer has while it is written.
            options["stream"], more = True, {"continuous_usage_stats": True} if knows_all else {}
            options["stream_options"] = {"include_usage": True, **more}
        if request.fields and (knows_all or not isinstance(request.prompt, str)):
            options["response_format"] = response_format(request.fields)
        if wanted.sampling_seed:
            options["seed"] = stable_seed(request.key)
        if knows_all and not isinstance(request.prompt, str):
            options["chat_template_kwargs"] = {"enable_thinking": request.thinking}
            if isinstance(request.prompt, OpenTurn):
                options |= {"add_generation_prompt": False, "continue_final_message": True}
        return options

    async def _sent(
        self,
        call: Callable[[Any], Any],
        read: Callable[[Any], Awaitable[T]],
        longest_s: float,
        request: Request | None = None,
    ) -> T:
        """Send a request, and return what `read` makes of the answer."""
        import httpx
        import openai

        try:
            with self._clients.one() as client:
                async with asyncio.timeout(longest_s), call(client) as response:
                    return await read(response)
        except (TimeoutError, openai.APITimeoutError):
            text = f"no whole answer within {longest_s:g} s"
            raise ServerFailed(text, busy=True, timed_out=True) from None
        except openai.APIStatusError as error:
            if request is not None and error.status_code in (400, 422) and self._adapt(error, request):
                return await self._sent(call, read, longest_s, request)
            raise self._refusal(error) from None
        except (openai.APIError, httpx.HTTPError, OSError) as error:
            raise ServerFailed(f"cannot be reached ({said(error.__cause__ or error, self._key)})") from None
        except NonsenseError as error:
            raise ServerFailed(said(error, self._key)) from None

    async def _read(self, answer: Watched, response: Any) -> tuple[str | None, Any]:
        """Read an answer, whole or in parts; return the server's finish reason, and the usage that it tells.

        It is ended where it only repeats itself: closing the connection aborts it at the server.
        """
        tokens = answer.request.sampling.max_tokens
        if "text/event-stream" in response.headers.get("content-type", ""):
            answered = await read_stream(response, answer, LEAST_BYTES + BYTES_PER_EVENT * tokens)
            self._has_answered = True
            return answered
        body = await body_of(response, LEAST_BYTES + BYTES_PER_TOKEN * tokens)
        whole = decoded(without_key_in(body, self._key), _Answer)
        self._has_answered = True
        if not whole.choices:
            raise RequestFailed("no_output")
        choice = whole.choices[0]
        answer.add((choice.message.content if choice.message else choice.text) or "")
        return str(choice.finish_reason or "stop"), whole.usage

    def _adapt(self, error: Any, request: Request) -> bool:
        """Leave out an option that the server does not know, or give it its other name; return whether one was."""
        text = str(error)
        if not _UNKNOWN_OPTION.search(text.lower()):
            return False
        is_chat = not isinstance(request.prompt, str)
        for name in self._options(request):
            if name in self._left_out or not (error.param == name or re.search(rf"\b{name}\b", text)):
                continue
            if name == "max_tokens":
                if not is_chat or name in self._renamed:
                    return False
                self._renamed[name] = "max_completion_tokens"
                return True
            self._left_out.add(name)
            console.print(f"{self.url}: does not know the option {name}; it is left out", markup=False)
            return True
        return False

    def _refusal(self, error: Any) -> Exception:
        """Return what an error of the server means: for one request, or for the server."""
        status, text, headers = error.status_code, said(error, self._key), error.response.headers
        if headers.get("location"):
            target = shown(headers["location"])
            return ServerFailed(f"answers with a redirect to {target}, which is not followed", misconfigured=True)
        if status in (400, 413, 422):
            too_long = error.code == "context_length_exceeded" or _TOO_LONG.search(text.lower())
            return RequestFailed("prompt_too_long" if too_long else "refused", text)
        if status == 403 and self._has_answered:  # The key is right; what it was asked is not allowed.
            return RequestFailed("refused", text)
        if status in (401, 403):
            return ServerFailed("refuses the key; put the right one into OPENAI_API_KEY", misconfigured=True)
        if status in _NOT_THERE or status in NO_MODELS_LIST:
            return ServerFailed(f"{text}; check the URL (it mostly ends in /v1)", misconfigured=True, not_there=True)
        return ServerFailed(text, busy=status in _BUSY, retry_after=retry_after_s(headers))

    # ----------------------------------------------------------------------------------------------- answering

    def _completion(self, answer: Watched, ended: str | None, usage: Any) -> Completion:
        if answer.ended is None and ended in ("abort", "error"):
            raise ServerFailed(f"it ended the answer itself (finish_reason {ended})")
        if answer.ended is None and ended == "content_filter":
            raise RequestFailed("refused", "finish_reason content_filter")
        answer.finish(None if ended == "length" else "stop")
        by_itself, request = answer.ended, answer.request
        finish: FinishReason = "stop" if by_itself == "stop" else "repetition" if by_itself else "length"
        counts = usage if isinstance(usage, dict) else {}
        prompt = request.prompt if isinstance(request.prompt, str) else "".join(m["content"] for m in request.prompt)
        asked, answered = (
            n if isinstance(n := counts.get(f"{kind}_tokens"), int) and n >= 0 else self.estimated_tokens(of)
            for kind, of in (("prompt", prompt), ("completion", answer.written))
        )
        return Completion(without_key(answer.text, self._key), finish, asked, answered)

    def estimated_tokens(self, text: str) -> int:
        """Return about how many tokens a text has."""
        return -int(-len(text.encode("utf-8", "surrogatepass")) * self.tokens_per_byte // 1)
