"""AlpacaEval from answers to numbers, with a judge that is a real server on loopback."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from proxygold.cli.main import app
from proxygold.errors import ConfigError

Start = Callable[[Callable[[str, int], Any]], Any]

REFERENCE = [
    {
        "instruction": "Name a sea.",
        "output": "REF Baltic",
        "generator": "base",
        "dataset": "koala",
        "qtype": "OPENENDED",
    },
    {"instruction": "Add 1 and 2.", "output": "3", "generator": "base", "dataset": "vicuna", "qtype": "CONSTRAINED"},
    {"instruction": "Why?", "output": "REF so", "generator": "base", "dataset": "koala", "qtype": "OPENENDED"},
    {"instruction": "Name a lake.", "output": "REF Como", "generator": "base", "dataset": "vicuna"},
    {"instruction": "Sing.", "output": "REF la", "generator": "base", "dataset": "koala"},
    {"instruction": "Count.", "output": "REF 1 2", "generator": "base", "dataset": "koala"},
    {"instruction": "Why?", "output": "REF again", "generator": "base"},
]
# Wins, a tie without a question, a loss, a refusal, garbage, no answer at all; a row of another set; no text.
OUTPUTS = [
    {"instruction": "Sing.", "output": "GARBAGE", "generator": "mine"},
    {"instruction": "Name a sea.", "output": "GOOD Adriatic, and a longer answer", "generator": "mine"},
    {"instruction": "Add 1 and 2.", "output": "3", "generator": "mine"},
    {"instruction": "Why?", "output": "BAD no", "generator": "mine"},
    {"instruction": "Name a lake.", "output": "REFUSED", "generator": "mine"},
    {"instruction": "Something else.", "output": "GOOD", "generator": "mine"},
    {"instruction": "Count.", "output": None, "generator": "mine"},
]

CHATML = """<|im_start|>user
{instruction}
=== first ===
{output_1}
=== second ===
{output_2}
<|im_end|>"""


def write_json(path: Path, rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))
    return path


def shown(text: str) -> tuple[str, str, str]:
    """What a judge was asked about: instruction, first, second."""
    own = re.search(
        r"=== the request ===\n(.*)\n=== the first answer ===\n(.*)\n=== the second answer ===\n(.*)\n=== end", text
    )
    if own is None:
        own = re.search(r"(.*)\n=== first ===\n(.*)\n=== second ===\n(.*)", text)
    assert own is not None
    return own[1], own[2], own[3]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {
        "--reference-outputs": write_json(tmp_path / "reference.json", REFERENCE),
        "--outputs": write_json(tmp_path / "mine.json", OUTPUTS),
        "--out": tmp_path / "out",
        "--cache": tmp_path / "cache.sqlite",
    }


def run(*given: Any, **options: Any) -> Any:
    flat = [str(word) for option in options.items() for word in option]
    return CliRunner().invoke(app, ["eval", "alpaca-eval", *map(str, given), *flat])


def results(out: Path) -> tuple[dict[str, Any], dict[tuple[str, str, str], dict[str, Any]]]:
    found = json.loads((out / "results.json").read_text())
    metrics = {
        (model["model"], metric["name"], metric["group"]): metric
        for model in found["models"]
        for metric in model["metrics"]
    }
    return found, metrics


def test_answers_of_a_file_are_judged_and_nothing_is_lost(
    chat: Any, chat_server: Start, files: dict[str, Path], tmp_path: Path
) -> None:
    def judge(text: str, attempt: int) -> Any:
        _, first, second = shown(text)
        if "REFUSED" in first + second:
            return chat.completion(None, refusal="I would rather not.")
        if "GARBAGE" in first + second:
            return chat.completion("Both have their charm.")
        better = "FIRST" if first.startswith("GOOD") or second.startswith("BAD") else "SECOND"
        return chat.completion(better)

    server = chat_server(judge)
    options = {**files, "--judge": "judge-7b", "--base-url": server.url, "--retries": 0}
    done = run("temperature=0.5", **options)
    assert done.exit_code == 0, done.output
    # One seeded order a pair, by AlpacaEval's formula.
    asked = [shown(text) for text in server.texts]
    assert {instruction for instruction, _, _ in asked} == {"Name a sea.", "Why?", "Name a lake.", "Sing."}
    for instruction, first, _ in asked:
        switched = random.Random("is_switched_outputs" + instruction + "0").choices([False, True])[0]
        assert first.startswith("REF ") is not switched
    assert all(body["temperature"] == 0.5 for body in server.bodies)
    assert all(body["max_tokens"] == 16 for body in server.bodies)

    found, metrics = results(tmp_path / "out")
    overall = metrics["mine", "win_rate", ""]
    # A win, a tie and a loss of six: 50 on three; with the others lost 1.5 / 6, with them won 4.5 / 6.
    assert (overall["value"], overall["n_scored"], overall["n_total"]) == (50.0, 3, 6)
    assert metrics["mine", "win_rate_if_missing_lost", ""]["value"] == 25.0
    assert metrics["mine", "win_rate_if_missing_won", ""]["value"] == 75.0
    assert metrics["mine", "win_rate", "query_type=open_ended"]["value"] == 50.0
    assert metrics["mine", "win_rate", "query_type=closed_ended"]["n_total"] == 1
    assert metrics["mine", "win_rate", "dataset=koala"]["n_total"] == 4
    assert found["models"][0]["left_out"] == {"no answer in the file": 1, "refusal": 1, "unparseable answer": 1}
    assert found["models"][0]["about"]["rows_of_other_instructions"] == 1
    (repeated,) = found["rejected"]
    assert repeated.endswith("reference.json:7: the instruction came before")
    settings = found["settings"]
    assert (settings["reference"], settings["judge"]["model"]) == ("base", "judge-7b")
    assert settings["judge"]["snapshots"] == ["tester-2026-01-01"]
    assert len(settings["annotator"]["prompt_hash"]) == 16

    # AlpacaEval's files. A preference is of the reference and the model, in this order, however they were shown.
    rows = json.loads((tmp_path / "out/mine/annotations.json").read_text())
    assert [(row["instruction"], row["preference"]) for row in rows] == [
        ("Name a sea.", 2.0),
        ("Add 1 and 2.", 1.5),
        ("Why?", 1.0),
        ("Name a lake.", None),
        ("Sing.", None),
    ]
    assert {row["annotator"] for row in rows} == {"proxygold_pairwise@judge-7b"}
    assert rows[4]["preference_raw_completion"] == "Both have their charm."
    assert (tmp_path / "out/leaderboard.csv").read_text().splitlines()[1].startswith("mine,50.0,")
    outputs = json.loads((tmp_path / "out/mine/model_outputs.json").read_text())
    assert [row["instruction"] for row in outputs] == [row["instruction"] for row in rows]

    # The same again, and from the files it wrote: nobody is asked again, and the numbers are the same.
    files_again = {**options, "--outputs": f"mine={tmp_path}/out/mine/model_outputs.json"}
    for again in (run("temperature=0.5", **options), run("temperature=0.5", **files_again)):
        assert again.exit_code == 0, again.output
        assert len(server.bodies) == 4
        assert results(tmp_path / "out")[1]["mine", "win_rate", ""] == overall
    recorded = run(**{"--annotations": tmp_path / "out/mine/annotations.json", "--out": tmp_path / "again"})
    assert recorded.exit_code == 0, recorded.output
    assert results(tmp_path / "again")[1]["mine", "win_rate", ""] == {**overall, "n_total": 5}
    assert "mine: not scored: 2 no preference recorded" in recorded.output
    replay = {"--judge": f"replay:{tmp_path}/out/mine/verdicts.jsonl", "--out": tmp_path / "replayed"}
    replayed = run(**files | replay)
    assert replayed.exit_code == 0, replayed.output
    assert results(tmp_path / "replayed")[1]["mine", "win_rate", ""] == overall


def test_a_judge_that_prefers_a_place_gains_nothing_by_the_order(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(lambda text, attempt: chat.completion("FIRST"))
    reference = [{"instruction": f"Question {i}", "output": f"a{i}", "generator": "base"} for i in range(40)]
    outputs = [{"instruction": f"Question {i}", "output": f"b{i}"} for i in range(40)]
    done = run(
        **{
            "--reference-outputs": write_json(tmp_path / "reference.json", reference),
            "--outputs": write_json(tmp_path / "b.json", outputs),
            "--judge": "j",
            "--base-url": server.url,
            "--out": tmp_path / "out",
            "--cache": tmp_path / "cache.sqlite",
        }
    )
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "out/b/annotations.json").read_text())
    # The model wins where its answer was shown first.
    first = [random.Random(f"is_switched_outputsQuestion {i}0").choices([False, True])[0] for i in range(40)]
    assert [row["preference"] == 2.0 for row in rows] == first
    assert 10 < sum(first) < 30


def annotator(directory: Path, **config: Any) -> Path:
    given = {
        "prompt_template": "weigher/prompt.txt",
        "completions_kwargs": {"model_name": "weigher-9b", "max_tokens": 1, "temperature": 1, "logprobs": True},
        "fn_completion_parser": "logprob_parser",
        "completion_parser_kwargs": {"numerator_token": "m", "denominator_tokens": ["m", "M"], "is_binarize": False},
        **config,
    }
    directory.mkdir(exist_ok=True)
    (directory / "configs.yaml").write_text(yaml.safe_dump({"weigher": given}))
    (directory / "prompt.txt").write_text(CHATML)
    return directory


def test_an_annotator_that_reads_probabilities(
    chat: Any, chat_server: Start, files: dict[str, Path], tmp_path: Path
) -> None:
    def judge(text: str, attempt: int) -> Any:
        _, first, second = shown(text)
        chance = 0.8 if first.startswith("GOOD") or second.startswith("BAD") else 0.2
        top = [{"token": "m", "logprob": math.log(chance), "bytes": [109]}]
        top += [{"token": "M", "logprob": math.log(1 - chance), "bytes": [77]}]
        response = chat.completion("m")
        body = json.loads(response.body)
        body["choices"][0]["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
        response.body = json.dumps(body).encode()
        return response

    server = chat_server(judge)
    chosen = {**files, "--annotator": annotator(tmp_path / "weigher"), "--base-url": server.url, "--limit": 3}
    done = run(**chosen)
    assert done.exit_code == 0, done.output
    assert {body["model"] for body in server.bodies} == {"weigher-9b"}
    assert {(body["logprobs"], body["max_tokens"], body["temperature"]) for body in server.bodies} == {(True, 1, 1)}
    rows = json.loads((tmp_path / "out/mine/annotations.json").read_text())
    assert [row["preference"] for row in rows] == pytest.approx([1.8, 1.5, 1.2])
    assert {row["annotator"] for row in rows} == {"weigher"}
    _, metrics = results(tmp_path / "out")
    assert metrics["mine", "win_rate", ""]["value"] == pytest.approx(50.0)
    # With another judge the annotator is not called by its own name.
    other = run(**{**chosen, "--judge": "other", "--out": tmp_path / "other"})
    assert other.exit_code == 0, other.output
    rows = json.loads((tmp_path / "other/mine/annotations.json").read_text())
    assert {row["annotator"] for row in rows} == {"weigher@other"}


def test_an_annotator_that_is_answered_by_a_function(
    chat: Any, chat_server: Start, files: dict[str, Path], tmp_path: Path
) -> None:
    def judge(text: str, attempt: int) -> Any:
        response = chat.completion(None)
        body = json.loads(response.body)
        call = {"name": "say", "arguments": json.dumps({"best": "m" if shown(text)[1].startswith("GOOD") else "M"})}
        body["choices"][0]["message"]["tool_calls"] = [{"id": "1", "type": "function", "function": call}]
        response.body = json.dumps(body).encode()
        return response

    server = chat_server(judge)
    kwargs = {"model_name": "weigher-9b", "tools": [{"type": "function", "function": {"name": "say"}}]}
    parser = {"outputs_to_match": {1: '"m"', 2: '"M"'}}
    config = annotator(
        tmp_path / "weigher",
        completions_kwargs=kwargs,
        fn_completion_parser="regex_parser",
        completion_parser_kwargs=parser,
    )
    done = run(**{**files, "--annotator": config, "--base-url": server.url, "--limit": 1})
    assert done.exit_code == 0, done.output
    assert server.bodies[0]["tools"] == kwargs["tools"]
    (row,) = json.loads((tmp_path / "out/mine/annotations.json").read_text())
    assert row["preference"] == 2.0


def test_a_dry_run_counts_and_writes_no_result(chat: Any, chat_server: Start, files: dict[str, Path]) -> None:
    server = chat_server(lambda text, attempt: chat.completion("FIRST"))
    prices = {"--price-in": 1000, "--price-out": 1000}
    done = run("--dry-run", **{**files, **prices, "--judge": "j", "--base-url": server.url})
    assert done.exit_code == 0, done.output
    assert "4 questions, 4 different, 0 answered before: 4 requests to j" in done.output
    assert server.bodies == []
    assert not (files["--out"] / "results.json").exists()
    assert not (files["--out"] / "mine/annotations.json").exists()


def test_a_model_answers_and_is_judged_elsewhere(
    chat: Any, chat_server: Start, files: dict[str, Path], tiny_models: tuple[Path, Path], tmp_path: Path
) -> None:
    del files["--outputs"]
    models = {"--model": f"tiny={tiny_models[0]}", "--template": "alpaca", "--dtype": "float32", "--max-new-tokens": 6}
    done = run(**{**files, **models})
    assert done.exit_code == 0, done.output
    assert "Nothing was judged" in done.output
    assert "tiny: answers" in done.output
    outputs = json.loads((tmp_path / "out/tiny/model_outputs.json").read_text())
    assert [row["instruction"] for row in outputs] == [row["instruction"] for row in REFERENCE[:6]]
    assert all(row["output"] == row["output"].strip() and row["generator"] == "tiny" for row in outputs)
    found, metrics = results(tmp_path / "out")
    assert metrics["tiny", "average_length", ""]["n_scored"] == 6
    assert found["settings"]["sampling"] == {"max_new_tokens": 6, "temperature": 0.7, "top_p": 1.0, "top_k": 0}
    assert found["models"][0]["about"]["template"] == "alpaca"

    server = chat_server(lambda text, attempt: chat.completion("TIE"))
    judge = {"--judge": "j", "--base-url": server.url}
    elsewhere = {"--outputs": f"tiny={tmp_path}/out/tiny/model_outputs.json", "--out": tmp_path / "elsewhere"}
    for place in ({**files, **models, **judge}, {**files, **elsewhere, **judge}):
        done = run(**place)
        assert done.exit_code == 0, done.output
        rows = json.loads((Path(place["--out"]) / "tiny/annotations.json").read_text())
        assert [(row["output_2"], row["preference"]) for row in rows] == [(row["output"], 1.5) for row in outputs]
    assert len(server.bodies) == 6  # the second place has the answers out of the cache


def test_two_models_are_compared(chat: Any, chat_server: Start, files: dict[str, Path], tmp_path: Path) -> None:
    def judge(text: str, attempt: int) -> Any:
        worth = [2 * answer.startswith("GOOD") + answer.startswith(("REF ", "3")) for answer in shown(text)[1:]]
        return chat.completion("FIRST" if worth[0] > worth[1] else "SECOND")

    server = chat_server(judge)
    other = [{**row, "output": f"GOOD {i}"} for i, row in enumerate(REFERENCE[:5])]
    second = write_json(tmp_path / "other.json", other)
    options = {**files, "--judge": "j", "--base-url": server.url, "--limit": 5, "--baseline": "mine"}
    done = run("--outputs", f"best={second}", **options)
    assert done.exit_code == 0, done.output
    found, metrics = results(tmp_path / "out")
    assert metrics["best", "win_rate", ""]["value"] == 100.0
    recorded = [
        word for name in ("mine", "best") for word in ("--annotations", tmp_path / f"out/{name}/annotations.json")
    ]
    again = run(*recorded, **{"--out": tmp_path / "again", "--baseline": "mine"})
    assert again.exit_code == 0, again.output
    assert results(tmp_path / "again")[0]["differences"] == found["differences"]
    (difference,) = [each for each in found["differences"] if each["name"] == "win_rate"]
    assert (difference["model"], difference["baseline"], difference["n"]) == ("best", "mine", 5)
    # mine: a win, a tie, three losses.
    assert difference["value"] == pytest.approx(70.0)
    with pytest.raises(ConfigError, match="--baseline is 'worst', which is none of those compared: mine"):
        raise run(**{**options, "--baseline": "worst"}).exception


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"--judge": "j"}, "--annotations has answers and preferences that are recorded, and --judge is for new ones"),
        ({"--outputs": "x.json"}, "--outputs is for new ones. Leave one out."),
    ],
)
def test_what_annotations_leave_no_room_for(tmp_path: Path, options: dict[str, str], message: str) -> None:
    recorded = write_json(tmp_path / "annotations.json", [])
    with pytest.raises(ConfigError, match=re.escape(message)):
        raise run(**{"--annotations": recorded, "--out": tmp_path / "out", **options}).exception


def test_recorded_models_have_a_name_each(tmp_path: Path) -> None:
    row = {"instruction": "q", "output_1": "a", "output_2": "b", "preference": 2}
    one = write_json(tmp_path / "one.json", [row | {"generator_2": "m"}])
    both = write_json(tmp_path / "both.json", [row | {"generator_2": "m"}, row | {"generator_2": "n"}])
    with pytest.raises(ConfigError, match="'m' is the name of more than one model"):
        raise run("--annotations", one, "--annotations", both, **{"--out": tmp_path / "out"}).exception
    with pytest.raises(ConfigError, match="names one model, and the file has 2. Leave out x="):
        raise run("--annotations", f"x={both}", **{"--out": tmp_path / "out"}).exception
    done = run("--annotations", f"x={one}", "--annotations", both, **{"--out": tmp_path / "out"})
    assert done.exit_code == 0, done.output
    assert [model["model"] for model in results(tmp_path / "out")[0]["models"]] == ["x", "m", "n"]


def test_an_annotator_without_a_model_at_the_endpoint_needs_a_judge(files: dict[str, Path], tmp_path: Path) -> None:
    config = annotator(tmp_path / "weigher", fn_completions="anthropic_completions")
    with pytest.raises(ConfigError, match="names no model of an OpenAI-compatible endpoint. Name the judge: --judge"):
        raise run(**{**files, "--annotator": config}).exception
