from __future__ import annotations

from selfinstruct.checks.seed_stats import seed_stats
from selfinstruct.records import Instance, SeedTask


def test_figures() -> None:
    tasks = [
        SeedTask("a", "Is it kind?", (Instance("x y", "yes"), Instance("z", "no")), True, category="labels"),
        SeedTask("b", "Write a long story about a tram.", (Instance("", "слово " * 101),), False, category="writing"),
    ]
    stats = seed_stats(tasks)
    assert (stats.tasks, stats.instances, stats.classification, stats.without_input) == (2, 3, 0.5, 0.5)
    assert (stats.instruction_words, stats.input_words, stats.output_words) == (5, 1.5, 103 / 3)
    assert stats.long_outputs == 1 / 3
    assert stats.categories == {"labels": 1, "writing": 1}
    assert stats.scripts == {"LATIN": 2, "CYRILLIC": 1}
    assert stats.languages == {"": 1, "en": 1}
    assert stats.labels == {"a": {"yes": 1, "no": 1}}
    assert "classification   50 % of the tasks" in stats.lines()
