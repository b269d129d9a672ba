"""Features that are classes: made once, scored in batches, and what their failures cost."""

import math
import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from proxygold import Example, feature, reward
from proxygold.errors import RewardError


def examples_of(*texts: str) -> list[Example]:
    return [Example("q", text) for text in texts]


def test_a_class_scores_many_examples_at_once() -> None:
    batches = []

    @feature("class_words")
    class Words:
        def __init__(self, *, weight: float = 1.0) -> None:
            self.weight = weight

        def score(self, examples: list[Example]) -> list[float]:
            batches.append(len(examples))
            return [self.weight * len(example.completion.split()) for example in examples]

    assert reward("class_words").score(examples_of("one", "one two", "")).total.tolist() == [1.0, 2.0, 0.0]
    # LI: 2 words are 0.02. 0.02 + 2.5 * 2
    assert reward("LI + class_words(weight=2.5)").score(examples_of("a b")).total.tolist() == [5.02]
    assert batches == [3, 1]


def test_a_class_may_score_one_example_and_return_an_array() -> None:
    @feature("class_call")
    class Call:
        def __call__(self, example: Example) -> int:
            return len(example.completion)

    @feature("class_array")
    class Array:
        def score(self, examples: list[Example]) -> np.ndarray:
            return np.array([len(example.completion) for example in examples], dtype=np.float32)

    assert reward("class_call").score(examples_of("abc", "")).total.tolist() == [3.0, 0.0]
    assert reward("class_array").score(examples_of("abc", "")).total.tolist() == [3.0, 0.0]


def test_an_object_is_made_at_the_first_score_once_for_each_set_of_arguments() -> None:
    made = []

    @feature("class_made")
    class Made:
        def __init__(self, size: int = 1, name: str = "a") -> None:  # also without a star
            time.sleep(0.02)  # long enough for every thread to arrive meanwhile
            made.append((size, name))
            self.size = size

        def score(self, examples: list[Example]) -> list[int]:
            return [self.size] * len(examples)

    default, other = reward("class_made"), reward('class_made(size=2, name="b")')
    assert made == []
    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda scorer: scorer.score(examples_of("x")).total[0], [default, other] * 8))
    assert values == [1.0, 2.0] * 8
    assert sorted(made) == [(1, "a"), (2, "b")]
    reward("class_made(size=1)").score(examples_of("x"))
    assert len(made) == 2


def test_calls_of_one_object_never_overlap() -> None:
    at_once, most = [0], [0]

    @feature("class_alone")
    class Alone:
        def score(self, examples: list[Example]) -> list[float]:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
            time.sleep(0.005)
            at_once[0] -= 1
            return [0.0] * len(examples)

    scorer = reward("class_alone")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: scorer.score(examples_of("x")), range(16)))
    assert most == [1]


def test_a_feature_may_score_with_a_reward_that_uses_it() -> None:
    @feature("class_nested")
    class Nested:
        def score(self, examples: list[Example]) -> list[float]:
            shorter = [Example("q", example.completion[1:]) for example in examples if example.completion]
            inner = reward("class_nested").score(shorter).total.tolist() if shorter else []
            return [1 + inner.pop(0) if example.completion else 0.0 for example in examples]

    done: list[float] = []
    worker = threading.Thread(target=lambda: done.extend(reward("class_nested").score(examples_of("abc", "a")).total))
    worker.daemon = True
    worker.start()
    worker.join(10)
    assert done == [3.0, 1.0], "or it waits for itself"


def test_one_bad_example_costs_no_other_its_value() -> None:
    calls = []

    @feature("class_fragile")
    class Fragile:
        def score(self, examples: list[Example]) -> list[float]:
            calls.append(len(examples))
            return [100 / len(example.completion) for example in examples]

    scored = reward("class_fragile").score(examples_of("a", "ab", "abcd", "", "a", "ab", "abcd", "abcde"))
    assert np.isnan(scored.total).tolist() == [False] * 3 + [True] + [False] * 4
    assert scored.total[[0, 1, 2, 7]].tolist() == [100.0, 50.0, 25.0, 20.0]
    assert scored.reasons[3] is not None
    assert scored.reasons[3].startswith("class_fragile raised ZeroDivisionError: division by zero (test_custom_cla")
    assert scored.reasons[4] is None
    # Halves: of 8 the first 4 fail, of these the second 2, of these the second one.
    assert calls == [8, 4, 2, 2, 1, 1, 4]


def test_a_list_of_another_length_is_asked_for_again_in_parts() -> None:
    @feature("class_drops")
    class Drops:
        def score(self, examples: list[Example]) -> list[float]:
            return [len(example.completion) for example in examples if example.completion]

    @feature("class_single")
    class Single:
        def score(self, examples: list[Example]) -> float:
            return 0.5

    scored = reward("class_drops").score(examples_of("abc", "", "a"))
    assert scored.reasons == (None, "class_drops returned 0 numbers for 1 example", None)
    assert scored.total[[0, 2]].tolist() == [3.0, 1.0]
    scored = reward("class_single").score(examples_of("abc"))
    assert scored.reasons == ("class_single returned float, not a list of numbers",)


