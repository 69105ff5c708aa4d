"""What each family's records become, quirk by quirk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.dataset.convert import Conversion, read_rows
from selfinstruct.errors import InputError
from selfinstruct.formats import data_files, families
from selfinstruct.formats.families import Broken, DatasetRow, Dropped, TreeOptions


def read(tmp_path: Path, *records: Any, trees: TreeOptions | None = None) -> list[DatasetRow | Dropped | Broken]:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return list(families.rows(str(path), data_files.records(path), trees=trees))


def texts(row: Any) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in row.turns]


@pytest.mark.parametrize(
    ("record", "name", "turns"),
    [
        (
            {"instruction": "Name it.", "input": "Kenya", "output": "Nairobi"},
            "alpaca",
            [("user", "Name it.\n\nKenya"), ("assistant", "Nairobi")],
        ),
        (
            {"instruction": "Say hi.", "input": "No input", "output": "Hi"},
            "alpaca",
            [("user", "Say hi."), ("assistant", "Hi")],
        ),
        ({"prompt": "Say hi.", "response": "Hi"}, "alpaca", [("user", "Say hi."), ("assistant", "Hi")]),
        (
            {"instruction": "And?", "input": "", "output": "C", "system": "Be short.", "history": [["A", "B"]]},
            "alpaca",
            [("system", "Be short."), ("user", "A"), ("assistant", "B"), ("user", "And?"), ("assistant", "C")],
        ),
        (
            {"prompt": "Say hi.\n\n", "completion": " Hi<|endoftext|>"},
            "prompt-completion",
            [("user", "Say hi."), ("assistant", "Hi")],
        ),
        (
            {"prompt": [{"role": "user", "content": "Hi"}], "completion": [{"role": "assistant", "content": "Ho"}]},
            "prompt-completion",
            [("user", "Hi"), ("assistant", "Ho")],
        ),
        (
            {
                "id": "u1",
                "motivation_app": "Mail",
                "instruction": "Sort.",
                "instances": [{"input": "b a", "output": "a b"}],
            },
            "self-instruct",
            [("user", "Sort.\n\nb a"), ("assistant", "a b")],
        ),
        (
            {"prompt": "Sort.\n\nb a", "instruction": "Sort.", "input": "b a", "response": " a b", "target": "a b"},
            "self-instruct",
            [("user", "Sort.\n\nb a"), ("assistant", "a b")],
        ),
        (
            {"inputs": "Translate: Hund", "targets": "dog", "_task_name": "wmt", "_template_type": "zs_opt"},
            "flan",
            [("user", "Translate: Hund"), ("assistant", "dog")],
        ),
        (
            {
                "system": "Be kind.",
                "conversations": [
                    {"from": "human", "value": "Hi"},
                    {"from": "gpt", "value": "Ho"},
                    {"from": "human", "value": "bye"},
                ],
            },
            "sharegpt",
            [("system", "Be kind."), ("user", "Hi"), ("assistant", "Ho")],
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                    {"role": "assistant", "content": "Ho"},
                ]
            },
            "messages",
            [("user", "Hi"), ("assistant", "Ho")],
        ),
        (
            {"chosen": "Good", "rejected": "Bad", "prompt": "How?"},
            "preference",
            [("user", "How?"), ("assistant", "Good")],
        ),
        (
            {
                "message_tree_id": "t",
                "prompt": {
                    "message_id": "t",
                    "text": "Q",
                    "role": "prompter",
                    "replies": [
                        {"message_id": "b", "text": "second", "role": "assistant", "rank": 1, "replies": []},
                        {
                            "message_id": "a",
                            "text": "first ",
                            "role": "assistant",
                            "rank": 0,
                            "replies": [{"message_id": "c", "text": "thanks", "role": "prompter", "replies": []}],
                        },
                    ],
                },
            },
            "openassistant",
            [("user", "Q"), ("assistant", "first")],
        ),
        (
            {
                "thread": [
                    {"message_id": "t", "text": "Q", "role": "prompter"},
                    {"message_id": "a", "text": "A", "role": "assistant"},
                    {"message_id": "c", "text": "thanks", "role": "prompter"},
                ]
            },
            "openassistant",
            [("user", "Q"), ("assistant", "A")],
        ),
        (
            {
                "Definition": "Add them.",
                "Instances": [{"input": "1 2", "output": ["3", "three"]}],
                "Negative Examples": [{"input": "1 1", "output": "wrong"}],
            },
            "super-natural-instructions",
            [("user", "Add them.\n\n1 2"), ("assistant", "3")],
        ),
    ],
)
def test_a_record_is_recognised_and_read(tmp_path: Path, record: Any, name: str, turns: list[tuple[str, str]]) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(record))
    assert families.recognise("data", data_files.records(path)).name == name
    rows = read(tmp_path, record)
    assert [texts(row) for row in rows] == [turns]


def test_what_belongs_to_the_task_is_kept(tmp_path: Path) -> None:
    task = {"id": "s1", "name": "sort", "category": "words", "instruction": "Sort.", "is_classification": False}
    (row,) = read(tmp_path, task | {"instances": [{"input": "b a", "output": "a b"}]})
    assert isinstance(row, DatasetRow)
    assert (row.task, row.category, row.is_classification, row.parts) == ("s1", "words", False, ("Sort.", "b a"))
    superni = {
        "Definition": ["Add."],
        "Categories": ["Math"],
        "Instances": [{"input": "1 2", "output": ["3", "three"]}],
    }
    (row,) = read(tmp_path, superni)
    assert isinstance(row, DatasetRow)
    assert (row.task, row.category, row.references) == ("data", "Math", ("three",))


@pytest.mark.parametrize(
    ("raw", "pairs"),
    [
        ("Example 1\nInput: b a\nOutput: a b\nExample 2\nOutput: c", [("b a", "a b"), ("", "c")]),
        ("Output: c", [("", "c")]),
        (
            "Class label: good\nInput: I like it.\nClass label: bad\nI hate it.",
            [("I like it.", "good"), ("I hate it.", "bad")],
        ),
    ],
)
def test_raw_completions_of_the_reference_code(tmp_path: Path, raw: str, pairs: list[tuple[str, str]]) -> None:
    rows = read(tmp_path, {"instruction": "Do.", "raw_instances": raw, "most_similar": {}})
    assert [(row.input, row.answer.content) for row in rows if isinstance(row, DatasetRow)] == pairs


def test_instructions_without_answers_are_counted(tmp_path: Path) -> None:
    rows = read(tmp_path, {"instruction": "Do.", "most_similar": {"Do it.": 0.5}, "request_idx": 1})
    assert rows == [Dropped("an instruction without instances")]


def test_empty_outputs_are_counted(tmp_path: Path) -> None:
    rows = read(tmp_path, {"instruction": "Do.", "input": "", "output": " "})
    assert rows == [Dropped("empty output")]


def test_a_bad_field_is_named_with_its_place(tmp_path: Path) -> None:
    good = {"instruction": "Do.", "input": "", "output": "x"}
    rows = read(tmp_path, good, good | {"output": 3})
    assert rows[1] == Broken(f"{tmp_path / 'data.jsonl'}, line 2: `output`: expected `str | null`, got `int`")


def test_thinking_is_a_field_of_its_own(tmp_path: Path) -> None:
    answer = {"role": "assistant", "content": "4", "reasoning_content": "2 + 2"}
    (row,) = read(tmp_path, {"messages": [{"role": "user", "content": "2 + 2?"}, answer]})
    assert isinstance(row, DatasetRow)
    assert (row.answer.content, row.answer.thinking) == ("4", "2 + 2")


def test_flan_tsv_has_escaped_newlines(tmp_path: Path) -> None:
    path = tmp_path / "qa.tsv"
    path.write_text('What?\\nOptions:\\n- "A"\tA\tBecause.\n')
    (row,) = families.rows(str(path), data_files.records(path))
    assert isinstance(row, DatasetRow)
    assert texts(row) == [("user", 'What?\nOptions:\n- "A"'), ("assistant", "Because. So the answer is A.")]


def message(name: str, parent: str | None, role: str, **fields: Any) -> dict[str, Any]:
    return {"message_id": name, "parent_id": parent, "message_tree_id": "r", "text": name, "role": role, **fields}


TREE = [
    message(
        "a2", "r", "assistant", rank=1, labels={"name": ["quality", "toxicity"], "value": [0.2, 0.9], "count": [1, 1]}
    ),
    message("r", None, "prompter", lang="de"),
    message("a1", "r", "assistant", rank=0, lang="de", labels={"quality": {"value": 0.8, "count": 3}}),
    message("p1", "a1", "prompter", lang="de"),
    message("p2", "a1", "prompter", lang="de"),
    message("a3", "p2", "assistant", synthetic=True, lang="de"),
    message("a4", "r", "assistant", deleted=True),
]


@pytest.mark.parametrize(
    ("options", "paths"),
    [
        (TreeOptions(), ["r a1"]),
        (TreeOptions(paths=0), ["r a1", "r a2"]),
        (TreeOptions(paths=0, synthetic=True), ["r a1 p2 a3", "r a2"]),
        (TreeOptions(paths=0, language="de"), ["r a1"]),
        (TreeOptions(paths=0, worst=(("toxicity", 0.5),)), ["r a1"]),
    ],
)
def test_flat_messages_become_trees_whatever_their_order(
    tmp_path: Path, options: TreeOptions, paths: list[str]
) -> None:
    rows = read(tmp_path, *TREE, trees=options)
    assert [" ".join(turn.content for turn in row.turns) for row in rows if isinstance(row, DatasetRow)] == paths
    assert {row.group for row in rows if isinstance(row, DatasetRow)} == {"r"}


def test_a_tree_that_filters_empty_is_counted(tmp_path: Path) -> None:
    assert read(tmp_path, *TREE, trees=TreeOptions(language="fr")) == [
        Dropped("tree without a path to read: a message in another language than fr")
    ]


def test_what_selects_in_trees_is_refused_where_there_are_none(tmp_path: Path) -> None:
    alpaca = {"instruction": "Name it.", "input": "Kenya", "output": "Nairobi"}
    assert len(read(tmp_path, alpaca, trees=TreeOptions())) == 1
    with pytest.raises(InputError, match=r"alpaca has no conversation trees, so .* leave them out"):
        read(tmp_path, alpaca, trees=TreeOptions(language="de"))


def test_ambiguity_names_the_candidates(tmp_path: Path) -> None:
    both = {"inputs": "a", "targets": "b", "conversations": [{"from": "human", "value": "a"}]}
    with pytest.raises(InputError, match=r"fits several families: flan, sharegpt; say which with --from"):
        read(tmp_path, both)


def test_an_unknown_form_names_its_keys(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"of no known form \(keys of the first record: `question`"):
        read(tmp_path, {"question": "a", "answer": "b"})


def test_a_file_without_a_readable_record_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 1: expected a JSON object, got int"):
        read(tmp_path, 5)
    with pytest.raises(InputError, match="holds no record"):
        read(tmp_path)


def message(key: str, parent: str | None, role: str = "prompter") -> dict[str, Any]:
    return {"message_id": key, "parent_id": parent, "role": role, "text": key}


def test_messages_that_no_tree_can_hold_are_counted(tmp_path: Path) -> None:
    tree = [message("r", None), message("a", "r", "assistant"), message("a", "r", "assistant")]
    circle = [message("x", "y"), message("y", "x", "assistant"), message("self", "self"), message("None", None)]
    rows = read(tmp_path, *tree, *circle, message("below", "x"))
    reasons = [row.reason for row in rows if isinstance(row, Dropped)]
    assert [texts(row) for row in rows if isinstance(row, DatasetRow)] == [[("user", "r"), ("assistant", "a")]]
    assert [sum(begin in reason for reason in reasons) for begin in ("id of another", "no root", "no answer")] == [
        1,
        4,
        1,
    ]


def test_a_tree_of_any_depth_ends_as_a_row_or_is_counted(tmp_path: Path) -> None:
    chain = [message(str(k), str(k - 1) if k else None, ("prompter", "assistant")[k % 2]) for k in range(5000)]
    (broken,) = read(tmp_path, *chain)
    assert isinstance(broken, Broken)
    assert broken.problem.endswith("nested too deeply")


def test_a_null_instruction_is_an_empty_question(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"instruction": null, "input": "", "output": "x"}\n{"instruction": "Name it.", "output": "Tea"}\n')
    conversion = Conversion("", "")
    assert [row.parts[0] for row in read_rows(file, conversion=conversion)] == ["Name it."]
    assert conversion.dropped == {"empty question": 1}


def test_a_broken_record_of_an_array_is_counted_and_reading_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text(
        '[{"instruction": "Name it.", "output": "Tea"},\n {"instruction": "Broken" "output": "x"},\n'
        ' {"instruction": "Name two.", "output": "Tea, rye"}]'
    )
    conversion = Conversion("", "")
    rows = read_rows(file, on_error="skip", conversion=conversion)
    assert [row.parts[0] for row in rows] == ["Name it.", "Name two."]
    assert conversion.num_broken == 1 and "record 2" in conversion.broken[0]
    with pytest.raises(InputError, match=r"record 2.*--on-error skip"):
        list(read_rows(file))


ALPACA = {"instruction": "Name it.", "input": "", "output": "x"}
CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}


@pytest.mark.parametrize("odd", [{"instruction": ["Name"], "output": "x"}, CHAT | {"id": 1}, {"x": 1}])
def test_one_odd_record_hides_no_family_and_is_named(odd: dict[str, Any], tmp_path: Path) -> None:
    broken, *others = read(tmp_path, odd, ALPACA | {"id": 2}, ALPACA)
    assert isinstance(broken, Broken) and "line 1" in broken.problem
    assert [type(row) for row in others] == [DatasetRow, DatasetRow]


def test_a_record_of_another_family_is_no_empty_question(tmp_path: Path) -> None:
    *_, broken = read(tmp_path, *[ALPACA] * 30, CHAT)
    assert isinstance(broken, Broken) and broken.problem.endswith("has the form of messages, not of alpaca")
    seeds = {"id": "s", "instruction": "Sing.", "instances": [{"input": "", "output": "La"}]}
    *_, broken = read(tmp_path, *[seeds] * 30, {"x": 1})
    assert isinstance(broken, Broken) and broken.problem.endswith("`instruction`: is missing")


def test_a_file_of_two_families_by_halves_is_refused_with_both(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="first 2 records, 1 of alpaca, 1 of messages"):
        read(tmp_path, ALPACA, CHAT)


def test_an_empty_conversation_is_dropped_not_broken(tmp_path: Path) -> None:
    *_, dropped = read(tmp_path, CHAT, CHAT, {"messages": []})
    assert isinstance(dropped, Dropped)
