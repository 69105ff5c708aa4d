"""IFEval (Zhou et al. 2023, arXiv 2311.07911): are constraints kept that a program can check? By lm-eval's own checks.

A line of such a file:

    {"key": 7, "prompt": "Describe a harbour in at least 40 words, all in lower case.",
     "instruction_id_list": ["length_constraints:number_words", "change_case:english_lowercase"],
     "kwargs": [{"relation": "at least", "num_words": 40}, {}]}

`strict` is the answer as it stands; `loose` also counts without its first or last line or its asterisks. A prompt is
followed when all its instructions are.

lm-eval downloads NLTK's `punkt_tab` when it is imported without it. Here it never does: where that is not installed,
sentences are told apart by NLTK's Punkt rules without the trained list of abbreviations, which `score` says. It
concerns the constraints on the number of sentences and of words in capitals.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictInt, StrictStr, ValidationError

from selfinstruct.config.schema import Config
from selfinstruct.errors import ConfigError, InputError
from selfinstruct.formats import jsonl
from selfinstruct.formats.seed_tasks import readable, unfit
from selfinstruct.records import SeedTask
from tuning.evaluation import bootstrap as compare
from tuning.evaluation.answer_cache import Part
from tuning.evaluation.answers import Arm, EvaluationEngine, Row, answer
from tuning.evaluation.bootstrap import Score
from tuning.evaluation.questions import Question

PART = "ifeval"
LEVELS = ("strict", "loose")


class _Line(BaseModel):  # type: ignore[no-redef]
    model_config = ConfigDict(extra="ignore")
    key: StrictInt | StrictStr
    prompt: StrictStr
    instruction_id_list: list[StrictStr]
    kwargs: list[dict[str, Any] | None]


def part(config: Config, shown: Sequence[SeedTask]) -> Part:
    """What an arm is asked; its rows are answers with `instructions` and, by level, which of them are followed.

    Raises:
        ConfigError: lm-eval is not installed.
        InputError: names every line of the file that cannot be used.
    """
    lines = read(Path(str(config.evaluate.ifeval)))
    asked = [
        Question(
            id=key,
            task=key,
            set=PART,
            category="",
            is_classification=False,
            instruction=line.prompt,
            input="",
            references=(),
        )
        for key, line in lines.items()
    ]

    async def make(engine: EvaluationEngine, arm: Arm) -> list[Row]:
        rows = await answer(
            engine, arm, asked, shown, config, limit="ifeval_max_tokens", what="answers under constraints"
        )
        return [row | check(lines[row["id"]], row["response"]) for row in rows]

    content = [line.model_dump() for line in lines.values()]
    return Part(PART, [config.evaluate.ifeval_max_tokens, content], make)


def read(path: Path) -> dict[str, _Line]:
    """The lines of a file by key.

    Raises:
        ConfigError: lm-eval is not installed.
        InputError: names every line that cannot be used.
    """
    known = _checks()[0].INSTRUCTION_DICT
    lines: dict[str, _Line] = {}
    problems = []
    for number, row in jsonl.read(path):
        found = _problems(row, known)
        if not found and str(row["key"]) in lines:
            found = [f"`key`: {row['key']!r} stands twice"]
        problems += [f"  {path}, line {number}: {text}" for text in found]
        if not found:
            lines[str(row["key"])] = _Line.model_validate(row)
    if problems:
        raise InputError(f"{len(problems)} problem(s) in a file of IFEval's shape:\n" + "\n".join(problems[:20]))
    if not lines:
        raise InputError(f"{path}: holds no prompts")
    return lines


def _problems(row: Row, known: dict[str, Any]) -> list[str]:
    try:
        line = _Line.model_validate(row)
    except ValidationError as error:
        return [f"`{'.'.join(map(str, e['loc']))}`: {readable(e)}" for e in error.errors()]
    found = [f"`prompt`: {problem}" for problem in unfit(line.prompt)]
    if not line.instruction_id_list or len(line.instruction_id_list) != len(line.kwargs):
        found.append("`kwargs` must have one entry for each of `instruction_id_list`, and at least one")
    found += [f"`instruction_id_list`: lm-eval has no check {i!r}" for i in line.instruction_id_list if i not in known]
    if not found:
        try:
            check(line, "anything")
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            found.append(f"`kwargs`: lm-eval's check refuses them: {error}")
    return found


def check(line: _Line, response: str) -> Row:
    """Which instructions an answer follows."""
    _, utils = _checks()
    kwargs = [{name: value for name, value in (given or {}).items() if value is not None} for given in line.kwargs]
    given = utils.InputExample(
        key=line.key, instruction_id_list=line.instruction_id_list, prompt=line.prompt, kwargs=kwargs
    )
    return {
        "instructions": line.instruction_id_list,
        "strict": list(utils.test_instruction_following_strict(given, response).follow_instruction_list),
        "loose": list(utils.test_instruction_following_loose(given, response).follow_instruction_list),
        "sentences_by": "punkt_tab" if has_punkt() else "untrained Punkt",
    }


@functools.cache
def _checks() -> tuple[Any, Any]:
    """lm-eval's registry of checks, and its scoring; imported without a download.

    Raises:
        ConfigError: they cannot be imported.
    """
    try:
        import langdetect
        import nltk
    except ImportError as error:
        raise _missing(error) from error
    find, nltk.data.find = nltk.data.find, lambda *_, **__: ""  # What is found is not downloaded.
    try:
        with _bare_lm_eval():
            from lm_eval.tasks.ifeval import instructions_registry, instructions_util, utils
    except ImportError as error:
        raise _missing(error) from error
    finally:
        nltk.data.find = find
    langdetect.DetectorFactory.seed = 0  # Else the same text may be of another language the next time.
    tokenizer = _sentences()
    instructions_util._get_sentence_tokenizer = lambda: tokenizer
    if not has_punkt():
        instructions_util.nltk = _WithoutPunkt(nltk, tokenizer)
    return instructions_registry, utils


@contextlib.contextmanager
def _bare_lm_eval() -> Iterator[None]:
    """Let modules of lm-eval be imported without its packages' own code: that takes in torch and half a minute.

    Raises:
        ImportError: lm-eval is not installed.
    """
    found = importlib.util.find_spec("lm_eval")
    if found is None or found.origin is None:
        raise ImportError("No module named 'lm_eval'")
    root = Path(found.origin).parent
    paths = {"lm_eval": root, "lm_eval.tasks": root / "tasks", "lm_eval.tasks.ifeval": root / "tasks" / "ifeval"}
    new = [name for name in paths if name not in sys.modules]
    for name in new:
        package = types.ModuleType(name)
        package.__path__ = [str(paths[name])]
        sys.modules[name] = package
    try:
        yield
    finally:
        for name in new:  # Whoever imports the real ones later gets them.
            del sys.modules[name]


def _missing(error: ImportError) -> ConfigError:
    return ConfigError(
        f"IFEval's checks cannot be imported: {error}; install them: pip install 'selfinstruct[lm-eval]'"
    )


@functools.cache
def has_punkt() -> bool:
    """Whether NLTK's trained sentence tokenizer is installed."""
    import nltk

    try:
        nltk.data.find("tokenizers/punkt_tab/english")
    except LookupError:
        return False
    return True


