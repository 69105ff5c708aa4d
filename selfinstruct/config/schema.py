"""Every option, stated once: type, default, bounds and help.

The command line, the YAML file, the environment (`SELFINSTRUCT_*`), validation and the documentation are derived from
these classes; where a value is looked for is in `sources.py`. vLLM's engine arguments (section `engine`) and TRL's
`SFTConfig`/`ModelConfig` arguments (section `tune`) keep their own names and are validated by their owners.

Nothing heavy is imported here: `selfinstruct --help` reads this file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from selfinstruct import clock

TUNED_MODEL = "tuned"
"""As `regenerate.model` in rounds: the model that the round before tuned."""

DEMO_MODEL = "demo"
"""The name under which the embedded demo model goes."""

CONVENTIONAL_NAMES = {
    "temperature": "proposal.temperature",
    "top_p": "proposal.top_p",
    "max_tokens": "proposal.max_tokens",
    "threshold": "filters.threshold",
    "parent_run": "parent_runs",
    "finish_by": "limits.finish_by",
    "time_limit": "limits.time_limit",
    "max_tokens_total": "limits.max_tokens_total",
    "max_requests": "limits.max_requests",
    "regenerate_outputs": "regenerate.model",
    "rounds": "rounds.num_rounds",
    "patience": "rounds.patience",
}
"""Short names of options on the command line, besides their full ones."""


class Section(BaseModel):
    """A group of options. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True)


class Sampling(Section):
    """How answers are sampled; the names and meanings are those of vLLM's `SamplingParams`."""

    temperature: float = Field(0.0, ge=0, description="Sampling temperature; 0 is greedy.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus sampling: probability mass kept, in (0, 1].")
    top_k: int = Field(0, ge=0, description="Keep the k likeliest tokens; 0 keeps all.")
    min_p: float = Field(0.0, ge=0, le=1, description="Least probability of a token relative to the likeliest one.")
    presence_penalty: float = Field(
        0.0, ge=-2, le=2, description="Penalty on tokens already in the answer, in [-2, 2]."
    )
    frequency_penalty: float = Field(0.0, ge=-2, le=2, description="Penalty per occurrence in the answer, in [-2, 2].")
    repetition_penalty: float = Field(1.0, gt=0, description="Factor on tokens already in prompt or answer; 1 is none.")
    max_tokens: int = Field(512, ge=1, description="Longest answer, in tokens.")
    sampling_seed: bool = Field(
        False, description="Seed every request, for repeatable sampling; leaves the engine's fast sampling path."
    )


class Proposal(Sampling):
    """Proposing new instructions (paper, section 2.2 and appendix A.2)."""

    temperature: float = Field(0.7, ge=0, description="Sampling temperature; 0 is greedy.")
    top_p: float = Field(0.5, gt=0, le=1, description="Nucleus sampling: probability mass kept, in (0, 1].")
    presence_penalty: float = Field(
        2.0, ge=-2, le=2, description="Penalty on tokens already in the answer, in [-2, 2]."
    )
    max_tokens: int = Field(1024, ge=1, description="Longest answer, in tokens.")
    num_seed_examples: int = Field(6, ge=0, description="Seed instructions shown in each prompt.")
    num_generated_examples: int = Field(2, ge=0, description="Machine-written instructions shown in each prompt.")
    num_new: int = Field(8, ge=1, description="New instructions asked for in each prompt.")

    @model_validator(mode="after")
    def _some_example(self) -> Proposal:
        if self.num_seed_examples + self.num_generated_examples < 1:
            raise ValueError("num_seed_examples + num_generated_examples must be at least 1")
        return self


class Classification(Sampling):
    """Asking whether an instruction is a classification task."""

    max_tokens: int = Field(16, ge=1, description="Longest answer, in tokens.")
    num_examples: int = Field(
        31, ge=1, description="Seeds shown in the prompt, about 2 in 5 of them classification tasks."
    )


class Instances(Sampling):
    """Writing instances of an instruction."""

    presence_penalty: float = Field(
        1.5, ge=-2, le=2, description="Penalty on tokens already in the answer, in [-2, 2]."
    )
    max_tokens: int = Field(350, ge=1, description="Longest answer, in tokens.")
    num_examples: int = Field(
        12, ge=1, description="Seeds shown with their instances in the prompt, as far as they fit."
    )


