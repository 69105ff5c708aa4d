"""Each filter of rows, by rows that it must object to and rows that it must leave alone."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from selfinstruct.config.schema import Filters
from selfinstruct.constraints import TYPES, keeps
from selfinstruct.formats.seed_tasks import load_seed_tasks
from selfinstruct.generation.filters import heuristics
from selfinstruct.generation.filters import language as language_filter
from selfinstruct.generation.filters.echo import echo
from selfinstruct.generation.filters.identity import identity
from selfinstruct.generation.filters.language import identify, language
from selfinstruct.generation.filters.leak import leak, leak_in
from selfinstruct.generation.filters.loop import loop, loop_in
from selfinstruct.generation.filters.no_material import no_material
from selfinstruct.generation.filters.personal_data import personal_data
from selfinstruct.generation.filters.refusal import refusal
from selfinstruct.generation.filters.row import Row
from selfinstruct.generation.filters.rows import row_check, row_filters
from selfinstruct.generation.filters.unfinished import unfinished
from selfinstruct.generation.filters.url import url
from selfinstruct.generation.frame import LANGUAGES, load_frame
from selfinstruct.records import Constraint, Rejection

ENGLISH = load_frame()
PROMISE = "I am not going to do that. I will not do that."


def reason(found: Rejection | None) -> str | None:
    return found.reason if found else None


# ---------------------------------------------------------------------------------------------------- echo


@pytest.mark.parametrize(
    ("instruction", "given_input", "output"),
    [
        (PROMISE, "", "I am not going to do that."),
        ("Describe a day at the harbour.", "", "Describe a day at the harbour"),
        ("The best restaurant in town has no chef.", "", "The best restaurant in town has no chef. It has a cook."),
        ("Rewrite the sentence politely.", "Move your car.", "Rewrite the sentence politely."),
        ("What is the mood of the scene?", "Rain fell on the empty square.", "Rain fell on the empty square"),
        ("写一首关于大海的短诗", "", "写一首关于大海的短诗"),
    ],
)
def test_an_echo(instruction: str, given_input: str, output: str) -> None:
    assert reason(echo(Row(instruction, given_input, output))) == "echo"


@pytest.mark.parametrize(
    ("instruction", "given_input", "output"),
    [
        ("What is the product of 6 and 2?", "", "The product of 6 and 2 is 12."),
        ("The longest river of the world is", "", "The longest river of the world is the Nile."),
        ("Correct the spelling.", "She liked the blue cup.", "She liked the blue cup."),
        ("Which is right: she go home every day, or she goes home every day?", "", "She goes home every day"),
        (
            "If it gives no answer, reply with exactly this: The notice does not say. Else quote it.",
            "x",
            "The notice does not say.",
        ),
        ("اقلب الجملة إلى سؤال.", "يغادر القطار في الساعة الثامنة.", "هل يغادر القطار في الساعة الثامنة؟"),
        ("Wiederhole genau diesen Satz: Der Zug ist heute pünktlich", "", "Der Zug ist heute pünktlich"),
        ("Who wrote the letter?", "The letter was written by Ada in the spring of that year.", "Ada"),
    ],
)
def test_no_echo(instruction: str, given_input: str, output: str) -> None:
    assert echo(Row(instruction, given_input, output)) is None


LAST_WORD = Constraint("edges/last_word", {"word": "lesson"}, 'The last word of your answer must be "lesson".')


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ('The last word of your response must be "lesson".', "echo"),
        ("Plan each week ahead; the last word of a plan is the first word of a lesson", None),
        ("Teach a lesson", None),  # too short to say what it is
    ],
)
def test_a_constraint_said_again_keeps_itself_and_is_an_echo(output: str, expected: str | None) -> None:
    rejection = echo(Row("How do I plan a launch?", "", output, constraints=(LAST_WORD,)))
    assert (rejection and rejection.reason) == expected
    assert echo(Row("How do I plan a launch?", "", output)) is None


@pytest.mark.parametrize(
    ("name", "parameters", "phrasing", "question", "output", "expected"),
    [
        ("edges/ends_with", {"phrase": "That is all."}, 1, "Which of the two is the fact?", "That is all.", "echo"),
        (
            "edges/ends_with",
            {"phrase": "That is all."},
            1,
            "Which of the two is the fact?",
            "The second. That is all.",
            None,
        ),
        ("edges/ends_with", {"phrase": "That is all."}, 1, "Ham, eggs or all? Say: that is all.", "That is all.", None),
        ("edges/starts_with", {"phrase": "First of all,"}, 1, "Name the capital.", "First of all, Ulaanbaatar", None),
        ("edges/starts_with", {"phrase": "In short,"}, 0, "Why do leaves fall?", "In short, the answer is:", "echo"),
        ("keywords/all_words", {"words": ["small", "music"]}, 0, "Why do leaves fall?", "Small music.", "echo"),
        (
            "keywords/word_once",
            {"word": "small"},
            1,
            "Why do leaves fall?",
            'The word "small" must occur once.',
            "echo",
        ),
        ("keywords/word", {"word": "winter"}, 0, "Which season has frost, winter or June?", "Winter", None),
        (
            "keywords/digits",
            {"n": 2},
            0,
            "How can I waste less?",
            "I can help with that. 2 numbers in digits: 11.",
            "echo",
        ),
        ("keywords/digits", {"n": 2}, 0, "How many are 20 and 22, and 7 and 9?", "42, 16", None),
        (
            "keywords/long_word",
            {"n": 13},
            1,
            "How do I begin?",
            'Good question! The answer is: "SMOLOBELEADERS".',
            "echo",
        ),
        (
            "keywords/long_word",
            {"n": 13},
            1,
            "What is the study of small life called?",
            "Microbiological science",
            None,
        ),
        ("keywords/long_word", {"n": 11}, 1, "How does she feel, favourable or unfavourable?", "unfavourable", None),
        ("keywords/for_example", {}, 1, "Why do leaves fall?", "For example, for instance.", "echo"),
        ("edges/postscript", {}, 0, "Why do leaves fall?", "I'd be happy to help.\n\nP.S. Ask me more.", "echo"),
        ("edges/postscript", {}, 0, "Why do leaves fall?", "To save water.\n\nP.S. Ask me more.", None),
        ("edges/title", {}, 0, "Why do leaves fall?", "Title: Leaves in autumn\n\nTitle: Leaves in autumn", "echo"),
        ("edges/title", {}, 0, "Why do leaves fall?", "Title: Leaves in autumn\nTo save water.", None),
        ("json/object", {}, 0, "Why do leaves fall?", "{}", "echo"),
        ("json/keys", {"keys": ["answer", "note"]}, 0, "Why do leaves fall?", '{"answer": "", "note": null}', "echo"),
        ("json/keys", {"keys": ["answer", "note"]}, 0, "How many?", '{"answer": 12, "note": ""}', None),
        ("json/strings", {"n": 2}, 0, "Name two rivers.", '["Po", "Nile"]', None),
        ("length/at_most_words", {"n": 20}, 0, "What is 1 and 1?", "2", None),
        ("edges/ends_in_question", {}, 2, "How do I save?", "Can you close your answer with a question mark?", "echo"),
    ],
)
def test_an_answer_that_says_nothing_beside_its_constraint(
    name: str, parameters: dict[str, object], phrasing: int, question: str, output: str, expected: str | None
) -> None:
    demanded = Constraint(name, parameters, TYPES[name].said(phrasing, parameters))
    assert keeps(output, demanded)
    assert reason(echo(Row(question, "", output, constraints=(demanded,)))) == expected


def test_an_echo_of_a_constraint_names_it() -> None:
    demanded = Constraint("edges/ends_with", {"phrase": "That is all."}, 'End with "That is all."')
    rejection = echo(Row("Why is the sea salty?", "", "That is all.", constraints=(demanded,)))
    assert rejection == Rejection("echo", {"of": "constraint", "keeps": 'End with "That is all."'})


def test_no_packaged_task_with_constraints_is_an_echo() -> None:
    """Whatever constraint its answer keeps, as it is or with the demanded words before or after it."""
    found = []
    checked = [name for name in TYPES if name != "language/written_in"]
    for task in load_seed_tasks(["general"]):
        draw = random.Random(task.id)
        for demanded in (TYPES[name].drawn(draw) for name in draw.sample(checked, 8)):
            phrase = demanded.parameters.get("phrase", demanded.parameters.get("word", ""))
            output = task.instances[0].output
            for answer in {output, f"{phrase} {output}", f"{output} {phrase}"}:
                plain = Row(task.instruction, task.instances[0].input, answer)
                if keeps(answer, demanded) and echo(plain) is None:
                    found.append(echo(replace(plain, constraints=(demanded,))))
    assert len(found) > 1000 and not any(found)


def test_a_label_is_no_echo() -> None:
    row = Row("Must it be done today or can it wait?", "", "today or can it wait")
    assert reason(echo(row)) == "echo"
    assert echo(Row(row.instruction, "", row.output, is_classification=True)) is None


# ------------------------------------------------------------------------------------------ loops in instructions


def test_an_instruction_that_loops() -> None:
    text = "Find the best way to get the card, " + "and find the best way to get it, " * 4
    found = heuristics(Filters(), ["Name a river."])(text)
    assert found == loop_in(text)
    assert found is not None
    assert found.reason == "loop"
    assert found.evidence == {"of": "instruction", "repeated": "and find the best way to get it", "copies": 4}
    assert heuristics(Filters(loop="warn"), ["Name a river."])(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "Translate: "
        + "I wait for you here. ".join(["The night is cold. ", "The wind is old. ", "The stars are gold. ", ""]),
        "Summarise this log:\n" + "ERROR connection to server refused\n" * 4 + "INFO done",
        "Remove the duplicate lines:\n"
        + "the cat sat on the mat\nthe dog ran in the park\n" * 2
        + "the cat sat on the mat",
        "What comes next: red, blue, red, blue, red, blue, red, blue, red, blue, red, blue",
        "Which rows are equal?\n" + "yes,no,yes,no,yes\n" * 4 + "no,no,yes,no,yes",
        "Sort these addresses: " + "; ".join(f"{k} Main Street, Springfield" for k in (4, 2, 9, 7, 1, 3)),
        "Fill in the blanks: The ___ is ___ in the ___. The ___ is ___ in the ___. The ___ is ___ in the ___.",
        "Write this sentence three times: I must not tell lies. I must not tell lies. I must not tell lies.",
    ],
)
def test_material_in_an_instruction_is_no_loop(text: str) -> None:
    assert loop_in(text) is None


def test_no_packaged_instruction_loops() -> None:
    tasks = load_seed_tasks(["seed_tasks"]) + load_seed_tasks(["eval_tasks"])
    assert [task.id for task in tasks if loop_in(task.instruction)] == []


# ---------------------------------------------------------------------------------------------------- identity


@pytest.mark.parametrize(
    ("output", "name"),
    [
        ("I am Qwen, created by Alibaba Cloud.", "Qwen"),
        ("I'd be happy to help. As a SmolLM, I specialize in support for businesses.", "SmolLM"),
        ("Hello! I'm SmolLM2-1.7B, happy to help.", "SmolLM2-1.7B"),
        ("I'm Claude, an AI assistant made by Anthropic.", "Claude"),
        ("You can call me Llama 3, an AI by Meta.", "Llama 3"),
        ("I am an AI model called Yi, developed by 01.AI, and I like tea.", "Yi"),
        ("I was developed by OpenAI.", "OpenAI"),
        ("As an AI language model trained by Google, I have no opinion.", "Google"),
        ("I'm an AI assistant created by a team at OpenAI.", "OpenAI"),
        ("我是通义千问，由阿里云开发。", "通义千问"),
        ("我是一个大型语言模型，由百度训练。", "百度"),
        ("Ich bin ein Sprachmodell, das von OpenAI entwickelt wurde.", "OpenAI"),
        ("Je suis un modèle entraîné par Mistral AI.", "Mistral"),
        ("Soy un modelo de lenguaje entrenado por Google.", "Google"),
        ("私はChatGPTです。", "ChatGPT"),
        ("I am **Qwen**, a large language model.", "Qwen"),
        ("Hi! I'm Google's Gemini.", "Gemini"),
        ("I am Microsoft Copilot.", "Copilot"),
        ("I am powered by GPT-4.", "GPT-4"),
        ("I am an AI language model based on the GPT-3.5 architecture.", "GPT-3.5"),
        ("I am OpenAI's language model.", "OpenAI"),
        ("I was trained by OpenAI.", "OpenAI"),
        ("I am a neural network trained by Google.", "Google"),
        ("As an AI assistant from Anthropic, I cannot eat.", "Anthropic"),
        ("Als ChatGPT kann ich das nicht.", "ChatGPT"),
        ("Ich bin ein KI-Assistent, der von OpenAI entwickelt wurde.", "OpenAI"),
        ("Als KI-Sprachmodell von OpenAI habe ich keine Gefühle.", "OpenAI"),
        ("Je suis un assistant virtuel créé par OpenAI.", "OpenAI"),
        ("En tant que modèle de langage développé par OpenAI, je ne peux pas.", "OpenAI"),
        ("Como modelo de lenguaje desarrollado por OpenAI, no tengo opiniones.", "OpenAI"),
        ("我的名字是通义千问。", "通义千问"),
        ("我是百度公司开发的人工智能语言模型。", "百度"),
        ("作为一个由OpenAI开发的人工智能语言模型，我没有感情。", "OpenAI"),
        ("私はOpenAIが開発したAIアシスタントです。", "OpenAI"),
        ("私はGoogleによってトレーニングされた、大規模言語モデルです。", "Google"),
    ],
)
def test_an_answer_that_says_which_model_it_is(output: str, name: str) -> None:
    found = identity(Row("Introduce yourself in one sentence.", "", output))
    assert found is not None
    assert found.reason == "identity"
    assert found.evidence["name"] == name
    assert found.evidence["words"] in output
    assert identity(Row(f"You are {name}. Introduce yourself.", "", output)) is None


@pytest.mark.parametrize(
    "output",
    [
        "I'm Claude, and I bake bread.",
        "I'm a Gemini, so I talk a lot.",
        "My name is Kimi. I am eight, and my father works on AI.",
        "I'm Yi Ling, a student of artificial intelligence.",
        "Tools such as ChatGPT and Qwen are used by many.",
        "I am using ChatGPT for this, as Google does.",
        "I am proud of the model made by Google.",
        "I was trained by Google engineers in 2019.",
        "This is a phone made by Google.",
        "I was made by my mother.",
        "As Claude, I bake bread.",
        "I'm a ChatGPT user since 2022.",
        "I am a GPT-4 enthusiast, and I was ChatGPT's first customer.",
        "As a ChatGPT user, I know that.",
        "I use tools such as ChatGPT, I find them good.",
        "GPT-3 is best described as a large language model trained by OpenAI.",
        "As a large language model developed by OpenAI, ChatGPT does not feel.",
        "I'm Claude and I study artificial intelligence.",
        "My name is Falcon, and I am an AI engineer.",
        "My name is Olmo, and I am a farmer.",
        "I am Copilot on flight 22; the pilot uses an AI.",
        "I was made by Metal, and created by metaphysics.",
        "Ich bin ein ChatGPT-Nutzer.",
        "Als ChatGPT erschien, war ich Student.",
        "Je suis un utilisateur de ChatGPT.",
        "我是ChatGPT的用户。",
        "我是由腾讯公司雇用的。",
        "我是阿里云开发团队的工程师。",
        "私はChatGPTを使っています。",
        "私はGoogleのAI研究者です。",
        "私はGoogleが開発したアプリを使っています。",
    ],
)
def test_what_is_no_identity_of_a_model(output: str) -> None:
    assert identity(Row("Write a short text.", "", output)) is None


def test_only_a_whole_word_of_the_question_allows_a_name_whatever_its_version() -> None:
    answer = "I am Yi-34B, an AI assistant made by 01.AI."
    assert reason(identity(Row("I am trying to sleep.", "", answer))) == "identity"
    assert reason(identity(Row("What is a metaphor?", "", "I was made by Meta."))) == "identity"
    assert identity(Row("Who are you, Yi?", "", answer)) is None


# ---------------------------------------------------------------------------------------------------- loop

BEGINNING = "The tide comes in twice a day. Boats wait for it, and so do the birds on the flats. "
REFRAIN = "Row the boat, row the boat,\nrow it to the shore.\n"


@pytest.mark.parametrize(
    "text",
    [
        "The user can choose a size. " * 5,
        BEGINNING + "The harbour is small and it has one pier. " * 4,
        "\n".join(f"{k}. The book is on the old table." for k in range(1, 9)),
        "\n".join(f"A line of its own, number {word}.\nI do not know what to say." for word in "abcd"),
        "very " * 30,
        "I drove home. " + "🌻" * 120,
        "He came from afar and said who he was. I am a king. I am a king. I am a king. I am",
        "我不知道该说什么。" * 6,
    ],
)
def test_a_loop(text: str) -> None:
    assert reason(loop(Row("Tell me about it.", "", text))) == "loop"
    assert reason(loop(Row("Tell me about it.", text, "Fine."))) == "loop"


@pytest.mark.parametrize(
    "text",
    [
        "| a | b |\n| --- | --- |\n" + "| 1 | 0 |\n" * 12,
        "0 " * 200,
        "Ha ha ha ha, she said.",
        REFRAIN + "The night is dark, the wind is low,\n" + REFRAIN + "The lamp is lit, and off we go,\n" + REFRAIN,
        "\n".join(f"{k} x 7 = {7 * k}" for k in range(1, 13)),
        "\n".join(f"# Is the year divisible by {k}?\nif year % {k} == 0:\n    good = False" for k in (4, 100, 400)),
        "",
    ],
)
def test_no_loop(text: str) -> None:
    assert loop(Row("Write a song about it.", text, text)) is None


SAYS_THE_SAME = "You can find it in every shop."


@pytest.mark.parametrize(
    "text",
    [
        f"Bring:\n\n1. **A kite**: It flies. {SAYS_THE_SAME}\n2. **A lamp**: {SAYS_THE_SAME}\n3. {SAYS_THE_SAME}",
        "\n".join(f"{k}. Bread with {what}" for k, what in enumerate(["jam and butter", "a bit of honey"] * 3, 1)),
        f"{SAYS_THE_SAME} A kite is light.\n{SAYS_THE_SAME} A lamp is not.\nWho knows? {SAYS_THE_SAME}",
    ],
)
def test_a_sentence_that_comes_again_anywhere_is_a_loop_in_an_output(text: str) -> None:
    row = Row("What shall I bring?", "", text)
    assert reason(loop(row)) == "loop"
    assert loop(Row("Write the lyrics of a song.", "", text)) is None
    assert loop(Row(row.instruction, text, "A lamp.")) is None


@pytest.mark.parametrize(
    "text",
    [
        f"{SAYS_THE_SAME} A kite is light. {SAYS_THE_SAME} A lamp is not.",  # twice
        f"{SAYS_THE_SAME} {SAYS_THE_SAME} {' '.join(f'w{k}' for k in range(90))}. {SAYS_THE_SAME}",
        "No, not at all. I see. No, not at all. I know. No, not at all.",  # four words
    ],
)
def test_a_sentence_that_comes_again_in_a_long_output_is_none(text: str) -> None:
    assert loop(Row("What shall I bring?", "", text)) is None


@given(st.lists(st.sampled_from(["the", "boat", "is", "late", "7", "a"]), min_size=5, max_size=20), st.integers(6, 12))
def test_a_group_of_words_is_found_whatever_stands_before_it(unit: list[str], copies: int) -> None:
    words = ["a", "beginning", "of", "its", "own", *unit * copies]
    if sum(not word.isdigit() for word in unit) * 2 > len(unit) and any(len(word) > 1 for word in unit):
        assert loop(Row("x", "", " ".join(words))) is not None


# ---------------------------------------------------------------------------------------------------- leak


@pytest.mark.parametrize(
    "text",
    [
        "Name a river.<|im_end|>",
        "<|im_start|>assistant Name a river.",
        "Name a river. [/INST] The Nile.",
        "Name a river.<end_of_turn>",
        "Name a river.<|eot_id|>",
        "<|channel|>final Name a river.",
        "Name a river.</s>",
        "<s> Name a river.</s>",
        "Name a river. <｜User｜>",
        "Task 4: Name a river.",
        "Output: The Nile is a river.",
        "Write one task per line, from 'Task 4:' to 'Task 16:' and nothing else.",
        "Here is a list of varied tasks, each of a different kind.",
    ],
)
def test_an_instruction_with_words_of_the_prompt(text: str) -> None:
    assert reason(leak_in(text, ENGLISH)) == "leak"
    assert reason(leak(Row(text, "", "Yes."), ENGLISH)) == "leak"
    if text[0].isalpha():
        assert heuristics(Filters(min_words=0), ["Name a river."])(text).reason == "leak"  # type: ignore[union-attr]
        assert heuristics(Filters(min_words=0, leak="off"), ["Name a river."])(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "Explain what '<|im_end|>' means in a chat template.",
        "Turn <s>old</s> into Markdown.",
        "Write a task for a class of ten.",
        "List the output of each program.",
    ],
)
def test_an_instruction_about_markup(text: str) -> None:
    assert leak_in(text, ENGLISH) is None


def test_of_an_output_only_what_is_not_given_counts() -> None:
    log = "10:02 <|im_end|> was sent twice"
    assert leak(Row("Which token is in the log?", f"'{log}'", "It is <|im_end|>."), ENGLISH) == Rejection(
        "leak", {"token": "<|im_end|>"}
    ), "the input itself holds it"
    assert leak(Row("Which token is quoted here: '<|im_end|>'?", "", "It is <|im_end|>."), ENGLISH) is None
    assert reason(leak(Row("Name a river.", "", "The Nile.<|im_end|>"), ENGLISH)) == "leak"
    assert reason(leak(Row("Name a river.", "", "The Nile.\nTask 2: Name a lake."), ENGLISH)) == "leak"


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_of_every_language_are_known(language: str) -> None:
    frame = load_frame(language)  # type: ignore[arg-type]
    for sentence in (frame.proposal_header, frame.classification_header):
        assert reason(leak_in(sentence, frame)) == "leak"


# --------------------------------------------------------------------------------- refusal and unfinished


@pytest.mark.parametrize(
    "output",
    [
        "As an AI language model, I have no favourite river.",
        "I'm sorry, but I can't help with that.",
        "I apologize, but I cannot write this.",
        "I am unable to open the page.",
        "As a helpful AI, I can only talk.",
        "Es tut mir leid, das geht nicht.",
        "抱歉，我无法回答。",
    ],
)
def test_a_refusal(output: str) -> None:
    assert reason(refusal(Row("Name a river.", "", output))) == "refusal"


@pytest.mark.parametrize(
    "output", ["I will not succeed.", "The Nile.", "As an AI engineer you train models.", "She said she was sorry."]
)
def test_no_refusal(output: str) -> None:
    assert refusal(Row("Name a river.", "", output)) is None


@pytest.mark.parametrize(
    "output",
    [
        "Sure, here is a list of three rivers.",
        "Here are three rivers:",
        "Certainly! I'd be happy to help you with that.",
        "Sure!",
        "Of course.",
        "```python\nprint(1)",
        "The three longest rivers of the world are the Nile, the",
        "The three longest rivers of the world are the Nile,",
    ],
)
def test_an_unfinished_output(output: str) -> None:
    assert reason(unfinished(Row("Name three rivers.", "", output))) == "unfinished"


@pytest.mark.parametrize(
    "output",
    [
        "Sure, here is one: the Nile.",
        "Here are three rivers:\n- Nile\n- Ob\n- Po",
        "```python\nprint(1)\n```",
        "SELECT name FROM rivers WHERE length > 4000 ORDER BY name DESC;",
        "The Nile",
        "Here is your rye loaf, but we have just sold the last rolls.",
        "I will make a lamp out of old computer parts.",
    ],
)
def test_a_finished_output(output: str) -> None:
    assert unfinished(Row("Name three rivers.", "", output)) is None


# ----------------------------------------------------------------------------------- no_material and url


@pytest.mark.parametrize(
    "instruction",
    [
        "Summarize the article below in one sentence.",
        "Classify the following sentence by its tone.",
        "Correct the mistakes in the given text",
        "Translate this sentence into French.",
        "Tell whether the caller on this recording is a doctor or a lawyer.",
        "Can you provide an optimized version of the given code that uses a generator?",
        "Explain what the code above does.",
    ],
)
def test_no_material(instruction: str) -> None:
    assert reason(no_material(Row(instruction, "", "Done."))) == "no_material"
    assert no_material(Row(instruction, "The tram was late.", "Done.")) is None
    assert no_material(Row(f"{instruction}: The tram was late.", "", "Done.")) is None
    assert no_material(Row(f"{instruction}\nThe tram was late.", "", "Done.")) is None


@pytest.mark.parametrize(
    "instruction",
    [
        "Write a function that sorts a given list.",
        "Answer the following question. In what year did the bridge open?",
        'Translate the following sentence: "It rains."',
        "Write the first line of a story.",
    ],
)
def test_nothing_is_missing(instruction: str) -> None:
    assert no_material(Row(instruction, "", "Done.")) is None


def test_an_address_that_nobody_gave() -> None:
    made_up = "See https://www.rivers.info/nile for more."
    assert url(Row("Name a river.", "", made_up)) == Rejection("url", {"url": "https://www.rivers.info/nile"})
    assert url(Row("Name a river.", "From https://www.rivers.info/nile", made_up)) is None
    assert url(Row("Give me a link about a river.", "", made_up)) is None
    assert url(Row("Name a river.", "", "See https://www.example.com/nile.")) is None


# ------------------------------------------------------------------------------ language and personal data

GERMAN = "Nenne drei große Flüsse in Asien und beschreibe einen davon."
ANSWER = "The Yangtze is the longest river in Asia, and it flows through China alone."


def test_an_answer_in_another_language() -> None:
    found = language(Row(GERMAN, "", ANSWER))
    assert found is not None and (found.evidence["asked"], found.evidence["written"]) == ("de", "en")
    assert reason(language(Row("列出亚洲的三条大河，并描述其中的一条河流的特点和历史。", "", ANSWER))) == "language"


def test_an_instruction_is_looked_at_once_for_all_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    monkeypatch.setattr(language_filter, "identify", lambda text, part: looked.append(part) or identify(text, part))
    for output in ("Gut.", ANSWER, ANSWER):
        language(Row(f"{GERMAN} Und zwar jetzt.", "", output))
    assert looked == ["instruction", "output", "output"]  # The first output is too short to ask about either.


@pytest.mark.parametrize(
    ("instruction", "given_input", "output"),
    [
        ("Name three large rivers in Asia and describe one of them.", "", ANSWER),
        ("Nenne drei große Flüsse in Asien und beschreibe einen davon auf Englisch.", "", ANSWER),
        (
            "Give the French for this sentence.",
            "Can you speak slowly?",
            "Pouvez-vous parler lentement, s'il vous plaît ?",
        ),
        (
            "Shorten the review to its main point.",
            "Das Essen war kalt und der Kellner war müde.",
            "Das Essen war kalt.",
        ),
        (GERMAN, "", "Yangtze"),
        ("Write a loop in Python that prints the squares.", "", "```python\nfor k in range(9):\n    print(k * k)\n```"),
    ],
)
def test_the_language_that_was_asked_for(instruction: str, given_input: str, output: str) -> None:
    assert language(Row(instruction, given_input, output)) is None


@pytest.mark.parametrize(
    ("output", "what"),
    [
        ("Write to jane.miller@riverhouse.org today.", "e-mail address"),
        ("Call us at +44 20 7946 0018.", "telephone number"),
        ("Call us at (212) 736-5000.", "telephone number"),
        ("Write to jane@example.com, or call (212) 555-0143.", None),
        ("The product is 1,234,567,890 and 2024-11-27 is a date.", None),
        ("12345678901234567890", None),
        ("`[a-z0-9._%+-]+@[a-z0-9.-]+\\.[a-z]{2,}` matches an address.", None),
    ],
)
def test_personal_data(output: str, what: str | None) -> None:
    found = personal_data(Row("Write a notice.", "", output))
    assert (found.evidence["what"] if found else None) == what
    assert personal_data(Row("Write a notice.", output, output)) is None


# ---------------------------------------------------------------------------------------------- together


@pytest.mark.parametrize("name", ["seed_tasks", "eval_tasks"])
def test_the_packaged_tasks_are_kept(name: str) -> None:
    check = row_check(Filters(), ENGLISH)
    rows = [
        Row(task.instruction, instance.input, instance.output, task.is_classification)
        for task in load_seed_tasks([name])
        for instance in task.instances
    ]
    rejected = [(row.instruction, found) for row in rows if (found := check(row).rejection) is not None]
    assert len(rejected) <= 0.005 * len(rows), rejected


@given(st.text(), st.text(), st.text(), st.booleans())
def test_any_text_is_decided(instruction: str, given_input: str, output: str, is_classification: bool) -> None:
    row = Row(instruction, given_input, output, is_classification)
    for name, objects in row_filters(ENGLISH).items():
        found = objects(row)
        assert found is None or (found.reason == name and json.dumps(found.evidence))


def test_many_opening_quotation_marks_do_not_take_quadratic_time() -> None:
    marks = "«" * 100_000
    assert (
        language(Row(f"Name a river in Asia. {marks}", "", f"The Yangtze flows through China alone. {marks}")) is None
    )
