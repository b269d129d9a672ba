"""Scores rows through OpenRLHF's own executor: python openrlhf_door.py ROWS.jsonl FILE_OR_URL > SCORES.json"""

import asyncio
import json
import sys
from pathlib import Path

from openrlhf.utils.agent import SingleTurnAgentExecutor

rows = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
target = sys.argv[2]
executor = SingleTurnAgentExecutor(target)
fetch = executor._fetch_rewards_via_func if executor.reward_func else executor._fetch_rewards_via_http


async def one(row: dict) -> dict:
    prompt = f"<|im_start|>user\n{row['prompt']}<|im_end|>\n<|im_start|>assistant\n"
    label = json.dumps({name: row.get(name) for name in ("prompt", "reference", "query_type")})
    [answer] = await fetch([prompt + row["completion"] + "<|im_end|>"], [prompt], [label])
    return answer


async def score() -> list[dict]:
    return await asyncio.gather(*(one(row) for row in rows))


answers = asyncio.run(score())
json.dump(
    {
        "scores": [float(answer["rewards"][0]) for answer in answers],
        "keys": sorted({key for answer in answers for key in answer["extra_logs"]}),
    },
    sys.stdout,
)
