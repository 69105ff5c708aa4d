"""`selfinstruct regenerate`: a finished run's outputs, written anew by a stronger or a tuned model.

Instructions and inputs stay as they are; the model answers each of them zero-shot, through its chat template. (In the
paper's study of data quality, outputs rewritten by a better model were the largest single gain.) A model without a
template is a base model, and answers after worked examples of the seeds.

The result is a run directory of its own. Its journal begins with the lines of the run that it was made from, so that
everything that reads a run reads it too; then comes one line per instance:

    {"kind": "output", "id": ..., "instance": 0, "completion": {...}, "candidates": [{"input", "output",
        "accepted": true} | {..., "accepted": false, "reason", "evidence"}]}
    {"kind": "output", "id": ..., "instance": 0, "failed": {"reason", "detail"}}

Where the new output is rejected or the request failed, the old one stays: it has passed the same filters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selfinstruct import records
from selfinstruct.config.load import dump_yaml
from selfinstruct.config.schema import ENGINE_IDENTITY, ENGINE_OF_GENERATOR, Config
from selfinstruct.console import console
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.errors import ConfigError, InputError
from selfinstruct.formats import jsonl, seed_tasks
from selfinstruct.generation import prompts, stop_rules
from selfinstruct.generation.filters.instances import check_instances
from selfinstruct.generation.prompts import ParsedInstance
from selfinstruct.generation.session import anchored, opened
from selfinstruct.generation.supervision import StartEngine, closing, supervised
from selfinstruct.records import Completion, Instance, Instruction, Prompt, SeedTask
from selfinstruct.run import parents
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import JournalWriter, Line, MetricsWriter, read_lines
from selfinstruct.run.parents import Earlier
from selfinstruct.run.state import RunState, replay
from selfinstruct.signals import until_signal


def regenerate(source: Path, config: Config, start_engine: StartEngine, *, overwrite: bool = False) -> RunState:
    """Rewrite the outputs of the run in `source` into `config.output_dir`; continues what is there.

    Args:
        source: a run whose generation is finished.
        config: its configuration with `output_dir`, the new run's directory, and `regenerate.model`.
        start_engine: starts the model that answers; called only when there is something to ask it.
        overwrite: discard the run that is in `output_dir`.

    Returns:
        The new run's state.

    Raises:
        ConfigError: no model or directory is given, or the directory holds another run.
        InputError: `source` is no run, is unfinished, or has rewritten outputs itself.
        EngineError: the engine died; the same command continues.
        Interrupted: by a signal; likewise.
        RunLockedError: another process writes the directory.
    """
    if config.regenerate.model is None:
        raise ConfigError("name the model that writes the new outputs: --model MODEL")
    if config.output_dir is None:
        raise ConfigError("give a directory for the new run: --output-dir NEWRUN")
    run = RunDirectory(Path(config.output_dir))
    if run.path.resolve() == source.resolve():
        raise ConfigError(f"{run.path}: a run is not rewritten in place; give another --output-dir")
    config = anchored(config)
    before = _finished(RunDirectory(source))
    identity = {**before.header["identity"], "regenerate": _identity(config, before)}
    with opened(run, config, identity, overwrite=overwrite) as state:
        if not state.header or state.outputs_left():
            header = {**before.header, "identity": identity, "source": str(source.resolve())}
            asyncio.run(_rewrite(config, run, state, header, source, start_engine))
    return state


def engine_arguments(config: Config) -> dict[str, Any]:
    """vLLM's arguments for the model that rewrites: the run's, less what belongs to its generator, and its own."""
    same = config.regenerate.model == config.model
    shared = {name: value for name, value in config.engine.items() if same or name not in ENGINE_OF_GENERATOR}
    return shared | config.regenerate.engine


def _finished(source: RunDirectory) -> RunState:
    """The state of a run that can be rewritten."""
    source.require_journal()
    state = replay(read_lines(source.journal, live=True))
    if not state.header or state.pending() or (len(state.pool) < state.target and state.stopped is None):
        raise InputError(
            f"{source.path}: its generation is not finished; first: selfinstruct generate --output-dir {source.path}"
        )
    if "regenerate" in state.header["identity"]:
        raise InputError(
            f"{source.path}: its outputs are rewritten ones already; rewrite those of the run that it was made from, "
            f"{state.header.get('source')}"
        )
    return state


def _identity(config: Config, before: RunState) -> dict[str, Any]:
    """What the new outputs depend on, beside what the source run depends on."""
    of_source = Earlier([before], before.pool, list(before.tasks()))
    engine = engine_arguments(config)
    return {
        **config.regenerate.model_dump(mode="json", exclude={"engine"}),
        "engine": {name: value for name, value in sorted(engine.items()) if name in ENGINE_IDENTITY},
        "source_sha256": parents.fingerprint(of_source),
        "prompts_version": prompts.PROMPTS_VERSION,
    }


async def _rewrite(
    config: Config, run: RunDirectory, state: RunState, header: Line, source: Path, start_engine: StartEngine
) -> None:
    console.print(f"starting the engine with model {config.regenerate.model!r}")
    metrics = MetricsWriter(run.metrics)
    async with closing(await until_signal(supervised(config, run, start_engine, metrics).launch())) as engine:
        resolved = {
            "context_length": engine.context_length,
            "style": "chat" if engine.has_chat_template else "completion",
        }
        if not state.header:
            header["resolved"] = {**header["resolved"], "regenerate": resolved}
            _begin(run, header, source, state)
            jsonl.write_text(run.config, dump_yaml(config.kept()))
        elif state.header["resolved"]["regenerate"] != resolved:
            raise ConfigError(
                f"the engine differs from the one that began this run: recorded "
                f"{state.header['resolved']['regenerate']}, now {resolved}"
            )
        rewriter = Rewriter(config, engine)
        with JournalWriter(run.journal, config.fsync_interval) as journal:

            def commit(line: Line) -> None:
                journal.append(line)
                state.apply(line)

            with stop_rules.interruption_noted(commit, state):
                await until_signal(_answer_all(rewriter, state, commit, config.max_in_flight))


def _begin(run: RunDirectory, header: Line, source: Path, state: RunState) -> None:
    """Write the new journal up to where the source ends, all or nothing."""

    def lines() -> Iterator[Line]:
        yield header
        for line in read_lines(RunDirectory(source).journal):
            if line["kind"] != "run":
                yield line

    def applied() -> Iterator[Line]:
        for line in lines():
            state.apply(line)
            yield line

    jsonl.write(run.journal, applied())


async def _answer_all(rewriter: Rewriter, state: RunState, commit: Callable[[Line], None], max_in_flight: int) -> None:
    """Ask for every output that is left; each answer is committed as it arrives."""
    from selfinstruct.console import AnswerProgress

    left = state.outputs_left()
    waiting = iter(left)
    with AnswerProgress("regenerate", len(left)) as progress:

        async def worker() -> None:
            for instruction, place, instance in waiting:
                line = await rewriter.line(instruction, place, instance)
                commit(line)
                progress.advance(line.get("completion", {}).get("completion_tokens", 0))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(max_in_flight, len(left))):
                    group.create_task(worker())
        except ExceptionGroup as errors:  # An engine that dies fails all of them alike.
            raise errors.exceptions[0] from None


class Rewriter:
    """Asks one model for outputs, and decides on its answers.

    Args:
        config: of the new run; its seeds are the examples for a model without a chat template.
        engine: the model.
    """

    def __init__(self, config: Config, engine: Engine) -> None:
        from selfinstruct.generation.prompts import few_shot_examples

        self._config = config
        self._engine = engine
        self._shown: list[SeedTask] = []
        if not engine.has_chat_template:
            seeds = seed_tasks.load_seed_tasks(config.seeds)
            self._shown = few_shot_examples(seeds, config.instances.num_examples, config.seed)

    async def line(self, instruction: Instruction, place: int, instance: Instance) -> Line:
        """The journal line of one output."""
        line: Line = {"kind": "output", "id": instruction.id, "instance": place}
        try:
            completion = await self._engine.generate(self._request(instruction, place, instance))
        except RequestFailed as failure:
            return {**line, "failed": {"reason": failure.reason, "detail": failure.detail}}
        return {**line, "completion": asdict(completion), "candidates": [self._decide(instance, completion)]}

    def _request(self, instruction: Instruction, place: int, instance: Instance) -> Request:
        from selfinstruct.generation.prompts import ANSWER_STOP

        key = f"output/{instruction.id}/{place}"
        if self._engine.has_chat_template:
            asked: Prompt = [{"role": "user", "content": records.user_message(instruction.text, instance.input)}]
            return Request(key, asked, self._config.regenerate)
        return Request(key, self._after_examples(instruction, instance, key), self._config.regenerate, ANSWER_STOP)

    def _after_examples(self, instruction: Instruction, instance: Instance, key: str) -> Prompt:
        from selfinstruct.generation.prompts import encode_answer

        limit = self._engine.context_length - self._config.regenerate.max_tokens
        fitted = prompts.fit(
            lambda k: encode_answer(instruction.text, instance.input, self._shown[:k]),
            len(self._shown),
            limit,
            self._engine.count_tokens,
        )
        if fitted is None:
            raise RequestFailed("prompt_too_long", f"{key}: more than {limit} tokens")
        return fitted[0]

    def _decide(self, instance: Instance, completion: Completion) -> dict[str, Any]:
        from selfinstruct.generation.prompts import parse_answer, strip_thinking

        parse = strip_thinking if self._engine.has_chat_template else parse_answer
        output = parse(completion.text)
        candidate = {"input": instance.input, "output": output}
        parsed = ParsedInstance(instance.input, output, truncated=completion.finish_reason != "stop")
        found = check_instances([parsed], max_instances=1)[0]
        if found is None:
            return {**candidate, "accepted": True}
        return {**candidate, "accepted": False, "reason": found.reason, "evidence": found.evidence}
