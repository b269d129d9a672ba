"""Planned memory is what PPO takes, as torch's own allocator counts it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from proxygold.errors import ConfigError, ModelError
from proxygold.models.policy import Policy
from proxygold.models.policy_shape import PolicyShape, check_shape
from proxygold.records import PromptRecord
from proxygold.store import ArmDirectory
from proxygold.study.config import Study
from proxygold.study.loading import load_study, parse_study
from proxygold.study.memory import PolicyMemory, policy_memory
from proxygold.training.ppo import PPOTrainer
from proxygold.training.ppo_config import PPOConfig

LLAMA_2_7B = "{layers: 32, hidden_size: 4096, intermediate_size: 11008, heads: 32, vocab_size: 32000}"
LLAMA_2_13B = "{layers: 40, hidden_size: 5120, intermediate_size: 13824, heads: 40, vocab_size: 32000}"
SMOLLM2_135M = (
    "{layers: 30, hidden_size: 576, intermediate_size: 1536, heads: 9, kv_heads: 3, vocab_size: 49152, tied: true}"
)


def study(shape: str, *overrides: str) -> Study:
    """A study of a policy that is nowhere: only its shape is there."""
    text = f"""
name: planned
policy: {{model: nobody/has-this, dtype: bfloat16, lora: {{r: 8}}, shape: {shape}}}
data: {{train: alpaca_farm, validation: alpaca_eval}}
rewards: {{LI: LI}}
gold: {{model: gold-mini}}
training: {{batch_size: 4, mini_batch_size: 2, max_new_tokens: 8}}
"""
    return parse_study(text, overrides)


def peaks(memory: PolicyMemory) -> tuple[int, ...]:
    return memory.sampling, memory.comparing, memory.updating


# --- what is counted exactly ------------------------------------------------------------------------------------------


def test_weights_are_those_of_the_published_models() -> None:
    # 2 x 32,000 x 4,096 for words in and out; a layer has 4 x 4,096² + 3 x 4,096 x 11,008 + 2 x 4,096; one more norm.
    assert policy_memory(study(LLAMA_2_7B)).weights == 2 * 6_738_415_616
    assert policy_memory(study(LLAMA_2_13B)).weights == 2 * 13_015_864_320
    assert policy_memory(study(SMOLLM2_135M)).weights == 2 * 134_515_008


def test_an_adapter_its_optimizer_and_the_keys_are_counted() -> None:
    memory = policy_memory(study(SMOLLM2_135M), prompt_tokens=5)
    # q maps 576 to 576 and v 576 to 192: 8 x (576 + 576) + 8 x (576 + 192) a layer, and 577 of the value head;
    # weight, gradient and two moments, of 4 bytes each.
    assert memory.trained == (30 * 8 * (2 * 576 + 576 + 192) + 577) * 16
    # 30 layers' keys and values, and one's more while rows leave: 3 heads of 64 numbers x 4 rows x 13 tokens x 2
    # bytes; and 18 bytes for each logit of a token.
    assert memory.sampling == 62 * 3 * 64 * 4 * 13 * 2 + 4 * 49152 * 18
    assert memory.kept == 0
    above = policy_memory(study(SMOLLM2_135M, "policy.lora.layers=12"), prompt_tokens=5)
    # (13 - 1) tokens x 576 numbers x 2 bytes, for 4 rows as sampled, 4 as trained on, and 2 of a mini-batch.
    assert above.kept == (4 + 4 + 2) * 12 * 576 * 2
    assert above.updating < memory.updating
    assert memory.peak == memory.weights + memory.trained + max(peaks(memory))
    # All linear layers once more in float32, the output layer with them; not in bfloat16.
    linear = 30 * (2 * 576**2 + 2 * 576 * 192 + 3 * 576 * 1536) + 49152 * 576
    floats = policy_memory(study(SMOLLM2_135M, "policy.dtype=float32", "policy.device=cpu"), prompt_tokens=5)
    assert floats.sampling == 62 * 3 * 64 * 4 * 13 * 4 + 4 * 49152 * 18 + 4 * linear
    assert floats.peak == floats.weights + floats.trained + max(peaks(floats))


def test_quantised_layers_take_a_byte_or_half_of_one_a_weight() -> None:
    # Of 134,515,008 weights, 30 x (2 x 576² + 2 x 576 x 192 + 3 x 576 x 1536) are in the linear layers.
    linear = 30 * (2 * 576**2 + 2 * 576 * 192 + 3 * 576 * 1536)
    other = 2 * (134_515_008 - linear)
    assert policy_memory(study(SMOLLM2_135M, "policy.quantization=8bit")).weights == other + linear
    four = policy_memory(study(SMOLLM2_135M, "policy.quantization=4bit")).weights
    # QLoRA (Dettmers et al. 2023, section 3): double quantisation takes 0.127 bits a weight beside the 4.
    assert four == pytest.approx(other + linear * 4.127 / 8, rel=1e-4)


def test_processes_share_the_rollouts_and_nothing_else() -> None:
    whole, half = (policy_memory(study(SMOLLM2_135M), processes=count) for count in (1, 2))
    assert (half.weights, half.trained) == (whole.weights, whole.trained)
    assert half.sampling == pytest.approx(whole.sampling / 2, rel=1e-3)
    assert half.updating < 0.7 * whole.updating


def test_less_is_kept_when_layers_are_computed_again() -> None:
    given = "training.max_new_tokens=128", "training.mini_batch_size=4"
    kept, again = (
        policy_memory(study(SMOLLM2_135M, *given, f"policy.gradient_checkpointing={word}"))
        for word in ("false", "true")
    )
    # What enters a layer is 576 numbers of 2 bytes a token, 30 times; what a layer keeps is an order of magnitude more.
    assert again.updating < 0.4 * kept.updating
    assert again.updating > 30 * 4 * (256 + 128 - 1) * 576 * 2


# --- what is counted by running it without content --------------------------------------------------------------------


class _One:
    def score(self, examples: Any) -> Any:
        import numpy as np

        from proxygold.records import Scored

        return Scored(np.arange(len(examples), dtype=float), {}, (None,) * len(examples))


def allocated(policy: Policy, config: PPOConfig, directory: Path, prompt: str) -> int:
    """Most bytes that torch's CPU allocator gave out at once during a step, beside what was there before it."""
    prompts = [PromptRecord(id=str(index), prompt=prompt) for index in range(config.batch_size)]
    trainer = PPOTrainer(policy, _One(), prompts, config, ArmDirectory(directory, "arm", 0), 0)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        trainer.train(until=1)
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    alive = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return peak


