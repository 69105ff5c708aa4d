"""vLLM as an asynchronous engine: continuous batching, prefix caching. Runs with vLLM 0.22 and later."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import gc
import logging
import os
import signal
import sysconfig
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from selfinstruct import library_log
from selfinstruct.console import console, is_verbose
from selfinstruct.engines import chat_templates, out_of_memory, processes, startup, usable_gpus, vllm_plugin
from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.engines.choices import Choices
from selfinstruct.engines.context import ENOUGH, default_context
from selfinstruct.engines.model_facts import ModelFacts, model_facts
from selfinstruct.engines.models import adapter_arguments, adapts_output, fetch_model, resolve_model
from selfinstruct.engines.parallelism import GPU_SHARE, own_replicas, parallelism
from selfinstruct.engines.replicas import Replicas, placed
from selfinstruct.engines.samples import Writing, seed_of, written
from selfinstruct.engines.structured import vllm_parameters
from selfinstruct.engines.tokenized_prompts import TokenizedPrompts
from selfinstruct.errors import ConfigError, EngineError, SelfInstructError
from selfinstruct.hardware import Gpu, Hardware
from selfinstruct.records import Completion

_ASKED_TO_END = (0, -signal.SIGINT, -signal.SIGTERM)
"""Exit codes of an engine's process that did not fail."""
Ends = tuple[frozenset[int], tuple[str, ...]]
"""Tokens and strings that end an answer."""


