"""Loads an exported package of tasks with verifiers v1's own loader: python taskset_door.py DIRECTORY > TASKS.json"""

import asyncio
import json
import sys

sys.path.insert(0, sys.argv[1])

import verifiers.v1 as vf
from verifiers.v1.graph import MessageNode
from verifiers.v1.trace import TraceTask
from verifiers.v1.utils.loaders import taskset_class, taskset_config_type

taskset = taskset_class("proxygold-tasks")(taskset_config_type("proxygold-tasks")(id="proxygold-tasks"))
tasks = list(taskset.load())
task = tasks[0]
nodes = [
    MessageNode(message=vf.UserMessage(content=task.data.prompt)),
    MessageNode(message=vf.AssistantMessage(content="one two three four five"), parent=0, sampled=True),
]
seed = TraceTask(type=type(task).__name__, data=task.data, key=task.key, hash=task.hash)
agent = vf.AgentInfo(config=vf.AgentConfig(), name="door", trainable=False)
trace = vf.Trace(task=seed, agent=agent, nodes=nodes)
asyncio.run(task.score(trace))
json.dump({"tasks": len(tasks), "reward": trace.reward, "metrics": trace.metrics}, sys.stdout)
