"""The real vLLM's configuration of an engine that is one of several copies on a machine."""

from __future__ import annotations

from typing import Any

import pytest

from selfinstruct.engines import vllm
from selfinstruct.packaged import model_path

pytestmark = pytest.mark.integration


def test_the_workers_of_a_copy_skip_the_gpus_of_the_copies_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.v1.engine.async_llm import AsyncLLM

    def configuration(config: Any, **_: Any) -> Any:
        return config

    monkeypatch.setattr(AsyncLLM, "from_vllm_config", staticmethod(configuration))
    parallel = [vllm._start_llm(str(model_path()), None, {}, copy=copy).parallel_config for copy in range(3)]
    assert [config.data_parallel_rank_local or 0 for config in parallel] == [0, 1, 2]
    # Each is an engine of its own: none waits for the others.
    assert [config.data_parallel_size for config in parallel] == [1, 1, 1]
