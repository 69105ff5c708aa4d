from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.dataset.mixture import MixOptions, Source, SourceCounts, mix
from selfinstruct.errors import ConfigError
from selfinstruct.formats.conversations import Conversation
from selfinstruct.formats.evaluation_tasks import EvaluationText
from selfinstruct.formats.families.dataset_row import DatasetRow, Turn
from selfinstruct.novelty.overlap import EvaluationTexts, Overlap

NOTHING = EvaluationTexts([])


def row(question: str, answer: str = "ok", task: str = "") -> DatasetRow:
    return DatasetRow((Turn("user", question), Turn("assistant", answer)), instruction=question, task=task)


def own(number: int) -> list[Conversation]:
    return [
        Conversation(f"own{k}", ({"role": "user", "content": f"own {k}"},), ({"role": "assistant", "content": "a"},))
        for k in range(number)
    ]


def words(conversation: Conversation) -> int:
    return sum(len(m["content"].split()) for m in (*conversation.prompt, *conversation.completion))


@pytest.mark.parametrize(
    ("text", "name", "weight"),
    [
        ("a.json", "a.json", None),
        ("a.json:0.5", "a.json", 0.5),
        ("c:\\d.json", "c:\\d.json", None),
        ("o/n:2", "o/n", 2),
    ],
)
def test_a_source_with_and_without_weight(text: str, name: str, weight: float | None) -> None:
    assert Source.parse(text) == Source(name, weight)


@pytest.mark.parametrize("text", ["a:0", "a:-1", "a:inf", "a:nan"])
def test_a_weight_is_above_zero(text: str) -> None:
    with pytest.raises(ConfigError, match="must be a number above 0"):
        Source.parse(text)


def test_weights_are_relative_to_the_runs_own_rows() -> None:
    rows = [row(f"q {k}") for k in range(100)]
    mixed, (half, all_of_it, short) = mix(
        own(40),
        [(Source("half", 0.5), rows), (Source("all"), [row("x"), row("y")]), (Source("short", 2), [row("z")])],
        MixOptions(),
        NOTHING,
    )
    assert [r.id for r in mixed[:40]] == [f"own{k}" for k in range(40)]
    assert (half.read, half.taken, half.left_over) == (100, 20, 80)
    assert (all_of_it.taken, all_of_it.left_over) == (2, 0)
    assert short.sentence() == "short: 1 of 1 rows, its weight asks for 80"
    assert len(mixed) == 40 + 20 + 2 + 1


def test_weights_by_tokens() -> None:
    rows = [row(f"question {k}", "five words in this answer") for k in range(50)]
    mixed, (counts,) = mix(own(20), [(Source("s", 0.5), rows)], MixOptions(unit="tokens"), NOTHING, words)
    assert sum(map(words, mixed[:20])) == 60
    assert counts.tokens == 35
    assert counts.taken == 5


def test_duplicates_go_once_across_sources() -> None:
    sources = [(Source("a"), [row("own 0", "a"), row("q"), row("q ")]), (Source("b"), [row("q"), row("r")])]
    mixed, (first, second) = mix(own(1), sources, MixOptions(), NOTHING)
    assert (first.left_out["duplicates"], second.left_out["duplicates"]) == (2, 1)
    assert [r.prompt[-1]["content"] for r in mixed] == ["own 0", "q", "r"]


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    temperature=st.sampled_from([1.0, 2.0, 100.0]),
    cap=st.none() | st.integers(1, 20),
    weight=st.floats(0.1, 3),
)
def test_counts_add_up_and_the_same_options_give_the_same_rows(
    sizes: list[int], temperature: float, cap: int | None, weight: float
) -> None:
    rows = [row(f"q {task} {k}", task=f"t{task}") for task, size in enumerate(sizes) for k in range(size)]
    options = MixOptions(temperature=temperature, task_cap=cap)
    mixed, (counts,) = mix(own(10), [(Source("s", weight), rows)], options, NOTHING)
    assert counts.read == counts.taken + counts.left_over + counts.left_out.total()
    assert mix(own(10), [(Source("s", weight), list(rows))], options, NOTHING)[0] == mixed
    by_task = Counter(r.prompt[-1]["content"].split()[1] for r in mixed[10:])
    assert all(count <= (cap or 30) for count in by_task.values())


def test_a_temperature_makes_tasks_alike() -> None:
    rows = [row(f"big {k}", task="big") for k in range(900)] + [row(f"small {k}", task="small") for k in range(100)]

    def small(temperature: float) -> int:
        mixed, _ = mix(own(100), [(Source("s", 1), rows)], MixOptions(temperature=temperature), NOTHING)
        return sum(r.prompt[-1]["content"].startswith("small") for r in mixed[100:])

    assert 9 <= small(1) <= 11
    assert 24 <= small(2) <= 26
    assert 49 <= small(1000) <= 51


LONG_TEXT = "the old tram stopped at the corner because a cow had chosen to sleep on the rails"
TASKS = EvaluationTexts(
    [
        EvaluationText("e1", "Name three long rivers of Asia.", (LONG_TEXT,)),
        EvaluationText("e2", "One two three four five six seven eight nine."),
    ]
)


@pytest.mark.parametrize(
    ("instruction", "text", "overlap"),
    [
        ("name three long rivers of Asia", "", Overlap("exact", "e1")),
        ("Name three long rivers of Africa.", "", Overlap("ROUGE-L", "e1", 10 / 12)),
        ("Summarise.", f"Listen: {LONG_TEXT} today.", Overlap("n-gram", "e1", text=" ".join(LONG_TEXT.split()[:13]))),
        ("Summarise.", " ".join(LONG_TEXT.split()[:12]), Overlap("n-gram", "e1", text=" ".join(LONG_TEXT.split()[:8]))),
        ("Summarise.", " ".join(LONG_TEXT.split()[:7]), None),
        ("Write about cows that sleep on rails.", "", None),
    ],
)
def test_overlaps_with_evaluation_tasks(instruction: str, text: str, overlap: Overlap | None) -> None:
    found = TASKS.find(instruction, text)
    assert found == (overlap and Overlap(overlap.measure, overlap.task, pytest.approx(overlap.score), overlap.text))


def test_rows_near_an_evaluation_task_stay_out() -> None:
    rows = [row("Name three long rivers of Asia."), row("Name three long rivers of Africa."), row("Write a poem.")]
    _, (counts,) = mix(own(1), [(Source("s"), rows)], MixOptions(), TASKS)
    assert counts.left_out == {
        "overlapping with evaluation tasks by exact": 1,
        "overlapping with evaluation tasks by ROUGE-L": 1,
    }
    assert counts.examples_of_overlap[1].endswith("overlaps with e1 by ROUGE-L 0.83")


def test_what_no_tokenizer_reads_is_left_out_and_counted() -> None:
    mixed, (counts,) = mix([], [(Source("s"), [row("half a \ud83d pair"), row("whole")])], MixOptions(), NOTHING)
    assert len(mixed) == 1 and counts.left_out == {"with characters that are no text": 1}


def test_what_a_reader_left_out_is_told_as_convert_tells_it() -> None:
    counts = SourceCounts("oasst", read=7, taken=2, left_out=Counter(duplicates=3), dropped=Counter({"no answer": 2}))
    assert counts.sentence() == "oasst: 2 of 7 rows, 3 duplicates, 2 x no answer"
