"""The command line as its user meets it: help, messages, exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from selfinstruct.checks.preflight import Findings
from selfinstruct.cli import cli
from selfinstruct.config.load import dump_yaml
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.engines.vllm import VLLMEngine
from selfinstruct.errors import ConfigError, EngineError, Interrupted
from selfinstruct.records import Completion
from tests.conftest import held_by_another, run_scripted, script


@pytest.fixture(autouse=True)
def clean_environment() -> Iterator[None]:
    """Neither the caller's variables nor those that an engine or `--debug` sets."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("SELFINSTRUCT_")]:
        del os.environ[name]
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """`generate` runs on the scripted engine; its options can be set before."""
    options: dict[str, Any] = {}

    async def start(*_: Any, **__: Any) -> ScriptedEngine:
        return ScriptedEngine(script, **options)

    monkeypatch.setattr(VLLMEngine, "start", start)
    # There is no model `m` to look at beforehand.
    monkeypatch.setattr("selfinstruct.checks.preflight.check_generator", lambda *_, **__: None)
    return options


def invoke(*arguments: Any, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments], input=stdin)


def fails(exit_code: int, *arguments: Any, stdin: str | None = None) -> str:
    """What is said on stderr by a command that must end with this code, by one message and without a traceback."""
    result = invoke(*arguments, stdin=stdin)
    assert result.exit_code == exit_code, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    assert "not expected" not in result.output
    assert result.stdout == ""
    return result.stderr


