"""lm-eval's own checks of IFEval's constraints, in the process that imports them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuning.evaluation.ifeval import Checked, Line, run_checks
from tuning.evaluation.ifeval_responses import score_responses

pytestmark = pytest.mark.integration

HARBOUR = {
    "key": 1,
    "prompt": "Describe a harbour in lower case, without a comma.",
    "instruction_id_list": ["change_case:english_lowercase", "punctuation:no_comma"],
    "kwargs": [{}, {}],
}
SENTENCES = {
    "key": 2,
    "prompt": "Write three sentences at least.",
    "instruction_id_list": ["length_constraints:number_sentences"],
    "kwargs": [{"relation": "at least", "num_sentences": 3, "num_words": None}],
}
CAPITALS = {
    "key": 3,
    "prompt": "Say it in CAPITALS twice.",
    "instruction_id_list": ["change_case:capital_word_frequency"],
    "kwargs": [{"capital_relation": "at least", "capital_frequency": 2}],
}
QUIET = "the boats lie in the harbour and the water is still and nobody is about this morning"


def test_answers_are_checked_and_lines_that_lm_eval_cannot_use_are_named() -> None:
    asked: list[tuple[dict[str, Any], str]] = [
        (HARBOUR, QUIET),
        (SENTENCES, "Here is one. It is a start! Is there another?"),
        (CAPITALS, "SO BE it."),
        (HARBOUR, "Well, no."),
        (SENTENCES, "Well, no."),
        (CAPITALS, "Well, no."),
        (HARBOUR | {"instruction_id_list": ["no:such_check", "punctuation:no_comma"]}, QUIET),
        (HARBOUR | {"kwargs": [{"speed": 3}, {}]}, QUIET),
    ]
    *answers, unknown, refused = run_checks([(Line.model_validate(line), text) for line, text in asked])
    assert [answer.strict for answer in answers] == [(True, True), (True,), (True,), (False, False), (False,), (False,)]
    assert [answer.loose for answer in answers] == [answer.strict for answer in answers]
    assert {answer.sentences_by for answer in answers} <= {"punkt_tab", "untrained Punkt"}
    assert unknown == Checked(error="`instruction_id_list`: lm-eval has no check 'no:such_check'")
    assert refused.error.startswith("`kwargs`: lm-eval's check refuses them")


def test_the_checks_without_a_trained_tokenizer() -> None:
    """With no trained tokenizer to be found, lm-eval would download it as it is imported."""
    line = HARBOUR | {"instruction_id_list": ["change_case:english_lowercase"], "kwargs": [{}]}
    code = f"""
import nltk, socket
def refuse(*_, **__): raise AssertionError("a download")
nltk.download = nltk.downloader.download = socket.create_connection = refuse
nltk.data.path = []
from tuning.evaluation.ifeval_checks import Checks
checks = Checks()
line = {line!r}
response = "Sure:\\nthe harbour lies in the morning and all of the boats are there still"
found = checks.result(line | {{"response": response}})
assert found == {{"strict": [False], "loose": [True], "sentences_by": "untrained Punkt"}}, found
assert checks.result(line | {{"response": ""}})["loose"] == [False]
from lm_eval.tasks.ifeval import instructions_util
assert instructions_util.count_sentences("One is here. Two are there! Are three?") == 3
assert instructions_util.nltk.word_tokenize("NASA can't wait.") == ["NASA", "ca", "n't", "wait", "."]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_existing_responses_are_scored_without_a_model(tmp_path: Path) -> None:
    constraints, responses = tmp_path / "input_data.jsonl", tmp_path / "responses.jsonl"
    constraints.write_text("".join(json.dumps(line) + "\n" for line in (HARBOUR, SENTENCES)))
    responses.write_text(json.dumps({"prompt": HARBOUR["prompt"], "response": QUIET}))
    found = score_responses(responses, constraints)
    assert (found.scores.prompt_strict, found.scores.n, found.unanswered) == (100, 1, 1)
