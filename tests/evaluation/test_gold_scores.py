"""Gold scores in a file: what is there is not scored again, whatever stopped the run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxygold.errors import StoreError
from proxygold.evaluation.responses import gold_scores
from proxygold.evaluation.responses.gold_scores import score_answers
from proxygold.models.reward_models import open_reward_model
from proxygold.models.reward_settings import RewardModelSettings
from proxygold.records import Example

EXAMPLES = [Example("Count.", " ".join(map(str, range(n)))) for n in range(1, 21)]


@pytest.fixture
def settings(tiny_models: tuple[Path, Path]) -> RewardModelSettings:
    return RewardModelSettings(model=str(tiny_models[1]), device="cpu", dtype="float32", batch_size=1)


def test_an_interrupted_scoring_goes_on(
    settings: RewardModelSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: Counter[str] = Counter()
    model = open_reward_model(settings)

    class Counting:
        def score(self, examples: Sequence[Example]) -> Any:
            if sum(scored.values()) >= 8:
                raise KeyboardInterrupt
            scored.update(example.completion for example in examples)
            return model.score(examples)

    file = tmp_path / "new" / "gold.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(gold_scores, "open_reward_model", lambda settings: Counting())
        with pytest.raises(KeyboardInterrupt):
            score_answers(EXAMPLES, settings, file)
    # Eight batches of one, the longest first, are written; half a line is left behind.
    assert sorted(scored) == sorted(example.completion for example in EXAMPLES[-8:])
    with file.open("a") as opened:
        opened.write('{"key": "ha')
    done: list[int] = []
    scores, reasons = score_answers([*EXAMPLES, EXAMPLES[0]], settings, file, progress=done.append)
    assert done == [8, 8, 5]
    expected, _ = model.score([*EXAMPLES, EXAMPLES[0]])
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert set(reasons) == {None}
    assert len(file.read_text().splitlines()) == 20

    def refuse(settings: Any) -> Any:
        raise AssertionError("nothing is missing")

    monkeypatch.setattr(gold_scores, "open_reward_model", refuse)
    np.testing.assert_array_equal(score_answers(EXAMPLES, settings, file)[0], scores[:20])
    with pytest.raises(AssertionError, match="nothing is missing"):  # another length limit is another score
        score_answers(EXAMPLES, settings.model_copy(update={"max_length": 8}), file)


def test_a_score_that_cannot_be_had_is_kept_as_such(
    settings: RewardModelSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        def score(self, examples: Sequence[Example]) -> Any:
            return np.array([np.nan] * len(examples)), ("too long",) * len(examples)

    monkeypatch.setattr(gold_scores, "open_reward_model", lambda settings: Refusing())
    file = tmp_path / "gold.jsonl"
    for _ in range(2):
        scores, reasons = score_answers(EXAMPLES[:2], settings, file)
        assert np.isnan(scores).all()
        assert reasons == ("too long", "too long")
    row = json.loads(file.read_text().splitlines()[0])
    assert (row["score"], row["reason"]) == (None, "too long")
    file.write_text("[]\n")
    with pytest.raises(StoreError, match=r"gold\.jsonl:1 is not a record .*Delete that line: its answer is scored"):
        score_answers(EXAMPLES[:2], settings, file)
