"""`selfinstruct dedup` as a library: streams, order and bytes kept, evidence on what is rejected."""

from __future__ import annotations

import gzip
import io
import json
import random
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import psutil
import pytest

from selfinstruct import console
from selfinstruct.dataset import dedup as library
from selfinstruct.dataset.dedup import Summary, dedup
from selfinstruct.errors import ConfigError, InputError, SelfInstructError
from selfinstruct.novelty import Verdict
from selfinstruct.novelty.beside import NoveltyBeside

ROWS = [
    '{"instruction": "Write a poem about the sea.", "n": 1.50, "x": {"y": [1e400]}}',
    '  {"instruction":"List three fruits."}  ',
    '{"id": 3, "instruction": "Write a poem about the moon."}',
    "",
    '{"instruction": "write a poem about the SEA", "note": "\\u00e9\\ud800"}',
    '{"instruction": "Explain how tides work.\\u2028Briefly."}',
    '{"instruction": "写一首关于海的诗"}',
    '{"instruction": "写一首关于山的诗"}',
]


def write(path: Path, rows: list[str], end: str = "\n") -> Path:
    path.write_bytes((end.join(rows) + end).encode())
    return path


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def test_kept_rows_keep_order_and_bytes_and_rejected_ones_gain_evidence(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", ROWS)
    kept, rejected = tmp_path / "out" / "kept.jsonl", tmp_path / "out" / "rejected.jsonl"
    summary = dedup(source, kept=kept, rejected=rejected)
    assert kept.read_bytes() == ("\n".join([ROWS[0], ROWS[1], ROWS[5], ROWS[6]]) + "\n").encode()
    sea = "Write a poem about the sea."
    evidence = [(row["reason"], row["nearest"], row["score"]) for row in read(rejected)]
    assert evidence == [
        ("near_duplicate", sea, pytest.approx(5 / 6)),
        ("identical", sea, 1.0),
        ("near_duplicate", "写一首关于海的诗", pytest.approx(5 / 7)),
    ]
    assert rejected.read_bytes().startswith(ROWS[2][:-1].encode() + b',"reason":"near_duplicate"')
    assert summary == Summary(candidates=7, kept=4, identical=1, near_duplicate=2, against=0, threshold=0.7)
    assert summary.as_dict()["rejected"] == 3
    assert json.dumps(summary.as_dict())
    assert "kept 4 of 7" in summary.sentence()


def test_compressed_files_are_read_and_written(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", ROWS)
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(source.read_bytes()))
    (tmp_path / "pool").write_bytes(gzip.compress((ROWS[0] + "\n").encode()))  # Whatever its name.
    kept = tmp_path / "kept.jsonl.gz"
    assert dedup(tmp_path / "in.jsonl.gz", kept=kept).kept == 4
    assert gzip.decompress(kept.read_bytes()) == ("\n".join([ROWS[0], ROWS[1], ROWS[5], ROWS[6]]) + "\n").encode()
    assert dedup(kept, against=[tmp_path / "pool"]).kept == 3
    (tmp_path / "torn.gz").write_bytes((tmp_path / "in.jsonl.gz").read_bytes()[:-20])
    with pytest.raises(InputError, match=r"torn\.gz: cannot be read"):
        dedup(tmp_path / "torn.gz")
    with pytest.raises(ConfigError, match=r"is not written as \.zst"):
        dedup(source, kept=tmp_path / "kept.jsonl.zst")


@pytest.mark.parametrize(
    ("name", "side"),
    [("pool.jsonl", "kept"), ("link.jsonl", "kept"), ("pool.jsonl", "rejected"), ("in.jsonl", "rejected")],
)
def test_a_pool_is_never_written_nor_rejected_rows_over_the_candidates(tmp_path: Path, name: str, side: str) -> None:
    source, pool = write(tmp_path / "in.jsonl", ROWS), write(tmp_path / "pool.jsonl", ROWS[:1])
    (tmp_path / "link.jsonl").symlink_to(pool)
    before = source.read_bytes(), pool.read_bytes()
    with pytest.raises(ConfigError, match="is read and cannot be written"):
        dedup(source, against=[pool], **{side: tmp_path / name})  # type: ignore[arg-type]
    assert (source.read_bytes(), pool.read_bytes()) == before


def test_pools_count_as_earlier_and_are_not_written(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", ROWS)
    one = write(tmp_path / "one.jsonl", ['{"instruction": "List three fruits!"}'])
    two = write(tmp_path / "two.jsonl", ['{"instruction": "Explain how tides work briefly"}'])
    kept, rejected = tmp_path / "kept.jsonl", tmp_path / "rejected.jsonl"
    summary = dedup(source, [one, two], kept=kept, rejected=rejected)
    assert (summary.kept, summary.against, summary.identical) == (2, 2, 3)
    assert read(rejected)[0]["nearest"] == "List three fruits!"
    assert len(read(kept)) == 2


def test_threshold_and_field_are_used(tmp_path: Path) -> None:
    rows = [json.dumps({"q": text}) for text in ("a b c d", "a b c x", "a b x y")]
    source = write(tmp_path / "in.jsonl", rows)
    assert [dedup(source, threshold=t, field="q").kept for t in (0.3, 0.6, 0.8)] == [1, 2, 3]


def test_a_nested_field(tmp_path: Path) -> None:
    rows = [json.dumps({"messages": [{"content": text}, {"content": "same"}]}) for text in ("a b", "c d", "A b!")]
    source = write(tmp_path / "in.jsonl", rows)
    summary = dedup(source, field="messages[0].content")
    assert (summary.kept, summary.identical) == (2, 1)
    with pytest.raises(InputError, match=r"line 1: no field `messages\[2\].content` \(messages is a list of 2\); name"):
        dedup(source, field="messages[2].content")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Sort a list in C.", "identical"),
        ("sort a list, in “C”", "identical"),
        ("Sort a list in C++.", "near_duplicate"),
        ("Sort a list in C#.", "near_duplicate"),
    ],
)
def test_identical_is_a_text_but_for_case_spacing_and_punctuation(tmp_path: Path, text: str, reason: str) -> None:
    rows = [json.dumps({"instruction": one}) for one in ("Sort a list in C!", text)]
    rejected = tmp_path / "rejected.jsonl"
    dedup(write(tmp_path / "in.jsonl", rows), rejected=rejected)
    assert [(row["reason"], row["score"]) for row in read(rejected)] == [(reason, 1.0)]


