"""The real vLLM on CPU: what only it can show about `VLLMEngine`."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from selfinstruct.config.schema import Sampling
from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.engines.vllm import VLLMEngine

ASKED = Request("proposal/0", "Once upon a time", Sampling(max_tokens=5))


async def test_the_demo_engine() -> None:
    """One engine for all: a start takes most of the time."""
    engine = await VLLMEngine.start("demo", arguments={"max_model_len": 256})
    try:
        # vLLM's defaults for offline use; in `AsyncLLM`'s own context it is 128 sequences, on every GPU as well.
        assert engine._llm.vllm_config.scheduler_config.max_num_seqs == 256
        # A refusal of vLLM's own, in its words, is this request's; the engine answers the next one.
        with pytest.raises(RequestFailed, match="refused"):
            await engine._complete([10**9], max_tokens=1)
        refused = dataclasses.replace(ASKED, stop=("",))
        with pytest.raises(RequestFailed, match=r"refused.*stop"):
            await engine.generate(refused)
        assert (await engine.generate(ASKED)).text
        asked = [dataclasses.replace(ASKED, key=str(n), prompt=f"{n}", choices=("Yes", "No")) for n in range(20)]
        answers = await asyncio.gather(*map(engine.generate, asked))
        assert {(a.text, a.completion_tokens) for a in answers} <= {("Yes", 1), ("No", 1)}
    finally:
        await engine.close()
