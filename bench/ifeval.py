"""The verifiable instructions of IFEval as a `python` evaluator: 1 when the answer does what it was told.

After Zhou et al., "Instruction-Following Evaluation for Large Language Models" (arXiv 2311.07911) and its reference
checker (google-research/instruction_following_eval), rewritten. Two things differ, because the reference leans on
libraries we do not carry: sentences are split by a rule instead of nltk's model, and a language is told by its script
and commonest words instead of langdetect; where that cannot tell, the check is not applicable.

In a configuration: `{type: python, target: "ifeval:Follows", instruction: "punctuation:no_comma"}`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

from shadow.records import Score

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from shadow.records import EvalCase

Arguments = dict[str, Any]

_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_ABBREVIATIONS = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|vs|etc|e\.g|i\.e|No|Inc|Ltd|Co|U\.S|P\.S|P\.P\.S|a\.m|p\.m)\.$"
)
_SENTENCE_END = re.compile(r"[.!?]+[\"')\]*]*(?=\s|$)")

_SCRIPTS: Mapping[str, tuple[str, str]] = {
    # language: (a letter of its script, letters or words that tell it from others of that script)
    "fa": (r"[\u0600-\u06ff]", r"[\u067e\u0686\u0698\u06af\u06a9\u06cc]"),
    "ur": (r"[\u0600-\u06ff]", r"[\u0679\u0688\u0691\u06d2\u06ba]"),
    "ar": (r"[\u0600-\u06ff]", r"[\u0629\u0649\u0643]"),
    "hi": (r"[\u0900-\u097f]", r"है|हैं|का|की|के|में"),
    "mr": (r"[\u0900-\u097f]", r"आहे|आहेत|ळ|आणि|च्या"),
    "ne": (r"[\u0900-\u097f]", r"छ|को|मा|हरू"),
    "bn": (r"[\u0980-\u09ff]", r"[\u0980-\u09ff]"),
    "pa": (r"[\u0a00-\u0a7f]", r"[\u0a00-\u0a7f]"),
    "gu": (r"[\u0a80-\u0aff]", r"[\u0a80-\u0aff]"),
    "ta": (r"[\u0b80-\u0bff]", r"[\u0b80-\u0bff]"),
    "te": (r"[\u0c00-\u0c7f]", r"[\u0c00-\u0c7f]"),
    "kn": (r"[\u0c80-\u0cff]", r"[\u0c80-\u0cff]"),
    "th": (r"[\u0e00-\u0e7f]", r"[\u0e00-\u0e7f]"),
    "ko": (r"[\uac00-\ud7af]", r"[\uac00-\ud7af]"),
    "ja": (r"[\u3040-\u30ff\u4e00-\u9fff]", r"[\u3040-\u30ff]"),
    "ru": (r"[\u0400-\u04ff]", r"[ыэё]"),
    "bg": (r"[\u0400-\u04ff]", r"ъ"),
}
_WORDS: Mapping[str, str] = {
    "en": "the of and to in is that it for was with you are this",
    "de": "der die und das ist nicht ein zu mit den auf von",
    "es": "el la de que y los en un por con para una",
    "fr": "le la les et des est un une du que pour dans",
    "it": "il di che la è per un non con una sono del",
    "pt": "o a que de não um para é com uma os do",
    "fi": "ja on ei se että hän oli mutta kun ovat",
    "sw": "na ya wa kwa ni katika za la hii kama cha",
    "vi": "và của là các một cho không được có trong",
}


class Follows:
    """1 when the answer follows one instruction, else 0; `loose` also takes it without its first or last line."""

    version: ClassVar[str] = "1"
    measures: ClassVar[str] = "format"

    def __init__(self, instruction: str, arguments: Arguments | None = None, *, loose: bool = False) -> None:
        if instruction not in CHECKS:
            raise ValueError(f"{instruction!r} is no instruction of IFEval; there are: {', '.join(sorted(CHECKS))}")
        self._check = CHECKS[instruction]
        self._arguments = arguments or {}
        self._variants = _loosened if loose else _itself

    def evaluate(self, case: EvalCase) -> Score:
        """Check one answer; an empty one follows nothing."""
        told = [self._follows(variant) for variant in self._variants(case.output)]
        if all(each is None for each in told):
            return Score(status="not_applicable", reason="the language cannot be told without a model")
        return Score(status="scored", value=float(any(told)))

    def _follows(self, answer: str) -> bool | None:
        return self._check(answer, self._arguments) if answer.strip() else False


def _itself(answer: str) -> Sequence[str]:
    return (answer,)


def _loosened(answer: str) -> Iterator[str]:
    """Give the variants of the reference's loose reading."""
    lines = answer.split("\n")
    for kept in (lines, lines[1:], lines[:-1], lines[1:-1]):
        text = "\n".join(kept).strip() if kept is not lines else answer
        yield text
        yield text.replace("*", "")


def _related(count: int, wanted: int, relation: str) -> bool:
    return count < wanted if relation == "less than" else count >= wanted


def _letters(answer: str, given: Arguments) -> bool:
    return _related(Counter(answer.lower())[given["letter"].lower()], given["let_frequency"], given["let_relation"])


def _keyword_count(answer: str, given: Arguments) -> bool:
    found = re.findall(given["keyword"], answer, re.IGNORECASE)
    return _related(len(found), given["frequency"], given["relation"])


