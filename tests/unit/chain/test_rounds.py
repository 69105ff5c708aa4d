"""Rounds: what each builds on, when they stop, which is kept, and that they can be interrupted anywhere."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from selfinstruct.chain import rounds
from selfinstruct.chain.rounds import Chain, iterate
from selfinstruct.checks.preflight import Findings
from selfinstruct.cli import cli
from selfinstruct.config.schema import Config
from selfinstruct.config.scoring import Rate
from selfinstruct.dataset.export import export
from selfinstruct.engines.base import Engine, Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import ConfigError, EngineError, InputError, StoppedError
from selfinstruct.formats import jsonl
from selfinstruct.generation.generate import generate
from selfinstruct.generation.regenerate import regenerate
from selfinstruct.records import SPLITS, Completion
from selfinstruct.report.rounds_page import render
from selfinstruct.run.directory import RoundsDirectory, RunDirectory
from selfinstruct.run.rounds_record import read_rounds
from tests import rouge
from tests.conftest import held_by_another, journal_lines, run_scripted, script
from tuning.training import launch
from tuning.training.launch import tuned_from

pytestmark = pytest.mark.whole


class Killed(Exception):
    """The program ended here."""


@dataclass
class Fake:
    """The steps of a round without a model: generation is real, on the scripted engine; the rest writes its files.

    `quality` is the share of questions that the tuned model of each round answers right; `fails` is asked before and
    after each step.
    """

    quality: dict[str, float] = field(default_factory=dict)
    fails: Callable[[str], None] = lambda moment: None
    answer: Callable[[Request], Any] = script
    calls: list[str] = field(default_factory=list)
    engines: list[tuple[str, ScriptedEngine]] = field(default_factory=list)

    def chain(self) -> Chain:
        return Chain(
            self._step("generate", self._generate),
            self._step("regenerate", self._regenerate),
            self._step("export", export),
            self._step("tune", self._tune),
            self._step("evaluate", self._evaluate),
            self._step("report", lambda run: jsonl.write_text(run.report, "see test_report.py")),
        )

    def _step(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            of = arguments[-1]
            run = of.path if isinstance(of, RunDirectory) else Path(of.output_dir)
            moment = f"{name} {run.name.removesuffix('-generated')}"
            self.calls.append(moment)
            self.fails(f"before {moment}")
            done = work(*arguments)
            self.fails(f"after {moment}")
            return done

        return step

    def _generate(self, config: Config) -> None:
        engine = ScriptedEngine(self.answer, has_chat_template=config.model.endswith("/model"))
        self.engines.append((config.model, engine))

        async def start() -> Engine:
            return engine

        generate(config, start)

    def _regenerate(self, source: Path, config: Config) -> None:
        def better(request: Request) -> Completion:
            said = hashlib.sha256(json.dumps(request.prompt).encode()).hexdigest()[:6]
            return Completion(f"better {said}", "stop", 5, 5)

        async def start() -> Engine:
            return ScriptedEngine(better, has_chat_template=True)

        regenerate(source, config, start)

    def _tune(self, config: Config) -> None:
        model = RunDirectory.at(config.output_dir).model.path
        jsonl.write_json(model / "config.json", {"tuned": config.tune.model or config.model})
        (model / "model.safetensors").write_text("weights")
        jsonl.write_json(model / "training.json", {})

    def _evaluate(self, run: RunDirectory) -> None:
        good = self.quality.get(run.path.name, 0.5)
        rows = []
        for _, row in jsonl.read(run.dataset.path / "validation_unseen.jsonl"):
            luck = hashlib.sha256(f"{row['instruction']}/{row['input']}".encode()).digest()[0] / 256
            about = {name: row[name] for name in ("id", "instruction", "input", "is_classification")}
            about |= {"set": "validation_unseen", "task": row["instruction"], "references": [row["output"]]}
            rows.append(about | {"response": row["output"] if luck < good else "zzz"})
        jsonl.write(run.evaluation.path / "predictions-tuned.jsonl", rows)
        human = {"rouge_l": 100 * good, "rouge_l_interval": [0, 100], "n": 60, "n_tasks": 60}
        sets = {"validation_unseen": human, "eval_tasks": human}
        scores = {"arms": {"tuned": {"sets": sets}}, "comparisons": [], "verdict": f"Quality {good}."}
        jsonl.write_json(run.evaluation.path / "scores.json", scores)


@pytest.fixture
def config(make_config: Any, tmp_path: Path) -> Config:
    given = {"num_resamples": 200}
    return make_config(
        output_dir=str(tmp_path / "out"), export={"validation_unseen": 0.4}, evaluate=given, rounds={"num_rounds": 2}
    )


def but(config: Config, **values: Any) -> Config:
    return Config.model_validate(config.model_dump() | values)


def accepted(run: Path) -> list[str]:
    return [
        c["instruction"]
        for line in journal_lines(run)
        if line["kind"] == "proposal"
        for c in line.get("candidates", ())
        if c["accepted"]
    ]


def dataset(run: Path, split: str) -> list[dict[str, Any]]:
    return [row for _, row in jsonl.read(run / "dataset" / f"{split}.jsonl")]


# ------------------------------------------------------------------------------------- what a round builds on


def test_the_tuned_model_generates_the_next_round_and_the_original_is_tuned(config: Config, tmp_path: Path) -> None:
    fake = Fake(quality={"round-01": 0.2, "round-02": 0.9})
    found = iterate(config, fake.chain())
    out = tmp_path / "out"
    steps = ("generate", "export", "tune", "evaluate", "report")
    assert fake.calls == [f"{step} {run}" for run in ("round-01", "round-02") for step in steps]
    assert [model for model, _ in fake.engines] == ["scripted", str(out / "round-01" / "model")]
    assert [row.generator for row in found.rounds] == ["scripted", str(out / "round-01" / "model")]
    for run in ("round-01", "round-02"):
        assert json.loads((out / run / "model" / "config.json").read_text()) == {"tuned": "scripted"}
    assert all(isinstance(r.prompt, str) for _, engine in fake.engines for r in engine.history), "still by completion"


def test_every_round_tunes_the_original_model_at_its_revision(config: Config) -> None:
    fake = Fake()
    tuned: list[Config] = []
    chain = replace(fake.chain(), tune=lambda this: (tuned.append(this), fake._tune(this)))
    iterate(but(config, revision="v2", rounds={"num_rounds": 2, "patience": 0}), chain)
    assert [tuned_from(this.tune, this.model, this.revision) for this in tuned] == [("scripted", "v2")] * 2
    later = tuned[1]
    assert later.model.endswith("round-01/model") and later.revision is None
    command = launch.tune_command(later.tune, model=later.model, dataset_dir=Path("d"), output_dir=Path("o"))
    assert "--model_name_or_path=scripted" in command and command.count("--model_revision=v2") == 1


def test_a_chat_model_s_rounds_are_prompted_by_chat(config: Config) -> None:
    fake = Fake()
    chain = fake.chain()

    def chatting(c: Config) -> None:
        async def start() -> Engine:
            fake.engines.append((c.model, ScriptedEngine(script, has_chat_template=True)))
            return fake.engines[-1][1]

        generate(c, start)

    iterate(config, replace(chain, generate=chatting))
    assert len(fake.engines) == 2
    assert all(isinstance(r.prompt, list) for _, engine in fake.engines for r in engine.history)


def test_rounds_are_novel_against_each_other_and_train_on_the_union(config: Config, tmp_path: Path) -> None:
    found = iterate(but(config, rounds={"num_rounds": 3, "patience": 0}), Fake().chain())
    runs = [tmp_path / "out" / f"round-0{k}" for k in (1, 2, 3)]
    scorer, earlier = rouge.scorer(), list[str]()
    for run in runs:
        for text in accepted(run):
            assert all(scorer.score(old, text)["rougeL"].fmeasure <= 0.7 for old in earlier)
            earlier.append(text)
    for split in SPLITS:
        texts = [{(r["instruction"], r["input"], r["output"]) for r in dataset(run, split)} for run in runs]
        assert texts[0] <= texts[1] <= texts[2], "a row keeps its split"
    rows = [row.train_rows for row in found.rounds]
    assert rows == [len(dataset(run, "train")) for run in runs] and rows[0] < rows[1] < rows[2]
    assert [row.instructions for row in found.rounds] == [30, 60, 90]
    held_out = {row["instruction"] for row in dataset(runs[0], "validation_unseen")}
    assert held_out and not held_out & {row["instruction"] for row in dataset(runs[2], "train")}


def test_outputs_are_rewritten_in_each_round_before_anything_is_trained(config: Config, tmp_path: Path) -> None:
    fake = Fake()
    found = iterate(but(config, regenerate={"model": "better"}), fake.chain())
    out = tmp_path / "out"
    assert fake.calls[:3] == ["generate round-01", "regenerate round-01", "export round-01"]
    assert {path.name for path in out.iterdir() if path.is_dir() and not path.is_symlink()} == {
        f"round-0{k}{suffix}" for k in (1, 2) for suffix in ("", "-generated")
    }
    for split in SPLITS:
        assert all(row["output"].startswith("better ") for row in dataset(out / "round-02", split))
    assert {row["origin"] for row in dataset(out / "round-02", "train")} == {"earlier", "generated"}
    assert all(row.outputs and row.outputs.rewritten == row.outputs.total > 0 for row in found.rounds)
    assert "new outputs rewritten" in (out / "report.html").read_text()


def test_the_tuned_model_rewrites_the_outputs_of_earlier_rounds(config: Config, tmp_path: Path) -> None:
    fake = Fake()
    by_tuned = but(config, regenerate={"model": "tuned"}, num_instructions=10, rounds={"num_rounds": 3, "patience": 0})
    found = iterate(by_tuned, fake.chain())
    out = tmp_path / "out"
    assert [call for call in fake.calls if call.startswith("regenerate")] == [
        f"regenerate round-0{earlier}" for earlier in (1, 1, 2)
    ]
    for k in (2, 3):
        rewriters = {
            path.name: journal_lines(path)[0]["identity"]["regenerate"]["model"]
            for path in (out / f"round-0{k}-earlier").iterdir()
        }
        assert rewriters == {f"round-0{j}": str(out / f"round-0{k - 1}" / "model") for j in range(1, k)}
        for row in dataset(out / f"round-0{k}", "train"):
            assert row["output"].startswith("better ") == (row["origin"] == "earlier")
    assert {row["id"].partition("/")[0] for row in dataset(out / "round-03", "train") if "/" in row["id"]} == {
        "round-01",
        "round-02",
    }
    assert not any(row["output"].startswith("better ") for row in dataset(out / "round-01", "train"))
    assert len({row.held_out and row.held_out.n for row in found.rounds}) == 1
    assert len(iterate(by_tuned, Fake().chain(), overwrite=True).rounds) == 3


# ------------------------------------------------------------------------------------------ when they stop


@pytest.mark.parametrize(
    ("quality", "patience", "made", "best", "ended"),
    [
        ([0.2, 0.6, 1.0], 1, 3, 3, "all 3 rounds are made"),
        ([0.5, 0.5, 1.0], 1, 2, 1, "the last round was not significantly better on held-out tasks"),
        ([0.9, 0.1, 1.0], 1, 2, 1, "the last round was not significantly better on held-out tasks"),
        ([0.9, 0.1, 0.1, 1.0], 2, 3, 1, "the last 2 rounds were not significantly better on held-out tasks"),
        ([0.5, 0.5, 0.1], 0, 3, 1, "all 3 rounds are made"),
        ([0.1, 0.0, 0.9], 2, 3, 3, "all 3 rounds are made"),
    ],
)
def test_they_stop_when_held_out_scores_do_and_keep_the_best(
    config: Config, tmp_path: Path, quality: list[float], patience: int, made: int, best: int, ended: str
) -> None:
    fake = Fake(quality={f"round-0{k}": good for k, good in enumerate(quality, 1)})
    found = iterate(but(config, rounds={"num_rounds": len(quality), "patience": patience}), fake.chain())
    assert len(found.rounds) == made
    assert (found.best, found.ended) == (f"round-0{best}", ended)
    link = tmp_path / "out" / "best"
    assert link.readlink() == Path(f"round-0{best}")
    assert (link / "model" / "model.safetensors").exists()
    assert found.verdict == f"Quality {quality[best - 1]}."
    assert found == read_rounds(tmp_path / "out" / "rounds.json")
    assert len({row.held_out and row.held_out.n for row in found.rounds}) == 1, (
        "the yardstick is the same in all rounds"
    )
    assert found.rounds[0].gain is None


def test_without_held_out_tasks_all_rounds_are_made_and_the_last_counts(config: Config) -> None:
    found = iterate(but(config, export={"validation_unseen": 0}), Fake().chain())
    assert (len(found.rounds), found.best, found.ended) == (2, "round-02", "all 2 rounds are made")
    assert [row.held_out for row in found.rounds] == [None, None]


def few_words(request: Request) -> Any:
    """A model with three ideas, and one more for each model."""
    if not request.key.startswith("proposal"):
        return script(request)
    return Completion(" Name a river of the north.\nTask 99: Sort the given shoes by size.\n", "stop", 9, 9)


def test_a_saturated_round_is_taken_and_one_with_nothing_new_ends_it(config: Config, tmp_path: Path) -> None:
    saturated = but(config, saturation={"window": 8}, export={"validation_unseen": 0}, rounds={"num_rounds": 3})
    fake = Fake(answer=few_words)
    found = iterate(saturated, fake.chain())
    assert found.rounds[0].saturated and found.rounds[0].new_instructions == 2
    assert found.ended == "round 2 found nothing new" and found.best == "round-01"
    assert fake.calls.count("tune round-02") == 0
    assert iterate(saturated, fake.chain()) == found
    assert "found nothing new" in (tmp_path / "out" / "report.html").read_text()


# ------------------------------------------------------------------------------------------- interruptions


def files(out: Path) -> dict[str, Any]:
    """Everything that depends on what was decided; journals as sets, since answers arrive in any order."""
    kept = {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in {".lock", "metrics.jsonl", "report.html"} and "best" not in path.parts
    }
    return {
        name: Counter(data.split(b"\n")) if name.endswith("journal.jsonl") else data for name, data in kept.items()
    } | {"best": (out / "best").readlink()}


@pytest.mark.parametrize("rewriter", ["better", "tuned"])
def test_killed_before_and_after_every_step_it_ends_as_if_nothing_had_been(
    config: Config, tmp_path: Path, rewriter: str
) -> None:
    """Each start comes one step further than the one before it."""
    small = but(config, num_instructions=10, regenerate={"model": rewriter}, rounds={"num_rounds": 2, "patience": 0})
    straight = Fake()
    iterate(small, straight.chain())
    whole = files(tmp_path / "out")
    again = but(small, output_dir=str(tmp_path / "again"))
    done = straight.calls.index("report round-01") + 1
    for k, call in enumerate(straight.calls):
        for when in ("before", "after"):
            fake = Fake(fails=lambda reached, at=f"{when} {call}": kill(reached, at))  # type: ignore[misc]
            with pytest.raises(Killed):
                iterate(again, fake.chain())
            # A round counts as done once it is written down, which is after its report.
            if k > done or (k == done and when == "after"):
                assert fake.calls == straight.calls[done : k + 1], "a round that is done is not touched"
    iterate(again, Fake().chain())
    named = {name: as_in(value, tmp_path) for name, value in files(tmp_path / "again").items()}
    assert named == {name: as_in(value, tmp_path) for name, value in whole.items()}


def kill(moment: str, at: str) -> None:
    if moment == at:
        raise Killed(moment)


def as_in(value: Any, folder: Path) -> Any:
    """The same with the directory's name taken out: journals, configurations and cards name their models by path."""
    if isinstance(value, Counter):
        return Counter({as_in(line, folder): n for line, n in value.items()})
    if isinstance(value, bytes):
        for name in (b"again", b"out"):
            value = value.replace(os.fsencode(folder) + b"/" + name, b"OUT")
        value = re.sub(rb'"card_sha256": "\w+"', b"", value)
        return b"" if value.startswith(b'{"kind":"run"') else value
    return value


