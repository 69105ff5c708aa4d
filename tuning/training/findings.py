"""The checks of data and settings before training. Each returns its findings, so that all are reported at once.

The checks look at the ids and labels that the model is going to be trained on, not at what options promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, Protocol

from selfinstruct.engines.models import LORA_RANKS
from selfinstruct.errors import InputError
from selfinstruct.formats.conversations import Conversation
from selfinstruct.run.training_record import Finding
from tuning.training.data import IGNORE_INDEX, TokenizedRow

_MAX_EXAMPLES = 5
_SHOWN_TOKENS = 30
"""Tokens at either end of a stretch that `show_row` prints; the rest of a longer stretch is left out."""
_SEPARATOR = "│"
"""Printed between tokens; hardly any text contains it."""


@dataclass(frozen=True, slots=True)
class SequenceLimits:
    """How a tokenized row must end, and how long it may be.

    Attributes:
        eos_token_id: id of `eos_token`.
        eos_token: the token that must end every answer.
        max_length: longest sequence to train on, in tokens. None: nothing is cut.
        keeps: the part of a longer sequence that is kept; `all` where packing splits it into several.
    """

    eos_token_id: int
    eos_token: str
    max_length: int | None
    keeps: Literal["start", "end", "all"] = "start"

    def cut(self, labels: Sequence[int]) -> Sequence[int]:
        """Return the labels of a row that are left within `max_length`."""
        if self.max_length is None or self.keeps == "all":
            return labels
        return labels[: self.max_length] if self.keeps == "start" else labels[-self.max_length :]


def check_rows(rows: Sequence[TokenizedRow], limits: SequenceLimits) -> list[Finding]:
    """Check the training rows, which are at full length, for everything that depends on them alone."""
    if not rows:
        message = "nothing to train on: train.jsonl has no rows; generate more, or see why candidates are rejected"
        return [Finding("no_rows", message, fatal=True)]
    return [finding for check in _ROW_CHECKS for finding in check(rows, limits)]


def of_rows(
    name: str, rows: Sequence[TokenizedRow] | Sequence[Conversation], message: Callable[[int], str]
) -> list[Finding]:
    """Return a finding about rows, or none where there are no rows.

    Args:
        name: the finding's.
        rows: those concerned.
        message: makes the finding's message of their number.
    """
    if not rows:
        return []
    return [Finding(name, message(len(rows)), count=len(rows), examples=tuple(row.id for row in rows[:_MAX_EXAMPLES]))]


class _Adapter(Protocol):
    """The part of TRL's `ModelConfig` that decides about the adapter."""

    use_peft: bool
    lora_r: int
    use_dora: bool
    lora_modules_to_save: list[str] | None


def check_settings(
    model: _Adapter, *, merge: str = "both", packing: str | None = None, new_end_token: bool = False
) -> list[Finding]:
    """Check the settings that are wrong for any data.

    Args:
        model: TRL's `ModelConfig`.
        merge: what is kept of an adapter.
        packing: TRL's packing strategy, or None without packing.
        new_end_token: the adapter holds embeddings of an end token that is new to the model.
    """
    findings = []
    if packing == "wrapped":
        message = (
            "--packing_strategy wrapped cuts rows wherever a block ends, and lets the documents of a block attend to "
            "each other; give --packing_strategy bfd"
        )
        findings.append(Finding("documents_attend", message))
    if model.use_peft and merge != "merged":
        remedy = "the merged weights can be served" if merge == "both" else "also keep the merged weights: --merge both"
        if model.lora_r > max(LORA_RANKS):
            message = f"lora_r {model.lora_r} is above {max(LORA_RANKS)}, the highest that vLLM serves as an adapter"
            findings.append(Finding("lora_rank", f"{message}; {remedy}"))
        for name, value in (("use_dora", model.use_dora), ("lora_modules_to_save", model.lora_modules_to_save)):
            if value:
                message = f"vLLM serves no adapter made with --{name}; {remedy}"
                findings.append(Finding("adapter_kind", message))
        if new_end_token:
            message = f"vLLM serves no adapter with embeddings, and a new end token needs them; {remedy}"
            findings.append(Finding("adapter_kind", message))
    return findings