@pytest.mark.parametrize(
    ("changes", "lora"),
    [
        ({"mini_batch_size": 4}, {"dropout": 0.1}),
        ({"mini_batch_size": 2}, {"layers": 3}),
    ],
)
def test_a_step_allocates_what_was_planned(
    changes: dict[str, Any], lora: dict[str, Any], word_tokenizer: Any, tmp_path: Path
) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = PolicyShape(layers=5, hidden_size=96, intermediate_size=256, heads=4, kv_heads=2, vocab_size=512)
    settings = {"model": "tiny", "prompt_template": "none", "dtype": "float32", "lora": {"r": 4, **lora}}
    given = {"batch_size": 8, "ppo_epochs": 1, "max_new_tokens": 12, **changes}
    policy_settings = json.dumps({**settings, "shape": shape.model_dump()})
    planned = study("null", f"policy={policy_settings}", *(f"training.{key}={value}" for key, value in given.items()))
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**shape.sizes, eos_token_id=0, pad_token_id=0, bos_token_id=None))
    policy = Policy(planned.policy, model.eval(), word_tokenizer)
    policy.eos_token_ids = frozenset()  # every completion is of full length
    measured = allocated(policy, PPOConfig(**given), tmp_path, " ".join(["w1"] * 48))
    memory = policy_memory(planned, prompt_tokens=48)
    assert measured == pytest.approx(memory.kept + max(peaks(memory)), rel=0.1)


# --- shapes -----------------------------------------------------------------------------------------------------------


def test_a_shape_plans_as_the_model_itself_does(tiny_models: tuple[Path, Path], study_file: Path) -> None:
    sizes = "{layers: 2, hidden_size: 16, intermediate_size: 32, heads: 2, kv_heads: 2, vocab_size: 49152}"
    by_model = policy_memory(load_study(study_file))
    by_shape = policy_memory(load_study(study_file, ["policy.model=nobody/has-this", f"policy.shape={sizes}"]))
    assert by_shape == by_model
    # A shape beside a model that is here must be the model's.
    assert policy_memory(load_study(study_file, [f"policy.shape={sizes}"])) == by_model
    wrong = sizes.replace("layers: 2", "layers: 3").replace("32", "48")
    with pytest.raises(ConfigError, match="layers is 3, the model's is 2; intermediate_size is 48, the model's is 32"):
        policy_memory(load_study(study_file, [f"policy.shape={wrong}"]))


def test_a_policy_that_is_nowhere_needs_a_shape() -> None:
    with pytest.raises(ModelError, match="there is no such directory"):
        policy_memory(study("null", "policy.model=./nowhere"))


def test_an_adapter_that_does_not_fit_the_shape_is_refused() -> None:
    with pytest.raises(ConfigError, match="the model has 30 layers"):
        policy_memory(study(SMOLLM2_135M, "policy.lora.layers=31"))
    with pytest.raises(ConfigError, match="Its linear layers are called: .*q_proj"):
        policy_memory(study(SMOLLM2_135M, "policy.lora.target_modules=[query]"))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (SMOLLM2_135M.replace("heads: 9", "heads: 7"), r"hidden_size \(576\) must be a multiple of heads \(7\)"),
        (SMOLLM2_135M.replace("kv_heads: 3", "kv_heads: 2"), r"heads \(9\) must be a multiple of kv_heads \(2\)"),
        (SMOLLM2_135M.replace("layers", "depth"), r"policy\.shape\.depth: unknown key"),
        ("{layers: 30}", r"policy\.shape\.hidden_size: missing"),
    ],
)
def test_a_wrong_shape_says_what_is_wrong(shape: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        study(shape)


def test_any_shape_is_the_models_when_none_is_given() -> None:
    check_shape(None, object(), "anything")


# --- models that are here ---------------------------------------------------------------------------------------------


def test_planned_weights_are_those_of_the_loaded_policy(study_file: Path) -> None:
    planned = load_study(study_file)
    memory = policy_memory(planned)
    policy = Policy.load(planned.policy)
    trained = sum(parameter.numel() for parameter in policy.trainable_parameters())
    frozen = sum(parameter.numel() for parameter in policy.causal_lm.parameters() if not parameter.requires_grad)
    assert memory.weights == frozen * 4
    assert memory.trained == trained * 16


def test_the_plan_of_an_adapter_is_its_base_models(
    study_file: Path, tiny_models: tuple[Path, Path], tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    adapted = get_peft_model(LlamaForCausalLM.from_pretrained(tiny_models[0]), LoraConfig(task_type="CAUSAL_LM"))
    adapted.save_pretrained(tmp_path / "adapter")
    study = load_study(study_file, [f"policy.model={tmp_path / 'adapter'}"])
    assert policy_memory(study) == policy_memory(load_study(study_file))
