"""The embedded demo model: a tiny language model, the text it is trained on, and the means to judge what it writes.

    lexicon.py        the few hundred words of the demo's world
    sentences.py      simple sentences made of them
    wording.py        one wording, two uses: it writes instructions and recognises them
    families/         the simple tasks, by subject: what they ask, their instances, their answers
    instructions.py   whole instructions: opening, question, ending; and back from a text to the family that it asks for
    corpus.py         training documents, in the formats of `selfinstruct.prompts`
    build.py          tokenizer and model from the corpus (`python -m selfinstruct.demo.build`)
    heldout.py        evaluation tasks whose wordings and instances the corpus never shows
    check.py          how many instructions of a run are new, how many of its instances are right

The model can continue a list of tasks or of worked examples, and that is all: its training text holds no dialogue, no
chat format and no bare instruction with its answer. Following instructions is what the demo teaches it.
"""

from __future__ import annotations

from pathlib import Path


def model_path() -> Path:
    """The directory of the embedded model, as transformers and vLLM load it."""
    return Path(__file__).parent / "model"


def heldout_path() -> Path:
    """The demo's own evaluation tasks, one JSON object a line, in the schema of the seed tasks."""
    return Path(__file__).parent / "heldout_tasks.jsonl"
