"""The record of the rounds: read and written as it always was."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from selfinstruct.errors import InputError
from selfinstruct.run.rounds_record import ROUNDS_VERSION, Rounds, read_rounds, write_rounds

STORED = Path(__file__).parents[2] / "fixtures" / "run_before_layout" / "rounds" / "rounds.json"


def test_an_older_record_comes_out_byte_for_byte(tmp_path: Path) -> None:
    """But for the ends of intervals, which the fixture's script wrote without a fraction."""
    write_rounds(tmp_path / "rounds.json", read_rounds(STORED))
    with_fractions = re.sub(rb"(?m)^( +\d+)(,?)$", rb"\1.0\2", STORED.read_bytes())
    assert (tmp_path / "rounds.json").read_bytes() == with_fractions


def test_a_gain_is_significant_under_its_old_name() -> None:
    first, second = read_rounds(STORED).rounds
    assert first.gain is None
    assert second.gain is not None and (second.gain.over, second.gain.significant) == ("round-01", False)


def test_before_the_first_round(tmp_path: Path) -> None:
    rounds = Rounds(identity={"seed": 1, "model": "half \ud83d"})
    write_rounds(tmp_path / "rounds.json", rounds)
    assert read_rounds(tmp_path / "rounds.json") == rounds
    assert json.loads((tmp_path / "rounds.json").read_bytes()) == {
        "version": ROUNDS_VERSION,
        "identity": {"seed": 1, "model": "half \ud83d"},
        "rounds": [],
        "best": None,
        "ended": None,
        "verdict": None,
    }


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "Expecting value"),
        (b"[]", "got `array`"),
        (b"{}", "`identity`"),
        (b'{"identity": {}, "rounds": [{"round": "one"}]}', r"\$\.rounds\[0\]\.round"),
        (STORED.read_bytes()[:-9], "delimiter|Unterminated"),
    ],
)
def test_a_damaged_record_is_one_error_with_its_remedy(tmp_path: Path, raw: bytes, said: str) -> None:
    (tmp_path / "rounds.json").write_bytes(raw)
    with pytest.raises(InputError, match=rf"rounds\.json is damaged: .*({said}).*; restore it, or start again"):
        read_rounds(tmp_path / "rounds.json")


def test_a_missing_record_is_the_same_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"rounds\.json: cannot be read: .*No such file"):
        read_rounds(tmp_path / "rounds.json")
