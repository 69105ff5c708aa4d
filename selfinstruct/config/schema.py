"""Every option, stated once: type, default, bounds and help.

Those of proposing are in `proposing.py`, those of the end of a generation in `stopping.py`, and those of the stages
after it in `later_stages.py`; all are imported from here.

The command line, the YAML file, the environment (`SELFINSTRUCT_*`), validation and the documentation are derived from
these classes; `load.py` says which of these sources wins. vLLM's engine arguments (section `engine`) and TRL's
`SFTConfig`/`ModelConfig` arguments (section `tune`) keep their own names and are validated by their owners.

Nothing heavy is imported here: `selfinstruct --help` reads this file.
"""

from __future__ import annotations

from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, Field, ValidationInfo, field_validator, model_validator

from selfinstruct.config import engine_arguments, paths
from selfinstruct.config.later_stages import Evaluate, Export, Regenerate, Rounds, Tune
from selfinstruct.config.proposing import Evolve, Plan, Proposal, Proposers, SingleStep, Template
from selfinstruct.config.scoring import Rate, Scores, Tag
from selfinstruct.config.section import Sampling, Section, Urls, as_tuple, refuse_secrets
from selfinstruct.config.seed_quotas import require_whole
from selfinstruct.config.stopping import Limits, Saturation
from selfinstruct.records import Tokenizer

Prompting = Literal["auto", "completion", "chat"]
HowAnswered = Literal["auto", "inline", "separate"]
Thinking = Literal["off", "strip", "keep"]
Keep = Literal["first", "best", "all"]
ProposerWeights = Literal["fixed", "adaptive"]
PromptLanguage = Literal["en", "ar", "de", "es", "fr", "hi", "ja", "zh"]
"""Languages of the prompts' own words, by ISO 639-1 code (`selfinstruct/generation/frames/`)."""
Recipe = Literal["paper", "base", "aligned"]
"""Named sets of options (`selfinstruct/config/recipes/`)."""

Tracker = Literal["wandb", "trackio", "tensorboard"]

TUNED_MODEL = "tuned"
"""Value of `regenerate.model` in rounds: the model tuned in the round before."""

DEMO_MODEL = "demo"
"""Name of the embedded demo model."""


class Classification(Sampling):
    """Asking whether an instruction is a classification task."""

    max_tokens: int = Field(16, ge=1, description="Longest answer, in tokens.")
    num_examples: int = Field(
        31, ge=1, description="Seed tasks shown in the prompt; about 2 in 5 are classification tasks."
    )
    calibrate: bool = Field(
        True,
        description="Ask first about seeds, and take a yes for one where it reproduces their share of classification "
        "tasks, not where it is likelier than a no. Where the engine gives no log-probabilities, the likelier counts.",
    )


class Instances(Sampling):
    """Writing instances of an instruction."""

    presence_penalty: float = Field(
        1.5, ge=-2, le=2, description="Penalty on tokens that are already in the answer, in [-2, 2]."
    )
    max_tokens: int = Field(350, ge=1, description="Longest answer, in tokens.")
    num_examples: int = Field(
        12, ge=1, description="Seed tasks shown in the prompt with their instances, as many as fit."
    )


class Answer(Sampling):
    """Answering each input as a user would ask it (`answering: separate`)."""

    temperature: float = Field(0.7, ge=0, description="Sampling temperature; 0 is greedy.")
    # Not top_p: where no kernel does it, as on a CPU, vLLM sorts the vocabulary for each token of each sequence.
    min_p: float = Field(0.1, ge=0, le=1, description=Sampling.model_fields["min_p"].description)
    max_tokens: int = Field(
        1024, ge=1, description="Longest answer, in tokens; at most half of the model's context is used."
    )
    model: str | None = Field(
        None,
        min_length=1,
        description="Another model that answers, once the generator has written all inputs: a path, or a name on the "
        "Hub. It is asked through its own chat template, if it has one. Default: the generator.",
    )
    endpoint: Urls = Field(
        (), description="OpenAI-compatible URLs that serve this model, instead of vLLM here. Repeatable."
    )
    num_samples: int = Field(
        1,
        ge=1,
        description="Answers sampled for each input, from one reading of the prompt; `keep` chooses among them.",
    )
    keep: Keep = Field(
        "first",
        description="Of several answers that pass the filters, keep the `first`, or `all` that differ. `refilter` "
        "chooses again; once they are rated, it can keep the `best`.",
    )
    continue_cut: bool = Field(
        True,
        description="Let an answer that max_tokens cuts go on, once; what is cut at last is rejected. Of several "
        "samples none goes on.",
    )
    system_prompt: str | None = Field(
        None, description="System message for a chat model. The dataset does not show it."
    )
    thinking: Thinking = Field(
        "off",
        description="Thinking of a model whose chat template has it. With `off` it answers at once, and what it thinks "
        "all the same is removed; with `strip` it thinks, and that is removed; `keep` makes it a field of its own.",
    )

    @model_validator(mode="after")
    def _samples_differ(self) -> Answer:
        if self.endpoint and self.model is None:
            raise ValueError("endpoint serves another model; name it in answer.model")
        if self.num_samples > 1 and self.temperature == 0:
            raise ValueError(f"{self.num_samples} samples at temperature 0 are all the same; set temperature to 0.7")
        return self