class Filters(Section):
    """What is kept (paper, section 2.2, and the reference code's heuristics)."""

    threshold: float = Field(
        0.7, gt=0, lt=1, description="Reject an instruction whose ROUGE-L F to an earlier one is greater."
    )
    min_words: int = Field(4, ge=0, description="Fewest words of an instruction.")
    max_words: int = Field(150, ge=1, description="Most words of an instruction.")
    keywords: tuple[str, ...] = Field(
        (
            "image",
            "images",
            "graph",
            "graphs",
            "picture",
            "pictures",
            "file",
            "files",
            "map",
            "maps",
            "draw",
            "plot",
            "go to",
        ),
        description="Words of tasks a language model cannot do; an instruction that holds one is rejected.",
    )
    openings: tuple[str, ...] = Field(("Write a program",), description="Openings that are rejected.")
    max_instances: int = Field(5, ge=1, description="Most instances kept per instruction.")

    @model_validator(mode="after")
    def _some_length(self) -> Filters:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words ({self.min_words}) must not be greater than max_words ({self.max_words})")
        return self


class Saturation(Section):
    """When to stop a run that no longer finds anything new."""

    window: int = Field(200, ge=1, description="Proposals looked back on.")
    min_acceptance: float = Field(
        0.02, ge=0, le=1, description="Stop when a smaller share of the window's candidates is accepted; 0 never stops."
    )
    max_degenerate: float = Field(
        0.9,
        ge=0,
        le=1,
        description="Stop when a greater share of the window's completions is empty, repeated (itself or an earlier "
        "one), or truncated with nothing accepted from it; 1 never stops.",
    )


class Limits(Section):
    """When to stop before the target. A run that was stopped so goes on under later or larger limits."""

    finish_by: str | None = Field(
        None,
        description="Be done by this local time (07:00: the next one) or date with time (2026-11-25T07:00): stop "
        "proposing in time, and finish what was accepted. `run` also keeps time free for export, tuning and "
        "evaluation, shortens the tuning where it must, and says what was cut. Holds for one call.",
    )
    time_limit: str | None = Field(
        None,
        description="The same as a length of time from now: 8h, 90m, 1h30m. With both, the earlier counts. Holds for "
        "one call.",
    )
    max_tokens_total: int | None = Field(
        None,
        ge=1,
        description="Completion tokens of the whole run, follow-ups included, after which it stops; prompt tokens, "
        "which are mostly cached prefixes, are not counted. Stops early enough to finish what was accepted.",
    )
    max_requests: int | None = Field(
        None, ge=1, description="The same, counted in requests: proposals, classifications and instances."
    )
    min_rows: int = Field(
        32,
        ge=1,
        description="`run` goes on to tuning after a generation that stopped early when there are so many training "
        "rows.",
    )

    @field_validator("finish_by", mode="before")
    @classmethod
    def _date_with_time(cls, value: Any) -> Any:
        # YAML has a type for these.
        return value.isoformat() if isinstance(value, datetime) else value

    @field_validator("finish_by")
    @classmethod
    def _is_a_moment(cls, value: str | None) -> str | None:
        clock.earliest(value, None, 0.0)
        return value

    @field_validator("time_limit")
    @classmethod
    def _is_a_duration(cls, value: str | None) -> str | None:
        clock.earliest(None, value, 0.0)
        return value


class Regenerate(Sampling):
    """Rewriting the outputs of a run by another model."""

    model: str | None = Field(
        None,
        description="Model that writes the outputs anew: a local path, or a name on the Hub; default: none does. In "
        "rounds, `tuned` is the model of the round before, which rewrites the outputs of all earlier rounds.",
    )
    engine: dict[str, Any] = Field({}, description="vLLM engine arguments for that model, over those of `engine`.")


class Export(Section):
    """How a run becomes a dataset."""

    include_seeds: bool = Field(False, description="Whether the seed tasks themselves go into the training split.")
    validation_unseen: float = Field(0.05, ge=0, lt=1, description="Share of tasks held out as a whole.")
    validation_seen: float = Field(
        0.05, ge=0, lt=1, description="Share of training tasks of which one further instance is held out."
    )
    eval_threshold: float = Field(
        0.7, gt=0, lt=1, description="Leave out rows whose instruction has a greater ROUGE-L F to an evaluation task."
    )


class Tune(BaseModel):
    """The tuning stage. Any argument of TRL's `SFTConfig` and `ModelConfig` may stand here by its own name."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    model: str | None = Field(None, description="Model to tune; default: the generator.")
    num_processes: int | None = Field(None, ge=1, description="Processes of `accelerate launch`; default: one per GPU.")
    accelerate_config: str | None = Field(
        None, description="File of `accelerate config` to launch by: FSDP, DeepSpeed, several machines."
    )

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that are TRL's."""
        return dict(self.model_extra or {})


