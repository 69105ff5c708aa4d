"""`run` against the clock and after a generation that stopped early. Stages are played by hand; none is a process."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfinstruct import clock
from selfinstruct.chain import chain
from selfinstruct.chain.schedule import REPORT_S, DeadlinePlan
from selfinstruct.config.schema import Config
from selfinstruct.engines.base import Engine, Request
from selfinstruct.engines.scripted import Answer, ScriptedEngine
from selfinstruct.errors import ConfigError, EngineError, InputError, Interrupted, StoppedError
from selfinstruct.formats import jsonl
from selfinstruct.generation.generate import generate
from selfinstruct.generation.regenerate import regenerate
from selfinstruct.records import Completion
from selfinstruct.replay.status import render, status
from selfinstruct.report.page import write_report
from selfinstruct.run.directory import RunDirectory
from tests.conftest import journal_lines, run_scripted, script
from tuning.evaluation.inputs import most_tokens

pytestmark = pytest.mark.whole

START = 1_800_000_000.0


class Night:
    """The stages as functions that move the clock.

    Attributes:
        now: Unix seconds.
        called: names of the stages, in order.
        trained: (max_steps, output folder) of each training.
        answers: of the scripted engine; each takes `answer_s` seconds.
        lost: raised instead of generating.
        rewrites: answers of the model that rewrites outputs.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = START
        self.called: list[str] = []
        self.trained: list[tuple[int | None, str]] = []
        self.answers: Callable[[Request], Answer] = script
        self.answer_s = 1.0
        self.engine_start_s = 20.0
        self.overhead_s = 10.0
        self.step_s = 1.0
        self.evaluation_s = 60.0
        self.lost: BaseException | None = None
        self.rewrites: Callable[[Request], Answer] = lambda _: Completion("a better answer", "stop", 5, 5)
        self.rewriters_started = 0
        monkeypatch.setattr(chain, "run_stage", self.call)

    def __call__(self) -> float:
        return self.now

    def call(
        self,
        command: Sequence[str],
        name: str,
        standard_input: str | None = None,
        seconds: float | None = None,
        log: Path | None = None,
    ) -> None:
        self.called.append(name)
        if name == "generate":
            self.generate(command, yaml.safe_load(standard_input or ""))
        elif name == "regenerate":
            self.regenerate(command, yaml.safe_load(standard_input or ""))
        elif name == "evaluate" and seconds is not None and seconds < self.evaluation_s:
            self.now += seconds
            raise TimeoutError
        elif name == "evaluate":
            self.now += self.evaluation_s
            run = Path(command[command.index("--run-dir") + 1])
            jsonl.write_json(
                run / "evaluation" / "scores.json", {"verdict": "It helped.", "arms": {}, "comparisons": []}
            )
        else:
            self.tune(command)

    def generate(self, command: Sequence[str], values: dict[str, Any]) -> None:
        if self.lost is not None:
            raise self.lost
        config = Config.model_validate(values)
        reserve = clock.Reserve.from_json(command[command.index("--reserve") + 1]) if "--reserve" in command else None

        def answer(request: Request) -> Answer:
            self.now += self.answer_s
            return self.answers(request)

        async def start() -> Engine:
            self.now += self.engine_start_s
            return ScriptedEngine(answer)

        try:
            generate(config, start, reserve=reserve, clock=self, overwrite="--overwrite" in command)
        except StoppedError as error:
            raise StoppedError(f"generate: {error}") from error

    def regenerate(self, command: Sequence[str], values: dict[str, Any]) -> None:
        async def start() -> Engine:
            self.rewriters_started += 1
            return ScriptedEngine(self.rewrites, has_chat_template=True)

        source = Path(command[command.index("regenerate") + 1])
        config = Config.model_validate(values)
        assert config.output_dir == command[command.index("--output-dir") + 1]
        regenerate(source, config, start, overwrite="--overwrite" in command)

    def tune(self, command: Sequence[str]) -> None:
        given = dict(word.removeprefix("--").partition("=")[::2] for word in command if word.startswith("--"))
        rows = sum(1 for _ in jsonl.read(Path(given["dataset_dir"]) / "train.jsonl"))
        per_epoch = -(-rows // 8)
        steps = int(given.get("max_steps", -1))
        taken = steps if steps > 0 else 3 * per_epoch
        self.now += self.overhead_s + taken * self.step_s
        output = Path(given["output_dir"])
        output.mkdir(parents=True, exist_ok=True)
        (output / "model.safetensors").touch()
        record = {
            "state": "finished",
            "steps": taken,
            "epochs": taken / per_epoch,
            "rows": {"trained_on": rows},
            "arguments": {"num_train_epochs": 3},
            "runtime": {"train_s": taken * self.step_s, "total_s": self.overhead_s + taken * self.step_s},
        }
        jsonl.write_json(output / "training.json", record)
        if ".probe" not in given["output_dir"]:
            self.trained.append((steps if steps > 0 else None, output.name))


@pytest.fixture
def night(monkeypatch: pytest.MonkeyPatch) -> Night:
    return Night(monkeypatch)


@pytest.fixture
def configure(make_config: Any, seed_file: Path) -> Callable[..., Config]:
    def make(**values: Any) -> Config:
        limits = {"min_rows": 5} | values.pop("limits", {})
        evaluate = {"tasks": [str(seed_file)], "max_tokens": 20} | values.pop("evaluate", {})
        return make_config(limits=limits, evaluate=evaluate, **values)  # type: ignore[no-any-return]

    return make


def lead(run: Path) -> str:
    """What the report says before its first heading."""
    page = re.sub(r"</?span[^>]*>", "", write_report(run).read_text())
    return page[page.index("<h1>") : page.index("<h2")]


def dull(request: Request) -> Answer:
    """A model that repeats itself from the twelfth proposal on."""
    kind, _, n = request.key.partition("/")
    if kind == "proposal" and int(n) >= 12:
        return script(Request("proposal/0", "the same", request.sampling))
    return script(request)


STAGES = ("generate", "export", "tune", "evaluate", "report")
SATURATION = {"window": 10, "min_acceptance": 0.1}


# ------------------------------------------------------------------------------------------- stopped before its target


def test_run_goes_on_after_saturation_and_the_reason_leads_the_report(
    night: Night, configure: Callable[..., Config], tmp_path: Path
) -> None:
    night.answers = dull
    config = configure(num_instructions=500, saturation=SATURATION)
    chain.run_all(config, clock=night)
    assert night.called == ["generate", "tune", "evaluate"]
    found = lead(tmp_path / "run")
    assert found.index("saturated: of the") < found.index("It helped.")
    shown = status(tmp_path / "run")
    assert str(shown.reason).startswith("saturated: of the")
    from rich.console import Console

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render(shown))
    assert "saturated: of the" in console.export_text()
    # Again: nothing is done twice.
    chain.run_all(config, clock=night)
    assert night.called == ["generate", "tune", "evaluate", "generate", "evaluate"]


