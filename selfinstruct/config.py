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
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from selfinstruct.errors import ConfigError

STANDARD_INPUT = Path("-")
"""As a configuration file: read it from stdin."""

DEMO_MODEL = "demo"
"""The name under which the embedded demo model goes."""


CONVENTIONAL_NAMES = {
    "temperature": "proposal.temperature",
    "top_p": "proposal.top_p",
    "max_tokens": "proposal.max_tokens",
    "threshold": "filters.threshold",
}
"""Short names of options on the command line, besides their full ones."""


class Section(BaseModel):
    """A group of options. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Sampling(Section):
    """How answers are sampled; the names and meanings are those of vLLM's `SamplingParams`."""

    temperature: float = Field(0.0, ge=0, description="Sampling temperature; 0 is greedy.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus sampling: probability mass kept, in (0, 1].")
    top_k: int = Field(0, ge=0, description="Keep the k likeliest tokens; 0 keeps all.")
    min_p: float = Field(0.0, ge=0, le=1, description="Least probability of a token relative to the likeliest one.")
    presence_penalty: float = Field(0.0, ge=-2, le=2, description="Penalty on tokens already in the answer, in [-2, 2].")
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
    presence_penalty: float = Field(2.0, ge=-2, le=2, description="Penalty on tokens already in the answer, in [-2, 2].")
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
    num_examples: int = Field(31, ge=1, description="Seeds shown in the prompt, about 2 in 5 of them classification tasks.")


class Instances(Sampling):
    """Writing instances of an instruction."""

    presence_penalty: float = Field(1.5, ge=-2, le=2, description="Penalty on tokens already in the answer, in [-2, 2].")
    max_tokens: int = Field(350, ge=1, description="Longest answer, in tokens.")
    num_examples: int = Field(12, ge=1, description="Seeds shown with their instances in the prompt, as far as they fit.")


class Filters(Section):
    """What is kept (paper, section 2.2, and the reference code's heuristics)."""

    threshold: float = Field(0.7, gt=0, lt=1, description="Reject an instruction whose ROUGE-L F to an earlier one is greater.")
    min_words: int = Field(4, ge=0, description="Fewest words of an instruction.")
    max_words: int = Field(150, ge=1, description="Most words of an instruction.")
    keywords: tuple[str, ...] = Field(
        ("image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps", "draw", "plot", "go to"),
        description="Words of tasks a language model cannot do; an instruction that holds one is rejected.",
    )
    openings: tuple[str, ...] = Field(("Write a program",), description="Openings that are rejected.")
    max_instances: int = Field(5, ge=1, description="Most instances kept per instruction.")


class Saturation(Section):
    """When to stop a run that no longer finds anything new."""

    window: int = Field(200, ge=1, description="Proposals looked back on.")
    min_acceptance: float = Field(
        0.02, ge=0, le=1, description="Stop when a smaller share of the window's candidates is accepted; 0 never stops."
    )


class Export(Section):
    """How a run becomes a dataset."""

    include_seeds: bool = Field(False, description="Whether the seed tasks themselves go into the training split.")
    validation_unseen: float = Field(0.05, ge=0, lt=1, description="Share of tasks held out as a whole.")
    validation_seen: float = Field(0.05, ge=0, lt=1, description="Share of training tasks of which one further instance is held out.")
    eval_threshold: float = Field(
        0.7, gt=0, lt=1, description="Leave out rows whose instruction has a greater ROUGE-L F to an evaluation task."
    )


class Tune(BaseModel):
    """The tuning stage. Any argument of TRL's `SFTConfig` and `ModelConfig` may stand here by its own name."""

    model_config = ConfigDict(extra="allow", frozen=True)

    model: str | None = Field(None, description="Model to tune; default: the generator.")
    num_processes: int | None = Field(None, ge=1, description="Processes of `accelerate launch`; default: one per GPU.")

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that are TRL's."""
        return dict(self.model_extra or {})


class Evaluate(Section):
    """Comparing the tuned model with its base."""

    tasks: tuple[str, ...] = Field(
        ("eval_tasks",), description="Files of evaluation tasks in the seed schema; `eval_tasks` is the packaged set."
    )
    seeds_baseline: bool = Field(False, description="Whether to tune on the seeds alone too, as a baseline.")
    max_tokens: int = Field(256, ge=1, description="Longest answer, in tokens.")
    num_examples: int = Field(6, ge=1, description="Seeds shown to the base model in its few-shot form.")
    num_resamples: int = Field(10_000, ge=100, description="Bootstrap resamples of each interval.")
    confidence: float = Field(0.95, gt=0, lt=1, description="Confidence of each interval.")


