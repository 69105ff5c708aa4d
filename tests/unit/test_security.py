"""No key is ever written, no name in the data is a path, no file is code."""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfinstruct.chain import chain
from selfinstruct.checks.doctor import demo_model
from selfinstruct.checks.model_fit import read_tokenizer
from selfinstruct.cli import cli
from selfinstruct.config.load import load_config
from selfinstruct.config.schema import Filters
from selfinstruct.engines import chat_templates
from selfinstruct.engines.base import Request
from selfinstruct.engines.model_facts import model_facts, read_config
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.engines.vllm import engine_arguments
from selfinstruct.errors import ConfigError
from selfinstruct.formats import jsonl
from selfinstruct.hardware import Hardware
from selfinstruct.packaged import model_path
from selfinstruct.records import SPLITS, Completion
from selfinstruct.replay.explain import explain
from selfinstruct.replay.refilter import refilter
from selfinstruct.replay.repair import repair
from selfinstruct.replay.similar import similar_all
from selfinstruct.run.directory import RunDirectory
from tests.conftest import run_scripted, script
from tests.source import ROOT, files, nodes

SOURCES = files("selfinstruct", "tuning", "tools")
CANARY = "hf_CanaryThatMustNotAppearAnywhere"


# ------------------------------------------------------------------------------------------------------ keys


@pytest.mark.parametrize(
    ("section", "name"),
    [
        ("engine", "hf_token"),
        ("engine", "api_key"),
        ("engine", "model_loader_extra_config.aws.secret_key"),
        ("engine", "model_loader_extra_config.password"),
        ("tune", "hub_token"),
        ("tune", "push_to_hub_token"),
        ("tune", "Authorization"),
    ],
)
def test_keys_in_a_configuration_are_refused_without_showing_them(tmp_path: Path, section: str, name: str) -> None:
    path = tmp_path / "c.yaml"
    value: Any = CANARY
    for part in reversed(name.split(".")):
        value = {part: value}
    path.write_text("model: demo\n" + json.dumps({section: value})[1:-1] + "\n")
    with pytest.raises(ConfigError, match=f"c.yaml, line 2: `{section}`: .*{name}.*set HF_TOKEN") as caught:
        load_config(path, {})
    assert CANARY not in str(caught.value) and CANARY not in str(caught.value.__cause__)
    with pytest.raises(ConfigError, match="set HF_TOKEN"):
        load_config(None, {f"{section}.{name.partition('.')[0]}": value[name.partition(".")[0]]})


@pytest.mark.parametrize(
    "value",
    [
        {"loaders": [{"name": "a"}, {"api_key": CANARY}]},
        {"extra": json.dumps({"headers": [{"Authorization": CANARY}]})},
        {"header": f"Authorization: Bearer {CANARY}"},
        {"url": f"https://user:{CANARY}@host/v1"},
        {"url": f"https://host/v1?sig={CANARY}"},
        {"anything": CANARY},
    ],
)
@pytest.mark.parametrize("section", ["engine", "tune", "regenerate.engine"])
def test_keys_inside_other_values_are_refused_too(section: str, value: dict[str, Any]) -> None:
    (name,) = value
    with pytest.raises(ConfigError, match=f"holds keys .{name}.*set HF_TOKEN") as caught:
        load_config(None, {section: value})
    assert CANARY not in str(caught.value)


def test_other_tokens_are_no_keys() -> None:
    harmless = ["https://host/v1?version=2&keyword=a", "hf-internal-testing/tiny", "{not json", "[1, 2]", "sk-learn"]
    assert load_config(None, {"engine.values": harmless, "tune.key": "a:b@c"}).engine["values"] == harmless
    tune = {"tune.eos_token": "<end>", "tune.pad_token": "<pad>", "tune.hub_token": None, "tune.token": ""}
    config = load_config(
        None, {"engine.hf_token": True, "engine.tokenizer": "x", "engine.skip_tokenizer_init": False} | tune
    )
    assert config.engine["hf_token"] is True and config.tune.arguments["eos_token"] == "<end>"


def test_keys_on_a_command_line_are_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f"output_dir: {tmp_path / 'run'}\n")
    done = CliRunner().invoke(cli, ["run", str(tmp_path / "c.yaml"), "--tune.hub-token", CANARY, "--dry-run"])
    assert done.exit_code == 2 and "set HF_TOKEN" in done.output and CANARY not in done.output


def test_keys_of_the_environment_are_written_nowhere(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("HF_TOKEN", "OPENAI_API_KEY", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, CANARY)
    config = make_config()
    run_scripted(config)
    chain.export(config)
    chain.report(RunDirectory(tmp_path / "run"))
    said = capfd.readouterr()
    assert CANARY not in said.out + said.err
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"journal.jsonl", "config.yaml", "report.html", "README.md"} <= {path.name for path in files}
    assert not [path for path in files if CANARY.encode() in path.read_bytes()]