class Constraints(Section):
    """Demands on answers that a program checks, added to the instruction of a row (`answering: separate`)."""

    share: float = Field(0.0, ge=0, le=1, description="Share of the instructions that get constraints; 0: none.")
    max: int = Field(3, ge=1, le=5, description="Most constraints of an instruction; each gets one to this many.")


OnObjection = Literal["reject", "warn", "off"]
"""What a filter does with a row that it objects to: reject it, keep it with a warning in the journal, or nothing."""


class Filters(Section):
    """Which instructions are accepted (paper, section 2.2, and the heuristics of the reference code)."""

    threshold: float = Field(
        0.7, gt=0, lt=1, description="Reject an instruction whose ROUGE-L F with an earlier one is greater than this."
    )
    tokenizer: Tokenizer = Field(
        "words",
        description="What ROUGE-L counts in scripts without spaces: words (pairs of characters, about as strict as "
        "words are in English) or characters. rouge_score drops all letters outside a-z. English is the same in all.",
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
        description="Reject an instruction with one of these words: a language model cannot do such a task. Default: "
        "image, graph, picture, file, map (each also in the plural), draw, plot, go to. Repeatable.",
    )
    openings: tuple[str, ...] = Field(
        ("Write a program",), description="Reject an instruction that begins like this. Repeatable."
    )
    opening_punctuation: bool = Field(
        True,
        description="Let an instruction begin with opening punctuation (¿, «, quotation marks) or an invisible mark of "
        "direction: the first letter or digit behind it counts.",
    )
    near_evaluation: Literal["reject", "off"] = Field(
        "reject",
        description="Instructions near a task of `evaluate.tasks`: with its words, 13 words of it in a row (8, where "
        "an instruction has fewer), or a ROUGE-L F above 0.7 to its instruction. The run keeps those tasks.",
    )
    max_instances: int = Field(5, ge=1, description="Most instances kept per instruction.")
    is_task: OnObjection = Field(
        "reject",
        description="Texts that the model itself does not take for a task: asked in one token, and calibrated on the "
        "seeds. Off by itself where its answers about the seeds are no better than chance.",
    )
    is_task_threshold: float | None = Field(
        None, description="Least log-odds of a task; default: what 95 % of the seeds reach. Greater is stricter."
    )
    echo: OnObjection = Field("reject", description="Outputs that only say the instruction or the input again.")
    loop: OnObjection = Field(
        "reject",
        description="Inputs, outputs and, if rejected, instructions that repeat the same words again and again.",
    )
    leak: OnObjection = Field(
        "reject",
        description="Chat tokens, marks and sentences of the prompts, in instructions (which are never kept with a "
        "warning: warn looks at their rows only) and in rows.",
    )
    unfinished: OnObjection = Field(
        "reject", description="Outputs that only promise an answer, or end inside a sentence or a block of code."
    )
    no_material: OnObjection = Field(
        "reject", description="Instructions about a text that is given in neither the instruction nor the input."
    )
    identity: OnObjection = Field(
        "reject",
        description="Outputs in which the model says which model it is, or who made it, unless the task names it.",
    )
    refusal: OnObjection = Field("warn", description="Outputs that decline. For some tasks that is right.")
    language: OnObjection = Field(
        "reject", description="Outputs in another language than the instruction, unless it speaks of one."
    )
    url: OnObjection = Field("warn", description="Outputs with a web address that the task neither holds nor asks for.")
    personal_data: OnObjection = Field(
        "off", description="Outputs with an e-mail address or a telephone number that the task does not hold."
    )
    constraint: OnObjection = Field(
        "reject", description="Outputs that break a constraint of their instruction (section `constraints`)."
    )

    @model_validator(mode="after")
    def _some_length(self) -> Filters:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words ({self.min_words}) must not be greater than max_words ({self.max_words})")
        return self


