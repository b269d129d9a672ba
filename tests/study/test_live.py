"""The live view: what it shows of a training and of the answers, and that it is quiet where nobody looks."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console, RenderableType

from proxygold.records import Rollout
from proxygold.study.live import TrainingView, sample_answers
from proxygold.study.progress import StudyProgress


def shown(view: RenderableType, width: int = 120) -> str:
    page = io.StringIO()
    Console(file=page, width=width).print(view)
    return page.getvalue()


def record(step: int, **changes: Any) -> dict[str, Any]:
    return {
        "step": step,
        "reward": step / 10,
        "reward_std": 0.25,
        "parts": {"LI": step / 20, "AR": None},
        "nan_rewards": [],
        "kl": 1.5,
        "kl_coef": 0.2,
        "entropy": 2.0,
        "tokens": 30.0,
        "tokens_min": 3,
        "tokens_max": 48,
        "eos_share": 0.75,
        "seconds": {"generate": 2.0, "score": 0.5, "total": 4.0},
        **changes,
    }


def test_it_shows_reward_by_part_kl_lengths_and_time_left() -> None:
    view = TrainingView("RER, seed 0", until=60, later=100)
    for step in range(1, 21):
        view.add(record(step))
    lines = shown(view).splitlines()
    assert "RER, seed 0" in lines[0]
    assert "20/60" in lines[0]
    # 40 steps of 4 s are 2:40; the 100 of the other rewards are 6:40 more.
    assert "left 0:02:40, all 0:09:20" in lines[0]
    rows = {line.split()[0]: line for line in lines[2:]}
    # The last step, then the mean of steps 11 to 20, then a bar a step: equal steps, 8 heights over 20 of them.
    assert rows["reward"].split()[1:3] == ["2", "1.55"]
    assert "▁▁▂▂▂▃▃▄▄▄▅▅▅▆▆▇▇▇██" in rows["reward"]
    assert "± 0.25" in rows["reward"]
    assert rows["LI"].split()[1:3] == ["1", "0.775"]
    assert "AR" not in rows  # never selected
    assert "nats, coefficient 0.2" in rows["KL"]
    assert "▁" * 20 in rows["KL"]
    assert "3 to 48, 75% ended" in rows["tokens"]
    assert "generate 2, score 0.5" in rows["seconds"]


def test_rollouts_without_a_reward_are_counted() -> None:
    view = TrainingView("R", until=2)
    view.add(record(1, nan_rewards=[{"prompt_id": "a", "reason": "lost"}] * 3))
    assert shown(view).splitlines()[-1].split() == ["without", "a", "reward", "3"]


def test_before_the_first_step_it_has_no_time_left() -> None:
    assert "0/60" in shown(TrainingView("R", until=60))
    # What another process took says nothing of this one.
    resumed = TrainingView("R", until=60, past=[record(1), record(2)])
    assert "2/60" in shown(resumed)
    assert "left -:--:--" in shown(resumed)


def answer(prompt: Any, completion: str, query_type: str | None, finished: bool = True) -> Rollout:
    return Rollout("p", prompt, completion, 7, finished, None, query_type)


def test_two_answers_are_shown_of_either_type() -> None:
    rollouts = [
        answer("Name a tree.", "An oak.", "open_ended"),
        answer("Name a bird.", "A wren.", "open_ended"),
        answer(
            [{"role": "user", "content": "What is 1 + 2?"}], "3 [bold]or\x1b[31m so", "closed_ended", finished=False
        ),
    ]
    text = shown(sample_answers("RER, seed 0: answer", 8, rollouts))
    assert "RER, seed 0: answer, step 8: 2 of 3 answers" in text
    assert "> Name a tree.\nAn oak.  [7 tokens]" in text
    assert "> What is 1 + 2?\n3 [bold]or [31m so  [7 tokens, cut off]" in text  # neither markup nor terminal codes
    assert "wren" not in text


def test_two_of_one_type_and_one_alone() -> None:
    rollouts = [answer(f"Prompt {i}.", f"Answer {i}. " + "long " * 200, None) for i in range(3)]
    text = shown(sample_answers("R", 8, rollouts))
    assert "Answer 0." in text
    assert "Answer 1." in text
    assert "Answer 2." not in text
    assert text.count("…") == 2
    assert "1 of 1 answers" in shown(sample_answers("R", 8, rollouts[:1]))


def test_only_warnings_are_told_to_a_pipe() -> None:
    page = io.StringIO()
    progress = StudyProgress(Console(file=page, width=40))
    with progress.training("R", 3) as on_step:
        on_step(record(1))
    progress.answers("R", 1, [answer("p", "c", None)])
    assert page.getvalue() == ""
    progress.warn("the checkpoint [x] is damaged: " + "long " * 10)
    assert page.getvalue() == "warning: the checkpoint [x] is damaged: " + "long " * 10 + "\n"


def test_a_terminal_sees_a_training_and_keeps_the_answers() -> None:
    page = io.StringIO()
    progress = StudyProgress(Console(file=page, width=100, force_terminal=True))
    with progress.training("RER, seed 0", 3, past=lambda: [record(1)]) as on_step:
        on_step(record(2))
    progress.answers("RER, seed 0", 2, [answer("Name a tree.", "An oak.", None)])
    assert "2/3" in page.getvalue()
    assert "An oak." in page.getvalue()
