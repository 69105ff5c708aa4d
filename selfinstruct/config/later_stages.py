"""The options of what comes after generation: rewriting outputs, export, tuning, evaluation, rounds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from selfinstruct.config import tag_quota
from selfinstruct.config.section import Sampling, Section, Urls, as_tuple, refuse_secrets, refuse_unusable_url


class Regenerate(Sampling):
    """Rewriting the outputs of a run with another model."""

    model: str | None = Field(
        None,
        description="Model that rewrites the outputs: a path, or a name on the Hub; `regenerate` needs one. In rounds, "
        "`tuned` is the model tuned in the round before; it rewrites the outputs of all earlier rounds.",
    )
    engine: dict[str, Any] = Field(
        {}, description="vLLM engine arguments for that model; they override those of `engine`."
    )

    endpoint: Urls = Field(
        (), description="OpenAI-compatible URLs (.../v1) that serve this model, instead of vLLM here. Repeatable."
    )

    @field_validator("engine")
    @classmethod
    def _no_secrets(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Refuse keys, as in `engine`."""
        refuse_secrets(value)
        return value


SelectBy = Literal["random", "longest", "farthest", "best", "balanced"]


class Export(Section):
    """Turning a run into a dataset."""

    include_seeds: bool = Field(False, description="Add the seed tasks to the training split.")
    validation_unseen: float = Field(
        0.05, ge=0, lt=1, description="Share of tasks that are held out with all their instances."
    )
    validation_seen: float = Field(
        0.05, ge=0, lt=1, description="Share of training tasks of which one instance is held out."
    )
    select: int | None = Field(
        None, ge=1, description="Most machine-written training rows of the run itself; default: all of them."
    )
    select_by: SelectBy = Field(
        "farthest",
        description="Which rows: at `random`, those with the `longest` outputs, those whose instructions are "
        "`farthest` from each other, the `best` by the scores of `rate`, or "
        "`balanced`: by scores and distance.",
    )
    quota: tuple[str, ...] = Field(
        (),
        description="With `select`: the share of these rows with a tag, as `category=coding:0.3` (`tag` gives the "
        "tags). Such rows get no more places; all others share what is left. Repeatable.",
    )
    license: str | None = Field(
        None,
        description="Licence of the dataset on its card, by the Hub's identifier (`cc-by-4.0`). The "
        "generator's own may restrict it.",
    )
    format: tuple[Literal["parquet", "argilla"], ...] = Field(
        (),
        description="Also write the splits as Parquet, or the training rows as records for Argilla. Repeatable.",
    )
    preferences: bool = Field(
        False,
        description="Also write `preferences.jsonl` for TRL: of questions with several answers, a kept and a bad one.",
    )
    thinking: Literal["field", "text"] = Field(
        "field",
        description="Where messages hold thinking that was kept (`answer.thinking`): in a field `thinking`, which some "
        "chat templates read, or in their text as <think>.",
    )
    without_rejected_reviews: bool = Field(
        False,
        description="Leave out rows to which at least half of their reviewers (`selfinstruct review`) answered no "
        "somewhere.",
    )
    embedding_model: str | None = Field(
        None,
        min_length=1,
        description="Static embedding model or encoder (a path, or a name on the Hub) by which instructions that say "
        "the same as an earlier one in other words are left out; default: none are looked for.",
    )
    max_cosine: float = Field(
        0.85, gt=0, lt=1, description="Cosine of the embeddings of two instructions from which on they say the same."
    )
    eval_threshold: float = Field(
        0.7,
        gt=0,
        lt=1,
        description="Leave out rows whose instruction has a greater ROUGE-L F than this with an evaluation task.",
    )

    _one_or_many = field_validator("quota", mode="before")(as_tuple)

    @field_validator("quota")
    @classmethod
    def _quotas_fit(cls, value: tuple[str, ...], others: ValidationInfo) -> tuple[str, ...]:
        if tag_quota.parse_all(value) and others.data.get("select") is None:
            raise ValueError("quotas are of the rows that are selected; give their number as select, too")
        return value


class Tune(BaseModel):
    """The tuning stage. Any argument of TRL's `SFTConfig` and `ModelConfig` can be given here by its own name."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True, defer_build=True)

    model: str | None = Field(None, description="Model to tune; default: the generator.")
    num_processes: int | None = Field(None, ge=1, description="Processes; default: 1, 2, 4 or 8, each on a GPU.")
    accelerate_config: str | None = Field(
        None, description="Launch with this file of `accelerate config`: FSDP, DeepSpeed, several machines."
    )

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of TRL."""
        return dict(self.model_extra or {})


