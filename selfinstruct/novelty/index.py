"""`NoveltyIndex`: the interface. A small pool is scanned; a large pool or batch moves to the compiled index.

Loading the compiled kernels takes a second of processor time, compiling them ten to thirty (once per installation and
numba version). A thread does this. Until it is done, candidates are decided by scanning, with the same decisions.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from selfinstruct.novelty.decision import Decisions, Neighbour, Verdict, columns
from selfinstruct.novelty.scan import ScanIndex
from selfinstruct.records import Tokenizer

if TYPE_CHECKING:
    from selfinstruct.novelty.compiled import CompiledIndex

SMALL = 4096  # Texts. Below, scanning takes less time in all than loading the kernels.
_FEW = 512  # Texts that are scanned also when the kernels are loaded.
_SCANNABLE = 20_000  # Texts. Above, it is faster to wait for the compiler than to continue to scan.
_MANY = 4096  # Texts that are appended together.
_LOADED_S = 5.0  # Loading what was compiled before takes half of this.
_COMPILING = "the search for near-duplicates is being compiled (once per installation: up to a minute or two)"
_BATCH = 64  # Candidates decided by scanning before checking again whether the kernels are ready.

# numba creates thousands of errors while it compiles. It colours each one with colorama, which replaces sys.stdout and
# sys.stderr during that time, so the output of other threads would be lost. (numba reads the variable on import.)
os.environ.setdefault("NUMBA_DISABLE_ERROR_MESSAGE_HIGHLIGHTING", "1")

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_compiled: type[CompiledIndex] | None = None
_compiler: threading.Thread | None = None
_done = threading.Event()


def warm_up(size: float = math.inf) -> None:
    """Start to load, or compile, the kernels in a thread; return at once.

    Args:
        size: texts that the index will hold; a small one does without the kernels.
    """
    global _compiler
    with _lock:
        if _compiler is None and size > SMALL:
            _compiler = threading.Thread(target=_compile, name="novelty-compiler")
            _compiler.start()


def load() -> None:
    """Load the kernels. Return before they are there only if they have to be compiled, or cannot be.

    Time is the processor's: on a busy machine, loading lasts as long by the clock as compiling on an idle one.
    """
    warm_up()
    began = time.process_time()
    while not _done.wait(0.05) and time.process_time() - began < _LOADED_S:
        pass


def _compile() -> None:
    """Import the compiled index and call everything in it once."""
    global _compiled
    clock = time.pthread_getcpuclockid(threading.get_ident())
    threading.Thread(target=_announce, args=[clock], daemon=True).start()
    try:
        from selfinstruct.novelty.compiled import CompiledIndex

        index = CompiledIndex(0.7, 1, threads=1)
        index.extend(["Write a poem."])
        index.decide(["Write a poem now.", "Say nothing."])
        index.nearest(["Write"], 1, [1])
        index.ranking()
        _compiled = CompiledIndex
    except Exception:  # noqa: BLE001 - after any error of the compiler, the simple index is used
        _log.exception("the novelty index cannot be compiled; every candidate is compared with the whole pool instead")
    finally:
        _done.set()


def _announce(clock: int) -> None:
    """Say that the kernels are compiled once a thread has computed for longer than loading takes.

    Args:
        clock: of the thread's processor time; on a busy machine, more time passes.
    """
    with contextlib.suppress(OSError):  # The thread has just ended.
        while time.clock_gettime(clock) <= _LOADED_S:
            if _done.wait(0.1):
                return
        _log.warning(_COMPILING)


class NoveltyIndex:
    """Earlier instructions, seeds first, with which candidates are compared. One thread at a time may use it.

    A decision at a pool of a million takes about 10 microseconds in a batch, 50 alone; a text of 16 words takes
    about 300 bytes. The compiled index does not keep the texts themselves.

    Args:
        seeds: texts with the positions 0 .. len(seeds) - 1; they are not compared with each other.
        threshold: reject when ROUGE-L F is greater; in (0, 1).
        tokenizer: how texts are split into words (see `tokenize`).
        threads: for batches of more than 256; by default one per core of the process.
        can_wait: wait for the kernels if they only have to be loaded. Scanning meanwhile delays both.
    """

    def __init__(
        self,
        seeds: Iterable[str] = (),
        threshold: float = 0.7,
        *,
        tokenizer: Tokenizer = "words",
        threads: int | None = None,
        can_wait: bool = False,
    ) -> None:
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must lie in (0, 1), got {threshold}")
        self.threshold = threshold
        self._threads = threads
        self._can_wait = can_wait
        self._waiting = list(seeds)  # Appended, but in no index yet.
        self._index: ScanIndex | CompiledIndex = ScanIndex(threshold, len(self._waiting), tokenizer)

    def __len__(self) -> int:
        return len(self._index) + len(self._waiting)

    @property
    def is_compiled(self) -> bool:
        """Return whether the compiled index decides on candidates already."""
        return not isinstance(self._index, ScanIndex)

    def add(self, text: str) -> None:
        """Append a text without deciding on it (for example, an accepted instruction from the journal)."""
        self.add_many((text,))

    def add_many(self, texts: Iterable[str]) -> None:
        """Append texts without deciding on them."""
        self._waiting.extend(texts)
        if len(self._waiting) >= _MANY:
            self._ready(0)

    def accept(self, text: str) -> Verdict:
        """Decide on a candidate, and append it if it is accepted."""
        return self.accept_batch([text])[0]

    def accept_batch(self, texts: Sequence[str]) -> list[Verdict]:
        """Decide on candidates in order, as `accept` does for each; faster, and on several threads."""
        verdicts: list[Verdict] = []
        while len(verdicts) < len(texts):
            rest = texts[len(verdicts) :]
            index = self._ready(len(rest))
            verdicts += index.decide(rest[:_BATCH]) if isinstance(index, ScanIndex) else index.decide(rest).verdicts()
        return verdicts

    def decide(self, texts: Sequence[str]) -> Decisions:
        """Decide as `accept_batch` and return columns; a large batch takes half the time."""
        index = self._ready(len(texts))
        if texts and not isinstance(index, ScanIndex):
            return index.decide(texts)
        return columns(self.accept_batch(texts))

    def nearest(self, text: str, k: int = 1, *, before: int | None = None) -> list[Neighbour]:
        """Return the k most similar texts of the whole pool, best first (ties: the earliest).

        Texts with a score of 0 are included.

        It compares with every text: about 10 ms for a million texts.

        Args:
            text: the candidate.
            k: how many texts to return.
            before: compare only with this many of the first texts; default: all. The paper's code records the ten most
                similar earlier instructions.
        """
        return self.nearest_many([text], k, before=None if before is None else [before])[0]

    def nearest_many(
        self, texts: Sequence[str], k: int = 1, *, before: Sequence[int] | None = None
    ) -> list[list[Neighbour]]:
        """Return the nearest texts of each text, as `nearest` does, on several threads.

        Args:
            texts: the candidates.
            k: how many texts to return for each.
            before: for each, compare only with this many of the first texts; default: all.
        """
        index, size = self._ready(len(texts)), len(self)
        limits = [size] * len(texts) if before is None else [min(max(limit, 0), size) for limit in before]
        return index.nearest(texts, k, limits) if texts else []

    def _ready(self, num_candidates: int) -> ScanIndex | CompiledIndex:
        """Return the index that decides on the next candidates, with all appended texts in it."""
        few = SMALL if _compiled is None else _FEW
        if isinstance(self._index, ScanIndex) and len(self) + num_candidates > few:
            warm_up()
            if len(self) > _SCANNABLE:
                _done.wait()
            elif self._can_wait:
                self._can_wait = _done.wait(_LOADED_S)
            if _compiled is not None:
                scanned = self._index
                self._index = _compiled(scanned.threshold, scanned.num_seeds, self._threads, scanned.tokenizer)
                self._index.extend(scanned.texts)
        if self._waiting:
            self._index.extend(self._waiting)
            self._waiting = []
        return self._index
