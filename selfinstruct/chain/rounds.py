"""`selfinstruct iterate`: rounds, in each of which the model tuned in the round before is the generator.

    OUTPUT/
      config.yaml          the configuration
      rounds.json          the rounds that are done, see `run/rounds_record.py`
      round-01/ ...        a run directory for each round
      round-01-generated/  with `--regenerate-outputs MODEL`: the round before its outputs were rewritten
      round-02-earlier/    with `--regenerate-outputs tuned`: the rounds before it, with outputs by the last tuned model
      best                 a symbolic link to the best round
      report.html          the rounds in a table

A round is the chain of `selfinstruct run`. The rounds before it are its parent runs (see `run/parents.py`): its
instructions must be novel against theirs, its prompts may show them, and its dataset includes their rows. Each round
tunes the original model on everything so far. A round in `rounds.json` is done and is not changed again; the next one
continues where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace
from pydantic import BaseModel

from selfinstruct.chain import chain as stages
from selfinstruct.chain.asking import asks
from selfinstruct.chain.fetch import fetch_models
from selfinstruct.chain.round_selection import RoundSelection, select_best_round
from selfinstruct.config import earlier_defaults, later_stages
from selfinstruct.config.engine_arguments import of_identity, of_other_models
from selfinstruct.config.load import dump_yaml
from selfinstruct.config.schema import TUNED_MODEL, Config
from selfinstruct.console import console, stage
from selfinstruct.errors import ConfigError, InputError, SelfInstructError, StoppedError
from selfinstruct.formats import jsonl, seed_tasks
from selfinstruct.generation.material import seed_quotas
from selfinstruct.generation.prompts import PROMPTS_VERSION
from selfinstruct.generation.session import refuse_other_run
from selfinstruct.records import TRAIN
from selfinstruct.report.rounds_page import write_report
from selfinstruct.run import parents, rounds_ownership
from selfinstruct.run.control_lines import Saturated
from selfinstruct.run.counting import run_counts
from selfinstruct.run.directory import RoundsDirectory, RunDirectory
from selfinstruct.run.rounds_ownership import REWRITTEN_PARENTS
from selfinstruct.run.rounds_record import (
    Round,
    Rounds,
    SetMean,
    write_rounds,
)
from selfinstruct.run.scores import TUNED
from selfinstruct.run.state import RunState
from tuning.evaluation.bootstrap import Resampling
from tuning.training.launch import tuned_from


@dataclass(frozen=True)
class Chain:
    """The steps of a round; tests replace them. Each may be called again after it was interrupted or done."""

    generate: Callable[[Config], Any]
    regenerate: Callable[[Path, Config], Any]
    export: Callable[[Config], Any]
    tune: Callable[[Config], Any]
    evaluate: Callable[[RunDirectory], Any]
    report: Callable[[RunDirectory], Any]


def real_chain() -> Chain:
    """Return the stages of `selfinstruct run`, in processes of their own."""
    return Chain(stages.generate, stages.regenerate, stages.export, stages.tune, stages.evaluate, stages.report)


def iterate(config: Config, chain: Chain | None = None, *, overwrite: bool = False) -> Rounds:
    """Make rounds until the last one, or until they no longer help; continue what is there.

    Args:
        config: the configuration; `output_dir` is the directory of the rounds.
        chain: the steps of a round; default: the real ones.
        overwrite: discard the rounds that are there.

    Returns:
        What `rounds.json` holds.

    Raises:
        ConfigError: no directory is given, or it holds rounds made with other settings.
        SelfInstructError: as the failing stage said; everything before it is kept.
    """
    chain = chain or real_chain()
    output = RoundsDirectory.at(config.output_dir)
    if asks(config):
        raise ConfigError(
            "rounds neither rate nor tag what they generate, nor choose by scores; leave out `after_generation` of "
            "rate and tag, `scores` and `answer.keep: best`, or use `selfinstruct run`"
        )
    if config.rounds.patience and not config.export.validation_unseen:
        console.print("export.validation_unseen is 0: no scores can end the rounds early, so all of them are made")
    recorded = output.rounds().identity if output.rounds_path.exists() and not overwrite else {}
    config = earlier_defaults.continuing(config.anchored(), recorded)
    identity = rounds_identity(config)
    resampling = Resampling.of(config.evaluate, config.seed)
    with output.locked():
        if overwrite and not RunDirectory(output.path).journal.exists():
            rounds_ownership.require_overwritable(output, config.inputs())
            rounds_ownership.discard(output)
        elif not output.rounds_path.exists():
            rounds_ownership.require_free(output)
        rounds = _read_or_start(output, identity)
        jsonl.write_text(output.config_path, dump_yaml(config))
        while True:
            evaluations = [output.round(row.run).evaluation for row in rounds.rounds]
            rounds = _judge(output, rounds, select_best_round(evaluations, resampling), config.rounds)
            write_rounds(output.rounds_path, rounds)
            if rounds.best:
                output.point_at(rounds.best)
            if rounds.ended:
                break
            number = len(rounds.rounds) + 1
            with output.round(name_of(number)).locked():
                made = _make_round(config, output, number, chain)
            if made is None:
                rounds = replace(rounds, ended=f"round {number} found nothing new")
                write_rounds(output.rounds_path, rounds)
                break
            rounds = replace(rounds, rounds=[*rounds.rounds, made])
        console.print(f"rounds: {rounds.ended}; the best is {rounds.best}")
        write_report(output, rounds)
    return rounds


def round_config(config: Config, output: RoundsDirectory, number: int) -> Config:
    """Return the configuration of one round's run.

    From the second round on the generator is the model tuned in the round before. It is prompted as the first generator
    was: `auto` would choose chat by its new chat template, but tuning has not taught it to list tasks in a chat.

    Args:
        config: configuration of the rounds.
        output: directory of the rounds.
        number: of the round, from 1; the rounds before it are done.
    """
    run = output.round(name_of(number)).path
    if number == 1:
        return config.model_copy(update={"output_dir": str(run)})
    before = [output.round(name_of(k)) for k in range(1, number)]
    style = before[0].header().resolved["style"]
    rewritten = run.with_name(run.name + REWRITTEN_PARENTS)
    base, revision = tuned_from(config.tune, config.model, config.revision)
    of_base = {"model": base} | ({"model_revision": revision} if revision is not None else {})
    parent_runs = [rewritten / past.path.name if _by_tuned(config.regenerate) else past.path for past in before]
    return config.model_copy(
        update={
            "output_dir": str(run),
            "model": str(before[-1].model.path.resolve()),
            "revision": None,
            "prompting": style,
            "parent_runs": (*config.parent_runs, *(str(path.resolve()) for path in parent_runs)),
            "engine": of_other_models(config.engine),
            "endpoint": (),  # It serves the model of the first round.
            "tune": config.tune.model_copy(update=of_base),
        }
    )


def name_of(number: int) -> str:
    """Return the name of a round's run directory.

    >>> name_of(1)
    'round-01'
    """
    return f"round-{number:02d}"


# ------------------------------------------------------------------------------------------------ one round


def _make_round(config: Config, output: RoundsDirectory, number: int, chain: Chain) -> Round | None:
    """Make one round, or finish it. Return None when it found nothing new to tune on."""
    this = round_config(config, output, number)
    run = RunDirectory.at(this.output_dir)
    title = f"round {number} of at most {config.rounds.num_rounds}"
    if number == 1:
        fetch_models(this, run)
    if _by_tuned(config.regenerate):
        _rewrite_parents(config, output, this, title, chain)
    rewrites = config.regenerate.model is not None and not _by_tuned(config.regenerate)
    generated = run.generated if rewrites else run
    stage(f"{title}: generate")
    into = this.model_copy(update={"output_dir": str(generated.path)})
    state = _generate(generated, partial(chain.generate, into))
    if number > 1 and not any(state.instances.values()):
        return None
    if rewrites:
        stage(f"{title}: rewrite the outputs")
        chain.regenerate(generated.path, this)
    stage(f"{title}: export")
    chain.export(this)
    stage(f"{title}: tune")
    try:
        chain.tune(this)
    except SelfInstructError as error:
        rest = [partial(stage, f"{title}: evaluate"), partial(chain.evaluate, run), partial(chain.report, run)]
        stages.after_failed_tuning(run, error, rest)
        raise
    stage(f"{title}: evaluate")
    chain.evaluate(run)
    chain.report(run)
    return _summarize(run, this.model, number)


def _by_tuned(regenerate: later_stages.Regenerate) -> bool:
    return regenerate.model == TUNED_MODEL


def _rewrite_parents(config: Config, output: RoundsDirectory, this: Config, title: str, chain: Chain) -> None:
    """Let the last tuned model, which is this round's generator, rewrite the outputs of all rounds before.

    Each time it starts from what was generated: where a new output is rejected, the generator's own is kept, not one by
    a worse model.
    """
    by_tuned = config.regenerate.model_copy(update={"model": this.model, "endpoint": ()})
    for number, rewritten in enumerate(this.parent_runs[len(config.parent_runs) :], 1):
        stage(f"{title}: rewrite the outputs of round {number}")
        parent = round_config(config, output, number)
        chain.regenerate(
            output.round(name_of(number)).path,
            parent.model_copy(update={"output_dir": rewritten, "regenerate": by_tuned}),
        )


def _generate(run: RunDirectory, generate: Callable[[], Any]) -> RunState:
    """Grow a round to its target. A saturated one is accepted as it is: the next model may find more."""
    try:
        generate()
    except StoppedError as stopped:
        state = run.state() if run.journal.exists() else RunState()
        if not isinstance(state.stopped, Saturated) or state.pending():
            raise
        console.print(str(stopped), markup=False)
        console.print(
            f"{run.path} is saturated at {len(state.pool)} of {state.target} instructions: going on with them"
        )
        return state
    return run.state()


def _summarize(run: RunDirectory, generator: str, number: int) -> Round:
    """Return what `rounds.json` says of a round that is done; its comparison with the others is left to `_judge`."""
    state, counts, scores = run.state(), run.dataset.export_counts(), run.evaluation.scores()
    sets = scores.arms[TUNED].sets if TUNED in scores.arms else {}
    return Round(
        round=number,
        run=run.path.name,
        generator=generator,
        new_instructions=len(state.pool),
        instructions=len(state.pool) + (counts.parents.instructions.accepted if counts.parents else 0),
        train_rows=counts.rows[TRAIN],
        saturated=len(state.pool) < state.target,
        outputs=run_counts(state).outputs,
        scores={name: msgspec.convert(about, SetMean, from_attributes=True) for name, about in sets.items()},
    )


# --------------------------------------------------------------------------------------------- all of them


def _read_or_start(output: RoundsDirectory, identity: dict[str, Any]) -> Rounds:
    """Return what `rounds.json` holds; no rounds when there is none.

    Raises:
        ConfigError: the rounds were made with other settings, or the directory is that of a run.
        InputError: a round is gone.
    """
    if RunDirectory(output.path).journal.exists():
        raise ConfigError(
            f"{output.path} holds a run; give the rounds a directory of their own: --output-dir DIRECTORY"
        )
    rounds = output.rounds() if output.rounds_path.exists() else Rounds(identity=identity)
    refuse_other_run(output.path, rounds.identity, identity)
    for row in rounds.rounds:
        if not output.round(row.run).journal.exists():
            raise InputError(
                f"{output.path / row.run} is gone, and later rounds build on it; restore it, or start again from "
                "scratch with --overwrite"
            )
    return rounds


def _judge(output: RoundsDirectory, rounds: Rounds, selection: RoundSelection, options: later_stages.Rounds) -> Rounds:
    """Return the rounds with their comparison, the best of them, and the reason to end, if there is one.

    Args:
        output: directory of the rounds.
        rounds: those that are done.
        selection: how they compare on held-out tasks.
        options: when to end.
    """
    rows = selection.completed(rounds.rounds)
    best = rows[selection.best].run if rows else None
    return Rounds(
        identity=rounds.identity,
        rounds=rows,
        best=best,
        ended=_reason_to_end(len(rows), selection.without_gain, options),
        verdict=output.round(best).evaluation.scores().verdict if best else None,
    )


def _reason_to_end(made: int, without_gain: int, options: later_stages.Rounds) -> str | None:
    """Return why there is no further round; None when there is one.

    Args:
        made: rounds that are done.
        without_gain: the last rounds in succession that were not significantly better than the best before them.
        options: most rounds, and patience.
    """
    if made >= options.num_rounds:
        return "the only round is made" if made == 1 else f"all {made} rounds are made"
    if options.patience and without_gain >= options.patience:
        last = "the last round was" if options.patience == 1 else f"the last {without_gain} rounds were"
        return f"{last} not significantly better on held-out tasks"
    return None


def rounds_identity(config: Config) -> dict[str, Any]:
    """Return what makes rounds comparable: everything but the pace of the work and the number of rounds."""

    def changed(section: BaseModel) -> dict[str, Any]:
        # Defaults are left out, so that an option that a later version adds changes nothing.
        return section.model_dump(mode="json", exclude_defaults=True)

    regenerate = changed(config.regenerate) | {"engine": of_identity(config.regenerate.engine)}
    regenerate.pop("endpoint", None)  # Where it is computed changes nothing.
    tasks = seed_tasks.load_seed_tasks(config.seeds)
    identity = {
        **config.identity(),
        "num_instructions": config.num_instructions,
        "seeds_sha256": seed_tasks.fingerprint(tasks),
        "prompts_version": PROMPTS_VERSION,
        "regenerate": regenerate,
        "export": changed(config.export),
        "tune": changed(config.tune),
        "evaluate": changed(config.evaluate),
    }
    if quotas := seed_quotas(tasks):
        identity["seed_quotas"] = quotas
    if config.parent_runs:
        identity["earlier_sha256"] = parents.fingerprint(parents.load_parents(config.parent_runs))
    return identity
