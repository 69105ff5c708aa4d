"""A reward model: a tiny one of random weights, whose logit is what transformers computes."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfinstruct.engines.base import RequestFailed
from selfinstruct.errors import ConfigError
from selfinstruct.generation.scorers.interface import RatedAnswer
from selfinstruct.generation.scorers.reward import Reward
from selfinstruct.packaged import model_path
from selfinstruct.run.answer_scores import Place

PLACE = Place("p000000-00", 0, 0)


def made(folder: Path, outputs: int) -> Path:
    """Write a classifier with the demo model's tokenizer."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(model_path())
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        num_labels=outputs,
        pad_token_id=tokenizer.pad_token_id or 0,
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("reward"), 1)


async def test_the_score_is_the_logit_of_question_and_answer(model: Path) -> None:
    scorer = Reward(str(model))
    answers = [RatedAnswer(PLACE, "Name a river.", text) for text in ("The Rhine.", "A mountain.", "The Rhine.")]
    first, other, again = [(await scorer.score(answer)).value for answer in answers]
    assert first == again != other
    assert scorer.about == ("reward", str(model), "1")


async def test_what_is_too_long_for_the_model_has_no_score(model: Path) -> None:
    with pytest.raises(RequestFailed, match=r"prompt_too_long: \d+ tokens > 64"):
        await Reward(str(model)).score(RatedAnswer(PLACE, "Name a river. " * 40, "The Rhine."))


def test_a_model_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has 3 outputs; a reward model has one"):
        Reward(str(made(tmp_path / "three", 3)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError):
        Reward(str(tmp_path / "empty"))
