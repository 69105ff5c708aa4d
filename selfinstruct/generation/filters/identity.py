"""Answers in which the model says which model it is: "I am Qwen, created by Alibaba Cloud."

A model that is tuned on such rows says the same of itself, whoever it is. What the instruction or the input names
may be said: some ask to play a part.
"""

from __future__ import annotations

import re
from itertools import islice

from selfinstruct.generation.filters.row import Row
from selfinstruct.records import Rejection

_MODELS = (
    "ChatGPT|Chat GPT|GPT|Qwen|QwQ|DeepSeek|SmolLM|ChatGLM|InternLM|InternVL|MiniCPM|StableLM|Nemotron|Mixtral|OLMo"
    "|Tülu|OpenAssistant|Open Assistant|WizardLM|Baichuan|Hunyuan|Doubao|ERNIE Bot|Tongyi Qianwen"
    "|通义千问|文心一言|豆包|混元|讯飞星火|智谱清言"
)
"""Names that nobody but a model has."""
_ALSO_OTHERS = (
    "Claude|Gemini|Gemma|Llama|Mistral|Grok|Phi|Bard|Copilot|Kimi|Yi|GLM|Vicuna|Alpaca|Koala|Falcon|Granite|Zephyr|Hermes"
    "|Aya|MiniMax|Jamba"
)
"""Names that people, animals and signs of the zodiac have, too: the sentence must speak of a model or its maker."""
_MAKERS = (
    r"(?:OpenAI|Open AI|Anthropic|Google|DeepMind|Meta|Facebook|Microsoft|Alibaba|Mistral|DeepSeek|Hugging ?Face|xAI"
    r"|Moonshot|Zhipu|Baidu|Tencent|ByteDance|IBM|NVIDIA|Cohere|AI21|Databricks|Stability AI|01\.AI|Ai2|LMSYS"
    r"|Allen Institute|阿里|百度|腾讯|字节跳动|智谱|月之暗面|深度求索)"
)
_SELF = re.compile(
    r"\b(?:I am|I['’]m|I was|I have been|I['’]ve been|my name(?:['’]s| is)|call me|as|ich bin|ich hei(?:ß|ss)e"
    r"|ich wurde|mein Name ist|je suis|je m['’]appelle|j['’]ai été|soy|me llamo|mi nombre es|fui)\b"
    r"|我是|我叫|我(?=由)|私は|أنا|मैं",
    re.I,
)
_MOST_LOOKED_AT = 200
"""Sentences that begin with one of these words; a model introduces itself early."""
_SENTENCE = re.compile(r"(?:(?![.!?]\s|[。！？\n]).){0,160}")
_FILLER = re.compile(
    r"(?:[\s,]*\b(?:an?|the|actually|just|only|AI|artificial|intelligence|large|language|virtual|helpful|friendly|chat"
    r"|assistant|model|chatbot|bot|named|called|known as|ein|eine|KI|Sprachmodell|namens|une?|le|la|el|grand|gran"
    r"|modèle|modelo|de langage|de lenguaje|d['’]IA|de IA)\b|一[个款]|大型|人工智能|语言模型|助手|，)*[\s,]*",
    re.I,
)
_MODEL = re.compile(rf"(?:{_MODELS})(?:[-\s]?v?\d(?:[\w.]*\w)?)?(?![a-z])", re.I)
_ALSO_OTHER = re.compile(rf"(?:{_ALSO_OTHERS})(?:[-\s]?v?\d(?:[\w.]*\w)?)?(?!\w)(?! [A-Z][a-z])")
_OF_MODELS = re.compile(
    r"\b(?:AI|KI|IA|artificial intelligence|language model|LLM|chatbot|virtual assistant|Sprachmodell|modèle|modelo)\b"
    r"|语言模型|人工智能",
    re.I,
)
_MADE = r"(?:created|developed|built|designed|made|créée?|développée?|conçue?|cread[oa]|desarrollad[oa]|diseñad[oa])"
_TRAINED = r"(?:trained|fine-?tuned|entraînée?|entrenad[oa])"
_MADE_BY = re.compile(
    rf"(?:(?:that|which|who|is|was|has been|qui a été|que fue) ?)*(?P<verb>{_MADE}|(?P<trained>{_TRAINED}))"
    rf"(?: (?:and|et|y) \w+)? (?:by|par|por) "
    rf"(?:(?:the|a|an|team|researchers|engineers|people|company|at|of|from|called) )*(?P<maker>{_MAKERS})"
    rf"|(?:(?:das|der|die) )?von (?P<german>{_MAKERS})[^,]{{0,20}} (?:entwickelt|trainiert|erstellt)"
    rf"|由(?P<chinese>{_MAKERS})",
    re.I,
)


def identity(row: Row) -> Rejection | None:
    """Reject an output in which the model names itself, or who made it, unless the instruction or the input does.

    The evidence is the words and the name.
    """
    question = f"{row.instruction}\n{row.input}".casefold()
    for own in islice(_SELF.finditer(row.output), _MOST_LOOKED_AT):
        sentence = _SENTENCE.match(row.output, own.end())
        said = sentence[0] if sentence else ""
        name = _named(said, after_as=own[0].casefold() == "as") or _maker(said)
        if name is not None and name.casefold() not in question:
            return Rejection("identity", {"words": f"{own[0]}{said}"[:120].strip(), "name": name})
    return None


def _named(said: str, *, after_as: bool) -> str | None:
    """Return the model that a sentence begins with; behind "as", only where "I" follows ("such as Qwen")."""
    name = _MODEL.match(said, start := _behind_filler(said, 0))
    if name is None and (name := _ALSO_OTHER.match(said, start)) is not None:
        speaks_of_models = _OF_MODELS.search(said) or _MADE_BY.match(said, _behind_filler(said, name.end()))
        name = name if speaks_of_models else None
    if name is None or (after_as and not re.match(r",? I\b", said[name.end() :])):
        return None
    return name[0].strip()


def _maker(said: str) -> str | None:
    """Return the company that a sentence says it was made by; people are trained by companies, too."""
    start = _behind_filler(said, 0)
    made = _MADE_BY.match(said, start)
    if made is None or (made["trained"] and not _OF_MODELS.search(said[:start])):
        return None
    return made["maker"] or made["german"] or made["chinese"]


def _behind_filler(said: str, start: int) -> int:
    filler = _FILLER.match(said, start)
    return filler.end() if filler else start
