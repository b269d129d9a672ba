"""For TRL: a script that trains with GRPO, with those of the paper's settings that GRPO has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from proxygold.integrations.export.spec import ExportSpec, launch_script, reward_call
from proxygold.records import PromptRecord

__all__ = ["trl_files"]


def trl_files(spec: ExportSpec) -> Mapping[str, str | bytes]:
    """`train.py`, `train.jsonl`, `validation.jsonl` where there is one, `launch.sh`."""
    spec = replace(spec, fallback=0.0)  # TRL takes None for what has no score, and leaves it out
    files: dict[str, str | bytes] = {
        "train.py": _script(spec),
        "train.jsonl": _jsonl(spec.train),
        "launch.sh": launch_script([], "accelerate launch train.py", []),
    }
    if spec.validation:
        files["validation.jsonl"] = _jsonl(spec.validation)
    return files


def _jsonl(records: Sequence[PromptRecord]) -> str:
    rows = (
        {"prompt": record.prompt, "reference": record.reference, "query_type": record.query_type} for record in records
    )
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _script(spec: ExportSpec) -> str:
    evaluate = (
        f'    eval_strategy="steps",\n    eval_steps={max(1, spec.steps // 10)},\n    per_device_eval_batch_size=4,\n'
        if spec.validation
        else ""
    )
    data_files = {"train": "train.jsonl", **({"validation": "validation.jsonl"} if spec.validation else {})}
    return f'''"""Trains {spec.model} with GRPO on a proxygold reward.

TRL has had no PPO since 1.13. From Kim and Seo 2024: the learning rate, 16 completions a step, 4 passes over each, the
clip range, the sampling, the adapter. GRPO has no value function; its KL term is another estimate than PPO's penalty,
with a coefficient of its own.
"""

import torch
from datasets import load_dataset
from peft import LoraConfig
from trl import GRPOConfig, GRPOTrainer

from proxygold import reward

data = load_dataset("json", data_files={data_files!r})
trainer = GRPOTrainer(
    model={spec.model!r},
    reward_funcs={reward_call("reward", spec)},
    args=GRPOConfig(
        output_dir="checkpoint",
        learning_rate=1e-5,
        lr_scheduler_type="constant",
        per_device_train_batch_size=4,
        gradient_accumulation_steps=4,
        num_generations=4,
        num_iterations=4,
        epsilon=0.2,
        beta=0.04,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        max_completion_length={spec.max_new_tokens},
        max_steps={spec.steps},
        save_steps={max(1, spec.steps // 10)},
        logging_steps=1,
        bf16=torch.cuda.is_available(),
        use_cpu=not torch.cuda.is_available(),
{evaluate.replace("    ", "        ")}    ),
    train_dataset=data["train"],
    eval_dataset=data.get("validation"),
    peft_config=LoraConfig(
        r=16, lora_alpha=32, lora_dropout=0.05, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"
    ),
)
trainer.train()
'''