def prepare_environment() -> None:
    """Set the environment variables that vLLM reads on import; keep those that the user has set."""
    heard = is_verbose() or library_log.path() is not None
    defaults = {
        "VLLM_LOGGING_LEVEL": "INFO" if heard else "ERROR",
        "VLLM_LOGGING_STREAM": "ext://sys.stderr",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB
        # A forked engine would inherit the lock on the run directory, and open files with it.
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        # FlashInfer's sampler compiles at the first use, which ends an engine on a machine without nvcc (vLLM 49497).
        "VLLM_USE_FLASHINFER_SAMPLER": "0",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    if not heard:
        # This logger reports a death of the engine at length, without its cause. That is in the log of its process.
        logging.getLogger("vllm.v1.engine.async_llm").setLevel(logging.CRITICAL)
        # The engine's processes inherit this. There torch and triton warn about things that no user can change.
        defaults |= {
            "PYTHONWARNINGS": "ignore::FutureWarning,ignore::UserWarning,ignore::DeprecationWarning",
            "TORCH_CPP_LOG_LEVEL": "ERROR",
            "TORCH_LOGS": "-torch._library.triton",
        }
    if len(os.sched_getaffinity(0)) <= 2:
        # vLLM keeps a core free of computing. The driver needs a hundredth of one, and this is half of the machine.
        defaults["VLLM_CPU_NUM_OF_RESERVED_CPU"] = "0"
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    # What is compiled at run time is built with `ninja`, which is in an environment that need not be activated.
    own, path = sysconfig.get_path("scripts"), os.environ.get("PATH", "")
    if own not in path.split(os.pathsep):
        os.environ["PATH"] = f"{path}{os.pathsep}{own}" if path else own
    vllm_plugin.watch_children()


def engine_arguments(
    facts: ModelFacts, user_arguments: dict[str, Any], hardware: Hardware, enough: int = ENOUGH
) -> dict[str, Any]:
    """Return vLLM's engine arguments: the user's, and defaults that suit the machine for all others.

    Args:
        facts: of the model.
        user_arguments: by vLLM's names.
        hardware: of this machine.
        enough: tokens that no prompt with its answer exceeds; a longer context is not asked for.
    """
    arguments: dict[str, Any] = {
        "model": facts.name,
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        # No prompt has an image: the weights that read them are not loaded. Models of text alone ignore it.
        "language_model_only": True,
        "stream_interval": 64,  # tokens between two looks at an answer that may loop
    }
    if facts.revision:
        arguments["revision"] = facts.revision
    if not hardware.gpus:
        # Compiling takes a minute; a run on CPU rarely saves as much.
        arguments["enforce_eager"] = True
        # A processor that emulates bfloat16, vLLM's choice, takes three times as long.
        room = 2 * facts.loaded_bytes("float32") < hardware.total_memory
        if room and not (hardware.cpu_bf16 or facts.quantization):
            arguments["dtype"] = "float32"
    else:
        machine = (len(hardware.gpus), hardware.gpu_bytes)
        divided = parallelism(facts, user_arguments, *machine)
        together = 1 if own_replicas(facts, user_arguments, *machine) > 1 else divided.replicas
        arguments |= {"tensor_parallel_size": divided.tensor, "data_parallel_size": together}
        if divided.pipeline > 1:
            arguments["pipeline_parallel_size"] = divided.pipeline
    arguments |= user_arguments
    if "max_model_len" not in arguments and (context := default_context(facts, arguments, hardware, enough)):
        arguments["max_model_len"] = context
    return arguments


def parse_arguments(arguments: list[str]) -> dict[str, Any]:
    """Parse command-line arguments with vLLM's parser (`--max-model-len 4096`); names are those of `AsyncEngineArgs`.

    Return only the arguments in the list, so that vLLM's defaults apply to all others.

    Raises:
        ConfigError: vLLM has no such argument, or refuses its value; the message is vLLM's.
    """
    prepare_environment()
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    class Refusing(FlexibleArgumentParser):
        def error(self, message: str) -> None:
            raise ConfigError(f"vLLM's engine arguments: {message}")

    parser = AsyncEngineArgs.add_cli_args(Refusing(add_help=False, argument_default=argparse.SUPPRESS))
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    return vars(parser.parse_args(arguments))


class VLLMEngine(TokenizedPrompts):
    """An `Engine` on vLLM's `AsyncLLM`. Make it with `await VLLMEngine.start(...)`.

    Attributes:
        tokenizer: vLLM's. Attributes set on it do not reach the copies that its threads use.
        chat_template: when set, used instead of the tokenizer's own.
        stop_token_ids: the tokens that end an answer, whichever of them the model has learnt.
    """

    tells_logprobs = True

    def __init__(
        self,
        llm: Any,
        tokenizer: Any,
        context_length: int,
        generation_config: Mapping[str, Any],
        adapter: str | None = None,
        *,
        release: Callable[[], None],
        last_words: startup.LastWords,
    ) -> None:
        super().__init__(tokenizer, context_length, generation_config)
        self._llm = llm
        self._release = release
        self._last_words = last_words
        self._log: Path | None = None
        self._adapter = adapter
        # With an adapter, vLLM dies of prompt log-probabilities unless their request is alone in its batch (#16668).
        self._measuring = asyncio.Semaphore(1 if adapter else 1_000_000)
        config = getattr(llm, "vllm_config", None)
        self._predicts_ahead = getattr(config, "speculative_config", None) is not None
        self._counter = 0
        self._known_choices: dict[tuple[str, ...], Choices | None] = {}

    @classmethod
    async def start(
        cls,
        model: str,
        *,
        revision: str | None = None,
        arguments: dict[str, Any] | None = None,
        enough: int = ENOUGH,
        **limits: Any,
    ) -> VLLMEngine | Replicas:
        """Load the model and start the engine, or several: each replica in a process of its own.

        Args:
            model: as in the configuration: a path (of a model or a LoRA adapter), a Hub name, or `demo`.
            revision: on the Hub.
            arguments: vLLM engine arguments by their own names.
            enough: tokens that no prompt with its answer exceeds; a longer context is only asked for by an argument.
            limits: of each of several replicas; see `Replicas.start`.

        Raises:
            ConfigError: the model does not exist, or vLLM refuses an argument.
            EngineError: vLLM could not start; the message gives the cause and, if memory is too small, which
                processes hold it.
        """
        prepare_environment()
        own_arguments, before = dict(arguments or {}), processes.children()
        try:
            return await cls._start_once(model, revision, own_arguments, enough, **limits)
        except EngineError:
            await asyncio.to_thread(processes.end, processes.children() - before)
            left = await asyncio.to_thread(_hide_unusable_gpus, own_arguments)
            if not left:
                raise
        console.print(f"the engine goes on with {len(left)} GPUs ({', '.join(left)}): the others cannot be used")
        # The number of replicas follows from the GPUs that are left.
        fewer = {k: v for k, v in own_arguments.items() if k != "data_parallel_size"}
        return await cls._start_once(model, revision, fewer, enough, **limits)

    @classmethod
    async def _start_once(
        cls, model: str, revision: str | None, user_arguments: dict[str, Any], enough: int = ENOUGH, **limits: Any
    ) -> VLLMEngine | Replicas:
        name = resolve_model(model)
        lora = adapter_arguments(name)
        # Here, in the main thread, a signal ends a download. From the folder the engine starts without the Hub.
        folder = fetch_model(name, revision)
        arguments = (lora | {"model": folder} if lora else {}) | user_arguments
        source, adapter = (name, name) if lora else (folder, None)
        own, environments = await asyncio.to_thread(_placed, source, revision, arguments)
        options: dict[str, Any] = {"model": model, "source": source, "revision": revision, "adapter": adapter}
        options |= {"arguments": own, "enough": enough}
        if len(environments) == 1:
            return await cls.load(**options)
        trusts = bool(own.get("trust_remote_code"))
        named = own.get("tokenizer") or own.get("model") or source
        tokenizer = await asyncio.to_thread(chat_templates.load_tokenizer, named, trust_remote_code=trusts)
        return await Replicas.start(f"{__name__}:{cls.__name__}.load", options, environments, tokenizer, **limits)

    @classmethod
    async def load(
        cls, model: str, source: str, revision: str | None, arguments: dict[str, Any], enough: int, adapter: str | None
    ) -> VLLMEngine:
        """Start one engine in this process; for arguments that are not here see `start`.

        Args:
            source: where the model is.
            adapter: folder of a LoRA adapter.
        """
        prepare_environment()
        last_words = startup.LastWords()
        try:
            llm, release = await startup.in_lasting_thread(
                lambda: _start_llm(source, revision, arguments, enough), startup.end
            )
            tokenizer = llm.get_tokenizer()
            tokenizer = await tokenizer if asyncio.iscoroutine(tokenizer) else tokenizer
        except SelfInstructError:
            raise
        except Exception as error:
            # pydantic's ValidationError is a ValueError; TimeoutError, an OSError, is about the engine's processes.
            if isinstance(error, OSError | ValueError) and not isinstance(error, TimeoutError):
                raise ConfigError(f"model {model!r} cannot be loaded: {startup.refusal(error)}") from error
            raise EngineError(startup.did_not_start(model, error, last_words)) from error
        context, generation_config = int(llm.model_config.max_model_len), llm.model_config.try_get_generation_config()
        engine = cls(llm, tokenizer, context, generation_config, adapter, release=release, last_words=last_words)
        config = llm.vllm_config
        engine.capacity = int(config.scheduler_config.max_num_seqs * config.parallel_config.data_parallel_size)
        # A library that vLLM imports never frees this frame, and would keep the engine alive with it (see `close`).
        del llm
        return engine

    async def generate(self, request: Request) -> Completion:
        """Answer one request; see `Engine.generate`."""
        return await self.answer(request, self.request_ids(request), self.ends(request.prompt))

    async def answer(self, request: Request, ids: list[int], ends: Ends) -> Completion:
        """Answer one request whose prompt is in tokens.

        Args:
            request: the request; its prompt is not looked at.
            ids: tokens of the prompt.
            ends: tokens and strings that end the answer.
        """
        choices = self._choices(request.choices) if request.choices else None
        if choices is not None:
            ids = ids + choices.shared
        if len(ids) + request.sampling.max_tokens > self.context_length:
            detail = f"{len(ids)} + {request.sampling.max_tokens} tokens > {self.context_length}"
            raise RequestFailed("prompt_too_long", detail)
        answers, logprobs = [Writing() for _ in range(request.samples)], dict[int, Any]()
        cached = None
        sampling: dict[str, Any] = self._sampling(request, choices, ends)
        in_parts = request.stop_loops or request.ends_before is not None
        async with contextlib.aclosing(self._outputs(ids, in_parts=in_parts, **sampling)) as outputs:
            async for outcome in outputs:
                cached = outcome.num_cached_tokens if cached is None else cached
                for part in outcome.outputs:
                    answers[part.index].add(part, request)
                    if choices is not None and part.logprobs:
                        logprobs = part.logprobs[0]
                if all(answer.ended for answer in answers):
                    break
        whole = msgspec.structs.replace(written(answers, len(ids)), cached_tokens=cached)
        if choices is not None:
            first = answers[0].tokens[0]
            if first not in choices.by_token:  # Its logit is greater by 100: the model's numbers make no sense.
                raise RequestFailed("no_choice", f"{whole.text!r} is none of {list(choices.by_token.values())}")
            text, by_choice = choices.by_token[first], choices.logprobs(logprobs)
            return msgspec.structs.replace(whole, text=text, finish_reason="stop", choice_logprobs=by_choice)
        return whole

    async def response_logprob(self, prompt_ids: list[int], response_ids: list[int]) -> float:
        """Return the natural log-probability of `response_ids` after `prompt_ids`, summed over its tokens.

        With an adapter, call it while no other request is in flight.

        Raises:
            RequestFailed: both together leave no room in the context for the one token that vLLM generates after them;
                or an adapter changes the output layer, which vLLM would ignore (its issue 51594).
        """
        if self._adapter and adapts_output(self._adapter):
            raise RequestFailed("adapted_output_layer", "vLLM would measure the output layer without its adapter")
        length = len(prompt_ids) + len(response_ids)
        if length >= self.context_length:
            raise RequestFailed("prompt_too_long", f"{length} tokens and one more > {self.context_length}")
        sampling: dict[str, Any] = {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0, "detokenize": False}
        async with self._measuring:
            [outcome] = [outcome async for outcome in self._outputs(prompt_ids + response_ids, **sampling)]
        by_position = outcome.prompt_logprobs[len(prompt_ids) :]
        return float(sum(at[token].logprob for at, token in zip(by_position, response_ids, strict=True)))

    def progress(self) -> int:
        """Return the number of tokens generated so far for the requests in flight."""
        states = getattr(getattr(self._llm, "output_processor", None), "request_states", {})
        return sum(s.detokenizer.num_output_tokens() for s in list(states.values()) if s.detokenizer is not None)

    async def close(self) -> None:
        """Shut the engine down, its processes included."""
        if self._llm is None:
            return
        startup.end(self._llm)
        # vLLM's own __del__ would shut it down again when the interpreter ends, and fail with long messages.
        self._llm = None
        self._release()
        self._last_words.discard()
        gc.collect()

    async def _outputs(self, ids: list[int], *, in_parts: bool = False, **sampling: Any) -> AsyncGenerator[Any]:
        """Send one request to vLLM and yield its outputs; closing the generator aborts the request.

        Args:
            ids: tokens of the prompt.
            in_parts: yield the answer in parts while it is written, not once as a whole.
            sampling: of vLLM's `SamplingParams`.
        """
        from vllm import SamplingParams
        from vllm.lora.request import LoRARequest
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError

        self._counter += 1
        lora = LoRARequest("adapter", 1, self._adapter) if self._adapter else None
        empty = True
        try:
            kind = RequestOutputKind.DELTA if in_parts else RequestOutputKind.FINAL_ONLY
            parameters = SamplingParams(**sampling, output_kind=kind)
            outputs = self._llm.generate({"prompt_token_ids": ids}, parameters, f"r{self._counter}", lora_request=lora)
            async with contextlib.aclosing(outputs):
                async for outcome in outputs:
                    if outcome.outputs:
                        empty = False
                        yield outcome
        except Exception as error:  # vLLM's refusals have no common class: ValueError in 0.22, VLLMError in 0.32.
            # Any error may be the first sign that the engine ended.
            if isinstance(error, EngineDeadError) or self._llm is None or self._llm.errored:
                raise self._dead() from error
            cause = error.__cause__ or error  # vLLM hides unexpected errors behind one without a message.
            raise RequestFailed("refused", f"{type(cause).__name__}: {cause}"[:500]) from error
        if empty:
            raise RequestFailed("no_output")

    def _dead(self) -> EngineError:
        log = self._last_words.text()
        resources = getattr(getattr(self._llm, "engine_core", None), "resources", None)
        cores = getattr(getattr(resources, "engine_manager", None), "processes", [])
        codes = sorted(code for process in cores if (code := process.exitcode) is not None)  # signals first
        cause = startup.last_cause(log) or startup.exit_text(codes[0] if codes else None)
        advice = out_of_memory.explain(log)
        if log.strip() and self._log is None and not (codes and codes[0] in _ASKED_TO_END):
            self._log = self._last_words.keep()  # Once: every request in flight comes here.
        where = f"; its log is {self._log}" if self._log else ""
        return EngineError(f"vLLM's engine died: {cause}{where}" + (f"\n{advice}" if advice else ""))

    def _sampling(self, request: Request, choices: Choices | None, ends: Ends) -> dict[str, Any]:
        wanted = request.sampling
        common: dict[str, Any] = {
            "temperature": wanted.temperature,
            "top_p": wanted.top_p if wanted.temperature > 0 else 1.0,  # vLLM refuses other values beside greedy
            "top_k": wanted.top_k,
            "min_p": wanted.min_p,
            "seed": seed_of(request, self._llm),
            "n": request.samples,
            "structured_outputs": vllm_parameters(request.fields),
        }
        if choices is not None:
            firsts = sorted(choices.by_token)
            common |= {"max_tokens": 1, "logprob_token_ids": firsts, "detokenize": False}  # The choices are known.
            # For allowed tokens vLLM's first model runner copies a mask of batch x vocabulary to the GPU at every step.
            # The largest bias does the same; it is refused where tokens are predicted ahead (speculative decoding).
            if self._predicts_ahead:
                return common | {"allowed_token_ids": firsts}
            return common | {"logit_bias": dict.fromkeys(firsts, 100.0)}
        end_tokens, end_strings = ends
        penalties = ("presence_penalty", "frequency_penalty", "repetition_penalty")
        return common | {
            "max_tokens": wanted.max_tokens,
            **{name: getattr(wanted, name) for name in penalties},
            "stop": [*request.stop, *end_strings] or None,
            "stop_token_ids": sorted(end_tokens),
        }

    def _choices(self, choices: tuple[str, ...]) -> Choices | None:
        if choices not in self._known_choices:
            self._known_choices[choices] = Choices.of(self.tokenizer, choices)
        return self._known_choices[choices]


def _placed(model: str, revision: str | None, arguments: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Return vLLM's arguments for each replica, and for each the variables of its process."""
    hardware = _hardware()
    if len(hardware.gpus) == 1 or not (hardware.gpus or arguments.get("data_parallel_size")):
        return arguments, [{}]
    facts = model_facts(model, revision, trust_remote_code=bool(arguments.get("trust_remote_code")))
    return placed(facts, arguments, hardware)


def _start_llm(model: str, revision: str | None, user_arguments: dict[str, Any], enough: int = ENOUGH) -> Any:
    """Return one of vLLM's own engines; block until the model is loaded.

    Args:
        model: a path, or a name where the files are not vLLM's to fetch from the Hub.
        revision: on the Hub.
        user_arguments: by vLLM's names.
        enough: tokens that no prompt with its answer exceeds.
    """
    try:
        from vllm import AsyncEngineArgs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM
    except ImportError as error:
        raise EngineError(
            f"vLLM cannot be imported: {error}; install it with `pip install '.[gpu]'` in a clone, or without a GPU as "
            "README.md says"
        ) from error
    code_allowed = bool(user_arguments.get("trust_remote_code"))
    facts = model_facts(model, revision, trust_remote_code=code_allowed)
    arguments = engine_arguments(
        facts, chat_templates.tokenizer_mode(facts.name, revision) | user_arguments, _hardware(), enough
    )
    context = arguments.get("max_model_len")
    if context and "max_model_len" not in user_arguments:
        reason = "no prompt needs more" if context == enough else "its cache has little room"
        console.print(
            f"the engine's context is {context:,} of the model's {facts.context_length:,} tokens: {reason} "
            "(--engine.max-model-len sets it)"
        )
    try:
        engine_args = AsyncEngineArgs(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"engine: vLLM refuses its arguments: {startup.refusal(error)}") from error
    # The usage context decides how much vLLM computes at once. With `AsyncLLM`'s own it is 128 sequences on every GPU.
    usage = UsageContext.LLM_CLASS
    config = engine_args.create_engine_config(usage)
    return AsyncLLM.from_vllm_config(
        config,
        usage_context=usage,
        enable_log_requests=engine_args.enable_log_requests,
        disable_log_stats=engine_args.disable_log_stats,
    )


def _hardware() -> Hardware:
    """Return this machine's; only GPUs that torch can use, also those that the driver's tool does not list."""
    import torch

    hardware = Hardware.here()
    if not torch.cuda.is_available():
        return dataclasses.replace(hardware, gpus=())
    if hardware.gpus:
        return hardware
    sizes = [torch.cuda.get_device_properties(number).total_memory for number in range(torch.cuda.device_count())]
    gpus = tuple(Gpu("GPU", size, size, index=str(number)) for number, size in enumerate(sizes))
    return dataclasses.replace(hardware, gpus=gpus)


def _hide_unusable_gpus(arguments: dict[str, Any]) -> list[str]:
    """Hide GPUs that cannot be used, where there are several; return those that are left, none if nothing changed."""
    gpus = _hardware().gpus
    share = float(arguments.get("gpu_memory_utilization", GPU_SHARE))
    return usable_gpus.hide_unusable(gpus, share) if len(gpus) > 1 else []
