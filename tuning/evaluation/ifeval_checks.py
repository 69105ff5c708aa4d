"""lm-eval's checks of IFEval's constraints, in a process of their own: `python -m tuning.evaluation.ifeval_checks`.

Each line on stdin holds a line of an IFEval file with a response:

    {"key": 7, "prompt": "Describe a harbour, all in lower case.", "instruction_id_list":
     ["change_case:english_lowercase"], "kwargs": [{}], "response": "the boats lie still"}

Each line on stdout holds its result, in the same order: which instructions are followed, or why the line cannot be
used.

    {"strict": [true], "loose": [true], "sentences_by": "punkt_tab"}
    {"error": "`instruction_id_list`: lm-eval has no check 'no:such_check'"}

Importing the checks takes some seconds, which no other process pays. lm-eval downloads NLTK's `punkt_tab` when it is
imported without it. Here it never does: where `punkt_tab` is not installed, sentences are split by NLTK's Punkt rules
without the trained list of abbreviations. This concerns the constraints on the number of sentences and of words in
capitals; `sentences_by` says it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

NOT_INSTALLED = 3
"""Exit code."""


def main() -> int:
    """Check the lines of stdin, and return the exit code: `NOT_INSTALLED` if lm-eval's checks cannot be imported."""
    output = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # Whatever is printed on import is no result.
        try:
            checks = Checks()
        except ImportError as error:
            sys.stderr.write(f"{error}\n")
            return NOT_INSTALLED
        for line in sys.stdin:
            output.write(json.dumps(checks.result(json.loads(line))) + "\n")
    return 0


class Checks:
    """lm-eval's checks, imported without a download.

    Raises:
        ImportError: they are not installed.
    """

    def __init__(self) -> None:
        os.environ["LOCAL_RANK"] = "1"  # lm-eval downloads in the process of rank 0 alone.
        import langdetect
        import nltk
        from lm_eval.tasks.ifeval import instructions_registry, instructions_util, utils
        from nltk.tokenize.punkt import PunktSentenceTokenizer, PunktTokenizer

        langdetect.DetectorFactory.seed = 0  # Without a seed, the detected language of a text can change.
        try:
            nltk.data.find("tokenizers/punkt_tab/english")
            tokenizer, self.sentences_by = PunktTokenizer("english"), "punkt_tab"
        except LookupError:
            tokenizer, self.sentences_by = PunktSentenceTokenizer(), "untrained Punkt"
            instructions_util.nltk = _WithoutPunkt(nltk, tokenizer)
        instructions_util._get_sentence_tokenizer = lambda: tokenizer
        self.known = instructions_registry.INSTRUCTION_DICT
        self._utils = utils

    def result(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """Return which instructions a response follows, or why the line cannot be used."""
        ids = line["instruction_id_list"]
        unknown = [name for name in ids if name not in self.known]
        if unknown:
            return {"error": f"`instruction_id_list`: lm-eval has no check {', '.join(map(repr, unknown))}"}
        kwargs = [
            {name: value for name, value in (values or {}).items() if value is not None} for values in line["kwargs"]
        ]
        example = self._utils.InputExample(
            key=line["key"], instruction_id_list=ids, prompt=line["prompt"], kwargs=kwargs
        )
        try:
            strict = self._utils.test_instruction_following_strict(example, line["response"])
            loose = self._utils.test_instruction_following_loose(example, line["response"])
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            return {"error": f"`kwargs`: lm-eval's check refuses them: {error}"}
        return {
            "strict": list(strict.follow_instruction_list),
            "loose": list(loose.follow_instruction_list),
            "sentences_by": self.sentences_by,
        }


class _WithoutPunkt:
    """NLTK, as lm-eval's checks use it, with words split without the trained sentence tokenizer."""

    def __init__(self, nltk: Any, sentences: Any) -> None:
        from nltk.tokenize import NLTKWordTokenizer

        self._nltk, self._sentences, self._words = nltk, sentences, NLTKWordTokenizer()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._nltk, name)

    def word_tokenize(self, text: str) -> list[str]:
        """Return the words of each sentence, as NLTK's function of that name does."""
        return [word for sentence in self._sentences.tokenize(text) for word in self._words.tokenize(sentence)]


if __name__ == "__main__":
    sys.exit(main())
