"""Scores rows through verl's own reward manager: python verl_door.py ROWS.jsonl REWARD_CONFIG.json > SCORES.json"""

import asyncio
import json
import sys
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from transformers import AutoTokenizer
from verl import DataProto
from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager
from verl.trainer.ppo.reward import get_custom_reward_fn

from proxygold.models.bundled import bundled_policy_path

rows = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
config = OmegaConf.create(json.loads(Path(sys.argv[2]).read_text()))
tokenizer = AutoTokenizer.from_pretrained(bundled_policy_path())


def proto(row: dict) -> DataProto:
    response = tokenizer(row["completion"])["input_ids"] or [tokenizer.eos_token_id]
    prompt = tokenizer(str(row["prompt"]))["input_ids"]
    batch = {
        "prompts": torch.tensor([prompt]),
        "responses": torch.tensor([response]),
        "attention_mask": torch.ones(1, len(prompt) + len(response), dtype=torch.long),
    }
    extra = {"question": row["prompt"], "reference": row.get("reference"), "query_type": row.get("query_type")}
    columns = {"data_source": "rows", "reward_model": {"style": "rule", "ground_truth": ""}, "extra_info": extra}
    return DataProto(
        batch=TensorDict(batch, batch_size=1),
        non_tensor_batch={name: np.array([value], dtype=object) for name, value in columns.items()},
    )


async def score() -> list[dict]:
    # Made inside the loop, which it keeps.
    manager = NaiveRewardManager(config, tokenizer, get_custom_reward_fn(config))
    return await asyncio.gather(*(manager.run_single(proto(row)) for row in rows))


results = asyncio.run(score())
keys = {tuple(sorted(result["reward_extra_info"])) for result in results}
assert len(keys) == 1, keys  # verl reads the keys of the first sample from all the others
json.dump({"scores": [result["reward_score"] for result in results], "keys": sorted(keys.pop())}, sys.stdout)
