"""MT-Bench and Vicuna-Bench from questions to results: a real small model, a real server as judge, the command line."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from proxygold.cli.main import app
from proxygold.errors import ConfigError, DataError
from proxygold.evaluation.answers.subjects import Answer, Request, open_subjects
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.fastchat.answers import ChatSampling, answer_questions
from proxygold.evaluation.fastchat.bench import ChatBenchSettings
from proxygold.evaluation.fastchat.files import ChatQuestion
from proxygold.evaluation.fastchat.mt_bench import evaluate_mt_bench
from proxygold.evaluation.progress import EvalProgress

Start = Callable[[Callable[[str, int], Any]], Any]

QUESTIONS: list[dict[str, Any]] = [
    {"question_id": 1, "category": "writing", "turns": ["Name a sea.", "Name another."]},
    {"question_id": 2, "category": "math", "turns": ["What is 2 + 2?", "And times 3?"], "reference": ["4", "12"]},
    {"question_id": 3, "category": "stem", "turns": ["Why is ice slippery?", "Shorter, please."]},
]


def write(path: Path, rows: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- answers ----------------------------------------------------------------------------------------------------------


def test_a_model_answers_turn_after_turn(tiny_models: tuple[Path, Path], tmp_path: Path) -> None:
    long = {"question_id": 4, "category": "writing", "turns": ["sea " * 3000, "And?"]}
    settings = ChatBenchSettings(
        write(tmp_path / "question.jsonl", [*QUESTIONS, long, "{"]), "single", sampling=ChatSampling(max_new_tokens=6)
    )

    def evaluate(name: str, **changed: Any) -> Any:
        subjects = open_subjects([f"m={tiny_models[0]}"], None, None, dtype="float32", batch_size=4)
        chosen = ChatBenchSettings(settings.questions, "single", sampling=settings.sampling, **changed)
        directory = EvaluationDirectory(tmp_path / name)
        return directory, evaluate_mt_bench(subjects, chosen, directory, EvalProgress(), None)

    directory, evaluation = evaluate("all")
    rows = {row["id"]: row for row in read(directory.answers_file("m"))}
    assert set(rows) == {f"{question}/{turn}" for question in (1, 2, 3) for turn in (1, 2)}
    # FastChat's temperatures: 0.7 for writing, 0 for math, 0.1 for stem.
    assert [rows[f"{question}/1"]["sampling"]["temperature"] for question in (1, 2, 3)] == [0.7, 0.0, 0.1]
    first, second = rows["2/1"], rows["2/2"]
    assert first["prompt"] == [{"role": "user", "content": "What is 2 + 2?"}]
    assert second["prompt"] == [
        *first["prompt"],
        {"role": "assistant", "content": first["completion"].strip()},
        {"role": "user", "content": "And times 3?"},
    ]
    written = read(directory.path / "model_answer" / "m.jsonl")
    assert [(row["question_id"], row["choices"][0]["turns"]) for row in written] == [
        (number, [rows[f"{number}/{turn}"]["completion"].strip() for turn in (1, 2)]) for number in (1, 2, 3)
    ]
    (result,) = evaluation.models
    assert sorted(result.left_out.values()) == [1, 1]  # both turns of the long question, each for its own reason
    assert result.about["template"] == "chat"
    assert "question.jsonl:5" in evaluation.rejected[0]
    assert "--judge" in evaluation.notes[0]
    # An answer is the same whatever else is asked.
    alone, _ = evaluate("one", limit=1)
    assert [row["completion"] for row in read(alone.answers_file("m"))] == [
        rows[f"1/{turn}"]["completion"] for turn in (1, 2)
    ]
    # And the same command again answers nothing anew.
    before = directory.answers_file("m").read_bytes()
    evaluate("all")
    assert directory.answers_file("m").read_bytes() == before


class _Talker:
    """A subject that goes on with the next turn by itself."""

    name = "talker"

    def __init__(self, template: str) -> None:
        self.about = {"template": template}
        self.left_out: dict[str, str] = {}
        self.asked: list[Request] = []

    def answer(self, requests: Sequence[Request], file: Path, **options: Any) -> list[list[Answer]]:
        self.asked += requests
        return [[Answer(request.id, " Red.\n\n### Instruction:\nAnd green?", 9, False)] for request in requests]


def test_an_answer_ends_where_the_next_turn_begins(tmp_path: Path) -> None:
    question = ChatQuestion(1, 0, "writing", ("Name a color.", "Another."))
    for template, text in (("alpaca", "Red."), ("chat", "Red.\n\n### Instruction:\nAnd green?")):
        subject = _Talker(template)
        found = answer_questions(subject, [question], ChatSampling(), EvaluationDirectory(tmp_path), EvalProgress())
        assert found.turns == {"1": [text, text]}
        assert subject.asked[1].prompt[1] == {"role": "assistant", "content": text}
        assert found.about["answers_cut_at_max_new_tokens"] == 2


# --- the command line -------------------------------------------------------------------------------------------------


def answers(path: Path, word: str) -> Path:
    rows = [
        {"question_id": row["question_id"], "choices": [{"index": 0, "turns": [f"{word} {n}" for n in (1, 2)]}]}
        for row in QUESTIONS
    ]
    return write(path, rows)


def run(*arguments: Any, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["eval", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def grader(chat: Any) -> Callable[[str, int], Any]:
    """GOOD answers get 9 and 8, others 3; comparisons name the good one. Math beside its reference gets one point less."""

    def answer(text: str, attempt: int) -> Any:
        if "[[A]]" in text:
            first = re.search(r"(GOOD|BAD) \d", text)
            assert first is not None
            return chat.completion("[[A]]" if first[1] == "GOOD" else "[[B]]")
        grade = (8 if "GOOD 2" in text else 9) if "GOOD" in text else 3
        return chat.completion(f"So. [[{grade - ('reference' in text)}]]")

    return answer


def test_mt_bench_grades_recounts_and_replays(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(grader(chat))
    write(tmp_path / "question.jsonl", QUESTIONS)
    good, bad = answers(tmp_path / "good.jsonl", "GOOD"), answers(tmp_path / "bad.jsonl", "BAD")
    common = ["--questions", tmp_path, "--outputs", good, "--outputs", bad, "--baseline", "bad", "--strict"]
    judge = ["--judge", "j", "--base-url", server.url, "--cache", tmp_path / "c.sqlite"]
    prices = ["--price-in", "1000", "--price-out", "1000"]
    out = tmp_path / "out"

    dry = run("mt-bench", *common, *judge, *prices, "--dry-run", "--out", out).output
    assert dry.count("6 requests to j") == 2
    assert not server.texts
    assert not list(out.rglob("*_single.jsonl"))
    assert not (out / "results.json").exists()

    result = run("mt-bench", *common, *judge, "--out", out)
    # good: writing 9, 8; math 8, 7; stem 9, 8: 49/6, turns 26/3 and 23/3. bad: 3, 3, 2, 2, 3, 3: 16/6.
    lines = [line.split("\t") for line in result.stdout.splitlines() if "\tscore\t" in line]
    found = {tuple(line[:3]): (line[4], line[7], line[8]) for line in lines}
    assert found["good", "", ""] == ("8.16667", "6", "6")
    assert found["good", "", "turn=1"] == ("8.66667", "3", "3")
    assert found["good", "", "turn=2"] == ("7.66667", "3", "3")
    assert found["bad", "", ""] == ("2.66667", "6", "6")
    # By question: 8.5 - 3, 7.5 - 2, 8.5 - 3.
    assert found["good", "bad", ""] == ("5.5", "3", "3")
    results = json.loads((out / "results.json").read_text())
    settings = results["settings"]
    assert settings["judge"]["snapshots"] == ["tester-2026-01-01"]
    assert settings["judge"]["parameters"] == {"temperature": 0, "max_tokens": 2048}
    assert len(settings["judge_prompts"]["hashes"]) == 4
    by_group = {metric["group"]: metric["value"] for metric in results["models"][0]["metrics"]}
    assert (by_group["category=math"], by_group["category=math,turn=2"]) == (7.5, 7.0)

    judgments = out / "model_judgment" / "j_single.jsonl"
    assert len(read(judgments)) == 12
    recount = run("mt-bench", "--judgments", judgments, "--questions", tmp_path, "--out", tmp_path / "recount")
    assert "good\t\t\tscore\t8.16667" in recount.stdout
    assert "good\tbad" not in recount.stdout
    again = json.loads((tmp_path / "recount" / "results.json").read_text())
    assert again["models"][0]["metrics"] == results["models"][0]["metrics"]
    assert {row["model"] for row in again["settings"]["judges"]} == {"j"}

    asked = len(server.texts)
    assert run("mt-bench", *common, *judge, "--out", out).stdout == result.stdout
    replayed = run("mt-bench", *common, "--judge", f"replay:{out}", "--out", tmp_path / "replayed")
    table = [line for line in result.stdout.splitlines() if "\t" in line]
    assert [line for line in replayed.stdout.splitlines() if "\t" in line] == table
    assert len(server.texts) == asked


def test_vicuna_bench_against_a_baseline(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(grader(chat))
    write(tmp_path / "question.jsonl", [row | {"turns": row["turns"][:1]} for row in QUESTIONS])
    given = [
        ("--outputs", answers(tmp_path / f"{name}.jsonl", word)) for name, word in (("sft", "BAD"), ("rer", "GOOD"))
    ]
    # In FastChat's file the answer to the math question ties with the baseline's, being the same.
    same = [
        row | {"choices": [{"index": 0, "turns": ["BAD 1"]}]} if row["question_id"] == 2 else row
        for row in read(given[1][1])
    ]
    write(given[1][1], same)
    command = ["vicuna-bench", "--questions", tmp_path, *given[0], *given[1], "--baseline", "sft", "--judge", "j"]
    command += ["--base-url", server.url, "--cache", tmp_path / "c.sqlite", "--out", tmp_path / "out", "max_tokens=9"]
    result = run(*command)
    # Two wins, and for the equal answers [[B]] in both orders, which is a disagreement: (2 + 1/2)/3.
    assert "rer\t\t\tadjusted_win_rate\t83.3333\t" in result.stdout
    assert "sft\t\t\t" not in result.stdout
    assert server.bodies[0]["max_tokens"] == 9
    rows = read(tmp_path / "out" / "model_judgment" / "j_pair.jsonl")
    assert [(row["model_1"], row["model_2"], row["g1_winner"], row["g2_winner"]) for row in rows] == [
        ("rer", "sft", "model_1", "model_1"),
        ("rer", "sft", "model_2", "model_1"),
        ("rer", "sft", "model_1", "model_1"),
    ]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["settings"]["baseline_about"]["outputs"].endswith("sft.jsonl")
    counted = run(
        *("vicuna-bench", "--judgments", tmp_path / "out" / "model_judgment" / "j_pair.jsonl"),
        *("--baseline", "sft", "--out", tmp_path / "counted"),
    )
    assert "rer\t\t\tadjusted_win_rate\t83.3333\t" in counted.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--outputs", "a.jsonl"], r"needs its questions: --questions FILE"),
        (["--questions", "none.jsonl", "--outputs", "a.jsonl"], "there is no file none.jsonl"),
        (["--questions", "q.jsonl", "--outputs", "a.jsonl", "--baseline", "b"], "'b' is none of those given: a"),
        (
            ["--questions", "q.jsonl", "--outputs", "a.jsonl", "--mode", "pairwise", "--judge", "j", "--cache", "c"],
            "a has nobody to be compared with",
        ),
        (["--questions", "q.jsonl", "--outputs", "a.jsonl", "--dry-run"], "there is no judge to be asked"),
        (["--judgments", "j.jsonl", "--judge", "x"], "only counts judgments that exist, and --judge was given"),
        (["--judgments", "j.jsonl", "--model", "x"], "and --model was given"),
        (["--judgments", "j.jsonl", "--baseline", "x"], "'x' is not in j.jsonl; its models are a"),
        (
            ["--questions", "r.jsonl", "--outputs", "a.jsonl", "--judge", "j", "--cache", "c"],
            "there is none. Give --ref",
        ),
    ],
)
def test_wrong_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    answers(tmp_path / "a.jsonl", "GOOD")
    write(tmp_path / "q.jsonl", QUESTIONS)
    write(tmp_path / "r.jsonl", [{key: value for key, value in row.items() if key != "reference"} for row in QUESTIONS])
    write(tmp_path / "j.jsonl", [{"question_id": 1, "model": "a", "score": 3, "turn": 1}])
    result = CliRunner().invoke(app, ["eval", "mt-bench", *arguments])
    assert isinstance(result.exception, ConfigError | DataError)
    assert re.search(message, str(result.exception))


# --- counting what FastChat recorded ----------------------------------------------------------------------------------


def test_the_adjusted_win_rate_is_fastchats(tmp_path: Path) -> None:
    """Against a count of its own of 300 recorded games: what errs is dropped, disagreement is a tie, a tie is a half."""
    draw = random.Random(0)
    winners = ("model_1", "model_2", "tie", "error")
    rows = []
    for number in range(300):
        pair = draw.sample(["a", "b", "base"], 2)
        rows.append(
            {"question_id": number % 80, "model_1": pair[0], "model_2": pair[1], "turn": 1}
            | {f"g{game}_winner": draw.choices(winners, (5, 4, 3, 1))[0] for game in (1, 2)}
        )
    counts: dict[str, Counter[str]] = {"a": Counter(), "b": Counter()}
    for row in rows:
        pair = [row["model_1"], row["model_2"]]
        first, second = row["g1_winner"], row["g2_winner"]
        if "base" not in pair or "error" in (first, second):
            continue
        model = next(name for name in pair if name != "base")
        if first != second or first == "tie":
            counts[model]["tie"] += 1
        else:
            counts[model]["win" if row[first] == model else "loss"] += 1
    path = write(tmp_path / "x_pair.jsonl", rows)
    run("vicuna-bench", "--judgments", path, "--baseline", "base", "--out", tmp_path / "out")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {result["model"] for result in results["models"]} == {"a", "b"}
    for result in results["models"]:
        count = counts[result["model"]]
        n = count.total()
        found = {metric["name"]: metric for metric in result["metrics"] if metric["group"] == ""}
        assert found["adjusted_win_rate"]["value"] == pytest.approx(100 * (count["win"] + 0.5 * count["tie"]) / n)
        assert found["win_rate"]["value"] == pytest.approx(100 * count["win"] / n)
        assert found["loss_rate"]["value"] == pytest.approx(100 * count["loss"] / n)
        assert found["adjusted_win_rate"]["n_scored"] == n
        assert found["adjusted_win_rate"]["n_total"] == n + result["left_out"]["no verdict in the file"]
