"""Figures as inline SVG: the same bytes for the same numbers, and the page's own colours, in light and dark.

matplotlib draws with placeholder colours, which are then replaced by the page's CSS variables. Text stays text, in the
page's own font. Sizes are in points at a figure width that a phone shows almost unscaled.
"""

from __future__ import annotations

import io
import itertools
import math
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from selfinstruct.report.generation_stats import Pace
from selfinstruct.report.outcome import Curve, Interval
from selfinstruct.report.variety import Growth
from selfinstruct.report.verb_object import Verb
from selfinstruct.text import legible, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, RULE, ACCENT, WARM, PAPER = (f"#01020{k}" for k in "abcdef")
_VARIABLES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", ACCENT: "--accent", WARM: "--warm", PAPER: "--paper"}
_WIDTH, _HEIGHT = 4.6, 2.5
"""Inches."""

_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # A name with two dollar signs is not a formula.
    "font.family": "DejaVu Sans",  # Ships with matplotlib: the layout does not depend on the machine's fonts.
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.5,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "text.color": INK,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}


def similarity(name: str, scores: Sequence[float], threshold: float, to: str) -> str:
    """Draw a histogram of ROUGE-L F to the most similar text.

    Args:
        name: unique within the page.
        scores: one of each instruction.
        threshold: of the novelty filter.
        to: what they are compared with.
    """

    def draw(axes: Axes) -> None:
        axes.hist(scores, bins=[k / 20 for k in range(21)], color=ACCENT, rwidth=0.9)
        axes.axvline(threshold, color=WARM, linestyle=(0, (4, 3)), linewidth=1.2)
        across = axes.get_xaxis_transform()
        axes.text(threshold + 0.01, 0.97, "rejected\nabove this", color=WARM, va="top", transform=across)
        axes.set_xlim(0, 1)
        axes.set_xlabel(f"ROUGE-L F to {to}")
        axes.set_ylabel("accepted instructions")
        _whole_numbers(axes)

    return _svg(name, draw)


def scores(name: str, values: Sequence[float]) -> str:
    """Draw a histogram of the scores of answers; `name` is unique within the page."""

    def draw(axes: Axes) -> None:
        axes.hist(values, bins=20, color=ACCENT, rwidth=0.9)
        axes.set_xlabel("score")
        axes.set_ylabel("answers")
        _whole_numbers(axes)

    return _svg(name, draw)


def acceptance(candidates: Sequence[int], accepted: Sequence[int]) -> str:
    """Draw the share of accepted candidates over the proposals in order, from both numbers after each of them."""
    proposals = len(candidates)
    size = max(1, -(-proposals // 40))
    ends = [*range(0, proposals, size), proposals]
    totals = [(end, candidates[end - 1], accepted[end - 1]) if end else (0, 0, 0) for end in ends]
    points = [
        ((start + end) / 2, 100 * (yes_now - yes) / (all_now - every))
        for (start, every, yes), (end, all_now, yes_now) in itertools.pairwise(totals)
        if all_now > every
    ]

    def draw(axes: Axes) -> None:
        axes.plot([x for x, _ in points], [y for _, y in points], color=ACCENT, marker="o", markersize=2.5)
        axes.set_xlim(0, proposals)
        axes.set_ylim(0, 105)
        axes.set_xlabel("proposals" + (f", in groups of {size}" if size > 1 else ""))
        axes.set_ylabel("candidates accepted, %")
        _whole_numbers(axes, "x")

    return _svg("acceptance", draw)


def rate(pace: Pace) -> str:
    """Draw completion tokens per second over the time of work."""

    def draw(axes: Axes) -> None:
        unit, name = _time_unit(pace.seconds)
        points = _thinned([(seconds / unit, tokens) for seconds, tokens, _ in pace.points], 150)
        _session_starts(axes, pace, unit)
        axes.plot([x for x, _ in points], [y for _, y in points], color=ACCENT)
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"time of work, {name}")
        axes.set_ylabel("tokens written per second")

    return _svg("rate", draw)


def progress(pace: Pace, target: int) -> str:
    """Draw the accepted instructions over the time of work."""

    def draw(axes: Axes) -> None:
        unit, name = _time_unit(pace.seconds)
        _session_starts(axes, pace, unit)
        axes.plot([seconds / unit for seconds, _, _ in pace.points], [a for _, _, a in pace.points], color=ACCENT)
        most = max(accepted for _, _, accepted in pace.points)
        if most * 5 >= target:  # A target far above would flatten the curve.
            axes.axhline(target, color=MUTED, linestyle=(0, (4, 3)), linewidth=1)
            axes.text(0.0, target * 1.015, " target", color=MUTED, va="bottom")
            most = max(most, target)
        axes.set_ylim(0, max(1, most) * 1.12)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"time of work, {name}")
        axes.set_ylabel("accepted instructions")
        _whole_numbers(axes)

    return _svg("progress", draw)


