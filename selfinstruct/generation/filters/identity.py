"""Answers in which the model says which model it is: "I am Qwen, created by Alibaba Cloud."

A model that is tuned on such rows says the same of itself, whoever it is. What the instruction or the input names
may be said: some ask to play a part. Read are sentences of the writer about itself ("I am", "As an AI", "我是"), in the
languages of the prompts; "You are talking to ChatGPT" is not found.
"""

from __future__ import annotations

import re
from itertools import islice

from selfinstruct.generation.filters.row import Row
from selfinstruct.novelty import may_hold
from selfinstruct.records import Rejection

_MODELS = (
    "ChatGPT|Chat GPT|GPT|Qwen|QwQ|DeepSeek|SmolLM|ChatGLM|InternLM|InternVL|MiniCPM|StableLM|Nemotron|Mixtral"
    "|Tülu|OpenAssistant|Open Assistant|WizardLM|Doubao|ERNIE Bot|Tongyi Qianwen"
    "|通义千问|通義千問|文心一言|豆包|讯飞星火|智谱清言"
)
"""Names that nobody but a model has."""
_ALSO_OTHERS = (
    "Claude|Gemini|Gemma|Llama|Mistral|Grok|Phi|Bard|Copilot|Kimi|Yi|GLM|Vicuna|Alpaca|Koala|Falcon|Granite|Zephyr|Hermes"
    "|Aya|MiniMax|Jamba|OLMo|Olmo|Baichuan|Hunyuan|混元"
)
"""Names that people, animals and signs of the zodiac have, too: the sentence must speak of a model or its maker."""
_ONLY_OF_MODELS = "OpenAI|Open AI|Anthropic|DeepMind|DeepSeek|xAI|Moonshot|Zhipu|Stability AI|LMSYS|月之暗面|深度求索"
"""Whom these trained is no salesperson."""
_MAKERS = (
    rf"(?:{_ONLY_OF_MODELS}|Google|Meta|Facebook|Microsoft|Alibaba|Mistral|Hugging ?Face|Baidu|Tencent|ByteDance"
    r"|IBM|NVIDIA|Cohere|AI21|Databricks|01\.AI|Ai2|Allen Institute|阿里|百度|腾讯|字节跳动|智谱)(?![A-Za-z0-9])"
)
_SELF = re.compile(
    r"\b(?:I am|I['’]m|I was|I have been|I['’]ve been|my name(?:['’]s| is)|call me"
    r"|(?P<as>(?-i:As|Als|En tant que|Comme|Como)|(?<=but )as)|ich bin|ich hei(?:ß|ss)e"
    r"|ich wurde|mein Name ist|je suis|je m['’]appelle|mon nom est|j['’]ai été|soy|me llamo|mi nombre es|fui|he sido)\b"
    r"|我是|我叫|我(?=由)|我的名字[是叫]|(?P<as_chinese>作为)|私の名前は|[私僕]は|أنا|मैं",
    re.I,
)
_WORDS_OF_SELF = frozenset("i my call as als en comme como ich mein je mon j soy me mi fui he".split())
"""In ASCII it begins with one of these."""
_MOST_LOOKED_AT = 200
"""Sentences that begin with one of these words; a model introduces itself early."""
_SENTENCE = re.compile(r"(?:(?![.!?]\s|[。！？\n]).){0,160}")
_MARKS = r"[\s,，、:*_`\"“”„«»‘’「」『』-]*"
_FILLER = re.compile(
    rf"(?:{_MARKS}(?:\b(?:an?|the|actually|just|only|based on|powered by|AI|artificial|intelligence|machine learning"
    r"|neural network|large|language|virtual|helpful|friendly|chat|assistant|model|chatbot|bot|named|called|known as"
    r"|eine?|gro(?:ß|ss)es|KI|künstliche|Intelligenz|Sprachmodell|Assistent|virtueller|namens"
    r"|une?|una|le|la|el|grand|gran|IA|modèle|modelo|de langage|de lenguaje|d['’]IA|de IA|virtuel|asistente"
    r"|artificielle|inteligencia)\b"
    rf"|一[个款]|超?大规模|大型|人工智能|智能|语言模型|助手|聊天机器人|名为|大規模|言語モデル|アシスタント))*{_MARKS}",
    re.I,
)
_VERSION = r"(?:[-\s]?v?\d(?:[\w.]*[A-Za-z0-9])?)?(?:[-\s](?:Chat|Coder|Instruct|Turbo|\d[\d.]*[MB]))*"
_MODEL = re.compile(rf"(?P<name>{_MODELS}){_VERSION}(?![a-z])", re.I)
_ALSO_OTHER = re.compile(rf"(?P<name>{_ALSO_OTHERS}){_VERSION}(?![A-Za-z0-9]| [A-Z][a-z])")
_BEHIND_A_NAME = re.compile(
    r"[\s*_`\"“”«»’「」『』]*(?:$|[.,;:!?()（）。，、！？،؟।…—–]|-\s"
    r"|(?:(?:and|und|et|y) (?:I|my|ich|je|was|am)|an?|the|your|here|by|from|of|made|created|developed|built|designed"
    r"|trained|large|language|model|family|architecture|assistant|chatbot|bot|eine?|das|der|von|une?|le|la|el|de|du|par|por|créée?"
    r"|développée?|cread[oa]|desarrollad[oa]|entwickelt|और|हूँ|हूं)(?!\w)"
    r"|です|だ[よ、。]|で[、あ]|と申|とい|と呼|大?(?:语言)?模型|智能|助手|聊天|你的|一[个款])",
    re.I,
)
"""What can follow a name: "I am a GPT user" and "I was ChatGPT's first user" name somebody else."""
_A_MODEL = (
    r"(?:neural network|LLM|chatbot"
    r"|(?:AI|artificial intelligence|language|virtual|digital)[- ](?:assistant|model|companion|chatbot|system)"
    r"|AI(?= (?:by|from|made|built|created|developed|trained)|[.,;!?*]|$)|KI(?:-\w+)?|Sprachmodell"
    r"|modèle|(?:assistant|asistente) (?:d['’]|de )?(?:IA|virtuel)|modelo|assistant IA)\b"
)
_CALLED_A_MODEL = re.compile(
    rf"[\s*_`\"“”»’」』(（,，、:–—-]*(?:(?:and )?(?:I am|I['’]m) )?"
    rf"(?:(?:an?|the|your|eine?|une?|le|el|la) (?:[\w-]+ ){{0,3}}?{_A_MODEL}"
    r"|(?:一[个款]|你的|您的).{0,8}?(?:人工智能|AI|语言模型|助手)|(?:AIアシスタント|(?:大規模)?言語モデル))",
    re.I,
)
_OF_MODELS = re.compile(rf"\b{_A_MODEL}|\b(?:AI|KI|IA|model)\b|人工智能|语言模型|言語モデル|模型", re.I)
_MADE = (
    r"(?:created|developed|built|designed|made|programmed|créée?|développée?|conçue?|cread[oa]"
    r"|desarrollad[oa]|diseñad[oa])"
)
_TRAINED = r"(?:trained|fine-?tuned|entraînée?|entrenad[oa])"
_MADE_CHINESE = r"(?:开发|研发|训练|创建|打造|构建|创造|设计|推出|開發)"
_MADE_BY = re.compile(
    rf"(?:(?:that|which|who|and|I|is|was|has been|qui a été|que fue) ?)*(?:{_MADE}|(?P<trained>{_TRAINED}))"
    rf"(?: (?:and|et|y) \w+)? (?:by|par|por) "
    rf"(?:(?:the|a|an|team|researchers|engineers|people|company|at|of|from|called) )*(?P<maker>{_MAKERS})"
    rf"|(?:(?:das|der|die) )?(?:von (?P<german>{_MAKERS})[^,]{{0,20}} (?:entwickelt|trainiert|erstellt)"
    rf"|(?:entwickelt|trainiert|erstellt) von (?P<german_last>{_MAKERS}))"
    rf"|(?:由|来自)?(?P<chinese>{_MAKERS})\w{{0,12}}?{_MADE_CHINESE}(?:出来|而成)?(?=的|[，,。]|$)"
    rf"|(?P<japanese>{_MAKERS})(?: Cloud| AI)?(?:によって|により|が|に|の).{{0,16}}?"
    rf"(?:AI|人工知能|言語モデル|モデル|{_MODELS})(?:アシスタント|です|として|で[、あ])",
    re.I,
)
_OF_MAKER = re.compile(rf"(?:(?:by|from|of|par|de|von|por) |来自)(?P<maker>{_MAKERS})", re.I)
_MAKERS_OWN = re.compile(rf"(?P<maker>{_MAKERS})(?:['’]s)? ", re.I)
_I = r"(?:I|my|ich|mein\w*|je|j['’]\w+|mon|mes|(?:no )?(?:tengo|puedo|soy|estoy)|mi)\b"
_THEN_I = re.compile(rf"[*_`\"”»]*(?:[,，]? ?(?:\w+ )?{_I}|[，,]?我)", re.I)
_LATER_I = re.compile(rf"(?:[^,，]{{0,60}}[,，])? ?(?:\w+ )?{_I}|.{{0,60}}我", re.I)


