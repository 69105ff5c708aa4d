"""Preflight: each problem with its remedy, all at once, and nothing started or written."""

from __future__ import annotations

import importlib.util
import json
import re
from collections import namedtuple
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from selfinstruct.checks import model_fit, preflight, tuning_preview
from selfinstruct.checks.dry_run import text
from selfinstruct.checks.estimate import estimate, tuned_bytes
from selfinstruct.checks.preflight import Findings, check, first_prompts
from selfinstruct.cli import cli, shared
from selfinstruct.config.later_stages import Tune
from selfinstruct.config.load import load_config
from selfinstruct.config.proposing import Proposal, Proposers
from selfinstruct.config.schema import Config, Instances
from selfinstruct.engines.model_facts import model_facts
from selfinstruct.errors import ConfigError, InputError
from selfinstruct.hardware import Gpu, Hardware, existing_parent, visible_gpus
from selfinstruct.text import GIB, size_text
from tests import fake_hub, tiny_model
from tests.fake_hub import FakeHub
from tests.gpu_box.families import FAMILIES
from tests.gpu_box.model_folder import full
from tests.model_shapes import shape
from tuning.training import launch
from tuning.training.preview import preview

HOST = Hardware((), 64 * GIB, 64 * GIB)
H100 = Gpu("NVIDIA H100", 80 * GIB, 79 * GIB)


class Words:
    """A tokenizer that counts words."""

    chat_template = None
    eos_token_id = 0
    all_special_ids: tuple[int, ...] = ()
    added_tokens_decoder: dict[int, Any] = {}  # noqa: RUF012 - transformers' own form

    def __call__(self, text: str, add_special_tokens: bool = True) -> Any:
        return namedtuple("Encoded", "input_ids")(list(range(len(text.split()))))

    def apply_chat_template(self, messages: Any, **_: Any) -> str:
        return f"<user>{messages[0]['content']}<assistant>"


