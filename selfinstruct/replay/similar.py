"""The most similar earlier instructions of an instruction, by exact ROUGE-L F.

Earlier are the seeds, everything that the parent runs accepted, and what the run itself accepted before.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from selfinstruct.config.earlier_defaults import completed
from selfinstruct.config.schema import Filters
from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl, seed_tasks
from selfinstruct.generation.frame import Frame, load_frame
from selfinstruct.novelty import NoveltyIndex
from selfinstruct.records import Instruction, SeedTask
from selfinstruct.run import parents
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.state import RunState

_BATCH = 256


@dataclass(frozen=True, slots=True)
class Similar:
    """An earlier instruction with its similarity.

    Attributes:
        id: of the seed, or of the accepted instruction; one of a parent run begins with that run's name.
        origin: `seed`, `earlier` (a parent run) or `generated`.
        instruction: its text.
        score: the ROUGE-L F, in [0, 1].
    """

    id: str
    origin: str
    instruction: str
    score: float


class EarlierInstructions:
    """Seeds, instructions of parent runs, and the run's own pool, in this order, in a novelty index.

    Args:
        seeds: the seed tasks.
        of_parents: the instructions that the parent runs accepted.
        pool: the instructions that the run accepted, in order of acceptance.
        filters: the run's; the novelty filter's threshold and words count.

    Attributes:
        filters: the run's filters.
        frame: the words of its prompts.
        index: the novelty index over all of them.
    """

    def __init__(
        self,
        seeds: Sequence[SeedTask],
        of_parents: Sequence[Instruction],
        pool: Sequence[Instruction],
        filters: Filters,
        frame: Frame,
    ) -> None:
        self.seeds, self.of_parents, self.pool = seeds, of_parents, pool
        self.filters, self.frame = filters, frame
        self.index = NoveltyIndex((seed.instruction for seed in seeds), filters.threshold, tokenizer=filters.tokenizer)
        self.index.add_many(instruction.text for instruction in (*of_parents, *pool))

    @classmethod
    def load(cls, run: RunDirectory, state: RunState) -> EarlierInstructions:
        """Read the seeds and parent runs of a run.

        Args:
            run: the run directory.
            state: the run's state.

        Raises:
            InputError: nothing was generated, the configuration is missing, or seeds or parent runs have changed since
                the run began.
        """
        if not state.begun:
            raise InputError(f"{run.journal} has no header yet: nothing has been generated")
        config, identity = run.config(), state.header.identity
        seeds = seed_tasks.load_unchanged_seed_tasks(config.seeds, identity["seeds_sha256"])
        of_parents = parents.load_unchanged_parents(config.parent_runs, identity).instructions
        try:
            filters = Filters.model_validate(completed(identity)["filters"])
        except ValidationError as error:
            wrong = error.errors()[0]
            raise InputError(
                f"{run.journal}, line 1 (byte 0): filters.{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}; restore "
                "the journal from a copy"
            ) from error
        return cls(seeds, of_parents, state.pool, filters, load_frame(config.prompt_language))

    def texts(self) -> dict[str, str]:
        """Return all texts by their ids."""
        own = {instruction.id: instruction.text for instruction in (*self.of_parents, *self.pool)}
        return {seed.id: seed.instruction for seed in self.seeds} | own

    def entry(self, position: int, score: float) -> Similar:
        """Return an entry of the index.

        Args:
            position: its position in the index.
            score: the similarity to report.
        """
        if position < len(self.seeds):
            seed = self.seeds[position]
            return Similar(seed.id, "seed", seed.instruction, score)
        position -= len(self.seeds)
        if position < len(self.of_parents):
            instruction = self.of_parents[position]
            return Similar(instruction.id, parents.ORIGIN, instruction.text, score)
        instruction = self.pool[position - len(self.of_parents)]
        return Similar(instruction.id, "generated", instruction.text, score)

    def similar(self, text: str, top: int, accepted: int) -> tuple[Similar, ...]:
        """Return the most similar ones to a text, the best first.

        Args:
            text: the text to compare.
            top: how many to return.
            accepted: how many instructions of the pool are earlier than the text.
        """
        return tuple(self.entry(*near) for near in self.index.nearest(text, top, before=self._size(accepted)))

    def similar_of_pool(self, positions: Sequence[int], top: int) -> Iterator[tuple[Instruction, tuple[Similar, ...]]]:
        """Yield instructions of the pool with their most similar earlier ones, the best first.

        Args:
            positions: the positions of the instructions in the pool.
            top: how many similar ones to return for each.
        """
        for start in range(0, len(positions), _BATCH):
            batch = [self.pool[position] for position in positions[start : start + _BATCH]]
            before = [self._size(position) for position in positions[start : start + _BATCH]]
            nearest = self.index.nearest_many([instruction.text for instruction in batch], top, before=before)
            for instruction, entries in zip(batch, nearest, strict=True):
                yield instruction, tuple(self.entry(*near) for near in entries)

    def _size(self, accepted: int) -> int:
        """Return the size of the index when `accepted` instructions of the pool were in it."""
        return len(self.seeds) + len(self.of_parents) + accepted


def similar_all(run_dir: Path, output: Path, *, sample: int | None = None, top: int = 10, seed: int = 42) -> int:
    """Write the most similar earlier instructions of every accepted instruction, as the paper records them.

    Each row of the JSON Lines file has `id`, `instruction` and `most_similar`, a list of `Similar`. The rows are in
    order of acceptance. The paper's code also averages over the whole pool. That would need a hundred thousand scores
    for each row and says little, so it is left out.

    Args:
        run_dir: the run directory.
        output: the file to write, atomically.
        sample: number of instructions to draw at random; None takes all.
        top: similar instructions to write for each.
        seed: the seed of the draw.

    Returns:
        The number of rows.

    Raises:
        InputError: no run, a damaged journal, or seeds that have changed.
    """
    run = RunDirectory(run_dir)
    state = run.state(live=True)
    earlier = EarlierInstructions.load(run, state)
    positions: Sequence[int] = range(len(state.pool))
    if sample is not None and sample < len(positions):
        positions = sorted(random.Random(seed).sample(positions, sample))

    def rows() -> Iterator[dict[str, Any]]:
        for instruction, most_similar in earlier.similar_of_pool(positions, top):
            near = [asdict(entry) for entry in most_similar]
            yield {"id": instruction.id, "instruction": instruction.text, "most_similar": near}

    return jsonl.write(output, rows())
