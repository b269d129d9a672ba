"""Sentences marked by a judge: what it is asked, and what its marks come to."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxygold.errors import ConfigError
from proxygold.evaluation.judges.judging import Verdict
from proxygold.evaluation.responses.sentence_judging import (
    DEFAULT_PROMPT,
    SentenceQuestion,
    parse_marks,
    read_sentence_prompt,
    relevant_share,
)
from proxygold.records import Message

ANSWER = "Boil the\twater. It is wet!\n- Add 2.5 g of salt {question}.\n---"


def test_the_judge_gets_the_sentences_with_their_numbers() -> None:
    question = SentenceQuestion().ask("q1", "How do I cook {answer}?", ANSWER)
    [message] = question.messages
    assert (question.id, message["role"]) == ("q1", "user")
    # Placeholders in what is judged stay as they are; a rule of dashes is no sentence.
    assert "request\nHow do I cook {answer}?\n---" in message["content"]
    listed = "answer\n1. Boil the water.\n2. It is wet!\n3. - Add 2.5 g of salt {question}.\n---"
    assert listed in message["content"]


def test_a_conversation_is_shown_with_its_roles() -> None:
    turns = [
        Message(role=role, content=text) for role, text in (("user", "Hi"), ("assistant", "Yes?"), ("user", "Why?"))
    ]
    asked = SentenceQuestion("{question}\n|{answer}").ask("q", turns, "So.")
    assert asked.messages[0]["content"] == "[user]\nHi\n\n[assistant]\nYes?\n\n[user]\nWhy?\n|So."
    asked = SentenceQuestion("{question}\n|{answer}").ask("q", turns[2:], "So.")
    assert asked.messages[0]["content"] == "Why?\n|So."


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("1: relevant\n2: irrelevant", (True, False)),
        ("**1.** Relevant.\n\n**2.** IRRELEVANT", (True, False)),
        ("Sentence 1: not relevant\nSentence 2 - relevant", (False, True)),
        ("Here are my marks.\n1. Boil the 2 irrelevant eggs: relevant\n2. Why? irrelevant", (True, False)),
    ],
)
def test_marks_by_number(text: str, marks: tuple[bool, ...]) -> None:
    assert parse_marks(text) == marks


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("I cannot say.", "no line is a number with relevant or irrelevant"),
        ("1: relevant\n3: relevant", "not marked in order, each once: 1, 3"),
        ("1: relevant\n1: irrelevant", "not marked in order, each once: 1, 1"),
        ("2: relevant\n1: relevant", "not marked in order"),
        ("1: relevance", "no line is a number"),
    ],
)
def test_words_that_mark_no_sentences(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_marks(text)


def test_marks_behind_the_sentences_said_again() -> None:
    text = '- "Water is irrelevant." : (Relevant)\n- "So is salt." : Irrelevant\n\nThat is all.'
    assert parse_marks(text, numbered=False) == (True, False)
    with pytest.raises(ValueError, match="no sentence is marked"):
        parse_marks("They all fit.", numbered=False)


def test_a_verdict_has_to_be_whole() -> None:
    question = SentenceQuestion()
    whole = Verdict("q", (True, False, True), None, "", "…", "m")
    assert question.checked(whole, ANSWER) is whole
    short = question.checked(Verdict("q", (True, False), None, "", "…", "m"), ANSWER)
    assert (short.value, short.failure) == (None, "unparseable answer")
    assert short.reason == "2 sentences are marked, and the answer has 3"
    # Where the judge finds the sentences itself, it may find more or fewer.
    theirs = SentenceQuestion("{question} {answer}")
    assert theirs.checked(Verdict("q", (True, False), None, "", "…", "m"), ANSWER).value == (True, False)
    assert relevant_share((True, False, True, True)) == 75.0


def test_a_question_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("{question}\n{sentences}\n")
    assert read_sentence_prompt(file) == "{question}\n{sentences}"
    for wrong in ("{question}", "{sentences}", "{question} {sentences} {answer}", ""):
        file.write_text(wrong)
        with pytest.raises(ConfigError, match=r"mine\.txt lacks a placeholder. Write \{question\} where the request"):
            read_sentence_prompt(file)
    with pytest.raises(ConfigError, match=r"cannot read the prompt .*none\.txt"):
        read_sentence_prompt(tmp_path / "none.txt")
    assert SentenceQuestion(DEFAULT_PROMPT).prompt == DEFAULT_PROMPT