def check_new_end(end_token: str, *, trained: bool, named: bool = False) -> list[Finding]:
    """Check that an end token can be learnt which the base model does not end a text with.

    Args:
        end_token: the token.
        trained: whether the training changes its row of the output layer.
        named: the model's files name it as an end token, and its weights show that it never learnt it.
    """
    unlearnt = "in the output layer its row is that of tokens the model never saw"
    if trained:
        message = (
            f"the model has not learnt its end token {end_token!r} yet: {unlearnt}; this training changes that row"
        )
        return [Finding("end_unlearnt", message)] if named else []
    reason, remedy = "it is none of its own", "give --prompt_format default without --eos_token, or"
    if named:
        reason, remedy = unlearnt, "name one that it knows (--eos_token), or give"
    message = (
        f"the model would not learn to end with {end_token!r}: {reason}, and the adapter leaves the output layer as it "
        f"is; {remedy} --lora_modules_to_save lm_head"
    )
    return [Finding("end_not_learnt", message)]


def check_answers(rows: Sequence[Conversation]) -> list[Finding]:
    """Check that every training row has an answer: on an empty one, the model learns to end at once."""
    return of_rows(
        "empty_answer",
        [row for row in rows if not row.completion[-1]["content"].strip()],
        lambda n: f"{n} training rows have an empty answer: the model learns to say nothing; leave them out",
    )


def check_control_tokens(
    rows: Sequence[Conversation], found_in: Callable[[str], bool], *, allowed: bool
) -> list[Finding]:
    """Count the rows with texts that read like the model's control tokens.

    Args:
        rows: the training rows.
        found_in: tells whether a text holds such a token.
        allowed: it is trained as a control token.
    """
    holding = [row for row in rows if any(found_in(message["content"]) for message in (*row.prompt, *row.completion))]
    consequence = (
        "are trained as such: a text can end a turn and open another"
        if allowed
        else "are trained as plain text (--allow_control_tokens true trains them as control tokens)"
    )
    return of_rows(
        "control_tokens",
        holding,
        lambda n: f"{n} rows hold control tokens of the model in their texts; these {consequence}",
    )


def check_template(rows: Sequence[Conversation], *, has_markers: bool, assistant_only_loss: bool) -> list[Finding]:
    """Check that the chat template has `{% generation %}` markers where they decide which tokens are trained.

    Args:
        rows: the training rows.
        has_markers: whether the template has them.
        assistant_only_loss: whether the loss is on the text between markers alone.
    """
    if has_markers:
        return []
    if assistant_only_loss:
        message = (
            "the chat template has no {% generation %} markers, so --assistant_only_loss would train on no token; "
            "leave it out (the loss is on the response alone anyway), or give --prompt_format default"
        )
        return [Finding("no_generation_markers", message, fatal=True)]
    mixed = [row for row in rows if any(message["role"] != "assistant" for message in row.completion)]
    return of_rows(
        "no_generation_markers",
        mixed,
        lambda n: (
            f"in {n} rows the completion contains turns of other roles than the assistant, and the model is trained on "
            "them too: the chat template has no {% generation %} markers to tell them apart"
        ),
    )


def check_padding(
    collate: Callable[[list[dict[str, Any]]], Any], rows: Sequence[TokenizedRow], eos_token_id: int
) -> list[Finding]:
    """Check that a padded batch keeps the labels of end tokens: masking by token id loses them when pad is EOS.

    Args:
        collate: makes a batch of rows.
        rows: the shortest and the longest make the batch, so that one of them is padded.
        eos_token_id: id of the token that ends an answer.
    """
    by_length = sorted((row for row in rows if eos_token_id in row.labels), key=lambda row: len(row.input_ids))
    if not by_length:
        return []
    pair = [by_length[0], by_length[-1]]
    batch = collate([{"input_ids": row.input_ids, "labels": row.labels} for row in pair])
    expected = sum(row.labels.count(eos_token_id) for row in pair)
    kept = int((batch["labels"] == eos_token_id).sum())
    if kept == expected:
        return []
    message = (
        f"padding masks the end token (a batch keeps {kept} of {expected} labels), so the model would not learn to "
        "stop; use a pad token other than the end token"
    )
    return [Finding("end_masked_by_padding", message, fatal=True)]


