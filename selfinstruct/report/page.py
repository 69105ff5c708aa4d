"""The report of a run: one self-contained HTML page.

Text that models wrote is not trusted: jinja2 escapes every value, `text.py` makes it printable and short, and the page
forbids scripts and outside resources by its own policy.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from selfinstruct.formats import jsonl
from selfinstruct.report import outcome, plots
from selfinstruct.report.collect import REAL_RUN, Report, collect
from selfinstruct.report.readable_text import FILTERS
from selfinstruct.report.variety import Variety
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.reviews import OF_PAPER, QUESTIONS
from selfinstruct.run.scores import TUNED
from selfinstruct.text import legible

if TYPE_CHECKING:
    import jinja2


def write_report(run_dir: Path, gpu_price: float | None = None) -> Path:
    """Write the report of a run, also if some stages are not done. The same files give the same bytes.

    Args:
        run_dir: the run directory.
        gpu_price: what the engine's GPUs cost per hour, all together.

    Raises:
        InputError: `run_dir` is not a run directory, or one of its files is damaged.
    """
    path = RunDirectory(run_dir).report
    jsonl.write_text(path, render(collect(run_dir, gpu_price)))
    return path


def render(report: Report) -> str:
    """Return the page."""
    from markupsafe import Markup

    figures = {name: Markup(svg) for name, svg in _figures(report).items()}
    page = environment().get_template("template.html")
    text_of_page = page.render(
        report=report,
        figures=figures,
        metric_names=outcome.METRIC_NAMES,
        real_run=REAL_RUN,
        tuned_arm=TUNED,
        questions=QUESTIONS,
        of_paper=OF_PAPER,
    )
    return text_of_page.strip() + "\n"


@functools.cache
def environment() -> jinja2.Environment:
    """Return the environment of the pages' templates. It escapes every value and makes it printable."""
    import jinja2

    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("selfinstruct", "report"),
        autoescape=True,
        finalize=legible,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    templates.filters.update(FILTERS)
    return templates


def _variety(variety: Variety, threshold: float) -> dict[str, str]:
    drawn = dict[str, str]()
    if variety.neighbours:
        drawn["neighbours"] = plots.similarity("neighbours", variety.neighbours, threshold, "the nearest earlier one")
    if variety.growth:
        drawn["growth"] = plots.growth(variety.growth)
    if variety.with_pair:
        drawn["wheel"] = plots.wheel(variety.verbs)
    return drawn


def _figures(report: Report) -> dict[str, str]:
    """Return the figures for which there is data, by name."""
    generation, drawn = report.generation, dict[str, str]()
    if generation.pace:
        drawn["progress"] = plots.progress(generation.pace, generation.state.target)
        drawn["rate"] = plots.rate(generation.pace)
    if any(generation.state.candidates_after):
        drawn["acceptance"] = plots.acceptance(generation.state.candidates_after, generation.state.pool_after)
    if generation.similarity:
        drawn["similarity"] = plots.similarity(
            "similarity", generation.similarity, report.threshold, "the nearest seed"
        )
    drawn |= _variety(report.variety, report.threshold)
    for k, one in enumerate(report.rated):
        drawn[f"scores-{k}"] = plots.scores(f"scores-{k}", one.values)
    for k, (_, training) in enumerate(report.trainings):
        if training.curves:
            drawn[f"losses-{k}"] = plots.losses(f"losses-{k}", training.curves)
        if len(training.learning_rate) > 1:
            drawn[f"rates-{k}"] = plots.learning_rate(f"rates-{k}", training.learning_rate)
    if report.evaluation:
        if glance := report.evaluation.glance:
            drawn["glance"] = plots.forest("glance", glance, "difference, in points")
        for k, intervals in enumerate(report.evaluation.comparisons.values()):
            drawn[f"forest-{k}"] = plots.forest(f"forest-{k}", intervals, "difference, in points")
    return drawn
