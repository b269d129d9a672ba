"""The Reward object: settings, identity, composing, pickling, threads and the failure policy."""

import math
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from proxygold import Example, Reward, feature, reward
from proxygold.errors import ConfigError, RewardError
from proxygold.features.registry import find_feature, register_feature
from proxygold.models.encoder import EncoderSettings
from proxygold.rewards import PAPER_REWARDS


def test_rer_has_the_papers_constants_for_contriever_and_match_for_others() -> None:
    paper = "branch(open_ended=LI * RP * QR, closed_ended=RP * rescale(AR, 0.0, 3.5, 0.0, {}))"
    measured = "branch(open_ended=LI * RP * QR, closed_ended=RP * match(AR, LI * QR))"
    assert str(reward("RER", encoder="facebook/contriever")) == paper.format(5.12)
    # 768 new tokens / 100
    assert str(reward("RER", encoder="facebook/contriever", max_new_tokens=768)) == paper.format(7.68)
    assert str(reward("RER")) == measured
    assert str(reward("RER", encoder="org/other")) == measured
    # 3.5 fits dot products that are not normalised.
    assert str(reward("RER", encoder=EncoderSettings("facebook/contriever", normalize=True))) == measured
    assert str(reward("RER", encoder=EncoderSettings("facebook/contriever", normalize=False))) == paper.format(5.12)


def test_the_rewards_of_the_paper_and_the_columns_that_they_need() -> None:
    needed = {name: reward(line).required_columns for name, line in PAPER_REWARDS.items()}
    assert needed == {"LI": set(), "LI_RP": set(), "LI_RP_QR": set(), "RER": {"reference", "query_type"}}


def test_stop_strings_come_from_the_template_or_are_given() -> None:
    text = Example("q", "Yes. USER: why?\n\n\n\nBecause")
    # Yes . USER : why ?
    assert reward("LI").score([text]).total[0] == 0.06
    assert reward("LI", template="vicuna").score([text]).total[0] == 0.02
    assert reward("LI", stop_strings=["why"]).score([text]).total[0] == 0.04
    # exactly those given: without any, nothing is cut
    assert reward("LI", stop_strings=[]).score([text]).total[0] == 0.07


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"on_error": "ignore"}, "on_error='ignore' is not allowed; it is 'nan' or 'raise'"),
        ({"template": "hh", "stop_strings": ["x"]}, "give template or stop_strings, not both"),
        ({"stop_strings": "\n\n"}, "is one text; give a list"),
        ({"stop_strings": [""]}, "an empty stop string would end every completion"),
        ({"max_new_tokens": 0}, "max_new_tokens=0 is not allowed"),
    ],
)
def test_settings_that_are_not_allowed(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RewardError, match=message):
        reward("LI", **settings)  # type: ignore[arg-type]


def test_an_unknown_template_is_named() -> None:
    with pytest.raises(ConfigError, match="no prompt template called 'alpacca'"):
        reward("LI", template="alpacca")


# --- operators ------------------------------------------------------------------------------------------------------


def test_rewards_compose_with_the_operators_of_the_language() -> None:
    li, rp = reward("LI"), reward("RP")
    composed = {
        "LI + RP": li + rp,
        "LI - RP": li - rp,
        "LI * RP": li * rp,
        "LI / RP": li / rp,
        "LI ** RP": li**rp,
        "-LI": -li,
        "LI + 1.0": li + 1,
        "1.0 - LI": 1 - li,
        "2.0 * LI": 2 * li,
        "-2.0 * LI": -2 * li,
        "LI / 2.0": li / 2,
        "1.0 / LI": 1 / li,
        "LI ** 2.0": li**2,
        "2.0 ** LI": 2**li,
        "1.0 + LI": 1 + li,
        "LI - 0.5": li - 0.5,
        "(LI + RP) * LI": (li + rp) * li,
    }
    for line, made in composed.items():
        assert str(made) == line
        assert made == reward(line)


