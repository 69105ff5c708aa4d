"""Topics: each subject and each user by turns, in every proposer's prompt, the journal, status and the identity."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfinstruct.cli import cli
from selfinstruct.config.schema import Config
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import ConfigError, InputError
from selfinstruct.generation.filters.keywords import keyword
from selfinstruct.generation.frame import load_frame
from selfinstruct.generation.proposers import Mixture, proposers
from selfinstruct.generation.proposers.interface import Pool, Seen
from selfinstruct.generation.proposers.topics import Topic, Topics, load_topics
from selfinstruct.records import Style
from selfinstruct.run.counting import run_counts
from tests.conftest import journal_lines, run_scripted, script
from tests.unit.generation.proposers.test_plan_and_evolve import SEEDS, seen


def test_every_subject_has_its_turn_before_any_comes_again() -> None:
    topics = Topics(("bees", "taxes", "chess"), ("a child", "a teacher"))
    for start in (0, 3, 6):
        assert Counter(topics.of(n, 7).subject for n in range(start, start + 3)) == Counter(topics.subjects)
    assert Counter(topics.of(n, 7) for n in range(600)).keys() == {
        Topic(s, u) for s in topics.subjects for u in topics.users
    }
    orders = {tuple(topics.of(n, seed).subject for n in range(3)) for seed in range(20)}
    assert len(orders) > 2, "the order depends on the run's seed"


def test_a_file_names_one_subject_a_line(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("\ufeff# Ours\n\n tea   and  scones \nbridges\nbridges\n", "utf-8")
    topics = load_topics(str(tmp_path / "mine.txt"))
    assert topics == Topics(("tea and scones", "bridges", "bridges"))
    assert topics.of(0, 1).user == ""
    (tmp_path / "none.txt").write_text("# nothing\n", "utf-8")
    (tmp_path / "bytes.txt").write_bytes(b"caf\xe9\n")
    for name, why in [("none.txt", "holds no subject"), ("bytes.txt", "not UTF-8"), ("gone.txt", "No such file")]:
        with pytest.raises(InputError, match=why):
            load_topics(str(tmp_path / name))


def test_the_packaged_list_is_long_and_no_filter_rejects_its_words() -> None:
    topics = load_topics("packaged")
    assert 200 <= len(topics.subjects) == len(set(topics.subjects)) and len(topics.users) == 12
    keywords = Config().filters.keywords
    assert [s for s in topics.subjects if keyword(s, keywords=keywords)] == []


@pytest.mark.parametrize("style", ["completion", "chat"])
@pytest.mark.parametrize("name", ["list", "plan", "evolve", "template"])
def test_every_proposer_names_the_topic(name: str, style: Style) -> None:
    mixture = Mixture.of(Config.model_validate({"topics": "packaged", "proposers": {name: 1}}))
    made = proposers(mixture, style, load_frame())[name]
    about = Seen(SEEDS, Pool([], [], 0), seen(1).draw, Topic("beekeeping", "a child"))
    for topic, words in [(about, ["beekeeping", "a child"]), (seen(1), [])]:
        asked = made.ask(topic)
        prompt: Any = asked.encode(asked.examples)
        text = prompt if isinstance(prompt, str) else "\n".join(m["content"] for m in prompt)
        assert all(word in text for word in words) and ("about beekeeping" in text) == bool(words)


def test_the_journal_the_counts_and_explain_know_the_topic(make_config: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("bees\nbridges\n", "utf-8")
    config = make_config(num_instructions=12, topics=str(tmp_path / "mine.txt"), filters={"threshold": 0.95})
    state = run_scripted(config)
    header, *lines = journal_lines(tmp_path / "run")
    assert header["identity"]["topics_sha256"] == load_topics(str(tmp_path / "mine.txt")).fingerprint()
    asked = [line["topic"] for line in lines if line["kind"] == "proposal"]
    assert set(asked[:2]) == {"bees", "bridges"}
    counts = run_counts(state)
    assert {subject: count.asked for subject, count in counts.topics.items()} == Counter(asked)
    assert sum(count.accepted for count in counts.topics.values()) == 12
    shown = CliRunner().invoke(cli, ["explain", str(tmp_path / "run"), state.pool[0].id]).stdout
    assert f"(list, about {asked[state.pool[0].proposal]}); it showed:" in shown
    assert "2 of 2 asked have an instruction" in CliRunner().invoke(cli, ["status", str(tmp_path / "run")]).stdout
    (tmp_path / "mine.txt").write_text("bees\nboats\n", "utf-8")
    with pytest.raises(ConfigError, match="topics_sha256"):
        run_scripted(config, ScriptedEngine(script))
