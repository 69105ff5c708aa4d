"""Preflight: find all problems that would end a run hours later, in seconds.

Nothing is started and nothing is written. What only the engine can know is left to the engine: a model that
transformers cannot read, but vLLM perhaps can, is no problem here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfinstruct.checks import endpoint_check, tuning_preview
from selfinstruct.checks.estimate import Estimate, estimate, tuned_bytes
from selfinstruct.checks.model_fit import check_memory, check_vision, read_tokenizer
from selfinstruct.checks.tuning_preview import TuningPreview
from selfinstruct.config.engine_arguments import of_other_models
from selfinstruct.config.later_stages import Export, Tune
from selfinstruct.config.schema import TUNED_MODEL, Config, GenerationConfig, Prompting
from selfinstruct.dataset.mixture import Source
from selfinstruct.dataset.semantic import require_semhash
from selfinstruct.engines import vllm
from selfinstruct.engines.context import ENOUGH
from selfinstruct.engines.endpoints import Endpoints
from selfinstruct.engines.model_facts import ModelFacts, model_facts
from selfinstruct.engines.models import adapter_arguments, resolve_model, with_weights
from selfinstruct.engines.tokenized_prompts import TokenizedPrompts
from selfinstruct.errors import ConfigError, InputError, SelfInstructError
from selfinstruct.formats import data_files, families, seed_tasks
from selfinstruct.generation.calibration import MOST_TEXTS
from selfinstruct.generation.context_need import needed_context
from selfinstruct.generation.generate import borrowed_seeds, check_fit, style_of
from selfinstruct.generation.method import Method
from selfinstruct.generation.regenerate import engine_arguments
from selfinstruct.generation.score_bounds import decides
from selfinstruct.generation.steps import Steps
from selfinstruct.hardware import Hardware, existing_parent, free_disk
from selfinstruct.packaged import resolve
from selfinstruct.records import Instruction, SeedTask
from selfinstruct.run.directory import RunDirectory
from selfinstruct.text import size_text
from tuning.evaluation import inputs
from tuning.evaluation.evaluation_plan import EvaluationPlan


@dataclass
class Findings:
    """What the checks found.

    Attributes:
        problems: errors, each with its remedy.
        hardware: of this machine.
        engine: the model's tokenizer and context length, or its endpoints; it counts and renders, and answers nothing.
        steps: the method with it, if every kind of prompt fits.
        facts: of the generator; None where they are not known.
        tuning: how the model will be tuned; None where nothing is tuned, or it cannot be.
        estimate: of tokens and disk.
        remarks: on the seed files.
    """

    problems: list[SelfInstructError] = field(default_factory=list)
    hardware: Hardware = field(default_factory=lambda: Hardware((), 0, 0))
    engine: TokenizedPrompts | Endpoints | None = None
    steps: Steps | None = None
    facts: ModelFacts | None = None
    tuning: TuningPreview | None = None
    estimate: Estimate | None = None
    remarks: list[str] = field(default_factory=list)

    @property
    def weight_bytes(self) -> int:
        """Return the size of the generator's weights; 0 where it is not known."""
        return self.facts.weight_bytes if self.facts else 0

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Note the error that ends the block, and go on after it."""
        try:
            yield
        except SelfInstructError as error:
            if str(error) not in map(str, self.problems):  # Two checks may meet the same fault.
                self.problems.append(error)

    def require(self) -> None:
        """Raise an error if there is a problem; the message holds all of them.

        Raises:
            SelfInstructError: the only problem; of several, an `InputError` if all are, else a `ConfigError`.
        """
        if not self.problems:
            return
        if len(self.problems) == 1:
            raise self.problems[0]
        kind = InputError if all(isinstance(p, InputError) for p in self.problems) else ConfigError
        raise kind(f"{len(self.problems)} problems:\n" + "\n".join(f"- {problem}" for problem in self.problems))


def check(config: Config, *, tuned: bool, hardware: Hardware | None = None) -> Findings:
    """Check everything that a run of this configuration needs.

    A model is checked before its journal begins. Afterwards it is not: a run that is done starts no engine, and one
    that continues has started it before.

    Args:
        config: the configuration.
        tuned: whether the whole chain runs, or generation alone.
        hardware: of the machine; default: this one.
    """
    findings = Findings(hardware=hardware or Hardware.here())
    run = RunDirectory(Path(config.output_dir)) if config.output_dir else None
    regenerates = tuned and config.regenerate.model not in (None, TUNED_MODEL)
    chooses = tuned and decides(config.answer.keep, config.scores)
    with contextlib.ExitStack() as stack:
        tuner = None
        with findings.noting():
            if tuned:  # It takes the longest, and runs beside the others.
                preview = tuning_preview.started(config.tune, config.model, config.revision, findings.hardware.gpus)
                tuner = stack.enter_context(preview)
        with findings.noting():
            _check_output(RunDirectory.at(config.output_dir))
        tasks = _seeds(findings, config.seeds)
        if run is None or not (run.generated if regenerates or chooses else run).journal.exists():
            check_generator(
                findings,
                tasks,
                Method.of(config),
                model=config.model,
                revision=config.revision,
                engine=config.engine,
                prompting=config.prompting,
                urls=config.endpoint,
            )
            if config.answer.model is not None:
                arguments = of_other_models(config.engine)
                _check_another(findings, tasks, config.answer.model, config.answer.endpoint, arguments)
        if regenerates and (run is None or not run.journal.exists()):
            arguments = engine_arguments(config.model, dict(config.engine), config.regenerate)
            _check_another(findings, tasks, str(config.regenerate.model), config.regenerate.endpoint, arguments)
        prompts = {kind: tokens for kind, (_, tokens) in first_prompts(findings).items()}
        refused = tuner is not None
        with findings.noting():
            findings.tuning = tuning_preview.read(tuner) if tuner else None
            refused = False
        tuning, tuned_weights = findings.tuning or TuningPreview(method=""), 0
        with findings.noting():
            _check_export(config.export, exported=tuned)
        with findings.noting():
            _check_mixture(config.tune)
        with findings.noting():
            if tuned and not refused:  # A tuning that is refused takes no disk.
                tuned_weights = _tuned_weights(config.tune, findings.facts)
        if tuned:
            _check_evaluation(findings, EvaluationPlan.of(config))
        trained = tuned_bytes({**tuning.arguments, **config.tune.arguments}, tuned_weights, tuning.trained)
        findings.estimate = _estimate(config, findings, prompts, trained)
        with findings.noting():
            _check_disk(run, findings.estimate)
    return findings


def _check_export(export: Export, *, exported: bool) -> None:
    if exported and export.embedding_model is not None:
        require_semhash()


def _seeds(findings: Findings, names: Sequence[str]) -> list[SeedTask]:
    """Return the seeds, and note as what their files are read; without any if they cannot be read."""
    with findings.noting():
        tasks = seed_tasks.load_seed_tasks(names)
        findings.remarks += seed_tasks.dataset_remarks(names)
        return tasks
    return []


def _estimate(config: GenerationConfig, findings: Findings, prompts: Mapping[str, int], trained: int) -> Estimate:
    is_task, calibrated = config.filters.is_task != "off" and not config.endpoint, 0
    if (steps := findings.steps) is not None and not config.endpoint:  # A server tells no log-probabilities.
        calibrated = len(steps.known_texts.held_out[:MOST_TEXTS]) if is_task else 0
        calibrated += min(len(steps.seeds), MOST_TEXTS) if config.classification.calibrate else 0
    return estimate(
        config.num_instructions,
        config.proposers,
        config.proposal,
        config.instances,
        config.answer if findings.steps and findings.steps.separate else None,
        prompts,
        trained,
        is_task=is_task,
        calibrated=calibrated,
    )


def first_prompts(findings: Findings) -> dict[str, tuple[str, int]]:
    """Return the first prompt of each kind as the model sees it, and its tokens.

    Those about an instruction show a seed's.
    """
    steps, engine = findings.steps, findings.engine
    if steps is None or engine is None:
        return {}
    ordinary = Instruction("p000000-00", steps.seeds[0].instruction, 0)
    requests = {
        "proposal": next(iter(steps.first_requests().values())),
        "classification": steps.classification_request(ordinary),
        "instances": steps.instances_request(ordinary, is_classification=False),
    }
    if steps.method.filters.is_task != "off":
        requests["is_task"] = steps.is_task_request("is_task/first", ordinary.text)
    if steps.separate:
        requests["answer"] = steps.answer_request(ordinary, 0, "", None)
    return {kind: (engine.render(r.prompt), engine.count_tokens(r.prompt)) for kind, r in requests.items()}


# -------------------------------------------------------------------------------------- directory and disk


def _check_output(run: RunDirectory) -> None:
    folder = existing_parent(run.path)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"--output-dir {run.path}: nothing can be written in {folder}: {error.strerror}; "
            "choose another directory, or change its permissions"
        ) from error


def _check_mixture(tune: Tune) -> None:
    """Read the first records of every dataset that is mixed in; a dataset on the Hub is left to the tuning."""
    mix = tune.arguments.get("mix") or ()
    for text in [mix] if isinstance(mix, str) else mix:
        source = resolve(Source.parse(str(text)).name)
        if not data_files.is_hub_name(source):
            families.recognise(str(source), itertools.islice(data_files.records(source), families.PROBED))


def _check_disk(run: RunDirectory | None, expected: Estimate) -> None:
    if run is None:
        return
    there = sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file()) if run.path.exists() else 0
    free, needed = free_disk(run.path), max(0, expected.disk_bytes - there)
    if free >= needed:
        return
    parts = {"journal": expected.journal_bytes, "dataset": expected.dataset_bytes, "model": expected.model_bytes}
    listed = ", ".join(f"{name} {size_text(size)}" for name, size in parts.items() if size)
    remedy = "; tuning takes less with --tune.use-peft or --tune.save-only-model" if expected.model_bytes else ""
    raise ConfigError(
        f"{existing_parent(run.path)}: {size_text(free)} are free, and the run is expected to take {size_text(needed)} "
        f"({listed}); make room, choose another --output-dir, or lower --num-instructions{remedy}"
    )


# ------------------------------------------------------------------------------------------------- generator


def check_generator(
    findings: Findings,
    tasks: list[SeedTask],
    method: Method,
    *,
    model: str,
    revision: str | None,
    engine: Mapping[str, Any],
    prompting: Prompting,
    urls: Sequence[str] = (),
) -> None:
    """Check the model that generates, and note what is known of it.

    Args:
        findings: what the checks found so far.
        tasks: the seed tasks; empty when they cannot be read.
        method: how instructions are proposed and instances are written.
        model: the model's name in the configuration.
        revision: its revision on the Hub.
        engine: vLLM's engine arguments.
        prompting: the prompting style of the configuration.
        urls: of the endpoints that serve it; none where vLLM starts here.
    """
    if urls:
        _check_endpoints(findings, tasks, method, urls, model, engine, prompting)
        return
    with findings.noting():
        name = resolve_model(model)
        lora = adapter_arguments(name)
        base, of_base = with_weights(name, revision)
        tokenizer = str(lora.get("tokenizer", base))
        findings.facts = _facts(model, revision, engine)
        with findings.noting():
            check_vision(findings.facts)
        with findings.noting():
            check_memory(findings.facts, engine, findings.hardware)
        enough = needed_context(tasks, method)
        arguments = vllm.engine_arguments(findings.facts, dict(engine), findings.hardware, enough)
        context = arguments.get("max_model_len")
        prompts = read_tokenizer(base, tokenizer, of_base, {**engine, "max_model_len": context})
        findings.engine = prompts
        if prompts is not None and tasks:
            style = style_of(prompting, model, prompts)
            steps = Steps(method, tasks, borrowed_seeds(method.frame), prompts, style)
            check_fit(steps, model)
            findings.steps = steps


def _check_endpoints(
    findings: Findings,
    tasks: list[SeedTask],
    method: Method,
    urls: Sequence[str],
    model: str,
    engine: Mapping[str, Any],
    prompting: Prompting,
) -> None:
    """Check the endpoints that generate, and note what is known of their model."""
    with findings.noting():
        findings.engine = served = endpoint_check.reached(urls, model, engine, tasks, needed_context(tasks, method))
        if tasks:
            steps = Steps(method, tasks, borrowed_seeds(method.frame), served, style_of(prompting, model, served))
            check_fit(steps, model)
            findings.steps = steps
    with contextlib.suppress(SelfInstructError):  # Needed only to tune it, which then finds the fault, too.
        findings.facts = _facts(model, None, engine)


def _check_another(
    findings: Findings, tasks: list[SeedTask], model: str, urls: Sequence[str], engine: Mapping[str, Any]
) -> None:
    """Check a model that answers or rewrites after the generator: its endpoints, or the memory for it here."""
    with findings.noting():
        if urls:
            endpoint_check.reached(urls, model, engine, tasks, ENOUGH)
        else:
            check_memory(_facts(model, None, engine), engine, findings.hardware)


def _facts(model: str, revision: str | None, engine: Mapping[str, Any]) -> ModelFacts:
    return model_facts(model, revision, trust_remote_code=bool(engine.get("trust_remote_code")))


def _check_evaluation(findings: Findings, plan: EvaluationPlan) -> None:
    """Check for vLLM, every file that the evaluation reads, and the model that judges answers, if it is loaded here."""
    with findings.noting():
        _check_vllm()
    for check_input in inputs.checks(plan.options):
        with findings.noting():
            check_input()
    judge = plan.options.judge
    if judge is not None and plan.options.judge_endpoint is None:
        with findings.noting():
            engine = plan.engine_arguments(judge)
            check_memory(_facts(judge, None, engine), engine, findings.hardware)


def _check_vllm() -> None:
    """Check that vLLM is installed: with endpoints a run would notice only after its tuning that it is not."""
    if importlib.util.find_spec("vllm") is None:
        raise ConfigError(
            "the evaluation, and later rounds, start vLLM on this machine, which is not installed: pip install "
            "'.[gpu]' in a clone, or without a GPU see Install in README.md; or use `generate`, `export` and `tune`"
        )


# ----------------------------------------------------------------------------------------------------- tuner


def _tuned_weights(tune: Tune, generator: ModelFacts | None) -> int:
    """Return the size in bytes of the weights that are tuned; 0 where it is not known.

    Args:
        tune: options of the tuning; without a model of its own the generator is tuned.
        generator: what is known of the model that generates.

    Raises:
        ConfigError: there is no such model, or it cannot be reached.
    """
    facts = generator
    if tune.model is not None:
        revision, trusts = tune.arguments.get("model_revision"), bool(tune.arguments.get("trust_remote_code"))
        facts = model_facts(tune.model, revision, trust_remote_code=trusts)
    if facts is None:
        return 0
    # Weights that are stored in fewer bits are tuned, and saved, in 16.
    return 2 * facts.parameters if facts.quantization and facts.parameters else facts.weight_bytes
