"""Grades and games by a judge that is a real server on loopback."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from proxygold.evaluation.fastchat.files import ChatQuestion, ModelAnswers
from proxygold.evaluation.fastchat.judging import compare_answers, grade_answers
from proxygold.evaluation.fastchat.prompts import own_prompts
from proxygold.evaluation.fastchat.scores import game_results, grade_results
from proxygold.evaluation.judges.judging import Judge, open_judge

Start = Callable[[Callable[[str, int], Any]], Any]

QUESTIONS = [
    ChatQuestion(1, 0, "math", ("What is 2 + 2?", "And times 3?")),
    ChatQuestion(2, 1, "writing", ("Name a sea.",)),
]
REFERENCES = {"1": ("FOUR", "TWELVE")}
CATEGORIES = {"1": "math", "2": "writing"}


@contextmanager
def judge_at(url: str) -> Iterator[Judge]:
    with open_judge("j", parameters={"temperature": 0, "max_tokens": 64}, base_url=url, retries=0) as judge:
        yield judge


def answers(model: str, *texts: str, missing: dict[str, str] | None = None) -> ModelAnswers:
    return ModelAnswers(model, {"1": texts[:2], "2": texts[2:]}, missing or {})


GOOD = answers("good", "GOOD four", "GOOD twelve", "GOOD Baltic")
BAD = answers("bad", "BAD five", "BAD six", "BAD lake")


def single(judge: Judge, found: ModelAnswers, file: Path, repeats: int = 1) -> Any:
    return grade_answers(
        judge, own_prompts("single"), QUESTIONS, REFERENCES, found, file, name=found.model, repeats=repeats
    )


def test_what_the_judge_is_shown(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(lambda text, attempt: chat.completion("[[7]]"))
    with judge_at(server.url) as judge:
        grades, left_out = single(judge, GOOD, tmp_path / "v.jsonl")
    assert left_out == {}
    assert [(g.question_id, g.turn, g.score, g.judge) for g in grades] == [
        (1, 1, 7.0, ("j", "proxygold-single-math-v1")),
        (1, 2, 7.0, ("j", "proxygold-single-math-v1-multi-turn")),
        (2, 1, 7.0, ("j", "proxygold-single-v1")),
    ]
    first, second, third = (grade.user_prompt for grade in grades)
    assert sorted(server.texts) == sorted([first, second, third])
    # A reference stands beside math, and only there; the second turn comes with the first and with both references.
    assert "FOUR" in first
    assert "TWELVE" not in first
    assert all(
        text in second for text in ("FOUR", "TWELVE", "What is 2 + 2?", "And times 3?", "GOOD four", "GOOD twelve")
    )
    assert "reference" not in third.lower()
    assert server.bodies[0]["temperature"] == 0


def test_what_is_not_judged_is_counted_by_reason(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    def answer(text: str, attempt: int) -> Any:
        if "TWELVE" in text:
            return chat.completion(None, refusal="I will not.")
        if "FOUR" in text:
            return chat.completion("Hard to say.")
        return chat.error(500) if attempt == 1 else chat.completion("[[6]]")

    server = chat_server(answer)
    with judge_at(server.url) as judge:
        grades, left_out = single(judge, GOOD, tmp_path / "v.jsonl")
        assert left_out == {"unparseable answer": 1, "refusal": 1, "no answer": 1}
        assert all(math.isnan(grade.score) for grade in grades)
        assert [grade.judgment for grade in grades] == ["Hard to say.", "$ERROR$", "$ERROR$"]
        metrics, _, notes = grade_results({"good": grades}, CATEGORIES)
        assert math.isnan(metrics["good"][0].value)
        assert (metrics["good"][0].n_scored, metrics["good"][0].n_total) == (0, 3)
        assert "3 of 3 judgments are missing" in notes[0]
    # The same again asks only what got no answer at all.
    asked = len(server.texts)
    with judge_at(server.url) as judge:
        grades, left_out = single(judge, GOOD, tmp_path / "v.jsonl")
    assert len(server.texts) == asked + 1
    assert left_out == {"unparseable answer": 1, "refusal": 1}
    assert grades[2].score == 6.0


def test_nothing_is_asked_where_there_is_nothing_to_judge(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(lambda text, attempt: chat.completion("[[7]]"))
    short = ModelAnswers("m", {"1": ("4",), "2": ("sea",)}, {"1/2": "too long"})
    with judge_at(server.url) as judge:
        grades, left_out = grade_answers(
            judge, own_prompts("single"), QUESTIONS, {}, short, tmp_path / "v.jsonl", name="m", repeats=2
        )
    assert left_out == {"no reference answer": 2, "too long": 2}  # both turns of the math question, twice each
    assert len(server.texts) == 2
    assert [grade.score for grade in grades if not math.isnan(grade.score)] == [7.0, 7.0]
    assert (len(grades), grades[0].judgment, grades[0].user_prompt) == (6, "$ERROR$", "")


def test_repeats_ask_the_same_again(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    """The server grades the nth time it is asked the same with 4 + 2n."""
    server = chat_server(lambda text, attempt: chat.completion(f"[[{4 + 2 * attempt}]]"))
    with judge_at(server.url) as judge:
        grades, _ = single(judge, GOOD, tmp_path / "v.jsonl", repeats=2)
    assert len(server.texts) == 6
    assert len(set(server.texts)) == 3
    by_item: dict[tuple[Any, int], list[float]] = {}
    for grade in grades:
        by_item.setdefault((grade.question_id, grade.turn), []).append(grade.score)
    assert all(sorted(scores) == [6.0, 8.0] for scores in by_item.values())
    metrics, _, _ = grade_results({"good": grades}, CATEGORIES)
    found = {(metric.name, metric.group): metric for metric in metrics["good"]}
    assert found["score", ""].value == 7.0
    assert (found["score", ""].n_scored, found["score", ""].n_total) == (6, 6)
    assert found["score_judge_sd", ""].value == pytest.approx(math.sqrt(2))  # of 6 and 8
    assert {group for name, group in found if name == "score"} >= {"repeat=1", "repeat=2"}
    with judge_at(server.url) as judge:
        assert single(judge, GOOD, tmp_path / "v.jsonl", repeats=2)[0] == grades
    assert len(server.texts) == 6


def games(judge: Judge, pairs: list[tuple[ModelAnswers, ModelAnswers]], file: Path) -> Any:
    names = {each.model: each.model for pair in pairs for each in pair}
    return compare_answers(judge, own_prompts("pairwise"), QUESTIONS, REFERENCES, pairs, file, names=names)


def test_a_better_model_wins_in_both_orders(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    def answer(text: str, attempt: int) -> Any:
        first = re.search(r"GOOD|BAD", text)
        assert first is not None
        return chat.completion("[[A]]" if first[0] == "GOOD" else "[[B]]")

    server = chat_server(answer)
    with judge_at(server.url) as judge:
        found = games(judge, [(GOOD, BAD)], tmp_path / "v.jsonl")
    assert len(server.texts) == 6  # three answers, two orders
    assert [(game.g1_winner, game.g2_winner, failure) for game, failure in found] == [("model_1", "model_1", None)] * 3
    game = found[1][0]
    assert (game.question_id, game.turn, game.model_1, game.model_2) == (1, 2, "good", "bad")
    assert game.g1_user_prompt.index("GOOD") < game.g1_user_prompt.index("BAD")
    assert game.g2_user_prompt.index("BAD") < game.g2_user_prompt.index("GOOD")
    models = {"good": "good", "bad": "bad"}
    metrics, differences, _ = game_results([each for each, _ in found], list(models), models, CATEGORIES, "bad")
    assert list(metrics) == ["good"]
    assert differences == []
    assert values(metrics["good"]) | {} == {
        "adjusted_win_rate": 100.0,
        "win_rate": 100.0,
        "tie_rate": 0.0,
        "loss_rate": 0.0,
        "order_agreement": 100.0,
        "first_shown_won": 50.0,
    }


def values(metrics: Any) -> dict[str, float]:
    return {metric.name: metric.value for metric in metrics if metric.group == ""}


def test_a_judge_that_likes_what_comes_first_makes_ties(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(lambda text, attempt: chat.completion("[[A]]"))
    third = answers("third", "x", "y", "z")
    with judge_at(server.url) as judge:
        found = games(judge, [(GOOD, BAD), (GOOD, third)], tmp_path / "v.jsonl")
    assert {(game.g1_winner, game.g2_winner) for game, _ in found} == {("model_1", "model_2")}
    models = {name: name for name in ("good", "bad", "third")}
    metrics, _, _ = game_results([each for each, _ in found], list(models), models, CATEGORIES)
    assert values(metrics["good"]) == {
        "adjusted_win_rate": 50.0,
        "win_rate": 0.0,
        "tie_rate": 100.0,
        "loss_rate": 0.0,
        "order_agreement": 0.0,
        "first_shown_won": 100.0,
    }
    groups = {metric.group: metric.n_total for metric in metrics["good"] if metric.name == "adjusted_win_rate"}
    assert (groups[""], groups["against=bad"], groups["against=third"]) == (6, 3, 3)


def test_a_game_needs_both_orders(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    """One order of the sea question is garbage: the game is dropped, not half counted."""

    def answer(text: str, attempt: int) -> Any:
        sea = "Name a sea" in text and text.index("GOOD") < text.index("BAD")
        return chat.completion("Who knows." if sea else "[[C]]")

    server = chat_server(answer)
    with judge_at(server.url) as judge:
        found = games(judge, [(GOOD, BAD)], tmp_path / "v.jsonl")
    assert [failure for _, failure in found] == [None, None, "unparseable answer"]
    assert (found[2][0].g1_winner, found[2][0].g2_winner) == ("error", "tie")
    models = {"good": "good", "bad": "bad"}
    metrics, _, notes = game_results([each for each, _ in found], list(models), models, CATEGORIES, "bad")
    assert metrics["good"][0].value == 50.0
    assert (metrics["good"][0].n_scored, metrics["good"][0].n_total) == (2, 3)
    # Lost (50 + 50 + 0)/3 = 33.33, won (50 + 50 + 100)/3 = 66.67.
    assert "Were all of them 0, adjusted_win_rate would be 33.33; were all 100, 66.67" in notes[0]
