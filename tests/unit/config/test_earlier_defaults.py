"""A run made before an option existed, or before its default changed, is continued by the same command."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.config import earlier_defaults
from selfinstruct.config.earlier_defaults import EARLIER_DEFAULTS, completed, continuing
from selfinstruct.config.load import STANDARD_INPUT, dump_yaml, load_config
from selfinstruct.config.schema import Config
from selfinstruct.errors import ConfigError
from tests.conftest import journal_lines, run_scripted

FIRST_RUN = Path(__file__).parents[2] / "fixtures" / "run_before_layout" / "generated"


def names(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of options; engine arguments are vLLM's."""
    for key, value in values.items():
        if not isinstance(value, dict):
            yield prefix + key
        elif key != "engine":
            yield from names(value, f"{prefix}{key}.")


def test_every_option_younger_than_the_first_recorded_run_says_what_stands_for_the_old_behaviour() -> None:
    now, then = set(names(Config().identity())), set(names(journal_lines(FIRST_RUN)[0]["identity"]))
    every = Config.model_validate({"proposers": dict.fromkeys(Config().proposers.weights, 1.0)})
    assert now - then <= EARLIER_DEFAULTS.keys() <= set(names(every.identity()))


def test_the_first_recorded_run_is_that_of_the_earlier_defaults() -> None:
    """Every option that its configuration left out then."""
    recorded = journal_lines(FIRST_RUN)[0]["identity"]
    identity = continuing(Config(), recorded).identity()
    given = {"model", "window", "proposal", "seeds_sha256", "prompts_version"}
    whole = completed(recorded)
    assert {key: identity[key] for key in identity if key not in given} == {
        key: whole[key] for key in whole if key not in given
    }


@pytest.fixture
def older(make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run of which `filters.max_words` (now 150) was recorded as 140 by default, or not recorded at all."""

    def make(*, is_recorded: bool) -> Path:
        filters = {"max_words": 140}
        run_scripted(make_config(num_instructions=5, filters=filters))
        monkeypatch.setattr(earlier_defaults, "EARLIER_DEFAULTS", {"filters.max_words": 140})
        run: Path = tmp_path / "run"
        if not is_recorded:
            head, *rest = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
            header = json.loads(head)
            del header["identity"]["filters"]["max_words"]
            (run / "journal.jsonl").write_bytes(b"".join([json.dumps(header).encode() + b"\n", *rest]))
        return run

    return make


@pytest.mark.parametrize("is_recorded", [True, False])
@pytest.mark.parametrize("change", [{}, {"filters": {"max_words": 140}}, {"filters": {"min_words": 4}}])
def test_it_goes_on_with_the_value_of_the_old_behaviour(
    make_config: Any, older: Any, is_recorded: bool, change: dict[str, Any]
) -> None:
    run = older(is_recorded=is_recorded)
    before = (run / "journal.jsonl").read_bytes()
    assert len(run_scripted(make_config(num_instructions=9, **change)).pool) == 9
    assert (run / "journal.jsonl").read_bytes().startswith(before)
    assert load_config(run / "config.yaml", {}).filters.max_words == 140


@pytest.mark.parametrize("is_recorded", [True, False])
@pytest.mark.parametrize("other", [150, 60])
def test_another_value_is_refused(make_config: Any, older: Any, is_recorded: bool, other: int) -> None:
    older(is_recorded=is_recorded)
    with pytest.raises(ConfigError, match=rf"filters\.max_words: recorded 140, now {other}"):
        run_scripted(make_config(num_instructions=9, filters={"max_words": other}))


def test_a_value_that_was_no_default_must_be_given_again(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run_scripted(make_config(num_instructions=5, filters={"max_words": 60}))
    monkeypatch.setattr(earlier_defaults, "EARLIER_DEFAULTS", {"filters.max_words": 140})
    with pytest.raises(ConfigError, match=r"filters\.max_words: recorded 60, now 150"):
        run_scripted(make_config(num_instructions=9))


def test_a_run_started_anew_has_the_defaults_of_today(make_config: Any, older: Any) -> None:
    run = older(is_recorded=True)
    run_scripted(make_config(num_instructions=5), overwrite=True)
    assert journal_lines(run)[0]["identity"]["filters"]["max_words"] == 150


def test_a_section_that_the_run_does_not_have_stays_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(earlier_defaults, "EARLIER_DEFAULTS", {"regenerate.max_tokens": 1, "seed": 3})
    recorded = {"model": "m"}
    assert completed(recorded) == {"model": "m", "seed": 3} and recorded == {"model": "m"}
    assert completed({}) == {}
    assert continuing(Config(), {}) == Config()


def test_a_section_younger_than_the_run_has_the_values_of_the_old_behaviour() -> None:
    assert completed({"model": "m"})["proposers"]["list"] == 1.0
    assert completed({"model": "m", "proposers": {"list": 0.5}})["proposers"]["list"] == 0.5


def test_a_stage_still_knows_what_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config.model_validate({"window": 7, "filters": {"min_words": 3}, "tune": {"packing": True}})
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(dump_yaml(config, given_only=True).encode())))
    read = load_config(STANDARD_INPUT, {})
    assert read == config
    assert read.model_fields_set == {"window", "filters", "tune"} and read.filters.model_fields_set == {"min_words"}


def test_answers_of_a_run_made_before_are_sampled_as_they_were() -> None:
    recorded = Config().identity()
    assert (recorded["answer"]["top_p"], recorded["answer"]["min_p"]) == (1.0, 0.1)
    assert continuing(Config(), recorded).identity() == recorded
    recorded["answer"] |= {"top_p": 0.9, "min_p": 0.0}
    assert continuing(Config(), recorded).identity() == recorded


def test_an_option_that_a_recipe_got_later_is_as_it_was_when_the_run_was_made() -> None:
    recorded = load_config(None, {"recipe": "aligned"}).identity()
    recorded["template"]["openings"] = 0.0  # before half of the turns began with a word of a seed
    now = load_config(None, {"recipe": "aligned"})
    assert now.template.openings == 0.5
    assert continuing(now, recorded).identity() == recorded
    others = load_config(None, {"recipe": "aligned", "template": {"openings": 0.7}})
    assert continuing(others, recorded).template.openings == 0.7, "what the user says is compared with the record"