class Evaluate(Section):
    """Comparing the tuned model with its base."""

    tasks: tuple[str, ...] = Field(
        ("eval_tasks",),
        description="Evaluation tasks: files in the seed schema, Self-Instruct's user-oriented tasks, files or folders "
        "of Super-NaturalInstructions; `eval_tasks` is the packaged set.",
    )
    num_positive_examples: int = Field(
        2, ge=0, description="Positive examples in the prompt of a Super-NaturalInstructions task; 0 is zero-shot."
    )
    seeds_baseline: bool = Field(False, description="Whether to tune on the seeds alone too, as a baseline.")
    max_tokens: int = Field(256, ge=1, description="Longest answer, in tokens.")
    num_examples: int = Field(6, ge=1, description="Seeds shown to the base model in its few-shot form.")
    num_resamples: int = Field(10_000, ge=100, description="Bootstrap resamples of each interval.")
    confidence: float = Field(0.95, gt=0, lt=1, description="Confidence of each interval.")
    consistency: bool = Field(
        False, description="Whether to measure how far answers to paraphrases, and sampled answers, agree."
    )
    num_paraphrases: int = Field(
        3, ge=0, description="Most paraphrases of an instruction: the file's, then by template."
    )
    num_samples: int = Field(4, ge=2, description="Answers sampled to each question to see whether they agree.")
    sample_temperature: float = Field(0.7, gt=0, description="Temperature of these samples.")
    plain_text: tuple[str, ...] = Field(
        (), description="Text files (UTF-8) whose perplexity shows what was forgotten. Repeatable."
    )
    ifeval: str | None = Field(
        None, description="File of IFEval's shape (JSON Lines); constraints are checked by lm-eval's own code."
    )
    ifeval_max_tokens: int = Field(1280, ge=1, description="Longest answer to a prompt of IFEval, in tokens.")
    lm_eval: tuple[str, ...] = Field(
        (), description="lm-eval tasks, by name or as a local YAML file, run for base and tuned model. Repeatable."
    )
    lm_eval_limit: int | None = Field(None, ge=1, description="Most documents of each lm-eval task.")
    judge: str | None = Field(
        None, description="Model that judges pairs of answers: as for --model, or its name at --judge-endpoint."
    )
    judge_endpoint: str | None = Field(
        None, description="OpenAI-compatible URL of the judge (.../v1); its key is read from OPENAI_API_KEY."
    )
    judge_limit: int | None = Field(None, ge=1, description="Most questions of each set that are judged.")
    judge_max_tokens: int = Field(512, ge=8, description="Longest judgement, in tokens.")

    @field_validator("judge_endpoint")
    @classmethod
    def _no_secret(cls, value: str | None) -> str | None:
        """The configuration is written into the run directory."""
        if value is not None and ("@" in value or not value.startswith(("http://", "https://"))):
            raise ValueError(
                "must be a URL that begins with http:// or https:// and holds no key; keys go into OPENAI_API_KEY"
            )
        return value


class Rounds(Section):
    """Rounds, in each of which the model tuned in the round before is the generator (`selfinstruct iterate`)."""

    num_rounds: int = Field(3, ge=1, description="Most rounds.")
    patience: int = Field(
        1,
        ge=0,
        description="Stop after so many rounds in succession that are not shown to be better on held-out tasks than "
        "the best before them; 0 makes all rounds.",
    )


