"""Scores rows through a Rubric of verifiers 0.1: python rubric_door.py ROWS.jsonl OPTIONS.json > SCORES.json"""

import asyncio
import json
import sys
from pathlib import Path

import verifiers as vf

from proxygold.integrations.verifiers import rubric_functions

rows = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
rubric = vf.Rubric(**rubric_functions(**json.loads(Path(sys.argv[2]).read_text())))


def state(row: dict) -> dict:
    return vf.State(
        prompt=[{"role": "user", "content": row["prompt"]}],
        completion=[{"role": "assistant", "content": row["completion"]}],
        answer=row.get("reference") or "",
        info={"query_type": row.get("query_type")},
        task="rows",
        trajectory=[],
        timing={"scoring_ms": 0.0, "total_ms": 0.0},
    )


states = [state(row) for row in rows]
asyncio.run(rubric.score_group(states))
json.dump(
    {"scores": [each["reward"] for each in states], "keys": sorted(states[0]["metrics"])},
    sys.stdout,
)
