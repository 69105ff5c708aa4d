"""What would spoil a training run, found before it: all findings at once.

The checks look at the ids and labels that the model is going to be trained on, not at what options promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, Protocol

from selfinstruct.engines.models import LORA_RANKS
from selfinstruct.errors import InputError
from tuning.training.data import IGNORE_INDEX, Row, TokenRow

_MAX_EXAMPLES = 5
_SHOWN_TOKENS = 30
"""Tokens at either end of a stretch that `show_row` does not cut."""
_BETWEEN = "│"
"""Stands between tokens; a line that hardly any text holds."""


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
        max_length: longest sequence that is trained on. None: nothing is cut.
        keeps: which part of a longer sequence is kept; `all` where packing splits it into several.
    """

    end_id: int
    end_token: str
    max_length: int | None
    keeps: Literal["start", "end", "all"] = "start"

    def kept(self, labels: Sequence[int]) -> Sequence[int]:
        """The labels that are left of a row's."""
        if self.max_length is None or self.keeps == "all":
            return labels
        return labels[: self.max_length] if self.keeps == "start" else labels[-self.max_length :]


def inspect(rows: Sequence[TokenRow], rule: Rule) -> list[Finding]:
    """Everything that is wrong with the training rows, which are at full length."""
    if not rows:
        message = "nothing to learn: train.jsonl holds no row; generate more, or look at why candidates are rejected"
        return [Finding("no_rows", message, fatal=True)]
    return [found for check in _CHECKS for found in check(rows, rule)]


def of_rows(name: str, rows: Sequence[TokenRow] | Sequence[Row], message: Callable[[int], str]) -> list[Finding]:
    """A finding about rows, none where there are none; `message` is given their number."""
    if not rows:
        return []
    return [Finding(name, message(len(rows)), count=len(rows), examples=tuple(row.id for row in rows[:_MAX_EXAMPLES]))]


class _Adapter(Protocol):
    """What of TRL's `ModelConfig` says what kind of adapter is trained."""

    use_peft: bool
    lora_r: int
    use_dora: bool
    lora_modules_to_save: list[str] | None


def settings(model: _Adapter, *, merge: str = "both", packing: str | None = None) -> list[Finding]:
    """What is wrong with the settings, whatever the data.

    Args:
        model: TRL's `ModelConfig`.
        merge: what is kept of an adapter.
        packing: the strategy by which rows are packed, or None.
    """
    findings = []
    if packing == "wrapped":
        message = (
            "--packing_strategy wrapped cuts rows wherever a block ends, and lets the documents of a block attend to "
            "each other; give --packing_strategy bfd"
        )
        findings.append(Finding("documents_attend", message))
    if model.use_peft and merge != "merged":
        can = "the merged weights can be served" if merge == "both" else "keep the merged weights, too: --merge both"
        if model.lora_r > max(LORA_RANKS):
            message = f"lora_r {model.lora_r} is above {max(LORA_RANKS)}, the highest that vLLM serves as an adapter"
            findings.append(Finding("lora_rank", f"{message}; {can}"))
        for name, given in (("use_dora", model.use_dora), ("lora_modules_to_save", model.lora_modules_to_save)):
            if given:
                findings.append(Finding("adapter_kind", f"vLLM serves no adapter made with --{name}; {can}"))
    return findings


def template(rows: Sequence[Row], *, has_markers: bool, marked: bool) -> list[Finding]:
    """A template without `{% generation %}` markers, where these would decide what is learnt.

    Args:
        rows: what is trained on.
        has_markers: of the template that the rows are rendered through.
        marked: the loss is on what the template marks (`--assistant_only_loss`).
    """
    if has_markers:
        return []
    if marked:
        message = (
            "the chat template has no {% generation %} markers, so --assistant_only_loss would learn nothing; leave it "
            "out (the loss is on the response alone anyway), or give --prompt_format default"
        )
        return [Finding("no_generation_markers", message, fatal=True)]
    mixed = [row for row in rows if any(message["role"] != "assistant" for message in row.completion)]
    return of_rows(
        "no_generation_markers",
        mixed,
        lambda n: (
            f"in {n} rows the completion holds turns of others than the assistant, which are learnt like its own: the "
            "chat template has no {% generation %} markers to tell them apart"
        ),
    )


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


def documents_apart(
    logits: Callable[[dict[str, Any]], Any],
    collate: Callable[[list[dict[str, Any]]], dict[str, Any]],
    rows: Sequence[TokenRow],
    tolerance: float,
    num_ids: int,
) -> list[Finding]:
    """Whether a packed document's predictions depend on the one before it in its block: tried on the model itself.

    Args:
        logits: the model's predictions for a batch, (1, sequence, vocabulary).
        collate: makes a batch of packed rows.
        rows: two short ones are packed together.
        tolerance: relative to the largest prediction; differences below are rounding.
        num_ids: ids below this one may stand in place of the first document's.
    """
    short = sorted((row for row in rows if len(row.input_ids) > 1), key=lambda row: len(row.input_ids))
    if len(short) < 2:
        return []
    first, second = short[0].input_ids, short[1].input_ids
    other = [(token + 1 + place) % num_ids for place, token in enumerate(first)]

    def after(earlier: list[int]) -> Any:
        ids = [*earlier, *second]
        packed = {"input_ids": ids, "labels": ids, "seq_lengths": [len(earlier), len(second)]}
        return logits(collate([packed]))[0, len(earlier) :].float()

    # The first pass of a process can come out a little different on CPU, as its threads set up their kernels: a
    # difference counts only when a second pass shows it, too.
    one, again, two = after(first), after(first), after(other)
    if min(float((x - two).abs().max()) for x in (one, again)) <= tolerance * float(two.abs().max()):
        return []
    message = (
        "packed documents attend to each other: the attention of this model has no kernel that keeps them apart; "
        "install flash-attention and give --attn_implementation flash_attention_2, or tune without --packing"
    )
    return [Finding("documents_attend", message, fatal=True)]