def test_a_death_in_the_middle_of_generation_is_passed_on_and_continued(config: Config, tmp_path: Path) -> None:
    answered = 0

    def dying(request: Request) -> Any:
        nonlocal answered
        answered += 1
        return EngineError("died") if answered > 120 else script(request)

    with pytest.raises(EngineError, match="died"):
        iterate(config, Fake(answer=dying).chain())
    found = iterate(config, Fake().chain())
    assert len(found.rounds) == 2
    straight = but(config, output_dir=str(tmp_path / "straight"))
    assert iterate(straight, Fake().chain()).best == found.best
    for run in ("round-01", "round-02"):
        assert accepted(tmp_path / "straight" / run) == accepted(tmp_path / "out" / run)


def test_a_stop_that_is_no_saturation_stops_the_rounds(config: Config) -> None:
    def stop(_: Config) -> None:
        raise StoppedError("generate: its process was killed by SIGKILL; the same command continues")

    with pytest.raises(StoppedError, match="SIGKILL"):
        iterate(config, replace(Fake().chain(), generate=stop))


def test_a_round_whose_tuning_fails_is_evaluated_and_reported_before_the_rounds_stop(
    config: Config, tmp_path: Path
) -> None:
    def fail(_: Config) -> None:
        raise StoppedError("tune: out of GPU memory")

    done: list[str] = []
    chain = replace(
        Fake().chain(),
        tune=fail,
        evaluate=lambda run: done.append(f"evaluate {run.path.name}"),
        report=lambda run: done.append(f"report {run.path.name}"),
    )
    with pytest.raises(StoppedError, match="out of GPU memory"):
        iterate(config, chain)
    assert done == ["evaluate round-01", "report round-01"]


