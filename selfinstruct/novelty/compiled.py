"""The fast index: arrays that grow, and calls of the kernels.

Memory per text of 16 words: 64 bytes of words, 32 of signature, 8 of offset, about 150 of postings; and about 35 bytes
per word of the vocabulary. No call takes longer than adding its texts to the lists, because nothing is rebuilt in one
call. Address space is reserved, and memory is used only when it is written to, so arrays grow without being moved. The
vocabulary grows by one bucket per word. When the words are ranked again, new lists are filled a few texts at a time.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeAlias, TypeVar

import numpy as np

from selfinstruct.novelty import kernels
from selfinstruct.novelty.decision import Decisions, Neighbour
from selfinstruct.novelty.words import encode, text_key
from selfinstruct.records import Tokenizer

Array: TypeAlias = np.ndarray[Any, Any]
_Words: TypeAlias = tuple[Array, Array]  # The words of several texts, and where each text's words begin.
_Result = TypeVar("_Result")

_CHUNK_TEXTS = 1024  # Candidates searched together; the accepted ones are compared with each other one by one.
_CHUNK_BYTES = 1 << 17
_PARALLEL_TEXTS = 256  # Below, starting work on threads costs more than it saves.
_FIRST_RANKING = 1024  # Texts; words are ranked again when there are eight times as many, up to:
_LAST_RANKING = 1 << 16
_MOST_TEXTS = _MOST_WORDS = 1 << 28
_MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  # Named by Python from 3.13 on.
_SEED_COUNTS = 1 << 25  # Bytes.
_LARGEST_MATRIX = 1 << 20  # Of 64-bit words: texts of up to 8,000 words.
_SEEN = 256  # Size of the table of texts already compared; a long candidate reaches the same texts many times.
_SEEN_BY_LONG = 1 << 16
_CATCH_UP = 16  # Texts put into the new lists for each text added.


class CompiledIndex:
    """Earlier texts as words, their inverted lists, and the decisions.

    Args:
        threshold: reject when ROUGE-L F is greater.
        num_seeds: how many of the first texts are seeds.
        threads: for large batches; by default one per core of the process.
        tokenizer: how texts are split into words.
    """

    def __init__(
        self, threshold: float, num_seeds: int = 0, threads: int | None = None, tokenizer: Tokenizer = "words"
    ) -> None:
        self.threshold = threshold
        self.num_seeds = num_seeds
        self._tokenizer = tokenizer
        self._threads = threads or len(os.sched_getaffinity(0))
        self._workers: ThreadPoolExecutor | None = None
        self._table = np.empty((kernels.TABLE, kernels.TABLE), np.int64)
        kernels.fill_least_table(threshold, self._table)
        self._prefixes = np.zeros(kernels.TABLE, np.int64)
        self._one: kernels.Query | None = None  # For single candidates.
        self._seeds: kernels.Seeds | None = None
        self._words = kernels.Words(
            heads=_reserve(np.uint32, 1024 + _MOST_WORDS, huge=True),
            follow=_reserve(np.uint32, _MOST_WORDS, huge=True),
            key=_reserve(np.uint64, _MOST_WORDS, huge=True),
            at=_reserve(np.uint32, _MOST_WORDS),
            letters=_reserve(np.uint8, 1 << 32),
            size=np.array([0, 0, 1024, 0], np.int64),
        )
        self._docs = kernels.Docs(
            tokens=_reserve(np.uint32, 1 << 34, huge=True),
            start=_reserve(np.int64, _MOST_TEXTS + 1, huge=True),
            sign=_reserve(np.uint64, 4 * _MOST_TEXTS, huge=True),
            size=np.zeros(2, np.int64),
        )
        self._blank: dict[str, int] = {}  # Texts without words.
        self._lists = _new_lists(np.zeros(0, np.uint32))
        self._next_lists: kernels.Lists | None = None
        self._next_ranking = _FIRST_RANKING

    def __len__(self) -> int:
        return int(self._docs.size[0])

    # ------------------------------------------------------------------------------------------ public methods

    def extend(self, texts: Sequence[str]) -> None:
        """Append texts without deciding on them."""
        sign = np.empty(4, np.uint64)
        for chunk in _chunks(texts):
            tokens, start = self._split(chunk, insert=True)
            for k in np.flatnonzero(np.diff(start) == 0).tolist():
                self._blank.setdefault(text_key(chunk[k]), len(self) + k)
            _expect(kernels.append(tokens, start, self._docs, sign), len(chunk))
            self._index(added=len(chunk))

    def decide(self, texts: Sequence[str]) -> Decisions:
        """Decide on candidates (at least one) in order; append the accepted ones.

        Each candidate is compared with all texts before it.
        """
        chunks = _chunks(texts)
        words = self._split(chunks[0], insert=True)
        decisions = []
        for chunk, next_chunk in zip(chunks, [*chunks[1:], None], strict=True):
            decision, next_words = self._decide(chunk, words, next_chunk)
            decisions.append(decision)
            words = next_words or words
        return decision if len(chunks) == 1 else Decisions(*map(np.concatenate, zip(*decisions, strict=True)))

    def nearest(self, texts: Sequence[str], k: int, before: Sequence[int]) -> list[list[Neighbour]]:
        """Return the nearest texts of each text, best first (ties: the earliest).

        Args:
            texts: the candidates.
            k: how many texts to return for each.
            before: for each, compare only with this many of the first texts.
        """
        tokens, start = self._split(texts, insert=False)
        count = len(texts)
        scores, nearest = np.empty((count, k), np.float64), np.empty((count, k), np.int64)
        limits = np.asarray(before, np.int64)

        def work(first: int, last: int) -> None:
            query = self._query(tokens, start, k)
            kernels.nearest(query, start, first, last, limits, self._docs, scores, nearest)

        self._share(count, 1, work, lambda: None)
        return [
            [Neighbour(text, score) for text, score in zip(*pair, strict=True) if text >= 0]
            for pair in zip(nearest.tolist(), scores.tolist(), strict=True)
        ]

    # ----------------------------------------------------------------------------------------------- deciding

    def _decide(
        self, texts: Sequence[str], words: _Words, next_texts: Sequence[str] | None
    ) -> tuple[Decisions, _Words | None]:
        """Return the decisions on a chunk, and the words of the next chunk, which is split while workers search."""
        tokens, start = words
        count, new = len(texts), len(self)
        scores, seed_scores = np.empty(count), np.empty(count)
        nearest, nearest_seed = np.empty(count, np.int64), np.empty(count, np.int64)
        taken, refused = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        blanks = self._blanks(texts, start, refused)

        def work(first: int, last: int) -> None:
            query = self._query(tokens, start, 1)
            fixed = (self._docs, self._lists, self._seed_counts(), self.threshold, self._table)
            kernels.search(query, start, first, last, *fixed, scores, nearest, seed_scores, nearest_seed)

        next_words = self._share(
            count, _PARALLEL_TEXTS, work, lambda: self._split(next_texts, insert=True) if next_texts else None
        )
        query = self._query(tokens, start, 1)
        _expect(kernels.commit(query, start, new, refused, self._docs, scores, nearest, taken), count)
        positions = new - 1 + np.cumsum(taken) if blanks else taken
        for k, key in blanks:
            if taken[k]:
                self._blank[key] = int(positions[k])
            else:
                nearest[k], scores[k] = self._blank[key], 1.0
        self._index(added=len(self) - new)
        decisions = Decisions(taken, np.where(taken, nearest_seed, nearest), np.where(taken, seed_scores, scores))
        return decisions, next_words

    def _blanks(self, texts: Sequence[str], start: Array, refused: Array) -> list[tuple[int, str]]:
        """Return (position, key) of the candidates without words; mark those whose key is known as refused."""
        empty = start[1:] == start[:-1]
        if not empty.any():
            return []
        known, blanks = set(self._blank), [(k, text_key(texts[k])) for k in np.flatnonzero(empty).tolist()]
        for k, key in blanks:
            refused[k] = key in known
            known.add(key)
        return blanks

    def _query(self, tokens: Array, start: Array, k: int) -> kernels.Query:
        """Return arrays to work on candidates one after the other; each thread needs its own."""
        longest = int(np.max(start[1:] - start[:-1])) if start.size != 2 else int(start[1])
        if k == 1 and start.size == 2 and longest <= kernels.TABLE and self._one is not None:
            return self._one._replace(tokens=tokens)
        is_long = longest > kernels.TABLE
        blocks = -(-max(longest, 1) // kernels.TABLE)
        longest_text = max(longest, int(self._docs.size[1]))
        counted = 1 << (2 * longest).bit_length() if is_long else 1
        query = kernels.Query(
            tokens=tokens,
            order=np.empty(max(longest, kernels.TABLE), np.int64),
            sign=np.empty(4, np.uint64),
            keys=np.empty(kernels.SLOTS * blocks, np.uint32),
            masks=np.empty(kernels.SLOTS * blocks, np.uint64),
            carry=np.empty(longest_text if is_long else 1, np.uint8),
            counted=np.empty(counted, np.uint32),
            counts=np.empty(counted, np.int64),
            rows=np.empty(counted, np.int64),
            matrix=np.empty(longest * blocks if is_long and longest * blocks <= _LARGEST_MATRIX else 0, np.uint64),
            state=np.empty(blocks, np.uint64),
            places=np.empty(longest_text if is_long else 1, np.int64),
            span=np.zeros(4, np.int64),
            window=np.empty(5, np.int64),
            distance=np.empty(kernels.TABLE, np.int64),
            reach=np.empty(kernels.TABLE, np.int64),
            seen=np.full(_SEEN_BY_LONG if is_long else _SEEN, -1, np.int64),
            scores=np.empty(k, np.float64),
            texts=np.empty(k, np.int64),
            shared=np.empty(self.num_seeds, np.uint8),
            bounds=np.empty(self.num_seeds, np.float64),
        )
        if k == 1 and start.size == 2 and not is_long:
            self._one = query
        return query

    def _seed_counts(self) -> kernels.Seeds:
        if self._seeds is None:
            seeds = min(self.num_seeds, len(self))
            bounds = self._docs.start[: seeds + 1].tolist()
            words = int(self._docs.tokens[: bounds[-1]].max(initial=0)) + 1
            counts = np.zeros((words if words * seeds <= _SEED_COUNTS else 0, seeds), np.uint8)
            for seed, (first, last) in enumerate(pairwise(bounds if len(counts) else [])):
                for token in self._docs.tokens[first:last].tolist():
                    counts[token, seed] += counts[token, seed] < 255
            seed_counts = kernels.Seeds(counts, np.diff(np.array(bounds, np.float64)))
            if seeds < self.num_seeds:
                return seed_counts
            self._seeds = seed_counts
        return self._seeds

    def _share(
        self, count: int, least: int, work: Callable[[int, int], None], meanwhile: Callable[[], _Result]
    ) -> _Result:
        """Call `work(first, last)` for parts of range(count), on several threads when there are more than `least`.

        `meanwhile` is called by this thread while others work.
        """
        if self._threads == 1 or count <= least:
            work(0, count)
            return meanwhile()
        if self._workers is None:
            self._workers = ThreadPoolExecutor(self._threads, thread_name_prefix="novelty")
        bounds = np.linspace(0, count, min(count, 4 * self._threads) + 1).astype(int).tolist()
        parts = [self._workers.submit(work, first, last) for first, last in pairwise(bounds)]
        result = meanwhile()
        for part in parts:
            part.result()
        return result

    # ------------------------------------------------------------------------------------------------ growing

    def _split(self, texts: Sequence[str], *, insert: bool) -> _Words:
        """Return the words of all texts, and where each text's words begin."""
        joined = "\n".join(texts)
        if joined.isascii():
            data = joined.encode("ascii")
            lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        else:
            parts = [encode(text, self._tokenizer) for text in texts]
            data = b"\n".join(parts)
            lengths = np.fromiter(map(len, parts), np.int64, len(texts))
        bounds = np.zeros(len(texts) + 1, np.int64)
        np.cumsum(lengths + 1, out=bounds[1:])
        tokens = np.empty(len(data) // 2 + len(texts) + 1, np.uint32)
        start = np.zeros(len(texts) + 1, np.int64)
        letters = np.frombuffer(data or b"\n", np.uint8)
        _expect(kernels.split_texts(letters, bounds, insert, self._words, tokens, start), len(texts))
        return tokens, start

    def _index(self, added: int) -> None:
        """Put the texts that are not in the lists yet into them; rank the words again at the set sizes."""
        self._lists = self._fill(self._lists, len(self))
        if self._next_lists is not None:
            done = int(self._next_lists.size[1])
            self._next_lists = self._fill(self._next_lists, min(len(self), done + _CATCH_UP * added))
            if self._next_lists.size[1] == len(self):
                self._lists, self._next_lists = self._next_lists, None
        elif len(self) >= self._next_ranking:
            while self._next_ranking <= len(self):
                self._next_ranking = 8 * self._next_ranking if 8 * self._next_ranking <= _LAST_RANKING else 1 << 62
            self._next_lists = _new_lists(self.ranking())

    def ranking(self) -> Array:
        """Return the rank of each known word: fewer occurrences are rarer (ties: the newer word is rarer)."""
        counts = np.zeros(int(self._words.size[0]), np.int64)
        kernels.count_words(self._docs, counts)
        rank = np.empty(counts.size, np.uint32)
        newest_first = np.argsort(counts[::-1], kind="stable")
        rank[counts.size - 1 - newest_first] = kernels.NEWEST + np.arange(counts.size)
        return rank

    def _fill(self, lists: kernels.Lists, last: int) -> kernels.Lists:
        order = np.empty(max(int(self._docs.size[1]), 1), np.int64)
        _expect(kernels.index_texts(self._docs, lists, last, self.threshold, order, self._prefixes), True)
        return lists


def _new_lists(rank: Array) -> kernels.Lists:
    arena = _reserve(np.uint64, 1 << 32, huge=True)
    return kernels.Lists(
        rank=rank,
        heads=_reserve(np.uint64, _MOST_WORDS, huge=True),
        arena=arena,
        arena32=arena.view(np.uint32),
        arena8=arena.view(np.uint8),
        free=np.zeros(3 * kernels.SIZES, np.int64),
        size=np.array([1, 0], np.int64),  # Cell 0 stays unused: 0 means "no block".
    )


def _reserve(dtype: type, count: int, *, huge: bool = False) -> Array:
    """Return an array of zeros that takes memory only when it is written to; smaller where address space is limited.

    `huge` asks for pages of 2 MiB, which saves a fifth of the time at a million texts (misses of the address cache).
    """
    size = count * np.dtype(dtype).itemsize
    while True:
        try:
            memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE)
            break
        except (OSError, ValueError, OverflowError):
            if size < 1 << 20:
                raise
            size //= 2
    if huge and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # The system does not offer them.
            memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, dtype)


def _expect(done: int, all_of_them: int) -> None:
    if done != all_of_them:
        raise MemoryError("the novelty index has used up the address space it could reserve (see `ulimit -v`)")


def _chunks(texts: Sequence[str]) -> list[Sequence[str]]:
    """Return parts of at most `_CHUNK_TEXTS` texts and about `_CHUNK_BYTES` characters."""
    chunks, first, size = [], 0, 0
    for k, text in enumerate(texts):
        size += len(text)
        if k + 1 - first == _CHUNK_TEXTS or size > _CHUNK_BYTES:
            chunks.append(texts[first : k + 1])
            first, size = k + 1, 0
    if first < len(texts):
        chunks.append(texts[first:])
    return chunks
