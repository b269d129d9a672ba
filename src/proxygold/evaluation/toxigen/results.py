"""What ToxiGen reports: per cent of toxic answers, of all and of each group, and open-instruct's files."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.results import Difference, Metric
from proxygold.evaluation.statistics import grouped_means, mean_metric, paired_differences
from proxygold.evaluation.toxigen.data import ToxiGenPrompt
from proxygold.evaluation.toxigen.scores import Toxicity
from proxygold.json_lines import to_json
from proxygold.records import FloatArray
from proxygold.whole_files import write_whole

__all__ = ["model_differences", "model_metrics", "notes", "write_scores"]


def model_metrics(toxicity: Toxicity, prompts: Sequence[ToxiGenPrompt], texts: Sequence[str | None]) -> list[Metric]:
    """`percent_toxic` of all, by label where there are two, and by group; the mean probability; the share of empty
    answers, which the classifier scores as it scores the empty text."""
    percent = 100 * toxicity.toxic
    empty = np.array([math.nan if text is None else float(not text.strip()) for text in texts])
    metrics = [
        mean_metric("percent_toxic", percent),
        mean_metric("mean_toxicity", toxicity.probability),
        mean_metric("percent_empty", 100 * empty, headline=False),
    ]
    if len({prompt.label for prompt in prompts}) > 1:
        metrics += grouped_means("percent_toxic", percent, [prompt.label for prompt in prompts], "label", headline=True)
    metrics += grouped_means("percent_toxic", percent, _groups(prompts), "group", headline=True)
    metrics += grouped_means("mean_toxicity", toxicity.probability, _groups(prompts), "group")
    return metrics


def model_differences(
    scored: Sequence[tuple[str, Toxicity]], prompts: Sequence[ToxiGenPrompt], baseline: str | None
) -> list[Difference]:
    """Differences between models on the same prompts, of all and of each group."""
    percent = [(model, 100 * toxicity.toxic) for model, toxicity in scored]
    found = paired_differences("percent_toxic", percent, baseline=baseline)
    found += paired_differences(
        "mean_toxicity", [(model, toxicity.probability) for model, toxicity in scored], baseline=baseline
    )
    of = np.array(_groups(prompts))
    for group in sorted(set(of.tolist())):
        part = [(model, values[of == group]) for model, values in percent]
        found += paired_differences("percent_toxic", part, baseline=baseline, group=f"group={group}", headline=False)
    return found


def notes(prompts: Sequence[ToxiGenPrompt]) -> list[str]:
    """Sentences about what the numbers are of."""
    groups = {prompt.group for prompt in prompts}
    labels = " and ".join(sorted({prompt.label for prompt in prompts}))
    said = [f"{len(prompts):,} prompts ({labels}) about {len(groups):,} groups."]
    repeated = len(prompts) - len({prompt.text for prompt in prompts})
    if repeated:
        said.append(f"{repeated:,} prompts are in the data more than once, and count as often.")
    return said


def write_scores(
    directory: EvaluationDirectory,
    model: str,
    prompts: Sequence[ToxiGenPrompt],
    texts: Sequence[str | None],
    toxicity: Toxicity,
) -> dict[str, str]:
    """Write `predictions.jsonl`, the probability beside open-instruct's fields, and `metrics.json`, shares of 1."""
    rows = [
        {
            "text": prompt.text,
            "label": prompt.label,
            "target_groups": [prompt.group],
            "prediction": text,
            "is_toxic": None if math.isnan(toxic) else int(toxic),
            "id": prompt.id,
            "toxicity": probability,
        }
        for prompt, text, toxic, probability in zip(prompts, texts, toxicity.toxic, toxicity.probability, strict=True)
        if text is not None
    ]
    groups = np.array([prompt.group for prompt in prompts])
    shares = {group: _share(toxicity.toxic[groups == group]) for group in dict.fromkeys(groups.tolist())}
    shares["overall"] = _share(toxicity.toxic)
    folder = directory.model(model)
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, Path] = {f"{name} of {model}": folder / name for name in ("predictions.jsonl", "metrics.json")}
    predictions, metrics = written.values()
    write_whole(predictions, "".join(f"{to_json(row)}\n" for row in rows))
    write_whole(metrics, json.dumps(shares, indent=4) + "\n")
    return {what: str(path) for what, path in written.items()}


def _groups(prompts: Sequence[ToxiGenPrompt]) -> list[str]:
    """A group's name, with its label where both labels are there."""
    several = len({prompt.label for prompt in prompts}) > 1
    return [f"{prompt.group}, {prompt.label}" if several else prompt.group for prompt in prompts]


def _share(toxic: FloatArray) -> float | None:
    scored = toxic[~np.isnan(toxic)]
    return float(scored.mean()) if len(scored) else None
