"""The real vLLM: two replicas with a LoRA adapter answer each kind of request as one engine does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selfinstruct.config.schema import Sampling
from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.engines.replicas import Replicas
from selfinstruct.engines.vllm import VLLMEngine
from selfinstruct.records import Completion, OpenTurn
from tests.integration.test_evaluation_vllm import adapter

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(1800)]

GREEDY = Sampling(temperature=0.0, max_tokens=48)
LOOPING = Sampling(temperature=0.0, max_tokens=600, repetition_penalty=0.05)
"""Prefers what is written already."""
TOLD = "Once upon a time there was a king"
QUESTION = [{"role": "user", "content": "Name three rivers."}]
ASKED = {
    "text": Request("text", TOLD, GREEDY),
    "stop string": Request("stop", TOLD, GREEDY, stop=("e",)),
    "end pattern": Request("pattern", TOLD, GREEDY, ends_before=re.compile(r"\s[a-z]{4}")),
    "loop": Request("loop", TOLD, LOOPING, stop_loops=True),
    "choice": Request("choice", f"{TOLD}. Is this a story?", GREEDY, choices=("Yes", "No")),
    "fields": Request("fields", TOLD, GREEDY, fields={"kind": ("tale", "news"), "length": ("short", "long")}),
    "chat": Request("chat", QUESTION, GREEDY),
    "thinking": Request("thinking", QUESTION, GREEDY, thinking=True),
    "user's turn": Request("turn", OpenTurn([{"role": "user", "content": "Name three"}]), GREEDY),
    "samples": Request("samples", TOLD, Sampling(temperature=1.0, max_tokens=24), samples=3),
    "too long": Request("long", TOLD, Sampling(temperature=0.0, max_tokens=4000)),
    "impossible": Request("impossible", TOLD, GREEDY, stop=("",)),
}
TEMPLATE = (
    "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% if not enable_thinking %}<think></think>{% endif %}{% endif %}"
)


async def answers(model: Path, **arguments: Any) -> tuple[type, dict[str, Any]]:
    """Return what the engine is, and its answer or refusal for each request; the requests follow one another."""
    engine = await VLLMEngine.start(str(model), arguments={"dtype": "float32", "max_model_len": 1024, **arguments})
    engine.chat_template = TEMPLATE
    told: dict[str, Any] = {}
    try:
        for name, request in ASKED.items():
            try:
                told[name] = await engine.generate(request)
            except RequestFailed as failure:
                told[name] = (failure.reason, failure.detail)
        ids = engine.encode(TOLD)
        told["log-probability"] = await engine.response_logprob(ids, engine.encode_text(" of a far land"))
        told["context"] = engine.context_length, engine.tells_logprobs, engine.stop_token_ids
    finally:
        await engine.close()
    return type(engine), told


async def test_two_replicas_answer_as_one_engine_does(tmp_path: Path) -> None:
    model = adapter(tmp_path / "adapter")
    kind, alone = await answers(model)
    assert kind is VLLMEngine
    kind, together = await answers(model, data_parallel_size=2)
    assert kind is Replicas
    assert together.pop("log-probability") == pytest.approx(alone.pop("log-probability"), rel=1e-4)
    for engine in (alone, together):
        sampled: Completion = engine.pop("samples")
        assert len(sampled.further) == 2 and sampled.completion_tokens > 24
        assert set(engine["choice"].choice_logprobs) == {"Yes", "No"}
    assert together.pop("choice").choice_logprobs == pytest.approx(alone.pop("choice").choice_logprobs, rel=1e-4)
    assert cacheless(together) == cacheless(alone)
    assert together["loop"].finish_reason == "repetition"
    assert together["too long"][0] == "prompt_too_long" and together["impossible"][0] == "refused"
    assert together["chat"].prompt_tokens != together["thinking"].prompt_tokens
    _, base = await answers(Path("demo"))
    assert base["text"].text != together["text"].text, "the adapter is not used"


def cacheless(told: dict[str, Any]) -> dict[str, Any]:
    """Return answers without the count of cached tokens: each replica has a cache of its own."""
    return {
        name: msgspec.structs.replace(answer, cached_tokens=None) if isinstance(answer, Completion) else answer
        for name, answer in told.items()
    }