def test_composing_keeps_the_settings_and_refuses_different_ones() -> None:
    cut = {"stop_strings": ("STOP",)}
    assert (reward("LI", **cut) * reward("RP", **cut)).settings.stop_strings == ("STOP",)
    with pytest.raises(RewardError, match="differ in their settings"):
        reward("LI", **cut) * reward("RP")
    with pytest.raises(TypeError):
        reward("LI") * "RP"  # type: ignore[operator]
    with pytest.raises(TypeError):
        reward("LI") * True


def test_a_composition_that_no_line_can_hold_is_refused() -> None:
    made = reward("LI")
    with pytest.raises(RewardError, match="51 levels; allowed are 2000 and 50"):
        for _ in range(50):
            made = made + 1


# --- identity -------------------------------------------------------------------------------------------------------


def test_the_line_hash_is_of_the_canonical_line() -> None:
    assert reward("LI*RP").line_hash == reward("length_incentive * repetition_penalty").line_hash
    assert reward("LI * RP").line_hash != reward("RP * LI").line_hash
    assert len(reward("LI").line_hash) == 16


def test_the_reward_id_holds_what_else_changes_a_score() -> None:
    plain = reward("LI").reward_id
    assert plain == reward("LI", on_error="raise").reward_id
    assert plain == reward("LI", encoder="org/other").reward_id, "LI uses no encoder"
    assert plain != reward("LI", template="hh").reward_id
    assert plain != reward("LI(words='whitespace')").reward_id


def test_the_reward_id_holds_the_code_of_a_users_feature() -> None:
    feature("edited")(lambda example: 1.0)
    before = reward("edited").reward_id
    feature("edited", replace=True)(lambda example: 2.0)
    assert reward("edited").reward_id != before


def test_names_for_logs_are_unlike_each_other() -> None:
    made = [
        reward("LI * RP"),
        reward("LI / RP"),
        reward("LI * RP", template="hh"),
        reward("QR"),
        reward("QR", encoder="facebook/contriever"),
        reward("QR", encoder=EncoderSettings(normalize=False)),
    ]
    names = [one.__name__ for one in made]
    assert len(set(names)) == len(names)
    assert names[0].startswith("LI_RP_")
    assert all(name.isidentifier() for name in names)
    assert reward("LI * RP").__name__ == reward("LI*RP").__name__
    assert Reward.__name__ == "Reward"


def test_equal_rewards_are_equal_and_hash_alike() -> None:
    assert reward("LI*RP") == reward("LI * RP")
    assert hash(reward("LI*RP")) == hash(reward("LI * RP"))
    assert reward("LI") != reward("RP")
    assert reward("LI") != "LI"
    assert repr(reward("LI", encoder="org/other")) == "reward('LI', encoder='org/other')"


# --- pickling and threads -------------------------------------------------------------------------------------------


def test_a_pickled_reward_is_the_same_reward() -> None:
    made = reward("RP * rescale(AR, 0, 3.5, 0, 5.12)", encoder="facebook/contriever", template="hh", on_error="raise")
    again = pickle.loads(pickle.dumps(made))
    assert again == made
    assert again.__name__ == made.__name__


PLUGIN = """
from proxygold import feature

@feature("plugged_in")
def plugged_in(example):
    return len(example.completion)
"""