def test_twins_in_two_normal_forms(tmp_path: Path) -> None:
    texts = [unicodedata.normalize(form, "Décris le café à Zoé") for form in ("NFC", "NFD")]
    summary = dedup(write(tmp_path / "in.jsonl", [json.dumps({"instruction": text}) for text in texts]))
    assert (summary.kept, summary.identical) == (1, 1)


def test_evidence_of_an_earlier_pass_is_replaced(tmp_path: Path) -> None:
    rows = ['{"instruction": "a b c"}', '{"instruction": "a b c", "score": 0.1, "id": "\\u00e9", "reason": "old"}']
    rejected = tmp_path / "rejected.jsonl"
    dedup(write(tmp_path / "in.jsonl", rows), rejected=rejected)
    expected = {"instruction": "a b c", "id": "é", "reason": "identical", "nearest": "a b c", "score": 1.0}
    assert read(rejected) == [expected]


def test_standard_input_and_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "in.jsonl", ROWS)
    stdin, stdout = io.TextIOWrapper(io.BytesIO(source.read_bytes())), io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setattr(sys, "stdout", stdout)
    assert dedup(Path("-"), kept=Path("-")).kept == 4
    assert stdout.buffer.getvalue().count(b"\n") == 4  # type: ignore[attr-defined]


def test_a_file_may_be_cleaned_in_place_and_a_pipe_written_to(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", ROWS)
    dedup(source, kept=source, rejected=Path("/dev/null"))
    assert len(read(source)) == 4
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ('{"instruction": "a"', "not valid JSON"),
        ('["a"]', "expected a JSON object, got list"),
        ('{"text": "a"}', "no field `instruction` (the row has: `text`)"),
        ('{"instruction": 7}', "must be a string, got int"),
    ],
)
@pytest.mark.parametrize("in_pool", [False, True])
def test_a_broken_line_is_named_and_nothing_is_written(tmp_path: Path, row: str, complaint: str, in_pool: bool) -> None:
    good, broken = write(tmp_path / "good.jsonl", ROWS), write(tmp_path / "broken.jsonl", [ROWS[1], "", row])
    kept = write(tmp_path / "kept.jsonl", ["as before"])
    candidates, against = (good, [broken]) if in_pool else (broken, [good])
    with pytest.raises(InputError) as caught:
        dedup(candidates, against, kept=kept)
    assert str(caught.value).startswith(f"{broken}, line 3: ")
    assert complaint in str(caught.value)
    assert caught.value.exit_code == 4
    assert kept.read_text() == "as before\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.jsonl", "good.jsonl", "kept.jsonl"]