class ModelConfig:
    """What transformers reads of a model's config.json."""

    architectures = None

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def get_text_config(self) -> ModelConfig:
        return self


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder with 1 MiB of weights, whose files transformers need not read."""
    model_facts.cache_clear()
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"\0" * (1 << 20))
    monkeypatch.setattr("transformers.GenerationConfig.from_pretrained", lambda *_, **__: SimpleNamespace(to_dict=dict))
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", lambda *_, **__: ModelConfig(n_positions=4096))
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda *_, **__: Words())
    return folder


@pytest.fixture
def config(make_config: Any, model: Path) -> Callable[..., Config]:
    return lambda **values: make_config(**{"model": str(model), **values})


def said(config: Config, hardware: Hardware = HOST) -> list[str]:
    return [str(problem) for problem in check(config, tuned=False, hardware=hardware).problems]


def test_nothing_to_say_and_nothing_left_behind(config: Any, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    findings = check(config(), tuned=False, hardware=HOST)
    assert findings.problems == [] and findings.weight_bytes == 1 << 20
    findings.require()
    assert sorted(tmp_path.rglob("*")) == before


def test_seeds_of_another_family_are_named_before_the_run(config: Any, tmp_path: Path) -> None:
    rows = [{"instruction": f"Name a river of {land}.", "input": "", "output": "x"} for land in ("Peru", "Chad")]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    wanted = config(seeds=[str(tmp_path / "a.json")])
    findings = check(wanted, tuned=False, hardware=HOST)
    assert findings.problems == [] and ["is read as alpaca" in remark for remark in findings.remarks] == [True]
    assert f"# note: {findings.remarks[0]}" in text(wanted, findings)


def test_all_problems_come_at_once(config: Any, seed_file: Path, tmp_path: Path) -> None:
    seed_file.write_text("{\n")
    (tmp_path / "file").write_text("")
    full = config(output_dir=str(tmp_path / "file" / "run"), engine={"max_model_len": 900})
    small = Hardware((Gpu("T4", 15 * GIB, 1 * GIB),), 0, 0)
    found = check(full, tuned=False, hardware=small)
    assert len(found.problems) == 3
    with pytest.raises(ConfigError) as caught:
        found.require()
    for part in ("3 problems:", "nothing can be written in", "not valid JSON", "T4: 1.0 GiB of 15.0 GiB are free"):
        assert part in str(caught.value)
    alone = check(config(), tuned=False, hardware=HOST)
    with pytest.raises(InputError, match="not valid JSON"):
        alone.require()


@pytest.mark.parametrize(
    ("engine", "gpus", "weights", "expected"),
    [
        ({}, [H100], 16, None),
        ({}, [H100], 140, r"weights take 140\.0 GiB, and 1 GPU of 80\.0 GiB leave 73\.6 GiB"),
        ({}, [H100, H100], 140, None),
        ({"tensor_parallel_size": 1}, [H100, H100], 140, "weights take"),
        ({"tensor_parallel_size": 2}, [H100, H100], 140, None),
        ({"tensor_parallel_size": 2}, [H100, Gpu("A", 40 * GIB, 40 * GIB)], 100, "2 GPUs of 40.0 GiB leave"),
        ({"tensor_parallel_size": 4}, [H100, H100], 140, "is to take 4 GPUs, and 2 can be used here"),
        ({"quantization": "fp8"}, [H100], 140, None),
        ({"gpu_memory_utilization": 0.1}, [H100], 16, r"leave 8\.0 GiB"),
        ({}, [Gpu("A", 80 * GIB, 40 * GIB)], 16, r"40\.0 GiB of 80\.0 GiB are free.*gpu-memory-utilization 0\.48"),
        ({"gpu_memory_utilization": 0.4}, [Gpu("A", 80 * GIB, 40 * GIB)], 16, None),
        ({}, [], 60, None),
        ({}, [], 63, r"weights \(63\.0 GiB\) and the cache of 2\.0 GiB do not fit into the 64\.0 GiB"),
    ],
)
def test_memory_against_the_model(
    config: Any, monkeypatch: pytest.MonkeyPatch, engine: Any, gpus: Any, weights: int, expected: str | None
) -> None:
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    monkeypatch.setattr(preflight, "model_facts", lambda *_, **__: shape(weights * GIB // 2))
    monkeypatch.setattr(preflight, "free_disk", lambda _: 1 << 50)
    found = said(config(engine=engine), Hardware(tuple(gpus), 64 * GIB, 64 * GIB))
    if expected is None:
        assert found == []
    else:
        assert len(found) == 1, found
        with pytest.raises(ConfigError, match=expected):
            raise ConfigError(found[0])


def test_gpus_as_the_driver_tells_of_them() -> None:
    table = (
        "0, GPU-aa, NVIDIA H100, 81559, 80000, 9.0\n1, GPU-bb, Tesla, 16000, 15000, [N/A]\n"
        "2, GPU-cc, GB10, [N/A], [N/A], 12.1\nno\n"
    )
    names = lambda visible: [gpu.name for gpu in visible_gpus(table, visible)]  # noqa: E731
    assert names(None) == ["NVIDIA H100", "Tesla"]
    assert names("1") == names("GPU-b") == ["Tesla"] and names("") == [] and names("-1") == []
    assert names("1,0") == names("1,2,GPU-aa") == ["Tesla", "NVIDIA H100"]  # as CUDA numbers them
    assert names("1,-1,0") == names("1,,0") == names("1,7,0") == ["Tesla"] and names("0,1,0") == []
    assert next(visible_gpus(table, None)).free == 80000 << 20
    assert [gpu.capability for gpu in visible_gpus(table, None)] == [9.0, 0.0]


def test_slices_of_gpus_are_known_by_their_names() -> None:
    table = "0, GPU-aa, NVIDIA A100, 40960, [N/A], 8.0\n1, GPU-bb, NVIDIA H100, 81559, 80000, 9.0\n"
    listing = (
        "GPU 0: NVIDIA A100 (UUID: GPU-aa)\n"
        "  MIG 3g.20gb     Device  0: (UUID: MIG-11)\n  MIG 1g.5gb+me   Device  1: (UUID: MIG-22)\n"
        "GPU 1: NVIDIA H100 (UUID: GPU-bb)\n"
    )
    (found,) = visible_gpus(table, "MIG-22,MIG-11", listing)
    assert (found.name, found.capability, found.index) == ("NVIDIA A100 MIG 1g.5gb+me", 8.0, "MIG-22")
    assert found.total == found.free == 5 * 973 << 20
    assert [gpu.name for gpu in visible_gpus(table, "MIG-1", listing)] == ["NVIDIA A100 MIG 3g.20gb"]
    assert list(visible_gpus(table, "MIG-33", listing)) == []
    assert [gpu.name for gpu in visible_gpus(table, "1", listing)] == ["NVIDIA H100"]


@pytest.mark.parametrize(
    ("name", "installed", "refused"), [("gemma3", False, True), ("gemma3", True, False), ("qwen3", False, False)]
)
def test_a_model_that_vllm_loads_with_torchvision_alone(
    name: str, installed: bool, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = model_facts(str(full(FAMILIES[name], tmp_path)))
    monkeypatch.setattr(model_fit.importlib.util, "find_spec", lambda module: object() if installed else None)
    with pytest.raises(ConfigError, match=r"torchvision.*not installed; install") if refused else nullcontext():
        model_fit.check_vision(facts)


def test_the_context_against_the_prompts(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(config(proposal={"max_tokens": 4000})) == []
    found = said(config(proposal={"max_tokens": 4090}))
    assert len(found) == 1 and "the context of 4096 leaves 6" in found[0] and "lower --proposal.max-tokens" in found[0]
    assert "the context of 406 leaves" in said(config(engine={"max_model_len": 406}))[0]
    assert "no chat template; use --prompting completion" in said(config(prompting="chat"))[0]
    stretched = ModelConfig(max_position_embeddings=406, rope_scaling={"factor": 4.0})
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", lambda *_, **__: stretched)
    assert said(config()) == [], "how far vLLM stretches it is its own affair"


def test_code_of_the_model_needs_a_flag(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(*_: Any, trust_remote_code: bool, **__: Any) -> Any:
        asked.append(trust_remote_code)
        if not trust_remote_code:
            raise ValueError("contains custom code; please pass `trust_remote_code=True`")
        return ModelConfig(n_positions=4096)

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", load)
    assert "allow it with --engine.trust-remote-code" in said(config())[0]
    assert said(config(engine={"trust_remote_code": True})) == [] and asked == [False, True, True]


def test_what_transformers_cannot_read_is_left_to_the_engine(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("unknown model type")

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", fail)
    assert said(config()) == []


def test_models_on_the_hub_are_looked_for_all_at_once(
    config: Any, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tuning_preview, "started", _no_tuner)
    with fake_hub.serving(FakeHub({"owner/there": model})) as address:
        fake_hub.use(monkeypatch, address, tmp_path / "cache")
        assert said(config(model="owner/there")) == []
        names = {"model": "owner/a", "tune": {"model": "owner/b"}, "evaluate": {"judge": "owner/c"}}
        whole = check(config(**names, regenerate={"model": "owner/d"}), tuned=True, hardware=HOST)
        missing = [str(problem) for problem in whole.problems if "on the Hub that can be seen" in str(problem)]
        assert sorted(text.split("'")[1] for text in missing) == ["owner/a", "owner/b", "owner/c", "owner/d"]
    fake_hub.use(monkeypatch, "http://127.0.0.1:9", tmp_path / "nothing")
    ended = CliRunner().invoke(
        cli, ["generate", "--model", "owner/a", "--output-dir", str(tmp_path / "r"), "--dry-run"]
    )
    assert ended.exit_code == 2 and "the Hub cannot be reached" in ended.output


def test_disk_against_the_estimate(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "free_disk", lambda _: 2 * GIB)
    monkeypatch.setattr(preflight, "model_facts", lambda *_, **__: shape(8 * GIB))
    monkeypatch.setattr(tuning_preview, "started", _no_tuner)
    assert said(config(num_instructions=1000)) == []
    assert "journal 2.4 GiB, dataset 3.8 GiB" in said(config(num_instructions=1_000_000))[0]
    whole = check(config(num_instructions=1000), tuned=True, hardware=HOST)
    assert "model 304.0 GiB" in str(whole.problems[-1]) and "--tune.use-peft" in str(whole.problems[-1])
    lora = check(config(num_instructions=1000, tune={"use_peft": True}), tuned=True, hardware=HOST)
    assert "model 16.0 GiB" in str(lora.problems[-1])


def _no_tuner(*_: Any) -> Any:
    raise ConfigError("the tuner was looked at")


def test_a_run_without_vllm_says_so_before_it_begins(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over endpoints generation needs none, and the evaluation would come after the whole tuning."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "vllm" else find(name, *more))
    monkeypatch.setattr(tuning_preview, "started", _no_tuner)
    problem, tuner = sorted(map(str, check(config(), tuned=True, hardware=HOST).problems), key=len, reverse=True)
    assert tuner == "the tuner was looked at"
    assert "start vLLM on this machine, which is not installed: pip install" in problem
    assert check(config(), tuned=False, hardware=HOST).problems == []


def test_a_run_that_has_begun_is_not_asked_for_its_engine(config: Any, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "journal.jsonl").write_text("")
    assert said(config(model="/nowhere/at/all")) == []


def test_the_model_that_rewrites_outputs_is_checked_for_the_whole_chain_alone(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning_preview, "started", _no_tuner)
    settings = config(regenerate={"model": str(tmp_path / "nowhere")})

    def problems(settings: Config, tuned: bool) -> list[str]:
        found = [str(problem) for problem in check(settings, tuned=tuned, hardware=HOST).problems]
        return [problem for problem in found if "the tuner was looked at" not in problem]

    assert problems(settings, tuned=False) == []
    assert len(problems(settings, tuned=True)) == 1 and "nowhere': no such model" in problems(settings, tuned=True)[0]
    assert problems(config(regenerate={"model": "tuned"}), tuned=True) == []
    for run in (tmp_path / "run-generated", tmp_path / "run"):
        run.mkdir()
        (run / "journal.jsonl").write_text("")
    assert problems(settings, tuned=True) == []


def test_the_model_that_answers_needs_memory_of_its_own(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"owner/small": shape(GIB), "owner/large": shape(900 * GIB)}
    known = preflight.model_facts

    def of(name: str, *rest: Any, **options: Any) -> Any:
        return facts[name] if name in facts else known(name, *rest, **options)

    monkeypatch.setattr(preflight, "model_facts", of)
    assert said(config(answer={"model": "owner/small"})) == []
    (problem,) = said(config(answer={"model": "owner/large"}))
    assert "its weights (1.8 TiB)" in problem
    served = {"model": "owner/large", "endpoint": "http://127.0.0.1:9/v1"}
    (problem,) = said(config(answer=served))
    assert "127.0.0.1:9" in problem and "TiB" not in problem
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "journal.jsonl").write_text("")
    assert said(config(answer={"model": "owner/large"})) == []


def test_every_file_of_the_evaluation_is_opened_for_the_whole_chain_alone(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning_preview, "started", _no_tuner)
    (tmp_path / "empty.txt").write_text(" ")
    (tmp_path / "ifeval.jsonl").write_text('{"key": 1}\n')
    evaluate = {
        "tasks": [str(tmp_path / "none.jsonl")],
        "plain_text": [str(tmp_path / "empty.txt"), str(tmp_path / "no.txt")],
        "ifeval": str(tmp_path / "ifeval.jsonl"),
        "lm_eval": [str(tmp_path / "task.yaml")],
        "judge": str(tmp_path / "judge"),
    }
    settings = config(evaluate=evaluate)
    assert check(settings, tuned=False, hardware=HOST).problems == []
    problems = [str(problem) for problem in check(settings, tuned=True, hardware=HOST).problems]
    parts = [
        "none.jsonl: no such",
        "holds no text to measure",
        "no.txt: cannot be read",
        "problem(s) in a file of IFEval",
    ]
    for part in [*parts, "task.yaml: no such file", "judge': no such model"]:
        assert any(part in problem for problem in problems), part


def test_the_tuner_s_template_is_opened(tmp_path: Path) -> None:
    options = Tune.model_validate({"chat_template_path": str(tmp_path / "none.jinja")})
    arguments = launch.tune_command(options, model="demo", dataset_dir=tmp_path, output_dir=tmp_path, num_processes=1)
    said = preview(None, arguments[arguments.index("tuning.sft") + 1 :])
    assert "none.jinja' is neither a Jinja file nor a tokenizer" in said["error"]


@pytest.mark.parametrize("given", ["model", "path"])
def test_a_template_that_raises_is_found_before_the_run(tmp_path: Path, given: str) -> None:
    raising = "{{ raise_exception('only tools may speak') }}"
    model = tiny_model.save(tmp_path / "model")
    if given == "model":
        (model / "chat_template.jinja").write_text(raising)
        options = Tune.model_validate({"prompt_format": "model"})
    else:
        (tmp_path / "own.jinja").write_text(raising)
        options = Tune.model_validate({"chat_template_path": str(tmp_path / "own.jinja")})
    command = launch.tune_command(
        options, model=str(model), dataset_dir=tmp_path, output_dir=tmp_path / "tuned", num_processes=1
    )
    arguments = command[command.index("tuning.sft") + 1 :]
    assert "refuses a conversation (user): TemplateError: only tools may speak" in preview(None, arguments)["error"]
    fine = [a for a in arguments if not a.startswith(("--prompt_format", "--chat_template_path"))]
    assert "error" not in preview(None, [a for a in fine if a not in {"model", str(tmp_path / "own.jinja")}])


def test_estimates_grow_with_what_they_depend_on() -> None:
    prompts = {"proposal": 300, "classification": 900, "instances": 1500}
    some = estimate(1000, Proposers(), Proposal(), Instances(), None, prompts)
    assert some.proposals == 250 and some.prompt_tokens == 250 * 300 + 1000 * 2400
    assert some.completion_tokens == 250 * 200 + 1000 * 101 and some.model_bytes == 0
    twice = estimate(2000, Proposers(), Proposal(), Instances(), None, prompts)
    assert twice.disk_bytes == 2 * some.disk_bytes and twice.completion_tokens == 2 * some.completion_tokens
    alone = estimate(1000, Proposers(list=0, plan=1, template=3), Proposal(), Instances(), None, prompts)
    assert alone.proposals == 2000 and alone.completion_tokens == 2000 * 60 + 1000 * 101, "one instruction in each"
    assert estimate(1000, Proposers(plan=1), Proposal(), Instances(), None, prompts).proposals == 445
    asked = estimate(1000, Proposers(), Proposal(), Instances(), None, prompts, is_task=True, calibrated=120)
    assert (some.judged, some.calibrated, asked.judged, asked.calibrated) == (0, 0, 1600, 120)
    assert asked.completion_tokens == some.completion_tokens + 1720, "a token for each"
    assert tuned_bytes({}, 10) == 10 + 3 * 12 * 5
    assert tuned_bytes({"save_strategy": "no"}, 10) == 10
    # Of a mixture of experts an adapter has gigabytes: it is in each checkpoint, and beside the merged model.
    assert tuned_bytes({"use_peft": True}, 1000, trained=10) == 1000 + 3 * 12 * 10 + 4 * 10
    assert tuned_bytes({"use_peft": True, "save_only_model": True}, 1000, trained=10) == 1000 + 3 * 4 * 10 + 4 * 10


def test_sizes_and_places(tmp_path: Path) -> None:
    assert [size_text(n) for n in (5, 2048, 3 << 30)] == ["5 bytes", "2.0 KiB", "3.0 GiB"]
    assert existing_parent(tmp_path / "a" / "b") == tmp_path


def test_a_dry_run_is_a_configuration_with_comments(config: Any, tmp_path: Path) -> None:
    wanted = config(num_instructions=77)
    findings = check(wanted, tuned=False, hardware=HOST)
    shown = text(wanted, findings)
    (tmp_path / "again.yaml").write_text(shown)
    assert load_config(tmp_path / "again.yaml", {}) == wanted
    prompts = first_prompts(findings)
    assert list(prompts) == ["proposal", "classification", "instances", "is_task"]
    assert "and of one token each, " in shown and "about the seeds to begin with" in shown
    for kind, (prompt, tokens) in prompts.items():
        assert f"# first prompt of kind {kind}: {tokens:,} tokens" in shown
        assert f"# | {prompt.splitlines()[-1]}".rstrip() in shown
    assert "expected for 77 instructions" in shown and "from the demo model on two cores" in shown
    assert re.search(r"# +time +\S+ s to 1 min \d\d s in all: under a minute of generation, .+ of start\n", shown)
    assert "GPUs         none" in shown and "generation   on the CPU, a context of 4,096 tokens, prompts in" in shown
    assert not (tmp_path / "run").exists()


def test_a_dry_run_without_a_tokenizer_says_so(make_config: Any) -> None:
    shown = text(make_config(), Findings())
    assert "# no prompts are shown" in shown


def test_hostile_seeds_stay_inside_their_comment(config: Any, seed_rows: Any, seed_file: Path, tmp_path: Path) -> None:
    seed_rows[0]["instruction"] = "Say this:\u2028evil: true\x85worse: true\x1b[31m now."
    seed_file.write_text("".join(json.dumps(row) + "\n" for row in seed_rows))
    shown = text(config(), check(config(), tuned=False, hardware=HOST))
    assert "evil" in shown and not {"\u2028", "\x85", "\x1b"} & set(shown)
    (tmp_path / "again.yaml").write_text(shown)
    assert load_config(tmp_path / "again.yaml", {}) == config()


def test_the_command(
    config: Any, model: Path, seed_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight.Hardware, "here", lambda: HOST)
    run = tmp_path / "run"
    given = ["--model", model, "--seeds", seed_file, "--output-dir", run, "--dry-run"]
    done = CliRunner().invoke(cli, ["generate", *map(str, given)])
    assert done.exit_code == 0, done.output
    assert f"model: {model}" in done.stdout and "first prompt of kind proposal" in done.stdout
    done = CliRunner().invoke(cli, ["generate", *map(str, given), "--proposal.max-tokens", "5000"])
    assert done.exit_code == 2 and "max_tokens: 5000" in done.stdout and "a prompt cannot fit" in done.stderr
    assert not run.exists()


def test_seeds_in_another_script_than_the_prompts_are_noted(
    config: Any, seed_file: Path, seed_rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(preflight.Hardware, "here", lambda: HOST)
    for row in seed_rows:
        row["instruction"] = "写出三条流经中国的大河的名字。"
    seed_file.write_text("".join(json.dumps(row) + "\n" for row in seed_rows))
    note = "seeds are in CJK script, the prompts' own words in English; see --prompt-language"
    assert note in text(config(), check(config(), tuned=False, hardware=HOST))
    shared.preflight(config(), tuned=False)
    assert note in capsys.readouterr().err
    shared.preflight(config(prompt_language="zh"), tuned=False)
    assert capsys.readouterr().err == ""