class Evaluate(Section):
    """Comparing the tuned model with its base."""

    tasks: tuple[str, ...] = Field(
        ("eval_tasks",),
        description="Evaluation tasks: files in the seed schema, files or folders of Super-NaturalInstructions or of "
        "any family that `convert` reads; `eval_tasks` is the packaged set, `domain:NAME` the ten of a domain. "
        "Repeatable.",
    )
    skip_broken: bool = Field(
        False, description="Leave out files of a folder of tasks that cannot be read, and name them, instead of ending."
    )
    held_out_by: Literal["task", "category"] | None = Field(
        None,
        description="Hold tasks or whole categories of the datasets of `tune.mix` out of tuning, and compare answers "
        "on them with those on seen ones: the gap that instruction tuning is to close.",
    )
    held_out_share: float = Field(0.1, gt=0, lt=1, description="Share of these tasks or categories that is held out.")
    limit: int | None = Field(
        None, ge=1, description="Most tasks of each of these sets, spread evenly over it; default: all of them."
    )
    num_positive_examples: int = Field(
        2, ge=0, description="Positive examples in the prompt of a Super-NaturalInstructions task; 0 is zero-shot."
    )
    seeds_baseline: bool = Field(False, description="Also tune a model on the seeds alone, as a baseline.")
    max_tokens: int = Field(256, ge=1, description="Longest answer, in tokens.")
    num_examples: int = Field(6, ge=1, description="Seed tasks shown to the base model in its few-shot arm.")
    num_resamples: int = Field(10_000, ge=100, description="Bootstrap resamples of each interval.")
    confidence: float = Field(0.95, gt=0, lt=1, description="Confidence level of each interval.")
    consistency: bool = Field(
        False, description="Measure how well the answers to paraphrases agree, and sampled answers."
    )
    num_paraphrases: int = Field(
        3, ge=0, description="Most paraphrases of an instruction: first those in the file, then by template."
    )
    num_samples: int = Field(4, ge=2, description="Answers sampled for each question, to see whether they agree.")
    sample_temperature: float = Field(0.7, gt=0, description="Temperature of these samples.")
    plain_text: tuple[str, ...] = Field(
        (), description="Text files (UTF-8); a higher perplexity on them shows what the tuned model forgot. Repeatable."
    )
    ifeval: str | None = Field(
        None,
        description="File of IFEval (JSON Lines, `input_data.jsonl`) or `ifeval_prompts`, 160 packaged ones; "
        "lm-eval's own code checks the constraints.",
    )
    ifeval_max_tokens: int = Field(1280, ge=1, description="Longest answer to an IFEval prompt, in tokens.")
    constraints: str | None = Field(
        None,
        description="File of prompts with constraints that a program checks, or `constraint_prompts`: the packaged "
        "220, whose types no generated row carries.",
    )
    constraints_max_tokens: int = Field(512, ge=1, description="Longest answer to such a prompt, in tokens.")
    lm_eval: tuple[str, ...] = Field(
        (), description="lm-eval task, by name or as a local YAML file, for the base and the tuned model. Repeatable."
    )
    lm_eval_limit: int | None = Field(None, ge=1, description="Most documents of each lm-eval task.")
    judge: str | None = Field(
        None, description="Model that judges pairs of answers: as for --model, or its name at --judge-endpoint."
    )
    judge_endpoint: str | None = Field(
        None, description="OpenAI-compatible URL of the judge (.../v1); the key is read from OPENAI_API_KEY."
    )
    judge_limit: int | None = Field(None, ge=1, description="Most questions of each set that the judge sees.")
    judge_max_tokens: int = Field(512, ge=8, description="Longest judgement, in tokens.")

    @field_validator("judge_endpoint")
    @classmethod
    def _no_secret(cls, value: str | None) -> str | None:
        """Refuse a key in the URL: the configuration is written into the run directory."""
        return None if value is None else refuse_unusable_url(value)


class Rounds(Section):
    """Rounds, in each of which the model tuned in the round before is the generator (`selfinstruct iterate`)."""

    num_rounds: int = Field(3, ge=1, description="Most rounds.")
    patience: int = Field(
        1,
        ge=0,
        description="Stop after this number of rounds in a row that are not significantly better on held-out tasks "
        "than the best round before; 0 makes all rounds.",
    )
