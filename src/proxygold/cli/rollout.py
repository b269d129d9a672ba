"""`proxygold rollout`: the answers of checkpoints that any trainer made, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from proxygold.cli.checkpoint_options import (
    CheckpointsOption,
    OutOption,
    PromptsOption,
    SettingsArgument,
    StartOption,
    TemplateOption,
)

if TYPE_CHECKING:
    from proxygold.study.progress import StudyProgress
    from proxygold.study.stages import StudyResult

__all__ = ["rollout"]


def rollout(
    settings: SettingsArgument = None,
    *,
    out: OutOption,
    checkpoints: CheckpointsOption = None,
    start: StartOption = None,
    prompts: PromptsOption = None,
    template: TemplateOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 when prompts were left out.")] = False,
) -> None:
    """Have checkpoints answer prompts: the first part of `proxygold validate`, for a machine that has them.

    The answers are DIR/proxy/seed-N/rollouts/step-N.jsonl, one line a prompt. Copy DIR to where gold is, score them
    there with `proxygold score DIR --gold gold.model=MODEL`, and judge them with
    `proxygold validate --out DIR --reward LINE`.

    The same command goes on after a stop, and takes in checkpoints that came since. Settings beside the options are
    policy.KEY (system_prompt, dtype, device, quantization), validation.KEY (max_new_tokens, temperature, top_p,
    batch_size, seed) and data.validation_limit.
    """
    from proxygold.cli.checkpoints import checkpoint_study
    from proxygold.cli.outcome import do_and_print
    from proxygold.study.validation import validate_checkpoints

    asked, run = checkpoint_study(
        out,
        settings or [],
        checkpoints=checkpoints,
        start=start,
        prompts=prompts,
        template=template,
        needs={"checkpoints"},
    )

    def do(progress: StudyProgress) -> StudyResult:
        return validate_checkpoints(asked, run, progress, proxy=False, gold=False)

    do_and_print(do, strict=strict)