def test_run_goes_on_after_a_budget(night: Night, configure: Callable[..., Config], tmp_path: Path) -> None:
    chain.run_all(configure(num_instructions=500, limits={"max_requests": 60}), clock=night)
    assert night.called == ["generate", "tune", "evaluate"]
    assert "the budget of 60 requests (--max-requests) is used up" in lead(tmp_path / "run")


def test_when_tuning_fails_the_base_is_evaluated_and_the_report_begins_with_the_failure(
    night: Night, configure: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real, run = night.tune, RunDirectory(tmp_path / "run")

    def fail(_: Sequence[str]) -> None:
        raise InputError("tune: the training takes about 122 GiB, and the GPU has 80")

    night.tune = fail  # type: ignore[method-assign]
    with pytest.raises(InputError, match="122 GiB"):
        chain.run_all(configure(num_instructions=20), clock=night)
    assert night.called == ["generate", "tune", "evaluate"]
    said = capsys.readouterr().err
    headings = [said.index(f"{number}/5 {name}\n") for number, name in enumerate(STAGES, 1)]
    assert headings == sorted(headings)
    assert "the training takes about 122 GiB" in str(run.model.failure)
    found = lead(run.path)
    assert found.index("Tuning failed") < found.index("takes about 122 GiB") < found.index("It helped.")
    assert "failed: tune: the training takes" in str(status(run.path).stages["tune"].note)
    night.tune = real  # type: ignore[method-assign]
    chain.run_all(configure(num_instructions=20), clock=night)
    assert run.model.failure is None and "Tuning failed" not in lead(run.path)


def test_an_evaluation_that_fails_after_a_failed_tuning_hides_neither_it_nor_the_report(
    night: Night, configure: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(command: Sequence[str], name: str, *_: Any, **__: Any) -> None:
        if name == "generate":
            night.call(command, name, *_, **__)
        else:
            raise StoppedError(f"{name}: its process was killed by SIGKILL")

    monkeypatch.setattr(chain, "run_stage", fail)
    with pytest.raises(StoppedError, match="tune: its process was killed"):
        chain.run_all(configure(num_instructions=20), clock=night)
    assert "tune: its process was killed" in lead(tmp_path / "run")


def fruitless(request: Request) -> Answer:
    """A model that writes no instance."""
    return script(request) if request.key.startswith("proposal") else Completion("", "stop", 5, 0)


def test_a_run_without_an_instance_ends_at_the_export_and_says_why(
    night: Night, configure: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    night.answers = fruitless
    with pytest.raises(
        InputError, match=r"nothing to export: no instance was kept for any of the 10 accepted"
    ) as error:
        chain.run_all(configure(num_instructions=10), clock=night)
    assert night.called == ["generate"] and "--prompting" in str(error.value)
    assert "no instance was kept for any of the 10 accepted instructions: " in capsys.readouterr().err
    assert not (tmp_path / "run" / "dataset").exists()
    night.called.clear()
    stopped = configure(num_instructions=50, limits={"max_requests": 60}, output_dir=str(tmp_path / "stopped"))
    with pytest.raises(StoppedError, match=r"(?s)budget of 60 requests.*nothing to export") as interrupted:
        chain.run_all(stopped, clock=night)
    assert interrupted.value.exit_code == 3, "it may still go on"


def test_too_few_rows_are_not_tuned_on(night: Night, configure: Callable[..., Config]) -> None:
    config = configure(num_instructions=500, limits={"max_requests": 60, "min_rows": 1000})
    with pytest.raises(StoppedError, match=r"fewer than --limits\.min-rows 1000") as caught:
        chain.run_all(config, clock=night)
    assert caught.value.exit_code == 3 and night.called == ["generate"]


def test_run_goes_on_when_the_engine_is_lost(night: Night, configure: Callable[..., Config], tmp_path: Path) -> None:
    def dying(request: Request) -> Answer:
        return EngineError("the engine died three times") if request.key == "proposal/20" else script(request)

    night.answers = dying
    config = configure(num_instructions=500)
    chain.run_all(config, clock=night)
    assert night.called == ["generate", "tune", "evaluate"]
    assert "the engine died three times" in lead(tmp_path / "run")
    assert str(status(tmp_path / "run").reason).endswith("the engine died three times")
    # It comes back: the run is what it would have been, and nothing is said any more.
    night.answers = script
    chain.run_all(configure(num_instructions=30), clock=night)
    assert status(tmp_path / "run").reason is None and "died" not in lead(tmp_path / "run")
    assert not [line for line in journal_lines(tmp_path / "run") if line["kind"] == "control" and "lost" in str(line)]


def test_run_goes_on_when_generation_is_killed(night: Night, configure: Callable[..., Config], tmp_path: Path) -> None:
    chain.run_all(configure(num_instructions=30), clock=night)
    night.lost = StoppedError("generate: its process was killed by SIGKILL; the same command continues")
    chain.run_all(configure(num_instructions=60), clock=night)
    assert night.called[3:] == ["generate", "evaluate"]


def test_a_person_s_interrupt_still_stops_everything(night: Night, configure: Callable[..., Config]) -> None:
    night.lost = Interrupted(2)
    with pytest.raises(Interrupted):
        chain.run_all(configure(), clock=night)
    assert night.called == ["generate"]


@pytest.mark.parametrize("error", [ConfigError("other settings"), StoppedError("no GPU")])
def test_what_leaves_no_run_behind_ends_the_chain(
    night: Night, configure: Callable[..., Config], error: Exception
) -> None:
    night.lost = error
    with pytest.raises(type(error), match=str(error)):
        chain.run_all(configure(), clock=night)
    assert night.called == ["generate"]


# --------------------------------------------------------------------------------------- outputs by a better model


BETTER = {"model": "better"}


def outputs(run: Path) -> set[str]:
    return {row["completion"][0]["content"] for _, row in jsonl.read(run / "dataset" / "train.jsonl")}


def test_run_rewrites_the_outputs_before_anything_is_tuned(
    night: Night, configure: Callable[..., Config], tmp_path: Path
) -> None:
    config = configure(num_instructions=20, regenerate=BETTER)
    chain.run_all(config, clock=night)
    assert night.called == ["generate", "regenerate", "tune", "evaluate"]
    assert outputs(tmp_path / "run") == {"a better answer"}
    assert (tmp_path / "run-generated" / "journal.jsonl").exists()
    assert not (tmp_path / "run-generated" / "dataset").exists()
    assert "It helped." in lead(tmp_path / "run")
    before = (tmp_path / "run" / "journal.jsonl").read_bytes()
    chain.run_all(config, clock=night)
    assert night.rewriters_started == 1 and len(night.trained) == 1, "what is done is not done again"
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() == before


def test_rewriting_that_was_interrupted_is_continued(
    night: Night, configure: Callable[..., Config], tmp_path: Path
) -> None:
    asked = 0

    def dying(_: Request) -> Answer:
        nonlocal asked
        asked += 1
        return EngineError("died") if asked > 5 else Completion("a better answer", "stop", 5, 5)

    config, well = configure(num_instructions=20, regenerate=BETTER, max_in_flight=1), night.rewrites
    night.rewrites = dying
    with pytest.raises(EngineError, match="died"):
        chain.run_all(config, clock=night)
    assert not (tmp_path / "run" / "dataset").exists()
    night.rewrites = well
    chain.run_all(config, clock=night)
    assert outputs(tmp_path / "run") == {"a better answer"}
    lines = [line for line in journal_lines(tmp_path / "run") if line["kind"] == "output"]
    assert len(lines) == len({(line["id"], line["instance"]) for line in lines}) == 23


def test_a_generation_that_stopped_early_is_rewritten_too(
    night: Night, configure: Callable[..., Config], tmp_path: Path
) -> None:
    chain.run_all(configure(num_instructions=500, limits={"max_requests": 60}, regenerate=BETTER), clock=night)
    assert night.called == ["generate", "regenerate", "tune", "evaluate"]
    assert outputs(tmp_path / "run") == {"a better answer"}
    assert "the budget of 60 requests (--max-requests) is used up" in lead(tmp_path / "run")


def test_what_is_not_generated_to_its_end_is_not_rewritten(night: Night, configure: Callable[..., Config]) -> None:
    def dying(request: Request) -> Answer:
        return EngineError("the engine died three times") if request.key == "proposal/20" else script(request)

    night.answers = dying
    config = configure(num_instructions=500, regenerate=BETTER)
    with pytest.raises(StoppedError):
        chain.run_all(config, clock=night)
    assert night.called == ["generate"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"regenerate": {"model": "tuned"}}, "use `selfinstruct iterate`"),
        ({"regenerate": BETTER, "limits": {"time_limit": "8h"}}, "leave out --finish-by and --time-limit"),
        ({"regenerate": BETTER, "limits": {"finish_by": "07:00"}}, "leave out --finish-by and --time-limit"),
    ],
)
def test_what_run_cannot_do_with_rewriting_is_said_first(
    night: Night, configure: Callable[..., Config], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        chain.run_all(configure(**changes), clock=night)
    assert night.called == []


def test_a_run_is_rewritten_from_its_beginning_or_not_at_all(
    night: Night, configure: Callable[..., Config], tmp_path: Path
) -> None:
    chain.run_all(configure(num_instructions=10), clock=night)
    called = list(night.called)
    with pytest.raises(ConfigError, match=r"holds a run without regenerate\.model"):
        chain.run_all(configure(num_instructions=10, regenerate=BETTER), clock=night)
    assert night.called == called
    chain.run_all(configure(num_instructions=10, regenerate=BETTER), overwrite=True, clock=night)
    assert outputs(tmp_path / "run") == {"a better answer"}
    with pytest.raises(ConfigError, match="no more instructions can be added"):
        chain.run_all(configure(num_instructions=11, regenerate=BETTER), clock=night)


# --------------------------------------------------------------------------------------------------------- in time


def test_a_deadline_is_kept_with_everything_done(
    night: Night, configure: Callable[..., Config], tmp_path: Path
) -> None:
    night.answer_s = 3.0  # A third of the answers.
    chain.run_all(configure(num_instructions=5000, limits={"time_limit": "20m"}), clock=night)
    assert night.called == ["the probe of tuning", "generate", "tune", "evaluate"]
    assert night.trained == [(None, "model")], "time was kept for all of the steps"
    assert START + 600 < night.now <= START + 1200
    assert "the deadline" in lead(tmp_path / "run") and "Cut:" not in lead(tmp_path / "run")
    assert not (tmp_path / "run" / ".probe").exists()


def test_a_deadline_goes_with_evaluation_tasks_of_every_format(
    night: Night, configure: Callable[..., Config], tmp_path: Path
) -> None:
    benchmark = {
        "Definition": "Say whether the second sentence follows.",
        "Categories": ["Textual Entailment"],
        "Positive Examples": [],
        "Instances": [{"input": f"case {k}", "output": ["yes"]} for k in range(3)],
    }
    (tmp_path / "superni").mkdir()
    (tmp_path / "superni" / "task1_a.json").write_text(json.dumps(benchmark))
    oriented = {"id": "u0", "motivation_app": "Notes", "instruction": "Shorten it.", "instances": [{"output": "a"}]}
    (tmp_path / "oriented.jsonl").write_text(json.dumps(oriented) + "\n")
    prompts = tmp_path / "ifeval.jsonl"
    prompts.write_text('{"key": 1}\n{"key": 2}\n')
    tasks = [str(tmp_path / "superni"), str(tmp_path / "oriented.jsonl")]
    chain.run_all(configure(limits={"time_limit": "20m"}, evaluate={"tasks": tasks}), clock=night)
    assert night.called[-1] == "evaluate"
    asked = configure(evaluate={"tasks": tasks, "ifeval": str(prompts), "ifeval_max_tokens": 7, "consistency": True})
    assert most_tokens(asked.evaluate) == (3 + 1 + (1 + 3 + 4)) * 20 + 2 * 7, "a benchmark's prompt is not reworded"


def test_a_finished_generation_needs_no_deadline(
    night: Night, configure: Callable[..., Config], tmp_path: Path
) -> None:
    chain.run_all(configure(num_instructions=30, limits={"time_limit": "8h"}), clock=night)
    assert night.trained == [(None, "model")]
    assert "deadline" not in lead(tmp_path / "run")
    assert [line for line in journal_lines(tmp_path / "run") if line["kind"] == "control"] == []


def test_slow_steps_are_cut_and_the_report_says_so(
    night: Night, configure: Callable[..., Config], tmp_path: Path
) -> None:
    night.step_s = 20.0
    config = configure(num_instructions=5000, limits={"time_limit": "15m"}, evaluate={"seeds_baseline": True})
    chain.run_all(config, clock=night)
    assert night.now <= START + 900
    ((steps, _),) = night.trained
    assert steps is not None and steps >= 3
    cut = RunDirectory(tmp_path / "run").cut_by_deadline()
    assert "baseline" in cut[0] and f"tuning got {steps} of its" in cut[1]
    assert all(sentence in lead(tmp_path / "run") for sentence in cut)
    assert status(tmp_path / "run").cut == cut


def test_the_baseline_is_trained_only_where_it_still_fits(night: Night, configure: Callable[..., Config]) -> None:
    config = configure(num_instructions=30, limits={"time_limit": "20m"}, evaluate={"seeds_baseline": True})
    chain.run_all(config, clock=night)
    assert [output for _, output in night.trained] == ["model", "model-seeds"]
    (Path(str(config.output_dir)) / "model-seeds" / ".done").unlink()
    night.overhead_s = 10_000
    short = configure(num_instructions=30, limits={"time_limit": "110s"}, evaluate={"seeds_baseline": True})
    chain.run_all(short, clock=night)
    assert len(night.trained) == 2 and "baseline" in RunDirectory.at(config.output_dir).cut_by_deadline()[0]


def test_without_time_for_a_step_nothing_is_tuned(
    night: Night, configure: Callable[..., Config], tmp_path: Path
) -> None:
    night.step_s, night.overhead_s = 30.0, 150.0
    with pytest.raises(StoppedError, match="no time for tuning"):
        chain.run_all(configure(num_instructions=5000, limits={"time_limit": "10m"}), clock=night)
    assert night.trained == [] and (tmp_path / "run" / "report.html").exists()
    assert "tuning was left out" in lead(tmp_path / "run")


def test_an_evaluation_that_no_longer_fits_is_left_out(
    night: Night, configure: Callable[..., Config], tmp_path: Path
) -> None:
    night.answer_s = 3.0  # A third of the answers.
    config = configure(num_instructions=5000, limits={"time_limit": "20m"})
    real = night.tune

    def overrun(command: Sequence[str]) -> None:
        real(command)
        night.now += 0 if "probe" in str(command) else 500

    night.tune = overrun  # type: ignore[method-assign]
    chain.run_all(config, clock=night)
    assert "evaluate" not in night.called
    assert "the evaluation was left out" in lead(tmp_path / "run")


def test_an_evaluation_that_may_fit_is_begun_and_ended_by_the_deadline(
    night: Night, configure: Callable[..., Config], tmp_path: Path
) -> None:
    night.answer_s = 3.0  # A third of the answers.
    config = configure(num_instructions=5000, limits={"time_limit": "20m"})
    plain = night.tune

    def overrun(command: Sequence[str]) -> None:
        plain(command)
        if "probe" not in str(command):  # What is left is less than is reckoned, and more than half of it.
            run = RunDirectory(tmp_path / "run")
            plan = DeadlinePlan(run, START + 1200, night, seeds=config.seeds, evaluate=config.evaluate)
            night.now = START + 1200 - REPORT_S - 0.7 * plan.evaluation_s(baseline=False)

    night.tune = overrun  # type: ignore[method-assign]
    night.evaluation_s = 1e6
    chain.run_all(config, clock=night)
    assert night.called[-1] == "evaluate" and night.now == START + 1200 - REPORT_S
    assert "the evaluation was ended by the deadline" in lead(tmp_path / "run")
    night.evaluation_s = 10.0
    chain.run_all(configure(num_instructions=5000, limits={"time_limit": "20m"}), clock=night)
    assert night.called[-1] == "evaluate" and "evaluation was" not in lead(tmp_path / "run")


def test_the_model_comes_before_its_evaluation(night: Night, configure: Callable[..., Config], tmp_path: Path) -> None:
    night.step_s, night.engine_start_s, night.evaluation_s = 6.0, 150.0, 300.0
    chain.run_all(configure(num_instructions=40, limits={"time_limit": "9m"}), clock=night)
    assert night.trained == [(None, "model")] and night.now <= START + 540
    assert "the evaluation was ended by the deadline" in lead(tmp_path / "run")


def test_the_same_command_with_more_time_or_none_finishes_what_was_cut(
    night: Night, configure: Callable[..., Config], tmp_path: Path
) -> None:
    night.step_s = 20.0
    chain.run_all(configure(num_instructions=60, limits={"time_limit": "15m"}), clock=night)
    assert night.trained[0][0] is not None
    night.step_s = 1.0
    chain.run_all(configure(num_instructions=60), clock=night)
    assert night.trained[-1] == (None, "model")
    assert "deadline" not in lead(tmp_path / "run") and "Cut" not in lead(tmp_path / "run")
    assert night.called.count("the probe of tuning") == 1


def test_a_cut_training_that_was_interrupted_keeps_its_steps(
    night: Night, configure: Callable[..., Config], tmp_path: Path
) -> None:
    night.step_s = 20.0
    config = configure(num_instructions=5000, limits={"finish_by": clock.iso(START + 900)})
    real = night.tune

    def interrupted(command: Sequence[str]) -> None:
        if "probe" in str(command):
            return real(command)
        folder = tmp_path / "run" / "model" / "checkpoints" / "checkpoint-2"
        folder.mkdir(parents=True)
        night.now += 50
        raise Interrupted(15)

    night.tune = interrupted  # type: ignore[method-assign,assignment]
    with pytest.raises(Interrupted):
        chain.run_all(config, clock=night)
    steps = json.loads((tmp_path / "run" / "schedule.json").read_text())["tuning"]["max_steps"]
    from tuning.training import checkpoints

    night.tune = real  # type: ignore[method-assign]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "last_complete", lambda folder: folder / "checkpoint-2")
        patch.setattr(night, "evaluation_s", 1.0)
        chain.run_all(config, clock=night)
    assert night.trained == [(steps, "model")], "other steps would begin anew"
    assert night.called.count("the probe of tuning") == 1, "it was known"


def test_a_probe_that_fails_ends_the_run_in_the_evening(night: Night, configure: Callable[..., Config]) -> None:
    def refuse(command: Sequence[str]) -> None:
        raise ConfigError("TRL refuses")

    night.tune = refuse  # type: ignore[method-assign,assignment]
    with pytest.raises(ConfigError, match="TRL refuses"):
        chain.run_all(configure(limits={"time_limit": "1h"}), clock=night)
    assert night.called == ["the probe of tuning"]


def test_a_deadline_in_the_past_does_nothing(night: Night, configure: Callable[..., Config]) -> None:
    with pytest.raises(StoppedError, match="has passed"):
        chain.run_all(configure(limits={"finish_by": "2001-01-01T07:00"}), clock=night)
    assert night.called == []


def test_a_deadline_before_the_engine_can_start_is_said_at_once(
    night: Night, configure: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    night.engine_start_s = 70
    chain.run_all(configure(num_instructions=20, limits={"time_limit": "2h"}), clock=night)
    assert "to start last time" not in capsys.readouterr().err
    warning = "the deadline is 1 min 05 s away, and the engine took 1 min 10 s to start last time"
    chain.run_all(configure(num_instructions=400, limits={"time_limit": "65s"}), clock=night)
    assert capsys.readouterr().err.count(warning) == 1
    run_scripted(configure(num_instructions=21, limits={"time_limit": "65s"}), clock=night)
    assert capsys.readouterr().err.count(warning) == 1


def test_a_damaged_schedule_is_as_good_as_none(tmp_path: Path, configure: Callable[..., Config]) -> None:
    run = RunDirectory(tmp_path)
    for text in ("", "[]", '{"cut": 5}', "{"):
        run.schedule.write_text(text)
        assert run.cut_by_deadline() == []
        config = configure()
        plan = DeadlinePlan(run, START, lambda: START, seeds=config.seeds, evaluate=config.evaluate)
        assert plan.left == 0 and plan.schedule.probe is None
