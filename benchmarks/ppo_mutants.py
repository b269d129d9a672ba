"""Breaks the policy and the PPO code on purpose, one line at a time, and looks whether the tests turn red.

    python benchmarks/ppo_mutants.py                    all of ppo_mutants.toml: 12 minutes of one core
    python benchmarks/ppo_mutants.py positions          those whose name contains a word
    python benchmarks/ppo_mutants.py 2> said.txt        with what pytest said to each

Each mutant is applied to a temporary copy of `src`, on which the one test runs that is to notice it. A mutant whose
test stays green is a hole in the tests: the script then exits with 1.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Mutant:
    """`old` becomes `new` in `file`, which is below src/proxygold; `test` is below tests."""

    name: str
    file: str
    old: str
    new: str
    test: str

    def applied(self, text: str) -> str:
        """The file's text, mutated. Raises SystemExit when the mutant fits no longer."""
        if text.count(self.old) != 1:
            raise SystemExit(f"{self.name}: its text occurs {text.count(self.old)} times in {self.file}; repair it")
        return text.replace(self.old, self.new)


def run_tests(tests: Sequence[str], mutant: Mutant | None = None) -> tuple[bool, str]:
    """Whether a test fails on a copy of the source, and what pytest said."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        if mutant is not None:
            path = source / "proxygold" / mutant.file
            path.write_text(mutant.applied(path.read_text(encoding="utf-8")), encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
        options = ["-q", "--tb=short", "-p", "no:cacheprovider", "-rfE", "-W", "ignore"]
        command = [sys.executable, "-m", "pytest", *options, *(f"tests/{test}" for test in tests)]
        result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    # A test that was not found, or not set up, has noticed nothing.
    if result.returncode not in (0, 1) or re.search(r"^ERROR ", result.stdout, flags=re.MULTILINE):
        name = "nothing" if mutant is None else mutant.name
        raise SystemExit(f"with {name} broken, the tests cannot be run:\n{result.stdout}{result.stderr}")
    return result.returncode == 1, result.stdout


def main() -> int:
    known = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))["mutant"]
    mutants = [Mutant(**fields) for fields in known]
    for mutant in mutants:  # before the first minute is spent
        mutant.applied((ROOT / "src/proxygold" / mutant.file).read_text(encoding="utf-8"))
    wanted = [mutant for mutant in mutants if all(word in mutant.name for word in sys.argv[1:])]
    if not wanted:
        raise SystemExit(f"no mutant's name contains {' and '.join(sys.argv[1:])}; the names are in ppo_mutants.toml")
    failed, said = run_tests(list(dict.fromkeys(mutant.test for mutant in wanted)))
    if failed:
        raise SystemExit(f"tests fail with nothing broken:\n{said}")

    noticed = 0
    print("| broken on purpose | the test that turns red |\n|---|---|", flush=True)
    for mutant in wanted:
        failed, said = run_tests([mutant.test], mutant)
        noticed += failed
        print(f"| {mutant.name} | {f'`{mutant.test}`' if failed else f'**not** `{mutant.test}`'} |", flush=True)
        print(f"\n=== {mutant.name}\n{said}", file=sys.stderr, flush=True)
    print(f"\n{noticed} of {len(wanted)} mutants were noticed.")
    return 0 if noticed == len(wanted) else 1


if __name__ == "__main__":
    raise SystemExit(main())
