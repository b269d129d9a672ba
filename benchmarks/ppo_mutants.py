"""Breaks the policy and the PPO code on purpose, one line at a time, and lists which tests turn red.

    python benchmarks/ppo_mutants.py            all, about 20 seconds each
    python benchmarks/ppo_mutants.py positions  those whose name contains a word

Each mutant is applied to a temporary copy of `src`, on which the tests of the policy, of sampling and of PPO are run. A
mutant that no test notices is a hole in the tests: the script then exits with 1.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = [
    "tests/models/test_token_batch.py",
    "tests/models/test_generation.py",
    "tests/models/test_policy.py",
    "tests/models/test_shared_prompts.py",
    "tests/training/test_ppo_math.py",
    "tests/training/test_ppo.py",
    "tests/learning/test_ppo_learns.py",
]


@dataclass(frozen=True)
class Mutant:
    name: str
    file: str
    old: str
    new: str


MUTANTS = [
    # --- masks and positions
    Mutant(
        "shifted response mask (the last token is not trained on)",
        "models/generation.py",
        "[None, :] < lengths[:, None]",
        "[None, :] < lengths[:, None] - 1",
    ),
    Mutant(
        "hidden states shifted by one (a token predicts itself)",
        "models/policy.py",
        "ids, mask, places = batch.input_ids[:, :-1]",
        "ids, mask, places = batch.input_ids[:, 1:]",
    ),
    Mutant(
        "padding taken for end of sequence (prompt mask from token ids)",
        "models/token_batch.py",
        "return ids, torch.arange(width)[None, :] >= width - lengths[:, None]",
        "return ids, ids != pad_token_id",
    ),
    Mutant(
        "end of sequence taken for padding (response mask from token ids)",
        "models/generation.py",
        "response_mask = torch.arange(longest, device=policy.device)[None, :] < lengths[:, None]",
        "response_mask = tokens[:, :longest] != policy.pad_token_id",
    ),
    Mutant(
        "position ids missing in training passes",
        "models/policy.py",
        "position_ids=places, ",
        "",
    ),
    Mutant(
        "position ids missing in sampling",
        "models/generation.py",
        "            position_ids=self._position,\n",
        "",
    ),
    Mutant(
        "position ids count the padding",
        "models/token_batch.py",
        "return (mask.long().cumsum(dim=1) - 1).clamp(min=0)",
        "return torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)",
    ),
    Mutant(
        "attention mask missing in training passes",
        "models/policy.py",
        "attention_mask=mask, ",
        "",
    ),
    Mutant(
        "attention mask missing in sampling",
        "models/generation.py",
        "            attention_mask=self._mask,\n",
        "",
    ),
    # --- sampling
    Mutant(
        "end of sequence does not end a completion",
        "models/generation.py",
        "            ended = torch.isin(chosen, eos)\n",
        "            ended = torch.zeros_like(chosen, dtype=torch.bool)\n",
    ),
    Mutant(
        "rows leave the batch, their masks stay",
        "models/generation.py",
        "        self._mask, self._position = self._mask[rows], self._position[rows]\n",
        "        self._mask, self._position = self._mask[: len(rows)], self._position[: len(rows)]\n",
    ),
    Mutant(
        "rows leave the batch, the cache keeps the first ones",
        "models/generation.py",
        "self._cache.batch_select_indices(rows)",
        "self._cache.batch_select_indices(torch.arange(len(rows)))",
    ),
    Mutant(
        "one stream of random numbers for all prompts",
        "models/generation.py",
        "default_rng([seed, index, draw])",
        "default_rng([seed, draw])",
    ),
    Mutant(
        "frozen hidden states of other rows",
        "models/token_batch.py",
        "hidden[index, left : right - 1]",
        "hidden[: len(index), left : right - 1]",
    ),
    Mutant(
        "frozen hidden states one token late",
        "models/generation.py",
        "full[rows, width + offset] = hidden[:, 0]",
        "full[rows, width + offset - 1] = hidden[:, 0]",
    ),
    # --- prompts read once
    Mutant(
        "responses to one prompt see each other",
        "models/shared_prompts.py",
        "seen = (causal & own)[None]",
        "seen = causal[None]",
    ),
    Mutant(
        "positions of later responses go on from the first",
        "models/shared_prompts.py",
        "position_ids=_join(batch.position_ids[:, :-1], repeats, width)",
        "position_ids=_join(batch.position_ids[:, :-1], repeats, width) * 0 + place",
    ),
    Mutant(
        "shuffled rows are read as if they shared a prompt",
        "models/token_batch.py",
        "rows_per_prompt=self.rows_per_prompt if self._whole_prompts(index) else 1",
        "rows_per_prompt=self.rows_per_prompt if len(index) % self.rows_per_prompt == 0 else 1",
    ),
    # --- policy and reference
    Mutant(
        "the reference keeps its adapter on",
        "models/policy.py",
        "        with self._adapted.disable_adapter():\n            yield",
        "        yield",
    ),
    Mutant(
        "LoRA dropout is active when sampling",
        "models/policy.py",
        "        self._adapted.eval()",
        "        self._adapted.train()",
    ),
    Mutant(
        "an SFT adapter is not merged",
        "models/causal_lm.py",
        "PeftModel.from_pretrained(model, path).merge_and_unload().to(dtype)",
        "model.to(dtype)",
    ),
    # --- arithmetic
    Mutant(
        "the score goes to the first token",
        "training/ppo_math.py",
        "rewards[rows, last] += scores[rows]",
        "rewards[rows, 0] += scores[rows]",
    ),
    Mutant(
        "the KL penalty has the wrong sign",
        "training/ppo_math.py",
        "rewards = -kl_coef * (logprobs",
        "rewards = kl_coef * (logprobs",
    ),
    Mutant(
        "advantages look past the end of a response",
        "training/ppo_math.py",
        "    values, rewards = values * mask, rewards * mask\n",
        "",
    ),
    Mutant(
        "whitening counts the padding",
        "training/ppo_math.py",
        "    mean = masked_mean(values, mask)\n",
        "    mean, mask = values.mean(), torch.ones_like(mask)\n",
    ),
    Mutant(
        "the policy loss is not pessimistic",
        "training/ppo_math.py",
        "loss=masked_mean(torch.maximum(plain, clipped), mask)",
        "loss=masked_mean(torch.minimum(plain, clipped), mask)",
    ),
    Mutant(
        "values are not clipped",
        "training/ppo_math.py",
        ".clamp(-cliprange_value, cliprange_value)",
        "",
    ),
    Mutant(
        "the gradient of log-softmax forgets the target",
        "training/ppo_math.py",
        "torch.ones_like(p[:, :1])",
        "torch.zeros_like(p[:, :1])",
    ),
    # --- trainer
    Mutant(
        "the update forgets the sampling temperature",
        "training/ppo.py",
        "temperature=self.config.temperature",
        "temperature=1.0",
    ),
    Mutant(
        "every position goes through the projection",
        "training/ppo.py",
        "self.policy.project, hidden[mask], batch.response_ids[mask]",
        "lambda h: self.policy.project(torch.cat([h, h]))[: len(h)], hidden[mask], batch.response_ids[mask]",
    ),
    Mutant(
        "the reference's log-probabilities are the old ones",
        "training/ppo.py",
        "old_logprobs, old_values = current.logprobs.detach(), current.values.detach()",
        "old_logprobs, old_values = reference.logprobs, current.values.detach()",
    ),
    Mutant(
        "missing rewards enter the running moments",
        "training/ppo.py",
        "self._moments.update(rollouts.scores[rollouts.valid])",
        "self._moments.update(rollouts.scores)",
    ),
    Mutant(
        "missing rewards are trained on as 0",
        "training/ppo.py",
        "usable = rollouts.valid.nonzero().squeeze(1)",
        "usable = torch.arange(len(rollouts.valid))",
    ),
    Mutant(
        "mini-batches use the old values of other rows",
        "training/ppo.py",
        "return values[rows, :width]",
        "return values[: len(rows), :width]",
    ),
    Mutant(
        "accumulated gradients are summed",
        "training/ppo.py",
        "torch.autograd.backward(loss / len(group))",
        "torch.autograd.backward(loss)",
    ),
    Mutant(
        "resuming forgets the optimiser",
        "training/ppo.py",
        "        self._optimizer.load_state_dict(state.optimizer)\n",
        "",
    ),
    Mutant(
        "resuming forgets the running moments",
        "training/ppo.py",
        "self.step, self._kl.value, self._moments = state.step, state.kl_coef, state.moments",
        "self.step, self._kl.value = state.step, state.kl_coef",
    ),
    Mutant(
        "random numbers do not depend on the step",
        "training/ppo_rollouts.py",
        "random_numbers(seed, Purpose.SAMPLING, step)",
        "np.random.default_rng()",
    ),
]


def run_tests(source: Path) -> tuple[int, list[str]]:
    """Pytest's exit code and the tests that failed, on this source tree."""
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--tb=no",
        "-p",
        "no:cacheprovider",
        "-rfE",
        "--maxfail=3",
        "-W",
        "ignore",
        *TESTS,
    ]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    failed = re.findall(r"^(?:FAILED|ERROR) \S*/(test_\w+\.py)::(\w+)", result.stdout, flags=re.MULTILINE)
    return result.returncode, list(dict.fromkeys(f"{file}::{test}" for file, test in failed))


def mutate(source: Path, mutant: Mutant) -> None:
    path = source / "proxygold" / mutant.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise SystemExit(
            f"{mutant.name}: its line occurs {text.count(mutant.old)} times in {mutant.file}; repair the mutant"
        )
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")


def main() -> int:
    wanted = [mutant for mutant in MUTANTS if all(word in mutant.name for word in sys.argv[1:])]
    survivors = []
    print("| broken on purpose | the first tests that turn red (at most 3) |\n|---|---|")
    for mutant in [None, *wanted]:
        with tempfile.TemporaryDirectory() as directory:
            source = Path(directory) / "src"
            shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
            if mutant is not None:
                mutate(source, mutant)
            code, failed = run_tests(source)
        if mutant is None:
            if code != 0:
                raise SystemExit(f"the tests fail without a mutation: {', '.join(failed)}")
            print("| nothing | none |", flush=True)
            continue
        if not failed:
            survivors.append(mutant.name)
        print(f"| {mutant.name} | {', '.join(f'`{test}`' for test in failed) or '**none**'} |", flush=True)
    print(f"\n{len(wanted) - len(survivors)} of {len(wanted)} mutants were noticed.")
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main())