def test_finished_rounds_do_nothing_again_and_more_can_be_asked_for(config: Config, tmp_path: Path) -> None:
    all_of_them = but(config, rounds={"num_rounds": 2, "patience": 0})
    first = iterate(all_of_them, Fake().chain())
    idle = Fake()
    assert iterate(all_of_them, idle.chain()) == first and idle.calls == []
    more = iterate(but(config, rounds={"num_rounds": 3, "patience": 0}, max_in_flight=3), idle.chain())
    assert [row.run for row in more.rounds] == ["round-01", "round-02", "round-03"]
    assert {call.split()[1] for call in idle.calls} == {"round-03"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_instructions": 31}, "num_instructions: recorded 30, now 31"),
        ({"tune": {"max_steps": 5}}, "tune.max_steps: recorded None, now 5"),
        ({"regenerate": {"model": "x"}}, "regenerate.model: recorded None, now 'x'"),
        ({"model": "other"}, "model: recorded 'scripted', now 'other'"),
    ],
)
def test_rounds_are_not_mixed_with_others(config: Config, change: dict[str, Any], message: str) -> None:
    iterate(config, Fake().chain())
    with pytest.raises(ConfigError) as caught:
        iterate(but(config, **change), Fake().chain())
    assert message in str(caught.value)


def test_overwrite_starts_anew_and_leaves_foreign_files_alone(config: Config, tmp_path: Path) -> None:
    iterate(but(config, regenerate={"model": "better"}), Fake().chain())
    out = tmp_path / "out"
    (out / "notes.txt").write_text("mine")
    (out / "round-02" / "notes.txt").write_text("mine")
    (out / "round-old").mkdir()
    found = iterate(but(config, num_instructions=5, rounds={"num_rounds": 1}), Fake().chain(), overwrite=True)
    assert len(found.rounds) == 1 and found.rounds[0].instructions == 5
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == sorted(
        ["best", "config.yaml", "notes.txt", "report.html", "round-01", "round-02", "round-old", "rounds.json"]
    )
    assert [path.name for path in (out / "round-02").iterdir() if not path.name.startswith(".")] == ["notes.txt"]


