"""The chosen checkpoints, as the page and the command line tell them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from proxygold.errors import StoreError
from proxygold.report.build import build_report
from proxygold.report.choices import choice_rows, choice_sentences
from proxygold.store import NOT_SCORED, RunDirectory
from proxygold.study.choice import choose_checkpoints


def write_dev(run: RunDirectory, reward: str, seed: int, proxy: dict[int, list[float]]) -> None:
    """Dev answers' proxies at each step; gold has not read them."""
    arm = run.arm(reward, seed).dev
    for step, values in proxy.items():
        n = len(values)
        arm.write_rollouts(step, _rollouts(n))
        table = {
            "prompt_id": [f"d{i}" for i in range(n)],
            "query_type": pa.nulls(n, pa.string()),
            "proxy": values,
            "proxy_reason": pa.nulls(n, pa.string()),
            "gold": pa.nulls(n, pa.float64()),
            "gold_reason": [NOT_SCORED] * n,
        }
        arm.write_scores(step, pa.table(table))


def _rollouts(n: int) -> list[Any]:
    from proxygold.records import Rollout

    return [Rollout(f"d{i}", "prompt", "answer", 3, True) for i in range(n)]


@pytest.fixture
def chosen(synthetic: Any, tmp_path: Path) -> RunDirectory:
    """A run of two rewards. Dev chooses step 20 for the first, and the start for the second."""
    run: RunDirectory = synthetic.write_run(tmp_path / "run", rewards=("LI", "RER"), seeds=(0,))
    study = run.read_study()
    run.write_study({**study, "choice": {"by": "proxy", "every": 20, "seed": 0}})
    write_dev(run, "LI", 0, {0: [1.0, 2.0, 3.0], 20: [2.0, 3.0, 4.0], 40: [1.0, 3.0, 2.0]})
    write_dev(run, "RER", 0, {0: [5.0, 5.0, 5.0], 20: [4.0, 4.0, 4.0]})
    choose_checkpoints(run)
    return run


def test_the_gain_on_validation_stands_beside_the_choice(chosen: RunDirectory) -> None:
    first, second = choice_rows(chosen)
    assert (first.step, first.steps, first.mean, first.dev_gain.value) == (20, (0, 20, 40), 3.0, 1.0)
    arm = chosen.arm("LI", 0)
    gold = [np.array(arm.read_scores(step)["gold"].to_pylist()) for step in (0, 20)]
    assert first.gold_gain is not None
    assert first.gold_gain.value == pytest.approx(float((gold[1] - gold[0]).mean()))
    assert first.gold_gain.low < first.gold_gain.value < first.gold_gain.high
    assert (second.step, second.path, second.gold_gain) == (0, None, None)
    told = list(choice_sentences(chosen))
    assert told[0].startswith(
        "LI, seed 0: by mean proxy on 3 dev prompts, step 20 is the best of 0, 20, 40: 3.00, a gain of +1.00"
    )
    assert told[0].endswith(f"{chosen.path}/LI/seed-0/checkpoints/step-20")
    assert "on validation proxy" in told[0]
    assert told[1] == (
        "RER, seed 0: by mean proxy on 3 dev prompts, no checkpoint is better than the start policy (compared: 0, 20)."
    )


def test_the_page_has_a_section_for_it(chosen: RunDirectory) -> None:
    page = build_report(chosen).read_text(encoding="utf-8")
    assert '<section id="choice"' in page
    section = page.split('<section id="choice"')[1].split("</section>")[0]
    assert "mean proxy" in section
    assert "the start: none is better" in section
    assert 'href="#choice"' in page


def test_without_dev_prompts_the_page_says_nothing_of_it(page: str) -> None:
    assert 'id="choice"' not in page
    assert 'href="#choice"' not in page


def test_a_damaged_choice_is_named(chosen: RunDirectory) -> None:
    chosen.arm("LI", 0).choice_file.write_text("{broken")
    with pytest.raises(StoreError, match=r"choice\.json is damaged: .*Delete the file and give the same command again"):
        list(choice_rows(chosen))
