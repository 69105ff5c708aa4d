"""`training.json`: the record of one training run. The training writes it; the chain, the report and `status` read it.

It is written when training begins (`"state": "running"`) and again when it ends. Every key may be absent, so that
records of earlier versions can be read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import msgspec

from selfinstruct.formats import jsonl
from selfinstruct.run.stored import read_stored

Seconds = float
Bytes = int


class Finding(msgspec.Struct, frozen=True):
    """One problem of the data or the settings, found before training.

    Attributes:
        name: stable name of the problem, for tests and reports.
        message: what is wrong, how often, and what to do.
        fatal: whether training would be useless.
        count: number of affected rows; 0 if the problem is not about rows.
        examples: ids of the first affected rows.
    """

    name: str = ""
    message: str = ""
    fatal: bool = False
    count: int = 0
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.examples) else ""
        rows = f" (rows {', '.join(self.examples)}{more})" if self.examples else ""
        return f"{'error' if self.fatal else 'warning'}: {self.message}{rows}"


class Identity(msgspec.Struct, frozen=True):
    """What identifies a training. Training continues from a checkpoint only if all of this is equal.

    Attributes:
        arguments: the arguments that the user gave, or that follow from the chosen method, and that change the weights.
        dataset_sha256: SHA-256 of the conversations of all splits.
        model_files: (name, size in bytes, modification time in ns) of a local base model's files.
        versions: versions of the libraries used for training.
    """

    arguments: dict[str, Any] = {}
    dataset_sha256: str = ""
    model_files: list[tuple[str, int, int]] = []
    versions: dict[str, str] = {}


class Rows(msgspec.Struct, frozen=True):
    """Numbers of rows.

    Attributes:
        train: rows in `train.jsonl`.
        validation_seen: rows of the validation split whose tasks are also trained on.
        validation_unseen: rows of the validation split whose tasks are not trained on.
        trained_on: training rows with at least one trained token.
        blocks: number of sequences that packing made of them; absent without packing.
    """

    train: int = 0
    validation_seen: int = 0
    validation_unseen: int = 0
    trained_on: int = 0
    blocks: int | msgspec.UnsetType = msgspec.UNSET


class Template(msgspec.Struct, frozen=True):
    """How a conversation is turned into text.

    Attributes:
        source: `model` (its own chat template), the name of a packaged template, or the path that the user gave.
        end_token: the token that ends an answer.
        pad_token: the token that fills up batches.
    """

    source: str = ""
    end_token: str = ""
    pad_token: str = ""


class Machine(msgspec.Struct, frozen=True):
    """Where the training ran."""

    device: str = ""
    num_processes: int = 1


class Parameters(msgspec.Struct, frozen=True):
    """Numbers of parameters. `total` includes those of an adapter."""

    total: int = 0
    trainable: int = 0


class Tokens(msgspec.Struct, frozen=True):
    """Numbers of tokens in the training rows: all tokens, and the tokens that the loss is computed on."""

    train: int = 0
    trained: int = msgspec.field(name="learnt", default=0)


class Runtime(msgspec.Struct, frozen=True):
    """How long the training took. The rates are those of the training loop."""

    startup_s: Seconds = 0.0
    train_s: Seconds = 0.0
    total_s: Seconds = 0.0
    steps_per_s: float = 0.0
    tokens_per_s: float = 0.0


class TrainLoss(msgspec.Struct, frozen=True):
    """One line of the trainer's log. A loss that is not a finite number is None."""

    step: int = 0
    epoch: float | None = None
    loss: float | None = None
    learning_rate: float | None = None


class EvalLoss(msgspec.Struct, frozen=True):
    """The loss on a validation split after a step; step 0 is the base model."""

    step: int
    loss: float | None


class Losses(msgspec.Struct, frozen=True):
    """Losses over the steps.

    Attributes:
        train: training losses in the order of steps.
        evaluation: losses by validation split, in the order of steps.
        base: the base model's loss by split; empty if it was not evaluated.
        final: loss of the model that was kept, by split.
    """

    train: list[TrainLoss] = []
    evaluation: dict[str, list[EvalLoss]] = {}
    base: dict[str, float | None] = {}
    final: dict[str, float | None] = {}


