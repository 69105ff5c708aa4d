"""The report of a run: everything there that can be there, nothing that a browser could stumble over."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from selfinstruct import text
from selfinstruct.engines.serving import serve_command
from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl
from selfinstruct.report import page, plots
from selfinstruct.report.collect import collect
from selfinstruct.report.generation_stats import Accepted
from selfinstruct.report.page import write_report
from selfinstruct.review.sample import Reading
from tests import finished_run
from tests.conftest import run_scripted

pytestmark = pytest.mark.whole

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Reads a page and complains about what is not balanced or loads something."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.headings: list[str] = []
        self.text = ""
        self.svgs = 0
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        assert tag not in {"script", "img", "iframe", "object", "link", "base", "form"}, tag
        assert "src" not in names, names
        assert not any(name.startswith("on") for name in names), names
        self.svgs += tag == "svg"
        for name in ("href", "xlink:href"):
            if names.get(name) is not None:
                self.links.append(str(names[name]))
        if "id" in names:
            self.ids.append(str(names["id"]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open[-1:] == ["h2"]:
            self.headings.append(data)

    def words(self) -> str:
        return " ".join(self.text.split())


@pytest.mark.figures
def test_a_complete_run(make_config: Any) -> None:
    run = finished_run.complete(make_config(model="demo"))
    path = write_report(run)
    assert path == run / "report.html"
    source = path.read_text()
    page = Page(path)
    check_words(page, run)
    check_self_contained(page, source)
    assert write_report(run).read_text() == source, "the same files give the same bytes"
    assert not list(run.glob(".report.html*"))


def check_words(page: Page, run: Path) -> None:
    assert page.headings == [
        "What was done",
        "From proposals to rows",
        "Novelty and variety",
        "Samples",
        "Who is mentioned",
        "Training",
        "Evaluation",
        "Files and next steps",
        "Limits",
    ]
    # progress, rate, acceptance, similarity to seeds and to the pool, growth, wheel; losses and learning rate of two
    # trainings; four of differences
    assert page.svgs == 15
    scores = json.loads((run / "evaluation" / "scores.json").read_text())
    words = page.words()
    assert words.index(scores["verdict"]) < words.index("What was done")
    assert "This is the demo." in words and "selfinstruct init night.yaml --model" in words
    assert "52,445" in words and "82,439" in words
    assert "10 tasks, 3 of them classification" in words
    assert "in 2 sessions" in words
    assert "seeds_sha256" in words and "proposal.temperature" in words
    assert "No key or token of a service" in words
    assert "Judged in pairs" in words and "tuned on the generated data against base, few-shot, eval_tasks" in words
    assert "evaluation/judgements-base.jsonl" in words
    assert serve_command(run / "model") in words
    assert "yet" not in words.partition("Limits")[0].replace("not seen yet", "")


def check_self_contained(page: Page, source: str) -> None:
    assert [link for link in page.links if not link.startswith("#")] == ["https://arxiv.org/abs/2212.10560"]
    assert set(re.findall(r"https?://[^\"<\s]+", source)) == {"https://arxiv.org/abs/2212.10560"}
    assert "@import" not in source and "url(" not in re.sub(r"url\(#[\w-]+\)", "", source)
    assert len(page.ids) == len(set(page.ids)), "an id is used twice"
    targets = {link[1:] for link in page.links if link.startswith("#")}
    assert targets <= set(page.ids)
    assert set(re.findall(r"url\(#([\w-]+)\)", source)) <= set(page.ids)
    assert "default-src 'none'" in source


@pytest.mark.figures
def test_generation_alone(make_config: Any) -> None:
    run = finished_run.generated(make_config())
    page = Page(write_report(run))
    words = page.words()
    assert "No model has been tuned on them yet." in words
    assert f"No dataset has been written yet: selfinstruct export {run}" in words
    assert f"No model has been tuned yet: selfinstruct tune {run}" in words
    assert "Nothing to evaluate" in words
    assert f"Next, to write the dataset: selfinstruct export {run}" in words.partition("What was done")[0]
    assert "Demo" not in words and "This is the demo" not in words
    assert page.svgs == 5  # acceptance, similarity to seeds and to the pool, growth, wheel


def test_what_to_do_next_follows_the_verdict(make_config: Any) -> None:
    run = finished_run.complete(make_config())
    first = Page(write_report(run)).words().partition("What was done")[0]
    assert "Next, to serve the tuned model" in first
    scores = json.loads((run / "evaluation/scores.json").read_text())
    for comparison in scores["comparisons"]:
        comparison["significant"] = False
    jsonl.write_json(run / "evaluation/scores.json", scores)
    words = Page(write_report(run)).words()
    assert f"Next, to read some rows, and say whether they are right: selfinstruct review {run}" in words
    reading = Reading.of(run, 1, 0)
    reading.add("Ada", reading.rows[0].id, task=True, input_fits=True, output=False)
    assert "Next, to grow the run further" in Page(write_report(run)).words()


def test_tuned_but_not_evaluated(make_config: Any) -> None:
    run = finished_run.generated(make_config())
    finished_run.tuned(run, state="stopped", error="tune: SIGINT")
    words = Page(write_report(run)).words()
    assert "Nothing has been evaluated yet" in words and "says that this training is stopped: tune: SIGINT" in words


@pytest.mark.figures
def test_hostile_text_stays_text(make_config: Any) -> None:
    config = make_config()
    run = finished_run.complete(config, hostile=True)
    scores = json.loads((run / "evaluation" / "scores.json").read_text())
    scores["verdict"] = finished_run.HOSTILE
    scores["arms"]["<b>$x$"] = scores["arms"].pop("seeds-only")
    scores["comparisons"][0] |= {"set": "]]></svg><script>$\\frac$", "metric": '"><script>'}
    scores["comparisons"][1] |= {"set": "]]></svg><script>$\\frac$\x00\ud800", "metric": '"><script>'}
    jsonl.write_json(run / "evaluation" / "scores.json", scores)
    path = write_report(run)
    source = path.read_text(encoding="utf-8")
    page = Page(path)
    assert "<script" not in source and "<img" not in source
    assert "{{ 7*7 }}" in page.text and "49 }}" not in page.text
    assert "]]></svg><script>$\\frac$␀�" in page.text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\u202e]", source)
    assert len(source) < 400_000


def test_the_parts_of_each_step_add_up(make_config: Any) -> None:
    config = make_config()
    report = collect(finished_run.complete(config))
    steps = [*report.generation.funnel, report.rows]
    assert all(step and step.total == sum(part.count for part in step.parts) for step in steps)
    _, _, accepted, asked, _, exported = steps
    kept = [sum(part.count for part in step.parts if part.kept) for step in steps if step]
    assert (kept[1], kept[2], kept[4]) == (accepted.total, asked.total, exported.total)
    assert not report.dataset_is_old


def test_an_unfinished_run_adds_up_too(make_config: Any) -> None:
    config = make_config()
    run = finished_run.generated(config)
    journal = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for length in range(len(journal)):
        (run / "journal.jsonl").write_bytes(b"".join(journal[:length]) + b'{"kind": "proposal", "torn')
        report = collect(run)
        assert all(step.total == sum(part.count for part in step.parts) for step in report.generation.funnel)
        assert report.unfinished
    Page(write_report(run))


def test_an_empty_journal(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_bytes(b"")
    assert "Generation has not begun" in Page(write_report(tmp_path)).words()


def test_saturation_is_told_and_what_to_do(make_config: Any) -> None:
    from selfinstruct.errors import StoppedError

    config = make_config(num_instructions=5000, saturation={"window": 5, "min_acceptance": 0.9})
    with pytest.raises(StoppedError):
        run_scripted(config)
    words = Page(write_report(Path(config.output_dir))).words()
    assert "Generation stopped early" in words and "saturated" in words
    assert "--saturation.min-acceptance 0" in words


def test_a_dataset_older_than_the_run(make_config: Any) -> None:
    from selfinstruct.dataset.export import export

    config = make_config()
    run = finished_run.generated(config)
    export(config)
    run_scripted(make_config(num_instructions=40))
    report = collect(run)
    assert report.dataset_is_old
    assert "has changed since this dataset" in Page(write_report(run)).words()


def test_seed_rows_are_counted_apart(make_config: Any) -> None:
    from selfinstruct.dataset.export import export

    config = make_config(export={"include_seeds": True})
    run = finished_run.generated(config)
    export(config)
    report = collect(run)
    assert report.rows and report.rows.total == sum(part.count for part in report.rows.parts)
    assert "also holds 20 rows of the seed tasks" in Page(write_report(run)).words()


def test_rejected_samples_show_what_they_come_close_to(make_config: Any, seed_rows: list[dict[str, Any]]) -> None:
    report = collect(finished_run.generated(make_config()))
    pool = {i.id: i.text for i in report.generation.state.pool} | {row["id"]: row["instruction"] for row in seed_rows}
    near = report.generation.rejected["near_duplicate"]
    assert near and all(candidate.near == pool[candidate.near_id] and candidate.score > 0.7 for candidate in near)


def test_without_its_seed_file_the_report_names_seeds_by_id(make_config: Any, seed_file: Path) -> None:
    run = finished_run.generated(make_config())
    seed_file.write_text(seed_file.read_text().replace("number", "No."))
    words = Page(write_report(run)).words()
    assert "changed or moved since the run" in words and "seed tasks 10" not in words
    seed_file.unlink()
    (run / "config.yaml").write_text("no: [such")
    Page(write_report(run))


def test_samples_stay_as_the_run_grows(make_config: Any) -> None:
    before = {task.id: task for task in collect(finished_run.generated(make_config())).generation.accepted}
    run_scripted(make_config(num_instructions=60))
    after = {task.id: task for task in collect(Path(make_config().output_dir)).generation.accepted}
    assert len(before) == len(after) == 8
    shared = before.keys() & after.keys()
    assert shared and all(isinstance(before[k], Accepted) and before[k] == after[k] for k in shared)


def test_no_run_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run directory"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_damaged_file_is_named_and_the_old_report_stays(make_config: Any) -> None:
    run = finished_run.generated(make_config())
    before = write_report(run).read_bytes()
    (run / "evaluation").mkdir()
    (run / "evaluation" / "scores.json").write_text("{")
    with pytest.raises(InputError, match=r"scores\.json"):
        write_report(run)
    assert (run / "report.html").read_bytes() == before


def test_figures_are_the_same_whatever_was_drawn_before() -> None:
    first = plots.similarity("similarity", [0.1, 0.2, 0.2], 0.7, "the nearest seed")
    plots.acceptance(range(4, 404, 4), range(2, 202, 2))
    assert plots.similarity("similarity", [0.1, 0.2, 0.2], 0.7, "the nearest seed") == first
    assert "var(--accent)" in first and "#01020" not in first and "<metadata" not in first


def test_texts_are_made_legible_and_short() -> None:
    assert text.legible("a\r\nb\tc\x1b[31m\x7f\x9b\ufffe") == "a\nb\tc␛[31m␡��"
    assert text.shorten("x" * 700) == "x" * 600 + "…"
    assert text.shorten("a\n" * 40, lines=2) == "a\na…"
    assert text.shorten("  as it is \n") == "as it is"


def test_what_may_scroll_is_reached_by_keyboard() -> None:
    for template in Path(page.__file__).parent.glob("*.html"):
        for tag in re.findall(r'<div class="scroll"[^>]*>', template.read_text()):
            assert 'tabindex="0"' in tag, template.name
