"""Build the embedded model from the corpus alone: tokenizer, training, model card.

    python -m tools.demo_model.build --max-minutes 60

Training is one process with plain torch: rows of packed documents, warm-up and cosine decay. It uses bfloat16 where the
hardware multiplies it faster than float32 (GPUs, CPUs with AMX: without it 2 cores took a third longer), and compiles
the model where there is a compiler. Matrices are trained with Muon, embeddings and norms with AdamW: in a trial over
the first 100 steps on 2 cores the loss was 2.08; with AdamW alone it was 2.73. A checkpoint is written every few
minutes, and `--resume` continues from it.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import tokenizers
import torch
import torch.nn.functional as F
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from selfinstruct.hardware import processor
from selfinstruct.packaged import model_path
from tools.demo_model.corpus import Corpus, Document, instructions, training_seeds

VOCABULARY = 4096
CONTEXT = 2048
BOS, EOS, PAD = "<s>", "</s>", "<pad>"
TOKENS_PER_STEP = 4096
SHORT_ROW, LONG_ROW = 768, 2048
LONG_STEPS = 4
"""Every fourth step trains on long rows. They cost more, and only teach the model to answer after a long prompt."""
PEAK_LEARNING_RATE = 2.5e-3
WARMUP = 0.03
LAST_LEARNING_RATE = 0.02
"""Share of the peak at the end of the cosine."""

ANSWER_WEIGHT = 5.0
"""Weight of an answer's tokens in the loss. Most tokens of a document are a free choice (which words to sort, whom to
thank). Only the answers, one token in ten, show what a task means."""
_ANSWER = re.compile(r"^(?:Output|Classification): (.+)$", re.M)

Row = tuple[list[int], list[float]]
"""Token ids, and the weight of each in the loss."""


@dataclass
class Log:
    """What `build_log.json` records."""

    command: str
    parameters: int
    tokens: int = 0
    tokens_with_loss: int = 0
    minutes: float = 0.0
    steps: int = 0
    distinct_instructions: int = 0
    hardware: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    loss: list[tuple[int, float, float]] = field(default_factory=list)
    """(step, mean weighted loss since the last entry, the same of answers alone)"""
    note: str = ""
    """Remarks that the numbers do not show; written by hand."""
    earlier: list[dict[str, Any]] = field(default_factory=list)
    """Logs of the trainings that the first weights came from, oldest first."""


def train_tokenizer(documents: Iterator[Document], characters: int = 4_000_000) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer, which can encode every text.

    Each digit is a token of its own, so that the model can be trained on numbers.

    Args:
        documents: text to train on.
        characters: how much of it to use.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts: list[str] = []
    while characters > 0:
        texts.append(next(documents).text)
        characters -= len(texts[-1])
    tokenizer.train_from_iterator(texts, trainer)
    bos, eos = tokenizer.token_to_id(BOS), tokenizer.token_to_id(EOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, bos), (EOS, eos)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def rows(documents: Iterator[Document], tokenizer: PreTrainedTokenizerFast, length: int) -> Iterator[Row]:
    """Yield rows of `length` + 1 tokens with the tokens' weights in the loss; each row begins with a new document.

    Args:
        documents: texts, without end.
        tokenizer: of the model.
        length: tokens of a row that the model reads.
    """
    eos = tokenizer.eos_token_id
    while True:
        ids: list[int] = []
        weights: list[float] = []
        while len(ids) <= length:
            document = next(documents)
            encoded = tokenizer.backend_tokenizer.encode(document.text)
            ids += [*encoded.ids, eos]
            by_character = bytearray(len(document.prompt)) + bytearray([1]) * (
                len(document.text) - len(document.prompt)
            )
            labelled = [answer.span(1) for answer in _ANSWER.finditer(document.text, len(document.prompt))]
            for start, end in (*labelled, *document.answers):
                by_character[start:end] = bytes([2]) * (end - start)
            weight = (0.0, 1.0, ANSWER_WEIGHT)
            weights += [weight[by_character[end - 1]] if end else 0.0 for _, end in encoded.offsets] + [1.0]
        yield ids[: length + 1], weights[: length + 1]


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return an untrained model: deep and narrow, few key-value heads, head size 64 (vLLM has CPU kernels for it)."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        num_hidden_layers=6,
        intermediate_size=640,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def learning_rate(progress: float, peak: float = PEAK_LEARNING_RATE) -> float:
    """Return the learning rate: warm-up, then cosine.

    Args:
        progress: share of the budget used, in [0, 1].
        peak: the highest rate.
    """
    if progress < WARMUP:
        return peak * (progress + 1e-4) / WARMUP
    cosine = (1 + math.cos(math.pi * min(1.0, (progress - WARMUP) / (1 - WARMUP)))) / 2
    return peak * (LAST_LEARNING_RATE + (1 - LAST_LEARNING_RATE) * cosine)


def new_optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices inside the layers, and AdamW for the embedding and the norms.

    One learning rate suits both.
    """
    inner = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(inner, lr=0.0, momentum=0.95, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=0.0, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def loss_of(
    model: LlamaForCausalLM, body: Callable[..., Any], batch: list[Row], device: torch.device
) -> tuple[torch.Tensor, float]:
    """Return the weighted mean cross entropy, and the plain mean over the tokens of answers.

    Logits are computed only for tokens with a weight: logits of all tokens would cost a third of a step.

    Args:
        model: for its head.
        body: `model.model`, or a compiled form of it.
        batch: rows of one length.
        device: where the model is.
    """
    ids = torch.tensor([row[0] for row in batch], device=device)  # (rows, length + 1)
    weights = torch.tensor([row[1] for row in batch], device=device)[:, 1:]  # (rows, length)
    trained = weights > 0
    fast = device.type == "cuda" or torch.cpu._is_amx_tile_supported()
    with torch.autocast(device.type, torch.bfloat16, enabled=fast):
        hidden = body(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
        logits = model.lm_head(hidden[trained])
    losses = F.cross_entropy(logits.float(), ids[:, 1:][trained], reduction="none")
    weights = weights[trained]
    return (losses * weights).sum() / weights.sum(), losses.detach()[weights > 1].mean().item()


def train(
    output: Path,
    *,
    max_minutes: float,
    seed: int,
    threads: int,
    resume: bool = False,
    save_minutes: float = 5.0,
    start_from: Path | None = None,
    peak_learning_rate: float = PEAK_LEARNING_RATE,
) -> Log:
    """Train within a time budget and save the model. The schedule follows the clock, so that it always ends in time.

    Args:
        output: folder of the model.
        max_minutes: time budget.
        seed: of the corpus and of the weights.
        threads: CPU threads.
        resume: continue from the last checkpoint, if there is one.
        save_minutes: time between checkpoints.
        start_from: folder of a model to train further; default: train a new model.
        peak_learning_rate: the highest learning rate.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    checkpoint = output.with_name(f"{output.name}.checkpoint.pt")
    corpus = Corpus(training_seeds(), seed)
    if resume and checkpoint.exists():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(output)
    elif start_from is not None:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(start_from)
    else:
        tokenizer = train_tokenizer(corpus.documents("tokenizer"))
    model = new_model(tokenizer).to(device)
    # On a CPU the compiled model takes three quarters of the time for short rows; long rows are not faster.
    compiled = torch.compile(model.model) if shutil.which("g++") or device.type == "cuda" else model.model
    if start_from is not None:
        model.load_state_dict(LlamaForCausalLM.from_pretrained(start_from, dtype=torch.float32).state_dict())
    optimizers = new_optimizers(model)
    log = Log(
        command=f"python -m tools.demo_model.build --max-minutes {max_minutes:g} --seed {seed}",
        parameters=sum(p.numel() for p in model.parameters()),
        distinct_instructions=len(instructions(seed)),
        hardware={"device": torch.cuda.get_device_name() if device.type == "cuda" else processor()},
        versions={
            "torch": str(torch.__version__),  # a class of its own, which a checkpoint must not hold
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
        },
        settings={
            "tokens_per_step": TOKENS_PER_STEP,
            "rows": [SHORT_ROW, LONG_ROW],
            "peak_learning_rate": peak_learning_rate,
            "answer_weight": ANSWER_WEIGHT,
        },
    )
    log.hardware["threads"] = threads
    if start_from is not None:
        log.command += f" --start-from {start_from.name} --learning-rate {peak_learning_rate:g}"
        before_log = json.loads((start_from / "build_log.json").read_text())
        log.earlier = [*before_log.pop("earlier", []), before_log]
    if resume and checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved_state in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved_state)
        log = Log(**state["log"])
        click.echo(f"resumed at step {log.steps}, {log.minutes:.1f} min")
    # A resumed run continues with other documents of the same corpus, not with those it has seen.
    stream = f"train {len(log.earlier)} {log.steps}"
    short = rows(corpus.documents(stream), tokenizer, SHORT_ROW)
    long = rows(corpus.documents(stream, long=True), tokenizer, LONG_ROW)
    before, since, saved, recent = log.minutes, time.monotonic(), time.monotonic(), list[tuple[float, float]]()
    save(output, model, tokenizer, log)
    while (progress := log.minutes / max_minutes) < 1:
        is_long = log.steps % LONG_STEPS == LONG_STEPS - 1
        length = LONG_ROW if is_long else SHORT_ROW
        batch = [next(long if is_long else short) for _ in range(TOKENS_PER_STEP // length)]
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(progress, peak_learning_rate)
        loss, answer_loss = loss_of(model, model.model if is_long else compiled, batch, device)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        log.steps += 1
        log.tokens += length * len(batch)
        log.tokens_with_loss += sum(weight > 0 for _, weights in batch for weight in weights[1:])
        log.minutes = before + (time.monotonic() - since) / 60
        recent.append((loss.item(), answer_loss))
        if log.steps % 20 == 0:
            # A step of proposals alone has no answers, and no mean of them.
            mean, mean_answer = (round(float(np.nanmean(values)), 4) for values in zip(*recent, strict=True))
            log.loss.append((log.steps, mean, mean_answer))
            recent.clear()
            speed = log.tokens / log.minutes / 60
            click.echo(
                f"step {log.steps}  loss {mean:.3f}  answers {mean_answer:.3f}  {log.tokens / 1e6:.2f} M tokens  "
                f"{speed:,.0f} tokens/s  {log.minutes:.1f} of {max_minutes:g} min"
            )
        if time.monotonic() - saved > 60 * save_minutes:
            saved = time.monotonic()
            save(output, model, tokenizer, log)
            states = [optimizer.state_dict() for optimizer in optimizers]
            torch.save({"model": model.state_dict(), "optimizers": states, "log": asdict(log)}, checkpoint)
    save(output, model, tokenizer, log)
    checkpoint.unlink(missing_ok=True)
    return log


def save(output: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, log: Log) -> None:
    """Write the model in bfloat16, its tokenizer, the log and the model card. Readers never see half a model.

    Args:
        output: folder of the model.
        model: in float32.
        tokenizer: of the model.
        log: of the training.
    """
    scratch = output.with_name(f"{output.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    half = LlamaForCausalLM(model.config)
    half.load_state_dict(model.state_dict())
    half.to(torch.bfloat16).save_pretrained(scratch)
    tokenizer.save_pretrained(scratch)
    (scratch / "build_log.json").write_text(json.dumps(asdict(log), indent=1) + "\n")
    (scratch / "README.md").write_text(card(log))
    output.mkdir(parents=True, exist_ok=True)
    for path in scratch.iterdir():
        path.chmod(0o644)  # safetensors writes files that only their owner can read
        path.replace(output / path.name)
    scratch.rmdir()


_COUNTS = ("tokens", "tokens_with_loss", "steps", "minutes")


def card(log: Log) -> str:
    """Return the model card."""
    last = f"{log.loss[-1][1]:.3f}, {log.loss[-1][2]:.3f}" if log.loss else "none yet"
    parts = [*log.earlier, asdict(log)]
    tokens, trained, steps, minutes = (sum(part[key] for part in parts) for key in _COUNTS)
    commands = "\n".join(f"    {part['command']}" for part in parts)
    notes = "".join(f"\n- `{part['command'].split('build ')[1]}`: {part['note']}" for part in parts if part.get("note"))
    return f"""---
library_name: transformers
license: apache-2.0
language: en
pipeline_tag: text-generation
---

# The demo model of selfinstruct

A language model of {log.parameters / 1e6:.1f} M parameters (Llama architecture, vocabulary {VOCABULARY}, context
{CONTEXT}) that exists to show the Self-Instruct method on any computer, offline and in minutes. It continues lists of
tasks and of worked examples in the form of selfinstruct's prompts. It knows a few hundred words and some fifty families
of simple tasks (letters, words, small numbers, simple sentences). It is tiny, and silly outside of them. It is a base
model: it has seen no dialogue and does not follow a bare instruction.

Built from text that the project generates ({log.distinct_instructions:,} different instructions of the families; the
seed tasks appear only in prompts, without loss) by

{commands}
{notes}

| | |
| --- | --- |
| tokens seen, of these trained | {tokens / 1e6:.1f} M, {trained / 1e6:.1f} M |
| steps | {steps:,} |
| minutes | {minutes:.0f} |
| last loss, of answers | {last} |
| hardware | {", ".join(f"{key} {value}" for key, value in log.hardware.items())} |
| versions | {", ".join(f"{key} {value}" for key, value in log.versions.items())} |

`build_log.json` holds the loss curve. `python -m tools.demo_model.check RUN_DIR` judges what it wrote in a run.
"""


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=model_path(), help="Directory of the model.")
@click.option("--max-minutes", default=60.0, show_default=True, help="Time budget of the training.")
@click.option("--save-minutes", default=5.0, show_default=True, help="Time between checkpoints.")
@click.option("--threads", default=torch.get_num_threads(), show_default="all cores", help="CPU threads.")
@click.option("--seed", default=0, show_default=True, help="Seed of the corpus and of the weights.")
@click.option("--learning-rate", "peak", default=PEAK_LEARNING_RATE, show_default=True, help="Highest learning rate.")
@click.option("--start-from", type=click.Path(exists=True, path_type=Path), help="Model directory to train further.")
@click.option("--resume", is_flag=True, help="Continue from the last checkpoint.")
def main(
    output: Path,
    max_minutes: float,
    save_minutes: float,
    threads: int,
    seed: int,
    peak: float,
    start_from: Path | None,
    resume: bool,
) -> None:
    """Build the embedded demo model.

    Example: python -m tools.demo_model.build --max-minutes 60
    """
    log = train(
        output,
        max_minutes=max_minutes,
        seed=seed,
        threads=threads,
        resume=resume,
        save_minutes=save_minutes,
        start_from=start_from,
        peak_learning_rate=peak,
    )
    click.echo(f"done: {log.tokens / 1e6:.1f} M tokens in {log.minutes:.1f} min, saved to {output}")


if __name__ == "__main__":
    main()
