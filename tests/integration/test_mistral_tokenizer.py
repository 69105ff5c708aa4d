"""Mistral's repositories hold a second tokenizer, which mistral-common reads (it takes seconds to import)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.engines import chat_templates
from selfinstruct.engines.tokenized_prompts import TokenizedPrompts
from selfinstruct.errors import ConfigError
from tests.gpu_box import model_folder
from tests.gpu_box.families import FAMILIES
from tuning.training import prompt_formats

pytestmark = pytest.mark.integration


def test_the_second_tokenizer_has_no_template(tmp_path: Path) -> None:
    common = pytest.importorskip("mistral_common")
    folder = model_folder.full(FAMILIES["mistral"], tmp_path)
    shutil.copy(Path(common.__file__).parent / "data/tekken_240911.json", folder / "tekken.json")
    tokenizer: Any = chat_templates.load_tokenizer(str(folder))
    assert tokenizer.chat_template
    assert tokenizer.convert_ids_to_tokens(chat_templates.turn_end(tokenizer)) == "</s>"
    assert chat_templates.tokenizer_mode(str(folder)) == {"tokenizer_mode": "hf"}
    assert chat_templates.tokenizer_mode(str(model_folder.full(FAMILIES["qwen3"], tmp_path / "qwen"))) == {}

    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).unlink()
    alone = chat_templates.load_tokenizer(str(folder))
    assert alone.eos_token == "</s>"
    assert TokenizedPrompts(alone, 4096, {}).encode("Hi")[0] == alone.bos_token_id, "text is completed all the same"
    with pytest.raises(ConfigError, match=r"Mistral's own format alone.*tokenizer\.json"):
        prompt_formats.prepare(alone)
    assert chat_templates.tokenizer_mode(str(folder)) == {}