# ----------------------------------------------------------------------------------------------------- paths


def test_names_in_the_data_are_no_paths(
    make_config: Any, tmp_path: Path, seed_rows: list[dict[str, Any]], seed_file: Path
) -> None:
    """Whatever seeds and answers call themselves, files appear inside the run directory alone, under fixed names."""
    names = ["../../evil", "/tmp/evil-of-selfinstruct", "..\\evil", "a/b", ".lock", "~evil", "%2e%2e%2fevil"]
    for row, name in zip(seed_rows, names, strict=False):
        row |= {"id": name, "name": name, "category": name}
    seed_file.write_text("".join(json.dumps(row) + "\n" for row in seed_rows))

    def evil(request: Request) -> Completion:
        answer = script(request)
        if request.key.startswith("proposal"):
            return Completion(f" Copy ../../evil to /etc/evil-{request.key[9:]} at once.\n{answer.text}", "stop")
        return answer

    base = tmp_path / "base"
    config = make_config(output_dir=str(base / "run"), export={"include_seeds": True})
    before = set(tmp_path.rglob("*"))
    run_scripted(config, ScriptedEngine(evil))
    chain.export(config)
    chain.report(RunDirectory(base / "run"))
    explain(base / "run", "Copy ../../evil to /etc/evil-0 at once.", top=3)
    similar_all(base / "run", base / "similar.jsonl")
    refilter(base / "run", base / "new", Filters(threshold=0.6))
    repair(base / "run")
    made = set(tmp_path.rglob("*")) - before
    assert all(base in (path, *path.parents) for path in made)
    assert not [path for path in made if "evil" in path.relative_to(tmp_path).as_posix()]
    assert not Path("/tmp/evil-of-selfinstruct").exists()
    rows = (json.loads(line) for line in (base / "run" / "dataset" / "train.jsonl").read_text().splitlines())
    assert "../../evil-0" in {row["id"] for row in rows}, "the data itself is as it was"


# ------------------------------------------------------------------------------------------------------ code


@cache
def calls() -> list[tuple[str, str, ast.Call]]:
    """(file, dotted name, call) of every call in the package."""
    found = [(path, node) for path in SOURCES for node in nodes(path) if isinstance(node, ast.Call)]
    return [(str(path.relative_to(ROOT)), ast.unparse(node.func), node) for path, node in found]


def keyword(call: ast.Call, name: str) -> Any:
    found = next((k.value for k in call.keywords if k.arg == name), None)
    return found.value if isinstance(found, ast.Constant) else found