def identity(row: Row) -> Rejection | None:
    """Reject an output in which the model names itself, or who made it, unless the instruction or the input does.

    The evidence is the words and the name.
    """
    if not may_hold(row.output, _WORDS_OF_SELF):
        return None
    question = f"{row.instruction}\n{row.input}"
    for own in islice(_SELF.finditer(row.output), _MOST_LOOKED_AT):
        sentence = _SENTENCE.match(row.output, own.end())
        said = sentence[0] if sentence else ""
        after_as = own["as"] is not None or own["as_chinese"] is not None
        name = _named(said, after_as=after_as) or _maker(said, after_as=after_as)
        if name is not None and not _holds(question, name[1]):
            return Rejection("identity", {"words": f"{own[0]}{said}"[:120].strip(), "name": name[0]})
    return None


def _holds(question: str, name: str) -> bool:
    """Return whether the question has the name as a word: not "Yi" for "trying"."""
    return re.search(rf"(?<![A-Za-z]){re.escape(name)}(?![a-z])", question, re.I) is not None


def _named(said: str, *, after_as: bool) -> tuple[str, str] | None:
    """Return the model that a sentence begins with, with and without its version.

    Behind "as" only where "I" follows ("As Qwen, I ..."): one can work as a user of it.
    """
    start = _behind_filler(said, 0)
    makers_own = _MAKERS_OWN.match(said, start)
    behind_maker = _behind_filler(said, makers_own.end()) if makers_own else start
    name = _MODEL.match(said, behind_maker)
    if name is None and (name := _ALSO_OTHER.match(said, behind_maker)) is not None:
        is_model = makers_own or _OF_MODELS.search(said[:start]) or _CALLED_A_MODEL.match(said, name.end())
        name = name if is_model or _MADE_BY.match(said, _behind_filler(said, name.end())) else None
    if name is None or (_THEN_I if after_as else _BEHIND_A_NAME).match(said, name.end()) is None:
        return None
    return name[0].strip(), name["name"]


