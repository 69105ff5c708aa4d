"""What would end a run in the night, found before it: all problems at once, in seconds.

Nothing is started and nothing is written. What needs the engine to be known is left to the engine: a model that
transformers cannot read but vLLM perhaps can is no problem here.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfinstruct.checks.estimate import Estimate, estimate
from selfinstruct.checks.hardware import Hardware, existing_parent, free_disk
from selfinstruct.config.schema import Config
from selfinstruct.engines.models import adapter_arguments, resolve_model
from selfinstruct.engines.tokenized_prompts import TokenizedPrompts
from selfinstruct.engines.vllm import default_parallelism
from selfinstruct.errors import ConfigError, InputError, SelfInstructError
from selfinstruct.formats import seed_tasks
from selfinstruct.generation.generate import borrowed_seeds, check_fit, style_of
from selfinstruct.generation.steps import Method, Steps
from selfinstruct.records import Instruction, SeedTask
from selfinstruct.run.directory import RunDirectory
from selfinstruct.text import GIB, size_text

_GPU_SHARE = 0.9
"""vLLM's `gpu_memory_utilization` where nothing is given."""
_HUB_TIMEOUT_S = 20.0
_MAX_LENGTHS = "max_position_embeddings n_positions max_seq_len seq_length max_sequence_length max_target_positions"

_PARSE_TUNER_ARGUMENTS = """
import json, sys
from selfinstruct.errors import SelfInstructError
from tuning.training.arguments import parse
try:
    parse(sys.argv[1:]).sft_config()
except SelfInstructError as error:
    print(json.dumps(str(error)))
"""


@dataclass
class Findings:
    """What the checks came to know.

    Attributes:
        problems: errors, each with its remedy.
        hardware: of this machine.
        engine: the model's tokenizer and context length; it counts and renders, and answers nothing.
        steps: the method with it, where every kind of prompt fits.
        weight_bytes: size of the generator's weights; 0 where it is not known.
        estimate: of tokens and disk.
    """

    problems: list[SelfInstructError] = field(default_factory=list)
    hardware: Hardware = field(default_factory=lambda: Hardware((), 0, 0))
    engine: TokenizedPrompts | None = None
    steps: Steps | None = None
    weight_bytes: int = 0
    estimate: Estimate | None = None

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Note the error that ends the block, and go on."""
        try:
            yield
        except SelfInstructError as error:
            self.problems.append(error)

    def require(self) -> None:
        """Raise when there is a problem; of several the message holds all.

        Raises:
            SelfInstructError: the only one, or a `ConfigError` (or `InputError`, when all are) of all of them.
        """
        if not self.problems:
            return
        if len(self.problems) == 1:
            raise self.problems[0]
        kind = InputError if all(isinstance(p, InputError) for p in self.problems) else ConfigError
        raise kind(f"{len(self.problems)} problems:\n" + "\n".join(f"- {problem}" for problem in self.problems))


def check(config: Config, *, tuned: bool, hardware: Hardware | None = None) -> Findings:
    """Check everything that a run of this configuration needs.

    What identifies a run (model, context, seeds) is checked before its journal begins. Afterwards the engine is not
    looked at: a finished run starts none, and one that goes on has started it before.

    Args:
        config: the configuration.
        tuned: whether the tuning stage belongs to it, too.
        hardware: readings; default: this machine's.
    """
    findings = Findings(hardware=hardware or Hardware.here())
    run = RunDirectory(Path(config.output_dir)) if config.output_dir else None
    with contextlib.ExitStack() as stack:
        tuner = None
        with findings.noting():
            if tuned:
                tuner = stack.enter_context(_tuner(config))  # It takes the longest, and runs beside the others.
        with findings.noting():
            _check_output(RunDirectory.at(config.output_dir))
        tasks: list[SeedTask] = []
        with findings.noting():
            tasks = seed_tasks.load_seed_tasks(config.seeds)
        if run is None or not run.journal.exists():
            _check_generator(config, tasks, findings)
        prompts = {kind: tokens for kind, (_, tokens) in first_prompts(findings).items()}
        findings.estimate = estimate(config, prompts, _tuned_weight(config, findings), tuned=tuned)
        if run is not None:
            with findings.noting():
                _check_disk(run, findings.estimate)
        if tuner is not None:
            with findings.noting():
                _finish_tuner(tuner)
    return findings


def first_prompts(findings: Findings) -> dict[str, tuple[str, int]]:
    """The first prompt of each kind as the model sees it, and its tokens; those about an instruction show a seed's."""
    steps, engine = findings.steps, findings.engine
    if steps is None or engine is None:
        return {}
    ordinary = Instruction("p000000-00", steps.seeds[0].instruction, 0)
    requests = {
        "proposal": steps.proposal_request(0, [], 0)[0],
        "classification": steps.classification_request(ordinary),
        "instances": steps.instances_request(ordinary, is_classification=False),
    }
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
            "choose another directory, or mend its permissions"
        ) from error