def leaves(command: click.Command = cli, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        return [path]
    return [leaf for name, child in command.commands.items() for leaf in leaves(child, (*path, name))]


# ---------------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("command", leaves(), ids=" ".join)
def test_every_command_explains_itself_with_an_example(command: tuple[str, ...]) -> None:
    result = invoke(*command, "--help")
    assert result.exit_code == 0
    assert re.search(rf"^ +selfinstruct {' '.join(command)}\b", result.stdout, re.M)
    assert "[ARGUMENTS]" not in result.stdout
    assert invoke(*command, "-h").stdout == result.stdout


def test_the_overview_names_the_commands_of_the_design() -> None:
    expected = "demo init run generate export tune evaluate report status seeds dedup score".split()
    assert set(expected) <= set(cli.commands)
    overview = invoke("--help").stdout
    summaries = dict(re.findall(r"^  (\w+) {2,}(.+)$", overview.split("Commands:")[1], re.M))
    assert set(summaries) == set(cli.commands)
    assert not [text for text in summaries.values() if text.endswith("...")], "cut short on a narrow terminal"


@pytest.mark.whole
def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
from selfinstruct.cli import cli
from selfinstruct.config.load import dump_yaml
for command in [], ["generate"], ["tune"], ["run"], ["chat"]:
    cli.main([*command, "--help"], standalone_mode=False)
heavy = "torch vllm transformers trl datasets numba matplotlib peft accelerate ray rouge_score rapidfuzz rich numpy"
heavy += " py3langid phonenumbers"
print([name for name in heavy.split() if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_version() -> None:
    assert invoke("--version").stdout.startswith("selfinstruct, version ")


# ------------------------------------------------------------------------------------------- usage, exit code 2


def test_unknown_commands_and_options_get_a_suggestion() -> None:
    assert "No such command 'generat'" in fails(2, "generat")
    assert "Did you mean '--json'?" in fails(2, "status", ".", "--jsn")
    assert "did you mean --num-instructions?" in fails(2, "run", "x.yaml", "--num-instruction", "5")
    assert "as --engine.NAME" in fails(2, "run", "x.yaml", "--dtype", "float32")
    assert "did you mean --num-instructions?" in fails(2, "demo", "--num-instrutions", "5")
    assert "unexpected argument 'more'" in fails(2, "run", "x.yaml", "more")
    for command in ("run", "iterate"):
        assert "CONFIG must come before options" in fails(2, command, "--tune.packing", "x.yaml")


def test_an_option_that_vllm_does_not_know_may_be_ours_misspelt(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(arguments: list[str]) -> dict[str, Any]:
        raise ConfigError(f"vLLM's engine arguments: unrecognized arguments: {' '.join(arguments)}")

    monkeypatch.setattr("selfinstruct.engines.vllm.parse_arguments", refuse)
    said = fails(2, "generate", "--num-instruction", "5")
    assert "unrecognized arguments: --num-instruction 5; did you mean --num-instructions?" in said
    assert "did you mean" not in fails(2, "generate", "--xyzzy")
    assert "unexpected argument 'mine.jsonl'; every value needs its option" in fails(2, "generate", "mine.jsonl")


def test_negative_numbers_reach_vllm_and_trl_as_values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def note(words: list[str]) -> dict[str, Any]:
        seen.append(words)
        return {}

    monkeypatch.setattr("selfinstruct.engines.vllm.parse_arguments", note)
    monkeypatch.setattr("selfinstruct.checks.preflight.check", lambda *_, **__: Findings())
    path = write(tmp_path / "c.yaml", f"output_dir: {tmp_path / 'run'}")
    result = invoke("run", path, "--dry-run", "--tune.max-steps", "-1", "--engine.x", "-2.5")
    assert result.exit_code == 0, result.output
    assert "max_steps: -1" in result.stdout
    assert seen == [["--x", "-2.5"]]


def test_the_configuration_of_a_copied_run_does_not_continue_the_original(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("selfinstruct.checks.preflight.check", lambda *_, **__: Findings())
    copy, original = tmp_path / "copy", tmp_path / "original"
    copy.mkdir()
    path = write(copy / "config.yaml", f"model: demo\noutput_dir: {original}")
    assert invoke("run", path, "--dry-run").exit_code == 0, "no run yet"
    write(copy / "journal.jsonl", "{}\n")
    for command in (["run", path], ["generate", "--config", path]):
        said = fails(2, *command, "--dry-run")
        assert f"`output_dir: {original}`, but is the configuration of the run in {copy}" in said
    assert invoke("run", path, "--dry-run", "--output-dir", copy).exit_code == 0
    write(copy / "config.yaml", f"model: demo\noutput_dir: {copy}")
    assert invoke("run", path, "--dry-run").exit_code == 0


def test_a_signal_during_a_dry_run_promises_no_continuation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: Any, **__: Any) -> Findings:
        raise Interrupted(signal.SIGINT)

    monkeypatch.setattr("selfinstruct.checks.preflight.check", interrupted)
    path = write(tmp_path / "c.yaml", f"output_dir: {tmp_path / 'run'}")
    assert fails(130, "run", path, "--dry-run") == "stopped by SIGINT; nothing was changed\n"


def test_nothing_to_explain_or_to_score_is_said_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_config: Any
) -> None:
    config = make_config(evaluate={})  # No option that the run keeps, which would be said.
    run_scripted(config)
    run = config.output_dir
    assert "text or id to explain is empty" in fails(2, "explain", run, " ")
    said = fails(4, "evaluate", run, "--score-only")
    assert said == f"Error: {run}/evaluation: holds no predictions to score; run `selfinstruct evaluate {run}`\n"
    assert "leave out --model" in fails(2, "evaluate", run, "--score-only", "--model", "x=y")

    def interrupted(*_: Any) -> None:
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr("tuning.evaluation.evaluation.score_saved", interrupted)
    assert fails(143, "evaluate", run, "--score-only") == "stopped by SIGTERM; nothing was changed\n"


def test_the_help_of_json_says_where_it_goes() -> None:
    assert "Print the summary as JSON, also on stderr" in " ".join(invoke("dedup", "--help").stdout.split())
    assert "default: no model" not in " ".join(invoke("regenerate", "--help").stdout.split())


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_values_out_of_range_name_option_or_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path / "c.yaml", "model: demo\nfilters:\n  threshold: 1.5\n")
    assert f"{path}, line 3: `filters.threshold`: input should be less than 1, got 1.5" in fails(2, "run", path)
    path = write(tmp_path / "c.yaml", "num_instrctions: 5\n")
    assert "line 1: `num_instrctions`: unknown option; did you mean num_instructions?" in fails(2, "run", path)
    said = fails(2, "generate", "--threshold", "1", "--output-dir", tmp_path / "run")
    assert said == "Error: option --filters.threshold: input should be less than 1, got 1.0\n"
    assert "'many' is not a valid integer" in fails(2, "generate", "--num-instructions", "many")
    for number in ("inf", "1e400", "nan"):
        said = fails(2, "generate", "--temperature", number, "--output-dir", tmp_path / "run")
        assert said.startswith("Error: option --proposal.temperature: input should be a finite number, got ")
        assert f"{number} is not a finite number." in fails(2, "chat", "demo", "--temperature", number)
    assert "option --seed: input should be less than 4294967296" in fails(2, "generate", "--seed", 1 << 32)
    assert "'loud' is not one of 'auto', 'completion', 'chat'" in fails(2, "generate", "--prompting", "loud")
    assert not (tmp_path / "run").exists(), "nothing is begun"


@pytest.mark.parametrize("option", ["--num-instructions", "--time-limit"])
def test_a_value_of_thousands_of_characters_is_not_repeated_whole(tmp_path: Path, option: str) -> None:
    said = fails(2, "generate", "--model", "demo", "--output-dir", tmp_path / "run", option, "9" * 5000)
    assert f"'{'9' * 100}" in said and "…" in said and len(said) < 1000


def test_files_and_directories_that_are_not_there(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in fails(2, "run", tmp_path / "no.yaml")
    assert "does not exist" in fails(2, "status", tmp_path / "no")
    assert "give a run directory" in fails(2, "run", write(tmp_path / "c.yaml", ""))
    assert "give a run directory: --output-dir RUN" in fails(2, "generate")


def test_a_model_that_does_not_exist(tmp_path: Path, seed_file: Path) -> None:
    model = tmp_path / "nowhere"
    said = fails(2, "generate", "--model", model, "--seeds", seed_file, "--output-dir", tmp_path / "run")
    assert f"model '{model}': no such model" in said


def test_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfinstruct.checks.preflight.check", lambda *_, **__: Findings())
    path = tmp_path / "new" / "night.yaml"
    result = invoke("init", path, "--model", "demo")
    assert result.exit_code == 0, result.output
    assert f"selfinstruct run {path}" in result.stderr
    before = path.read_bytes()
    assert f"{path} exists" in fails(2, "init", path)
    assert path.read_bytes() == before
    dry = invoke("run", path, "--dry-run", "--filters.threshold", "0.5", "--seeds", "a", "--seeds", "b")
    assert dry.exit_code == 0, dry.output
    assert "threshold: 0.5" in dry.stdout
    assert "- a\n- b\n" in dry.stdout


def test_init_where_nothing_can_be_written(tmp_path: Path) -> None:
    said = fails(1, "init", write(tmp_path / "file", "") / "night.yaml")
    assert said.startswith(f"Error: {tmp_path / 'file'}")


# ---------------------------------------------------------------------------------------- bad input, exit code 4


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "x", ', "not valid JSON"),
        (
            '{"id": "s3", "instruction": "a", "instances": [{"output": "b"}], "is_classification": false}',
            "already the id",
        ),
        (
            '{"id": "x", "instruction": " ", "instances": [{"output": "b"}], "is_classification": false}',
            "`instruction`",
        ),
        ('{"id": "x", "instruction": "a", "instances": "b", "is_classification": false}', "`instances`"),
        ('{"id": "x", "instruction": "a\\u0000", "instances": [{"output": "b"}], "is_classification": false}', "NUL"),
        (
            '{"id": "x", "instruction": "a\\ud800", "instances": [{"output": "b"}], "is_classification": false}',
            "surrogate",
        ),
        (b'{"id": "\xff"}', "utf-8"),
    ],
)
@pytest.mark.parametrize("command", [["seeds", "check"], ["generate", "--output-dir", "RUN", "--seeds"]], ids=" ".join)
def test_a_broken_seed_file(
    tmp_path: Path, seed_rows: list[dict[str, Any]], command: list[str], line: str | bytes, said: str
) -> None:
    good = [dict(row, id=f"s{k}") for k, row in enumerate(seed_rows + seed_rows[:6])]
    text = "".join(json.dumps(row) + "\n" for row in good).encode()
    path = write(tmp_path / "s.jsonl", text + (line if isinstance(line, bytes) else line.encode()))
    found = fails(4, *(str(tmp_path / "run") if word == "RUN" else word for word in command), path)
    assert f"{path}, line 17: " in found
    assert said in found


def test_seeds_check_of_good_files(tmp_path: Path, seed_file: Path) -> None:
    path = write(tmp_path / "dos.jsonl", b"\xef\xbb\xbf" + seed_file.read_bytes().replace(b"\n", b"\r\n"))
    result = invoke("seeds", "check", path)
    assert result.exit_code == 0, result.output
    assert f"{path}: 10 tasks, 3 of them classification, 20 instances: no problems" in result.stdout
    assert "seed_tasks.jsonl: 175 tasks, 30 of them" in invoke("seeds", "check", "seed_tasks").stdout
    assert "no such seed file" in fails(4, "seeds", "check", tmp_path / "no.jsonl")


def test_stages_need_a_run(tmp_path: Path) -> None:
    for command in ("export", "tune", "evaluate"):
        assert f"{tmp_path} is not a run directory: it has no journal.jsonl" in fails(4, command, tmp_path)


# --------------------------------------------------------------------------------------------------- a run


def test_generate_and_export_end_with_what_to_do_next(
    tmp_path: Path, seed_file: Path, scripted: dict[str, Any]
) -> None:
    run = tmp_path / "run"
    command = ["generate", "--model", "m", "--seeds", seed_file, "--output-dir", run, "--num-instructions", "8"]
    result = invoke(*command)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert (run / "journal.jsonl").exists()
    journal = (run / "journal.jsonl").read_bytes()
    assert invoke(*command).exit_code == 0, "the same command again continues"
    assert invoke("generate", "--output-dir", run).exit_code == 0, "or without repeating what the run knows"
    assert (run / "journal.jsonl").read_bytes() == journal
    result = invoke("export", run)
    assert result.exit_code == 0, result.output
    assert (run / "dataset" / "train.jsonl").stat().st_size


def test_a_run_directory_made_with_other_settings(tmp_path: Path, seed_file: Path, scripted: dict[str, Any]) -> None:
    run = tmp_path / "run"
    command = ["generate", "--model", "m", "--seeds", seed_file, "--output-dir", run, "--num-instructions", "5"]
    assert invoke(*command).exit_code == 0
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    said = fails(2, *command, "--seed", "7", "--proposal.temperature", "0.1")
    assert f"{run} holds a run made with other settings:" in said
    assert "  seed: recorded 42, now 7" in said
    assert "  proposal.temperature: recorded 0.7, now 0.1" in said
    assert "--overwrite to start from scratch" in said
    write(seed_file, seed_file.read_bytes().replace(b"night buses", b"night trains"))
    assert "seeds_sha256" in fails(2, *command)
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before, "nothing is lost"
    assert invoke(*command, "--seed", "7", "--overwrite").exit_code == 0


def test_a_prompt_that_cannot_fit(tmp_path: Path, seed_file: Path, scripted: dict[str, Any]) -> None:
    scripted["context_length"] = 406
    said = fails(2, "generate", "--model", "m", "--seeds", seed_file, "--output-dir", tmp_path / "run")
    assert "the context of 406 leaves 6 beside max_tokens=400" in said
    assert "lower --proposal.max-tokens, or use a model with a longer context" in said
    scripted["has_chat_template"] = False
    said = fails(2, "generate", "--seeds", seed_file, "--output-dir", tmp_path / "run", "--prompting", "chat")
    assert "has no chat template; use --prompting completion" in said


def test_a_run_continues_with_the_context_that_it_began_with(
    tmp_path: Path, seed_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default context depends on the machine."""
    started: list[dict[str, Any]] = []

    async def start(*_: Any, arguments: dict[str, Any], **__: Any) -> ScriptedEngine:
        started.append(arguments)
        return ScriptedEngine(script, context_length=arguments.get("max_model_len", 8192 if started[1:] else 4096))

    monkeypatch.setattr(VLLMEngine, "start", start)
    command = ["generate", "--seeds", seed_file, "--output-dir", tmp_path / "run", "--num-instructions"]
    assert invoke(*command, "3").exit_code == 0
    assert invoke(*command, "6").exit_code == 0
    assert invoke(*command, "6", "--overwrite").exit_code == 0
    assert started == [{}, {"max_model_len": 4096}, {}]


def test_exit_codes_of_a_saturated_run_and_of_a_dead_engine(
    tmp_path: Path, seed_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def serve(answer: Completion | Exception) -> None:
        async def start(*_: Any, **__: Any) -> ScriptedEngine:
            return ScriptedEngine(lambda _: answer)

        monkeypatch.setattr(VLLMEngine, "start", start)

    command = ["generate", "--seeds", seed_file, "--output-dir", tmp_path / "run", "--saturation.window", "3"]
    serve(Completion(" Go\nTask 10: Stop", "stop"))
    assert "saturated: " in invoke(*command).stderr
    assert invoke(*command).exit_code == 3
    serve(EngineError("the engine died"))
    assert invoke(*command, "--overwrite", "--max-engine-restarts", "0").exit_code == 3


@pytest.mark.whole
def test_a_run_directory_in_use(tmp_path: Path, seed_file: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from selfinstruct.run.directory import RunDirectory\n"
        "with RunDirectory(Path(sys.argv[1])).locked(): print('held', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        said = fails(5, "generate", "--seeds", seed_file, "--output-dir", tmp_path)
        assert f"is being written by process {holder.pid} on " in said
    finally:
        holder.kill()
        holder.communicate()


def test_a_configuration_in_a_folder_that_is_no_run_is_not_read(
    tmp_path: Path, seed_file: Path, scripted: dict[str, Any]
) -> None:
    (tmp_path / "config.yaml").write_text("learning_rate: 3\n")
    said = fails(2, "generate", "--model", "m", "--seeds", seed_file, "--output-dir", tmp_path)
    assert "would write over what is there: config.yaml" in said
    assert (tmp_path / "config.yaml").read_text() == "learning_rate: 3\n"


@pytest.mark.parametrize(
    "command",
    [
        "run config.yaml",
        "generate --output-dir run",
        "generate --output-dir run --overwrite",
        "export run --include-seeds",
        "tune run --max-steps 3",
        "evaluate run --confidence 0.9",
        "evaluate run --score-only",
        "report run",
        "repair run",
        "refilter other -o run/held",
        "regenerate other --model m -o run",
        "iterate config.yaml --output-dir rounds",
    ],
)
def test_every_command_that_writes_a_run_waits_for_its_writer(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scripted: dict[str, Any], command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("selfinstruct.checks.preflight.check", lambda *_, **__: pytest.fail("a minute is lost"))
    for name in ("run", "other"):
        config = make_config(num_instructions=3, output_dir=str(tmp_path / name))
        run_scripted(config)
    (tmp_path / "config.yaml").write_text(dump_yaml(config.model_copy(update={"output_dir": "run"})))
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    with (
        held_by_another(tmp_path / "run"),
        held_by_another(tmp_path / "run/held"),
        held_by_another(tmp_path / "rounds"),
    ):
        assert "is being written by another process" in fails(5, *command.split())
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()} == before


@pytest.mark.whole
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("command", ["status run", "status run --json", "dedup candidates.jsonl"])
def test_a_full_output_is_one_line(make_config: Any, tmp_path: Path, command: str) -> None:
    run_scripted(make_config(num_instructions=3))
    (tmp_path / "candidates.jsonl").write_text('{"instruction": "Name three rivers."}\n')
    program = [sys.executable, "-m", "selfinstruct", *command.split()]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(program, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 1
    assert "cannot be written: No space left on device; make room" in ended.stderr
    assert "not expected" not in ended.stderr


def test_a_configuration_on_stdin_is_no_sign_of_a_stage(
    scripted: dict[str, Any], seed_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[bool] = []

    def check(_: Any, *, tuned: bool) -> Findings:
        checked.append(tuned)
        return Findings()

    monkeypatch.setattr("selfinstruct.checks.preflight.check", check)

    def generate(run: str, *options: str) -> str:
        text = json.dumps({"seeds": [str(seed_file)], "output_dir": str(tmp_path / run), "num_instructions": 5})
        result = invoke("generate", "--config", "-", *options, stdin=text)
        assert result.exit_code == 0, result.output
        return result.stderr

    assert "generation is complete" in generate("typed") and checked == [False]
    assert "generation is complete" not in generate("stage", "--as-stage") and checked == [False]
    assert "--as-stage" not in invoke("generate", "--help").stdout


# --------------------------------------------------------------------------------------------------- edges


def test_debug_shows_where_an_unexpected_error_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("selfinstruct.packaged.resolve", fail)
    result = invoke("seeds", "check", "x")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: ZeroDivisionError: oh\nThis error was not expected; --debug shows where it happened.\n"
    )
    result = invoke("--debug", "seeds", "check", "x")
    assert result.exit_code == 1
    assert result.stderr.startswith("Traceback") and 'raise ZeroDivisionError("oh")' in result.stderr


@pytest.mark.whole
def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    code = "import os, sys; from selfinstruct.cli import main; sys.argv = ['x', 'seeds', 'check', 'seed_tasks']; main()"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_run_may_stand_behind_arguments_that_are_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr("selfinstruct.chain.chain.tune", lambda config, overwrite: seen.append(config.tune.arguments))
    run = tmp_path / "run"
    run.mkdir()
    write(run / "journal.jsonl", "{}\n")
    write(run / "config.yaml", "")
    given = ["--packing", "--learning-rate", "1e-4"]
    for place in (0, 1, 3):
        assert invoke("tune", *given[:place], run, *given[place:]).exit_code == 0
    assert seen == [{"packing": True, "learning_rate": 1e-4}] * 3


def test_notes_on_seeds_are_counted_beyond_the_first(tmp_path: Path) -> None:
    path = tmp_path / "same.jsonl"
    row = {"instruction": "Name a river.", "instances": [{"input": "", "output": "Rhine"}], "is_classification": False}
    path.write_text("".join(json.dumps({"id": f"s{n}", **row}) + "\n" for n in range(300)))
    said = invoke("seeds", "check", path).stdout.splitlines()
    assert len(said) == 22 and re.fullmatch(r"note: \.\.\. and \d{3} more", said[-2])


def test_seeds_stats_and_from_dataset(tmp_path: Path) -> None:
    rows = [
        {"instruction": f"Name a river of {land}.", "input": "", "output": "x"} for land in ("Peru", "Chad", "Laos")
    ]
    others = [{"instruction": "Draw a big red cat.", "output": "x"}, {"instruction": "Name a lake.", "output": ""}]
    (tmp_path / "d.json").write_text(json.dumps([*rows, *others]))
    result = invoke("seeds", "from-dataset", tmp_path / "d.json", "-n", "2", "-o", tmp_path / "s.jsonl")
    assert "left out: 1 x keyword" in result.stdout and "left out: 1 x empty output" in result.stdout
    taken_for = f"{tmp_path / 'd.json'} is no file of seed tasks: it is read as alpaca (instruction, input, output)"
    assert taken_for in result.stdout
    assert "is no file of seed tasks" not in invoke("seeds", "check", tmp_path / "s.jsonl").stdout
    (tmp_path / "a.json").write_text(json.dumps(rows))
    checked = invoke("seeds", "check", tmp_path / "a.json").stdout
    assert checked.startswith(f"note: {taken_for.replace('d.json', 'a.json')}\n")
    assert "2 of 3 tasks, no two nearer than ROUGE-L F 0.80" in result.stdout
    assert "tasks            2, with 2 instances" in invoke("seeds", "stats", tmp_path / "s.jsonl").stdout
    figures = json.loads(invoke("seeds", "stats", tmp_path / "d.json", "--json").stdout)
    assert figures["tasks"] == 4 and any("nearly the same" in note for note in figures["notes"])
    assert "left out: 1 x empty output" in figures["notes"] and taken_for in figures["notes"]
    (tmp_path / "n.json").write_text('[{"instruction": "Draw a cat here.", "output": "x"}]')
    assert "no task can be a seed (1 x keyword)" in fails(4, "seeds", "from-dataset", tmp_path / "n.json")
    own = tmp_path / "d.json"
    assert "is read and cannot be written" in fails(4, "seeds", "from-dataset", own, "-o", own)


def test_convert(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text('[{"instruction": "Say hi.", "input": "", "output": "Hi."}]')
    result = invoke("convert", tmp_path / "d.json", tmp_path / "o.json", "--to", "alpaca", "--llama-factory")
    assert "alpaca -> alpaca: 1 row\n" in result.stdout
    assert "LLaMA-Factory: dataset 'o' in" in result.stdout
    result = invoke("convert", tmp_path / "d.json", tmp_path / "o.jsonl", "--json")
    assert json.loads(result.stdout)["rows"] == 1
    assert "TRL (trl sft --config FILE):" in invoke("convert", tmp_path / "d.json", tmp_path / "o.jsonl").stdout
    (tmp_path / "p.jsonl").write_text('{"prompt": "Name a lake.", "chosen": "Chad.", "rejected": "Paris."}\n')
    said = invoke("convert", tmp_path / "p.jsonl", tmp_path / "o.jsonl", "--to", "preference").stdout
    assert "TRL (trl dpo --config FILE):" in said
