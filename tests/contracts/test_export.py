"""What `proxygold export` writes is what each trainer takes: its own loaders and configuration read it."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

DOORS = Path(__file__).parent / "doors"
PEERS = Path(sys.prefix) / "peers"
MAIN = "from proxygold.cli.main import main; main()"
LINE = "branch(open_ended=LI * RP, closed_ended=RP * AR)"
PROMPTS = [
    {"id": "a", "prompt": "Name a tree.", "query_type": "open_ended"},
    {"id": "b", "prompt": [{"role": "user", "content": "What is 2 + 2?"}], "reference": "4", "query_type": "CONSTRAINED"},
    {"id": "c", "prompt": "What is 3 + 3?", "query_type": "closed_ended"},
]  # fmt: skip


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not (PEERS / package).is_dir(), reason=f"`make test` installs {package} into {PEERS}")


def python(*arguments: object, peers: bool = False, cwd: Path | None = None, code: int = 0) -> str:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    if peers:
        environment["PYTHONPATH"] = str(PEERS)
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, check=False, timeout=600)
    assert done.returncode == code, done.stderr[-3000:]
    return done.stdout if code == 0 else done.stderr


def export(tmp_path: Path, trainer: str, *more: str, line: str = "LI * RP", code: int = 0) -> tuple[Path, str]:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in PROMPTS))
    out = tmp_path / trainer
    arguments = ["export", prompts, "--to", trainer, "--reward", line, "--model", "my/sft", "--out", out, *more]
    return out, python("-c", MAIN, *arguments, code=code)


def test_prompts_that_the_reward_cannot_score_are_left_out_and_said(tmp_path: Path) -> None:
    out, said = export(tmp_path, "trl", line=LINE)
    assert "2 train and 0 validation prompts" in said
    assert re.search(r"1 prompts left out:\n  .*prompts.jsonl: c: AR: .*reference", said)
    assert [json.loads(line)["query_type"] for line in (out / "train.jsonl").read_text().splitlines()] == [
        "open_ended",
        "closed_ended",
    ]
    export(tmp_path, "verl", "--strict", line=LINE, code=2)


def test_trl_trains_with_what_was_written(tmp_path: Path, tiny_models: tuple[Path, Path]) -> None:
    out = tmp_path / "trl"
    wanted = ["--to", "trl", "--reward", LINE, "--model", tiny_models[0], "--out", out]
    python("-c", MAIN, "export", "builtin", *wanted, "--steps", "2", "--max-new-tokens", "6")
    assert f"reward({LINE!r})" in (out / "train.py").read_text()
    python("train.py", cwd=out)
    assert (out / "checkpoint" / "checkpoint-2" / "adapter_model.safetensors").is_file()


def test_a_reward_is_written_with_its_settings(tmp_path: Path) -> None:
    more = ("encoder.normalize=false", "encoder.max_length=64", "template=alpaca", "--fallback", "-0.5")
    out, _ = export(tmp_path, "verl", *more, line="QR")
    expected = (
        "partial(verl.compute_score, line='QR', encoder={'normalize': False, 'max_length': 64}, template='alpaca'"
    )
    assert expected in (out / "reward.py").read_text()
    assert "fallback=-0.5)" in (out / "reward.py").read_text()
    ask = "import reward; print(reward.compute_score('d', 'An oak.', '', {'question': 'Name a tree.'}))"
    answer = ast.literal_eval(python("-c", ask, cwd=out))
    assert 0 < answer["score"] == answer["QR"]
    lost = ast.literal_eval(python("-c", ask.replace("{'question': 'Name a tree.'}", "None"), cwd=out))
    assert (lost["score"], lost["not_scored"]) == (-0.5, 1.0)
    assert lost.keys() == answer.keys()


@needs("verl")
def test_verl_knows_every_setting_and_reads_the_data(tmp_path: Path) -> None:
    out, _ = export(tmp_path, "verl", line=LINE)
    config = json.loads(python(DOORS / "verl_config.py", out / "launch.sh", peers=True).splitlines()[-1])
    assert config["settings"] > 30
    assert (config["kl_coef"], config["epochs"], config["critic_epochs"]) == (0.2, 4, 4)
    assert config["target_kl"] == pytest.approx(6 / 256, rel=1e-3)  # a token's, of 256 in a completion of at most 512
    assert config["path"] == "reward.py"
    first, second = pq.read_table(out / "train.parquet").to_pylist()
    assert first["prompt"] == [{"role": "user", "content": "Name a tree."}]
    assert second["reward_model"] == {"style": "rule", "ground_truth": "4"}
    assert second["extra_info"]["question"] == "What is 2 + 2?"
    assert second["extra_info"]["query_type"] == "closed_ended"


@needs("openrlhf")
def test_openrlhf_knows_every_setting(tmp_path: Path) -> None:
    out, _ = export(tmp_path, "openrlhf", line=LINE)
    # Read off its source: to import its command line takes DeepSpeed and a GPU.
    source = (PEERS / "openrlhf" / "cli" / "train_ppo_ray.py").read_text()
    known = set(re.findall(r'add_argument\(\s*f?"--([\w.{}]+)"', source))
    known |= {name.replace("{prefix}", prefix) for name in known for prefix in ("actor", "critic")}
    words = shlex.split((out / "launch.sh").read_text(), comments=True)
    given = [word[2:] for word in words if word.startswith("--")]
    assert len(given) > 30
    assert "algo.kl.target" not in given  # with it, OpenRLHF would steer the KL of a token to 6 nats
    assert set(given) <= known
    row = json.loads((out / "train.jsonl").read_text().splitlines()[1])
    assert json.loads(row["label"]) == {"prompt": "What is 2 + 2?", "reference": "4", "query_type": "closed_ended"}
    ask = "import reward_func as r; print(r.reward_func(['Name a tree. An oak.'], ['Name a tree.'], ['{\"query_type\": \"open_ended\"}'])['rewards'])"
    assert python("-c", ask, cwd=out).startswith("tensor([0.03")


def test_verifiers_loads_the_tasks_and_scores_them(tmp_path: Path) -> None:
    pytest.importorskip("verifiers.v1")
    out, _ = export(tmp_path, "verifiers")
    found: dict[str, Any] = json.loads(python(DOORS / "taskset_door.py", out).splitlines()[-1])
    assert found["tasks"] == 3
    assert found["reward"] == pytest.approx(0.05)  # five words, none repeated
    assert found["metrics"]["LI"] == pytest.approx(0.05)
    assert found["metrics"]["not_scored"] == 0


@pytest.mark.parametrize(
    ("trainer", "more", "message"),
    [
        ("trll", (), "--to trll is not known. Did you mean trl? Allowed: trl, verl, openrlhf, verifiers."),
        ("trl", ("--validation", "none.jsonl"), "none.jsonl"),
        ("verl", ("--reward", "match(AR, LI)"), "has not been measured"),
        ("verl", ("--reward", "nonsense"), "unknown name 'nonsense'"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_written(
    tmp_path: Path, trainer: str, more: tuple[str, ...], message: str
) -> None:
    out, said = export(tmp_path, trainer, *more, code=2)
    assert message in said
    assert not out.exists()


def test_an_export_is_not_written_over(tmp_path: Path) -> None:
    out, _ = export(tmp_path, "openrlhf")
    _, said = export(tmp_path, "openrlhf", code=2)
    assert f"{out} exists already. Give another directory, or --force" in said
    export(tmp_path, "openrlhf", "--force")
