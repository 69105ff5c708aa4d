"""The journal's lines as types: what is decoded is encoded to the same bytes, and what is no line is refused."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import msgspec
import pytest

from selfinstruct.records import Completion, Sample
from selfinstruct.run import lines
from selfinstruct.run.control_lines import Control
from selfinstruct.run.lines import (
    AnswerLine,
    ClassificationLine,
    InstanceCandidate,
    InstructionCandidate,
    Line,
    ProposalLine,
    ScoreLine,
    TagsLine,
)

FIXTURE = Path(__file__).parents[2] / "fixtures" / "run_before_layout"
JOURNALS = sorted(FIXTURE.rglob("journal.jsonl"))


def test_every_line_of_older_journals_comes_out_byte_for_byte() -> None:
    seen = set()
    assert len(JOURNALS) == 5
    for journal in JOURNALS:
        for raw in journal.read_bytes().splitlines(keepends=True):
            line = lines.parse(raw)
            seen.add(type(line))
            assert lines.encode(line) == raw
            assert lines.from_json(lines.load_json(raw)) == line
            assert lines.to_json(line) == lines.load_json(raw)
            assert lines.kind_of(line) == lines.load_json(raw)["kind"]
            assert lines.rewrite(raw, line) == raw
    assert seen == set(get_args(Line)) - {AnswerLine, ScoreLine, TagsLine}, "it holds all types but the youngest"


@pytest.mark.parametrize(
    "raw",
    [
        (
            b'{"kind":"proposal","n":0,"examples":[],"completion":{"text":"a\\ud83d","finish_reason":"stop",'
            b'"prompt_tokens":1,"completion_tokens":2},"candidates":[{"id":"p000000-00","instruction":"a\\ud83d",'
            b'"accepted":true,"nearest_seed":null}]}\n'
        ),
        b'{"kind":"instances","id":"a","failed":{"reason":"refused","detail":"\\udc00"}}\n',
        b'{"kind":"control","event":"interrupted","after_proposal":-1,"signal":"\\udc00"}\n',
    ],
)
def test_lone_surrogates_are_read_and_written(raw: bytes) -> None:
    line = lines.parse(raw)
    assert lines.encode(line) == raw


def test_no_neighbour_is_written_and_what_does_not_apply_is_not() -> None:
    accepted = InstructionCandidate("p000000-00", "Do.", True, nearest_seed=None)
    rejected = InstructionCandidate("p000000-01", "Do.", False, reason="length", evidence={})
    assert lines.encode(ProposalLine(0, ("s1",), None, (accepted, rejected))) == (
        b'{"kind":"proposal","n":0,"examples":["s1"],"candidates":['
        b'{"id":"p000000-00","instruction":"Do.","accepted":true,"nearest_seed":null},'
        b'{"id":"p000000-01","instruction":"Do.","accepted":false,"reason":"length","evidence":{}}]}\n'
    )


def test_numbers_are_written_as_python_writes_them() -> None:
    near = lines.Neighbour("s0", 1e-05)
    line = ProposalLine(0, (), None, (InstructionCandidate("a", "b", True, nearest_seed=near),))
    assert b'"score":1e-05' in lines.encode(line)
    assert lines.parse(lines.encode(line)) == line


def test_a_rewritten_line_keeps_keys_of_later_versions() -> None:
    raw = b'{"kind":"classification","id":"a","is_classification":false,"mood":"good"}\n'
    line = lines.parse(raw)
    assert lines.rewrite(raw, line) == raw
    assert b"mood" not in lines.encode(line)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"{}", "missing required field `kind`"),
        (b"[1, 2]", "Expected `object`, got `array`"),
        (b'{"kind":"poem"}', "Invalid value 'poem'"),
        (b'{"kind":"control","event":"poem","after_proposal":1}', "Invalid value 'poem'"),
        (b'{"kind":"control","after_proposal":1}', "missing required field `event`"),
        (b'{"kind":"proposal","n":true,"examples":[]}', "Expected `int`, got `bool`"),
        (b'{"kind":"proposal","n":0,"examples":[],"candidates":7}', "Expected `array`, got `int`"),
        (b'{"kind":"proposal","n":0,"examples":["\\ud83d"],"candidates":7}', "Expected `array`, got `int`"),
        (b'{"kind":"classification"}', "missing required field `id`"),
        (b'{"kind":"classification","id":"a"', "delimiter"),
        (b"[" * 5000, "nested too deeply|Expecting value|Expected"),
        (b"\x00" * 40, "no JSON: Expecting value at character 0"),
        (b"\xff\xfe{}", "its byte 0 is not UTF-8"),
        (b"", "it is empty"),
        (b" \n", "it is empty"),
    ],
)
def test_what_is_no_line_is_refused(raw: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lines.parse(raw)


def test_control_lines_are_those_with_an_event() -> None:
    assert all(issubclass(t, Control) == (t.__struct_config__.tag_field == "event") for t in get_args(Line))


def test_log_probabilities_of_choices_are_written_only_where_there_are_some() -> None:
    plain, told = Completion("Yes", "stop", 9, 1), Completion("Yes", "stop", 9, 1, {"Yes": -0.25, "No": -1.5})
    assert b"choice_logprobs" not in lines.encode(ClassificationLine("p000000-00", plain, True))
    raw = lines.encode(ClassificationLine("p000000-00", told, True))
    assert raw.endswith(b'"choice_logprobs":{"Yes":-0.25,"No":-1.5}},"is_classification":true}\n')
    assert lines.parse(raw) == ClassificationLine("p000000-00", told, True)


def test_an_answer_has_a_candidate_for_each_sample() -> None:
    one = b'{"input":"","output":"a","accepted":true}'
    raw = b'{"kind":"answer","id":"p000000-00","instance":0,"candidates":[%s]}'
    assert lines.parse_valid(raw % one)
    with pytest.raises(ValueError, match="it has 2 candidates for 1 answers"):
        lines.parse_valid(raw % (one + b"," + one))
    with pytest.raises(ValueError, match="must be continued, have candidates, or have `failed`"):
        lines.parse_valid(raw % b"")
    completion = Completion("a", "stop", 9, 4, further=(Sample("b", "length"),))
    line = AnswerLine("p000000-00", 0, completion, candidates=(InstanceCandidate("", "a", True),) * 2)
    encoded = lines.encode(line)
    assert b'"completion_tokens":4,"further":[{"text":"b","finish_reason":"length"}]}' in encoded
    assert lines.parse_valid(encoded) == line
    with pytest.raises(ValueError, match="it has 1 candidates for 2 answers"):
        lines.parse_valid(lines.encode(msgspec.structs.replace(line, candidates=line.candidates[:1])))