def check_packing(
    logits: Callable[[dict[str, Any]], Any],
    collate: Callable[[list[dict[str, Any]]], dict[str, Any]],
    rows: Sequence[TokenizedRow],
    tolerance: float,
    num_ids: int,
) -> list[Finding]:
    """Check, on the model itself, that a packed document's predictions do not depend on the one before it.

    Args:
        logits: the model's predictions for a batch, (1, sequence, vocabulary).
        collate: makes a batch of packed rows.
        rows: the two shortest are packed together.
        tolerance: relative to the largest prediction; smaller differences are rounding.
        num_ids: ids below this one may replace those of the first document.
    """
    short = sorted((row for row in rows if len(row.input_ids) > 1), key=lambda row: len(row.input_ids))
    if len(short) < 2:
        return []
    first, second = short[0].input_ids, short[1].input_ids
    other = [(token + 1 + position) % num_ids for position, token in enumerate(first)]

    def predictions_after(before: list[int]) -> Any:
        ids = [*before, *second]
        packed = {"input_ids": ids, "labels": ids, "seq_lengths": [len(before), len(second)]}
        return logits(collate([packed]))[0, len(before) :].float()

    # On CPU the first pass of a process can give slightly different numbers, while its threads set up their kernels: a
    # difference counts only when a second pass shows it, too.
    one, again, two = predictions_after(first), predictions_after(first), predictions_after(other)
    if min(float((x - two).abs().max()) for x in (one, again)) <= tolerance * float(two.abs().max()):
        return []
    message = (
        "packed documents attend to each other: the attention of this model has no kernel that keeps them apart; "
        "install flash-attention and give --attn_implementation flash_attention_2, or tune without --packing"
    )
    return [Finding("documents_attend", message, fatal=True)]


def require(findings: Sequence[Finding]) -> None:
    """Raise an error with all findings if one of them is fatal.

    Raises:
        InputError: training would be useless.
    """
    if any(finding.fatal for finding in findings):
        raise InputError("\n".join(map(str, findings)))


def show_row(row: TokenizedRow, tokenizer: Any, *, full: bool = False) -> Iterator[str]:
    """Yield the lines that show a row token by token, with the trained tokens marked.

    Args:
        row: the row to show.
        tokenizer: turns its ids into text.
        full: one line per token, with its position and id; else one line per stretch, long ones shortened.
    """
    yield f"row {row.id}: {len(row.input_ids)} tokens, {row.num_trained} of them trained"
    texts = [tokenizer.decode([token]) for token in row.input_ids]
    if full:
        for position, (token, label) in enumerate(zip(row.input_ids, row.labels, strict=True)):
            yield f"{position:5} {token:7} {_mark(label)} {texts[position]!r}"
        return
    for mark, positions in groupby(range(len(texts)), key=lambda position: _mark(row.labels[position])):
        shown = [repr(texts[position])[1:-1] for position in positions]
        if len(shown) > 2 * _SHOWN_TOKENS:
            left_out = f"... {len(shown) - 2 * _SHOWN_TOKENS} tokens ..."
            shown = [*shown[:_SHOWN_TOKENS], left_out, *shown[-_SHOWN_TOKENS:]]
        yield f"  {mark} {_SEPARATOR.join(shown)}"


TRAINED_MARK = "trained"
"""Precedes the trained tokens in `show_row`."""


def _mark(label: int) -> str:
    return TRAINED_MARK if label != IGNORE_INDEX else " " * len(TRAINED_MARK)


# ------------------------------------------------------------------------------------------- checks of check_rows


