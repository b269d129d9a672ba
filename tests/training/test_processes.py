"""Processes tell each other what they must, and PPO in several of them is PPO in one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from proxygold.errors import ConfigError, StoreError, TrainingError
from proxygold.training.ppo import PPOTrainer
from proxygold.training.processes import Processes, current_processes

RECIPES = Path(__file__).parents[2] / "recipes" / "accelerate"


def steps(trainer: PPOTrainer) -> list[dict[str, Any]]:
    return [{name: value for name, value in step.items() if name != "seconds"} for step in trainer.arm.read_steps()]


def same_curve(mine: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """Equal but for the rounding of other batches, which Adam enlarges where a gradient is almost nothing."""
    assert [step["step"] for step in mine] == [step["step"] for step in theirs]
    for one, other in zip(mine, theirs, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            if name in ("reward", "reward_std", "parts", "nan_rewards", "tokens_min", "tokens_max", "eos_share"):
                assert other[name] == value, name
            # A value that is not clipped counts as clipped when rounding makes its error larger: noise in any run.
            elif name != "value_clipfrac":
                assert other[name] == pytest.approx(value, rel=2e-3, abs=1e-4), name


# --- what they tell each other ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("items", [0, 1, 5, 12])
def test_shares_are_everything_once_and_in_order(count: int, items: int) -> None:
    shares = [Processes(rank, count).share(items) for rank in range(count)]
    assert [item for share in shares for item in share] == list(range(items))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_what_processes_tell_each_other(in_processes: Any) -> None:
    def task(processes: Processes) -> dict[str, Any]:
        rank = processes.rank
        parameter = torch.nn.Parameter(torch.zeros(2))
        parameter.grad = torch.tensor([1.0, 2.0]) * (rank + 1)
        without = torch.nn.Parameter(torch.zeros(1))
        without.grad = torch.tensor([4.0]) if rank == 1 else None
        processes.sum_gradients([parameter, without])
        told: dict[str, Any] = {
            "gradients": [*parameter.grad.tolist(), *without.grad.tolist()],
            "from_first": processes.from_first(lambda: f"from {rank}"),
            # What the first does by itself is not shared out: the others would not come.
            "alone": (current_processes().count, processes.from_first(lambda: current_processes().count)),
            "gather": processes.gather(["a", "b"][rank]),
            "sum": processes.sum([0.1, float(rank)]),
            "any": (processes.any(rank == 1), processes.any(False)),
        }
        with pytest.raises(StoreError, match="disk of 0 is full"):
            processes.from_first(lambda: throw(StoreError(f"disk of {rank} is full")))
        with pytest.raises(ValueError if rank == 0 else TrainingError, match="surprise"):
            processes.from_first(lambda: throw(ValueError("surprise")))
        processes.check_same([torch.ones(2)], "weights")
        with pytest.raises(TrainingError, match="the weights of process 1 of 2 are not those of process 0"):
            processes.check_same([torch.ones(2) + rank], "the weights")
        return told

    # 1 + 2 and 2 + 4; of what one process has no gradient of, the other's
    expected = {
        "gradients": [3.0, 6.0, 4.0],
        "from_first": "from 0",
        "alone": (2, 1),
        "gather": ["a", "b"],
        "sum": [0.2, 1.0],
    }
    assert in_processes(2, task) == [{**expected, "any": (True, False)}] * 2


def throw(error: Exception) -> None:
    raise error


def test_who_waits_for_one_that_stopped_says_so(in_processes: Any) -> None:
    def task(processes: Processes) -> str:
        if processes.rank == 1:
            return "stopped"
        with pytest.raises(TrainingError, match="another process of this run stopped") as caught:
            processes.gather(1)
        return str(caught.value)

    first, second = in_processes(2, task)
    assert "What the other one said is the reason" in first
    assert second == "stopped"


# --- PPO --------------------------------------------------------------------------------------------------------------

MODES: list[dict[str, Any]] = [
    {},  # one update, from the pass that gave the old log-probabilities
    # One rollout in five has no reward, so that the last mini-batch of 4, or its share of one process, is short or empty.
    {"ppo_epochs": 2, "mini_batch_size": 2, "fails": True, "max_nan_share": 0.9},
    {"ppo_epochs": 2, "mini_batch_size": 4, "gradient_accumulation_steps": 2, "samples_per_prompt": 2, "layers": 1},
]


@pytest.mark.parametrize("mode", MODES)
def test_two_processes_make_the_curve_of_one(
    make_trainer: Any, tiny_policy: Any, word_share: Any, in_processes: Any, one_thread: None, mode: dict[str, Any]
) -> None:
    changes = dict(mode)
    layers, fails = changes.pop("layers", None), changes.pop("fails", False)

    def train(name: str) -> PPOTrainer:
        reward = word_share((lambda _, example: len(example.completion) % 5 == 0) if fails else lambda *_: False)
        trainer: PPOTrainer = make_trainer(tiny_policy(layers=layers), reward, name=name, **changes)
        trainer.train(3, save_every=2)
        return trainer

    def task(processes: Processes) -> tuple[list[dict[str, Any]], list[torch.Tensor], bool]:
        trainer = train(f"process-{processes.rank}")
        return steps(trainer), trainer.policy.trainable_parameters(), trainer.arm.path.exists()

    alone = train("alone")
    if fails:
        assert any(step["nan_rewards"] for step in steps(alone))
    (log, weights, wrote), (no_log, same, wrote_too) = in_processes(2, task)
    same_curve(steps(alone), log)
    assert (wrote, wrote_too, no_log) == (
        True,
        False,
        [],
    )  # the first process writes, no other makes as much as a directory
    assert all(map(torch.equal, weights, same))
    for mine, theirs in zip(alone.policy.trainable_parameters(), weights, strict=True):
        assert torch.allclose(mine, theirs, atol=2e-3)


def test_a_run_goes_on_with_another_number_of_processes(
    make_trainer: Any, tiny_policy: Any, in_processes: Any, one_thread: None, tmp_path: Path
) -> None:
    def train(name: str, until: int) -> list[dict[str, Any]]:
        trainer = make_trainer(tiny_policy(), name=name, ppo_epochs=2, mini_batch_size=4)
        trainer.train(until)
        return steps(trainer)

    through = in_processes(2, lambda _: train("through", 4))[0]
    in_processes(2, lambda _: train("stopped", 2))
    shutil.copytree(tmp_path / "stopped", tmp_path / "alone")
    assert in_processes(2, lambda _: train("stopped", 4))[0] == through  # to the last bit
    same_curve(through, train("alone", 4))


def test_fewer_prompts_than_processes_are_an_error(make_trainer: Any, in_processes: Any) -> None:
    def task(_: Processes) -> None:
        with pytest.raises(ConfigError, match=r"a step has 1 prompts .* fewer than the 2 processes .* Launch fewer"):
            make_trainer(batch_size=4, samples_per_prompt=4)

    in_processes(2, task)


# --- sharded layers ---------------------------------------------------------------------------------------------------

FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


@pytest.fixture
def settings(tiny_llama: Callable[..., Any], word_tokenizer: Any, tmp_path: Path) -> Callable[..., Any]:
    """Settings of a policy that is a directory."""
    from proxygold.models.policy_settings import LoraSettings, PolicySettings

    tiny_llama().save_pretrained(tmp_path / "model")
    word_tokenizer.save_pretrained(tmp_path / "model")

    def build(**changes: Any) -> PolicySettings:
        given = {"lora": LoraSettings(r=4, alpha=8), "dtype": "float32", "prompt_template": "none", **changes}
        return PolicySettings(model=str(tmp_path / "model"), **given)

    return build


@pytest.mark.parametrize("mode", [{}, {"batch_size": 5, "mini_batch_size": 1, "gradient_checkpointing": True}])
def test_sharded_layers_make_the_curve_of_whole_ones(
    make_trainer: Any, settings: Any, in_processes: Any, one_thread: None, mode: dict[str, Any]
) -> None:
    """Rollouts of 1 to 6 tokens, and mini-batches of which one process has no share: nobody waits for ever."""
    from proxygold.models.policy import Policy
    from proxygold.training.sharding import load_sharded, sharding_wanted

    changes = dict(mode)
    asked = settings(gradient_checkpointing=changes.pop("gradient_checkpointing", False))

    def task(processes: Processes) -> tuple[list[dict[str, Any]], list[int]]:
        assert sharding_wanted(processes)
        policy = load_sharded(asked, processes)
        layer = policy.trunk.layers[1].self_attn.q_proj
        held = [layer.base_layer.weight.to_local().numel(), layer.lora_A["default"].weight.numel()]
        trainer = make_trainer(policy, name="sharded", **changes)
        trainer.train(2)
        return steps(trainer), held

    alone = make_trainer(Policy.load(asked), name="alone", **changes)
    alone.train(2)
    (log, held), (_, held_too) = in_processes(2, task, **FSDP)
    assert len({step["tokens_min"] for step in log} | {step["tokens_max"] for step in log}) > 1
    same_curve(steps(alone), log)
    assert held == held_too == [32 * 32 // 2, 4 * 32]  # half of a frozen weight, the whole of a trained one


def test_what_cannot_be_sharded_is_said(settings: Any, in_processes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from proxygold.training.sharding import load_sharded, sharding_wanted

    assert not sharding_wanted(Processes(0, 1))
    two = Processes(0, 2)
    assert not sharding_wanted(two)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert sharding_wanted(two)
    with pytest.raises(ConfigError, match="the launcher asks for FSDP 1. Set fsdp_version: 2"):
        load_sharded(settings(), two)
    monkeypatch.setenv("FSDP_VERSION", "2")
    with pytest.raises(ConfigError, match=r"quantization: 4bit cannot be spread by FSDP.*ddp\.yaml"):
        load_sharded(settings(quantization="4bit"), two)


# --- launchers --------------------------------------------------------------------------------------------------------


def test_deepspeed_spreads_nothing_of_ppo(in_processes: Any) -> None:
    """DeepSpeed itself is not asked for: what it would spread out is an adapter."""
    said = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}
    assert in_processes(2, lambda processes: processes.gather(processes.rank), **said) == [[0, 1]] * 2
    said["ACCELERATE_DEEPSPEED_ZERO_STAGE"] = "3"
    with pytest.raises(AssertionError, match=r"ConfigError: DeepSpeed's ZeRO 3.*fsdp\.yaml.*zero_stage of 2"):
        in_processes(2, lambda processes: None, **said)


@pytest.mark.parametrize("name", ["ddp", "fsdp", "deepspeed"])
def test_accelerate_reads_its_configuration(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(RECIPES / f"{name}.yaml"))
    assert config.distributed_type == {"ddp": "MULTI_GPU", "fsdp": "FSDP", "deepspeed": "DEEPSPEED"}[name]
    assert (config.mixed_precision, config.num_machines) == ("no", 1)


def test_accelerate_launches_the_command() -> None:
    """The launcher itself, with the configuration that is shipped, in two processes."""
    launch = [str(Path(sys.executable).with_name("accelerate")), "launch", "--config_file", str(RECIPES / "ddp.yaml")]
    command = [*launch, "--num_processes", "2", "--main_process_port", "0", "-m", "proxygold", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["proxygold", "0.1.0"] * 2
