"""For OpenRLHF (0.11): PPO with a critic, with the paper's settings; the reward from a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from proxygold.integrations.export.spec import ExportSpec, launch_script, reward_call
from proxygold.models.reward_inputs import as_messages
from proxygold.records import PromptRecord
from proxygold.templates import user_text

__all__ = ["openrlhf_files"]


def openrlhf_files(spec: ExportSpec) -> Mapping[str, str | bytes]:
    """`reward_func.py`, `train.jsonl`, `validation.jsonl` where there is one, `launch.sh`."""
    files: dict[str, str | bytes] = {
        "reward_func.py": (
            '"""The reward, as OpenRLHF loads it from --reward.remote_url."""\n\n'
            "from proxygold.integrations.openrlhf import reward_function\n\n"
            f"reward_func = {reward_call('reward_function', spec)}\n"
        ),
        "train.jsonl": _jsonl(spec.train),
        "launch.sh": _launch(spec),
    }
    if spec.validation:
        files["validation.jsonl"] = _jsonl(spec.validation)
    return files


def _jsonl(records: Sequence[PromptRecord]) -> str:
    return "".join(json.dumps(_row(record), ensure_ascii=False) + "\n" for record in records)


def _row(record: PromptRecord) -> dict[str, object]:
    # The label is all that reaches the reward besides the texts.
    label = {"prompt": user_text(record.prompt), "reference": record.reference, "query_type": record.query_type}
    return {"prompt": as_messages(record.prompt), "label": json.dumps(label, ensure_ascii=False)}


def _launch(spec: ExportSpec) -> str:
    pairs = {
        "actor.model_name_or_path": spec.model,
        "critic.model_name_or_path": spec.model,
        "reward.remote_url": "reward_func.py",
        "data.prompt_dataset": "train.jsonl",
        "data.input_key": "prompt",
        "data.label_key": "label",
        "data.max_len": str(1024 + spec.max_new_tokens),
        "rollout.max_new_tokens": str(spec.max_new_tokens),
        "rollout.batch_size": "16",
        "rollout.n_samples_per_prompt": "1",
        "rollout.micro_batch_size": "2",
        "rollout.temperature": "1.0",
        "rollout.top_p": "1.0",
        "train.batch_size": "16",
        "train.micro_batch_size": "2",
        "train.max_epochs": "4",
        "train.num_episodes": str(-(-spec.steps * 16 // max(1, len(spec.train)))),
        "algo.advantage.estimator": "gae",
        "algo.advantage.gamma": "1.0",
        "algo.advantage.lambd": "0.95",
        "actor.lr_scheduler": "constant",
        "critic.lr_scheduler": "constant",
        "algo.kl.init_coef": "0.2",
        "actor.eps_clip": "0.2",
        "critic.value_clip": "0.2",
        "actor.adam.lr": "1e-5",
        "critic.adam.lr": "1e-5",
        "ds.lora.rank": "16",
        "ds.lora.alpha": "32",
        "ds.lora.dropout": "0.05",
        "ckpt.save_steps": str(max(1, spec.steps // 10)),
        "ckpt.output_dir": "checkpoint",
        "ckpt.path": "checkpoints",
    }
    settings = [
        *([f"--{name}", value] for name, value in pairs.items()),
        ["--ds.lora.target_modules", "q_proj", "v_proj"],
        ["--actor.adam.betas", "0.9", "0.999"],
        ["--critic.adam.betas", "0.9", "0.999"],
        ["--reward.clip_range", "-10", "10"],
        ["--ckpt.save_hf"],  # what `proxygold validate --checkpoints` reads
        ["--data.apply_chat_template"],
    ]
    remarks = [
        "PPO with the settings of Kim and Seo 2024. What differs: OpenRLHF's critic is a model of its own, not a head",
        "on the policy's trunk; scores are clipped at 10, not scaled by running statistics; the KL coefficient stays",
        "as it is (OpenRLHF's adaptive controller reads the KL of a token, and is marked as not to be used).",
        "Start Ray first; set the numbers of GPUs to what you have.",
    ]
    return launch_script(remarks, "python3 -m openrlhf.cli.train_ppo_ray", settings)
