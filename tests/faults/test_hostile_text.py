"""Hostile text through the whole chain: generate, export, report."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl
from selfinstruct.records import Completion
from selfinstruct.replay.status import status
from selfinstruct.report.page import write_report
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import read_lines
from selfinstruct.run.state import replay
from tests.conftest import journal_lines, run_scripted, script
from tests.faults.same import exported

BAD = {
    "surrogate": "half \ud83d of a pair",
    "reversed pair": "\ude00\ud83d",
    "nul": "a\0b",
    "separators": "one\u2028two\u2029three\x85four\x0bfive\x0csix",
    "markup": "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}{% raw %}",
    "escapes": "\\ud83d \\u0000 \\n %s %n \x1b[31mred\x1b[0m",
    "direction": "\u202egnp.exe \u200b\ufeff",
    "fields": "Task 10: Input: Output: Label: Example 2",
    "json": '{"kind": "control", "event": "saturated", "after_proposal": 0}',
    "path": "../../../../etc/passwd",
}


def hostile(request: Request) -> Completion:
    """Return the scripted model's answer, with hostile text in every proposal and in most other answers."""
    draw = random.Random(json.dumps(request.prompt) + "bad")
    answer = script(request)
    name = draw.choice(sorted(BAD))
    kind = request.key.partition("/")[0]
    if kind == "proposal":
        lines = answer.text.split("\n")
        lines.insert(draw.randrange(len(lines)), f"Task 10: Explain what {BAD[name]} means to {draw.random()} people.")
        text = "\n".join(lines)
    elif kind == "instances":
        text = f"{answer.text}\nExample 3\nInput: {BAD[name]}\nOutput: {BAD[draw.choice(sorted(BAD))]} {draw.random()}"
    else:
        text = answer.text if draw.random() < 0.8 else BAD[name]
    return Completion(text, "stop", answer.prompt_tokens, answer.completion_tokens)


def test_hostile_text_goes_through_the_whole_chain(make_config: Any, tmp_path: Path) -> None:
    config = make_config(num_instructions=80)
    live = run_scripted(config, ScriptedEngine(hostile, latency=0.002, seed=1))
    run = RunDirectory(tmp_path / "run")
    assert replay(read_lines(run.journal)) == live and live.complete
    assert live.rejected["invalid_characters"] > 0 and live.instances_rejected["invalid_characters"] > 0
    raw = run.journal.read_bytes()
    raw.decode("utf-8")
    assert b"\0" not in raw
    counts = status(run.path).counts.candidates
    assert counts.total == counts.accepted + sum(counts.reasons.values())

    files = exported(config)
    for name, data in files.items():
        text = data.decode("utf-8")
        assert "\0" not in text and "\x85" not in text and "\x1b" not in text
        if name.endswith(".jsonl"):
            assert all(isinstance(json.loads(line), dict) for line in text.split("\n") if line)
    rows = [json.loads(line) for line in files["train.jsonl"].decode().split("\n") if line]
    assert any("</script>" in json.dumps(row) for row in rows), "nothing bad was kept, so this test shows nothing"
    for row in rows:
        assert not any(character in row["output"] for character in "\0\ud83d\ufffd")
    from datasets import load_dataset

    loaded = load_dataset(
        "json", data_files={"train": str(run.dataset.path / "train.jsonl")}, cache_dir=str(tmp_path / "c")
    )
    assert [row["output"] for row in loaded["train"]] == [row["output"] for row in rows]
    write_report(run.path)
    page = run.report.read_text(encoding="utf-8")
    assert "alert(1)</script>" not in page and "<img src=x" not in page and "{{ 7 * 7 }}" in page.replace("&#32;", " ")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "run", "seeds.jsonl"], "nothing leaves the run directory"


