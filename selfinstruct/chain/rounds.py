"""`selfinstruct iterate`: rounds, in each of which the model that the round before tuned is the generator.

    OUTPUT/
      config.yaml          the configuration
      rounds.json          what was done and what came of it, see `iterate`
      round-01/ ...        a run directory each, with every stage done
      round-01-generated/  with `--regenerate-outputs MODEL`: the round as it was generated, before that
      round-02-earlier/    with `--regenerate-outputs tuned`: the rounds before it, with outputs by the last tuned model
      best                 a symbolic link to the best round
      report.html          the rounds in a table

A round is the chain of `selfinstruct run`. It builds on the rounds before it (see `earlier.py`): what they accepted
counts for novelty, is shown in prompts, and is in the dataset. What is tuned in each round is the original model, on
everything so far. A round that is done is in `rounds.json` and is not touched again; the one under way is continued by
its stages, each of which can be.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from selfinstruct.chain.round_selection import Standing, stand
from selfinstruct.config.load import dump_yaml
from selfinstruct.config.schema import ENGINE_IDENTITY, ENGINE_OF_GENERATOR, TUNED_MODEL, Config
from selfinstruct.console import console, stage
from selfinstruct.errors import ConfigError, InputError, StoppedError
from selfinstruct.formats import jsonl, seed_tasks
from selfinstruct.generation.prompts import PROMPTS_VERSION
from selfinstruct.generation.session import anchored, discard, refuse_other_run
from selfinstruct.run import parents
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import read_lines
from selfinstruct.run.state import RunState, replay

VERSION = 1
_ROUND = re.compile(r"round-\d{2,}(-generated)?")
Row = dict[str, Any]


@dataclass(frozen=True)
class Chain:
    """The steps that a round is made of. Each may be called again after it was interrupted, or was done."""

    generate: Callable[[Config], Any]
    regenerate: Callable[[Path, Config], Any]
    export: Callable[[Config], Any]
    tune: Callable[[Config], Any]
    evaluate: Callable[[RunDirectory], Any]
    report: Callable[[RunDirectory], Any]


def real_chain() -> Chain:
    """The stages of `selfinstruct run`, in processes of their own."""
    from selfinstruct.chain import chain as stages

    return Chain(stages.generate, stages.regenerate, stages.export, stages.tune, stages.evaluate, stages.report)


def iterate(config: Config, chain: Chain | None = None, *, overwrite: bool = False) -> Row:
    """Make rounds until the last one, or until they no longer help; continues what is there.

    Args:
        config: the configuration; `output_dir` is where the rounds go.
        chain: the steps of a round; default: the real ones.
        overwrite: discard the rounds that are there.

    Returns:
        What `rounds.json` holds: {"version": 1, "identity": {...},
            "rounds": [{"round": 1, "run": "round-01", "generator": ..., "new_instructions", "instructions",
                "train_rows", "saturated": whether it ended before its target, "outputs": as in `RunState.summary`,
                "scores": {SET: {"rouge_l", "rouge_l_interval", "n", "n_tasks"}} of the tuned model,
                "held_out": {"rouge_l", "interval", "n", "n_tasks"} | null,
                "gain": {"over": "round-01", "difference", "low", "high", "shown"} | null}],
            "best": "round-01" | null, "ended": why no further round is made | null, "verdict": the best round's | null}

        `held_out` is measured on the same tasks in every round, see `standing.py`; `gain` is the difference to the
        best round before.

    Raises:
        ConfigError: no directory is given, or it holds rounds made with other settings.
        SelfInstructError: as the failing stage said; everything before it is kept.
    """
    chain = chain or real_chain()
    output = RunDirectory.at(config.output_dir)
    _check(config)
    config = anchored(config)
    identity = _identity(config)
    with output.locked():
        if overwrite and not output.journal.exists():
            _discard(output)
        found = _begin(output, config, identity)
        while True:
            found = _judged(output, config, found)
            jsonl.write_json(output.path / "rounds.json", found)
            _point_at(output.path, found["best"])
            if found["ended"]:
                break
            made = _make_round(config, output.path, len(found["rounds"]) + 1, chain)
            if made is None:
                found["ended"] = f"round {len(found['rounds']) + 1} found nothing new"
                jsonl.write_json(output.path / "rounds.json", found)
                break
            found["rounds"].append(made)
        console.print(f"rounds: {found['ended']}; the best is {found['best']}")
        from selfinstruct.report.rounds_page import write_report

        write_report(output.path, found)
    return found


def first_round(config: Config) -> Config:
    """Return the configuration of the first round's run.

    Raises:
        ConfigError: no directory is given, or rounds cannot be made with these settings.
    """
    output = RunDirectory.at(config.output_dir)
    _check(config)
    return round_config(config, output.path, 1)


def round_config(config: Config, output: Path, number: int) -> Config:
    """The configuration of one round's run.

    From the second round on the generator is the model that was tuned in the round before. It is prompted as the first
    generator was: `auto` would see its new chat template, and a list of tasks is continued by text completion, which
    tuning has not taught it anew.
    """
    run = name_of(number)
    if number == 1:
        return config.model_copy(update={"output_dir": str(output / run)})
    before = [RunDirectory(output / name_of(k)) for k in range(1, number)]
    style = next(read_lines(before[0].journal))["resolved"]["style"]
    built_on = [output / f"{run}-earlier" / r.path.name if _by_tuned(config) else r.path for r in before]
    return config.model_copy(
        update={
            "output_dir": str(output / run),
            "model": str(before[-1].model.resolve()),
            "revision": None,
            "prompting": style,
            "parent_runs": (*config.parent_runs, *(str(path.resolve()) for path in built_on)),
            "engine": {name: value for name, value in config.engine.items() if name not in ENGINE_OF_GENERATOR},
            "tune": config.tune.model_copy(update={"model": config.tune.model or config.model}),
        }
    )


def name_of(number: int) -> str:
    """The name of a round's run directory.

    >>> name_of(1)
    'round-01'
    """
    return f"round-{number:02d}"


# ------------------------------------------------------------------------------------------------ one round


def _make_round(config: Config, output: Path, number: int, chain: Chain) -> Row | None:
    """Make one round, or finish it; what `rounds.json` says of it. None when nothing new was found to tune on."""
    this = round_config(config, output, number)
    run = RunDirectory.at(this.output_dir)
    title = f"round {number} of at most {config.rounds.num_rounds}"
    if _by_tuned(config):
        _rewrite_earlier(config, output, this, number, title, chain)
    rewrites = config.regenerate.model is not None and not _by_tuned(config)
    generated = run.generated.path if rewrites else run.path
    stage(f"{title}: generate")
    state = _generate(this.model_copy(update={"output_dir": str(generated)}), chain)
    if number > 1 and not any(state.instances.values()):
        return None
    if rewrites:
        stage(f"{title}: write the outputs anew")
        chain.regenerate(generated, this)
    stage(f"{title}: export")
    chain.export(this)
    stage(f"{title}: tune")
    chain.tune(this)
    stage(f"{title}: evaluate")
    chain.evaluate(run)
    chain.report(run)
    return _told(run, this, number)


def _by_tuned(config: Config) -> bool:
    return config.regenerate.model == TUNED_MODEL


def _rewrite_earlier(config: Config, output: Path, this: Config, number: int, title: str, chain: Chain) -> None:
    """Let the last tuned model, which is this round's generator, write the outputs of all rounds before it anew.

    Each time from what was generated: an output that is rejected is then at least the generator's, not a worse model's.
    """
    by = config.regenerate.model_copy(update={"model": this.model})
    for earlier, rewritten in zip(range(1, number), this.parent_runs[len(config.parent_runs) :], strict=True):
        stage(f"{title}: write the outputs of round {earlier} anew")
        of_that = round_config(config, output, earlier)
        chain.regenerate(
            output / name_of(earlier), of_that.model_copy(update={"output_dir": rewritten, "regenerate": by})
        )


def _generate(config: Config, chain: Chain) -> RunState:
    """Grow a round to its target. One that is saturated is taken as it is: the next model may find more."""
    run = RunDirectory.at(config.output_dir)
    try:
        chain.generate(config)
    except StoppedError:
        state = _state(run) if run.journal.exists() else RunState()
        if state.stopped is None or state.stopped["event"] != "saturated" or state.pending():
            raise
        console.print(
            f"{run.path} is saturated at {len(state.pool)} of {state.target} instructions: going on with them"
        )
        return state
    return _state(run)


def _state(run: RunDirectory) -> RunState:
    return replay(read_lines(run.journal))


def _told(run: RunDirectory, config: Config, number: int) -> Row:
    """What `rounds.json` says of a round that is done, but for how it stands among the others."""
    state, counts = _state(run), _read(run.dataset / "export.json")
    scores = _read(run.evaluation / "scores.json")
    kept = ("rouge_l", "rouge_l_interval", "n", "n_tasks")
    sets = scores["arms"].get("tuned", {}).get("sets", {})
    return {
        "round": number,
        "run": run.path.name,
        "generator": config.model,
        "new_instructions": len(state.pool),
        "instructions": len(state.pool) + counts.get("earlier", {}).get("instructions", {}).get("accepted", 0),
        "train_rows": counts["rows"]["train"],
        "saturated": len(state.pool) < state.target,
        "outputs": state.summary()["outputs"],
        "scores": {name: {key: about.get(key) for key in kept} for name, about in sets.items()},
    }


def _read(path: Path) -> Row:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}; the round that it belongs to is damaged") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a JSON object; the round that it belongs to is damaged")
    return found


# --------------------------------------------------------------------------------------------- all of them


def _begin(output: RunDirectory, config: Config, identity: Row) -> Row:
    """What `rounds.json` holds; a new one when there is none.

    Raises:
        ConfigError: it was made with other settings, or the directory is that of a run.
        InputError: a round that it names is gone.
    """
    if output.journal.exists():
        raise ConfigError(
            f"{output.path} holds a run; give the rounds a directory of their own: --output-dir DIRECTORY"
        )
    path = output.path / "rounds.json"
    new: Row = {"version": VERSION, "identity": identity, "rounds": []}
    found = _read(path) if path.exists() else new
    refuse_other_run(output, found["identity"], identity)
    for row in found["rounds"]:
        if not (output.path / row["run"] / "journal.jsonl").exists():
            raise InputError(
                f"{output.path / row['run']} is gone, which later rounds build on; restore it, or start "
                "anew with --overwrite"
            )
    jsonl.write_text(output.config, dump_yaml(config))
    return found


def _judged(output: RunDirectory, config: Config, found: Row) -> Row:
    """`found` with how the rounds stand, and whether there is to be another one."""
    runs = [RunDirectory(output.path / row["run"]) for row in found["rounds"]]
    standing = stand([run.evaluation for run in runs], config)
    rounds = [
        row | {"held_out": held_out, "gain": gain and {"over": found["rounds"][over]["run"], **gain}}
        for row, (held_out, over, gain) in zip(found["rounds"], standing.table(), strict=True)
    ]
    best = rounds[standing.best] if rounds else None
    return {
        "version": VERSION,
        "identity": found["identity"],
        "rounds": rounds,
        "best": best and best["run"],
        "ended": _ended(rounds, standing, config),
        "verdict": best and _read(output.path / best["run"] / "evaluation" / "scores.json").get("verdict"),
    }


def _ended(rounds: Sequence[Row], standing: Standing, config: Config) -> str | None:
    """Why there is no further round; None when there is."""
    patience, most = config.rounds.patience, config.rounds.num_rounds
    if len(rounds) >= most:
        return "the only round is made" if len(rounds) == 1 else f"all {len(rounds)} rounds are made"
    if patience and standing.without_gain >= patience:
        last = "the last round was" if patience == 1 else f"the last {standing.without_gain} rounds were"
        return f"{last} not shown to be better on held-out tasks"
    return None


def _point_at(output: Path, best: str | None) -> None:
    """Let `best` be a relative symbolic link to the best round, at every moment to a whole one."""
    if best is None:
        return
    temporary = output / ".best.new"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(best)
    temporary.replace(output / "best")


def _check(config: Config) -> None:
    if config.revision is not None and config.tune.model is None:
        raise ConfigError(
            "revision: later rounds compare with the original model, and evaluation takes a revision of the generator "
            "alone; download the model at that revision and give its path"
        )
    if config.rounds.patience and not config.export.validation_unseen:
        console.print("export.validation_unseen is 0: there is nothing to stop by, so all rounds are made")


def _identity(config: Config) -> Row:
    """What makes rounds comparable: everything but what paces the work, and how many rounds there may be."""

    def given(section: BaseModel) -> Row:
        # What stands at its default is left out, so that an option that a later version adds changes nothing.
        return section.model_dump(mode="json", exclude_defaults=True)

    of_rewriter = {k: v for k, v in sorted(config.regenerate.engine.items()) if k in ENGINE_IDENTITY}
    identity = {
        **config.identity(),
        "num_instructions": config.num_instructions,
        "seeds_sha256": seed_tasks.fingerprint(seed_tasks.load_seed_tasks(config.seeds)),
        "prompts_version": PROMPTS_VERSION,
        "regenerate": {**given(config.regenerate), "engine": of_rewriter},
        "export": given(config.export),
        "tune": given(config.tune),
        "evaluate": given(config.evaluate),
    }
    if config.parent_runs:
        identity["earlier_sha256"] = parents.fingerprint(parents.load_parents(config.parent_runs))
    return identity


def _discard(output: RunDirectory) -> None:
    """Remove the rounds and what is said of them, and nothing else that may lie in the directory."""
    for path in (output.path / "rounds.json", output.path / "best", output.config, output.report):
        path.unlink(missing_ok=True)
    found = [*output.path.glob("round-*-earlier/round-*"), *output.path.glob("round-*")]
    for folder in [path for path in found if path.is_dir() and _ROUND.fullmatch(path.name)]:
        run = RunDirectory(folder)
        with run.locked():
            discard(run)
        if all(path.name.startswith(".") for path in folder.iterdir()):
            shutil.rmtree(folder)
    for folder in output.path.glob("round-*-earlier"):
        if not any(folder.iterdir()):
            folder.rmdir()
