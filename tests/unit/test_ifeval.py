"""IFEval's instructions as evaluators: what follows them and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from bench.ifeval import CHECKS, Follows, count_sentences
from shadow.records import EvalCase

AT_LEAST, LESS = {"relation": "at least"}, {"relation": "less than"}


@pytest.mark.parametrize(
    ("instruction", "arguments", "follows", "does_not"),
    [
        ("keywords:existence", {"keywords": ["land", "river"]}, "Land by a RIVER", "land only"),
        ("keywords:frequency", {"keyword": "war", "frequency": 2, **AT_LEAST}, "war and War", "war"),
        ("keywords:forbidden_words", {"forbidden_words": ["cook"]}, "cooking", "I cook."),
        ("keywords:letter_frequency", {"letter": "e", "let_frequency": 1, "let_relation": "less than"}, "a", "e"),
        ("language:response_language", {"language": "de"}, "das ist nicht der Hund", "this is the dog"),
        ("language:response_language", {"language": "mr"}, "हे घर आहे आणि", "यह घर है"),
        ("length_constraints:number_sentences", {"num_sentences": 2, **LESS}, "Dr. Who is here.", "One. Two."),
        ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one\n***\ntwo", "one\n***\n***\ntwo"),
        ("length_constraints:number_words", {"num_words": 3, **AT_LEAST}, "one two three", "one two"),
        (
            "length_constraints:nth_paragraph_first_word",
            {"first_word": "weekend", "num_paragraphs": 2, "nth_paragraph": 2},
            'one\n\n"Weekend, at last',
            "one\n\ntwo",
        ),
        ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] and [b]", "[a]"),
        ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye\nP.S. more", "Bye"),
        ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "p. p. s. more", "P.S. more"),
        ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n- b", "* a\n**b**"),
        ("detectable_format:constrained_response", {}, "My answer is no.", "No."),
        ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "*a*", "* a"),
        (
            "detectable_format:multiple_sections",
            {"section_spliter": "Day", "num_sections": 2},
            "Day 1 a Day 2 b",
            "Day 1",
        ),
        ("detectable_format:json_format", {}, "```json\n{}\n```", "{"),
        ("detectable_format:title", {}, "<<a title>>", "<< >>"),
        ("combination:two_responses", {}, "a******b", "a******a"),
        ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, "say it. Done", "Done"),
        ("startend:end_checker", {"end_phrase": "Is it?"}, 'Well. is it?"', "Is it? No"),
        ("startend:quotation", {}, '"all of it"', '"part" of it'),
        (
            "change_case:capital_word_frequency",
            {"capital_frequency": 2, "capital_relation": "at least"},
            "GO NOW please",
            "GO now",
        ),
        ("change_case:english_capital", {}, "THIS IS THE END", "This is the end"),
        ("change_case:english_lowercase", {}, "this is the end", "This is the end"),
        ("punctuation:no_comma", {}, "none", "a, b"),
    ],
)
def test_an_instruction_is_followed_or_not(
    instruction: str, arguments: dict[str, Any], follows: str, does_not: str
) -> None:
    check = Follows(instruction, arguments)
    assert check.evaluate(EvalCase(request={}, output=follows)).value == 1.0
    assert check.evaluate(EvalCase(request={}, output=does_not)).value == 0.0
    assert check.evaluate(EvalCase(request={}, output=" ")).value == 0.0


def test_every_instruction_of_the_source_is_known_and_no_other() -> None:
    assert len(CHECKS) == 25
    with pytest.raises(ValueError, match="is no instruction of IFEval"):
        Follows("keywords:luck")


def test_a_language_that_cannot_be_told_gives_no_score() -> None:
    told = Follows("language:response_language", {"language": "xh"}).evaluate(EvalCase(request={}, output="molo"))
    assert (told.status, told.value) == ("not_applicable", None)


def test_the_loose_reading_forgives_a_first_and_a_last_line_and_stars() -> None:
    answer = EvalCase(request={}, output="Sure, here it is:\n**none**\nBye, bye")
    assert Follows("punctuation:no_comma").evaluate(answer).value == 0.0
    assert Follows("punctuation:no_comma", loose=True).evaluate(answer).value == 1.0


@pytest.mark.parametrize(
    ("text", "count"),
    [("One. Two! Three?", 3), ("Dr. Who came at 5 p.m. today", 1), ("1. First\n2. Second", 1), ("", 0), ("No end", 1)],
)
def test_sentences_end_where_people_end_them(text: str, count: int) -> None:
    assert count_sentences(text) == count
