"""One training: from checked arguments to the trainer, through it, and to what is noted about it."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfinstruct.console import console
from selfinstruct.engines.models import resolve_model
from selfinstruct.errors import ConfigError, InputError, SelfInstructError, StoppedError
from selfinstruct.formats import jsonl
from selfinstruct.text import duration
from tuning.training import card, checkpoints, data, inspection, memory, record, zero3
from tuning.training import findings as preflight
from tuning.training.data import IGNORE_INDEX, TokenRow
from tuning.training.prompt_formats import Template, prepare

if TYPE_CHECKING:
    from tuning.training.arguments import Parsed

_STARTED = time.monotonic()


class Interrupted(StoppedError):
    """A signal stopped the training; a checkpoint holds it. The exit code is 128 + the signal's number."""

    def __init__(self, number: int, step: int) -> None:
        name = signal.Signals(number).name
        super().__init__(f"tune: stopped by {name} at step {step}; the same command continues from there")
        self.exit_code = 128 + number


class Training:
    """One training: where it comes from, where it goes, and what is noted about it."""

    def __init__(self, parsed: Parsed) -> None:
        self.parsed = parsed
        self.training = parsed.training
        self.output_dir = Path(self.training.output_dir)
        self.main = self.training.process_index == 0
        self.source = resolve_model(str(parsed.model.model_name_or_path))
        self.load = {"revision": parsed.model.model_revision, "trust_remote_code": self.training.trust_remote_code}
        self.checkpoint: Path | None = None
        self.training.output_dir = str(self.output_dir / checkpoints.FOLDER)
        self.notes: dict[str, Any] = {
            "model": self.source,
            "method": "lora" if parsed.model.use_peft else "full",
            "merge": parsed.tune.merge if parsed.model.use_peft else None,
            "dataset_dir": parsed.tune.dataset_dir,
        }

    def identity(self, splits: dict[str, list[data.Row]]) -> dict[str, Any]:
        """What makes two trainings the same one."""
        return checkpoints.identity(
            self.parsed.given,
            dataset=data.fingerprint(splits),
            model=checkpoints.files_of(Path(self.source)),
            versions=record.versions(),
        )

    def is_done(self, identity: dict[str, Any]) -> bool:
        """Whether the finished model is there.

        Else finds the checkpoint to continue from, and discards those of another training. The main process does so
        before the others look.
        """
        with self.training.main_process_first(local=False):
            return self._look_around(identity)

    def _look_around(self, identity: dict[str, Any]) -> bool:
        found = checkpoints.record(self.output_dir)
        same = found.get("identity") == identity and not self.parsed.tune.overwrite
        if same and found.get("state") == "finished":
            return True
        folder = self.output_dir / checkpoints.FOLDER
        if self.training.resume_from_checkpoint not in (None, "true", "True", True):
            self.checkpoint = Path(str(self.training.resume_from_checkpoint))
        elif same:
            self.checkpoint = checkpoints.last_complete(folder)
        elif self.main and folder.exists():
            if not self.parsed.tune.overwrite and any(folder.iterdir()):
                console.print("tune: the checkpoints here are of other settings or another dataset; starting anew")
            checkpoints.discard(self.output_dir)
        return False

    def tokenizer(self) -> tuple[Any, Template]:
        """The model's tokenizer, with the template and special tokens to tune with."""
        from transformers import AutoTokenizer

        with _loading(self.source):
            tokenizer = AutoTokenizer.from_pretrained(self.source, **self.load)
        template = prepare(
            tokenizer, self.parsed.tune.prompt_format, self.training.eos_token, self.training.chat_template_path
        )
        self.training.chat_template_path = None  # the tokenizer has it
        return tokenizer, template

    def tokenize(self, rows: Sequence[data.Row], tokenizer: Any) -> list[TokenRow]:
        """Rows as the model will see them; which labels count follows TRL's own arguments."""
        marked = self._marking_template(tokenizer) if self.training.assistant_only_loss else None
        completion_only = self.training.completion_only_loss is not False
        return data.tokenize(rows, tokenizer, completion_only=completion_only, assistant_template=marked)

    def inspect(
        self, splits: dict[str, list[data.Row]], tokens: dict[str, list[TokenRow]], tokenizer: Any
    ) -> list[preflight.Finding]:
        """The findings before the model is loaded; prints a row, and stops here when training would be for nothing."""
        config = self._fit_context()
        shown = inspection.example(tokens["train"])
        if self.parsed.tune.show_row != "no" and self.main and shown is not None:
            for line in preflight.show_row(shown, tokenizer, full=self.parsed.tune.show_row == "full"):
                console.print(line, markup=False, style="green" if " learnt " in line else None)
        has_markers = self._marking_template(tokenizer) is not None
        findings, self.notes["memory"] = inspection.before_loading(
            self.parsed, splits, tokens["train"], tokenizer, config, has_markers=has_markers
        )
        preflight.require(findings)
        return findings

    def trainer(self, tokenizer: Any, tokens: dict[str, list[TokenRow]], splits: dict[str, list[data.Row]]) -> Any:
        """TRL's trainer, with our callbacks in place of the printing ones."""
        from transformers import EarlyStoppingCallback, PrinterCallback
        from transformers.integrations import TensorBoardCallback
        from transformers.integrations.integration_utils import default_logdir
        from trl import SFTTrainer, get_peft_config, get_quantization_config

        from tuning.training.callbacks import MakeCheckpointFolder, ShowProgress, StopWhenDiverged

        training, model = self.training, self.parsed.model
        # The labels are made; the trainer refuses these two for rows that are already tokenized.
        training.completion_only_loss, training.assistant_only_loss = None, False
        training.model_init_kwargs = {
            "revision": model.model_revision,
            "attn_implementation": model.attn_implementation,
            "dtype": model.dtype,
            **(training.model_init_kwargs or {}),
        }
        zero3.gather_when_saved(training)
        evaluated = self._validation(tokens, tokenizer)
        callbacks: list[Any] = [StopWhenDiverged()]
        if self.parsed.tune.early_stopping_patience is not None:
            callbacks.append(EarlyStoppingCallback(self.parsed.tune.early_stopping_patience))
        self.progress = ShowProgress()
        with _loading(self.source), _refusing():
            trainer = SFTTrainer(
                model=self.source,
                args=training,
                train_dataset=data.to_dataset(
                    [row for row in tokens["train"] if any(x != IGNORE_INDEX for x in row.labels)]
                ),
                eval_dataset=evaluated or None,
                processing_class=tokenizer,
                quantization_config=get_quantization_config(model),
                peft_config=get_peft_config(model),
                callbacks=[*callbacks, self.progress],
            )
        trainer.remove_callback(PrinterCallback)
        for callback in trainer.callback_handler.callbacks:
            # Not beside the checkpoints, which are removed in the end.
            if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
                callback.logging_dir = str(self.output_dir / default_logdir())
        if trainer.is_fsdp_enabled:
            trainer.add_callback(MakeCheckpointFolder())
        return trainer

    def begin(self, trainer: Any, template: Template, findings: list[preflight.Finding], rows: list[TokenRow]) -> None:
        """Fix what depends on the model, and note what is about to be done."""
        from tuning.training.arguments import learning_rate

        total, trainable = _parameters(trainer.model)
        if "learning_rate" not in self.parsed.given:
            trainer.args.learning_rate = learning_rate(total, lora=self.parsed.model.use_peft)
        if self.checkpoint is not None:
            trainer.args.eval_on_start = False
        device = _device(trainer.args.device)
        tokens = {
            "train": sum(len(row.input_ids) for row in rows),
            "learnt": sum(label != IGNORE_INDEX for row in rows for label in row.labels),
        }
        self.notes |= {
            "template": asdict(template),
            "findings": [asdict(found) for found in findings],
            "arguments": {**asdict(self.parsed.tune), **_plain(self.parsed.model), **trainer.args.to_sanitized_dict()},
            "given": sorted(self.parsed.given),
            "versions": record.versions(),
            "machine": {"device": device, "num_processes": trainer.args.world_size},
            "parameters": {"total": total, "trainable": trainable},
            "tokens": tokens,
            "resumed_from_step": int(self.checkpoint.name.rpartition("-")[2]) if self.checkpoint else None,
        }
        sequences = len(trainer.train_dataset)
        self.notes["rows"]["trained_on"] = sequences
        if trainer.args.packing:
            learnt = sum(any(label != IGNORE_INDEX for label in row.labels) for row in rows)
            self.notes["rows"] |= {"trained_on": learnt, "blocks": sequences}
        if self.main:
            estimate = self.notes["memory"].get("estimate")
            method = (
                f"LoRA, {trainable:,} of {total:,} parameters" if trainable < total else f"full, {total:,} parameters"
            )
            console.print(
                f"tune: {len(rows)} rows, {tokens['learnt']:,} of {tokens['train']:,} tokens learnt · {method} · "
                f"learning rate {trainer.args.learning_rate:g} · template: {template.source} · {device}"
                + (f" · memory about {estimate['total'] / memory.GIB:.1f} GiB" if estimate else "")
                + (f" · continuing from step {self.notes['resumed_from_step']}" if self.checkpoint else "")
            )

    def train(self, trainer: Any) -> None:
        """Train to the end, from the checkpoint when there is one.

        Raises:
            Interrupted: a signal came.
        """
        import torch

        from tuning.training.callbacks import StopOnSignal

        self.notes["runtime"] = {"startup_s": round(time.monotonic() - _STARTED, 1)}
        began = time.monotonic()
        first = self.notes["resumed_from_step"] or 0
        try:
            with StopOnSignal(trainer.args.world_size) as stopper:
                trainer.add_callback(stopper)
                trainer.train(resume_from_checkpoint=str(self.checkpoint) if self.checkpoint else None)
        except torch.OutOfMemoryError as error:
            raise _out_of_memory(error) from error
        finally:
            self.progress.close()
            seconds = max(time.monotonic() - began, 1e-6)
            tokens = next((row["num_tokens"] for row in reversed(trainer.state.log_history) if "num_tokens" in row), 0)
            # Rates over what the trainer itself counts, so that they compare with what TRL logs.
            loop = next(
                (x["train_runtime"] for x in reversed(trainer.state.log_history) if "train_runtime" in x), seconds
            )
            self.notes["runtime"] |= {
                "train_s": round(seconds, 1),
                "steps_per_s": round((trainer.state.global_step - first) / loop, 3),
                "tokens_per_s": round(tokens / loop, 1),
            }
            self.notes["memory"]["peak"] = memory.peak(trainer.args.device)
        if stopper.received is not None:
            raise Interrupted(stopper.received, trainer.state.global_step)
        evaluated = {row["step"] for row in trainer.state.log_history if any(name.startswith("eval_") for name in row)}
        best_loaded = trainer.args.load_best_model_at_end and trainer.state.best_model_checkpoint is not None
        if trainer.eval_dataset is not None and trainer.state.global_step not in evaluated and not best_loaded:
            trainer.evaluate()

    @contextlib.contextmanager
    def recorded(self, identity: dict[str, Any], trainer: Any) -> Iterator[None]:
        """Keep `training.json` true: running, then how the block ended."""
        self.notes["identity"] = identity
        self._write("running", trainer)
        try:
            yield
        except SelfInstructError as error:
            state = "stopped" if isinstance(error, StoppedError) else "failed"
            self._write(state, trainer, exit_code=error.exit_code, error=str(error))
            raise
        self._write("finished", trainer)

    def finish(self, trainer: Any) -> None:
        """Tidy up and say what came of it."""
        if not self.main:
            return
        card.write(self.output_dir)
        folder = self.output_dir / checkpoints.FOLDER
        if not any(name.startswith("save_") for name in self.parsed.given) or not any(folder.iterdir()):
            checkpoints.discard(self.output_dir)
        runtime, loss = self.notes["runtime"], self.notes["loss"]
        change = [
            f"{split} loss {loss['base'].get(split, float('nan')):.3f} -> {x:.3f}" for split, x in loss["final"].items()
        ]
        console.print(
            f"tune: {trainer.state.global_step} steps in {duration(runtime['train_s'])} "
            f"({runtime['steps_per_s']:.2f} steps/s, {runtime['tokens_per_s']:,.0f} tokens/s, "
            f"startup {duration(runtime['startup_s'])})" + "".join(f" · {text}" for text in change)
        )
        if found := self.notes["overfitting"]:
            best = trainer.args.load_best_model_at_end
            console.print(
                f"tune: overfitting: the loss on validation_unseen was lowest at step {found['lowest_step']} "
                f"({found['lowest']:.3f}) and {found['last']:.3f} at the end; "
                + (
                    "the model of that step is kept"
                    if best
                    else "train for fewer epochs, or give --load_best_model_at_end"
                )
            )
        console.print(f"tune: {self.output_dir}")

    # ------------------------------------------------------------------------------------------- helpers

    def _fit_context(self) -> Any:
        """Without a word from the user, train on no more than the model's context holds; returns its configuration."""
        from transformers import AutoConfig

        with _loading(self.source):
            config = AutoConfig.from_pretrained(self.source, **self.load)
        context = getattr(config.get_text_config(), "max_position_embeddings", None)
        if context and "max_length" not in self.parsed.given and self.training.max_length:
            self.training.max_length = min(self.training.max_length, context)
        return config

    @staticmethod
    def _marking_template(tokenizer: Any) -> str | None:
        """The tokenizer's template with generation markers, its own or those that TRL knows; None without any."""
        from trl import get_training_chat_template

        try:
            return get_training_chat_template(tokenizer) or tokenizer.chat_template
        except ValueError:
            return None

    def _validation(self, tokens: dict[str, list[TokenRow]], tokenizer: Any) -> dict[str, Any]:
        """The validation splits that hold rows the loss can be measured on; without any, evaluation is switched off."""
        from tuning.training.arguments import BEST

        training = self.training
        rule = inspection.rule_of(training, tokenizer)
        found = {}
        for split in data.SPLITS[1:]:
            rows = [row for row in tokens[split] if any(x != IGNORE_INDEX for x in rule.kept(row.labels))]
            if rows and training.eval_strategy != "no":
                found[split] = data.to_dataset(rows)
        if training.load_best_model_at_end and training.metric_for_best_model == BEST and BEST[5:-5] not in found:
            if {"load_best_model_at_end", "early_stopping_patience"} & self.parsed.given.keys():
                raise InputError(
                    "the best checkpoint is chosen by the loss on validation_unseen, which holds no row; raise "
                    "export.validation_unseen, or give neither --early_stopping_patience nor --load_best_model_at_end"
                )
            training.load_best_model_at_end, training.metric_for_best_model = False, None
        if not found:
            training.eval_strategy, training.eval_on_start, training.do_eval = "no", False, False
        return found

    def _write(self, state: str, trainer: Any, exit_code: int = 0, error: str | None = None) -> None:
        if not self.main:
            return
        self.notes |= {"state": state, "exit_code": exit_code, "error": error}
        self.notes |= {"steps": trainer.state.global_step, "epochs": round(trainer.state.epoch or 0.0, 3)}
        best = trainer.state.best_global_step if trainer.args.load_best_model_at_end else None
        self.notes["loss"] = record.losses(trainer.state.log_history, best)
        self.notes["overfitting"] = record.overfitting(self.notes["loss"]["evaluation"])
        self.notes.setdefault("runtime", {})["total_s"] = round(time.monotonic() - _STARTED, 1)
        jsonl.write_json(self.output_dir / checkpoints.RECORD, _finite(self.notes))


