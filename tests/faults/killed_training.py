"""Trains a tiny policy in processes that are killed with SIGKILL, each going on where the last one was stopped.

    python killed_training.py DIRECTORY MOMENTS WRITES

DIRECTORY/whole is never killed. DIRECTORY/moments-1 is killed at moments of the clock. DIRECTORY/writes-1 is killed when it
is about to touch a file of the run for the n-th time, n drawn anew for each: between any two writes and renames. Where
one is done before it was killed so many times, another begins. Prints how many were killed.

Processes are forked, so that twenty of them take seconds: only this one loads torch.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

STEPS, SAVE_EVERY, KEEP, NEWEST = 12, 1, (5, 12), 2


class Words:
    """Share of the words that are `w3`; every seventh answer has no reward, which the log must say again."""

    def score(self, examples: Sequence[Any]) -> Any:
        import numpy as np

        from proxygold.records import Scored

        shares = [example.completion.split().count("w3") / 6 for example in examples]
        lost = [len(example.completion) % 7 == 3 for example in examples]
        total = np.array([math.nan if gone else share for share, gone in zip(shares, lost, strict=True)])
        return Scored(total, {"W3": total}, tuple("lost" if gone else None for gone in lost))


def make_policy() -> Any:
    """Fifteen words, one layer, dropout: a step takes some ten milliseconds."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from proxygold.models.policy import Policy
    from proxygold.models.policy_settings import LoraSettings, PolicySettings

    vocabulary = {"<end>": 0, **{f"w{i}": i for i in range(1, 16)}}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<end>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", pad_token="<end>")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"eos_token_id": 0, "pad_token_id": 0, "bos_token_id": None}
    config = LlamaConfig(vocab_size=16, max_position_embeddings=64, initializer_range=0.25, **sizes, **ends)
    settings = PolicySettings(model="tiny", prompt_template="none", lora=LoraSettings(r=4, alpha=8, dropout=0.1))
    return Policy(settings, LlamaForCausalLM(config).eval(), tokenizer)


def train(policy: Any, directory: Path, begun: Callable[[], object] = lambda: None) -> None:
    """Train to the end, from the last checkpoint in `directory` if there is one. `begun` is called before a step."""
    from proxygold.records import PromptRecord
    from proxygold.store import ArmDirectory
    from proxygold.training.ppo import PPOTrainer
    from proxygold.training.ppo_config import PPOConfig

    prompts = [PromptRecord(id=f"p{i}", prompt=f"w{i} w{i + 1}") for i in range(1, 6)]
    config = PPOConfig(
        batch_size=4, mini_batch_size=2, ppo_epochs=1, learning_rate=0.01, max_new_tokens=4, max_nan_share=0.9
    )
    arm = ArmDirectory(directory, "arm", 0)
    trainer = PPOTrainer(policy, Words(), prompts, config, arm, seed=0)
    begun()
    trainer.train(STEPS, save_every=SAVE_EVERY, keep=KEEP, newest=NEWEST)
    arm.prune_checkpoints(trainer.step, KEEP, NEWEST)  # as a study does: the last one may have died before it did


def fork(work: Callable[[], None]) -> int:
    """The process that does `work`."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return process


def wait(process: int) -> bool:
    """Whether the process came to its end by itself. A failure, other than being killed, ends this one too."""
    status = os.waitpid(process, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    if os.WEXITSTATUS(status):
        sys.exit("the training failed")
    return True


def die_at_touch(number: int, directory: Path) -> None:
    """Kill this process when it is about to touch a file below `directory` for the `number`-th time."""
    left = [number]

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(("open", "os.", "shutil.")) and any(str(directory) in str(item) for item in arguments):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def lives(how: str, policy: Any, directory: Path, rng: random.Random, pace: float | None) -> bool:
    """Whether a process trains to the end: one that is not to be killed (`pace` is None), or is quick enough.

    `pace`: seconds that it may live on average, at moments of the clock.
    """
    hears, speaks = os.pipe()
    touches = rng.randint(1, 240)

    def work() -> None:
        if how == "writes" and pace is not None:
            die_at_touch(touches, directory)
        train(policy, directory, lambda: os.write(speaks, b"."))

    process = fork(work)
    os.close(speaks)
    if how == "moments" and pace is not None:
        if rng.random() < 0.8:  # the others may die before they train
            os.read(hears, 1)
        time.sleep(rng.random() * 3 * pace)  # some of it is lost: what comes after the last checkpoint
        os.kill(process, signal.SIGKILL)
    os.close(hears)
    return wait(process)


def main() -> None:
    root, kills = Path(sys.argv[1]).resolve(), {"moments": int(sys.argv[2]), "writes": int(sys.argv[3])}
    policy = make_policy()
    rng = random.Random(0)
    began = time.monotonic()
    assert wait(fork(lambda: train(policy, root / "whole")))
    seconds = time.monotonic() - began
    killed = dict.fromkeys(kills, 0)
    for how in kills:
        for attempt in itertools.count(1):
            directory = root / f"{how}-{attempt}"
            while not lives(how, policy, directory, rng, seconds / kills[how] if killed[how] < kills[how] else None):
                killed[how] += 1
            if killed[how] == kills[how]:
                break
    print(json.dumps(killed))


if __name__ == "__main__":
    main()