class Memory(msgspec.Struct, frozen=True):
    """Memory of one device, in bytes.

    Attributes:
        estimate: estimate by use, and their `total`; None if it could not be estimated.
        free: free memory before training.
        total: total memory of the device.
        peak: largest amount that the process used.
    """

    estimate: dict[str, Bytes] | None = None
    free: Bytes | None = None
    total: Bytes | None = None
    peak: Bytes | None = None


class Overfitting(msgspec.Struct, frozen=True):
    """The loss on unseen tasks rose again after its lowest value."""

    lowest_step: int
    lowest: float
    last: float


class MixedIn(msgspec.Struct, frozen=True):
    """A dataset of `--mix`: read = taken + left_over + the sum of `left_out`.

    Attributes:
        name: its path, or its name on the Hub.
        read: number of its rows.
        taken: number of rows that were added to the training set.
        left_over: number of rows that its weight does not reach.
        left_out: number of rows left out, by reason.
        overlaps: a few of its rows that overlap with evaluation tasks.
        held_out: names of the tasks or categories of the mixture that are held out as a whole.
        spare: names of those that are not trained on either.
        tokens: tokens of the rows that were added.
        licence: what the dataset says of it; empty if it says nothing.
    """

    name: str
    read: int
    taken: int
    left_over: int
    left_out: dict[str, int] = {}
    overlaps: list[str] = []
    held_out: list[str] = []
    spare: list[str] = []
    tokens: int = 0
    licence: str = ""


class TrainingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The settings, the measurements and the end of a training.

    Attributes:
        exit_code: exit code; 0 unless the training stopped or failed.
        error: why the training stopped or failed; None otherwise.
        identity: training continues from a checkpoint only if this is equal.
        model: path or name of the base model.
        method_reason: why this method, with the memory that it and the others would take; empty where none was chosen.
        merge: which parts of a LoRA are kept; None for full fine-tuning.
        dataset_dir: folder of the exported dataset.
        mixture: the datasets that were mixed in.
        arguments: all arguments of the training. Those of TRL have the names that TRL uses.
        given: names of the arguments that the user gave.
        versions: of Python and the libraries.
        steps: number of optimizer steps done.
        epochs: number of passes over the training rows done.
        resumed_from_step: step of the checkpoint from which training continued; None if it began from scratch.
    """

    state: Literal["running", "stopped", "failed", "finished"] = "finished"
    exit_code: int = 0
    error: str | None = None
    identity: Identity | None = None
    model: str = ""
    method: Literal["full", "lora"] = "full"
    method_reason: str = ""
    merge: Literal["adapter", "merged", "both"] | None = None
    dataset_dir: str = ""
    rows: Rows = Rows()
    mixture: list[MixedIn] = []
    template: Template = Template()
    findings: list[Finding] = []
    arguments: dict[str, Any] = {}
    given: list[str] = []
    versions: dict[str, str] = {}
    machine: Machine = Machine()
    parameters: Parameters = Parameters()
    tokens: Tokens = Tokens()
    steps: int = 0
    epochs: float = 0.0
    runtime: Runtime = Runtime()
    resumed_from_step: int | None = None
    loss: Losses = Losses()
    memory: Memory = Memory()
    overfitting: Overfitting | None = None

    @property
    def revision(self) -> str | None:
        """Return the revision of the base model on the Hub; None for its main one."""
        revision = self.arguments.get("model_revision")
        return None if revision == "main" else revision


def read_training_record(path: Path) -> TrainingRecord | None:
    """Return the record in a `training.json`, or None if there is no such file.

    Raises:
        InputError: the file cannot be read, or does not hold a training record.
    """
    if not path.exists():
        return None
    # Not strict: in records of earlier versions a loss that is not finite is a string, for example "nan".
    return read_stored(path, TrainingRecord, remedy="`selfinstruct tune` writes it again", strict=False)


def write_training_record(path: Path, record: TrainingRecord) -> None:
    """Write the record atomically. Numbers that are not finite become null. Values of other types become text."""
    plain = msgspec.to_builtins(record, str_keys=True, enc_hook=str)
    finite = json.loads(json.dumps(plain), parse_constant=lambda _: None)
    jsonl.write_json(path, finite)