@contextlib.contextmanager
def _loading(source: str) -> Iterator[None]:
    """Say plainly that a model cannot be loaded."""
    try:
        yield
    except (OSError, KeyError) as error:
        raise ConfigError(f"model {source!r} cannot be loaded: {error}") from error


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """TRL and transformers validate some arguments only against the model, the data and what is installed."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise _out_of_memory(error) from error
    except (ValueError, ImportError, RuntimeError) as error:
        raise ConfigError(f"TRL refuses: {error}") from error


def _out_of_memory(error: Exception) -> StoppedError:
    return StoppedError(
        f"tune: out of GPU memory: {str(error).splitlines()[0]}\nLower --per_device_train_batch_size (and raise "
        "--gradient_accumulation_steps), lower --max_length, or tune with --use_peft"
    )


def _parameters(model: Any) -> tuple[int, int]:
    """All parameters and the trained ones; those that DeepSpeed holds elsewhere count too."""
    if hasattr(model, "get_nb_trainable_parameters"):  # PEFT's also knows that 4-bit weights are packed in pairs
        trainable, total = model.get_nb_trainable_parameters()
        return total, trainable
    sizes = [(getattr(p, "ds_numel", p.numel()), p.requires_grad) for p in model.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained)


def _plain(model: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in asdict(model).items()
        if value is None or isinstance(value, (str, int, float, bool, list))
    }


def _finite(value: Any) -> Any:
    """JSON knows no NaN: what is no number becomes its name."""
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _device(device: Any) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
