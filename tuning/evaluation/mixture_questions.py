"""Questions about tasks of the mixed datasets that were held out of tuning, and about those that were seen.

The model's own record says which datasets were mixed in, and what was held out (`selfinstruct/dataset/holding_out.py`).
"""

from __future__ import annotations

from itertools import chain

from selfinstruct import packaged
from selfinstruct.config.later_stages import Evaluate
from selfinstruct.dataset.convert import read_rows
from selfinstruct.dataset.holding_out import HeldOut
from selfinstruct.errors import ConfigError
from selfinstruct.run.folders import ModelDirectory
from selfinstruct.run.training_record import TrainingRecord, read_training_record
from tuning.evaluation.questions import Question, spread

MIXTURE_SETS = MIXTURE_SEEN, MIXTURE_UNSEEN = "mixture_seen", "mixture_unseen"
"""The two sets. The verdict does not count them: the model was trained on the tasks of one."""


def mixture_questions(model: ModelDirectory, options: Evaluate) -> list[Question]:
    """Return the questions of both sets; none unless `options.held_out_by` is set.

    Args:
        model: the tuned model.
        options: the section `evaluate`.

    Raises:
        ConfigError: the model was not tuned with these tasks held out.
        InputError: a dataset cannot be read.
    """
    if options.held_out_by is None:
        return []
    record = read_training_record(model.record_path) or TrainingRecord()
    if record.arguments.get("mix_hold_out") != options.held_out_by or not any(s.held_out for s in record.mixture):
        raise ConfigError(
            f"evaluate.held_out_by {options.held_out_by}: {model.path} holds no model that was tuned so; tune with "
            f"`selfinstruct tune RUN --mix PATH --mix-hold-out {options.held_out_by}`"
        )
    units, spare = (
        frozenset(chain.from_iterable(names))
        for names in ((s.held_out for s in record.mixture), (s.spare for s in record.mixture))
    )
    held_out = HeldOut(options.held_out_by, units, int(record.arguments["seed"]), spare)
    by_set: dict[str, dict[str, list[Question]]] = {name: {} for name in MIXTURE_SETS}
    for number, source in enumerate(source for source in record.mixture if source.held_out):
        for position, side, row in held_out.asked(read_rows(packaged.resolve(source.name))):
            instruction, task_input = row.parts
            by_set[f"mixture_{side}"].setdefault(f"{number}/{row.task}", []).append(
                Question(
                    id=f"{number}-{position}",
                    task=row.task,
                    set=f"mixture_{side}",
                    category=row.category,
                    is_classification=bool(row.is_classification),
                    instruction=instruction,
                    input=task_input,
                    references=(row.answer.content, *row.references),
                )
            )
    return [
        question
        for tasks in by_set.values()
        for of_task in spread(list(tasks.values()), options.limit)
        for question in of_task
    ]