def test_bad_utf_8_and_missing_files_are_named(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(b'{"instruction": "a"}\n{"instruction": "\xff"}\n')
    with pytest.raises(InputError, match="line 2"):
        dedup(source)
    with pytest.raises(InputError, match=r"nowhere.jsonl: cannot be read"):
        dedup(tmp_path / "nowhere.jsonl")


def test_options_that_contradict_each_other(tmp_path: Path) -> None:
    source, out = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    with pytest.raises(ConfigError, match="threshold"):
        dedup(source, threshold=1.5)
    with pytest.raises(ConfigError, match="standard input"):
        dedup(Path("-"), [Path("-")])
    with pytest.raises(ConfigError, match="both"):
        dedup(source, kept=out, rejected=tmp_path / "." / "out.jsonl")


def test_bom_crlf_and_a_missing_last_newline(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(b'\xef\xbb\xbf{"instruction": "a b c"}\r\n{"instruction": "a b c"}\r\n{"instruction": "d e f"}')
    kept, rejected = tmp_path / "kept.jsonl", tmp_path / "rejected.jsonl"
    dedup(source, kept=kept, rejected=rejected)
    assert kept.read_bytes() == b'{"instruction": "a b c"}\r\n{"instruction": "d e f"}\n'
    assert read(rejected)[0]["reason"] == "identical"


def test_progress_is_told_of_every_batch(tmp_path: Path) -> None:
    rows = [json.dumps({"instruction": f"word{k} other{k} third{k}"}) for k in range(1100)]
    told: list[Summary] = []
    summary = dedup(write(tmp_path / "in.jsonl", rows), [write(tmp_path / "p.jsonl", rows[:3])], progress=told.append)
    assert [(s.against, s.candidates) for s in told] == [(3, 0), (3, 1024), (3, 1100)]
    assert told[-1] == summary
    assert summary.kept == 1097


def test_a_person_who_waits_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with console.reading(interval=0) as tell:
        tell(Summary(5, 3, 1, 1, 9, 0.7).progress())
        tell(Summary(0, 0, 0, 0, 9, 0.7).progress())
    assert capsys.readouterr().err.splitlines() == [
        "dedup: 5 rows read, 3 kept, 2 rejected",
        "dedup: 9 rows of the pool read",
    ]
    with console.reading(interval=1e9) as tell:
        tell("not yet")
    assert capsys.readouterr().err == ""


@pytest.mark.whole
def test_rows_are_streamed(tmp_path: Path) -> None:
    """120 MB of rows pass through a process that may take 60 MB more than it has when it starts."""
    source = tmp_path / "in.jsonl"
    with source.open("w") as stream:
        for k in range(120):
            stream.write(json.dumps({"instruction": f"word{k} other{k}", "output": "x" * 1_000_000}) + "\n")
    code = (
        "import resource, sys; from pathlib import Path; from selfinstruct.dataset.dedup import dedup\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "kept = dedup(Path(sys.argv[1]), kept=Path(sys.argv[2])).kept\n"
        "print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    command = [sys.executable, "-c", code, str(source), str(tmp_path / "kept.jsonl")]
    kept, grown_kib = map(int, subprocess.run(command, check=True, capture_output=True).stdout.split())
    assert kept == 120
    assert grown_kib < 60_000
    assert (tmp_path / "kept.jsonl").stat().st_size == source.stat().st_size


# ------------------------------------------------------------------------------------- decided in a process of its own


def many_rows(count: int = 5000) -> list[str]:
    draw = random.Random(3)
    texts = ["?!", "!", "\ud800 alone", "写一首关于海的诗", "写一首关于山的诗"]
    while len(texts) < count:
        words = [f"w{draw.randrange(2000)}" for _ in range(draw.randrange(2, 12))]
        texts += [" ".join(words), " ".join([*words[1:], "again"]).upper(), draw.choice(texts)]
    own: list[dict[str, int]] = [{}, {}, {}, {"score": 1}]
    return [json.dumps({"instruction": text, **own[k % 4]}) for k, text in enumerate(texts)]


@pytest.mark.whole
def test_another_process_decides_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, pool = write(tmp_path / "in.jsonl", many_rows()), write(tmp_path / "p.jsonl", many_rows(1000)[::2])
    started, found = list[float](), []

    def start(threshold: float) -> NoveltyBeside:
        started.append(threshold)
        return NoveltyBeside(threshold)

    monkeypatch.setattr(library, "NoveltyBeside", start)
    for most in (library.SMALL, 1 << 30):
        monkeypatch.setattr(library, "SMALL", most)
        kept, rejected, told = tmp_path / "kept.jsonl", tmp_path / "rejected.jsonl", list[Summary]()
        summary = dedup(source, [pool], kept=kept, rejected=rejected, progress=told.append)
        found.append((summary, told, kept.read_bytes(), rejected.read_bytes()))
    assert started == [0.7]
    assert found[0] == found[1]
    assert min(summary.kept, summary.identical, summary.near_duplicate) > 100


@pytest.mark.parametrize("small", [pytest.param(0, marks=pytest.mark.whole), 1 << 30])
def test_what_was_read_before_a_broken_line_goes_to_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    rows = [json.dumps({"instruction": f"word{k} other{k} third{k}"}) for k in range(2100)]
    monkeypatch.setattr(library, "SMALL", small)
    monkeypatch.setattr(sys, "stdout", stdout := io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(InputError, match="line 2101"):
        dedup(write(tmp_path / "in.jsonl", [*rows, "{"]), kept=Path("-"))
    assert stdout.buffer.getvalue().count(b"\n") == 2048  # type: ignore[attr-defined]


@pytest.mark.whole
def test_the_death_of_the_other_process_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(threshold: float) -> NoveltyBeside:
        beside = NoveltyBeside(threshold)
        beside._process.kill()
        return beside

    monkeypatch.setattr(library, "NoveltyBeside", killed)
    source, kept = write(tmp_path / "in.jsonl", many_rows()), write(tmp_path / "kept.jsonl", ["as before"])
    with pytest.raises(SelfInstructError, match=r"ended with exit code -9; if memory was short"):
        dedup(source, kept=kept)
    assert kept.read_text() == "as before\n"


@pytest.mark.whole
def test_an_error_of_the_other_process_is_raised_in_this_one(capfd: pytest.CaptureFixture[str]) -> None:
    with NoveltyBeside(0.7) as beside:
        beside.ask(["Name a river."])
        beside.ask([7])  # type: ignore[list-item]
        beside.ask(["Name a river!"])
        assert beside.answer() == [Verdict(True, None, None)]
        with pytest.raises(SelfInstructError, match=r"failed: .*Error: .*int"):
            beside.answer()
        assert beside.answer()[0].reason == "identical"
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.whole
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_both_processes(tmp_path: Path, number: int) -> None:
    """The rows come through a pipe that stays open, so neither of the two ends by itself."""
    code = "import sys; from selfinstruct.cli import main; sys.argv[0] = 'selfinstruct'; main()"
    command = [sys.executable, "-c", code, "dedup", "-", "-o", str(tmp_path / "kept.jsonl")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin and process.stderr
        process.stdin.write(("\n".join(many_rows(8000)) + "\n").encode())
        process.stdin.flush()
        while not (children := psutil.Process(process.pid).children()):
            time.sleep(0.01)
        process.send_signal(number)
        said = process.stderr.read().decode()  # Until both have ended.
    assert process.returncode in (-number, 128 + number)
    assert "Traceback" not in said
    assert ("stopped by SIGINT; nothing was changed" in said) == (number == signal.SIGINT)
    assert not psutil.wait_procs(children, timeout=30)[1]
    assert list(tmp_path.glob("*.jsonl")) == []


def test_a_closed_standard_output_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "new.jsonl").write_text('{"instruction": "Name a river."}\n')
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(ConfigError, match=r"standard output is closed; .* -o"):
        dedup(tmp_path / "new.jsonl", (), threshold=0.7, field="instruction", kept=Path("-"), rejected=None)
