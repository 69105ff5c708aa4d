"""Start the demo engine, check what only the real vLLM can show about it, say so, and wait to be killed."""

from __future__ import annotations

import asyncio
import dataclasses

from selfinstruct.config.section import Sampling
from selfinstruct.engines.base import Request, RequestFailed

ASKED = Request("proposal/0", "Once upon a time", Sampling(max_tokens=5))


async def refused(call: object) -> str:
    """Return why the engine refuses a request; its other requests go on."""
    try:
        await call  # type: ignore[misc]
    except RequestFailed as failure:
        return str(failure)
    raise AssertionError("it was not refused")


async def main() -> None:
    """Start, check, and sleep until killed."""
    from selfinstruct.engines.vllm import VLLMEngine

    engine = await VLLMEngine.start("demo", arguments={"max_model_len": 256})
    # vLLM's defaults for offline use; in `AsyncLLM`'s own context it is 128 sequences, on every GPU as well.
    assert engine._llm.vllm_config.scheduler_config.max_num_seqs == 256
    # A refusal of vLLM's own, in its words, is this request's; the engine answers the next one.
    assert "refused" in await refused(engine.response_logprob([10**9], [1]))
    no_stop = await refused(engine.generate(dataclasses.replace(ASKED, stop=("",))))
    assert "refused" in no_stop and "stop" in no_stop
    assert (await engine.generate(ASKED)).text
    asked = [dataclasses.replace(ASKED, key=str(n), prompt=f"{n}", choices=("Yes", "No")) for n in range(20)]
    answers = await asyncio.gather(*map(engine.generate, asked))
    assert {(answer.text, answer.completion_tokens) for answer in answers} <= {("Yes", 1), ("No", 1)}
    print("checked", flush=True)
    await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(main())