def _paragraphs(answer: str, given: Arguments) -> bool:
    parts = re.split(r"\s?\*\*\*\s?", answer)
    inner_empty = any(not part.strip() for part in parts[1:-1])
    return not inner_empty and sum(bool(part.strip()) for part in parts) == given["num_paragraphs"]


def _first_word(answer: str, given: Arguments) -> bool:
    parts = answer.split("\n\n")
    count, at = sum(bool(part.strip()) for part in parts), given["nth_paragraph"]
    if at > count or not parts[at - 1].strip():
        return False
    word = parts[at - 1].split()[0].lstrip("'").lstrip('"')
    said = re.split("[.,?!'\"]", word)[0].lower()
    return count == given["num_paragraphs"] and said == given["first_word"].lower()


def _postscript(answer: str, given: Arguments) -> bool:
    marker = given["postscript_marker"]
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return re.search(known.get(marker, re.escape(marker.lower())), answer.lower()) is not None


def _highlights(answer: str, given: Arguments) -> bool:
    single = [found for found in re.findall(r"\*[^\n*]*\*", answer) if found.strip("*").strip()]
    double = [found for found in re.findall(r"\*\*[^\n*]*\*\*", answer) if found.strip("*").strip()]
    return len(single) + len(double) >= given["num_highlights"]


def _bullets(answer: str, given: Arguments) -> bool:
    starred = re.findall(r"^\s*\*[^*].*$", answer, re.MULTILINE)
    dashed = re.findall(r"^\s*-.*$", answer, re.MULTILINE)
    return len(starred) + len(dashed) == given["num_bullets"]


def _sections(answer: str, given: Arguments) -> bool:
    parts = re.split(rf"\s?{given['section_spliter']}\s?\d+\s?", answer)
    return len(parts) - 1 >= given["num_sections"]


def _json(answer: str, _given: Arguments) -> bool:
    text = re.sub(r"^```(?:json)?", "", answer.strip(), flags=re.IGNORECASE).removesuffix("```").strip()
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _title(answer: str, _given: Arguments) -> bool:
    return any(found.strip("<>").strip() for found in re.findall(r"<<[^\n]+>>", answer))


def _two_responses(answer: str, _given: Arguments) -> bool:
    parts = answer.split("******")
    if any(not part.strip() for part in parts[1:-1]):
        return False
    said = [part.strip() for part in parts if part.strip()]
    return len(said) == 2 and said[0] != said[1]


def _sentences(answer: str, given: Arguments) -> bool:
    return _related(count_sentences(answer), given["num_sentences"], given["relation"])


def count_sentences(text: str) -> int:
    """Count sentences: an end mark before white space, unless an abbreviation or a list number stands before it."""
    count, start = 0, 0
    for found in _SENTENCE_END.finditer(text):
        before = text[start : found.end()]
        listed = re.fullmatch(r"\s*(?:\d+|[A-Za-z])\.", before.rpartition("\n")[2]) is not None
        if _ABBREVIATIONS.search(before) or listed:
            continue
        count, start = count + 1, found.end()
    return count + bool(re.search(r"\w", text[start:]))


def _capital_words(answer: str, given: Arguments) -> bool:
    words = re.findall(r"[^\W_]+(?:[-'.][^\W_]+)*", answer)
    return _related(sum(word.isupper() for word in words), given["capital_frequency"], given["capital_relation"])


def _is_in(language: str, answer: str) -> bool | None:
    """Tell whether a text is in a language; None when nothing here knows it."""
    script = _SCRIPTS.get(language)
    if script is not None:
        letters = sum(char.isalpha() for char in answer)
        return len(re.findall(script[0], answer)) > letters / 2 and re.search(script[1], answer) is not None
    if language not in _WORDS:
        return None
    words = re.findall(r"[^\W\d_]+", answer.lower())
    counts = {name: sum(word in common.split() for word in words) for name, common in _WORDS.items()}
    return counts[language] > 0 and counts[language] == max(counts.values())


def _end(answer: str, given: Arguments) -> bool:
    return answer.strip().strip('"').lower().endswith(given["end_phrase"].strip().lower())


def _repeats(answer: str, given: Arguments) -> bool:
    return answer.strip().lower().startswith(given["prompt_to_repeat"].strip().lower())


CHECKS: Mapping[str, Callable[[str, Arguments], bool | None]] = {
    "keywords:existence": lambda answer, given: all(
        re.search(word, answer, re.IGNORECASE) for word in given["keywords"]
    ),
    "keywords:frequency": _keyword_count,
    "keywords:forbidden_words": lambda answer, given: (
        not any(re.search(rf"\b{word}\b", answer, re.IGNORECASE) for word in given["forbidden_words"])
    ),
    "keywords:letter_frequency": _letters,
    "language:response_language": lambda answer, given: _is_in(given["language"], answer),
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": lambda answer, given: _related(
        len(re.findall(r"\w+", answer)), given["num_words"], given["relation"]
    ),
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": lambda answer, given: (
        len(re.findall(r"\[.*?\]", answer)) >= given["num_placeholders"]
    ),
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": lambda answer, _: any(option in answer for option in _OPTIONS),
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeats,
    "startend:end_checker": _end,
    "startend:quotation": lambda answer, _: (
        len(answer.strip()) > 1 and answer.strip()[0] == '"' and answer.strip()[-1] == '"'
    ),
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": lambda answer, _: answer.isupper() and _is_in("en", answer),
    "change_case:english_lowercase": lambda answer, _: answer.islower() and _is_in("en", answer),
    "punctuation:no_comma": lambda answer, _: "," not in answer,
}
