"""Scores rows through the tasks of verifiers v1: python task_door.py ROWS.jsonl REWARD.py > SCORES.json"""

import asyncio
import json
import sys
from pathlib import Path

import verifiers.v1 as vf
from verifiers.v1.graph import MessageNode
from verifiers.v1.trace import TraceTask

rows = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
plugged = sys.argv[2]


class RowData(vf.TaskData):
    reference: str | None = None
    query_type: str | None = None


class RowTask(vf.Task[RowData]):
    pass


def make(row: dict) -> tuple[vf.Task, vf.Trace]:
    config = vf.TaskConfig(
        rewards={"proxygold": {"fn": f"{plugged}:proxygold"}},
        metrics={"proxygold_parts": {"fn": f"{plugged}:proxygold_parts"}},
    )
    data = RowData(prompt=row["prompt"], reference=row.get("reference"), query_type=row.get("query_type"))
    task = RowTask(data, config)
    return task, trace_of(task, row)


def trace_of(task: vf.Task, row: dict) -> vf.Trace:
    nodes = [
        MessageNode(message=vf.UserMessage(content=row["prompt"])),
        MessageNode(message=vf.AssistantMessage(content=row["completion"]), parent=0, sampled=True),
    ]
    agent = vf.AgentInfo(config=vf.AgentConfig(), name="door", trainable=False)
    seed = TraceTask(type=type(task).__name__, data=task.data, key=task.key, hash=task.hash)
    return vf.Trace(task=seed, agent=agent, nodes=nodes)


async def score() -> list[vf.Trace]:
    made = [make(row) for row in rows]
    await asyncio.gather(*(task.score(trace) for task, trace in made))
    return [trace for _, trace in made]


traces = asyncio.run(score())
json.dump({"scores": [trace.reward for trace in traces], "keys": sorted(traces[0].metrics)}, sys.stdout)
