"""The real vLLM on CPU loads a model that also sees."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from selfinstruct.engines.vllm import VLLMEngine
from tests.gpu_box.families import FAMILIES
from tests.gpu_box.model_folder import tiny
from tests.integration.engine_driver import ASKED

pytestmark = [pytest.mark.integration, pytest.mark.long]


def paligemma(folder: Path) -> Path:
    """Write a tiny model of vision and language: of those families the one that vLLM loads without torchvision."""
    import torch
    from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

    words = tiny(FAMILIES["gemma3"], folder / "words")
    width = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    size = json.loads((words / "config.json").read_text())["text_config"]["vocab_size"]
    text = {"model_type": "gemma", "num_key_value_heads": 1, "head_dim": 32, "vocab_size": size, **width}
    vision = {"model_type": "siglip_vision_model", "image_size": 28, "patch_size": 14, "projection_dim": 64, **width}
    config = PaliGemmaConfig(text_config=text, vision_config=vision, projection_dim=64, image_token_index=5)
    torch.manual_seed(0)
    PaliGemmaForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(folder)
    for path in words.glob("token*"):
        shutil.copy(path, folder)
    return folder


async def test_a_vision_language_model_is_loaded_as_a_language_model(tmp_path: Path) -> None:
    engine = await VLLMEngine.start(str(paligemma(tmp_path)))
    try:
        config = engine._llm.vllm_config.model_config
        assert config.architecture == "PaliGemmaForConditionalGeneration"
        assert config.multimodal_config.language_model_only and not config.supports_multimodal_inputs
        assert (await engine.generate(ASKED)).completion_tokens
    finally:
        await engine.close()
