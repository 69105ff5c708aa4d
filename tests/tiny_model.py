"""A model small enough to train in a test: a byte-level tokenizer and a two-layer Llama with random weights."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TEXT = [
    "<|user|>\nWhat is the capital of France?\n<|assistant|>\nParis.",
    "<|system|>\nBe brief.\n<|user|>\nSort the words.\n\nriver apple stone\n<|assistant|>\napple river stone",
    "### Instruction:\nName a colour.\n\n### Response:\nblue",
]


FRUITS = (
    "apple banana cherry date elder fig grape hazel iris jujube kiwi lemon mango nectar olive pear quince rowan "
    "sorb thorn ugli vanilla walnut ximenia yuzu zest"
).split()


def tokenizer(special: Sequence[str] = ("<s>", "</s>", "<pad>"), *, adds_bos: bool = True, **names: str | None) -> Any:
    """A byte-level BPE tokenizer with a few merges.

    Args:
        special: special tokens, with the ids 0, 1, 2, ...
        adds_bos: whether it puts `<s>` before every text, as Llama's does.
        names: `bos_token`, `eos_token`, `pad_token` where they are others than usual.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        TEXT, trainers.BpeTrainer(vocab_size=320, special_tokens=list(special), initial_alphabet=alphabet)
    )
    if adds_bos:
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    named = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "model_max_length": 512} | names
    return PreTrainedTokenizerFast(tokenizer_object=core, **{k: v for k, v in named.items() if v is not None})


def save(folder: Path, *, hidden_size: int = 32, seed: int = 0) -> Path:
    """Save a model with its tokenizer; returns the folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    words = tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def row(name: str, question: str, answer: str) -> dict[str, Any]:
    """A row as the export writes it."""
    return {
        "id": name,
        "instruction": question,
        "input": "",
        "output": answer,
        "is_classification": False,
        "origin": "generated",
        "prompt": [{"role": "user", "content": question}],
        "completion": [{"role": "assistant", "content": answer}],
    }


def dataset(folder: Path, num_rows: int = 16, num_held_out: int = 4) -> Path:
    """Write an exported dataset: a colour for every fruit, to be learnt by heart; held-out fruits have any colour."""
    draw = random.Random(0)
    colours = ["red", "blue", "green", "black"]
    rows = [row(f"p{n:06d}-00/0", f"{FRUITS[n % 26]} {n // 26}", draw.choice(colours)) for n in range(num_rows)]
    held_out = [row(f"q{n:06d}-00/0", f"berry {n}", draw.choice(colours)) for n in range(num_held_out)]
    write(folder, train=rows, validation_seen=held_out[::2], validation_unseen=held_out[1::2])
    return folder


def write(folder: Path, **splits: list[dict[str, Any]]) -> None:
    """Write splits as JSON Lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
