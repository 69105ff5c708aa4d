"""The card of an exported dataset: metadata for the Hugging Face Hub, provenance, counts and limits."""

from __future__ import annotations

import bisect
import functools
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from selfinstruct.config.later_stages import Export
from selfinstruct.language_identification import identifier
from selfinstruct.records import SEEN, TRAIN, UNSEEN
from selfinstruct.run.counting import run_counts
from selfinstruct.run.export_counts import ExportCounts, ParentCounts
from selfinstruct.run.state import RunState
from selfinstruct.text import printable

if TYPE_CHECKING:
    import jinja2

_SURE = 0.9
"""Least probability of a language that is believed."""


def code_span(text: str) -> str:
    """Return a name as code in a cell of a Markdown table, whatever it holds."""
    return "`" + printable(" ".join(text.split())).replace("`", "'").replace("|", "\\|") + "`"


def make_card(state: RunState, counts: ExportCounts, options: Export, digest: str) -> str:
    """Return the text of the card.

    Args:
        state: the state of the run.
        counts: the counts of the export.
        options: the options of the export.
        digest: of the rows. `datasets` keys its cache by the folder's name and what the card says of it: without the
            digest it would give the rows of one run's `dataset/` for those of another.
    """
    from huggingface_hub import DatasetCardData

    files = [{"split": name, "path": f"{name}.jsonl"} for name, rows in counts.rows.items() if rows]
    metadata = DatasetCardData(
        license=options.license,
        language=languages([instruction.text for instruction in state.pool]) or None,
        size_categories=[size_category(sum(counts.rows.values()))],
        task_categories=["text-generation"],
        tags=["instruction-tuning", "self-instruct", "selfinstruct", "synthetic"],
        configs=[{"config_name": "default", "data_files": files, "description": f"rows {digest}"}],
    )
    counted: list[ExportCounts | ParentCounts] = [counts, *([counts.parents] if counts.parents else [])]
    card = _template().render(
        metadata=metadata.to_yaml(),
        counts=counts,
        tagger=next(reversed(state.tags)).model if state.tags else "",
        left_out={
            "instructions": sum(part.instructions.left_out.get("near_evaluation_task", 0) for part in counted),
            "rows": sum(part.instances.left_out.get("near_evaluation_task", 0) for part in counted),
            "not_selected": counts.instances.left_out.get("not_selected", 0),
            "same_meaning": counts.instances.left_out.get("same_meaning", 0),
        },
        rows={name: counts.rows[name] for name in (TRAIN, SEEN, UNSEEN)},
        identity=state.header.identity,
        resolved=state.header.resolved,
        refiltered_from=state.header.refiltered_from,
        run=run_counts(state),
        options=options,
    )
    return printable(card)


def languages(texts: Sequence[str]) -> list[str]:
    """Return the codes of the languages of at least a tenth of up to 1,000 texts, the most frequent first.

    Texts whose language is doubtful, as that of many short ones, do not count.

    >>> languages(["Write a short poem about the sea.", "Explain how a bridge carries its load."])
    ['en']
    """
    drawn = texts[:: max(1, len(texts) // 1000)]
    named = (identifier().classify(text) for text in drawn)
    counts = Counter(str(code) for code, probability in named if probability >= _SURE)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [code for code, n in ordered if 10 * n >= counts.total()]


def size_category(rows: int) -> str:
    """Return the Hub's name for a number of rows.

    >>> size_category(999), size_category(1000), size_category(52_445)
    ('n<1K', '1K<n<10K', '10K<n<100K')
    """
    names = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M")
    return names[bisect.bisect_right([10**3, 10**4, 10**5, 10**6, 10**7], rows)]


@functools.cache
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("selfinstruct.dataset"),
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["code"] = code_span
    return environment.get_template("dataset_card.md")
