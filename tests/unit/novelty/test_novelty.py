"""The novelty index decides as rouge_score does: `rouge_score` itself is the oracle, called for every pair."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Sequence
from typing import get_args
from unittest.mock import MagicMock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.tokenize import tokenize as rouge_tokenize

from selfinstruct.novelty import Neighbour, NoveltyIndex, Verdict, index, rouge_l, tokenize
from selfinstruct.novelty.compiled import CompiledIndex
from selfinstruct.novelty.scan import ScanIndex
from selfinstruct.novelty.words import encode
from selfinstruct.records import Tokenizer
from tests.conftest import examples
from tests.rouge import scorer

THRESHOLDS = [0.3, 0.5, 0.6, 2 / 3, 0.7, 0.75, 0.8, 0.9, 0.95]


def rouge(earlier: str, candidate: str) -> float:
    return scorer().score(target=earlier, prediction=candidate)["rougeL"].fmeasure


def by_rouge(pool: Sequence[str], candidates: Sequence[str], threshold: float) -> list[Verdict]:
    """The filter as the paper's code has it, with seeds `pool`. For texts in a-z0-9 that have at least one word."""
    texts, verdicts = list(pool), []
    for candidate in candidates:
        scores = [rouge(text, candidate) for text in texts]
        best = max(scores, default=0.0)
        if best > threshold:
            reason = "identical" if best == 1.0 else "near_duplicate"
            verdicts.append(Verdict(False, reason, Neighbour(scores.index(best), best)))
        else:
            seeds = scores[: len(pool)]
            nearest = Neighbour(seeds.index(max(seeds)), max(seeds)) if seeds else None
            verdicts.append(Verdict(True, None, nearest))
            texts.append(candidate)
    return verdicts


def compiled(pool: Sequence[str], threshold: float, threads: int = 1) -> CompiledIndex:
    made = CompiledIndex(threshold, len(pool), threads)
    made.extend(pool)
    return made


