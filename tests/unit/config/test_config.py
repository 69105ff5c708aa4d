"""Options: where a value comes from, and what is said of a wrong one."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.config.load import STANDARD_INPUT, dump_yaml, load_config
from selfinstruct.config.schema import Config
from selfinstruct.errors import ConfigError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str | bytes) -> Path:
        path = tmp_path / "c.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def message(
    path: Path | None, overrides: dict[str, Any] | None = None, environment: dict[str, Any] | None = None
) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides or {}, environment)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_example_configurations_load(path: Path) -> None:
    config = load_config(path, {})
    assert config != Config(), "an example says something"
    assert load_config(path, {"model": "other"}).model == "other"


def test_defaults_are_the_papers() -> None:
    """Except for the longest proposal, 1,024 tokens there: few are longer than 400, and a runaway holds up the rest."""
    config = Config()
    assert (config.proposal.num_seed_examples, config.proposal.num_generated_examples) == (6, 2)
    assert (config.proposal.temperature, config.proposal.top_p, config.proposal.presence_penalty) == (0.7, 0.5, 2)
    assert (config.proposal.max_tokens, config.instances.presence_penalty) == (400, 1.5)
    assert config.classification.temperature == config.instances.temperature == 0
    assert 300 <= config.instances.max_tokens <= 350
    assert (config.filters.threshold, config.filters.min_words, config.filters.max_words) == (0.7, 4, 150)
    assert not config.proposal.sampling_seed


def test_dump_is_read_back_to_an_equal_configuration(write: Any) -> None:
    config = load_config(
        write("filters: {threshold: 0.6}\ntune: {packing: true, learning_rate: 1e-5}\nengine: {dtype: auto}"), {}
    )
    assert load_config(write(dump_yaml(config)), {}) == config
    assert config.tune.arguments == {"packing": True, "learning_rate": 1e-5}


def test_the_old_name_of_parent_runs_is_read_and_not_written(write: Any) -> None:
    config = load_config(write("earlier: [runs/a, runs/b]"), {})
    assert config.parent_runs == ("runs/a", "runs/b")
    assert config == load_config(write("parent_runs: [runs/a, runs/b]"), {})
    assert "earlier" not in dump_yaml(config) and "parent_runs" not in config.identity()
    assert "option --earlier: unknown option" in message(None, {"earlier": ("runs/a",)})


def test_command_line_over_environment_over_file_over_default(write: Any) -> None:
    path = write("window: 2\nseed: 2\nnum_instructions: 2\nfilters: {threshold: 0.2}")
    environment = {"window": "3", "seed": "3", "filters.threshold": "0.3"}
    config = load_config(path, {"window": 4, "filters.min_words": 1}, environment)
    assert (config.window, config.seed, config.num_instructions, config.max_in_flight) == (4, 3, 2, None)
    assert (config.filters.threshold, config.filters.min_words) == (0.3, 1)


def test_an_empty_file_and_empty_sections_mean_defaults(write: Any) -> None:
    assert load_config(write(""), {}) == Config()
    assert load_config(write("engine:\nfilters:\n  # threshold: 0.5\ntune:\n"), {}) == Config()
    assert load_config(write("filters:\n"), {"filters.threshold": 0.5}).filters.threshold == 0.5


@pytest.mark.parametrize(("written", "value"), [("1e-5", 1e-5), ("1.e-2", 0.01), ("-2E3", -2000.0), ("0.5", 0.5)])
def test_numbers_are_read_as_they_look(write: Any, written: str, value: float) -> None:
    assert load_config(write(f"tune: {{x: {written}}}"), {}).tune.arguments == {"x": value}


def test_one_seed_file_needs_no_list(write: Any) -> None:
    assert load_config(write("seeds: mine.jsonl"), {}).seeds == ("mine.jsonl",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("window: 96\nnum_instruction: 5", "line 2: `num_instruction`: unknown option; did you mean num_instructions?"),
        (
            "filters:\n  min_words: 3\n  treshold: 0.5",
            "line 3: `filters.treshold`: unknown option; did you mean threshold?",
        ),
        ("xyzzy: 1", "line 1: `xyzzy`: unknown option"),
        ("\nfilters:\n  threshold: 2", "line 3: `filters.threshold`: input should be less than 1, got 2"),
        ("window: 0", "line 1: `window`: input should be greater than or equal to 1, got 0"),
        ("proposal: {max_tokens: many}", "line 1: `proposal.max_tokens`: input should be a valid integer"),
        ("prompting: shout", "line 1: `prompting`: input should be 'auto', 'completion' or 'chat', got 'shout'"),
        ("seeds: [a, 3]", "line 1: `seeds.1`: input should be a valid string, got 3"),
        ("seeds:\n  - a\n  - {b: 1}", "line 3: `seeds.1`: input should be a valid string, got {'b': 1}"),
        ("seeds: []", "line 1: `seeds`: tuple should have at least 1 item"),
        ("model: ''", "line 1: `model`: string should have at least 1 character"),
        ("window: 1\nfilters: 5", "line 2: `filters`: input should be a section of options, got 5"),
        ("engine: [1]", "line 1: `engine`: input should be a section of options, got [1]"),
        ("window: 5.5", "line 1: `window`: input should be a whole number, got 5.5"),
        ("filters: {min_words: 9, max_words: 5}", "`filters`: min_words (9) must not be greater than max_words (5)"),
        (
            "proposal: {num_seed_examples: 0, num_generated_examples: 0}",
            "`proposal`: num_seed_examples + num_generated_examples must be at least 1",
        ),
        ("window: 1\nseed: 2\nwindow: 3", "line 3: not valid YAML: key 'window' is given twice"),
        ("a: 1\nb: [1", "line 2: not valid YAML: "),
        ("a: b: c", "line 1: not valid YAML: "),
        ("a: 2026-13-45", "not valid YAML: "),
        ("a: !!python/name:os.system", "line 1: not valid YAML: "),
        ("a: \0", "not valid YAML: "),
        ("- a\n- b", "expected a mapping of options, got list"),
        ("just text", "expected a mapping of options, got str"),
        (b"a: \xff", "not UTF-8: "),
    ],
)
def test_a_wrong_file_is_named_with_line_key_and_value(write: Any, text: str | bytes, said: str) -> None:
    path = write(text)
    found = message(path)
    assert found.startswith(str(path))
    assert said in found


def test_a_bom_is_accepted(write: Any) -> None:
    assert load_config(write(b"\xef\xbb\xbfwindow: 7\r\n"), {}).window == 7


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert message(tmp_path / "no.yaml") == f"{tmp_path / 'no.yaml'}: cannot be read: No such file or directory"
    assert "Is a directory" in message(tmp_path)


def test_all_problems_come_at_once(write: Any) -> None:
    found = message(write("window: 0\nwindwo: 1\nfilters: {threshold: 7}"), {"seed": -1}, {"max_in_flight": "x"})
    assert len(found.splitlines()) == 5


def test_each_problem_names_where_its_value_came_from(write: Any) -> None:
    path = write("window: 3")
    assert message(path, {"window": 0}).startswith("option --window: ")
    assert message(path, {"proposal.top_p": 2.0}).startswith("option --proposal.top-p: ")
    assert message(path, {"seeds": (1,)}).startswith("option --seeds: ")
    found = message(path, {}, {"filters.threshold": "high"})
    assert found.startswith("environment variable SELFINSTRUCT_FILTERS__THRESHOLD: input should be a valid number")
    assert "got 'high'" in found
    assert message(None, {"window": 0}).startswith("option --window: ")
    assert message(write("\nfilters: 3"), {"filters.threshold": 0.5}) == (
        f"{path}, line 2: `filters`: must be a section of options, got 3"
    )


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def give(text: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))

    give(b"window: 7")
    assert load_config(STANDARD_INPUT, {"seed": 1}).window == 7
    give(b"seed: 1\nwindow: 0")
    assert message(STANDARD_INPUT).startswith("standard input, line 2: `window`: ")
    give(b"window: \xff")
    assert message(STANDARD_INPUT).startswith("standard input: not UTF-8")


@pytest.mark.parametrize(
    "changes",
    [
        {"num_instructions": 7},
        {"output_dir": "elsewhere"},
        {"max_in_flight": 7},
        {"fsync_interval": 0},
        {"saturation": {"window": 3}},
        {"export": {"include_seeds": True}},
        {"tune": {"packing": True}},
        {"evaluate": {"max_tokens": 7}},
        {"engine": {"gpu_memory_utilization": 0.5}},
        {"seeds": ["copy.jsonl"]},  # their content counts, by fingerprint
    ],
)
def test_what_only_paces_a_run_or_follows_it_is_no_part_of_its_identity(changes: dict[str, Any]) -> None:
    assert Config.model_validate(changes).identity() == Config().identity()


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "m"},
        {"revision": "r"},
        {"seed": 7},
        {"window": 7},
        {"prompting": "chat"},
        {"proposal": {"temperature": 0.1}},
        {"classification": {"num_examples": 3}},
        {"instances": {"max_tokens": 7}},
        {"filters": {"threshold": 0.5}},
        {"engine": {"dtype": "float32"}},
    ],
)
def test_what_decides_the_data_is_part_of_the_identity(changes: dict[str, Any]) -> None:
    assert Config.model_validate(changes).identity() != Config().identity()


def test_no_is_text_and_true_is_true(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("tune: {save_strategy: no, packing: true, learning_rate: 1e-5}\n")
    assert load_config(path, {}).tune.arguments == {"save_strategy": "no", "packing": True, "learning_rate": 1e-5}


@pytest.mark.parametrize("text", ["[]", "0", "false", '""', "- model: demo"])
def test_a_file_that_is_no_mapping_is_refused(write: Any, text: str) -> None:
    with pytest.raises(ConfigError, match="expected a mapping of options"):
        load_config(write(text), {})


@pytest.mark.parametrize("name", ["fsync_interval", "stall_timeout", "proposal.temperature", "evaluate.confidence"])
@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
def test_numbers_are_finite(write: Any, name: str, value: str) -> None:
    section, _, option = name.rpartition(".")
    path = write(f"{section}: {{{option}: {value}}}\n" if section else f"{option}: {value}\n")
    with pytest.raises(ConfigError, match=f"line 1: `{name}`: .*finite number"):
        load_config(path, {})


MULTIPLIED = "".join(f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'x'] * 9)}]\n" for n in range(10))
MERGED = "".join(
    f"  a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" if n else "  a0: &a0 {x: 1, y: 2}\n" for n in range(10)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("engine: &a {x: *a}", "its aliases .* contain themselves, or add up to too many"),
        ("engine: &a {x: [*a]}", "its aliases .* contain themselves, or add up to too many"),
        (f"engine:\n{MULTIPLIED}", "its aliases .* contain themselves, or add up to too many"),
        (f"engine:\n{MERGED}", "line .*: not valid YAML: merges .* of too many keys"),
        ("? [a, b]\n: 1", "line 1: not valid YAML: a key is a word, not a list"),
        ("engine:\n  ? {a: b}\n  : 1", "line 2: not valid YAML: a key is a word, not a list"),
        (f"engine: {'[' * 3000}{']' * 3000}", "nested too deeply"),
    ],
    ids=["itself", "itself in a list", "multiplied", "merged", "list as key", "mapping as key", "deep"],
)
def test_yaml_that_is_no_configuration(write: Any, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"c\.yaml.*{said}") as caught:
        load_config(write(text), {})
    assert len(str(caught.value)) < 300


def test_aliases_may_repeat_a_value(write: Any) -> None:
    text = "engine: &a {max_model_len: 1024}\nregenerate: {engine: {<<: *a, seed: 1}}\nmodel: demo\n"
    assert load_config(write(text), {}).regenerate.engine == {"max_model_len": 1024, "seed": 1}


def test_a_pipe_by_name_is_refused_at_once_and_a_shells_is_read(tmp_path: Path) -> None:
    """`run fifo` would wait for ever; `run <(command)` is what shells offer."""
    os.mkfifo(tmp_path / "fifo")
    assert message(tmp_path / "fifo").endswith(
        "is no file but a pipe or a device; give a file, or `-` to read standard input"
    )
    assert "no file but a pipe or a device" in message(Path("/dev/zero"))
    reading, writing = os.pipe()
    os.write(writing, b"window: 7")
    os.close(writing)
    assert load_config(Path(f"/dev/fd/{reading}"), {}).window == 7
    os.close(reading)


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[3] / "configs").glob("*.yaml")), ids=lambda path: path.name
)
def test_packaged_configurations_load(path: Path) -> None:
    assert load_config(path, {}).num_instructions > 0


def test_options_of_a_call_that_do_not_fit_together_are_named_and_not_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("rate:\n  scorer: judge\n")
    with pytest.raises(ConfigError, match=r"^option --rate\.scorer: .*a reward model has no default"):
        load_config(file, {"rate.scorer": "reward"})
    file.write_text("rate:\n  scorer: reward\n")
    with pytest.raises(ConfigError, match=r"line 1: `rate`: .*a reward model has no default"):
        load_config(file, {"seed": 1})