def test_rows_without_a_number() -> None:
    @feature("class_gaps", columns=["rating"])
    class Gaps:
        def score(self, examples: list[Example]) -> list[object]:
            return [{"none": None, "nan": math.nan, "text": "x", "one": 1}[example.completion] for example in examples]

    rated = [Example("q", text, columns={"rating": 1}) for text in ("none", "nan", "text", "one")]
    scored = reward("class_gaps").score([*rated, Example("q", "one")])
    assert scored.reasons == (
        "class_gaps returned NoneType, not a number",
        "class_gaps returned nan",
        "class_gaps returned str, not a number",
        None,
        "class_gaps: the example has no rating",
    )
    assert reward("class_gaps").required_columns == {"rating"}


def test_a_class_that_cannot_be_made_is_an_error_and_is_tried_again() -> None:
    present = []

    @feature("class_unmade")
    class Unmade:
        def __init__(self) -> None:
            if not present:
                raise FileNotFoundError("weights.bin")

        def score(self, examples: list[Example]) -> list[float]:
            return [1.0] * len(examples)

    scorer = reward("class_unmade")
    with pytest.raises(
        RewardError, match="'class_unmade' cannot be used: Unmade raised FileNotFoundError: weights.bin"
    ):
        scorer.score(examples_of("x"))
    present.append(True)
    assert scorer.score(examples_of("x")).total.tolist() == [1.0]


def test_a_dataclass_has_its_fields_for_arguments() -> None:
    @feature("class_data")
    @dataclass
    class Data:
        letter: str = "a"
        weight: float = 1.0

        def __call__(self, example: Example) -> float:
            return self.weight * example.completion.count(self.letter)

    assert reward('class_data(letter="b", weight=2)').score(examples_of("abb")).total.tolist() == [4.0]
    with pytest.raises(RewardError, match="Did you mean letter"):
        reward('class_data(leter="b")')


def test_what_is_no_feature_is_refused() -> None:
    with pytest.raises(RewardError, match=r"the class Mute needs a method: score\(self, examples\)"):

        @feature("class_mute")
        class Mute:
            pass

    with pytest.raises(RewardError, match="'model' needs a default: a number, a text or a truth value"):

        @feature("class_needy")
        class Needy:
            def __init__(self, model: str) -> None: ...

            def __call__(self, example: Example) -> float:
                return 0.0

    with pytest.raises(RewardError, match="takes a function of one example or a class, not int"):
        feature("class_number")(3)  # type: ignore[type-var]


CLASS = """
import threading
from proxygold import feature

@feature("class_in_file")
class InFile:
    def __init__(self, *, weight=1.0):
        self.weight = weight
        self.lock = threading.Lock()  # no pickle could hold it

    def score(self, examples):
        return [self.weight * len(example.completion) for example in examples]
"""


def test_a_class_follows_its_reward_to_another_process(tmp_path: Path) -> None:
    plugin = tmp_path / "own.py"
    plugin.write_text(CLASS)
    made = reward("class_in_file(weight=0.5)", plugins=[plugin])
    assert made.score(examples_of("four")).total.tolist() == [2.0]  # so that an object is made
    code = (
        "import pickle, sys\nfrom proxygold import Example\nmade = pickle.loads(sys.stdin.buffer.read())\n"
        "print(made.score([Example('q', 'four')]).total[0], made.reward_id)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(made), capture_output=True, check=True)
    assert done.stdout.decode().split() == ["2.0", made.reward_id]


def test_the_reward_id_changes_with_the_file(tmp_path: Path) -> None:
    ids = []
    for number in (1, 2):
        plugin = tmp_path / f"{number}.py"
        plugin.write_text(CLASS.replace("class_in_file", "class_hashed") + f"# edited: {number}\n")
        code = (
            "import sys\nfrom proxygold import reward\nprint(reward('class_hashed', plugins=[sys.argv[1]]).reward_id)"
        )
        done = subprocess.run([sys.executable, "-c", code, plugin], capture_output=True, text=True, check=True)
        ids.append(done.stdout)
    assert ids[0] != ids[1]


def test_a_class_typed_into_a_session_is_hashed_by_its_code() -> None:
    typed = (
        "from proxygold import feature, reward\n"
        "@feature('class_typed')\n"
        "class Typed:\n"
        "    def score(self, examples):\n"
        "        return [{value} for example in examples]\n"
        "print(reward('class_typed').reward_id)\n"
    )
    ids = [
        subprocess.run(
            [sys.executable, "-c", typed.format(value=value)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for value, seed in ((1.0, "1"), (1.0, "2"), (2.0, "1"))
    ]
    assert ids[0] == ids[1] != ids[2]


def test_a_plugin_that_fails_half_way_can_be_mended(tmp_path: Path) -> None:
    plugin = tmp_path / "half.py"
    plugin.write_text(
        "from proxygold import feature\n\n@feature('class_half')\ndef half(example):\n    return 1.0\n\n1 / 0\n"
    )
    with pytest.raises(RewardError, match="ZeroDivisionError"):
        reward("class_half", plugins=[plugin])
    plugin.write_text(plugin.read_text().replace("1 / 0", "").replace("1.0", "2.0"))
    os.utime(plugin, (1, 1))  # no bytecode of the first version is taken for this one
    assert reward("class_half", plugins=[plugin]).score(examples_of("x")).total.tolist() == [2.0]
