"""The model card: what a model was made of, how, and how well it did.

It is written when tuning ends, and again with the scores when the model has been evaluated. The text is the template
`card.md.jinja`; the metadata are huggingface_hub's `ModelCardData`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from selfinstruct.engines.models import LORA_RANKS
from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.folders import DatasetDirectory, EvaluationDirectory, ModelDirectory
from selfinstruct.run.scores import TUNED, Scores, SetScores
from selfinstruct.run.training_record import MixedIn, TrainingRecord

NAME = "README.md"
_TEMPLATE = Path(__file__).parent / "card.md.jinja"

_ALWAYS_SHOWN = (
    "learning_rate lr_scheduler_type warmup_steps num_train_epochs max_steps per_device_train_batch_size "
    "gradient_accumulation_steps max_length packing optim weight_decay seed bf16 fp16"
).split()
_SHOWN_OF_LORA = (
    "lora_r lora_alpha lora_dropout lora_target_modules use_dora use_rslora load_in_4bit load_in_8bit".split()
)
_NEVER_SHOWN = frozenset("dataset_dir output_dir eval_tasks model_name_or_path hub_token".split())
"""Paths of one machine, secrets, and what the card says elsewhere."""

Table = list[tuple[str, ...]]


def write(model: ModelDirectory, evaluation: EvaluationDirectory | None = None) -> None:
    """Write the card of a tuned model from its training record.

    Args:
        model: its folder.
        evaluation: one that had this model as its arm `tuned`.

    Raises:
        InputError: there is no record of the training, or it or the scores cannot be read.
    """
    record = model.training_record()
    scores = None if evaluation is None else evaluation.scores()
    text = make_card(model.path.resolve().name, record, provenance(Path(record.dataset_dir)), scores)
    jsonl.write_text(model.path / NAME, text)


def provenance(dataset_dir: Path) -> Table:
    """Return the lines about a dataset that a run has exported; none for a dataset from elsewhere."""
    try:
        counts = DatasetDirectory(dataset_dir).export_counts()
        identity = RunDirectory(dataset_dir.parent).header().identity
        revision = f" at revision `{identity['revision']}`" if identity.get("revision") else ""
        return [
            ("written by", f"`{_name(identity['model'])}`{revision}, with Self-Instruct"),
            ("from", f"seed tasks with the SHA-256 {identity['seeds_sha256'][:16]}…"),
            (
                "accepted",
                f"{counts.instructions.accepted} instructions, {counts.instances.accepted} instances",
            ),
            ("seed tasks included", "yes" if counts.include_seeds else "no"),
        ]
    except (InputError, KeyError, TypeError):
        return []


def make_card(title: str, record: TrainingRecord, dataset: Table, scores: Scores | None) -> str:
    """Return the text of the card.

    Args:
        title: the model's name.
        record: of its training.
        dataset: see `provenance`.
        scores: None before an evaluation.
    """
    card = ModelCard.from_template(
        _metadata(title, record, scores),
        template_path=str(_TEMPLATE),
        table=_markdown_table,
        title=title,
        base=_name(record.model),
        method=_method(record),
        serve=_serve(record),
        data=_data(record, dataset),
        training=_training(record),
        losses=_losses(record),
        verdict=scores.verdict if scores else "",
        score_columns=_score_columns(scores) if scores else [],
        scores=_scores(scores) if scores else [],
        confidence=f"{scores.settings.get('confidence', 0.95):.0%}" if scores else "",
    )
    return str(card) + "\n"


def _metadata(title: str, record: TrainingRecord, scores: Scores | None) -> ModelCardData:
    tuned = scores.arms.get(TUNED) if scores else None
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=name,
            dataset_name=f"{name} ({about.n_tasks} tasks)",
            metric_type="rouge",
            metric_name="ROUGE-L",
            metric_value=about.rouge_l,
        )
        for name, about in (tuned.sets.items() if tuned else ())
        if about.rouge_l is not None
    ]
    return ModelCardData(
        base_model=None if _is_local(record.model) else record.model,
        library_name="peft" if record.merge == "adapter" else "transformers",
        pipeline_tag="text-generation",
        tags=["trl", "sft", "selfinstruct", *(["lora"] if record.method == "lora" else [])],
        eval_results=results or None,
        model_name=title if results else None,
    )


def _method(record: TrainingRecord) -> str:
    if record.method != "lora":
        return "all parameters"
    kept = {"adapter": "the adapter alone", "merged": "merged"}
    return f"LoRA, {kept.get(record.merge or '', 'merged (the adapter alone is in `adapter/`)')}"


def _serve(record: TrainingRecord) -> str:
    if record.merge != "adapter":
        return "vllm serve ."
    rank = record.arguments["lora_r"]
    max_rank = next((served for served in LORA_RANKS if served >= rank), rank)
    return (
        f"vllm serve {_name(record.model)} --enable-lora --max-lora-rank {max_rank} --lora-modules tuned=. \\\n"
        "    --tokenizer . --generation-config ."
    )


def _data(record: TrainingRecord, dataset: Table) -> Table:
    tokens, template = record.tokens, record.template
    also = " and of what is mixed in" if record.mixture else ""
    return [
        ("training rows", f"{record.rows.trained_on} of `{_short(record.dataset_dir)}`{also}"),
        *dataset,
        *(
            (
                "mixed in",
                f"{source.taken} of {source.read} rows of `{_short(source.name)}`{_size_and_licence(source)}",
            )
            for source in record.mixture
        ),
        ("trained tokens", f"{tokens.trained:,} of {tokens.train:,}: the response and its end"),
        ("chat template", f"{_short(template.source)}; an answer ends with `{template.end_token}`"),
    ]


def _size_and_licence(source: MixedIn) -> str:
    return f", {source.tokens:,} tokens, " + (f"licence {source.licence}" if source.licence else "no licence stated")


def _training(record: TrainingRecord) -> Table:
    names = dict.fromkeys([*_ALWAYS_SHOWN, *(_SHOWN_OF_LORA if record.method == "lora" else ()), *record.given])
    return [
        ("steps", f"{record.steps} ({record.epochs:g} epochs)"),
        ("processes", str(record.machine.num_processes)),
        *(
            (f"`{name}`", _value(record.arguments[name]))
            for name in names
            if name in record.arguments and name not in _NEVER_SHOWN
        ),
        ("versions", ", ".join(f"{name} {version}" for name, version in record.versions.items())),
    ]


def _losses(record: TrainingRecord) -> Table:
    return [(split, _loss(record.loss.base.get(split)), _loss(loss)) for split, loss in record.loss.final.items()]


def _score_columns(scores: Scores) -> list[str]:
    def tasks(name: str) -> int:
        return next(arm.sets[name].n_tasks for arm in scores.arms.values() if name in arm.sets)

    return ["ROUGE-L", *(f"{name} ({tasks(name)} tasks)" for name in scores.sets())]


def _scores(scores: Scores) -> Table:
    return [(name, *(_rouge(arm.sets.get(of)) for of in scores.sets())) for name, arm in scores.arms.items()]


def _rouge(about: SetScores | None) -> str:
    if about is None or about.rouge_l is None:
        return "-"
    interval = about.rouge_l_interval
    return f"{about.rouge_l:.1f}" + (f" [{interval[0]:.1f}, {interval[1]:.1f}]" if interval else "")


def _markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return _name(value) if isinstance(value, str) else str(value)


def _is_local(model: str) -> bool:
    return model.startswith(("/", ".", "~"))


def _name(model: str) -> str:
    return _short(model) if _is_local(model) else model


def _short(path: str) -> str:
    """Return the last two parts of a path: a card is published, a home directory is not."""
    return "/".join(Path(path).parts[-2:])