def test_overwrite_refuses_what_is_no_rounds_or_what_the_new_rounds_read(config: Config, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("config.yaml", "report.html", "round-01/model/config.json"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("- mine")
    for overwrite in (True, False):
        with pytest.raises(ConfigError, match="holds no rounds, but rounds would write over"):
            iterate(config, Fake().chain(), overwrite=overwrite)
    assert (out / "round-01/model/config.json").read_text() == (out / "config.yaml").read_text() == "- mine"
    shutil.rmtree(out)
    iterate(config, Fake().chain())
    with pytest.raises(ConfigError, match="model, which the new run reads"):
        iterate(but(config, model=str(out / "best/model")), Fake().chain(), overwrite=True)
    assert (out / "best/model/model.safetensors").exists() and (out / "rounds.json").exists()


def test_a_round_that_is_gone_is_missed(config: Config, tmp_path: Path) -> None:
    iterate(config, Fake().chain())
    (tmp_path / "out" / "round-01").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="round-01 is gone"):
        iterate(config, Fake().chain())


def test_what_cannot_be_done_is_said_before_anything_is(config: Config) -> None:
    fake = Fake()
    with pytest.raises(ConfigError, match="--output-dir"):
        iterate(but(config, output_dir=None), fake.chain())
    with pytest.raises(ConfigError, match="rounds neither rate nor tag"):
        iterate(but(config, rate=Rate(after_generation=True)), fake.chain())
    run_scripted(but(config, num_instructions=3))
    before = (Path(str(config.output_dir)) / "config.yaml").read_bytes()
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="holds a run; give the rounds a directory of their own"):
            iterate(config, fake.chain(), overwrite=overwrite)
    assert (Path(str(config.output_dir)) / "config.yaml").read_bytes() == before
    assert fake.calls == []


