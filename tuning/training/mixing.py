"""The rows that `--mix` adds to the training set: see `selfinstruct/dataset/mixture.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import chain

from selfinstruct.dataset.convert import Conversion, read_rows
from selfinstruct.dataset.holding_out import HeldOut
from selfinstruct.dataset.mixture import NEAR_UNSEEN, NOTHING, MixOptions, Source, SourceCounts, mix
from selfinstruct.errors import ConfigError
from selfinstruct.formats.conversations import Conversation
from selfinstruct.formats.evaluation_tasks import load_evaluation_texts
from selfinstruct.formats.families.dataset_row import USER
from selfinstruct.formats.licences import dataset_licence
from selfinstruct.novelty.overlap import EvaluationTexts
from selfinstruct.packaged import resolve
from selfinstruct.records import TRAIN
from tuning.training.arguments import Arguments, TuneArguments
from tuning.training.data import Rows
from tuning.training.leaks import instruction_of
from tuning.training.prepare import BaseModel, prepare_tokenizer


def mixed(arguments: Arguments, base: BaseModel, rows: Rows) -> tuple[Rows, list[SourceCounts]]:
    """Return the dataset with the rows of `--mix` in its training split, and what became of each source.

    Behind the sources, the dataset itself is counted if rows of it are near a question of an unseen task.

    Args:
        arguments: of the training.
        base: the model that is tuned; its tokenizer counts tokens.
        rows: the exported dataset.

    Raises:
        ConfigError: a weight is no number above 0, or too few tasks are named to hold some out.
        InputError: a source cannot be read.
    """
    options = arguments.tune
    sources = [Source.parse(text) for text in options.mix]
    if not sources:
        return rows, []
    conversions = [Conversion("", "") for _ in sources]
    read = [
        (source, read_rows(resolve(source.name), conversion=conversion))
        for source, conversion in zip(sources, conversions, strict=True)
    ]
    mix_options = MixOptions(
        unit=options.mix_by,
        temperature=options.mix_temperature,
        task_cap=options.mix_task_cap,
        seed=int(arguments.training["seed"]),
    )
    # Tasks that cannot be read are left out; a finding of the training says so (see `leaks.py`).
    evaluation = EvaluationTexts(load_evaluation_texts(options.eval_tasks, lambda error: None))
    held_out = _held_out(options, sources, mix_options.seed)
    unseen = _unseen(held_out, sources)
    own = [row for row in rows[TRAIN] if unseen.find(instruction_of(row), _asked(row)) is None]
    train, counts = mix(own, read, mix_options, evaluation, _token_counter(arguments, base), held_out, unseen)
    for of_source, conversion in zip(counts, conversions, strict=True):
        of_source.read += conversion.dropped.total()
        of_source.dropped = conversion.dropped
        of_source.licence = dataset_licence(resolve(of_source.name))
        if held_out:
            of_source.held_out, of_source.spare = sorted(held_out.units), sorted(held_out.spare)
    if near := len(rows[TRAIN]) - len(own):
        left_out = Counter({NEAR_UNSEEN: near})
        counts.append(SourceCounts(options.dataset_dir, len(rows[TRAIN]), len(own), left_out=left_out, is_own=True))
    return {**rows, TRAIN: train}, counts


def _unseen(held_out: HeldOut | None, sources: list[Source]) -> EvaluationTexts:
    """Return the questions about unseen tasks, which no training row may be near."""
    if held_out is None:
        return NOTHING
    texts = chain.from_iterable(held_out.unseen(read_rows(resolve(source.name))) for source in sources)
    return EvaluationTexts(list(texts), stock_phrases=True)


def _asked(row: Conversation) -> str:
    return "\n".join(message["content"] for message in row.prompt if message["role"] == USER)


def _held_out(options: TuneArguments, sources: list[Source], seed: int) -> HeldOut | None:
    """Return what is held out of the sources, which are read for it; None if nothing is."""
    if options.mix_hold_out is None:
        return None
    rows = chain.from_iterable(read_rows(resolve(source.name)) for source in sources)
    try:
        return HeldOut.choose(
            options.mix_hold_out, options.mix_hold_out_share, seed, rows, most_seen=options.mix_most_seen
        )
    except ValueError as error:
        raise ConfigError(f"--mix_hold_out {options.mix_hold_out}: {error}") from error


def _token_counter(arguments: Arguments, base: BaseModel) -> Callable[[Conversation], int]:
    if arguments.tune.mix_by == "examples":
        return lambda row: 0
    tokenizer, *_ = prepare_tokenizer(arguments, base)

    def count(row: Conversation) -> int:
        texts = [message["content"] for message in (*row.prompt, *row.completion)]
        return sum(len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"])

    return count
