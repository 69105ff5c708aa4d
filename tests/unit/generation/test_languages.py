"""Prompts in each language, and that their parsers read what a model writes after them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from selfinstruct.config.schema import Config, PromptLanguage
from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.generation.examples import can_be_shown
from selfinstruct.generation.filters.script import script_of
from selfinstruct.generation.frame import load_frame
from selfinstruct.generation.generate import borrowed_seeds
from selfinstruct.generation.languages import language_remark
from selfinstruct.generation.method import Method
from selfinstruct.generation.parsing import parse_answer
from selfinstruct.generation.prompts import encode_answer, next_example
from selfinstruct.generation.steps import Steps
from selfinstruct.novelty import NoveltyIndex
from selfinstruct.records import Completion, Instruction, SeedTask, Style
from tests.conftest import run_scripted, script

LANGUAGES: tuple[PromptLanguage, ...] = get_args(PromptLanguage)
OTHERS = [code for code in LANGUAGES if code != "en"]


def steps(
    language: PromptLanguage, seeds: list[SeedTask] | None = None, style: Style = "completion", **options: Any
) -> Steps:
    method = Method.of(Config.model_validate({"prompt_language": language, **options}))
    tasks = list(method.frame.examples) if seeds is None else seeds
    return Steps(method, tasks, borrowed_seeds(method.frame), ScriptedEngine(script), style)


def answered(text: str) -> Completion:
    return Completion(text, "stop", 10, 10)


def asked(language: PromptLanguage, kind: bool) -> Instruction:
    task = next(task for task in load_frame(language).examples if task.is_classification == kind)
    return Instruction("p000000-00", task.instruction, 0)


@pytest.mark.parametrize("style", ["completion", "chat"])
@pytest.mark.parametrize("language", OTHERS)
def test_every_word_of_a_prompt_is_in_its_language(language: PromptLanguage, style: Style) -> None:
    made = steps(language, style=style)
    assert made.remarks == []
    instruction = asked(language, True)
    requests = [
        made.proposal_request(0, [], 0)[0],
        made.classification_request(instruction),
        *(made.instances_request(instruction, kind) for kind in (True, False)),
    ]
    english = load_frame()
    for request in requests:
        text = request.prompt if isinstance(request.prompt, str) else request.prompt[0]["content"]
        assert {script_of(c) for c in text if c.isalpha() and c != "ー"} == set(made.method.frame.scripts), text
        assert english.opening(english.task) not in text
        assert all(len(stop.strip()) != 1 for stop in request.stop)


@pytest.mark.parametrize("language", OTHERS)
def test_every_example_of_a_language_can_be_shown_in_it(language: PromptLanguage) -> None:
    frame = load_frame(language)
    assert [task.id for task in frame.examples if not can_be_shown(task, frame)] == []


@pytest.mark.parametrize("style", ["completion", "chat"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_list_of_tasks_is_continued_in_the_language(language: PromptLanguage, style: Style) -> None:
    frame = load_frame(language)
    tasks = borrowed_seeds(frame)[:8]
    made = steps(language, tasks[:5], style=style)
    _, asked = made.proposal_request(0, [], 0)
    shown = asked.examples
    new = [task.instruction for task in tasks[5:]]
    whole = "\n".join(frame.line(frame.task, text, k) for k, text in enumerate(new, len(shown) + 1))
    opening = frame.opening(frame.task, len(shown) + 1)
    text = whole.removeprefix(opening) if style == "completion" else whole
    index = NoveltyIndex([task.instruction for task in tasks[:5]])
    line = made.decide_proposal(asked, answered(text), index, [], 9)
    assert [candidate.instruction for candidate in line.candidates] == new


@pytest.mark.parametrize("style", ["completion", "chat"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_yes_and_no_of_the_language_are_read(language: PromptLanguage, style: Style) -> None:
    made = steps(language, borrowed_seeds(load_frame(language)), style=style)
    instruction = Instruction("p000000-00", made.seeds[0].instruction, 0)
    choices = made.classification_request(instruction).choices
    assert choices is not None
    for choice, expected in zip(choices, (True, False), strict=True):
        assert made.decide_classification(instruction, answered(choice)).is_classification is expected
        assert made.decide_classification(instruction, answered(f"{choice}.")).is_classification is expected


@pytest.mark.parametrize("kind", [True, False])
@pytest.mark.parametrize("language", LANGUAGES)
def test_instances_written_as_the_prompt_shows_them_are_read(language: PromptLanguage, kind: bool) -> None:
    frame = load_frame(language)
    task = next(t for t in borrowed_seeds(frame) if t.is_classification == kind and len(t.instances) > 1)
    made = steps(language, borrowed_seeds(frame))
    if kind:
        pairs = [f"{frame.line(frame.label, i.output)}\n{frame.line(frame.input, i.input)}" for i in task.instances]
    else:
        pairs = [
            "\n".join(
                [frame.heading(frame.example, k), frame.line(frame.input, i.input), frame.line(frame.output, i.output)]
            )
            for k, i in enumerate(task.instances, 1)
        ]
    line = made.decide_instances(Instruction("p000000-00", task.instruction, 0), kind, answered("\n".join(pairs)))
    assert [(c.input, c.output, c.accepted) for c in line.candidates] == [
        (i.input, i.output, True) for i in task.instances
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_answer_after_examples_ends_where_the_next_example_begins(language: PromptLanguage) -> None:
    frame = load_frame(language)
    task = next(t for t in borrowed_seeds(frame) if not t.is_classification and t.instances[0].input)
    output = task.instances[0].output
    prompt = encode_answer(task.instruction, task.instances[0].input, [task], frame)
    assert prompt.endswith(frame.opening(frame.output))
    following = f"{frame.heading(frame.example, 2)}\n{frame.line(frame.input, 'x')}\n{frame.line(frame.output, 'y')}"
    assert parse_answer(f"{frame.space}{output}\n{following}", frame) == (output, None)
    pattern = next_example(frame)
    assert pattern.search(f"{output}\n{following}") and not pattern.search(output)
    task = frame.line(frame.task, "x")
    assert pattern.search(f"{output}\n\n{task}\n{frame.heading(frame.example, 1)}\n")
    assert not pattern.search(f"{output}\n\n{task}\n{output}")


def test_chinese_seeds_without_a_classification_task_borrow_chinese_ones() -> None:
    own = [task for task in load_frame("zh").examples if not task.is_classification]
    made = steps("zh", own)
    assert made.remarks == [
        "the seeds hold no classification task: the examples of such tasks are packaged ones in Chinese"
    ]
    for request in (made.classification_request(asked("zh", True)), made.instances_request(asked("zh", True), True)):
        assert {script_of(c) for c in str(request.prompt) if c.isalpha()} == {"CJK"}


def test_a_remark_names_the_languages_in_the_script_of_the_seeds() -> None:
    english, chinese = load_frame(), load_frame("zh")
    (remark,) = language_remark(chinese.examples, english)
    assert remark.startswith("8 of 8 seeds are in CJK script, the prompts' own words in English; ")
    assert remark.endswith("see --prompt-language ja (Japanese) or --prompt-language zh (Chinese)")
    assert language_remark(chinese.examples, chinese) == language_remark(load_frame("de").examples, english) == []
    greek = SeedTask("s", "Γράψε ένα ποίημα.", (), False)
    assert language_remark([greek], english) == ["1 of 1 seeds are in GREEK script, the prompts' own words in English"]


def test_tasks_with_the_opening_punctuation_of_their_language_become_rows(make_config: Any, tmp_path: Path) -> None:
    tasks = [
        "¿Cuál es la capital del país?",
        "¡Escribe un saludo breve!",
        "«Traduce» la frase.",
        "“Resume” el texto dado.",
    ]
    seeds = [
        {"id": f"es{k}", "instruction": task, "is_classification": False, "instances": [{"input": "", "output": "Sí."}]}
        for k, task in enumerate(tasks)
    ]
    (tmp_path / "es.jsonl").write_text("".join(json.dumps(seed) + "\n" for seed in seeds))
    new = [
        "¿Qué río atraviesa la región indicada?",
        "¡Describe en dos frases la plaza de tu barrio!",
        "«Ordena» alfabéticamente estas palabras.",
        "“Explica” brevemente por qué llueve en otoño.",
    ]

    def spanish(request: Request) -> Completion:
        if request.key.startswith("proposal/"):
            first, *others = new
            return answered(" " + first + "".join(f"\nTarea {k}: {task}" for k, task in enumerate(others, 10)) + "\n")
        if request.key.startswith("classification/"):
            return answered(" No")
        return answered("Ejemplo 1\nEntrada: Andalucía\nSalida: El Guadalquivir.\n")

    options = {"seeds": [str(tmp_path / "es.jsonl")], "prompt_language": "es", "num_instructions": len(new)}
    state = run_scripted(make_config(**options), ScriptedEngine(spanish))
    assert [instruction.text for instruction in state.pool] == new and state.num_instances == len(new)