def in_a_new_process(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=False, capture_output=True, text=True, timeout=60
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_a_pickled_reward_brings_its_plugin_to_another_process(tmp_path: Path) -> None:
    plugin, pickled = tmp_path / "own.py", tmp_path / "reward.pickle"
    plugin.write_text(PLUGIN)
    made = reward("LI * plugged_in", plugins=[plugin])
    pickled.write_bytes(pickle.dumps(made))
    code = (
        "import pickle, sys\nfrom proxygold import Example\n"
        "made = pickle.loads(open(sys.argv[1], 'rb').read())\n"
        "print(made.score([Example('q', 'four')]).total[0], made.reward_id)"
    )
    assert in_a_new_process(code, str(pickled)) == f"0.04 {made.reward_id}"
    plugin.unlink()
    assert "there is no plug-in file" in in_a_new_process(code, str(pickled))


def test_a_feature_typed_into_a_session_cannot_follow_to_another_process(tmp_path: Path) -> None:
    pickled = tmp_path / "reward.pickle"
    typed = (
        "import pickle, sys\nfrom proxygold import feature, reward\n"
        "feature('typed')(lambda example: 1.0)\n"
        "open(sys.argv[1], 'wb').write(pickle.dumps(reward('typed')))"
    )
    in_a_new_process(typed + "\nprint('done')", str(pickled))
    message = in_a_new_process("import pickle, sys\npickle.loads(open(sys.argv[1], 'rb').read())", str(pickled))
    assert (
        "the feature 'typed' is not known in this process: it was defined in __main__. Define it in a file" in message
    )


def test_threads_share_a_reward() -> None:
    made = reward("LI * RP")
    batches = [[Example("q", "word " * (batch + row)) for row in range(20)] for batch in range(40)]
    expected = [made.score(batch).total.tolist() for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        assert [scored.total.tolist() for scored in pool.map(made.score, batches)] == expected


# --- failures -------------------------------------------------------------------------------------------------------


def test_the_failure_policy_is_one_setting() -> None:
    examples = [Example("q", "c", query_type="open_ended"), Example("q", "c"), Example("q", "c", query_type="closed")]
    line = "branch(open_ended=LI, closed_ended=RP)"
    scored = reward(line).score(examples)
    assert [math.isnan(value) for value in scored.total] == [False, True, True]
    with pytest.raises(RewardError) as caught:
        reward(line, on_error="raise").score(examples)
    assert str(caught.value) == (
        "2 of 3 examples cannot be scored (row 1: branch: the example has no query_type; row 2: branch: query_type "
        "'closed' is unknown; allowed: open_ended, closed_ended, OPENENDED, CONSTRAINED). "
        'Mend the data, or let them be NaN with on_error="nan".'
    )
    # A row of the other arm is no failure.
    assert reward(line, on_error="raise").score(examples[:1]).reasons == (None,)


def test_what_is_no_example_is_refused() -> None:
    with pytest.raises(RewardError, match=r"row 1 is dict; an Example\(prompt, completion\) is needed"):
        reward("LI").score([Example("q", "c"), {"prompt": "q"}])  # type: ignore[list-item]
    with pytest.raises(RewardError, match="the prompt of row 0 is NoneType; a text or messages are needed"):
        reward("LI").score([Example(None, "c")])  # type: ignore[arg-type]
    with pytest.raises(RewardError, match="the completion of row 0 is NoneType; a text is needed"):
        reward("LI").score([Example("q", None)])  # type: ignore[arg-type]


def test_a_feature_that_gives_another_number_of_values_is_an_error() -> None:
    li = find_feature("LI")
    assert li is not None
    from dataclasses import replace

    register_feature(
        replace(
            li, name="one_short", long_name="one_short", compute=lambda examples, context: li(examples[1:], context)
        )
    )
    with pytest.raises(RewardError, match=r"one_short gave \(1,\) values and 1 reasons for 2 examples"):
        reward("one_short").score([Example("q", "c")] * 2)


def test_a_broken_character_is_scored_as_a_replacement_character() -> None:
    """A lone half of a surrogate pair: tokenizers refuse it, and would fail its whole batch."""
    broken, mended = "caf\udce9 au lait", "caf\ufffd au lait"
    line = reward("LI * RP * QR * AR")
    messages = [{"role": "user", "content": broken}]
    examples = [Example(broken, broken, broken), Example(messages, broken, broken), Example("a", "b c", "d")]
    expected = line.score([Example(mended, mended, mended)] * 2 + [Example("a", "b c", "d")])
    assert line.score(examples).total.tolist() == expected.total.tolist()
    assert line.score(examples).reasons == (None, None, None)
