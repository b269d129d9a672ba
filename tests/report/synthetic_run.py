"""A run directory as a study leaves it, made up: three rewards, two seeds, seven checkpoints, 64 prompts.

RER is made to stand in for gold, LI to be over-optimised, LI_RP to move gold hardly at all.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from proxygold.records import Rollout
from proxygold.store import RunDirectory

STEPS = tuple(range(0, 121, 20))
REWARDS = {
    "LI": "LI",
    "LI_RP": "LI * RP",
    "RER": "branch(open_ended = LI * RP * QR, closed_ended = RP * rescale(AR, 0, 0.81, 0, 0.4))",
}

# Text that must come out as text. It is in a prompt, a reference and completions below.
HOSTILE = "</script><script>window.hacked = true</script><img src=x onerror='window.hacked = true'> & <b>bold</b>"

PROMPTS = [
    (
        "open_ended",
        "Suggest a name for a bakery that only opens at night, and say why.",
        "Second Rise: bread rises twice.",
    ),
    ("closed_ended", "How many days are there in a leap year?", "366 days."),
    ("open_ended", "Write two lines about a lighthouse in fog.", "The lamp turns slowly; nobody sees the lamp turn."),
    ("closed_ended", "Which gas do plants take in for photosynthesis?", "Carbon dioxide."),
    ("open_ended", "How would you spend a rainy Sunday with two bored children?", "Build a den, then read in it."),
    ("closed_ended", "Convert 2.5 kilometres to metres.", "2,500 metres."),
    ("open_ended", "Give me an opening line for a letter to an old teacher.", "You will not remember my handwriting."),
    ("closed_ended", "What is the capital of Australia?", "Canberra."),
]

SENTENCES = {
    "open_ended": [
        "I would keep it short and honest, so that the reader hears one clear thing.",
        "Think of the smell of bread at two in the morning, and the one lit window in the street.",
        "Begin with what you can see from where you stand.",
        "There are many ways to do it; this one is the simplest.",
    ],
    "closed_ended": [
        "The answer follows from the definition.",
        "It is easy to check with a short calculation.",
        "In most textbooks it is given in this form.",
        "That is the value to use here.",
    ],
}

# Mean proxy and gold by step, relative to step 0, in the units below.
SHAPES = {
    "LI": ([0, 0.3, 0.7, 1.1, 1.4, 1.6, 1.8], [0, 0.35, 0.3, 0.0, -0.35, -0.6, -0.9]),
    "LI_RP": ([0, 0.2, 0.45, 0.6, 0.8, 0.9, 1.0], [0, 0.1, 0.02, 0.15, 0.05, 0.12, 0.08]),
    "RER": ([0, 0.15, 0.35, 0.55, 0.7, 0.8, 0.9], [0, 0.2, 0.45, 0.6, 0.85, 0.95, 1.1]),
}


def write_run(
    path: Path,
    *,
    rewards: tuple[str, ...] = tuple(REWARDS),
    seeds: tuple[int, ...] = (0, 1),
    steps: tuple[int, ...] = STEPS,
    prompts: int = 64,
    hostile: bool = True,
) -> RunDirectory:
    run = RunDirectory(path)
    run.write_study(
        {
            "name": path.name,
            "policy": {"model": "smollm2-135m-instruct", "prompt_template": "chat"},
            "rewards": {name: REWARDS[name] for name in rewards},
            "gold": {"model": "gold-mini"},
            "training": {"algorithm": "ppo", "steps": STEPS[-1], "batch_size": 16, "learning_rate": 0.001},
            "validation": {"every": 20, "max_new_tokens": 48, "temperature": 0.7},
            "analysis": {"draws": 2000, "seed": 0, "threshold": 0.8},
            "seeds": list(seeds),
        }
    )
    run.write_provenance(
        {
            "started": "2026-11-02T09:15:00+00:00",
            "proxygold": "0.1.0",
            "commit": "3f1c9a2b7d10",
            "packages": {"torch": "2.13.0", "transformers": "5.23.0", "numpy": "2.4.6"},
            "cores": 2,
            "gpus": [],
        }
    )
    for reward in rewards:
        for seed in seeds:
            _write_arm(run, reward, seed, steps, prompts, hostile)
    return run


def _prompt(index: int, hostile: bool) -> tuple[str, str, str]:
    query_type, prompt, reference = PROMPTS[index % len(PROMPTS)]
    if index >= len(PROMPTS):
        prompt = f"{prompt} (Variation {index // len(PROMPTS)}.)"
    return (query_type, f"{prompt} {HOSTILE}", f"{reference} {HOSTILE}") if hostile else (query_type, prompt, reference)


def _write_arm(run: RunDirectory, reward: str, seed: int, steps: tuple[int, ...], n: int, hostile: bool) -> None:
    arm = run.arm(reward, seed)
    rng = np.random.default_rng([seed, len(reward)])
    # Step 0 is the same policy for every reward, so its answers are the same.
    start = np.random.default_rng(99)
    ease, quality = start.normal(size=n), start.normal(size=n)
    proxy_shape, gold_shape = SHAPES[reward]
    for index, step in enumerate(steps):
        noise = start if step == 0 else rng
        proxy = 0.3 + 0.1 * (ease + proxy_shape[index] * 2 + 0.6 * noise.normal(size=n))
        gold = quality + gold_shape[index] * 1.2 + 0.7 * noise.normal(size=n)
        words = np.maximum(3, 22 + 14 * proxy_shape[index] + 6 * noise.normal(size=n)).astype(int)
        rollouts = [_rollout(i, int(words[i]), hostile) for i in range(n)]
        types = [rollout.query_type for rollout in rollouts]
        is_open = np.array([query_type == "open_ended" for query_type in types])
        repetition = np.clip(0.97 - 0.1 * (reward == "LI") * index + 0.02 * noise.normal(size=n), 0, 1)
        arm.write_rollouts(step, rollouts)
        arm.write_scores(
            step,
            pa.table(
                {
                    "prompt_id": [rollout.prompt_id for rollout in rollouts],
                    "query_type": types,
                    "proxy": proxy,
                    "proxy_reason": pa.nulls(n, pa.string()),
                    "gold": gold,
                    "gold_reason": pa.nulls(n, pa.string()),
                    "part/LI": words / 100,
                    "part/RP": repetition,
                    # A branch leaves what it did not select null.
                    "part/LI * RP": pa.array(np.where(is_open, words / 100 * repetition, np.nan), from_pandas=True),
                }
            ),
        )
    for step in range(1, max(steps) + 1):
        progress = step / STEPS[-1]
        arm.append_step(
            {
                "step": step,
                "reward": 0.3 + 0.2 * progress * proxy_shape[-1] + 0.03 * rng.normal(),
                "kl": 6 * progress + 0.4 * abs(rng.normal()),
                "tokens": 30 + 20 * progress * proxy_shape[-1] + 3 * rng.normal(),
            }
        )


def _rollout(index: int, words: int, hostile: bool) -> Rollout:
    query_type, prompt, reference = _prompt(index, hostile and index % 2 == 0)
    bank = SENTENCES[query_type]
    text = " ".join(bank[(index + i) % len(bank)] for i in range(1 + words // 12))
    completion = " ".join(text.split()[:words])
    if hostile and index % 3 == 0:
        completion = f"{completion} {HOSTILE}"
    return Rollout(
        prompt_id=f"validation-{index:03d}",
        prompt=prompt if index % 7 else [{"role": "user", "content": prompt}],
        completion=completion,
        tokens=int(words * 1.3),
        finished=words < 40,
        reference=reference,
        query_type=query_type,
    )
