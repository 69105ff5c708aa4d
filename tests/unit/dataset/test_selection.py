"""A smaller dataset: which rows are chosen, that it is always the same ones, and what card and counts say."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from selfinstruct.chain import chain
from selfinstruct.config.later_stages import Export
from selfinstruct.config.tag_quota import TagQuota, parse_all
from selfinstruct.dataset.selection import select, select_by_quota
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import ConfigError
from selfinstruct.formats import jsonl
from selfinstruct.formats.exported_rows import ExportedRow
from selfinstruct.generation.tag import tag
from selfinstruct.novelty import NoveltyIndex
from selfinstruct.records import TAG_VALUES
from selfinstruct.report.page import write_report
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.task_tags import latest
from tests.conftest import run_scripted, script


def row(number: int, instruction: str, output: str = "ok") -> ExportedRow:
    return ExportedRow(f"r{number}", instruction, "", output, False)


ROWS = [
    row(0, "name a river in asia", "one two three"),
    row(1, "name a river in africa", "one"),
    row(2, "name a river in asia", "one two three four"),
    row(3, "write some words about winter", "one two"),
    row(4, "sort these numbers", "one two"),
]


def ids(rows: list[ExportedRow]) -> list[str]:
    return [each.id for each in rows]


def test_the_farthest_are_chosen_before_what_is_similar() -> None:
    assert ids(select(ROWS, 1, "farthest")) == ["r0"]
    assert ids(select(ROWS, 3, "farthest")) == ["r0", "r3", "r4"]
    assert ids(select(ROWS, 4, "farthest")) == ["r0", "r1", "r3", "r4"], "a second row of an instruction comes last"


def test_the_longest_outputs_are_chosen_and_the_first_of_equal_ones() -> None:
    assert ids(select(ROWS, 3, "longest")) == ["r0", "r2", "r3"]


SCORES = {"r0": 1.0, "r1": 4.0, "r2": 3.9, "r3": 3.0}


def test_the_best_are_chosen_and_rows_without_a_score_last() -> None:
    assert ids(select(ROWS, 2, "best", SCORES)) == ["r1", "r2"]
    assert ids(select(ROWS, 4, "best", SCORES)) == ["r0", "r1", "r2", "r3"]


def test_balanced_takes_high_scores_that_are_far_from_each_other() -> None:
    # The second best is like the best; r2 stands for the instruction that it shares with r0.
    assert ids(select(ROWS, 2, "balanced", SCORES)) == ["r1", "r3"]
    assert ids(select(ROWS, 4, "balanced", SCORES)) == ["r1", "r2", "r3", "r4"]
    assert select(ROWS, 3, "balanced", {}) == select(ROWS, 3, "farthest"), "without scores distance alone counts"


@given(
    st.lists(st.text("ab c", max_size=12), max_size=12),
    st.integers(1, 12),
    st.sampled_from(["random", "longest", "farthest", "best", "balanced"]),
)
def test_a_choice_has_its_size_and_order_and_is_always_the_same(texts: list[str], number: int, by: Any) -> None:
    rows = [row(k, text, text) for k, text in enumerate(texts)]
    chosen = select(rows, number, by)
    assert len(chosen) == min(number, len(rows))
    assert ids(chosen) == [each.id for each in rows if each in chosen]
    assert select(rows, number, by) == chosen


def of_words(*words: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(words), max_size=9).map(" ".join)


@given(
    st.lists(st.text("ab ", min_size=1, max_size=9), min_size=3, max_size=9, unique=True)
    | st.lists(of_words("name", "a", "river", "poem", "?", "übung", "写诗"), min_size=3, max_size=9, unique=True)
)
@example(["name name", "name " * 6 + "name", "name name name" + " a" * 6, "name " * 8 + "a"])
def test_each_is_the_least_similar_to_those_before(texts: list[str]) -> None:
    """Against the definition, one step at a time."""
    rows = [row(k, text) for k, text in enumerate(texts)]
    chosen = [0]
    while len(chosen) < len(texts) - 1:
        likest = {}
        for k in range(len(texts)):
            if k not in chosen:
                likest[k] = max(NoveltyIndex([texts[k]]).nearest(texts[c])[0].score for c in chosen)
        # Two that are as like, but for the last digit of a float, are taken in their order.
        chosen.append(min(likest, key=lambda k: (round(likest[k], 9), k)))
        assert ids(select(rows, len(chosen), "farthest")) == [f"r{k}" for k in sorted(chosen)]


@pytest.mark.parametrize("by", ["random", "longest", "farthest"])
def test_an_export_keeps_so_many_and_counts_the_others(make_config: Any, tmp_path: Path, by: str) -> None:
    splits = {"validation_unseen": 0.0, "validation_seen": 0.0}
    run_scripted(make_config(export=splits))
    whole = chain.export(make_config(export=splits))
    counts = chain.export(make_config(export={**splits, "select": 5, "select_by": by}))
    assert counts.rows["train"] == 5
    assert counts.instances.left_out["not_selected"] == whole.rows["train"] - 5
    card = RunDirectory(tmp_path / "run").dataset.card.read_text()
    assert "the 5 were selected that are" in card and f"{whole.rows['train'] - 5} are left out" in card
    assert "No row overlaps with a task" in card


# ------------------------------------------------------------------------------------------------------- quotas


LANGUAGES = {"r0": "en", "r1": "en", "r2": "de", "r3": "de"}


def of_quotas(number: int, *quotas: str) -> list[str]:
    choose = partial(select, by="longest")
    return ids(select_by_quota(ROWS, number, choose, parse_all(quotas), LANGUAGES))


def test_a_tag_gets_its_quota_and_no_more() -> None:
    assert of_quotas(4) == ["r0", "r2", "r3", "r4"]
    assert of_quotas(4, "language=de:0.25") == ["r0", "r1", "r2", "r4"], "the others share what is left"
    assert of_quotas(4, "language=de:0.5", "language=en:0.25") == ["r0", "r2", "r3", "r4"]
    assert of_quotas(4, "language=fr:0.5") == ["r0", "r2", "r3", "r4"], "nobody has it, and the others take its places"
    assert of_quotas(2, "language=de:0.3") == ["r0", "r4"], "a quota is rounded down"
    assert of_quotas(3, "language=de:0.34", "language=en:0.34") == ["r0", "r2", "r4"]


@given(
    st.dictionaries(st.sampled_from([f"r{k}" for k in range(8)]), st.sampled_from(["en", "de", "fr"])),
    st.integers(1, 9),
    st.lists(st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.5]), min_size=3, max_size=3).filter(lambda some: sum(some) <= 1),
)
def test_quotas_hold_for_any_tags(values: dict[str, str], number: int, shares: list[float]) -> None:
    rows = [row(k, f"task {k}", "word " * k) for k in range(8)]
    quotas = [TagQuota("language", value, s) for value, s in zip(["en", "de", "fr"], shares, strict=True) if s]
    chosen = select_by_quota(rows, number, partial(select, by="longest"), quotas, values)
    assert ids(chosen) == [each.id for each in rows if each in chosen] and len(chosen) <= number
    bound = {quota.value for quota in quotas}
    for quota in quotas:
        has = sum(values.get(each.id) == quota.value for each in rows)
        got = sum(values.get(each.id) == quota.value for each in chosen)
        assert got == min(has, math.floor(quota.share * number + 1e-9))
    free = sum(values.get(each.id) not in bound for each in rows)
    got = sum(values.get(each.id) not in bound for each in chosen)
    assert got == min(free, number - (len(chosen) - got))


@pytest.mark.parametrize(
    ("quotas", "said"),
    [
        (["category=poetry:0.1"], "category is never 'poetry'; take one of: writing"),
        (["language=english:0.1"], "take one of: codes of two letters"),
        (["length=long:0.1"], "there is no tag 'length'; take category, difficulty, input, language"),
        (["category=coding"], "no quota such as category=coding:0.3"),
        (["category=coding:1.5"], "above 0 and at most 1"),
        (["category=coding:0.5", "difficulty=hard:0.5"], "of one kind of tag, not of category and difficulty"),
        (["category=coding:0.5", "category=coding:0.4"], "two quotas"),
        (["category=coding:0.6", "category=writing:0.6"], "add up to 1.2"),
    ],
)
def test_quotas_that_mean_nothing_are_refused(quotas: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Export.model_validate({"select": 10, "quota": quotas})


def test_quotas_need_a_number_of_rows() -> None:
    with pytest.raises(ValueError, match="give their number as select"):
        Export.model_validate({"quota": "category=coding:0.3"})


def test_an_export_by_quota_says_its_tags_before_and_after(make_config: Any) -> None:
    options = {"select": 6, "quota": ["difficulty=hard:0.5"], "validation_seen": 0.0, "validation_unseen": 0.0}
    config = make_config(answering="separate", num_instructions=14, export=options)
    run_scripted(config)
    with pytest.raises(ConfigError, match="first: selfinstruct tag"):
        chain.export(config)

    async def start() -> Any:
        return ScriptedEngine(script, has_chat_template=True)

    tag(config, start)
    chain.export(config)
    run = RunDirectory.at(config.output_dir)
    counts = run.dataset.export_counts()
    tags = latest(run.state().tags)
    exported = [tags[each["id"].rpartition("-")[0]].difficulty for _, each in jsonl.read(run.dataset.split("train"))]
    assert len(exported) == 6 and exported.count("hard") == 3
    shown = counts.tags["difficulty"]
    assert {value: n.after for value, n in shown.items() if n.after} == Counter(exported)
    assert sum(n.before for n in shown.values()) == run.state().num_instances
    for kind in TAG_VALUES:
        assert sum(n.after for n in counts.tags[kind].values()) == 6
    card = run.dataset.card.read_text()
    assert f"| difficulty | hard | {shown['hard'].before} |" in card and "What `scripted` says" in card
    assert card.index("## Tags") < card.index("## Rows")
    page = write_report(run.path).read_text()
    assert "Tags by" in page and "before the selection" in page
    whole = config.model_copy(update={"export": Export(validation_seen=0.0, validation_unseen=0.0)})
    chain.export(whole)
    assert f"| difficulty | hard | {shown['hard'].before} |" in run.dataset.card.read_text()
    assert "before the selection" not in write_report(run.path).read_text()