def _check_disk(run: RunDirectory, expected: Estimate) -> None:
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


def _check_generator(config: Config, tasks: list[SeedTask], findings: Findings) -> None:
    with findings.noting():
        name = resolve_model(config.model)
        lora = adapter_arguments(name)
        model, tokenizer = str(lora.get("model", name)), str(lora.get("tokenizer", lora.get("model", name)))
        findings.weight_bytes = _weights(model, config.revision)
        with findings.noting():
            _check_memory(config, findings)
        findings.engine = engine = _tokens(config, model, tokenizer)
        if engine is not None and tasks:
            steps = Steps(
                Method.of(config),
                tasks,
                borrowed_seeds(tasks),
                engine,
                style_of(config.prompting, config.model, engine),
            )
            check_fit(steps)
            findings.steps = steps


def _weights(model: str, revision: str | None) -> int:
    """Size of a model's weights in bytes, 0 where it cannot be known.

    Raises:
        ConfigError: the model is not on this machine and cannot be fetched.
    """
    if Path(model).is_dir():
        return sum(path.stat().st_size for path in Path(model).glob("*.safetensors"))
    from huggingface_hub import constants, try_to_load_from_cache

    cached = try_to_load_from_cache(model, "config.json", revision=revision)
    size = _weights(str(Path(cached).parent), None) if isinstance(cached, str) else 0
    if size or os.environ.get("VLLM_USE_MODELSCOPE", "").lower() in ("1", "true"):
        return size
    if constants.is_offline_mode():
        raise ConfigError(
            f"model {model!r} is not on this machine, and HF_HUB_OFFLINE forbids fetching it: unset HF_HUB_OFFLINE, "
            f"or fetch it beforehand with `hf download {model}`, or give the path of a local copy"
        )
    return _weights_on_hub(model, revision)