class Config(Section):
    """A run's whole configuration."""

    model: str = Field(
        DEMO_MODEL, min_length=1, description="Generator: a local path, a name on the Hub, or `demo` (embedded)."
    )
    revision: str | None = Field(None, description="Revision of the model on the Hub.")
    seeds: tuple[str, ...] = Field(
        ("seed_tasks",),
        min_length=1,
        description="Seed files (JSON Lines); `seed_tasks` is the packaged set of 175. Repeatable.",
    )
    parent_runs: tuple[str, ...] = Field(
        (),
        description="Earlier run directories to build on. New instructions must be novel against theirs, prompts may "
        "show theirs, and the dataset includes their rows. Name all of them. Repeatable.",
    )
    output_dir: str | None = Field(None, description="Run directory.")
    num_instructions: int = Field(
        1000, ge=1, description="Instructions to accept; more may be asked of a finished run."
    )
    seed: int = Field(42, ge=0, description="Seed of every random choice of the run.")
    prompting: Literal["auto", "completion", "chat"] = Field(
        "auto",
        description="Prompt by text completion or through the chat template; auto: chat when the model has a template.",
    )
    window: int = Field(
        96, ge=1, description="Proposals in flight: proposal n sees the pool after proposals <= n - window."
    )
    max_in_flight: int = Field(512, ge=1, description="Requests given to the engine at once.")
    fsync_interval: float = Field(1.0, ge=0, description="Seconds between fsyncs of the journal; 0 syncs every line.")
    max_engine_restarts: int = Field(
        5, ge=0, description="Restarts of an engine that dies or hangs, in a row without an answer between them."
    )
    stall_timeout: float = Field(
        300.0, gt=0, description="Seconds without a token, with requests in flight, after which the engine hangs."
    )
    request_timeout: float = Field(
        3600.0, gt=0, description="Seconds the engine may take over one request; more than stall_timeout."
    )
    engine: dict[str, Any] = Field(default_factory=dict, description="vLLM engine arguments by their own names.")
    proposal: Proposal = Proposal()
    classification: Classification = Classification()
    instances: Instances = Instances()
    filters: Filters = Filters()
    saturation: Saturation = Saturation()
    limits: Limits = Limits()
    regenerate: Regenerate = Regenerate()
    export: Export = Export()
    tune: Tune = Tune()
    evaluate: Evaluate = Evaluate()
    rounds: Rounds = Rounds()

    @field_validator("seeds", "parent_runs", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("request_timeout")
    @classmethod
    def _a_hang_is_noticed_first(cls, value: float, others: ValidationInfo) -> float:
        """Else every request that an engine has when it hangs would be marked failed for good."""
        if value <= others.data.get("stall_timeout", 0):
            raise ValueError(f"must be greater than stall_timeout ({others.data['stall_timeout']:g}), got {value:g}")
        return value

    @field_validator("engine", "tune")
    @classmethod
    def _no_secrets(cls, value: Any) -> Any:
        """Whatever stands here is written to files and command lines, where no key belongs."""
        found = list(_secrets(value.arguments if isinstance(value, Tune) else value))
        if found:
            raise ValueError(
                f"holds keys ({', '.join(found)}), which are taken from the environment alone, so that none is written "
                "anywhere; leave them out, and set HF_TOKEN (or run `hf auth login`)"
            )
        return value

    @model_validator(mode="before")
    @classmethod
    def _sections_may_be_empty(cls, values: Any) -> Any:
        """`filters:` with all its options commented out is null to YAML."""
        if not isinstance(values, dict):
            return values
        sections = {
            name
            for name, info in cls.model_fields.items()
            if isinstance(info.get_default(call_default_factory=True), BaseModel | dict)
        }
        return {name: {} if value is None and name in sections else value for name, value in values.items()}

    def identity(self) -> dict[str, Any]:
        """What makes two runs the same run; a run directory never mixes two of these.

        Left out is what only paces a run (parallelism, memory, target, saturation, limits) and what happens after
        generation.
        """
        paced = {
            "num_instructions",
            "output_dir",
            "max_in_flight",
            "fsync_interval",
            "max_engine_restarts",
            "stall_timeout",
            "request_timeout",
            "saturation",
            "limits",
            "regenerate",
            "export",
            "tune",
            "evaluate",
            "rounds",
        }
        identity = self.model_dump(mode="json", exclude=paced | {"seeds", "parent_runs", "engine"})
        identity["engine"] = {k: v for k, v in sorted(self.engine.items()) if k in ENGINE_IDENTITY}
        return identity

    def kept(self) -> Config:
        """The configuration as a run directory keeps it: without what holds for one call alone."""
        return self.model_copy(
            update={"limits": self.limits.model_copy(update={"finish_by": None, "time_limit": None})}
        )


ENGINE_IDENTITY = frozenset(
    "dtype quantization tokenizer tokenizer_revision max_model_len hf_overrides load_format kv_cache_dtype "
    "rope_scaling".split()
)
"""vLLM engine arguments that change what the model answers; the others only pace it."""

ENGINE_OF_GENERATOR = frozenset("tokenizer tokenizer_revision quantization code_revision".split())
"""vLLM engine arguments that belong to the generator's own files: no other model of the run is given them."""


_SECRET = re.compile(
    r"(?:^|[_-])(?:(?:hf|hub|auth|access|api|bearer|session|secret|private)[_-]?(?:token|key)|password|passwd|secret"
    r"|credentials?|authorization)$|^token$",
    re.I,
)
"""Names of options that hold a secret; `eos_token` and the like do not."""


def _secrets(values: dict[str, Any], within: str = "") -> Iterator[str]:
    """The dotted names of secrets in a section that is handed on, nested ones included; `hf_token: true` is none."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _secrets(value, f"{within}{name}.")
        elif isinstance(value, str) and value and _SECRET.search(str(name)):
            yield f"{within}{name}"
