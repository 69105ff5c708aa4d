"""The compiled part of the novelty index: splitting into words, the inverted lists, LCS, the searches.

All kernels are in one file: numba's disk cache checks only the file of the function that it caches, so it would not
notice a changed helper in another file. Two properties of numba shape the code: an expression that mixes uint64 and a
signed integer silently becomes float64 (hence `_U`); a signed index costs a test for negative values, which keeps LLVM
from vectorising (hence unsigned indices in the two scans that matter).

Arrays belong to the caller (`compiled.py`). A kernel that runs out of room returns how many texts are done.
"""

# mypy: ignore-errors
# numba infers the types of the kernels, as machine types; Python annotations would tell mypy something else.

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

Array: TypeAlias = np.ndarray[Any, Any]

# Reference counts (`_nrt`) are switched off: the kernels keep no array, and an atomic count at every access to a field
# takes a third of the time. For the same reason they allocate nothing.
_OPTIONS = {"error_model": "numpy", "nogil": True, "_nrt": False}
# Functions that are called often are inlined: a call passes every field of every array, some 150 machine words.
_inner = njit(forceinline=True, **_OPTIONS)
_apart = njit(**_OPTIONS)


def _kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first call and keep the machine code on disk.

    numba writes it beside the source, else (a read-only installation) into the user's cache directory, or into
    NUMBA_CACHE_DIR. If none of these can be written, numba raises, and every process compiles the code again.
    """
    try:
        return njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:
        return njit(**_OPTIONS)(function)


class Words(NamedTuple):
    """The vocabulary: a hash table of words by linear hashing, which grows by one bucket per word, without pauses.

    A word is its number, from 0. Up to seven bytes are the key itself; a longer word has bit 63 set in its key, a hash,
    and its bytes in `letters`.
    """

    heads: Array  # (buckets,) uint32: first word of a bucket + 1, 0 when it is empty
    follow: Array  # (words,) uint32: next word of the bucket + 1
    key: Array  # (words,) uint64
    at: Array  # (words,) uint32: where the bytes of a long word begin
    letters: Array  # (bytes,) uint8
    size: Array  # (4,) int64: words, bytes, buckets of the current round, next bucket to split


class Docs(NamedTuple):
    """The earlier texts as words. `sign` holds 256 bits per text: each word sets one."""

    tokens: Array  # (tokens,) uint32
    start: Array  # (texts + 1,) int64
    sign: Array  # (4 * texts,) uint64
    size: Array  # (2,) int64: texts, words of the longest


class Lists(NamedTuple):
    """The inverted lists: for each word, the texts whose prefix holds it.

    Words are ordered rarest first by `rank`, which never changes in one `Lists`; words that came after the ranking
    count as rarer, the newest first. A text's postings are those of its first words in that order (see `_prefix`).

    A posting is (text, length class, position in the order, 64-bit signature). Up to `_LONG` postings of a word are
    one block of `arena`, two 64-bit words each. Longer lists are divided by length class: a directory of `_CLASSES`
    entries (offset << 32 | count), each a block of c signatures, then c text numbers (32 bits), then c positions
    (8 bits, ascending), so that a scan reads 8 bytes per posting, and only the postings it needs. Blocks have room for
    2^k or 3 * 2^k postings; a list that outgrows its block moves, and the old block is used again.
    """

    rank: Array  # (ranked words,) uint32
    heads: Array  # (words,) uint64: offset of the word's block << 32 | postings; of its directory << 32 | _DIVIDED
    arena: Array  # (cells,) uint64
    arena32: Array  # the same memory as uint32 and as uint8
    arena8: Array
    free: Array  # (3 * SIZES,) int64: first unused block of each kind and size, 0 for none
    size: Array  # (2,) int64: cells in use, texts in the lists


_U = np.uint64
_ONE = np.uint64(1)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_TOP = np.uint64(1 << 63)
_LOW32 = np.uint64(0xFFFFFFFF)
_PRIME = np.uint64(0x9E3779B97F4A7C15)
UNKNOWN = np.uint32(0xFFFFFFFF)  # A word that is not in the vocabulary: equal to nothing, itself included.
NEWEST = np.int64(1 << 30)  # Ranks below it belong to words that came after the ranking.

TABLE = 64  # Lengths below have exact table entries and a length class of their own.
_CLASSES = 128
_LONG = 256
_DIVIDED = np.int64(0xFFFFFFFF)
SIZES = 64
_SMALL, _BUCKET, _DIRECTORY = 0, 1, 2
_ROOM = 4096  # Cells that are surely enough for any step except a growing bucket.
SLOTS = 128  # Of the table that finds a word in a block of 64 words of a text.
_SLACK = 1e-9  # Bounds computed as floats are loosened by this; the decision itself is never computed from a bound.

# What a byte is to the splitter: ASCII lower-cased, parts of non-ASCII characters themselves, 0 for what is no word.
_FOLD = np.array(
    [b + 32 if 65 <= b <= 90 else b if b >= 128 or 48 <= b <= 57 or 97 <= b <= 122 else 0 for b in range(256)],
    np.uint8,
)


@intrinsic
def _popcount(typing_context: Any, word: Any) -> Any:
    """Return the number of set bits of a uint64; LLVM vectorises it where the processor can."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@intrinsic