def growth(curves: Growth) -> str:
    """Draw how many verbs, pairs of verb and object, and sequences of three words were new over the instructions."""

    def draw(axes: Axes) -> None:
        for label, points, colour in (
            ("sequences of three words", curves.triples, ACCENT),
            ("verbs with their objects", curves.pairs, WARM),
            ("verbs", curves.verbs, INK),
        ):
            if top := points[-1][1]:
                axes.plot([x for x, _ in points], [100 * y / top for _, y in points], color=colour, label=label)
        last = curves.triples[-1][0]
        axes.plot(
            [0, last], [0, 100], color=MUTED, linestyle=(0, (4, 3)), linewidth=1, label="always as much that is new"
        )
        axes.set_xlim(0, last)
        axes.set_ylim(0, 105)
        axes.set_xlabel("accepted instructions")
        axes.set_ylabel("distinct so far, % of the end")
        axes.legend(loc="lower right")
        _whole_numbers(axes, "x")

    return _svg("growth", draw)


def wheel(verbs: Sequence[Verb]) -> str:
    """Draw verbs in an inner ring and their objects in an outer one, as figure 3 of the paper."""

    def draw(axes: Axes) -> None:
        total = sum(verb.count for verb in verbs)
        angle = 90.0
        for number, verb in enumerate(verbs):
            width = 360 * verb.count / total
            _wedge(axes, (0.3, 0.64), angle, width, verb.verb, 0.9 if number % 2 else 0.7, PAPER)
            start = angle
            for ring, (thing, count) in enumerate(verb.objects):
                part = 360 * count / total
                _wedge(axes, (0.65, 1.0), start, part, thing, 0.34 if (number + ring) % 2 else 0.2, INK)
                start -= part
            angle -= width
        axes.set_xlim(-1.02, 1.02)
        axes.set_ylim(-1.02, 1.02)
        axes.set_aspect("equal")
        axes.set_axis_off()

    return _svg("wheel", draw, height=_WIDTH)


def losses(name: str, curves: Sequence[Curve]) -> str:
    """Draw training and validation losses over the steps."""

    def draw(axes: Axes) -> None:
        looks = itertools.cycle([(ACCENT, "-"), (WARM, "-"), (MUTED, "-"), (WARM, (0, (4, 3))), (MUTED, (0, (1, 2)))])
        for curve, (colour, line) in zip(curves, looks, strict=False):
            few = len(curve.points) < 25
            axes.plot(
                [x for x, _ in curve.points],
                [y for _, y in curve.points],
                color=colour,
                linestyle=line,
                marker="o" if few else None,
                markersize=3,
                label=_label(curve.name),
            )
        axes.set_xlabel("step")
        axes.set_ylabel("loss per token")
        axes.grid(axis="y")
        axes.legend(loc="upper right")
        _whole_numbers(axes, "x")

    return _svg(name, draw)


def learning_rate(name: str, points: Sequence[tuple[float, float]]) -> str:
    """Draw the learning rate over the steps."""

    def draw(axes: Axes) -> None:
        axes.plot([x for x, _ in points], [y for _, y in points], color=ACCENT)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("step")
        axes.set_ylabel("learning rate")
        axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        _whole_numbers(axes, "x")

    return _svg(name, draw)