def require(findings: Sequence[Finding]) -> None:
    """Raise when a finding is fatal; the message holds all of them.

    Raises:
        InputError: training would be for nothing.
    """
    if any(found.fatal for found in findings):
        raise InputError("\n".join(map(str, findings)))


def show_row(row: TokenRow, tokenizer: Any, *, full: bool = False) -> Iterator[str]:
    """A row token by token, with what is learnt marked.

    Args:
        row: to be shown.
        tokenizer: whose tokens these are.
        full: every token on a line of its own, with its place and id; else a line per stretch, long ones cut.
    """
    trained = sum(label != IGNORE_INDEX for label in row.labels)
    yield f"row {row.id}: {len(row.input_ids)} tokens, {trained} of them learnt"
    texts = [tokenizer.decode([token]) for token in row.input_ids]
    if full:
        for place, (token, label) in enumerate(zip(row.input_ids, row.labels, strict=True)):
            yield f"{place:5} {token:7} {_mark(label)} {texts[place]!r}"
        return
    for mark, places in groupby(range(len(texts)), key=lambda place: _mark(row.labels[place])):
        shown = [repr(texts[place])[1:-1] for place in places]
        if len(shown) > 2 * _SHOWN_TOKENS:
            left_out = f"... {len(shown) - 2 * _SHOWN_TOKENS} tokens ..."
            shown = [*shown[:_SHOWN_TOKENS], left_out, *shown[-_SHOWN_TOKENS:]]
        yield f"  {mark} {_BETWEEN.join(shown)}"


def _mark(label: int) -> str:
    return "learnt" if label != IGNORE_INDEX else "      "


# ----------------------------------------------------------------------------------------------------- checks


def _masked(rows: Sequence[TokenRow], rule: Rule) -> list[Finding]:
    masked = [row for row in rows if not _learnt(row.labels)]
    if len(masked) == len(rows):
        message = f"nothing to learn: no token of the {len(rows)} rows counts; are there answers in `completion`?"
        return [Finding("all_masked", message, fatal=True, count=len(rows))]
    return of_rows("masked", masked, lambda n: f"{n} rows have no token to learn; they are left out")


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
    return of_rows("end_not_learnt", without, lambda n: f"in {n} rows the end token {rule.end_token!r} is not learnt")


def _inner_end(rows: Sequence[TokenRow], rule: Rule) -> list[Finding]:
    inner = [row for row in rows if row.labels.count(rule.end_id) > 1]
    text = f"rows hold the end token {rule.end_token!r} inside their answers: the model learns to stop there"
    return of_rows("end_in_text", inner, lambda n: f"{n} {text}")


def _length(rows: Sequence[TokenRow], rule: Rule) -> list[Finding]:
    limit = rule.max_length
    if limit is None:
        return []
    learnt = [row for row in rows if _learnt(row.labels)]
    longer = [row for row in learnt if len(row.input_ids) > limit]
    longest = max((len(row.input_ids) for row in longer), default=0)
    lost = [row for row in longer if not _learnt(rule.kept(row.labels))]
    if lost and len(lost) == len(learnt):
        message = f"nothing to learn: every prompt fills max_length {limit} (the longest row has {longest} tokens)"
        return [Finding("too_long", f"{message}; raise --max_length", fatal=True, count=len(lost))]
    cut = [row for row in longer if _learnt(rule.kept(row.labels))]
    tokens = sum(len(row.input_ids) - limit for row in cut)
    what = {
        "start": f"{tokens} tokens at the ends of their answers are cut, the end token with them",
        "end": f"{tokens} tokens at the beginnings of their prompts are cut",
        "all": "they are split, and the parts learnt without what came before",
    }
    return [
        *of_rows(
            "too_long",
            lost,
            lambda n: f"{n} rows are left out: their prompts alone fill max_length {limit}; raise --max_length",
        ),
        *of_rows(
            "cut",
            cut,
            lambda n: (
                f"{n} rows are longer than max_length {limit} (the longest has {longest} tokens): {what[rule.keeps]}; "
                "raise --max_length"
            ),
        ),
    ]


def _prompt(rows: Sequence[TokenRow], rule: Rule) -> list[Finding]:
    return of_rows(
        "prompt_differs",
        [row for row in rows if row.lost_prompt],
        lambda n: (
            f"in {n} rows the chat template writes the prompt otherwise once an answer follows: the model is tuned on "
            "prompts that differ from those it will be asked with"
        ),
    )


_CHECKS: tuple[Callable[[Sequence[TokenRow], Rule], list[Finding]], ...] = (_masked, _end, _inner_end, _length, _prompt)


def _learnt(labels: Sequence[int]) -> bool:
    return any(label != IGNORE_INDEX for label in labels)