# -------------------------------------------------------------------------------------------------- shown


def test_the_page_shows_every_round_and_is_the_same_twice(config: Config, tmp_path: Path) -> None:
    found = iterate(config, Fake(quality={"round-01": 0.2, "round-02": 0.9}).chain())
    out = tmp_path / "out"
    page = (out / "report.html").read_text()
    assert page == render(RoundsDirectory(out), found)
    assert 'href="round-01/report.html"' in page and "round-02</a> (best)" in page
    assert "Quality 0.9." in page and "eval_tasks" in page and "<script" not in page
    assert "<td>tuned in round-01</td>" in page and str(tmp_path) not in page.split("<h2>Next</h2>")[0]
    hostile = msgspec.structs.replace(found, verdict="<script>alert(1)</script>\ud800")
    assert "<script" not in render(RoundsDirectory(out), hostile)


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The run directories that preflight was asked about; it finds no problem."""
    directories: list[str | None] = []

    def check(config: Config, *, tuned: bool) -> Findings:
        assert tuned
        directories.append(config.output_dir)
        return Findings()

    monkeypatch.setattr("selfinstruct.checks.preflight.check", check)
    return directories


def test_the_command_checks_everything_once_before_the_first_round(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checked: list[str | None]
) -> None:
    fake = Fake()
    monkeypatch.setattr(rounds, "real_chain", fake.chain)
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config.model_dump(mode="json")))
    done = CliRunner().invoke(cli, ["iterate", str(path), "--dry-run"])
    assert done.exit_code == 0, done.output
    assert f"output_dir: {config.output_dir}\n" in done.stdout and fake.calls == []
    assert checked == [f"{config.output_dir}/round-01"]

    done = CliRunner().invoke(cli, ["iterate", str(path)])
    assert done.exit_code == 0, done.output
    assert len(checked) == 2 and "generate round-02" in fake.calls

    def refuse(*_: Any, **__: Any) -> Findings:
        return Findings([ConfigError("the model does not fit")])

    monkeypatch.setattr("selfinstruct.checks.preflight.check", refuse)
    done = CliRunner().invoke(cli, ["iterate", str(path), "--output-dir", str(tmp_path / "other")])
    assert done.exit_code == 2 and "the model does not fit" in done.stderr
    assert not (tmp_path / "other").exists()


def test_the_command(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checked: list[str | None]
) -> None:
    monkeypatch.setattr(rounds, "real_chain", Fake().chain)
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config.model_dump(mode="json")))
    done = CliRunner().invoke(cli, ["iterate", str(path), "--rounds", "1"])
    assert done.exit_code == 0, done.output
    assert "round-01 (best)" in done.stdout and "the only round is made" in done.stdout
    data = CliRunner().invoke(cli, ["iterate", str(path), "--rounds", "2", "--patience", "0", "--json"])
    assert [row["run"] for row in json.loads(data.stdout)["rounds"]] == ["round-01", "round-02"]


def test_another_process_is_kept_out(config: Config, tmp_path: Path) -> None:
    from selfinstruct.errors import RunLockedError

    run_scripted(but(config, output_dir=str(tmp_path / "other"), num_instructions=3))
    with held_by_another(tmp_path / "out"), pytest.raises(RunLockedError):
        iterate(config, Fake().chain())
