"""Every option, stated once: type, default, bounds and help.

The command line, the YAML file, the environment (`SELFINSTRUCT_*`), validation and the documentation are derived from
these classes. A value is taken from the command line, else the environment, else the YAML file, else the default.
vLLM's engine arguments (section `engine`) and TRL's `SFTConfig`/`ModelConfig` arguments (section `tune`) keep their
own names and are validated by their owners.

Nothing heavy is imported here: `selfinstruct --help` reads this file.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from selfinstruct import deadline
from selfinstruct.errors import ConfigError

STANDARD_INPUT = Path("-")
"""As a configuration file: read it from stdin."""

TUNED_MODEL = "tuned"
"""As `regenerate.model` in rounds: the model that the round before tuned."""

DEMO_MODEL = "demo"
"""The name under which the embedded demo model goes."""

ENVIRONMENT_PREFIX = "SELFINSTRUCT_"

CONVENTIONAL_NAMES = {
    "temperature": "proposal.temperature",
    "top_p": "proposal.top_p",
    "max_tokens": "proposal.max_tokens",
    "threshold": "filters.threshold",
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
        deadline.earliest(value, None, 0.0)
        return value

    @field_validator("time_limit")
    @classmethod
    def _is_a_duration(cls, value: str | None) -> str | None:
        deadline.earliest(None, value, 0.0)
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
    earlier: tuple[str, ...] = Field(
        (),
        description="Earlier run directories to build on: new instructions are novel against theirs, prompts may show "
        "them, and the dataset holds their rows too. Name all of them. Repeatable.",
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

    @field_validator("seeds", "earlier", mode="before")
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
        identity = self.model_dump(mode="json", exclude=paced | {"seeds", "earlier", "engine"})
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


def load(path: Path | None, overrides: dict[str, Any], environment: dict[str, Any] | None = None) -> Config:
    """The configuration of a file, with the environment's values and then `overrides` on top.

    Args:
        path: the YAML file; `-` is stdin, None is no file.
        overrides: values from the command line by dotted name (`filters.threshold`).
        environment: values of variables, likewise.

    Raises:
        ConfigError: names every option, variable or key at fault, with the key's line in the file and a suggestion.
    """
    source = _Source(path, overrides, environment or {})
    values = source.read()
    for name, value in (source.environment | overrides).items():
        section = values
        *parents, leaf = name.split(".")
        for parent in parents:
            if section.get(parent) is None:
                section[parent] = {}
            section = section[parent]
            if not isinstance(section, dict):
                raise ConfigError(f"{source.where([parent])}: must be a section of options, got {section!r}")
        section[leaf] = value
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_problem(source, found) for found in error.errors())) from error


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping as it stands there.

    Raises:
        ConfigError: the file cannot be read, is no YAML, or holds no mapping.
    """
    return _Source(path, {}, {}).read()


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """`; did you mean ...?`, or nothing when no known name comes close."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {near[0]}?" if near else ""


def variable_of(name: str) -> str:
    """The environment variable of an option: `filters.threshold` is `SELFINSTRUCT_FILTERS__THRESHOLD`."""
    return f"{ENVIRONMENT_PREFIX}{name.replace('.', '__').upper()}"


@dataclass
class _Source:
    """Where values came from, for messages that say so."""

    path: Path | None
    overrides: dict[str, Any]
    environment: dict[str, Any]
    text: str = ""

    def read(self) -> dict[str, Any]:
        """The file's mapping, as it stands there; empty without a file."""
        if self.path is None:
            return {}
        try:
            raw = sys.stdin.buffer.read() if self.path == STANDARD_INPUT else self.path.read_bytes()
            self.text = raw.decode("utf-8-sig")
            value = yaml.load(self.text, Loader=_Loader)  # noqa: S506 - a SafeLoader
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{self.path}: not UTF-8: {error}") from error
        except yaml.MarkedYAMLError as error:
            line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
            raise ConfigError(f"{self.path}{line}: not valid YAML: {error.problem}") from error
        except (yaml.YAMLError, ValueError) as error:  # an impossible date is a ValueError
            raise ConfigError(f"{self.path}: not valid YAML: {error}") from error
        if not isinstance(value or {}, dict):
            raise ConfigError(f"{self.path}: expected a mapping of options, got {type(value).__name__}")
        return value or {}

    def where(self, keys: Sequence[str]) -> str:
        """Where the value with this path was given."""
        dotted = ".".join(keys)
        option = ".".join(key for key in keys if not key.isdigit())  # without the place in a list
        if option in self.overrides:
            return f"option --{option.replace('_', '-')}"
        if option in self.environment:
            return f"environment variable {variable_of(option)}"
        if self.path is not None:
            return f"{self.path}, line {_line_of(self.text, keys)}: `{dotted}`"
        return f"`{dotted}`"


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads `1e-5` as a float, `no` and `19:30` as text, as YAML 1.2 has it, and refuses a key that
    stands twice. (`save_strategy: no` is TRL's own spelling; YAML 1.1 takes `19:30` for the number 1170.)
    """

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode and implicit[0] and ":" in value and "-" not in value:
            implicit = (False, True)
        return super().resolve(kind, value, implicit)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen and key.value != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} stands twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not (tag.endswith(":bool") and first in "yYnNoO")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _problem(source: _Source, found: Any) -> str:
    """One validation error as a sentence: where, what, the value, and what to do."""
    keys = [str(key) for key in found["loc"]]
    where = source.where(keys)
    if found["type"] == "extra_forbidden":
        return f"{where}: unknown option{did_you_mean(keys[-1], _siblings(keys))}"
    message = found["msg"].removeprefix("Value error, ")
    value = "" if found["type"] == "value_error" else f", got {found['input']!r}"
    return f"{where}: {message[0].lower()}{message[1:]}{value}"


def _siblings(keys: list[str]) -> list[str]:
    section: type[BaseModel] = Config
    for key in keys[:-1]:
        nested = section.model_fields[key].annotation if key in section.model_fields else None
        if not (isinstance(nested, type) and issubclass(nested, BaseModel)):
            return []
        section = nested
    return list(section.model_fields)


def _line_of(text: str, keys: Sequence[str]) -> int:
    """The line of a key in a YAML text, from 1; of the nearest section when the key itself is not there."""
    line = 1
    node = yaml.compose(text, Loader=_Loader)
    for key in keys:
        if isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
            node = node.value[int(key)]
            line = node.start_mark.line + 1
            continue
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next(((name, value) for name, value in pairs if name.value == key), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def dump_yaml(config: Config) -> str:
    """The whole configuration as YAML that `load` reads back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