def _maker(said: str, *, after_as: bool) -> tuple[str, str] | None:
    """Return, twice, the company that a sentence says it was made by; people are trained by companies, too."""
    start = _behind_filler(said, 0)
    calls_itself_model = _OF_MODELS.search(said[:start]) is not None
    if (made := _MADE_BY.match(said, start)) is not None:
        maker = next(made[which] for which in ("maker", "german", "german_last", "chinese", "japanese") if made[which])
        trains_people = made["trained"] is not None and not re.fullmatch(_ONLY_OF_MODELS, maker, re.I)
        known = calls_itself_model or not trains_people
        end = made.end()
    elif calls_itself_model and (by := _OF_MAKER.match(said, start)) is not None:
        maker, known, end = by["maker"], True, by.end()
    elif (own := _MAKERS_OWN.match(said, start)) is not None:
        end = _behind_filler(said, own.end())
        maker = own["maker"]
        known = _is_a_model(said[own.end() : end]) and _BEHIND_A_NAME.match(said, end) is not None
    else:
        return None
    if not known or (after_as and _LATER_I.match(said, end) is None):
        return None
    return maker, maker


def _is_a_model(words: str) -> bool:
    return re.search(rf"{_A_MODEL}[\s,]*$", words, re.I) is not None


def _behind_filler(said: str, start: int) -> int:
    filler = _FILLER.match(said, start)
    return filler.end() if filler else start