class GenerationConfig(Section):
    """The options of generation, of ratings and of tags: what `selfinstruct/generation/` reads of a configuration."""

    model: str = Field(
        DEMO_MODEL, min_length=1, description="Generator: a local path, a name on the Hub, or `demo` (embedded)."
    )
    revision: str | None = Field(None, description="Revision of the model on the Hub.")
    endpoint: Urls = Field(
        (),
        description="OpenAI-compatible URLs (.../v1) that serve the model, instead of vLLM here; the key is read from "
        "OPENAI_API_KEY. Repeatable.",
    )
    recipe: Recipe | None = Field(
        None,
        description="A set of options that were measured together, `base` for base models, `aligned` for models tuned "
        "to follow instructions, `paper` for the method of 2022. Options that you give yourself win over it.",
    )
    seeds: tuple[str, ...] = Field(
        ("seed_tasks",),
        min_length=1,
        description="Seed files (JSON Lines); `seed_tasks` is the packaged set of 175, `domain:healthcare` the 30 of "
        "that domain (an unknown domain lists them all). `FILE:0.5` makes half of the seeds in prompts for new tasks "
        "those of the file. Repeatable.",
    )
    parent_runs: tuple[str, ...] = Field(
        (),
        description="Earlier run directories to build on. New instructions must be novel against theirs, prompts may "
        "show theirs, and the dataset includes their rows. Name all of them. Repeatable.",
    )
    output_dir: str | None = Field(
        None, description="Run directory, with all that a run writes; `run` and `generate` need it."
    )
    num_instructions: int = Field(
        1000, ge=1, description="Instructions to accept; a finished run can be given a higher number."
    )
    seed: int = Field(
        42,
        ge=0,
        lt=1 << 32,
        description="Seed of the program's own random choices: examples in prompts, order, resamples. What a model "
        "samples differs from run to run all the same, unless `sampling_seed` is set for each kind of request.",
    )
    prompting: Prompting = Field(
        "auto",
        description="Prompt by text completion or with the chat template; auto: chat if the model has learnt one.",
    )
    prompt_language: PromptLanguage = Field(
        "en", description="Language of the prompts' own words (Task, Input, Output ...); choose that of the seeds."
    )
    answering: HowAnswered = Field(
        "auto",
        description="With `inline`, instances are written with their outputs. With `separate`, inputs alone are, "
        "and then each is answered as a user would ask it; classification tasks have their label first all the same. "
        "By default, `separate` where the chat template prompts.",
    )
    proposer_weights: ProposerWeights = Field(
        "fixed",
        description="With `adaptive`, nine in ten proposals are drawn by the rows that each proposer has earned per "
        "token so far (Thompson sampling), and the others by their weights.",
    )
    topics: str | None = Field(
        None,
        min_length=1,
        description="What proposals are about, by turns: a text file with one subject a line, `packaged` (250 "
        "subjects, 12 kinds of users), or `domain:NAME` (25 subjects).",
    )
    window: int | None = Field(
        None,
        ge=1,
        description="Proposals in flight at first: proposal n sees the pool after proposals <= n - window. Default: a "
        "20th of the run's first target, at least 8 and at most 2,048.",
    )
    window_soon: int | None = Field(
        None, ge=1, description="The window grows to half of n up to this; default: a quarter more than `window`."
    )
    window_share: float = Field(
        0.25,
        ge=0,
        lt=1,
        description="The window grows later to this share of n. 0: it does not grow at all.",
    )
    max_in_flight: int | None = Field(
        None,
        ge=1,
        description="Most requests that the engine has at once; default: 1.25 times what it computes at once.",
    )
    fsync_interval: float = Field(1.0, ge=0, description="Seconds between fsyncs of the journal; 0 syncs every line.")
    max_engine_restarts: int = Field(
        5,
        ge=0,
        description="Most restarts in a row of an engine that dies or hangs without a single answer in between.",
    )
    stall_timeout: float = Field(
        300.0,
        gt=0,
        description="Seconds without a token while it has requests, after which the engine counts as hanging.",
    )
    request_timeout: float = Field(3600.0, gt=0, description="Most seconds for one request; more than stall_timeout.")
    max_retries: int = Field(
        1,
        ge=0,
        description="How often a classification, a request for instances or an answer is asked again, with another "
        "seed, when its completion cannot be read or does not come.",
    )
    report_to: tuple[Tracker, ...] = Field(
        (), description="Show the run's stages in `wandb`, `trackio` or `tensorboard`, as one group. Repeatable."
    )
    engine: dict[str, Any] = Field(default_factory=dict, description="vLLM engine arguments by their own names.")
    proposal: Proposal = Field(default_factory=Proposal)
    proposers: Proposers = Field(default_factory=Proposers)
    plan: Plan = Field(default_factory=Plan)
    evolve: Evolve = Field(default_factory=Evolve)
    template: Template = Field(default_factory=Template)
    single_step: SingleStep = Field(default_factory=SingleStep)
    classification: Classification = Field(default_factory=Classification)
    instances: Instances = Field(default_factory=Instances)
    answer: Answer = Field(default_factory=Answer)
    constraints: Constraints = Field(default_factory=Constraints)
    filters: Filters = Field(default_factory=Filters)
    scores: Scores = Field(default_factory=Scores)
    saturation: Saturation = Field(default_factory=Saturation)
    limits: Limits = Field(default_factory=Limits)
    rate: Rate = Field(default_factory=Rate)
    tag: Tag = Field(default_factory=Tag)

    _one_or_many = field_validator("seeds", "parent_runs", "report_to", mode="before")(as_tuple)

    @field_validator("seeds")
    @classmethod
    def _quotas_add_up(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        require_whole(value)
        return value

    @field_validator("request_timeout")
    @classmethod
    def _a_hang_is_noticed_first(cls, value: float, others: ValidationInfo) -> float:
        """Refuse a shorter one: every request that an engine has when it hangs would be marked as failed for good."""
        if value <= others.data.get("stall_timeout", 0):
            raise ValueError(f"must be greater than stall_timeout ({others.data['stall_timeout']:g}), got {value:g}")
        return value

    @field_validator("constraints")
    @classmethod
    def _can_be_attached(cls, value: Constraints, others: ValidationInfo) -> Constraints:
        """Refuse constraints that no answer would get, or that would be in another language than the prompts."""
        answering, language = others.data.get("answering"), others.data.get("prompt_language")
        if value.share and answering == "inline":
            raise ValueError("only answers written separately get constraints; set answering to separate")
        if value.share and language != "en":
            raise ValueError(f"constraints are worded in English, and prompt_language is {language}; set share to 0")
        return value

    @field_validator("engine")
    @classmethod
    def _no_secrets(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Refuse keys: these values are written to files and command lines."""
        refuse_secrets(value)
        return value

    @model_validator(mode="before")
    @classmethod
    def _sections_may_be_empty(cls, values: Any) -> Any:
        """Read `filters:` with all its options commented out, which is null in YAML."""
        if not isinstance(values, dict):
            return values
        sections = {
            name
            for name, info in cls.model_fields.items()
            if isinstance(info.get_default(call_default_factory=True), BaseModel | dict)
        }
        return {name: {} if value is None and name in sections else value for name, value in values.items()}

    @model_validator(mode="after")
    def _another_model_answers_separately(self) -> Self:
        if self.answer.model is not None and self.answering == "inline":
            raise ValueError("answer.model: `answering: inline` lets the generator answer; set answering to separate")
        if self.answer.model is not None and self.proposer_weights == "adaptive":
            raise ValueError(
                "answer.model: `proposer_weights: adaptive` needs to know which answers are kept, and this one answers "
                "after all proposals; set it to fixed"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """Return what makes two runs the same run; a run directory never mixes two of these.

        It leaves out what only changes the pace of a run (parallelism, memory, target, saturation, limits), and what
        happens after generation. The options of proposers that a run does not use are no part of it either.
        """
        others = (
            "num_instructions output_dir max_in_flight fsync_interval max_engine_restarts stall_timeout "
            "request_timeout saturation limits rate tag regenerate export tune evaluate rounds seeds parent_runs "
            "topics engine endpoint report_to".split()
        )
        unused = {name for name, weight in self.proposers.weights.items() if not weight}
        without = dict.fromkeys((*others, *unused), True) | {"answer": {"endpoint"}}
        identity = self.model_dump(mode="json", exclude=without)
        identity["engine"] = engine_arguments.of_identity(self.engine)
        return identity

    def anchored(self) -> Self:
        """Return the configuration with absolute paths; which options were given stays known."""
        return type(self).model_validate(paths.anchored(self.model_dump(exclude_unset=True)))

    def inputs(self) -> list[str]:
        """Return the models, files and earlier runs that a run reads, as they were given. Not all of them are paths."""
        return paths.inputs(self.model_dump())

    def kept(self) -> Self:
        """Return the configuration as a run directory keeps it: without the options that hold for one call."""
        return self.model_copy(
            update={"limits": self.limits.model_copy(update={"finish_by": None, "time_limit": None})}
        )


ConfigT = TypeVar("ConfigT", bound=GenerationConfig)
"""The whole configuration, or its options of generation; what returns a changed one returns the same kind."""


class Config(GenerationConfig):
    """A run's whole configuration."""

    regenerate: Regenerate = Field(default_factory=Regenerate)
    export: Export = Field(default_factory=Export)
    tune: Tune = Field(default_factory=Tune)
    evaluate: Evaluate = Field(default_factory=Evaluate)
    rounds: Rounds = Field(default_factory=Rounds)

    @field_validator("tune")
    @classmethod
    def _no_secrets_for_the_tuner(cls, value: Tune) -> Tune:
        refuse_secrets(value.arguments)
        return value
