"""Follow-up requests that failed and are asked again, in another way.

The line of such a failure says which further try follows it (`again: 1`), so that a run that continues there asks
exactly that one. The last try decides: its line has no `again`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from selfinstruct.run.lines import AnswerLine, ClassificationLine, InstancesLine, kind_of

FollowUpLine = ClassificationLine | InstancesLine | AnswerLine


@dataclass
class Tries:
    """The further tries so far.

    Attributes:
        open: by request (kind, instruction id, number of the input): the further try that is due.
        asked_again: number of failures after which a request was made again, by kind.
    """

    open: dict[tuple[str, str, int], int] = field(default_factory=dict)
    asked_again: Counter[str] = field(default_factory=Counter)

    def due(self, kind: str, instruction_id: str, number: int = 0) -> int:
        """Return which further try of a request is due; 0: it has not failed yet.

        Args:
            kind: of the request.
            instruction_id: that it is about.
            number: of the input, where each has a request of its own.
        """
        return self.open.get((kind, instruction_id, number), 0)

    def holds(self, line: FollowUpLine) -> bool:
        """Return whether the failure in a line was counted already; False where the line decides."""
        return 0 < line.again <= self.due(*_request_of(line))

    def note(self, line: FollowUpLine) -> bool:
        """Count a line. Return whether its request is made again.

        Raises:
            ValueError: another try is due, or the line is no failure.
        """
        if not line.again:
            if self.open:  # Rarely. Most lines of a journal pass here, so it must be fast.
                self.open.pop(_request_of(line), None)
            return False
        request = _request_of(line)
        if line.failed is None:
            raise ValueError(f"it asks for try {line.again} of {line.id}, but has not failed")
        if line.again != self.due(*request) + 1:
            raise ValueError(f"it asks for try {line.again} of {line.id} after {self.due(*request)}")
        self.open[request] = line.again
        self.asked_again[kind_of(line)] += 1
        return True


def _request_of(line: FollowUpLine) -> tuple[str, str, int]:
    return kind_of(line), line.id, line.instance if isinstance(line, AnswerLine) else 0
