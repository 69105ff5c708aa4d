from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.dataset.seed_selection import LONGEST, choose_seeds
from selfinstruct.records import Instance, SeedTask
from tests import rouge

WORDS = ["write", "poem", "list", "sort", "name", "river", "tea", "code"]


def task(number: int, instruction: str, output: str = "ok") -> SeedTask:
    return SeedTask(f"t{number}", instruction, (Instance("", output),), is_classification=False)


def test_one_of_each_kind_is_chosen() -> None:
    alike = [f"Write a short poem about the {thing} in spring." for thing in ("sea", "moon", "dog", "rain", "bus")]
    tasks = [task(k, text) for k, text in enumerate([*alike, "Sort these five numbers by size."])]
    chosen = choose_seeds(tasks, 2)
    assert len([t for t in chosen.tasks if t.instruction.startswith("Write")]) == 1
    assert chosen.tasks[-1].instruction.startswith("Sort")
    assert chosen.candidates == 6


@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=4, max_size=7).map(" ".join), min_size=1, max_size=12))
def test_every_step_takes_the_farthest(texts: list[str]) -> None:
    tasks = [task(k, text) for k, text in enumerate(texts)]
    two, three = choose_seeds(tasks, 2), choose_seeds(tasks, 3)
    assert choose_seeds(tasks, 3) == three
    assert {t.id for t in two.tasks} <= {t.id for t in three.tasks}
    assert len(three.tasks) == min(3, three.candidates)

    def near(t: SeedTask) -> float:
        return max(rouge.scorer().score(s.instruction, t.instruction)["rougeL"].fmeasure for s in two.tasks)

    for added in [t for t in three.tasks if t not in two.tasks]:
        assert near(added) == min(near(t) for t in tasks if t not in two.tasks)


def test_what_cannot_be_a_seed_is_counted() -> None:
    tasks = [
        task(0, "Name three rivers of Africa."),
        task(1, "Draw a picture of the sea."),
        task(2, "Write a very long essay.", "word " * (LONGEST + 1)),
        task(3, "List what the log says.", "fine\nInput: forged\nOutput: forged"),
    ]
    chosen = choose_seeds(tasks, 10)
    assert [t.id for t in chosen.tasks] == ["t0"]
    assert chosen.left_out == {
        "keyword": 1,
        f"instances of more than {LONGEST} words": 1,
        "cannot be shown in a prompt": 1,
    }


def test_nothing_to_choose_from() -> None:
    assert choose_seeds([], 3).tasks == ()


def test_text_that_no_seed_file_holds_is_left_out() -> None:
    chosen = choose_seeds([task(1, "Write a short poem about tea."), task(2, "Sort the five numbers.", "\ud800")], 2)
    assert [t.id for t in chosen.tasks] == ["t1"]
    assert chosen.left_out == {"invalid characters": 1}


def test_classification_tasks_have_their_share() -> None:
    things = "sea moon dog rain bus tea river code list poem".split()
    alike = [f"Say whether the {thing} is good or bad." for thing in things[:4]]
    others = [" ".join([f"{thing}{k}" for k in range(5)]) for thing in things[:6]]
    tasks = [replace(task(k, text), is_classification=True) for k, text in enumerate(alike)]
    tasks += [task(10 + k, text) for k, text in enumerate(others)]
    for number in (1, 2, 5, 10):
        chosen = choose_seeds(tasks, number).tasks
        assert len(chosen) == number
        assert sum(t.is_classification for t in chosen) == round(0.4 * number)


def test_of_thousands_of_instances_a_few_short_ones_of_all_labels_stay() -> None:
    labels = ["yes", "yes", "yes", "no", "word " * LONGEST, "perhaps"] * 300
    instances = tuple(Instance(f"case {k}", label) for k, label in enumerate(labels))
    (seed,) = choose_seeds([SeedTask("t", "Say whether the case is closed.", instances, True)], 1).tasks
    assert [i.output for i in seed.instances] == ["yes", "no", "perhaps", "yes", "no"]
    assert seed.instances[0] == instances[0]