def _sentences() -> Any:
    from nltk.tokenize.punkt import PunktSentenceTokenizer, PunktTokenizer

    return PunktTokenizer("english") if has_punkt() else PunktSentenceTokenizer()


class _WithoutPunkt:
    """NLTK, as lm-eval's checks use it, with words told apart without the trained sentence tokenizer."""

    def __init__(self, nltk: Any, sentences: Any) -> None:
        from nltk.tokenize import NLTKWordTokenizer

        self._nltk, self._sentences, self._words = nltk, sentences, NLTKWordTokenizer()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._nltk, name)

    def word_tokenize(self, text: str) -> list[str]:
        """The words of each sentence, as NLTK's function of that name has them."""
        return [word for sentence in self._sentences.tokenize(text) for word in self._words.tokenize(sentence)]


def score(rows: Sequence[Row], **bootstrap: Any) -> dict[str, Any]:
    """Shares of prompts and of instructions that are followed, x 100, with intervals over prompts.

    Returns:
        {"n" prompts, "n_instructions", "sentences_by",
         "prompt_strict", "prompt_strict_interval", "instruction_strict", ..., "prompt_loose", ..., "instruction_loose",
         ..., "per_instruction": {ID: {"n", "strict", "loose"}}}
    """
    about: dict[str, Any] = {
        "n": len(rows),
        "n_instructions": sum(len(row["instructions"]) for row in rows),
        "sentences_by": rows[0]["sentences_by"] if rows else None,
    }
    for level in LEVELS:
        by_prompt = {row["id"]: Score(row["task"], 100.0 * all(row[level])) for row in rows}
        by_instruction = {
            f"{row['id']}/{k}": Score(row["task"], 100.0 * kept) for row in rows for k, kept in enumerate(row[level])
        }
        for name, scores in (("prompt", by_prompt), ("instruction", by_instruction)):
            about[f"{name}_{level}"] = round(fmean(s.value for s in scores.values()), 6) if scores else None
            bounds = compare.mean_interval(scores, **bootstrap) if scores else None
            about[f"{name}_{level}_interval"] = bounds and [round(bound, 6) for bound in bounds]
    kinds: dict[str, list[tuple[bool, bool]]] = {}
    for row in rows:
        for name, strict, loose in zip(row["instructions"], row["strict"], row["loose"], strict=True):
            kinds.setdefault(name, []).append((strict, loose))
    about["per_instruction"] = {
        name: {
            "n": len(kept),
            "strict": round(100 * fmean(s for s, _ in kept), 6),
            "loose": round(100 * fmean(loose for _, loose in kept), 6),
        }
        for name, kept in sorted(kinds.items())
    }
    return about
