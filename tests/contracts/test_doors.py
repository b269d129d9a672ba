"""The same rows through every door: 200 rows, one reward, and the scores are the same.

Where a trainer's own calling code runs here, it is what calls. `make` puts verl, OpenRLHF and verifiers 0.1 into
.venv/peers, away from everything else, because their requirements exclude ours: only the scripts beside this file, each
in a process of its own, see them.
"""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxygold import Example, Reward, reward
from proxygold.data.builtin import builtin_prompts

DOORS = Path(__file__).parent / "doors"
PEERS = Path(sys.prefix) / "peers"
SHARED = Path(__file__).parents[3] / "shared" / "data"
LINE = "branch(open_ended=LI * RP * QR, closed_ended=RP * rescale(AR, 0, 3.5, 0, 5.12))"
OPTIONS = {"encoder": {"normalize": False, "max_length": 512, "dtype": "float32"}}
N = 200
MAIN = "from proxygold.cli.main import main; main()"


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not (PEERS / package).is_dir(), reason=f"`make test` installs {package} into {PEERS}")


def builtin_rows() -> list[dict[str, Any]]:
    """Our own prompts; the completion is the reference of another, now and then cut or repeated."""
    prompts = [*builtin_prompts("train"), *builtin_prompts("validation")]
    rows = []
    for index, record in enumerate(prompts[:N]):
        answer = prompts[(index * 7 + 3) % len(prompts)].reference or ""
        completion = [answer, answer[: len(answer) // 2].strip(), f"{answer} {answer}"][index % 3]
        rows.append(row(str(record.prompt), completion, str(record.reference), str(record.query_type)))
    return rows


def real_rows() -> list[dict[str, Any]]:
    """What a published model answered to AlpacaEval's prompts."""
    with gzip.open(SHARED / "validation" / "alpaca_eval.json.gz", "rt") as file:
        prompts = json.load(file)
    rows = []
    with gzip.open(SHARED / "alpaca_eval_outputs" / "alpaca-7b.jsonl.gz", "rt") as file:
        for line in file:
            answer = json.loads(line)
            prompt = prompts[answer["i"]]
            rows.append(row(prompt["instruction"], answer["output"].strip(), prompt["output"], prompt["qtype"]))
    return [each for each in rows if each["completion"]][:N]


def row(prompt: str, completion: str, reference: str, query_type: str) -> dict[str, Any]:
    return {"prompt": prompt, "completion": completion, "reference": reference, "query_type": query_type}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Real rows where they are; a clone has its own."""
    found = real_rows() if SHARED.is_dir() else builtin_rows()
    assert len(found) == N
    return found


@pytest.fixture(scope="module")
def scorer() -> Reward:
    from proxygold.models.encoder import EncoderSettings

    return reward(LINE, encoder=EncoderSettings(**OPTIONS["encoder"]))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def expected(rows: list[dict[str, Any]], scorer: Reward) -> np.ndarray:
    totals = scorer.score([Example(**each) for each in rows]).total
    assert np.isfinite(totals).all()
    assert np.ptp(totals) > 0.1
    return totals


@pytest.fixture
def rows_file(rows: list[dict[str, Any]], tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def same(found: Any, expected: np.ndarray) -> None:
    np.testing.assert_allclose(np.asarray(found, dtype=float), expected, rtol=1e-5)


def door(name: str, *arguments: object, peers: bool = True) -> dict[str, Any]:
    """Run a script beside this file in a process of its own; what it printed."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    if peers:
        environment["PYTHONPATH"] = str(PEERS)
    command = [sys.executable, str(DOORS / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return result


# --- in this process -------------------------------------------------------------------------------------------------


def columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [each[name] for each in rows] for name in ("reference", "query_type")}


def test_a_pickled_reward(rows: list[dict[str, Any]], scorer: Reward, expected: np.ndarray) -> None:
    again = pickle.loads(pickle.dumps(scorer))
    same([again.score([Example(**each)]).total[0] for each in rows], expected)  # one at a time, too


@pytest.mark.parametrize("conversational", [False, True], ids=["plain", "conversational"])
def test_trl(rows: list[dict[str, Any]], scorer: Reward, expected: np.ndarray, conversational: bool) -> None:
    """In TRL's own call; tests/integrations/test_trl.py trains with it."""
    prompts: list[Any] = [each["prompt"] for each in rows]
    completions: list[Any] = [each["completion"] for each in rows]
    if conversational:
        prompts = [[{"role": "user", "content": text}] for text in prompts]
        completions = [[{"role": "assistant", "content": text}] for text in completions]
    same(scorer(prompts=prompts, completions=completions, completion_ids=[[0]] * N, **columns(rows)), expected)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_file(rows_file: Path, tmp_path: Path, expected: np.ndarray, suffix: str) -> None:
    import pyarrow.parquet as pq

    out = tmp_path / f"out.{suffix}"
    settings = [f"encoder.{name}={value}" for name, value in OPTIONS["encoder"].items()]
    command = ["score", str(rows_file), "--reward", LINE, "--out", str(out), *settings]
    subprocess.run([sys.executable, "-c", MAIN, *command], check=True, capture_output=True)
    if suffix == "parquet":
        same(pq.read_table(out)["reward"].to_pylist(), expected)
    else:
        same([json.loads(line)["reward"] for line in out.read_text().splitlines()], expected)


# --- trainers' own code, each in a process of its own ----------------------------------------------------------------


@needs("verl")
def test_verl(rows_file: Path, tmp_path: Path, expected: np.ndarray) -> None:
    """verl 0.9.1's naive reward manager, from its own thread pool."""
    config = tmp_path / "config.json"
    function = {"path": "pkg://proxygold.integrations.verl", "name": "compute_score"}
    kwargs = {"line": LINE, "encoder": OPTIONS["encoder"]}
    config.write_text(json.dumps({"reward": {"custom_reward_function": {**function, "reward_kwargs": kwargs}}}))
    found = door("verl_door.py", rows_file, config)
    same(found["scores"], expected)
    assert {"score", "not_scored", "AR", "AR/computed", "LI", "LI/computed"} <= set(found["keys"])


@needs("openrlhf")
def test_openrlhf_by_file(rows_file: Path, tmp_path: Path, expected: np.ndarray) -> None:
    """OpenRLHF 0.11.2's executor, which loads the file and calls it from threads with lists of one."""
    file = tmp_path / "reward_func.py"
    file.write_text(
        "from proxygold.integrations.openrlhf import reward_function\n"
        f"reward_func = reward_function({LINE!r}, **{OPTIONS!r})\n"
    )
    found = door("openrlhf_door.py", rows_file, file)
    same(found["scores"], expected)
    assert {"not_scored", "QR", "QR/computed"} <= set(found["keys"])


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    settings = [f"encoder.{name}={value}" for name, value in OPTIONS["encoder"].items()]
    command = [sys.executable, "-c", MAIN, "serve", "--reward", LINE, "--port", "0", *settings]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        seen = []
        url = None
        for line in process.stdout:
            seen.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                url = found[0]
                break
        assert url is not None, seen
        yield url
        process.terminate()
        process.wait(30)


@needs("openrlhf")
def test_openrlhf_by_url(rows_file: Path, server: str, expected: np.ndarray) -> None:
    """OpenRLHF's own HTTP client against `proxygold serve`."""
    same(door("openrlhf_door.py", rows_file, f"{server}/get_reward")["scores"], expected)


def test_http(rows: list[dict[str, Any]], server: str, expected: np.ndarray) -> None:
    from proxygold.integrations.client import RewardClient

    same(RewardClient(server).score([Example(**each) for each in rows]).total, expected)


@needs("verifiers")
def test_verifiers_rubric(rows_file: Path, tmp_path: Path, expected: np.ndarray) -> None:
    """The Rubric of verifiers 0.1.14."""
    options = tmp_path / "options.json"
    options.write_text(json.dumps({"line": LINE, **OPTIONS}))
    found = door("rubric_door.py", rows_file, options)
    same(found["scores"], expected)
    assert {"proxygold", "not_scored", "LI", "LI_computed"} <= set(found["keys"])


def test_verifiers_tasks(rows_file: Path, tmp_path: Path, expected: np.ndarray) -> None:
    """A task of verifiers 0.4 that names our functions in its configuration."""
    pytest.importorskip("verifiers.v1")
    file = tmp_path / "reward.py"
    file.write_text(
        "from proxygold.integrations.verifiers import task_functions\n"
        f"proxygold, proxygold_parts = task_functions({LINE!r}, **{OPTIONS!r})\n"
    )
    found = door("task_door.py", rows_file, file, peers=False)
    same(found["scores"], expected)
    assert {"not_scored", "LI", "LI_computed"} <= set(found["keys"])