def forest(name: str, intervals: Sequence[Interval], unit: str) -> str:
    """Draw differences with their intervals, one below the other.

    Intervals that exclude 0 are drawn in full colour.

    Args:
        name: unique within the page.
        intervals: from top to bottom.
        unit: of the differences.
    """

    def draw(axes: Axes) -> None:
        axes.axvline(0, color=MUTED, linewidth=1)
        for row, interval in enumerate(reversed(intervals)):
            colour = MUTED if not interval.significant else ACCENT if interval.difference > 0 else WARM
            axes.plot([interval.low, interval.high], [row, row], color=colour, linewidth=2)
            axes.plot([interval.difference], [row], color=colour, marker="o", markersize=5)
            # With its own background, so that the line at 0 does not cross it.
            paper = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.0}
            along = axes.get_yaxis_transform()
            axes.text(0.0, row + 0.27, _label(interval.label, 70), va="bottom", transform=along, bbox=paper)
        axes.set_ylim(-0.5, len(intervals) - 0.2)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        low, high = min(0, *(i.low for i in intervals)), max(0, *(i.high for i in intervals))
        margin = 0.06 * ((high - low) or 1)
        axes.set_xlim(low - margin, high + margin)
        axes.set_xlabel(unit)

    return _svg(name, draw, height=0.75 + 0.5 * len(intervals))


# ------------------------------------------------------------------------------------------------- helpers


def _wedge(
    axes: Axes, radii: tuple[float, float], start: float, width: float, label: str, alpha: float, ink: str
) -> None:
    """Draw a part of a ring, clockwise from an angle in degrees, with a label where there is room for one."""
    from matplotlib.patches import Wedge

    inner, outer = radii
    axes.add_patch(
        Wedge((0, 0), outer, start - width, start, width=outer - inner, color=ACCENT, alpha=alpha, linewidth=0)
    )
    if width < 3.2:
        return
    middle = start - width / 2
    radius, turned = (inner + outer) / 2, middle % 360
    axes.text(
        radius * math.cos(math.radians(middle)),
        radius * math.sin(math.radians(middle)),
        _label(label, 12),
        rotation=turned + 180 if 90 < turned < 270 else turned,
        ha="center",
        va="center",
        color=ink,
        fontsize=6.6,
    )


def _svg(name: str, draw: Callable[[Axes], None], height: float = _HEIGHT) -> str:
    """Draw on new axes and return an `<svg>` element. `name` must be unique within the page: it is part of the ids."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: dict[str, Any] = {**_STYLE, "svg.hashsalt": name}
    with mpl.rc_context(), warnings.catch_warnings():
        # The browser has the fonts; matplotlib only estimates widths.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        mpl.rcdefaults()  # Ignore the user's matplotlibrc.
        mpl.rcParams.update(style)
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure.subplots())
        buffer = io.StringIO()
        empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=empty)
    return _inlined(buffer.getvalue(), name)


def _inlined(document: str, name: str) -> str:
    """Return an SVG document as an element of the page, with the page's colours, fonts and width, and unique ids."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.S)
    opening, rest = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', opening)
    svg = f'<svg {box.group() if box else ""} aria-hidden="true">{rest}'
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(#|xlink:href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"'DejaVu Sans'(?:, '[^']*')*(?:, [\w-]+)*", "var(--sans)", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.strip()


def _label(text: str, limit: int = 40) -> str:
    """Return a name from outside as text that XML can hold, shortened."""
    return str(legible(shorten(" ".join(text.split()), limit)))


def _whole_numbers(axes: Axes, axis: str = "y") -> None:
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    chosen = axes.yaxis if axis == "y" else axes.xaxis
    chosen.set_major_locator(MaxNLocator(nbins=6, integer=True))
    chosen.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _time_unit(seconds: float) -> tuple[float, str]:
    if seconds < 180:
        return 1, "seconds"
    return (60, "minutes") if seconds < 3 * 3600 else (3600, "hours")


def _session_starts(axes: Axes, pace: Pace, unit: float) -> None:
    """Draw a thin line where the run was continued."""
    for seconds in pace.sessions[1:]:
        axes.axvline(seconds / unit, color=RULE, linewidth=1)


def _thinned(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """Return at most `most` points: the means of neighbouring points."""
    size = -(-len(points) // most)
    groups = [points[k : k + size] for k in range(0, len(points), size)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]
