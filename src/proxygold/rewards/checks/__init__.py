"""Vetting a reward as a trainer will use it, and as a policy will abuse it: `proxygold check`.

Each check takes a `Subject` (the reward, ordinary answers and their scores) and tells what it saw and what to do.
"""

from proxygold.rewards.checks.finding import FAIL, OK, SKIP, WARN, CheckReport, Finding
from proxygold.rewards.checks.run import check_reward
from proxygold.rewards.checks.subject import examples_from_file

__all__ = ["FAIL", "OK", "SKIP", "WARN", "CheckReport", "Finding", "check_reward", "examples_from_file"]
