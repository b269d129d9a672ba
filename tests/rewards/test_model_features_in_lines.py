"""Features that read a reference or load a model, as parts of a reward line: identity, pickling, threads, TRL's call."""

import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load, save

from proxygold import Example, reward

EXAMPLES = [
    Example("What is half of 3?", r"Half of 3 is \boxed{\frac{3}{2}}.", reference="1.5", query_type="closed_ended"),
    Example("What is half of 3?", "The answer is 2.", reference="1.5", query_type="closed_ended"),
    Example("Tell me of herons.", "Herons eat fish.", reference="They fish.", query_type="open_ended"),
    Example("Tell me of herons.", "Herons eat fish.", query_type="open_ended"),
]


@pytest.fixture
def line(tiny_models: tuple[Path, Path]) -> str:
    return (
        f"branch(open_ended=LI * RP + 0.1 * fluency(model={str(tiny_models[0])!r}, template='none'), "
        "closed_ended=math_match + 0.5 * exact_match + 0.1 * chrf)"
    )


def test_only_the_selected_arm_needs_a_reference(line: str) -> None:
    scored = reward(line).score(EXAMPLES)
    assert scored.reasons == (None,) * 4
    assert scored.parts["math_match"].tolist()[:2] == [1, 0]
    assert scored.total[2] == scored.total[3]
    assert reward(line).required_columns == {"query_type", "reference"}


def test_it_pickles_and_prints_its_line(line: str) -> None:
    scorer = reward(line)
    copy = pickle.loads(pickle.dumps(scorer))
    assert (str(copy), copy.reward_id, copy.__name__) == (str(scorer), scorer.reward_id, scorer.__name__)
    assert str(reward(str(scorer))) == str(scorer)
    np.testing.assert_array_equal(copy.score(EXAMPLES).total, scorer.score(EXAMPLES).total)


def test_threads_share_it(line: str) -> None:
    scorer = reward(line)
    expected = scorer.score(EXAMPLES).total
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda row: scorer.score([EXAMPLES[row]]).total[0], [0, 1, 2, 3] * 6))
    np.testing.assert_array_equal(found, np.tile(expected, 6))


def test_a_trainer_calls_it(line: str) -> None:
    logged: dict[str, list[object]] = {}
    values = reward(line)(
        prompts=[example.prompt for example in EXAMPLES],
        completions=[[{"role": "assistant", "content": example.completion}] for example in EXAMPLES],
        reference=[example.reference for example in EXAMPLES],
        query_type=[example.query_type for example in EXAMPLES],
        log_extra=lambda name, column: logged.update({name.rpartition("/")[2]: column}),
    )
    assert values == reward(line).score(EXAMPLES).total.tolist()
    assert logged["math_match"] == [1.0, 0.0, None, None]


@pytest.mark.parametrize("feature", ["fluency", "toxicity", "cross_relevance"])
def test_other_weights_at_the_same_place_make_another_reward(
    feature: str, tiny_models: tuple[Path, Path], tmp_path: Path
) -> None:
    directory = Path(shutil.copytree(tiny_models[1], tmp_path / "model"))
    line = f"LI + {feature}(model={str(directory)!r})"
    start = reward(line).reward_id
    assert start != reward("LI").reward_id
    file = directory / "model.safetensors"
    weights = load(file.read_bytes())
    file.write_bytes(save({name: tensor + 1 for name, tensor in weights.items()}, {"format": "pt"}))
    assert reward(line).reward_id != start


def test_a_line_with_them_loads_nothing_before_it_scores() -> None:
    code = (
        "import sys\nfrom proxygold import reward\n"
        "scorer = reward('fluency + toxicity + cross_relevance + bleu + rouge_l + chrf + math_match + exact_match')\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'sacrebleu', 'rouge_score', 'math_verify', 'sympy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
