"""The installed TRL trains with our rewards, plain and conversational, and logs their parts and gold."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset
from scipy.stats import spearmanr
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from proxygold import Example, reward
from proxygold.errors import ConfigError, ModelError
from proxygold.integrations.trl import with_gold
from proxygold.models.reward_models import load_reward_model

LINE = "branch(open_ended=LI * RP, closed_ended=RP * AR)"
PROMPTS = ["Name a tree.", "What is 2 + 2?", "Write a word.", "What is 3 + 3?"]
TYPES = ["open_ended", "closed_ended"] * 2
REFERENCES = ["", "4", "", "6"]


def dataset(conversational: bool) -> Dataset:
    prompts: list[Any] = [[{"role": "user", "content": text}] for text in PROMPTS] if conversational else PROMPTS
    return Dataset.from_dict({"prompt": prompts, "reference": REFERENCES, "query_type": TYPES})


def train(kind: str, function: Any, model: Path, directory: Path, conversational: bool) -> Any:
    config, trainer = {"grpo": (GRPOConfig, GRPOTrainer), "rloo": (RLOOConfig, RLOOTrainer)}[kind]
    arguments = config(
        output_dir=str(directory),
        per_device_train_batch_size=4,
        num_generations=2,
        max_completion_length=6,
        max_steps=3,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        bf16=False,
        save_strategy="no",
        disable_tqdm=True,
        log_completions=False,
    )
    trained = trainer(model=str(model), reward_funcs=function, args=arguments, train_dataset=dataset(conversational))
    trained.train()
    return trained


@pytest.mark.parametrize("kind", ["grpo", "rloo"])
@pytest.mark.parametrize("conversational", [False, True], ids=["plain", "conversational"])
def test_trl_trains_on_it_and_logs_its_parts(
    kind: str, conversational: bool, tiny_models: tuple[Path, Path], tmp_path: Path
) -> None:
    policy, gold = tiny_models
    rer = reward(LINE)
    trained = train(kind, with_gold(rer, str(gold), every=2, device="cpu"), policy, tmp_path, conversational)
    steps = [entry for entry in trained.state.log_history if "reward" in entry]
    assert len(steps) == 3
    name, gold_name = rer.__name__, f"gold/{gold.name}"
    for entry in steps:
        assert math.isfinite(entry[f"rewards/{name}/mean"])
        assert entry[f"{name}/not_scored"] == 0
        assert {f"{name}/LI", f"{name}/RP"} & entry.keys()
    # at global steps 0 and 2 of 0, 1, 2
    assert [gold_name in entry for entry in steps] == [True, False, True]
    table = trained._logs
    n = len(table["completion"])
    assert len(table["extra"][gold_name]) == n == len(table["extra"][f"{name}/RP"])
    # What gold said of the last completion is what it says of it now.
    last = table["completion"][n - 1], table["prompt"][n - 1]
    if not conversational:
        expected, _ = load_reward_model(str(gold), "cpu").score([Example(last[1], last[0])])
        assert table["extra"][gold_name][n - 1] == pytest.approx(expected[0], abs=1e-4)


def calls() -> tuple[dict[str, Any], dict[str, Any], dict[str, float]]:
    extra: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    return {"log_extra": extra.__setitem__, "log_metric": metrics.__setitem__}, extra, metrics


def test_gold_is_logged_and_never_returned(tiny_models: tuple[Path, Path]) -> None:
    gold = str(tiny_models[1])
    prompts, completions = ["A?", "B?", "C?", "D?"], ["one", "one two", "one two three", ""]
    plain = reward("LI")
    function = with_gold(plain, gold, device="cpu")
    loggers, extra, metrics = calls()
    assert function(prompts=prompts, completions=completions, **loggers) == plain(prompts, completions)
    scores, _ = load_reward_model(gold, "cpu").score(
        [Example(*pair) for pair in zip(prompts, completions, strict=True)]
    )
    name = f"gold/{tiny_models[1].name}"
    assert extra[name] == pytest.approx(list(scores))
    assert metrics[name] == pytest.approx(scores.mean())
    assert metrics[f"{name}/spearman"] == pytest.approx(spearmanr([0.01, 0.02, 0.03, 0], scores).statistic)


def test_gold_comes_every_so_many_steps_and_the_table_keeps_its_column(tiny_models: tuple[Path, Path]) -> None:
    function = with_gold(reward("LI"), str(tiny_models[1]), every=5, device="cpu")
    loggers, extra, metrics = calls()
    function(["A?"], ["one"], trainer_state=SimpleNamespace(global_step=4), **loggers)
    assert extra[f"gold/{tiny_models[1].name}"] == [None]
    assert not any(key.startswith("gold/") for key in metrics)
    function(["A?"], ["one"], trainer_state=SimpleNamespace(global_step=5), **loggers)
    assert isinstance(extra[f"gold/{tiny_models[1].name}"][0], float)
    assert f"gold/{tiny_models[1].name}/spearman" not in metrics  # one completion has no correlation


def test_it_pickles_and_has_the_rewards_name(tiny_models: tuple[Path, Path]) -> None:
    function = with_gold(reward("LI * RP"), str(tiny_models[1]), every=3)
    again = pickle.loads(pickle.dumps(function))
    assert again.__name__ == function.__name__ == reward("LI * RP").__name__
    assert (again.gold, again.every, str(again.reward)) == (str(tiny_models[1]), 3, "LI * RP")


def test_what_is_wrong_is_said_before_training() -> None:
    with pytest.raises(ModelError, match="is not a directory"):
        with_gold(reward("LI"), "./no-gold")
    with pytest.raises(ConfigError, match="every=0 is not allowed"):
        with_gold(reward("LI"), "gold-mini", every=0)