class Config(Section):
    """A run's whole configuration."""

    model: str = Field(DEMO_MODEL, description="Generator: a local path, a name on the Hub, or `demo` (embedded).")
    revision: str | None = Field(None, description="Revision of the model on the Hub.")
    seeds: tuple[str, ...] = Field(
        ("seed_tasks",), description="Seed files (JSON Lines); `seed_tasks` is the packaged set of 175. Repeatable."
    )
    output_dir: str | None = Field(None, description="Run directory.")
    num_instructions: int = Field(1000, ge=1, description="Instructions to accept; more may be asked of a finished run.")
    seed: int = Field(42, ge=0, description="Seed of every random choice of the run.")
    prompting: Literal["auto", "completion", "chat"] = Field(
        "auto", description="Prompt by text completion or through the chat template; auto: chat when the model has a template."
    )
    window: int = Field(96, ge=1, description="Proposals in flight: proposal n sees the pool after proposals <= n - window.")
    max_in_flight: int = Field(512, ge=1, description="Requests given to the engine at once.")
    fsync_interval: float = Field(1.0, ge=0, description="Seconds between fsyncs of the journal; 0 syncs every line.")
    engine: dict[str, Any] = Field(default_factory=dict, description="vLLM engine arguments by their own names.")
    proposal: Proposal = Proposal()
    classification: Classification = Classification()
    instances: Instances = Instances()
    filters: Filters = Filters()
    saturation: Saturation = Saturation()
    export: Export = Export()
    tune: Tune = Tune()
    evaluate: Evaluate = Evaluate()

    @field_validator("seeds", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    def identity(self) -> dict[str, Any]:
        """What makes two runs the same run; a run directory never mixes two of these.

        Left out is what only paces a run (parallelism, memory, target, saturation) and what happens after generation.
        """
        paced = {"num_instructions", "output_dir", "max_in_flight", "fsync_interval", "saturation", "export", "tune", "evaluate"}
        identity = self.model_dump(mode="json", exclude=paced | {"seeds", "engine"})
        identity["engine"] = {k: v for k, v in sorted(self.engine.items()) if k in ENGINE_IDENTITY}
        return identity


ENGINE_IDENTITY = frozenset(
    "dtype quantization tokenizer tokenizer_revision max_model_len hf_overrides load_format kv_cache_dtype rope_scaling".split()
)
"""vLLM engine arguments that change what the model answers; the others only pace it."""


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a configuration file as a mapping. `1e-5`, a string to YAML 1.1, is read as the number that it looks like.

    Raises:
        ConfigError: the file cannot be read, is no YAML, or holds no mapping.
    """
    try:
        text = sys.stdin.read() if path == STANDARD_INPUT else path.read_text(encoding="utf-8-sig")
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(value or {}, dict):
        raise ConfigError(f"{path}: expected a mapping of options, got {type(value).__name__}")
    return value or {}


class _Loader(yaml.SafeLoader):
    """SafeLoader that knows `1e-5` for a float."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load(path: Path | None, overrides: dict[str, Any]) -> Config:
    """The configuration of a file, with overrides by dotted name (`filters.threshold`) on top.

    Raises:
        ConfigError: names every key or option at fault, its line in the file, and a suggestion for unknown ones.
    """
    values = load_yaml(path) if path else {}
    path = None if path == STANDARD_INPUT else path
    for name, value in overrides.items():
        section = values
        *parents, leaf = name.split(".")
        for parent in parents:
            if not isinstance(section.setdefault(parent, {}), dict):
                raise ConfigError(f"{path}: `{parent}` must be a section of options, got {section[parent]!r}")
            section = section[parent]
        section[leaf] = value
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problems = [_problem(path, overrides, found) for found in error.errors()]
        raise ConfigError("\n".join(problems)) from error


def _problem(path: Path | None, overrides: dict[str, Any], found: Any) -> str:
    """One validation error as a sentence: where, what, the value, and what to do."""
    keys = [str(k) for k in found["loc"]]
    dotted = ".".join(keys)
    if dotted in overrides:
        where = f"option --{dotted.replace('_', '-')}"
    elif path is not None:
        where = f"{path}, line {_line_of(path, keys)}: `{dotted}`"
    else:
        where = f"`{dotted}`"
    if found["type"] == "extra_forbidden":
        near = difflib.get_close_matches(keys[-1], _siblings(keys), n=1)
        return f"{where}: unknown option{f'; did you mean `{near[0]}`?' if near else ''}"
    message = found["msg"].removeprefix("Value error, ")
    return f"{where}: {message[0].lower()}{message[1:]}, got {found['input']!r}"


def _siblings(keys: list[str]) -> list[str]:
    section: type[BaseModel] = Config
    for key in keys[:-1]:
        nested = section.model_fields[key].annotation if key in section.model_fields else None
        if not (isinstance(nested, type) and issubclass(nested, BaseModel)):
            return []
        section = nested
    return list(section.model_fields)


def _line_of(path: Path, keys: list[str]) -> int:
    """The line of a key in a YAML file, from 1; of the nearest section when the key itself is not there."""
    line = 1
    try:
        node = yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)
    except (OSError, yaml.YAMLError):
        return line
    for key in keys:
        if not isinstance(node, yaml.MappingNode):
            break
        for name, value in node.value:
            if name.value == key:
                line, node = name.start_mark.line + 1, value
                break
        else:
            break
    return line


def dump_yaml(config: Config) -> str:
    """The whole configuration as YAML that `load` reads back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
