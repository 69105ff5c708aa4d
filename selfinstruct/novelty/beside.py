"""A novelty index in a process of its own, which loads the kernels and decides while this one reads and writes.

    python -m selfinstruct.novelty.beside THRESHOLD

Its questions come on stdin, its answers go to stdout, in the same order, each a line of JSON. It ends with its stdin.

    {"texts":["Name a river.","Name a river!"],"is_pool":false}
    {"accepted":[true,false],"index":[-1,0],"score":[-1.0,1.0]}
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Sequence
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Any, TypeAlias

import msgspec

from selfinstruct.errors import SelfInstructError
from selfinstruct.formats import jsonl
from selfinstruct.novelty.decision import Verdict, rows
from selfinstruct.novelty.index import NoveltyIndex, load

_Line: TypeAlias = dict[str, Any]


class NoveltyBeside:
    """The index of another process. A context manager; leaving it ends the process.

    A question may be asked before earlier ones are answered: a thread hands them over.

    Args:
        threshold: as that of `NoveltyIndex`.
    """

    def __init__(self, threshold: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, repr(threshold)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # Ctrl-C is for this process, which ends the other.
        )
        self._questions: SimpleQueue[_Line | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._hand_over, name="novelty-questions", daemon=True)
        self._thread.start()

    def __enter__(self) -> NoveltyBeside:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._questions.put(None)
        self._thread.join()
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()

    def ask(self, texts: Sequence[str], *, is_pool: bool = False) -> None:
        """Ask for decisions on candidates, in order; those that are accepted are appended.

        Args:
            texts: the candidates.
            is_pool: append them all, without deciding; the answer is no verdicts.
        """
        self._questions.put({"texts": texts, "is_pool": is_pool})

    def answer(self) -> list[Verdict]:
        """Wait for the answer to the first question that has none yet.

        Raises:
            SelfInstructError: the process has failed or ended.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise SelfInstructError(
                f"the process that compares instructions ended with exit code {self._process.wait()}; "
                "if memory was short (-9), end other programs and try again"
            )
        answer = jsonl.parse(line)
        if "error" in answer:
            raise SelfInstructError(f"the process that compares instructions failed: {answer['error']}")
        return rows(**answer)

    def _hand_over(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # It has ended, which `answer` says.
            while question := self._questions.get():
                self._process.stdin.write(_encoded(question))
                self._process.stdin.flush()


def _encoded(line: _Line) -> bytes:
    try:
        return msgspec.json.encode(line) + b"\n"
    except UnicodeEncodeError:
        return jsonl.dumps(line).encode() + b"\n"


def _serve(threshold: float, questions: IO[bytes], answers: IO[bytes]) -> None:
    load()
    index = NoveltyIndex((), threshold)
    with contextlib.suppress(BrokenPipeError):  # The other process has ended.
        for line in questions:
            if line.endswith(b"\n"):
                answers.write(_encoded(_answer(index, **jsonl.parse(line))))
                answers.flush()


def _answer(index: NoveltyIndex, texts: list[str], is_pool: bool) -> _Line:
    try:
        if is_pool:
            index.add_many(texts)
            return {"accepted": [], "index": [], "score": []}
        decisions = index.decide(texts)
    except Exception as error:  # noqa: BLE001 - raised again in the other process
        return {"error": f"{type(error).__name__}: {error}"}
    return {name: column.tolist() for name, column in decisions._asdict().items()}


if __name__ == "__main__":
    _serve(float(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer)
