"""Find the evaluation tasks that a model was trained on, by comparing them with the model's training rows.

Two instructions count as the same task if the export would leave out one as too similar to the other. Tasks that a
model was trained on stay in its scores. Comparisons with that model leave them out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from selfinstruct.formats import conversations
from selfinstruct.novelty import NoveltyIndex
from selfinstruct.records import TRAIN, user_message
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.folders import DatasetDirectory, ModelDirectory
from selfinstruct.run.scores import SEEDS_ONLY, TUNED
from selfinstruct.run.training_record import read_training_record
from tuning.evaluation.answers import Answer, Arm
from tuning.evaluation.questions import GENERATED_SETS
from tuning.training.leaks import THRESHOLD, instruction_of

Leaks = Mapping[str, Mapping[str, Sequence[str]]]
"""By arm and by set: the ids of the tasks that the arm was trained on, sorted."""


def find(run: RunDirectory, arms: Sequence[Arm], predictions: Mapping[str, Sequence[Answer]]) -> Leaks:
    """Return the tasks that each arm was trained on, as far as its training rows are still there.

    Args:
        run: whose datasets the arms `tuned` and `seeds-only` were trained on.
        arms: the models; of any other arm, the folder's record of its training names the dataset.
        predictions: the arms' answers, which hold the tasks.
    """
    leaks = {arm.name: leaked_tasks(predictions.get(arm.name, ()), _trained_on(run, arm)) for arm in arms}
    return {arm: by_set for arm, by_set in leaks.items() if by_set}


def _trained_on(run: RunDirectory, arm: Arm) -> Path | None:
    """Return the file of an arm's training rows; None if it is not known or not there."""
    own = {TUNED: (run.model, run.dataset), SEEDS_ONLY: (run.seeds_model, run.seeds_dataset)}
    model, dataset = own.get(arm.name, (None, None))
    if arm.model and (model is None or Path(arm.model).resolve() != model.path.resolve()):
        record = read_training_record(ModelDirectory(Path(arm.model)).record_path)
        dataset = DatasetDirectory(Path(record.dataset_dir)) if record and record.dataset_dir else dataset
    train = dataset.split(TRAIN) if dataset else None
    return train if train and train.is_file() else None


def leaked_tasks(answers: Sequence[Answer], train: Path | None) -> dict[str, list[str]]:
    """Return the tasks, by set, whose instruction is that of a training row or close to it.

    A row without an instruction of its own is compared by its last user message, with the whole message of a question.

    Args:
        answers: what was asked; the sets that the generator wrote are left out.
        train: the training rows.

    Raises:
        InputError: a line of the training rows is no JSON object.
    """
    asked = [row for row in answers if row.set not in GENERATED_SETS]
    rows = conversations.read(train)[0] if asked and train else []
    if not rows:
        return {}
    whole = not all(row.instruction for row in rows)
    texts = [{a.instruction, user_message(a.instruction, a.input)} if whole else {a.instruction} for a in asked]
    distinct = list(dict.fromkeys(text for of_one in texts for text in of_one))
    nearest = NoveltyIndex(dict.fromkeys(map(instruction_of, rows)), THRESHOLD).nearest_many(distinct)
    near = {text for text, (neighbour, *_) in zip(distinct, nearest, strict=True) if neighbour.score > THRESHOLD}
    leaked: dict[str, set[str]] = {}
    for answer, of_one in zip(asked, texts, strict=True):
        if of_one & near:
            leaked.setdefault(answer.set, set()).add(answer.task)
    return {name: sorted(tasks) for name, tasks in leaked.items()}