def test_nothing_that_is_read_is_code() -> None:
    seen = []
    for file, name, call in calls():
        seen.append(name)
        where = f"{file}, line {call.lineno}: {name}"
        assert name not in ("eval", "exec", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load"), where
        assert not name.endswith(("read_pickle", "jit.load", "package.PackageImporter")), where
        if name == "torch.load":
            assert keyword(call, "weights_only") is True, where
        if name == "yaml.load":
            assert keyword(call, "Loader").id == "_Loader" and file == "selfinstruct/config/load.py", where
        if name.endswith("np.load"):
            assert keyword(call, "allow_pickle") is None, where
        assert keyword(call, "shell") is not True, where
    assert {"torch.load", "yaml.load"} <= set(seen), "the walk finds what it looks for"


def test_no_module_that_unpickles_is_imported() -> None:
    forbidden = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    for path in SOURCES:
        for node in nodes(path):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not forbidden & {name.partition(".")[0] for name in names}, f"{path}: {names}"


def test_every_loading_call_says_whether_code_of_the_model_may_run() -> None:
    """transformers asks on standard input where it is not told, and `y` is an answer."""
    loads = re.compile(r"(transformers\.)?(pipeline|Auto\w+\.from_(pretrained|config))")
    seen = 0
    for file, name, call in calls():
        where = f"{file}, line {call.lineno}: {name}"
        assert keyword(call, "trust_remote_code") is not True, where
        if loads.fullmatch(name):
            starred = {ast.unparse(k.value) for k in call.keywords if k.arg is None}
            assert keyword(call, "trust_remote_code") is not None or starred & {"base.options", "options"}, where
            seen += 1
    assert seen >= 12, "the walk finds what it looks for"


def test_code_of_a_model_runs_by_its_flag_alone() -> None:
    facts, nothing = model_facts("demo"), Hardware((), 0, 0)
    assert "trust_remote_code" not in engine_arguments(facts, {}, nothing)
    assert engine_arguments(facts, {"trust_remote_code": True}, nothing)["trust_remote_code"] is True


CODE = """import pathlib
pathlib.Path({mark!r}).touch()
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class Config(LlamaConfig):
    model_type = "foreign"
class Model(LlamaForCausalLM):
    config_class = Config
class Tokenizer(PreTrainedTokenizerFast):
    pass
def generate(model, *arguments, **options):
    return model
"""
"""What a model's folder may bring; to read it is to leave a mark."""

FOREIGN = {
    "config": {
        "model_type": "foreign",
        "auto_map": {"AutoConfig": "foreign.Config", "AutoModelForCausalLM": "foreign.Model"},
    },
    "model": {"model_type": "clip", "auto_map": {"AutoModelForCausalLM": "foreign.Model"}},
    "tokenizer": {},
    "generate": {},
}


@pytest.fixture(params=FOREIGN)
def foreign(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A model that brings code for one of the things that are loaded, and a user who says yes to every question."""
    folder, mark = tmp_path / f"foreign-{request.param}", tmp_path / "it-ran"
    shutil.copytree(model_path(), folder)
    (folder / "custom_generate").mkdir()
    for name in ("foreign.py", "custom_generate/generate.py"):
        (folder / name).write_text(CODE.format(mark=str(mark)))
    changes = {"config.json": FOREIGN[request.param]}
    if request.param == "tokenizer":
        own = {"AutoTokenizer": ["foreign.Tokenizer", None]}
        changes["tokenizer_config.json"] = {"tokenizer_class": "ForeignTokenizer", "auto_map": own}
    for name, values in changes.items():
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | values))
    answers = iter("yyyy")  # Whoever asks more often than that fails.
    monkeypatch.setattr("builtins.input", lambda *_: next(answers))
    yield str(folder)
    assert not mark.exists(), "code of the model ran"


def _tuner_arguments(model: str, folder: Path) -> Any:
    from tuning.training import arguments

    return arguments.parse(["--model_name_or_path", model, "--output_dir", str(folder), "--dataset_dir", str(folder)])


def _prepare(model: str, folder: Path) -> None:
    from tuning.training.prepare import BaseModel, prepare

    arguments = _tuner_arguments(model, folder)
    prepare(arguments, BaseModel.of(arguments), {split: [] for split in SPLITS})


def _merge(model: str, folder: Path) -> None:
    from tuning.training.prepare import BaseModel, loading
    from tuning.training.save import dtype_of, merged_model

    base = BaseModel.of(_tuner_arguments(model, folder))
    with loading(base):
        dtype_of(base)
        merged_model(base, folder / "no-adapter")


def _chat(model: str, folder: Path) -> None:
    from tuning.chat_session import NamedModel, Speaker

    "".join(Speaker(NamedModel("it", model)).answer("Say hello.", max_tokens=1))


@pytest.mark.parametrize(
    "load",
    [
        lambda model, _: model_facts.__wrapped__(model),
        lambda model, _: read_config(model),
        lambda model, _: chat_templates.load_tokenizer(model),
        lambda model, _: chat_templates.tokenizer_mode(model),
        lambda model, _: chat_templates.read_generation_config(model),
        lambda model, _: read_tokenizer(model, model, None, {}),
        lambda model, _: demo_model(Path(model)),
        _tuner_arguments,
        _prepare,
        _merge,
        _chat,
    ],
)
def test_a_models_code_never_runs_unasked(foreign: str, tmp_path: Path, load: Any) -> None:
    """Each way to load a model either does without its code, or ends with an error of one line."""
    try:
        load(foreign, tmp_path)
    except ConfigError as error:
        assert "\n" not in str(error)
    except (ValueError, OSError) as error:
        assert load not in (_prepare, _chat), f"an error for the user: {error}"


@pytest.mark.parametrize(
    ("foreign", "tune"), [("config", _prepare), ("model", _merge), ("tokenizer", _prepare)], indirect=["foreign"]
)
def test_a_model_that_needs_its_code_is_refused_with_the_remedy(foreign: str, tune: Any, tmp_path: Path) -> None:
    for load in (tune, _chat):
        with pytest.raises(ConfigError, match="brings code of its own; read it, and"):
            load(foreign, tmp_path)


def test_journals_are_json_and_nothing_else(tmp_path: Path) -> None:
    """A line that would be code elsewhere is text here."""
    path = tmp_path / "x.jsonl"
    path.write_text('{"__reduce__": ["os.system", ["touch evil"]], "!!python/object/apply:os.system": ["x"]}\n')
    assert [row["__reduce__"] for _, row in jsonl.read(path)] == [["os.system", ["touch evil"]]]
