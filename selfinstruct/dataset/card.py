"""The card of an exported dataset: metadata for the Hugging Face Hub, provenance, counts and limits."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from selfinstruct.config.schema import Export
from selfinstruct.records import SEEN, TRAIN, UNSEEN
from selfinstruct.run.export_counts import ExportCounts, ParentCounts
from selfinstruct.run.state import RunState
from selfinstruct.text import printable

if TYPE_CHECKING:
    import jinja2


def _code(text: str) -> str:
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
        task_categories=["text-generation"],
        tags=["instruction-tuning", "self-instruct", "synthetic"],
        configs=[{"config_name": "default", "data_files": files, "description": f"rows {digest}"}],
    )
    counted: list[ExportCounts | ParentCounts] = [counts, *([counts.parents] if counts.parents else [])]
    return _template().render(
        metadata=metadata.to_yaml(),
        counts=counts,
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
        run=state.counts(),
        options=options,
    )


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
    environment.filters["code"] = _code
    return environment.get_template("dataset_card.md")
