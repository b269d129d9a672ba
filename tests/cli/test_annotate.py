"""`proxygold annotate` and `proxygold train query-types`, as a user types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from command_line import run
from proxygold.cli.main import app
from proxygold.errors import ConfigError

PROXYGOLD = Path(sys.executable).with_name("proxygold")
Start = Callable[[Callable[[str, int], Any]], Any]

ROWS = [
    {"prompt": "Write a poem about my grandmother's garden.", "gpt": "OPENENDED"},
    {"prompt": "What is the capital of Bolivia?", "gpt": "CONSTRAINED"},
    {"prompt": "Suggest a name for a boat.", "gpt": "OPENENDED"},
    {"prompt": "Correct the spelling: recieve", "gpt": "OPENENDED"},
]


def environment(tmp_path: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OPENAI")}
    return kept | {"XDG_CACHE_HOME": str(tmp_path / "home"), "OPENAI_API_KEY": "k"}


def proxygold(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run(*arguments, cwd=cwd, env=environment(cwd))


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_by_the_local_classifier_with_agreement(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", [*ROWS, "{"])
    result = proxygold("annotate", "in.jsonl", "--out", "out.jsonl", "--compare-with", "gpt", "--strict", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (2, "")  # one row was rejected
    assert result.stdout.splitlines()[:-1] == [
        "wrote out.jsonl: 4 rows, 4 with a query_type",
        "  open_ended     50.0%  2",
        "  closed_ended   50.0%  2",
        # 3 of 4: Wilson (0.75 + 1.92/4 ± 1.96*sqrt(0.75*0.25/4 + 3.84/64)) / (1 + 3.84/4). By chance 0.5*0.75 + 0.5*0.25
        # = 0.5, so kappa is 0.5.
        "agreement 75.0% (95% interval 30.1% to 95.4%), Cohen's kappa 0.50 (0.00 to 1.00), on 4 rows",
        "  1 closed_ended here, open_ended there",
        "  0 open_ended here, closed_ended there",
        "1 row rejected, listed in out.jsonl.rejected.jsonl:",
    ]
    assert "  in.jsonl:5: not JSON" in result.stdout
    rows = read(tmp_path / "out.jsonl")
    assert [row["query_type"] for row in rows] == ["open_ended", "closed_ended", "open_ended", "closed_ended"]
    assert all((row["query_type_probability"] > 0.5) == (row["query_type"] == "open_ended") for row in rows)


def test_at_random_against_a_file(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", ROWS)
    everything = ("annotate", "in.jsonl", "--by", "random", "--share", "1", "--out")
    assert proxygold(*everything, "a.jsonl", cwd=tmp_path).returncode == 0
    result = proxygold(*everything, "b.jsonl", "--seed", "5", "--compare-with", "a.jsonl", cwd=tmp_path)
    assert "open_ended    100.0%  4" in result.stdout
    assert "agreement 100.0%" in result.stdout
    assert "kappa undefined, since only one type was given" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--share", "0.3"], "--share is for --by random, and this is --by local"),
        (["--by", "random", "--classifier", "x"], "--classifier is for --by local"),
        (["temperature=1"], "temperature=1 is for --by llm"),
        (["--by", "llm"], "--by llm needs --model NAME"),
        (["--by", "llm", "--model", "m", "--max-cost", "1"], "a cost limit needs prices"),
        (["--by", "llm", "--model", "m", "nonsense"], "'nonsense' is no setting. Write KEY=VALUE"),
        (["--by", "llm", "--model", "m", "max_tokens=3", "max_completion_tokens=3"], "takes one of them"),
        (["--by", "llm", "--model", "m", "--prompt", "none.txt"], "cannot read the prompt none.txt"),
        (["--classifier", "none"], "there is no classifier in none"),
        (["--by", "random", "--compare-with", "none.jsonl"], "there is no file none.jsonl"),
        (["--by", "random", "--name", "gpt"], "in.jsonl has a field 'gpt' already"),
    ],
)
def test_wrong_use(tmp_path: Path, arguments: list[str], message: str) -> None:
    write(tmp_path / "in.jsonl", ROWS)
    result = proxygold("annotate", "in.jsonl", "--out", "out.jsonl", *arguments, cwd=tmp_path)
    assert result.returncode == 2, result.stdout
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out.jsonl").exists()


def test_by_an_llm_with_prices_and_a_second_run(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    def answer(text: str, attempt: int) -> Any:
        if "poem" in text:
            return chat.completion("No idea.")
        return chat.completion("closed-ended" if "capital" in text or "spelling" in text else "open-ended")

    server = chat_server(answer)
    write(tmp_path / "in.jsonl", ROWS)
    write(tmp_path / "p.txt", ["Type? {query}"])
    command = ["annotate", "in.jsonl", "--out", "out.jsonl", "--by", "llm", "--model", "m", "--base-url", server.url]
    command += ["--prompt", "p.txt", "--price-in", "1000", "--price-out", "1000", "max_completion_tokens=5"]
    dry = proxygold(*command, "--dry-run", cwd=tmp_path)
    # "Type? " and 43, 31, 26 and 29 characters: 4 + 49//4, 37//4, 32//4, 35//4 = 16 + 13 + 12 + 12 = 53 tokens, 4 * 5
    # out, at a thousandth each.
    plan = (
        f"4 rows, 4 different, 0 answered before: 4 requests to m at {server.url}\n"
        "about 53 tokens in, at most 20 out: at most about 0.073\n"
    )
    assert (dry.stdout, dry.stderr, dry.returncode) == (plan, "", 0)
    assert server.bodies == []
    first = proxygold(*command, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stdout == plan + (
        # 4 calls of 100 and 2 tokens, says the server
        "asked m: 4 calls, 0 answered before, 400 tokens in, 8 out, 0.408 spent\n"
        "wrote out.jsonl: 4 rows, 3 with a query_type\n"
        "  open_ended     33.3%  1\n"
        "  closed_ended   66.7%  2\n"
        "1 row without a type (1 x unparseable answer), listed in out.jsonl.unlabelled.jsonl:\n"
        "  in.jsonl:1: unparseable answer: neither open-ended nor closed-ended\n"
    )
    assert read(tmp_path / "out.jsonl.unlabelled.jsonl")[0]["answer"] == "No idea."
    assert server.bodies[0]["max_completion_tokens"] == 5
    assert server.bodies[0]["temperature"] == 0
    assert "max_tokens" not in server.bodies[0]
    assert proxygold(*command, cwd=tmp_path).returncode == 2  # out.jsonl is there
    again = proxygold(*command, "--force", "--strict", cwd=tmp_path)
    assert again.returncode == 2
    assert "4 answered before: 0 requests" in again.stdout
    assert len(server.bodies) == 4


def test_a_cost_limit_stops_and_the_answers_stay(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(lambda text, _: chat.completion("open-ended", usage=(10, 2)))
    write(tmp_path / "in.jsonl", ROWS)
    write(tmp_path / "p.txt", ["Type? {query}"])
    command = ["annotate", "in.jsonl", "--out", "out.jsonl", "--by", "llm", "--model", "m", "--base-url", server.url]
    command += ["--prompt", "p.txt", "--price-in", "1000", "--price-out", "1000", "max_tokens=2", "--max-cost"]
    stopped = proxygold(*command, "0.03", cwd=tmp_path)
    assert stopped.returncode == 2
    assert "and the run stops at 0.03" in stopped.stdout
    assert "stopped at the cost limit of 0.03" in stopped.stderr
    asked = len(server.bodies)
    assert 0 < asked < 4
    assert not (tmp_path / "out.jsonl").exists()
    assert proxygold(*command, "1", cwd=tmp_path).returncode == 0
    assert len(server.bodies) == 4


def test_ctrl_c_keeps_the_answers_and_the_same_command_goes_on(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    interrupted = threading.Event()

    def answer(text: str, attempt: int) -> Any:
        if len(server.bodies) > 6 and not interrupted.is_set():
            interrupted.wait(30)
        return chat.completion("open-ended")

    server = chat_server(answer)
    write(tmp_path / "in.jsonl", [{"prompt": f"Query number {n}"} for n in range(20)])
    command = ["annotate", "in.jsonl", "--out", "out.jsonl", "--by", "llm", "--model", "m", "--base-url", server.url]
    command += ["--concurrency", "2"]
    process = subprocess.Popen(
        [str(PROXYGOLD), *command],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(tmp_path),
        # A suite that was started in the background ignores SIGINT, and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while len(server.bodies) < 8 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    interrupted.set()
    assert process.returncode == 130, stderr
    assert "stopped by Ctrl-C" in stderr
    assert "the same command goes on from there." in stderr
    assert "Traceback" not in stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "in.jsonl"]
    again = proxygold(*command, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "6 answered before: 14 requests" in again.stdout
    assert len(server.bodies) == 8 + 14
    assert len(read(tmp_path / "out.jsonl")) == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--references"], "--references needs --model NAME"),
        (["--references", "--by", "local", "--model", "m"], "references are written by an LLM, and this is --by local"),
        (["--references", "--model", "m", "--compare-with", "gpt"], "--compare-with is for query types"),
        (["--references", "--model", "m", "--share", "1"], "--share is for --by random, and this is with --references"),
        (["--form", "alpca"], "no data set called 'alpca'"),
    ],
)
def test_wrong_use_of_references_and_forms(tmp_path: Path, arguments: list[str], message: str) -> None:
    data, out = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    # In this process: what the exit code is made of is the same for every verb.
    with pytest.raises(ConfigError, match=message):
        CliRunner().invoke(app, ["annotate", str(data), "--out", str(out), *arguments], catch_exceptions=False)
    assert not out.exists()


def test_references_for_a_file_in_a_published_form(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(lambda text, _: chat.completion(f"My {text}", finish="length" if "Sum" in text else "stop"))
    rows = [
        {"instruction": "Name a hue.", "input": "", "output": ""},
        {"instruction": "Sum", "input": "1, 2", "output": ""},
        {"instruction": "Say yes.", "input": "", "output": "Yes."},
    ]
    (tmp_path / "alpaca_data.json").write_text(json.dumps(rows))
    command = ["annotate", "alpaca_data.json", "--form", "alpaca", "--out", "out.jsonl", "--references"]
    result = proxygold(*command, "--model", "m", "--base-url", server.url, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == (
        f"2 rows, 2 different, 0 answered before: 2 requests to m at {server.url}\n"
        # "Name a hue." and "Sum\n\n### Input:\n1, 2": 4 + 11//4 + 4 + 20//4; 2 answers of 1,024 at most
        "about 15 tokens in, at most 2,048 out\n"
        "asked m: 2 calls, 0 answered before, 200 tokens in, 4 out\n"
        "wrote out.jsonl: 3 rows\n"
        "  1 with a new reference\n"
        "  1 had one before\n"
        "1 row without a reference (1 x unparseable answer), listed in out.jsonl.unlabelled.jsonl:\n"
        "  alpaca_data.json (alpaca):2: unparseable answer: cut off at the token limit: raise max_tokens\n"
    )
    assert [(row["prompt"], row["reference"]) for row in read(tmp_path / "out.jsonl")] == [
        ("Name a hue.", "My Name a hue."),
        ("Sum\n\n### Input:\n1, 2", None),
        ("Say yes.", "Yes."),
    ]
    assert server.bodies[0]["max_tokens"] == 1024


def test_train_query_types_and_use_it(tmp_path: Path) -> None:
    lines = files("proxygold.data").joinpath("query_type_prompts.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines[::10]]
    # The other way round, so that it cannot be the classifier that ships.
    other = {"open_ended": "closed_ended", "closed_ended": "open_ended"}
    write(
        tmp_path / "labelled.jsonl", [*({"prompt": row["prompt"], "t": other[row["query_type"]]} for row in rows), "{"]
    )
    write(tmp_path / "in.jsonl", ROWS)
    train = ["train", "query-types", "labelled.jsonl", "--labels", "t", "--out", "mine"]
    result = proxygold(*train, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"trained on {len(rows)} different queries" in result.stdout
    assert "accuracy on queries not seen" in result.stdout
    assert "1 row could not be used:\n  labelled.jsonl:" in result.stdout
    refused = proxygold(*train, cwd=tmp_path)
    assert refused.returncode == 2
    assert "mine has a classifier already" in refused.stderr
    annotated = proxygold("annotate", "in.jsonl", "--out", "out.jsonl", "--classifier", "mine", cwd=tmp_path)
    assert annotated.returncode == 0, annotated.stderr
    assert [row["query_type"] for row in read(tmp_path / "out.jsonl")][:2] == ["closed_ended", "open_ended"]
