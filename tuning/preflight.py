"""What would spoil a training run, found before it: all findings at once.

The checks look at the ids and labels that the model is going to be trained on, not at what options promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from selfinstruct.errors import InputError
from tuning.data import IGNORED, Row, TokenRow

_MAX_EXAMPLES = 5
_VLLM_MAX_LORA_RANK = 512


@dataclass(frozen=True)
class Finding:
    """One fault of the data or the settings.

    Attributes:
        name: stable, for tests and reports.
        message: what it is, how often, and what to do.
        fatal: training would be for nothing.
        count: rows concerned; 0 where it is no matter of rows.
        examples: ids of the first rows concerned.
    """

    name: str
    message: str
    fatal: bool = False
    count: int = 0
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        rows = (
            f" (rows {', '.join(self.examples)}{', ...' if self.count > len(self.examples) else ''})"
            if self.examples
            else ""
        )
        return f"{'error' if self.fatal else 'warning'}: {self.message}{rows}"


@dataclass(frozen=True)
class Rule:
    """What the rows are held against.

    Attributes:
        end_id: id of `end_token`, which is to end every answer.
        end_token: as text.
        max_length: longest sequence that is trained on; the rest is cut from its end. None: nothing is cut.
        packing: rows are joined to blocks of `max_length`.
    """

    end_id: int
    end_token: str
    max_length: int | None
    packing: bool = False


def inspect(rows: Sequence[TokenRow], rule: Rule) -> list[Finding]:
    """Everything that is wrong with the training rows, which are at full length."""
    if not rows:
        message = "nothing to learn: train.jsonl holds no row; generate more, or look at why candidates are rejected"
        return [Finding("no_rows", message, fatal=True)]
    return [found for check in _CHECKS for found in check(rows, rule)]


def leaked(train: Sequence[Row], held_out: Sequence[Row]) -> list[Finding]:
    """Training rows whose prompt stands in the validation split of unseen tasks, too."""
    prompts = {_text(row) for row in held_out}
    return _found(
        "leak",
        [row for row in train if _text(row) in prompts],
        lambda n: f"{n} training rows have the prompt of a validation_unseen row: its loss will look better than it is",
    )


def settings(*, lora_rank: int | None) -> list[Finding]:
    """What is wrong with the settings, whatever the data."""
    if lora_rank is not None and lora_rank > _VLLM_MAX_LORA_RANK:
        message = f"lora_r {lora_rank} is above {_VLLM_MAX_LORA_RANK}, the highest that vLLM serves as an adapter"
        return [Finding("lora_rank", f"{message}; the merged model can be served")]
    return []


def padding(collate: Callable[[list[dict[str, Any]]], Any], rows: Sequence[TokenRow], end_id: int) -> list[Finding]:
    """Whether a padded batch still has the end tokens' labels: masking by token id loses them when pad is EOS.

    Args:
        collate: makes a batch of rows.
        rows: the shortest and the longest are tried together, so that one is padded.
        end_id: id of the token that ends an answer.
    """
    by_length = sorted((row for row in rows if end_id in row.labels), key=lambda row: len(row.input_ids))
    if not by_length:
        return []
    pair = [by_length[0], by_length[-1]]
    batch = collate([{"input_ids": row.input_ids, "labels": row.labels} for row in pair])
    wanted = sum(row.labels.count(end_id) for row in pair)
    kept = int((batch["labels"] == end_id).sum())
    if kept == wanted:
        return []
    message = (
        f"padding masks the end token ({kept} of {wanted} labels are left in a batch), so the model would not learn to "
        "stop; use a pad token other than the end token"
    )
    return [Finding("end_masked_by_padding", message, fatal=True)]


def require(findings: Sequence[Finding]) -> None:
    """Raise when a finding is fatal; the message holds all of them.

    Raises:
        InputError: training would be for nothing.
    """
    if any(found.fatal for found in findings):
        raise InputError("\n".join(map(str, findings)))


def show_row(row: TokenRow, tokenizer: Any) -> Iterator[str]:
    """A row token by token, one line each: place, id, text, and `learnt` where its label counts."""
    yield f"row {row.id}: {len(row.input_ids)} tokens, {sum(label != IGNORED for label in row.labels)} of them learnt"
    for place, (token, label) in enumerate(zip(row.input_ids, row.labels, strict=True)):
        yield f"{place:5} {token:7} {'learnt' if label != IGNORED else '      '} {tokenizer.decode([token])!r}"


# ----------------------------------------------------------------------------------------------------- checks


def _masked(rows: Sequence[TokenRow], rule: Rule) -> list[Finding]:
    masked = [row for row in rows if not _learnt(row.labels)]
    if len(masked) == len(rows):
        message = f"nothing to learn: no token of the {len(rows)} rows counts; are there answers in `completion`?"
        return [Finding("all_masked", message, fatal=True, count=len(rows))]
    return _found("masked", masked, lambda n: f"{n} rows have no token to learn; they are left out")


def _end(rows: Sequence[TokenRow], rule: Rule) -> list[Finding]:
    learnt = [row for row in rows if _learnt(row.labels)]
    without = [row for row in learnt if rule.end_id not in row.labels]
    if learnt and len(without) == len(learnt):
        message = (
            f"the end token {rule.end_token!r} is never learnt, so the model would not stop: the chat template does "
            "not write it after an answer, or does not mark it; use --prompt_format default, or name the token that "
            "ends a turn: --eos_token"
        )
        return [Finding("end_not_learnt", message, fatal=True, count=len(without))]
    return _found("end_not_learnt", without, lambda n: f"in {n} rows the end token {rule.end_token!r} is not learnt")


def _inner_end(rows: Sequence[TokenRow], rule: Rule) -> list[Finding]:
    inner = [row for row in rows if row.labels.count(rule.end_id) > 1]
    text = f"rows hold the end token {rule.end_token!r} inside their answers: the model learns to stop there"
    return _found("end_in_text", inner, lambda n: f"{n} {text}")


def _length(rows: Sequence[TokenRow], rule: Rule) -> list[Finding]:
    limit = rule.max_length
    if limit is None or rule.packing:
        return []
    learnt = [row for row in rows if _learnt(row.labels)]
    longer = [row for row in learnt if len(row.input_ids) > limit]
    longest = max((len(row.input_ids) for row in longer), default=0)
    lost = [row for row in longer if not _learnt(row.labels[:limit])]
    if lost and len(lost) == len(learnt):
        message = f"nothing to learn: every prompt fills max_length {limit} (the longest row has {longest} tokens)"
        return [Finding("too_long", f"{message}; raise --max_length", fatal=True, count=len(lost))]
    cut = [row for row in longer if _learnt(row.labels[:limit])]
    tokens = sum(len(row.input_ids) - limit for row in cut)
    return [
        *_found(
            "too_long",
            lost,
            lambda n: f"{n} rows are left out: their prompts alone fill max_length {limit}; raise --max_length",
        ),
        *_found(
            "cut",
            cut,
            lambda n: (
                f"{n} rows are longer than max_length {limit} (the longest has {longest} tokens): {tokens} tokens at "
                "the ends of their answers are cut, the end token with them; raise --max_length"
            ),
        ),
    ]


def _prompt(rows: Sequence[TokenRow], rule: Rule) -> list[Finding]:
    return _found(
        "prompt_differs",
        [row for row in rows if row.lost_prompt],
        lambda n: (
            f"in {n} rows the chat template writes the prompt otherwise once an answer follows: the model is tuned on "
            "prompts that differ from those it will be asked with"
        ),
    )


_CHECKS: tuple[Callable[[Sequence[TokenRow], Rule], list[Finding]], ...] = (_masked, _end, _inner_end, _length, _prompt)


def _found(name: str, rows: Sequence[TokenRow] | Sequence[Row], message: Callable[[int], str]) -> list[Finding]:
    if not rows:
        return []
    return [Finding(name, message(len(rows)), count=len(rows), examples=tuple(row.id for row in rows[:_MAX_EXAMPLES]))]


def _learnt(labels: Sequence[int]) -> bool:
    return any(label != IGNORED for label in labels)


def _text(row: Row) -> tuple[tuple[str, str], ...]:
    return tuple((message["role"], message["content"].strip()) for message in row.prompt)