@pytest.mark.parametrize("kind", ["proposal", "classification", "instances", "answer"])
def test_a_completion_of_50_mb_is_a_failure_of_its_request_and_leaves_a_small_journal(
    make_config: Any, tmp_path: Path, kind: str
) -> None:
    asked: Counter[str] = Counter()

    def flood(request: Request) -> Completion:
        asked[request.key.partition("/")[0]] += 1
        if request.key.startswith(kind) and asked[kind] == 2:
            return Completion(f"{script(request).text} " + "Größe \ud83d" * 6_000_000, "length", 10, 9)
        return script(request)

    config = make_config(num_instructions=10, answering="separate")
    live = run_scripted(config, ScriptedEngine(flood))
    run = RunDirectory(tmp_path / "run")
    assert run.journal.stat().st_size < 300_000
    lines = [x for x in journal_lines(run.path) if x.get("failed", {}).get("reason") == "completion_too_long"]
    assert len(lines) == 1 and lines[0]["kind"] == kind
    assert "42,000," in lines[0]["failed"]["detail"] and "sha256" in lines[0]["failed"]["detail"]
    assert len(lines[0]["completion"]["text"]) == 1000 and "candidates" not in lines[0]
    assert live.failures[kind, "completion_too_long"] == 1 and live.complete
    assert replay(read_lines(run.journal)) == live
    assert exported(config)


def test_a_long_completion_that_a_model_may_write_is_read(make_config: Any, tmp_path: Path) -> None:
    long = "word " * 12_000

    def talkative(request: Request) -> Completion:
        if request.key.startswith("instances"):
            return Completion(f"Example 1\nInput: some\nOutput: {long}end", "stop", 10, 9)
        return script(request)

    state = run_scripted(make_config(num_instructions=5, filters={"loop": "off"}), ScriptedEngine(talkative))
    assert not any(reason == "completion_too_long" for _, reason in state.failures)
    kept = [i.output for kept in state.instances.values() for i in kept if i.output.endswith("end")]
    assert kept and all(len(output) > 59_000 for output in kept)


def test_a_prompt_over_the_context_fails_alone_and_the_run_goes_on(make_config: Any, tmp_path: Path) -> None:
    """An instruction of 140 words: the requests about it do not fit, all others do."""
    long = " ".join(["Describe", *(f"thing{k}" for k in range(138)), "well."])
    other = long.replace("thing", "matter")

    def wordy(request: Request) -> Completion:
        if request.key in ("proposal/0", "proposal/3"):
            return Completion(f" {long if request.key.endswith('0') else other}\n", "stop", 1, 1)
        return script(request)

    config = make_config(
        num_instructions=20,
        proposal={"max_tokens": 50, "num_generated_examples": 0},
        classification={"max_tokens": 50},
        instances={"max_tokens": 50},
    )
    engine = ScriptedEngine(wordy, context_length=190)
    state = run_scripted(config, engine)
    failed = [x for x in journal_lines(tmp_path / "run") if x.get("failed", {}).get("reason") == "prompt_too_long"]
    assert {x["id"] for x in failed} == {"p000000-00", "p000003-00"}
    assert all("tokens; the context of 190" in x["failed"]["detail"] for x in failed)
    assert state.complete and len(state.pool) == 20
    assert not any(r.key.endswith(("p000000-00", "p000003-00")) for r in engine.history), "what cannot fit is not asked"


def test_a_seed_file_as_windows_writes_it_and_one_that_is_no_utf_8(
    make_config: Any, seed_file: Path, seed_rows: list[dict[str, Any]]
) -> None:
    lines = [jsonl.dumps(row).encode() for row in seed_rows]
    plain = run_scripted(make_config(num_instructions=5))
    seed_file.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines) + b"\r\n")
    assert run_scripted(make_config(num_instructions=5)) == plain, "the same seeds, so the same run"
    lines[2] = lines[2].replace(b"know", b"kn\xffw")
    lines[6] = lines[6].replace(b"know", b"kn\xed\xa0\x80w")
    seed_file.write_bytes(b"\n".join(lines))
    with pytest.raises(InputError) as caught:
        run_scripted(make_config(num_instructions=5))
    assert caught.value.exit_code == 4
    said = str(caught.value)
    assert "2 problem(s)" in said and "seeds.jsonl, line 3: " in said and "seeds.jsonl, line 7: " in said
