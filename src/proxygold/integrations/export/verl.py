"""For verl (0.7.1 and later): PPO with a critic, with the paper's settings."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from proxygold.integrations.export.spec import ExportSpec, launch_script
from proxygold.models.reward_inputs import as_messages
from proxygold.records import PromptRecord
from proxygold.templates import user_text

__all__ = ["verl_files"]


def verl_files(spec: ExportSpec) -> Mapping[str, str | bytes]:
    """`reward.py`, `train.parquet`, `validation.parquet`, `launch.sh`."""
    options = {**spec.options, **({"fallback": spec.fallback} if spec.fallback else {})}
    arguments = "".join(f", {name}={value!r}" for name, value in options.items())
    return {
        "reward.py": (
            '"""The reward, as verl\'s custom reward function."""\n\n'
            "from functools import partial\n\n"
            "from proxygold.integrations import verl\n\n"
            f"compute_score = partial(verl.compute_score, line={spec.line!r}{arguments})\n"
        ),
        "train.parquet": _parquet(spec.train),
        "validation.parquet": _parquet(spec.validation or spec.train[:64]),
        "launch.sh": _launch(spec),
    }


def _parquet(records: Sequence[PromptRecord]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([_row(record, index) for index, record in enumerate(records)]), file)
    return file.getvalue()


def _row(record: PromptRecord, index: int) -> dict[str, Any]:
    return {
        "data_source": "proxygold",
        "prompt": as_messages(record.prompt),
        "reward_model": {"style": "rule", "ground_truth": record.reference or ""},
        "extra_info": {
            "index": index,
            "id": record.id,
            # verl hands no prompt to a reward: it is here.
            "question": user_text(record.prompt),
            "reference": record.reference,
            "query_type": record.query_type,
        },
    }


def kl_target_per_token(max_new_tokens: int) -> float:
    """The paper's target, 6 nats a completion, where KL is the mean over tokens: of completions of half the most."""
    return 6.0 / max(1, max_new_tokens / 2)


def _launch(spec: ExportSpec) -> str:
    actor, rollout, critic = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "critic"
    settings = [
        "algorithm.adv_estimator=gae",
        "algorithm.gamma=1.0",
        "algorithm.lam=0.95",
        "algorithm.use_kl_in_reward=True",
        "algorithm.kl_ctrl.type=adaptive",
        "algorithm.kl_ctrl.kl_coef=0.2",
        f"algorithm.kl_ctrl.target_kl={kl_target_per_token(spec.max_new_tokens):.4g}",
        "algorithm.kl_ctrl.horizon=10000",
        "data.train_files=train.parquet",
        "data.val_files=validation.parquet",
        "data.train_batch_size=16",
        "data.max_prompt_length=1024",
        "data.filter_overlong_prompts=True",
        f"data.max_response_length={spec.max_new_tokens}",
        f"actor_rollout_ref.model.path={spec.model}",
        "actor_rollout_ref.model.lora_rank=16",
        "actor_rollout_ref.model.lora_alpha=32",
        "actor_rollout_ref.model.target_modules=[q_proj,v_proj]",
        f"{actor}.optim.lr=1e-5",
        f"{actor}.optim.weight_decay=0",
        f"{actor}.ppo_epochs=4",
        f"{actor}.ppo_mini_batch_size=16",
        f"{actor}.ppo_micro_batch_size_per_gpu=2",
        f"{actor}.clip_ratio=0.2",
        f"{actor}.clip_ratio_c=1e9",  # verl clips large ratios of negative advantages too: not below this
        f"{actor}.entropy_coeff=0",
        f"{rollout}.name=vllm",
        f"{rollout}.load_format=safetensors",
        f"{rollout}.temperature=1.0",
        f"{rollout}.top_p=1.0",
        f"{rollout}.log_prob_micro_batch_size_per_gpu=2",
        "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=2",
        f"{critic}.model.path={spec.model}",
        f"{critic}.optim.lr=1e-5",
        f"{critic}.optim.weight_decay=0",
        f"{critic}.cliprange_value=0.2",
        f"{critic}.ppo_micro_batch_size_per_gpu=2",
        "reward.custom_reward_function.path=reward.py",
        "reward.custom_reward_function.name=compute_score",
        f"trainer.total_training_steps={spec.steps}",
        "trainer.total_epochs=1000000",  # the steps end it
        f"trainer.test_freq={max(1, spec.steps // 10)}",
        f"trainer.save_freq={max(1, spec.steps // 10)}",
        "trainer.n_gpus_per_node=1",
        "trainer.nnodes=1",
        "trainer.project_name=proxygold",
        "trainer.logger=[console,tensorboard]",
    ]
    remarks = [
        "PPO with the settings of Kim and Seo 2024. What differs: verl's critic is a model of its own, not a head on",
        "the policy's trunk; scores are neither scaled by running statistics nor clipped; no LoRA dropout.",
        "verl steers the KL of a token, the paper that of a completion, to 6 nats: target_kl is 6 by half of the",
        "longest completion. Set it to 6 by the mean length of yours.",
        "Set trainer.n_gpus_per_node to what you have.",
    ]
    return launch_script(remarks, "python3 -m verl.trainer.main_ppo", [[setting] for setting in settings])