def _prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Prefetch the cache line of array[index] (uint64)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        flag = ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch", [pointer.type], ir.FunctionType(ir.VoidType(), [pointer.type, flag, flag, flag])
        )
        builder.call(function, [pointer, flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


# ------------------------------------------------------------------------------------------------ ROUGE-L arithmetic


@_inner
def _f_measure(lcs, m, n):
    """Return the float that rouge_score computes, as `decision.rouge_l` does."""
    if lcs == 0:
        return 0.0
    precision = lcs / n
    recall = lcs / m
    return 2 * precision * recall / (precision + recall)


@_apart
def _least(m, n, threshold):
    """Return Lmin[m][n]: the smallest LCS whose float F exceeds the threshold; min(m, n) + 1 when none does."""
    most = min(m, n)
    lcs = min(int(threshold * (m + n) * 0.5), most)
    while lcs > 0 and _f_measure(lcs - 1, m, n) > threshold:
        lcs -= 1
    while lcs <= most and not _f_measure(lcs, m, n) > threshold:
        lcs += 1
    return lcs


@_apart
def _shortest(n, threshold):
    """Return the smallest m whose texts can exceed the threshold with a text of n words (all m words common)."""
    m = max(int(threshold * n / (2.0 - threshold)) - 1, 1)
    while _least(m, n, threshold) > m:
        m += 1
    return m


@_kernel
def fill_least_table(threshold, table):
    """Fill a table of Lmin for lengths below TABLE; row n, column m."""
    for n in range(TABLE):
        for m in range(TABLE):
            table[n, m] = _least(m, n, threshold) if m and n else 1


@_apart
def _prefix(n, threshold):
    """Return how many words of a text of n words, rarest first, must be looked up.

    A pair above the threshold has a common subsequence, hence at least as many common words, of a >= Lmin. In a common
    order of all words the first common one has a - 1 others behind it in both texts, so it is at a position
    <= n - a of the one and <= m - a of the other. Lmin grows with the other length; it is least for the shortest one.
    """
    return n - _least(_shortest(n, threshold), n, threshold) + 1


# ------------------------------------------------------------------------------------------------------------ words


@_inner
def _mix(word):
    word = (word ^ (word >> _U(32))) * _PRIME
    word = (word ^ (word >> _U(29))) * _PRIME
    return word ^ (word >> _U(32))


@_inner
def _bucket(key, size):
    mixed = _mix(key)
    bucket = np.int64(mixed & _U(size[2] - 1))
    if bucket < size[3]:
        bucket = np.int64(mixed & _U(2 * size[2] - 1))
    return bucket


@_apart
def _split(words):
    """Divide the next bucket in two; after a whole round the number of buckets has doubled."""
    old = words.size[3]
    words.size[3] += 1
    word = np.int64(words.heads[old])
    words.heads[old] = 0
    words.heads[words.size[2] + old] = 0
    while word:
        follow = np.int64(words.follow[word - 1])
        bucket = _bucket(words.key[word - 1], words.size)
        words.follow[word - 1] = words.heads[bucket]
        words.heads[bucket] = word
        word = follow
    if words.size[3] == words.size[2]:
        words.size[2] *= 2
        words.size[3] = 0


@_inner
def _word(words, data, begin, end, key, insert):
    """Return the number of the word data[begin:end]. A new word is added, or UNKNOWN is returned."""
    bucket = _bucket(key, words.size)
    word = np.int64(words.heads[bucket])
    while word:
        if words.key[word - 1] == key:
            if not key & _TOP:
                return np.uint32(word - 1)
            at = np.int64(words.at[word - 1])
            same = 0
            while same < end - begin and words.letters[at + same] == _FOLD[data[begin + same]]:
                same += 1
            if same == end - begin and words.letters[at + same] == 0:  # Long words are stored with a 0 at their end.
                return np.uint32(word - 1)
        word = np.int64(words.follow[word - 1])
    if not insert:
        return UNKNOWN
    number = words.size[0]
    words.size[0] += 1
    words.key[number] = key
    if key & _TOP:
        at = words.size[1]
        words.at[number] = at
        for k in range(begin, end):
            words.letters[at] = _FOLD[data[k]]
            at += 1
        words.letters[at] = 0
        words.size[1] = at + 1
    words.follow[number] = words.heads[bucket]
    words.heads[bucket] = number + 1
    _split(words)
    return np.uint32(number)


@_kernel
def split_texts(data, bounds, insert, words, tokens, start):
    """Write the words of the texts data[bounds[i] : bounds[i + 1] - 1] to tokens[start[i] : start[i + 1]].

    Return the number of texts done: fewer than all if the vocabulary may lack room for the words of the next.
    """
    for i in range(bounds.size - 1):
        at, end = bounds[i], bounds[i + 1] - 1
        length = end - at
        if insert and (
            words.size[0] + length // 2 + 2 > words.key.size or words.size[1] + 2 * length > words.letters.size
        ):
            return i
        out = start[i]
        while at < end:
            byte = _FOLD[data[at]]
            if byte == 0:
                at += 1
                continue
            begin = at
            part = _U(0)
            hashed = _U(0)
            shift = _U(0)
            while byte != 0:
                if shift == _U(56):
                    hashed = _mix(hashed ^ part)
                    part = _U(0)
                    shift = _U(0)
                part |= _U(byte) << shift
                shift += _U(8)
                at += 1
                if at == end:
                    break
                byte = _FOLD[data[at]]
            key = part if at - begin <= 7 else _mix(hashed ^ part) | _TOP
            tokens[out] = _word(words, data, begin, at, key, insert)
            out += 1
        start[i + 1] = out
    return bounds.size - 1


# ------------------------------------------------------------------------------------------------------------- LCS


@_inner
def _sign(tokens, begin, end, sign):
    for k in range(4):
        sign[k] = _U(0)
    for k in range(begin, end):
        bit = (_U(tokens[k]) * _PRIME) >> _U(56)
        sign[np.int64(bit >> _U(6))] |= _ONE << (bit & _U(63))


@_inner
def _slot(token):
    return np.int64((_U(token) * _PRIME) >> _U(57))


@_inner
def _mask_words(tokens, begin, end, keys, masks):
    """Make, for every block of 64 words, a table from word to the bit mask of its places; `SLOTS` slots per block."""
    blocks = (end - begin + 63) >> 6
    for k in range(blocks * SLOTS):
        keys[k] = UNKNOWN
    for k in range(begin, end):
        token = tokens[k]
        if token != UNKNOWN:
            block = (k - begin) >> 6
            slot = _slot(token)
            while keys[block * SLOTS + slot] != UNKNOWN and keys[block * SLOTS + slot] != token:
                slot = (slot + 1) & (SLOTS - 1)
            index = block * SLOTS + slot
            bit = _ONE << _U((k - begin) & 63)
            masks[index] = (_U(0) if keys[index] == UNKNOWN else masks[index]) | bit
            keys[index] = token


@_inner
def _mask(keys, masks, base, token):
    slot = _slot(token)
    while True:
        key = keys[base + slot]
        if key == token:
            return masks[base + slot]
        if key == UNKNOWN:
            return _U(0)
        slot = (slot + 1) & (SLOTS - 1)


@_inner
def _lcs(tokens, begin, end, n, keys, masks, carry, needed):
    """Return the LCS of a text with the candidate of n words with these masks; -1 if it is surely less than `needed`.

    Bit-parallel (Hyyrö 2004): 64 words of the candidate at a time, against every word of the text. `carry` takes the
    sum's carry of each word of the text from one block to the next.
    """
    lcs = 0
    blocks = (n + 63) >> 6
    for block in range(blocks):
        base = block * SLOTS
        row = _ALL
        if blocks == 1:
            for k in range(begin, end):
                common = row & _mask(keys, masks, base, tokens[k])
                row = (row + common) | (row - common)
        else:
            for k in range(begin, end):
                common = row & _mask(keys, masks, base, tokens[k])
                plus = row + common
                over = plus < row
                bit = _U(carry[k - begin]) if block else _U(0)
                total = plus + bit
                carry[k - begin] = over or total < plus
                row = total | (row - common)
        lcs += _popcount(~row)
        if lcs + max(n - 64 * (block + 1), 0) < needed:
            return np.int64(-1)
    return lcs


# ---------------------------------------------------------------------------------------------------------- lists


@_inner
def _class(m):
    """Return the length class: lengths below 64 themselves, then eight classes per doubling; monotone in m."""
    if m < TABLE:
        return m
    octave = 0
    while m >> (octave + 7):
        octave += 1
    return min(TABLE + 8 * octave + ((m >> (octave + 3)) & 7), _CLASSES - 1)


@_inner
def _size(count):
    """Return (size number, capacity) of the smallest block for `count` postings: 1, 2, 3, 4, 6, 8, 12, 16, 24 ..."""
    if count <= 1:
        return 0, 1
    number, power = 1, 2
    while power < count:
        if power + (power >> 1) >= count:
            return number + 1, power + (power >> 1)
        number += 2
        power *= 2
    return number, power


@_inner
def _cells(kind, capacity):
    if kind == _SMALL:
        return 2 * capacity
    if kind == _BUCKET:
        return capacity + ((capacity + 1) >> 1) + ((capacity + 7) >> 3)
    return np.int64(_CLASSES)


@_inner
def _allocate(lists, kind, number, capacity):
    index = kind * SIZES + number
    block = lists.free[index]
    if block:
        lists.free[index] = np.int64(lists.arena[block])
        return block
    block = lists.size[0]
    lists.size[0] += _cells(kind, capacity)
    return block


@_inner
def _release(lists, kind, number, block):
    index = kind * SIZES + number
    lists.arena[block] = _U(lists.free[index])
    lists.free[index] = block


@_apart
def _append_to_bucket(lists, entry, text, position, sign):
    """Insert a posting into the bucket of a directory entry, ordered by position."""
    word = lists.arena[entry]
    count = np.int64(word & _LOW32)
    block = np.int64(word >> _U(32))
    number, capacity = _size(max(count, 1))
    if count == 0:
        block = _allocate(lists, _BUCKET, number, capacity)
    elif count == capacity:
        new_number, new_capacity = _size(count + 1)
        new = _allocate(lists, _BUCKET, new_number, new_capacity)
        for k in range(count):
            lists.arena[new + k] = lists.arena[block + k]
            lists.arena32[2 * (new + new_capacity) + k] = lists.arena32[2 * (block + capacity) + k]
        old_positions = 8 * (block + capacity + ((capacity + 1) >> 1))
        new_positions = 8 * (new + new_capacity + ((new_capacity + 1) >> 1))
        for k in range(count):
            lists.arena8[new_positions + k] = lists.arena8[old_positions + k]
        _release(lists, _BUCKET, number, block)
        block, capacity = new, new_capacity
    texts = 2 * (block + capacity)
    positions = 8 * (block + capacity + ((capacity + 1) >> 1))
    k = count
    while k > 0 and lists.arena8[positions + k - 1] > position:
        lists.arena8[positions + k] = lists.arena8[positions + k - 1]
        lists.arena32[texts + k] = lists.arena32[texts + k - 1]
        lists.arena[block + k] = lists.arena[block + k - 1]
        k -= 1
    lists.arena[block + k] = sign
    lists.arena32[texts + k] = text
    lists.arena8[positions + k] = position
    lists.arena[entry] = (_U(block) << _U(32)) | _U(count + 1)


@_inner
def _append(lists, token, text, length_class, position, sign):
    """Add a posting to a word's list. Return False, and do nothing, if the arena may lack the room."""
    count = np.int64(lists.heads[token] & _LOW32)
    block = np.int64(lists.heads[token] >> _U(32))
    room = lists.arena.size - lists.size[0] - _ROOM
    if count == _DIVIDED:
        entry = block + length_class
        if room < _cells(_BUCKET, _size(np.int64(lists.arena[entry] & _LOW32) + 1)[1]):
            return False
        _append_to_bucket(lists, entry, text, position, sign)
        return True
    if room < 0:
        return False
    if count == _LONG:
        directory = _allocate(lists, _DIRECTORY, 0, 0)
        for k in range(_CLASSES):
            lists.arena[directory + k] = _U(0)
        for k in range(count):
            posting = lists.arena[block + 2 * k + 1]
            entry = directory + np.int64((posting >> _U(32)) & _U(255))
            old_text, old_position = np.int64(posting & _LOW32), np.int64(posting >> _U(40))
            _append_to_bucket(lists, entry, old_text, old_position, lists.arena[block + 2 * k])
        _release(lists, _SMALL, _size(count)[0], block)
        _append_to_bucket(lists, directory + length_class, text, position, sign)
        lists.heads[token] = (_U(directory) << _U(32)) | _U(_DIVIDED)
        return True
    number, capacity = _size(max(count, 1))
    if count == 0:
        block = _allocate(lists, _SMALL, number, capacity)
    elif count == capacity:
        new_number, new_capacity = _size(count + 1)
        new = _allocate(lists, _SMALL, new_number, new_capacity)
        for k in range(2 * count):
            lists.arena[new + k] = lists.arena[block + k]
        _release(lists, _SMALL, number, block)
        block = new
    lists.arena[block + 2 * count] = sign
    lists.arena[block + 2 * count + 1] = _U(text) | (_U(length_class) << _U(32)) | (_U(position) << _U(40))
    lists.heads[token] = (_U(block) << _U(32)) | _U(count + 1)
    return True


@_inner
def _order(tokens, begin, end, rank, order):
    """Sort the words of a text rarest first into `order` (rank << 32 | word)."""
    n = end - begin
    for k in range(n):
        token = np.int64(tokens[begin + k])
        age = np.int64(rank[token]) if token < rank.size else NEWEST - 1 - token
        if token == np.int64(UNKNOWN):
            age = np.int64(0)
        order[k] = (age << 32) | token
    gap = 1
    while gap * 3 < n and n > 40:
        gap = gap * 3 + 1
    while gap:
        for k in range(gap, n):
            value = order[k]
            j = k
            while j >= gap and order[j - gap] > value:
                order[j] = order[j - gap]
                j -= gap
            order[j] = value
        gap //= 3


@_kernel
def index_texts(docs, lists, last, threshold, order, prefixes):
    """Put the texts up to `last` into the lists; return False if there is no room to continue.

    `order`: int64, as long as the longest text. `prefixes`: (TABLE,) int64, zeros, keeps `_prefix` of short texts.
    """
    while lists.size[1] < last:
        text = lists.size[1]
        begin, end = docs.start[text], docs.start[text + 1]
        n = end - begin
        if n:
            if n < TABLE:
                if prefixes[n] == 0:
                    prefixes[n] = _prefix(n, threshold)
                prefix = prefixes[n]
            else:
                prefix = _prefix(n, threshold)
            _order(docs.tokens, begin, end, lists.rank, order)
            sign = docs.sign[4 * text] | docs.sign[4 * text + 1] | docs.sign[4 * text + 2] | docs.sign[4 * text + 3]
            length_class = _class(n)
            for k in range(prefix):
                _prefetch(lists.heads, order[k] & 0xFFFFFFFF)
            for k in range(prefix):
                head = lists.heads[order[k] & 0xFFFFFFFF]
                count, block = np.int64(head & _LOW32), np.int64(head >> _U(32))
                _prefetch(lists.arena, block + (length_class if count == _DIVIDED else 2 * count))
            for k in range(prefix):
                # Only the first occurrence of a repeated word: an earlier place in both texts is found anyway.
                if (k == 0 or order[k] != order[k - 1]) and not _append(
                    lists, order[k] & 0xFFFFFFFF, text, length_class, min(k, 255), sign
                ):
                    return False
        lists.size[1] += 1
    return True


@_kernel
def count_words(docs, counts):
    """Count the occurrences of each word in all texts."""
    for k in range(docs.start[docs.size[0]]):
        counts[docs.tokens[k]] += 1


# --------------------------------------------------------------------------------------------------------- a query


class Query(NamedTuple):
    """One candidate and the best found for it so far; the arrays serve one candidate after the other."""

    tokens: Array  # uint32: words of all candidates
    order: Array  # int64: its words, rarest first
    sign: Array  # (4,) uint64
    keys: Array  # masks of its words for the LCS: made when first needed
    masks: Array
    carry: Array
    # For more than 64 words:
    counted: Array  # uint32: its words as a bag, by hash
    counts: Array  # int64: how often it holds each
    rows: Array  # int64: the row of each in `matrix`
    matrix: Array  # uint64: for each word a row of bits, its places; empty when it would be too large
    state: Array  # uint64: a row
    places: Array  # int64, as long as the longest text: where each of a text's words is in `counted`, -1 for nowhere
    span: Array  # (4,) int64: begin, end, whether masks are made, number
    window: Array  # (5,) int64: shortest and longest length below 64, length classes above it, last place to look at
    distance: Array  # (64,) int64: by length, how many bits of the signatures may differ, -1 for none
    reach: Array  # (64,) int64: by length, the last place of another text at which an overlap can begin
    seen: Array  # int64: texts compared already, by their last bits
    scores: Array  # (k,) float64: best first; the last one is the bound to exceed
    texts: Array  # (k,) int64
    shared: Array  # (seeds,) uint8: words in common with each seed
    bounds: Array  # (seeds,) float64: the F that they allow


@_inner
def _take_up(query, start, i, bound):
    """Start with candidate i, for which only an F above `bound` counts."""
    query.span[0] = start[i]
    query.span[1] = start[i + 1]
    query.span[2] = 0
    query.span[3] += 1
    for k in range(query.scores.size):
        query.scores[k] = bound
        query.texts[k] = -1
    _sign(query.tokens, start[i], start[i + 1], query.sign)


@_inner
def _counted_at(counted, token):
    slot = np.int64((_U(token) * _PRIME) >> _U(40)) & (counted.size - 1)
    while counted[slot] != token and counted[slot] != UNKNOWN:
        slot = (slot + 1) & (counted.size - 1)
    return slot


@_inner
def _prepare(query):
    """Make the tables with which texts are compared."""
    begin, end = query.span[0], query.span[1]
    query.span[2] = 1
    if end - begin <= TABLE or query.matrix.size == 0:
        _mask_words(query.tokens, begin, end, query.keys, query.masks)
    if end - begin <= TABLE:
        return
    for slot in range(query.counted.size):
        query.counted[slot] = UNKNOWN
    width = (end - begin + 63) >> 6
    used = 0
    for k in range(begin, end):
        token = query.tokens[k]
        slot = _counted_at(query.counted, token)
        if query.counted[slot] == UNKNOWN:
            query.counted[slot] = token
            query.counts[slot] = 0
            query.rows[slot] = used * width
            used += token != UNKNOWN
            if query.matrix.size:
                for word in range(query.rows[slot], query.rows[slot] + width):
                    query.matrix[word] = _U(0)
        query.counts[slot] += 1
        if query.matrix.size and token != UNKNOWN:
            query.matrix[query.rows[slot] + ((k - begin) >> 6)] |= _ONE << _U((k - begin) & 63)


@_apart
def _common_words(query, tokens, begin, end):
    """Return (size of the common bag of words, words of the text that are in the candidate); set `places`.

    The first number is an upper bound of the LCS, at a fraction of its cost.
    """
    common, present = 0, 0
    for k in range(begin, end):
        slot = _counted_at(query.counted, tokens[k])
        if query.counted[slot] == UNKNOWN:
            query.places[k - begin] = -1
        else:
            query.places[k - begin] = slot
            query.counts[slot] -= 1
            common += query.counts[slot] >= 0
            present += 1
    for k in range(end - begin):
        if query.places[k] >= 0:
            query.counts[query.places[k]] += 1
    return common, present


@_apart
def _lcs_of_long(query, m, n, left, needed):
    """Compute `_lcs` for more than 64 words, after `_common_words`: each word of the text against a row of the matrix.

    A common subsequence of `needed` words skips at most m - needed words of the text and n - needed of the candidate,
    so its pairs of places lie in a band about the diagonal; matches outside are skipped, since they could only
    give less than `needed`. `left` counts the words of the text not read yet: it bounds what they can add.
    """
    width = (n + 63) >> 6
    for word in range(width):
        query.state[word] = _ALL
    for k in range(m):
        if query.places[k] < 0:
            continue
        if left & 63 == 0:
            lcs = np.int64(0)
            for word in range(width):
                lcs += _popcount(~query.state[word])
            if lcs + left < needed:
                return np.int64(-1)
        left -= 1
        row = query.rows[query.places[k]]
        first = max(k - (m - needed), 0) >> 6
        last = min(k + (n - needed), n - 1) >> 6
        carry = _U(0)
        for word in range(first, last + 1):
            state = query.state[word]
            common = state & query.matrix[row + word]
            plus = state + common
            total = plus + carry
            carry = _U(plus < state) | _U(total < plus)
            query.state[word] = total | (state - common)
        word = last + 1
        while carry and word < width:  # A row of ones hands the carry on.
            carry = _U(query.state[word] == _ALL)
            query.state[word] |= query.state[word] + _ONE
            word += 1
    lcs = np.int64(0)
    for word in range(width):
        lcs += _popcount(~query.state[word])
    return lcs if lcs >= needed else np.int64(-1)


@_inner
def _score(query, docs, text):
    """Return F with a text; any smaller number if it surely does not reach the bound."""
    begin, end = docs.start[text], docs.start[text + 1]
    m, n = end - begin, query.span[1] - query.span[0]
    if m == 0 or n == 0:
        return 0.0
    bound = (query.scores[-1] - _SLACK) * (m + n)
    if 2 * min(m, n) < bound:
        return -1.0
    if not query.span[2]:
        _prepare(query)
    needed = max(np.int64(np.ceil(0.5 * bound)), 0)
    present = 0
    if n > TABLE:
        common, present = _common_words(query, docs.tokens, begin, end)
        if common < needed:
            return -1.0
    if n > TABLE and query.matrix.size:
        lcs = _lcs_of_long(query, m, n, present, needed)
    else:
        lcs = _lcs(docs.tokens, begin, end, n, query.keys, query.masks, query.carry, needed)
    return _f_measure(lcs, m, n) if lcs >= 0 else -1.0


@_inner
def _scan(query, docs, first, last):
    """Improve the best k by the texts first <= text < last, one after the other.

    A text must score more than the last of the k: of equal ones the earlier stays.
    """
    n = query.span[1] - query.span[0]
    s0, s1, s2, s3 = query.sign[0], query.sign[1], query.sign[2], query.sign[3]
    scores, texts = query.scores, query.texts
    bound = scores[-1] - _SLACK
    begin = docs.start[first]
    for text in range(first, last):
        end = docs.start[text + 1]
        m = end - begin
        begin = end
        at = 4 * text
        differing = (
            _popcount(docs.sign[at] ^ s0)
            + _popcount(docs.sign[at + 1] ^ s1)
            + _popcount(docs.sign[at + 2] ^ s2)
            + _popcount(docs.sign[at + 3] ^ s3)
        )
        # A word that only one of the two has changes at most one bit, so 2 * LCS <= m + n - differing.
        if m + n - differing < bound * (m + n):
            continue
        score = _score(query, docs, text)
        if score > scores[-1]:
            k = scores.size - 1
            while k > 0 and scores[k - 1] < score:
                scores[k] = scores[k - 1]
                texts[k] = texts[k - 1]
                k -= 1
            scores[k] = score
            texts[k] = text
            bound = scores[-1] - _SLACK


class Seeds(NamedTuple):
    """How often each seed holds each word; used to find the nearest seed of each accepted candidate."""

    counts: Array  # (words, seeds) uint8, at most 255; no rows when there are too many seeds, which are scanned then
    lengths: Array  # (seeds,) float64


@_inner
def _nearest_seed(query, docs, seeds):
    """Set the best of `query` to the nearest seed (ties: the earliest).

    The number of common words bounds the LCS, so that only a few of 175 seeds must be compared. The loops
    over a row are vectorised.
    """
    n, number = query.span[1] - query.span[0], seeds.lengths.size
    query.scores[0] = -1.0
    if n > 255 or seeds.counts.shape[0] == 0:
        _scan(query, docs, 0, number)
        return
    for seed in range(number):
        query.shared[seed] = 0
    occurrence = np.uint8(1)
    for k in range(n):
        occurrence = np.uint8(occurrence + 1) if k and query.order[k] == query.order[k - 1] else np.uint8(1)
        token = query.order[k] & 0xFFFFFFFF
        if token < seeds.counts.shape[0]:
            for seed in range(number):
                query.shared[seed] += np.uint8(seeds.counts[token, seed] >= occurrence)
    for seed in range(number):
        query.bounds[seed] = 2.0 * query.shared[seed] / (seeds.lengths[seed] + n)
    first = 0
    for seed in range(number):
        if query.bounds[seed] > query.bounds[first]:
            first = seed
    query.scores[0], query.texts[0] = 0.0, 0
    for k in range(-1 if query.shared[first] else number, number):  # The most promising one first.
        seed = first if k < 0 else k
        if query.bounds[seed] >= query.scores[0] - _SLACK:
            score = _score(query, docs, seed)
            if score > query.scores[0] or (score == query.scores[0] and seed < query.texts[0]):
                query.scores[0], query.texts[0] = score, seed


# ------------------------------------------------------------------------------------------- searching by the lists


@_inner
def _limits(query, threshold, table):
    """Set `distance` and `reach` of the lengths in the window, by the LCS needed to exceed the threshold and to equal
    the best score found so far."""
    n, best = query.span[1] - query.span[0], query.scores[0] - _SLACK
    for m in range(query.window[0], query.window[1] + 1):
        least = table[n, m] if n < TABLE else _least(m, n, threshold)
        least = max(least, np.int64(np.ceil(0.5 * best * (m + n))))
        possible = least <= min(m, n)
        query.distance[m] = m + n - 2 * least if possible else -1
        query.reach[m] = m - least if possible else -1


@_inner
def _consider(query, docs, text, threshold, table):
    """Compare with one text, unless that was done recently; of equal scores the earlier text is kept."""
    mark = (query.span[3] << 40) | text
    if query.seen[text & (query.seen.size - 1)] == mark:
        return
    query.seen[text & (query.seen.size - 1)] = mark
    score = _score(query, docs, text)
    if score > query.scores[0]:
        query.scores[0] = score
        query.texts[0] = text
        _limits(query, threshold, table)
        n = query.span[1] - query.span[0]
        least = np.int64(np.ceil((score - _SLACK) * n / (2.0 - score)))  # Of the shortest text that scores as much.
        query.window[4] = min(query.window[4], n - least)
    elif score == query.scores[0] and 0 <= text < query.texts[0]:
        query.texts[0] = text


@_inner
def _search_list(query, docs, lists, block, count, merged, threshold, table):
    """Consider the texts of an undivided list."""
    for at in range(block, block + 2 * count, 2):
        posting = lists.arena[at + 1]
        m = np.int64((posting >> _U(32)) & _U(255))
        if m < TABLE:
            if (
                m > query.window[1]
                or np.int64(posting >> _U(40)) > query.reach[m]
                or _popcount(lists.arena[at] ^ merged) > query.distance[m]
            ):
                continue
        elif m < query.window[2] or m > query.window[3]:
            continue
        _consider(query, docs, np.int64(posting & _LOW32), threshold, table)


@_inner
def _nearest_sign(arena, block, count, sign):
    """Return the least number of differing bits among `count` signatures.

    It has no branch and unsigned indices, so that LLVM vectorises it.
    """
    first = _U(block)
    least = np.int64(64)
    for k in range(_U(count)):
        least = min(least, _popcount(arena[first + k] ^ sign))
    return least


@_inner
def _search_bucket(query, docs, lists, entry, length_class, merged, threshold, table):
    """Consider the texts of one length class in a divided list."""
    count = np.int64(entry & _LOW32)
    block = np.int64(entry >> _U(32))
    capacity = _size(count)[1]
    limit = np.int64(64)
    if length_class < TABLE:
        limit = query.distance[length_class]
        if limit < 0:
            return
        positions = 8 * (block + capacity + ((capacity + 1) >> 1))
        if count > 64 and lists.arena8[positions + count - 1] > query.reach[length_class]:
            low = 0  # The first position that is too far.
            while low < count:
                middle = (low + count) >> 1
                if lists.arena8[positions + middle] <= query.reach[length_class]:
                    low = middle + 1
                else:
                    count = middle
    for done in range(0, count, 64):
        step = min(count - done, 64)
        if step >= 8 and _nearest_sign(lists.arena, block + done, step, merged) > limit:
            continue
        for k in range(done, done + step):
            if _popcount(lists.arena[block + k] ^ merged) <= limit:
                text = np.int64(lists.arena32[2 * (block + capacity) + k])
                _consider(query, docs, text, threshold, table)


@_inner
def _search(query, docs, lists, threshold, table):
    """Find the best text above the threshold, by the words of the candidate's prefix, rarest first."""
    begin, end = query.span[0], query.span[1]
    n = end - begin
    merged = query.sign[0] | query.sign[1] | query.sign[2] | query.sign[3]
    _order(query.tokens, begin, end, lists.rank, query.order)
    shortest = _shortest(n, threshold)
    longest = np.int64(min(n * (2.0 - threshold) / threshold + 2.0, 1e12))
    window, reach = query.window, query.reach
    window[0] = shortest
    window[1] = min(longest, TABLE - 1)
    window[2] = _class(max(shortest, TABLE))
    window[3] = _class(longest) if longest >= TABLE else 0  # Then there is no such class.
    window[4] = n - _least(shortest, n, threshold)
    for m in range(TABLE):
        reach[m] = -1
    _limits(query, threshold, table)
    # Most of the time is spent waiting for memory, so everything is prefetched well before it is read.
    for position in range(window[4] + 1):
        token = query.order[position] & 0xFFFFFFFF
        if token < lists.heads.size:
            _prefetch(lists.heads, token)
    for position in range(window[4] + 1):
        token = query.order[position] & 0xFFFFFFFF
        if token < lists.heads.size:
            divided = np.int64(lists.heads[token] & _LOW32) == _DIVIDED
            block = np.int64(lists.heads[token] >> _U(32)) + (shortest if divided and shortest < TABLE else 0)
            _prefetch(lists.arena, block)
            _prefetch(lists.arena, block + 8)
            if divided:
                _prefetch(lists.arena, block + 16)
    position = -1
    while position < window[4]:
        position += 1
        token = query.order[position] & 0xFFFFFFFF
        if (position > 0 and query.order[position] == query.order[position - 1]) or token >= lists.heads.size:
            continue
        count = np.int64(lists.heads[token] & _LOW32)
        block = np.int64(lists.heads[token] >> _U(32))
        if count == 0:
            continue
        # Longer texts need a larger overlap, which begins earlier: their time is over first.
        while window[1] >= window[0] and position > n - window[1] + reach[window[1]]:
            window[1] -= 1
        if count != _DIVIDED:
            _search_list(query, docs, lists, block, count, merged, threshold, table)
            continue
        for length_class in range(window[0], window[1] + 1):
            entry = lists.arena[block + length_class]
            if entry & _LOW32:
                _prefetch(lists.arena, np.int64(entry >> _U(32)))
                _prefetch(lists.arena, np.int64(entry >> _U(32)) + 8)
        length_class = window[0]
        while length_class <= max(window[1], window[3]):
            if window[1] < length_class < window[2]:
                length_class = window[2]
                continue
            entry = lists.arena[block + length_class]
            if entry & _LOW32:
                _search_bucket(query, docs, lists, entry, length_class, merged, threshold, table)
            length_class += 1


@_kernel
def search(query, start, first, last, docs, lists, seeds, threshold, table, scores, texts, seed_scores, seed_texts):
    """Find, for the candidates first <= i < last, the nearest text above the threshold; if none, the nearest seed.

    scores[i], texts[i]: the best F above the threshold and the earliest text that has it; -1 when there is none.
    seed_scores[i], seed_texts[i]: the same among the seeds, for any F; -1 when there are no seeds.
    It writes nothing else, so that threads can share the candidates.
    """
    for i in range(first, last):
        _take_up(query, start, i, threshold)
        if start[i + 1] > start[i]:
            _search(query, docs, lists, threshold, table)
        scores[i] = query.scores[0]
        texts[i] = query.texts[0]
        seed_texts[i] = -1
        if texts[i] < 0 and seeds.lengths.size:
            _nearest_seed(query, docs, seeds)
            seed_scores[i] = query.scores[0]
            seed_texts[i] = query.texts[0]


@_kernel
def commit(query, start, new, refused, docs, scores, texts, accepted):
    """Compare the candidates with the texts from `new` on, accepted since `search`, and append those that are new.

    scores[i], texts[i] come from `search` and are updated; accepted[i] is the decision. refused[i] rejects a candidate
    without a comparison (a text without words that is already in the index). Return the number of candidates done:
    fewer than all if `docs` has no room for the next.
    """
    for i in range(start.size - 1):
        begin, end = start[i], start[i + 1]
        text = docs.size[0]
        if docs.start[text] + end - begin > docs.tokens.size or text + 2 > docs.start.size:
            return i
        _take_up(query, start, i, scores[i])
        if end > begin and text > new:
            _scan(query, docs, new, text)
            if query.texts[0] >= 0:
                scores[i] = query.scores[0]
                texts[i] = query.texts[0]
        accepted[i] = texts[i] < 0 and not refused[i]
        if accepted[i]:
            _append_text(docs, query.tokens, begin, end, query.sign)
    return start.size - 1


@_inner
def _append_text(docs, tokens, begin, end, sign):
    text = docs.size[0]
    at = docs.start[text]
    for k in range(begin, end):
        docs.tokens[at] = tokens[k]
        at += 1
    docs.start[text + 1] = at
    for k in range(4):
        docs.sign[4 * text + k] = sign[k]
    docs.size[0] += 1
    docs.size[1] = max(docs.size[1], end - begin)


@_kernel
def append(tokens, start, docs, sign):
    """Append texts without deciding on them; return the number done."""
    for i in range(start.size - 1):
        begin, end = start[i], start[i + 1]
        if docs.start[docs.size[0]] + end - begin > docs.tokens.size or docs.size[0] + 2 > docs.start.size:
            return i
        _sign(tokens, begin, end, sign)
        _append_text(docs, tokens, begin, end, sign)
    return start.size - 1


@_kernel
def nearest(query, start, first, last, before, docs, scores, texts):
    """Find the k nearest of the first before[i] texts, for any F, for the candidates first <= i < last.

    scores, texts: (candidates, k), best first; text -1 where there are fewer than k.
    """
    for i in range(first, last):
        _take_up(query, start, i, -1.0)
        _scan(query, docs, 0, before[i])
        for k in range(scores.shape[1]):
            scores[i, k] = query.scores[k]
            texts[i, k] = query.texts[k]