def corpus(draw: random.Random, count: int, *, words: int = 60, lengths: tuple[int, int] = (1, 24)) -> list[str]:
    """Texts of which about half are edited copies of earlier ones, over a vocabulary of `words` words."""
    vocabulary = [f"w{k}" if k % 3 else f"longerword{k}" for k in range(words)]
    texts: list[str] = []
    for _ in range(count):
        if texts and draw.random() < 0.55:
            words_ = draw.choice(texts).split()
            for _ in range(draw.randint(0, 1 + len(words_) // 3)):
                where = draw.randrange(len(words_) + 1)
                words_[where : where + draw.randint(0, 1)] = draw.choices(vocabulary, k=draw.randint(0, 1))
        else:
            words_ = []
        words_ = words_ or draw.choices(vocabulary, k=draw.randint(*lengths))
        texts.append(" ".join(words_))
    return texts


def as_rows(found: CompiledIndex | ScanIndex, texts: Sequence[str]) -> list[Verdict]:
    verdicts = found.decide(texts)
    return verdicts if isinstance(verdicts, list) else verdicts.verdicts()


# ------------------------------------------------------------------------------------------------------ the arithmetic


def pair(m: int, n: int, lcs: int, name: str = "") -> tuple[str, str]:
    """Two texts of m and n words whose longest common subsequence has `lcs`; `name` makes the words their own."""
    common = [f"{name}c{k}" for k in range(lcs)]
    earlier = common + [f"{name}a{k}" for k in range(m - lcs)]
    return " ".join(earlier), " ".join([f"{name}b{k}" for k in range(n - lcs)] + common)


def on_the_boundary(most: int) -> list[tuple[int, int, int]]:
    """All (m, n, LCS) with m, n <= most whose F is 7/10 in exact arithmetic, where floats fall on either side."""
    pairs = itertools.product(range(1, most + 1), repeat=2)
    shapes = [(m, n, 7 * (m + n) // 20) for m, n in pairs if (m + n) % 20 == 0]
    return [(m, n, lcs) for m, n, lcs in shapes if lcs <= min(m, n)]


def decisions_on_pairs(shapes: Sequence[tuple[int, int, int]], threshold: float, *, scan: bool) -> list[Verdict]:
    """What an index of all first texts decides on the second ones, each of which shares words with its own only."""
    pairs = [pair(*shape, name=f"p{k}") for k, shape in enumerate(shapes)]
    made = ScanIndex(threshold, 0) if scan else CompiledIndex(threshold)
    made.extend([earlier for earlier, _ in pairs])
    return as_rows(made, [candidate for _, candidate in pairs])


@pytest.mark.parametrize("scan", [False, True])
def test_the_float_of_rouge_score_decides_on_the_boundary(scan: bool) -> None:
    shapes = on_the_boundary(40)
    expected = [rouge(*pair(*shape)) for shape in shapes]
    assert {score > 0.7 for score in expected} == {True, False}
    for k, verdict in enumerate(decisions_on_pairs(shapes, 0.7, scan=scan)):
        assert verdict.accepted == (expected[k] <= 0.7), shapes[k]
        assert verdict.accepted or verdict.nearest == Neighbour(k, expected[k])


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_one_word_less_than_needed_is_accepted_and_the_needed_number_rejected(threshold: float) -> None:
    shapes, decided = [], []
    for m in (*range(1, 14), 20, 31, *range(61, 68), 130):
        for n in range(max(1, m - 20), m + 20):
            needed = next((k for k in range(min(m, n) + 1) if rouge_l(k, m, n) > threshold), None)
            for lcs in {0, min(m, n)} if needed is None else {needed - 1, needed}:
                shapes.append((m, n, lcs))
                decided.append(needed is None or lcs < needed)
    assert [v.accepted for v in decisions_on_pairs(shapes, threshold, scan=False)] == decided


@given(st.integers(1, 400), st.integers(1, 400), st.data())
def test_rouge_l_is_rouge_scores_float(m: int, n: int, data: st.DataObject) -> None:
    lcs = data.draw(st.integers(0, min(m, n)))
    from rouge_score.scoring import fmeasure

    assert rouge_l(lcs, m, n) == fmeasure(lcs / n, lcs / m) == rouge_l(lcs, n, m)


# --------------------------------------------------------------------------------------------------------- sequences

words_strategy = st.lists(st.sampled_from([*"abcdefgh", "longishword", "longishwork"]), min_size=1, max_size=14)
texts_strategy = st.lists(words_strategy.map(" ".join), min_size=1, max_size=25)


@settings(max_examples=examples(25))
@given(texts_strategy, st.integers(0, 6), st.sampled_from(THRESHOLDS), st.integers(1, 7))
def test_sequences_decide_as_rouge_score_does(texts: list[str], seeds: int, threshold: float, batch: int) -> None:
    pool, candidates = texts[:seeds], texts[seeds:]
    expected = by_rouge(pool, candidates, threshold)
    scanned = ScanIndex(threshold, len(pool))
    scanned.extend(pool)
    assert as_rows(scanned, candidates) == expected
    made, found = compiled(pool, threshold), []
    for k in range(0, len(candidates), batch):
        found += as_rows(made, candidates[k : k + batch])
    assert found == expected


SHAPES = {
    "ordinary": {"words": 60, "lengths": (1, 24)},
    "few words": {"words": 4, "lengths": (1, 12)},
    "around 64 words": {"words": 400, "lengths": (55, 75)},
    "long": {"words": 300, "lengths": (100, 400)},
    "thousands": {"words": 900, "lengths": (900, 2500)},
    "all lengths": {"words": 100, "lengths": (1, 140)},
}
COUNTS = {"ordinary": 800, "few words": 800, "thousands": 25}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "threshold", [pytest.param(0.05, marks=pytest.mark.long), 0.5, 0.7, pytest.param(0.95, marks=pytest.mark.long)]
)
def test_batches_equal_one_by_one_and_the_plain_scan(shape: str, threshold: float) -> None:
    draw = random.Random(f"{shape}/{threshold}")
    texts = corpus(draw, COUNTS.get(shape, 150), **SHAPES[shape])  # type: ignore[arg-type]
    scanned = ScanIndex(threshold, 12)
    scanned.extend(texts[:12])
    expected = as_rows(scanned, texts[12:])
    assert as_rows(compiled(texts[:12], threshold, threads=2), texts[12:]) == expected
    made, found, k = compiled(texts[:12], threshold), [], 12
    while k < len(texts):
        size = draw.choice([1, 1, 2, 30])
        found += as_rows(made, texts[k : k + size])
        k += size
    assert found == expected
    asked, before = corpus(draw, 5, **SHAPES[shape]), [len(made), 0, 1, 7, len(made)]  # type: ignore[arg-type]
    assert made.nearest(asked, 10, before) == scanned.nearest(asked, 10, before)


def test_rankings_and_divided_lists_change_no_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words are ranked anew at 1,024, 8,192 ... texts; lists over 256 texts are divided. Both must happen here."""
    from selfinstruct.novelty import compiled as module

    monkeypatch.setattr(module, "_FIRST_RANKING", 50)
    monkeypatch.setattr(module, "_CATCH_UP", 2)
    texts = corpus(random.Random(5), 1800, words=16, lengths=(6, 20))
    scanned = ScanIndex(0.7, 20)
    scanned.extend(texts[:20])
    made = compiled(texts[:20], 0.7)
    found: list[Verdict] = []
    rankings = 0
    while len(found) < len(texts) - 20:
        catching_up = made._next_lists is not None
        found += as_rows(made, texts[20 + len(found) : 20 + len(found) + 3])
        rankings += catching_up and made._next_lists is None
    assert found == as_rows(scanned, texts[20:])
    assert rankings >= 2
    assert any(int(head) & 0xFFFFFFFF == 0xFFFFFFFF for head in made._lists.heads[:200])


def test_rebuilding_at_any_point_changes_no_later_decision() -> None:
    texts = corpus(random.Random(6), 800)
    whole = compiled(texts[:10], 0.7)
    expected = as_rows(whole, texts[10:])
    for cut in (10, 11, 100, 555, 799):
        accepted = [t for t, v in zip(texts[10:cut], expected, strict=False) if v.accepted]
        again = compiled(texts[:10], 0.7)
        again.extend(accepted)
        assert as_rows(again, texts[cut:]) == expected[cut - 10 :]


@pytest.mark.long
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_hundreds_of_thousands_of_pairs(threshold: float) -> None:
    """About 60,000 pairs per threshold through rouge_score itself, most of them near the boundary."""
    for shape in ("ordinary", "few words"):
        draw = random.Random(f"{shape}/{threshold}")
        texts = corpus(draw, 420, **SHAPES[shape])  # type: ignore[arg-type]
        assert as_rows(compiled(texts[:20], threshold), texts[20:]) == by_rouge(texts[:20], texts[20:], threshold)
    texts = corpus(random.Random(9), 300, words=30, lengths=(18, 22))
    assert as_rows(compiled(texts[:20], threshold), texts[20:]) == by_rouge(texts[:20], texts[20:], threshold)


@pytest.mark.long
def test_every_pair_on_the_boundary_up_to_400_words() -> None:
    """3,730 pairs, of which rouge_score rejects 1,710."""
    shapes = on_the_boundary(400)
    decided = [verdict.accepted for verdict in decisions_on_pairs(shapes, 0.7, scan=False)]
    assert decided == [rouge(*pair(*shape)) <= 0.7 for shape in shapes]
    assert (len(decided), decided.count(False)) == (3730, 1710)


# -------------------------------------------------------------------------------------------------------------- words


TOKENIZERS: tuple[Tokenizer, ...] = get_args(Tokenizer)


@given(st.text(), st.sampled_from(TOKENIZERS))
def test_text_without_letters_beyond_ascii_gets_rouge_scores_tokens(text: str, tokenizer: Tokenizer) -> None:
    if all(c.isascii() for c in unicodedata.normalize("NFC", text) if c.isalnum()):
        assert tokenize(text, tokenizer) == rouge_tokenize(text, None)


@given(st.text(st.characters(codec="ascii")), st.sampled_from(TOKENIZERS))
def test_ascii_text_gets_rouge_scores_tokens(text: str, tokenizer: Tokenizer) -> None:
    assert tokenize(text, tokenizer) == rouge_tokenize(text, None)


@given(st.text())
def test_rouge_scores_own_tokens_are_available_for_any_text(text: str) -> None:
    assert tokenize(text, "rouge_score") == rouge_tokenize(text, None)


@given(st.text(), st.sampled_from(["words", "characters"]))
def test_normal_forms_of_a_text_have_the_same_words(text: str, tokenizer: Tokenizer) -> None:
    forms = [tokenize(unicodedata.normalize(form, text), tokenizer) for form in ("NFC", "NFD")]
    assert forms[0] == forms[1] == tokenize(text, tokenizer)


@settings(max_examples=examples(100))
@given(st.lists(st.text(st.characters(), max_size=40), min_size=1, max_size=5), st.sampled_from(TOKENIZERS))
def test_the_compiled_splitter_finds_the_same_words(texts: list[str], tokenizer: Tokenizer) -> None:
    """Surrogates, newlines, NULs included: two texts get the same word numbers exactly where they share words."""
    made = CompiledIndex(0.7, tokenizer=tokenizer)
    tokens, start = made._split(texts, insert=True)
    expected = [tokenize(text, tokenizer) for text in texts]
    assert (start[1:] - start[:-1]).tolist() == [len(words) for words in expected]
    flat = [word for words in expected for word in words]
    numbers = tokens[: start[-1]].tolist()
    assert len(set(zip(flat, numbers, strict=True))) == len(set(flat)) == len(set(numbers))
    assert [encode(text, tokenizer) for text in texts]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't panic!", ["don", "t", "panic"]),
        ("300 K (Kelvin sign: \u212a)", ["300", "k", "kelvin", "sign", "k"]),
        ("\u0130stanbul", ["istanbul"]),
        ("“Quoted” – it’s fine…", ["quoted", "it", "s", "fine"]),
        ("snake_case", ["snake", "case"]),
        ("Größe zählt", ["größe", "zählt"]),
        ("Cafe\u0301, Łódź", ["café", "łódź"]),
        ("写首诗 ok", ["写首", "首诗", "ok"]),
        ("翻译：你好。诗", ["翻译", "你好", "诗"]),
        ("写\u200b诗 读\u2060书", ["写", "诗", "读书"]),
        ("コーヒー・カップ", ["コー", "ーヒ", "ヒー", "カッ", "ップ"]),
        ("हिन्दी में लिखो", ["हिन्दी", "में", "लिखो"]),
        ("می\u200cخواهم", ["میخواهم"]),
        ("กินข้าว", ["กิน", "นข้", "ข้า", "าว"]),
        ("ราคา ฿5", ["รา", "าค", "คา", "5"]),
        ("한국어 문장", ["한국어", "문장"]),
        (unicodedata.normalize("NFD", "한국어 문장"), ["한국어", "문장"]),
        ("x² + y²", ["x²", "y²"]),
        ("...", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert tokenize(text) == words


def test_runs_made_before_count_single_characters() -> None:
    assert tokenize("写首诗 ok", "characters") == ["写", "首", "诗", "ok"]
    assert tokenize("กินข้าว", "characters") == ["กิ", "น", "ข้", "า", "ว"]
    assert tokenize("Größe zählt", "characters") == tokenize("Größe zählt")


@pytest.mark.parametrize(
    ("first", "near", "other"),
    [
        ("请写一首关于辽阔大海的诗歌并且大声朗诵", "请写一首关于辽阔大海的诗歌并且轻声朗诵", "列出三种水果"),
        (
            "Schreibe ein Gedicht über das große Meer",
            "Schreibe ein Gedicht über das große Glück",
            "Zähle drei Früchte auf",
        ),
        ("เขียนบทกวีสั้นๆเกี่ยวกับทะเล", "เขียนบทกวีสั้นๆเกี่ยวกับภูเขา", "ผลไม้สามชนิด"),
        (
            "海についての短い詩を書いて、声に出して読んでください",
            "山についての短い詩を書いて、声に出して読んでください",
            "果物を三つ挙げて",
        ),
    ],
)
def test_novelty_works_in_every_language(first: str, near: str, other: str) -> None:
    for made in (compiled([first], 0.7), ScanIndex(0.7)):
        if isinstance(made, ScanIndex):
            made.extend([first])
        assert [v.accepted for v in as_rows(made, [near, other, other])] == [False, True, False]


def test_the_same_frame_is_as_little_a_duplicate_in_chinese_as_in_english() -> None:
    """Counted in characters, the second question has an F of 0.71 with the first; the two in English have 0.55."""
    made = NoveltyIndex(["海洋是什么颜色的？"], 0.7)
    assert made.accept("这是什么颜色？").accepted
    assert not NoveltyIndex(["海洋是什么颜色的？"], 0.7, tokenizer="characters").accept("这是什么颜色？").accepted


def test_twins_in_two_normal_forms_are_identical() -> None:
    for text in ("Explique le café à Zoé", "한국어로 짧은 시를 써라", "Viết một bài thơ về biển"):
        for made in (compiled([text], 0.7), ScanIndex(0.7)):
            if isinstance(made, ScanIndex):
                made.extend([text])
            (verdict,) = as_rows(made, [unicodedata.normalize("NFD", text)])
            assert verdict == Verdict(False, "identical", Neighbour(0, 1.0))


def test_texts_without_words_are_duplicates_of_themselves_only() -> None:
    for made in (compiled(["?!", "Hello there"], 0.7), ScanIndex(0.7, 2)):
        if isinstance(made, ScanIndex):
            made.extend(["?!", "Hello there"])
        verdicts = as_rows(made, ["!!", " ?!  ", "!!", "", "", "hello THERE"])
        assert [v.accepted for v in verdicts] == [True, False, False, True, False, False]
        nearest = [(0, 0.0), (0, 1.0), (2, 1.0), (0, 0.0), (3, 1.0), (1, 1.0)]
        assert [v.nearest for v in verdicts] == [Neighbour(*row) for row in nearest]
        assert {v.reason for v in verdicts if not v.accepted} == {"identical"}


# ------------------------------------------------------------------------------------------------------- the interface


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has not compiled anything yet."""
    monkeypatch.setattr(index, "_compiled", None)
    monkeypatch.setattr(index, "_compiler", None)
    monkeypatch.setattr(index, "_done", type(index._done)())


@pytest.mark.usefixtures("cold")
def test_compiling_is_announced(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Commands wait for it: to decide on a large pool, and to end."""
    for name in ("SMALL", "_SCANNABLE", "_LOADED_S"):
        monkeypatch.setattr(index, name, 0)
    made = NoveltyIndex(["Write a poem."])
    assert made.accept("Name a river.").accepted
    assert made.is_compiled
    assert [record.message for record in caplog.records] == [index._COMPILING]


@pytest.mark.usefixtures("cold")
def test_loading_on_a_busy_machine_is_not_announced_as_compiling(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loading = MagicMock(CompiledIndex=lambda *_, **__: time.sleep(0.5) or MagicMock())
    monkeypatch.setitem(sys.modules, "selfinstruct.novelty.compiled", loading)
    monkeypatch.setattr(index, "_LOADED_S", 0.2)
    index.warm_up()
    assert index._done.wait(60)
    assert not caplog.records


@pytest.mark.usefixtures("cold")
def test_a_small_file_of_texts_compiles_nothing() -> None:
    made = NoveltyIndex(can_wait=True)
    texts = corpus(random.Random(8), 2000, words=5000)
    verdicts = made.accept_batch(texts)
    assert not made.is_compiled and index._compiler is None
    assert verdicts == as_rows(compiled([], 0.7), texts)


@pytest.mark.usefixtures("cold")
def test_whoever_can_wait_does_not_scan_while_the_kernels_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_LOADED_S", 120)
    made = NoveltyIndex(can_wait=True)
    made.accept_batch([f"w{k}" for k in range(5000)])
    assert made.is_compiled


@pytest.mark.usefixtures("cold")
def test_moving_to_the_compiled_index_changes_no_decision() -> None:
    texts = corpus(random.Random(8), 1500, words=80, lengths=(6, 20))
    scanned = ScanIndex(0.7, 30)
    scanned.extend(texts[:30])
    made, found = NoveltyIndex(texts[:30], 0.7), []
    for text in texts[30:700]:
        found.append(made.accept(text))
    index.warm_up()
    assert index._done.wait(120)
    found += made.accept_batch(texts[700:])
    assert made.is_compiled
    assert found == as_rows(scanned, texts[30:])
    assert made.nearest(texts[3], 4) == scanned.nearest([texts[3]], 4, [len(scanned)])[0]
    assert made.nearest(texts[3], 4, before=3) == scanned.nearest([texts[3]], 4, [3])[0]


@pytest.mark.usefixtures("cold")
def test_a_compiler_that_fails_leaves_the_scan(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "selfinstruct.novelty.compiled", None)
    index.warm_up()
    assert index._done.wait(10)
    texts = corpus(random.Random(8), 100)
    made = NoveltyIndex(texts[:10])
    assert made.accept_batch(texts[10:]) == by_rouge(texts[:10], texts[10:], 0.7)
    assert not made.is_compiled
    assert "cannot be compiled" in caplog.text


def test_columns_are_the_same_as_rows() -> None:
    texts = corpus(random.Random(8), 300)
    for wait in (False, True):
        if wait:
            index.warm_up()
            assert index._done.wait(120)
        rows, cols = NoveltyIndex(texts[:10]), NoveltyIndex(texts[:10])
        assert cols.decide(texts[10:]).verdicts() == rows.accept_batch(texts[10:])
        assert cols.decide([]).verdicts() == rows.accept_batch([]) == []


def test_added_texts_count_as_earlier_ones_but_not_as_seeds() -> None:
    made = NoveltyIndex(["Write a poem about the sea."])
    made.add("Write a poem about the moon.")
    made.add_many(["List three fruits you like.", "List three fruits you like."])
    assert len(made) == 4
    assert made.accept("List three fruits that you like.") == Verdict(False, "near_duplicate", Neighbour(2, 10 / 11))
    assert made.accept("Explain the poem line by line.") == Verdict(True, None, Neighbour(0, 1 / 6))
    assert len(made) == 5


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1, 7, float("nan")])
def test_a_threshold_outside_0_and_1_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        NoveltyIndex((), threshold)


def test_texts_too_long_for_the_bit_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond 8,000 words the LCS goes by blocks of 64 words, as for short texts; here from 65 words on."""
    from selfinstruct.novelty import compiled as module

    monkeypatch.setattr(module, "_LARGEST_MATRIX", 1)
    texts = corpus(random.Random(3), 100, words=300, lengths=(60, 400))
    scanned = ScanIndex(0.6, 5)
    scanned.extend(texts[:5])
    assert as_rows(compiled(texts[:5], 0.6), texts[5:]) == as_rows(scanned, texts[5:])


@pytest.mark.parametrize("threshold", [1e-9, 0.01, 0.999, 1 - 1e-12])
def test_extreme_thresholds(threshold: float) -> None:
    texts = corpus(random.Random(4), 120, words=200)
    assert as_rows(compiled(texts[:10], threshold), texts[10:]) == by_rouge(texts[:10], texts[10:], threshold)


@pytest.mark.whole
def test_importing_it_loads_neither_numba_nor_numpy() -> None:
    check = "import sys, selfinstruct.novelty; sys.exit(bool({'numba', 'numpy'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", check], check=True)


@pytest.mark.whole
def test_compiling_leaves_stdout_and_stderr_alone() -> None:
    """numba's errors, of which compiling makes thousands, swap both for a moment; here that is in a thread."""
    check = """
import sys
import selfinstruct.novelty
from numba.core import errors, ir
before = sys.stdout, sys.stderr
class Watched(type(sys)):
    def __setattr__(self, name, value):
        assert name not in ("stdout", "stderr"), "swapped"
        super().__setattr__(name, value)
sys.__class__ = Watched
str(errors.TypingError("no such type", loc=ir.Loc("some.py", 1)))
"""
    subprocess.run([sys.executable, "-c", check], check=True)


def test_a_read_only_installation_still_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """numba raises when it finds no folder for its cache: then the code is compiled for this process only."""
    from selfinstruct.novelty import kernels

    def njit(*, cache: bool = False, **options: object) -> Callable[..., object]:
        def decorate(function: Callable[..., object]) -> Callable[..., object]:
            if cache:
                raise RuntimeError("cannot cache function: no locator available")
            return function

        return decorate

    monkeypatch.setattr(kernels, "njit", njit)
    assert kernels._kernel(time.monotonic) is time.monotonic


def test_a_small_index_needs_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(index, "_compiler", None)
    monkeypatch.setattr(index, "_compile", lambda: started.append("compiling"))
    index.warm_up(index.SMALL)
    assert index._compiler is None
    index.warm_up(index.SMALL + 1)
    assert index._compiler is not None
    index._compiler.join()
    assert started == ["compiling"]