def _masked(rows: Sequence[TokenizedRow], limits: SequenceLimits) -> list[Finding]:
    masked = [row for row in rows if not row.num_trained]
    if len(masked) == len(rows):
        message = f"nothing to train on: the loss ignores every token of the {len(rows)} rows; is `completion` empty?"
        return [Finding("all_masked", message, fatal=True, count=len(rows))]
    return of_rows("masked", masked, lambda n: f"{n} rows have no token to train on; they are left out")


def _end(rows: Sequence[TokenizedRow], limits: SequenceLimits) -> list[Finding]:
    trained = [row for row in rows if row.num_trained]
    without = [row for row in trained if limits.eos_token_id not in row.labels]
    if trained and len(without) == len(trained):
        message = (
            f"no row trains the end token {limits.eos_token!r}, so the model would not stop: the chat template does "
            "not write it after an answer, or does not mark it; use --prompt_format default, or name the token that "
            "ends a turn: --eos_token"
        )
        return [Finding("end_not_trained", message, fatal=True, count=len(without))]
    return of_rows(
        "end_not_trained", without, lambda n: f"in {n} rows the end token {limits.eos_token!r} is not trained"
    )


def _inner_end(rows: Sequence[TokenizedRow], limits: SequenceLimits) -> list[Finding]:
    inner = [row for row in rows if row.labels.count(limits.eos_token_id) > 1]
    text = f"rows contain the end token {limits.eos_token!r} inside their answers: the model learns to stop there"
    return of_rows("end_in_text", inner, lambda n: f"{n} {text}")


def _length(rows: Sequence[TokenizedRow], limits: SequenceLimits) -> list[Finding]:
    limit = limits.max_length
    if limit is None:
        return []
    trained = [row for row in rows if row.num_trained]
    longer = [row for row in trained if len(row.input_ids) > limit]
    longest = max((len(row.input_ids) for row in longer), default=0)
    lost = [row for row in longer if not has_trained(limits.cut(row.labels))]
    if lost and len(lost) == len(trained):
        message = f"nothing to train on: every prompt fills max_length {limit} (the longest row has {longest} tokens)"
        return [Finding("too_long", f"{message}; raise max_length", fatal=True, count=len(lost))]
    cut = [row for row in longer if has_trained(limits.cut(row.labels))]
    tokens = sum(len(row.input_ids) - limit for row in cut)
    consequence = {
        "start": f"{tokens} tokens at the ends of their answers are cut, and with them the end token",
        "end": f"{tokens} tokens at the beginnings of their prompts are cut",
        "all": "they are split, and each part is trained without the text before it",
    }
    return [
        *of_rows(
            "too_long",
            lost,
            lambda n: f"{n} rows are left out: their prompts alone fill max_length {limit}; raise max_length",
        ),
        *of_rows(
            "cut",
            cut,
            lambda n: (
                f"{n} rows are longer than max_length {limit} (the longest has {longest} tokens): "
                f"{consequence[limits.keeps]}; raise max_length"
            ),
        ),
    ]


def _prompt(rows: Sequence[TokenizedRow], limits: SequenceLimits) -> list[Finding]:
    return of_rows(
        "prompt_differs",
        [row for row in rows if row.lost_prompt],
        lambda n: (
            f"in {n} rows the chat template writes the prompt differently once an answer follows: the model is tuned "
            "on other prompts than it will be asked with"
        ),
    )


def _answer(rows: Sequence[TokenizedRow], limits: SequenceLimits) -> list[Finding]:
    return of_rows(
        "answer_differs",
        [row for row in rows if row.lost_answer],
        lambda n: (
            f"in {n} rows the chat template changes the answer or leaves out a part of it (thinking, for example): "
            "the model is not trained on what the dataset holds; --prompt_format default writes all of it"
        ),
    )


_ROW_CHECKS: tuple[Callable[[Sequence[TokenizedRow], SequenceLimits], list[Finding]], ...] = (
    _masked,
    _end,
    _inner_end,
    _length,
    _prompt,
    _answer,
)


def has_trained(labels: Sequence[int]) -> bool:
    """Return whether the loss is computed on any of these labels."""
    return any(label != IGNORE_INDEX for label in labels)
