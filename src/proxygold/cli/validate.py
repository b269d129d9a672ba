"""`proxygold validate`: answers, proxy, gold and verdict for checkpoints that any trainer made."""

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
from proxygold.cli.reward_options import EncoderOption, PluginOption

if TYPE_CHECKING:
    from proxygold.study.progress import StudyProgress
    from proxygold.study.stages import StudyResult

__all__ = ["validate"]


def validate(
    settings: SettingsArgument = None,
    *,
    out: OutOption,
    checkpoints: CheckpointsOption = None,
    start: StartOption = None,
    prompts: PromptsOption = None,
    template: TemplateOption = None,
    reward: Annotated[
        str | None,
        typer.Option(help="The reward line that the policy was trained on, such as 'LI * RP'.", show_default=False),
    ] = None,
    gold: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="The gold reward: gold-mini, a hub id or a directory.", show_default=False),
    ] = None,
    gold_later: Annotated[
        bool, typer.Option("--gold-later", help="Leave gold out: proxygold score DIR --gold does it, anywhere.")
    ] = False,
    encoder: EncoderOption = None,
    plugin: PluginOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 when prompts were left out.")] = False,
) -> None:
    """Judge checkpoints that any trainer made: does gold follow the proxy that they were trained on?

    Each checkpoint, a model or a PEFT adapter, answers the same prompts; the proxy and gold score the answers; then
    comes the verdict of `proxygold monotonicity`, and the page of `proxygold report`. Step 0 is the model that
    training began from, which gains are measured from.

    DIR becomes a run directory like a study's. What is in it is not done again: the same command goes on after a stop,
    and takes in checkpoints that came since. Without --checkpoints, the answers that DIR has are scored and judged, so
    that `rollout` can answer on one machine, and `score --gold` and this verb do the rest on others.

    Settings beside the options are policy.KEY (system_prompt, dtype, device, quantization), validation.KEY
    (max_new_tokens, temperature, top_p, batch_size, seed), data.validation_limit, encoder.KEY, gold.KEY, analysis.KEY.
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
        reward=reward,
        gold=gold,
        encoder=encoder,
        plugins=plugin,
        needs={"reward", "gold"} - ({"gold"} if gold_later else set()),
    )

    def do(progress: StudyProgress) -> StudyResult:
        return validate_checkpoints(asked, run, progress, answer=bool(checkpoints), gold=not gold_later)

    do_and_print(do, strict=strict)