def _weights_on_hub(model: str, revision: str | None) -> int:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        found = HfApi().model_info(model, revision=revision, timeout=_HUB_TIMEOUT_S, files_metadata=True)
    except GatedRepoError as error:
        raise ConfigError(
            f"model {model!r} is gated: accept its terms on its page of the Hub, then set HF_TOKEN or `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise ConfigError(f"model {model!r} has no revision {revision!r} on the Hub; correct --revision") from error
    except RepositoryNotFoundError as error:
        raise ConfigError(
            f"model {model!r} is neither a folder here nor a model on the Hub that can be seen; correct the name, or, "
            "when it is private, set HF_TOKEN or `hf auth login`"
        ) from error
    except (OSError, HfHubHTTPError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"model {model!r} is not on this machine, and the Hub cannot be reached: {reason:.200}; mend the network "
            "(HF_ENDPOINT names a mirror), or give the path of a local copy"
        ) from error
    return sum(f.size or 0 for f in found.siblings or () if f.rfilename.endswith(".safetensors"))


def _tokens(config: Config, model: str, tokenizer: str) -> TokenizedPrompts | None:
    """The model's tokenizer and context length as an engine that counts and renders; None where they are not known.

    Raises:
        ConfigError: reading them would run code of the model's, and that is not allowed.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers import AutoConfig, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    options = {"revision": config.revision, "trust_remote_code": bool(config.engine.get("trust_remote_code"))}
    name = str(config.engine.get("tokenizer") or tokenizer)
    try:
        length = _context_length(config, AutoConfig.from_pretrained(model, **options))
        if length is None:
            return None
        own = options | {"revision": config.engine.get("tokenizer_revision", config.revision)}
        return TokenizedPrompts(AutoTokenizer.from_pretrained(name, **own), length)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError) as error:
        if "trust_remote_code" in str(error):
            raise ConfigError(
                f"model {config.model!r} brings code of its own; read it, and allow it with --engine.trust-remote-code"
            ) from error
        return None


def _context_length(config: Config, model: Any) -> int | None:
    """Tokens of prompt and answer, as vLLM derives them; None where that is its own affair."""
    given = config.engine.get("max_model_len")
    if given is not None:
        return given if isinstance(given, int) and given > 0 else None
    text = model.get_text_config()
    lengths = [getattr(text, name, None) for name in _MAX_LENGTHS.split()]
    known = [length for length in lengths if isinstance(length, int) and length > 0]
    scaling = getattr(text, "rope_scaling", None) or {}
    # Stretched positions: vLLM multiplies, in ways that depend on the kind.
    return None if not known or (scaling.get("factor") or 1) != 1 else min(known)


def _check_memory(config: Config, findings: Findings) -> None:
    """Whether the weights fit, and whether others hold the memory that vLLM is going to ask for."""
    weights, hardware = findings.weight_bytes, findings.hardware
    if config.engine.get("quantization") or config.engine.get("load_format") == "dummy":
        weights = 0  # Their size on disk says little.
    if not hardware.gpus:
        cache = float(os.environ.get("VLLM_CPU_KVCACHE_SPACE") or 2) * GIB
        if hardware.free_memory and weights + cache > hardware.free_memory:
            raise ConfigError(
                f"model {config.model!r}: its weights ({size_text(weights)}) and the cache of {size_text(cache)} "
                f"do not fit into the {size_text(hardware.free_memory)} of memory that are free (there is no GPU); "
                "choose a smaller model, end other programs, or set VLLM_CPU_KVCACHE_SPACE (GiB)"
            )
        return
    share = float(config.engine.get("gpu_memory_utilization", _GPU_SHARE))
    first = hardware.gpus[0]
    used = _gpus_per_replica(config, hardware, weights)
    room = share * first.total * used - weights
    if weights and room <= 0:
        raise ConfigError(
            f"model {config.model!r}: its weights take {size_text(weights)}, and {used} GPU(s) of "
            f"{size_text(first.total)} leave {size_text(share * first.total * used)} to vLLM; choose a smaller or "
            "quantized model, or more GPUs with --engine.tensor-parallel-size"
        )
    for gpu in hardware.gpus:
        if gpu.free < share * gpu.total:
            raise ConfigError(
                f"{gpu.name}: {size_text(gpu.free)} of {size_text(gpu.total)} are free, and vLLM asks for "
                f"{share:.0%}; `nvidia-smi` shows who holds the rest: end that, or give "
                f"--engine.gpu-memory-utilization {max(0.05, int(100 * gpu.free / gpu.total) / 100 - 0.02):.2f}"
            )


def _gpus_per_replica(config: Config, hardware: Hardware, weights: int) -> int:
    given = config.engine
    if {"tensor_parallel_size", "data_parallel_size", "pipeline_parallel_size"} & given.keys():
        return int(given.get("tensor_parallel_size", 1)) * int(given.get("pipeline_parallel_size", 1))
    # Heads may forbid some sizes; 0 forbids none.
    found = default_parallelism(len(hardware.gpus), weights, hardware.gpus[0].total, 0)
    return found.get("tensor_parallel_size", 1)


# ----------------------------------------------------------------------------------------------------- tuner


@contextlib.contextmanager
def _tuner(config: Config) -> Iterator[subprocess.Popen[str]]:
    """A process in which TRL reads the tuner's arguments: whatever it keeps of a GPU ends with it.

    Raises:
        ConfigError: an argument that the run itself decides, or a model that does not exist.
    """
    from tuning.training.launch import tune_command

    run = RunDirectory(Path(config.output_dir or "run"))
    command = tune_command(
        config.tune, model=config.model, dataset_dir=run.dataset, output_dir=run.model, num_processes=1
    )
    arguments = command[command.index("tuning.sft") + 1 :]
    process = subprocess.Popen(
        [sys.executable, "-c", _PARSE_TUNER_ARGUMENTS, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _finish_tuner(process: subprocess.Popen[str]) -> None:
    said, errors = process.communicate()
    lines = [line for line in said.splitlines() if line.startswith('"')]
    if lines:
        raise ConfigError(f"tune: {json.loads(lines[-1])}")
    if process.returncode:
        last = (errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        raise ConfigError(f"tune: the tuner cannot be started here: {last:.300}; mend its installation")


def _tuned_weight(config: Config, findings: Findings) -> int:
    """Size of the weights that are tuned, 0 where it is not known."""
    with contextlib.suppress(ConfigError):
        path = Path(resolve_model(config.tune.model or config.model))
        if path.is_dir():
            return _weights(str(path), None)
    return findings.weight_bytes if config.tune.model is None else 0
