"""Scoring data of any size: a chunk at a time in, the same rows with their reward out, in constant memory.

What is done is kept beside the file that is made (`data/partial.py`). A run that was stopped, killed or had no space
left goes on from there, whoever scores: this process, several, or a cluster (`score_engine.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxygold.data.files import RejectedRow, file_format
from proxygold.data.partial import PartialFile, open_partial
from proxygold.data.rows import read_examples
from proxygold.data.sources import PARTIAL, FileSource, Position, Source, UnusableSource, find_sources, read_chunks
from proxygold.data.writing import schema_of
from proxygold.errors import DataError, StoreError
from proxygold.rewards.runtime import Reward
from proxygold.rewards.score_chunk import ChunkScorer, Tally, UsableRow, added_fields, field_taken, read_chunk
from proxygold.rewards.score_engine import CHUNK_ROWS, Engine, Scoring, ThisProcess

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CALIBRATION_ROWS", "ScoreSummary", "calibrate_on_file", "score_file"]

CALIBRATION_ROWS = 2048

_Given = str | Path | Sequence[str | Path | Source]


@dataclass(slots=True)
class ScoreSummary(Tally):
    """What was written. `resumed` rows were done by an earlier run; rejected ones are in `rejected_file` alone."""

    written: Path = Path()
    rejected_file: Path = Path()
    sources: int = 1
    resumed: int = 0


def score_file(
    source: _Given,
    target: Path,
    reward: Reward,
    *,
    name: str = "reward",
    overwrite: bool = False,
    engine: Engine | None = None,
    advance: Callable[[int], None] = lambda rows: None,
) -> ScoreSummary:
    """Score every row of `source` into `target`, which appears whole or not at all; `advance` is told rows done.

    - `source`: a file, a directory, a pattern, a data set of the hub, or several of these (`find_sources`).
    - `engine`: who scores; this process unless another is given. The result does not depend on it.

    Rows that cannot be used (a malformed line, a missing field) are left out and written to `TARGET.rejected.jsonl`,
    with their file, line and reason; so is a row after the first ones that has one of the fields to be added.

    When it is stopped, what is done stays in `TARGET.partial`, and the same call goes on from there. An error in the
    data takes back what was done of the file it is in, so that the file can be mended.

    Raises DataError when a source cannot be read, no row can be used, or the data lacks a column that the reward
    requires or has one of those to be added; RewardError when the reward has a `match` that was not measured;
    StoreError when `target` exists, or what is in `TARGET.partial` is of another reward or other data, and `overwrite`
    is false, or when the disk refuses. With the reward's `on_error="raise"`, a row without a score is a DataError too.
    """
    file_format(target)
    reward.score([])  # refuses here, before anything is read, if the reward has a `match` to be measured
    sources = find_sources([source] if isinstance(source, str | Path) else source)
    rejected_file = target.with_name(target.name + ".rejected.jsonl")
    _check_target(sources, target, rejected_file, overwrite)
    strict, tolerant = reward.settings.on_error == "raise", _tolerant(reward)
    schemas = [source.schema() for source in sources]
    first = _check_data(sources, schemas, reward, name)
    scorer = ChunkScorer(target, name, strict, _schema(sources, schemas, target, first, name))
    summary = ScoreSummary(written=target, rejected_file=rejected_file, sources=len(sources))
    with (engine or ThisProcess()).start(tolerant) as scoring, open_partial(target) as partial:
        manifest = {
            "reward": str(reward),
            "reward_id": scoring.reward_id,
            "name": name,
            "columns": None if scorer.schema is None else scorer.schema.to_string(show_schema_metadata=False),
            "data": [[source.key, source.fingerprint()] for source in sources],
        }
        end = _go_on(partial, manifest, target, overwrite, summary, advance)
        _score_rest(scoring, scorer, sources, end, partial, summary, advance)
        partial.publish(rejected_file, scorer.schema)
    return summary


def calibrate_on_file(reward: Reward, path: Path) -> Reward:
    """`reward` with every `match` measured on the first completions of a file (at most `CALIBRATION_ROWS`)."""
    usable = (item[1] for item in read_examples(path) if not isinstance(item, RejectedRow))
    return reward.calibrate(list(islice(usable, CALIBRATION_ROWS)))


def _score_rest(
    scoring: Scoring,
    scorer: ChunkScorer,
    sources: Sequence[Source],
    end: Position,
    partial: PartialFile,
    summary: ScoreSummary,
    advance: Callable[[int], None],
) -> None:
    try:
        for chunk in scoring.results(scorer, sources, end, CHUNK_ROWS):
            record = {"end": chunk.end, "lines": chunk.lines, "tally": chunk.tally.to_record()}
            partial.append(chunk.rows, chunk.rejected, record)
            summary.add(chunk.tally)
            end = chunk.end
            advance(chunk.lines)
    except DataError as error:
        # The data has to be mended, and a mended file is another file: what came before it stays.
        wrong = error.number if isinstance(error, UnusableSource) else end[0]
        kept = sum(1 for _ in partial.recover(lambda record: record["end"][0] < wrong))
        if not kept:
            raise
        raise DataError(
            f"{error}\nWhat was scored of the files before it is kept: the same command goes on from there."
        ) from error


# --- before it begins -------------------------------------------------------------------------------------------------


def _tolerant(reward: Reward) -> Reward:
    """The same reward with NaN for what fails: only here is it known which line that is."""
    return Reward(reward.tree, replace(reward.settings, on_error="nan"))


def _check_target(sources: Sequence[Source], target: Path, rejected_file: Path, overwrite: bool) -> None:
    for source in sources:
        if isinstance(source, FileSource) and source.path.resolve() == target.resolve():
            raise StoreError(f"{target} is among the data itself. Give another file to write to.")
    # The list may be there of a run that was killed as it finished.
    going_on = target.with_name(target.name + PARTIAL).exists()
    for path in (target,) if going_on else (target, rejected_file):
        if path.exists() and not overwrite:
            raise StoreError(f"{path} exists already. Give another name, or --force to write over it.")


def _check_data(
    sources: Sequence[Source], schemas: Sequence[pa.Schema | None], reward: Reward, name: str
) -> list[UsableRow]:
    """The usable rows of the first chunk that has any. What they have stands for all.

    A row further on that lacks a field gets no score. Raises DataError as `score_file` says.
    """
    for source, schema in zip(sources, schemas, strict=True):
        if schema is not None:
            _check_columns(source.name, reward, name, schema.names)
    rejected = 0
    first: list[RejectedRow] = []
    for chunk in read_chunks(sources, (0, 0), CHUNK_ROWS):
        usable, bad = read_chunk(chunk)
        if usable:
            fields = {key for row in usable for key in row.row.values}
            _check_columns(str(usable[0].path), reward, name, list(fields))
            return usable
        rejected += len(bad)
        first += bad[: 5 - len(first)]
    where = sources[0].name if len(sources) == 1 else f"the {len(sources)} files"
    if not rejected:
        verb = "is" if len(sources) == 1 else "are all"
        raise DataError(f"{where} {verb} empty. Give a file with at least one row.")
    listed = "\n".join(f"  {row}" for row in first)
    raise DataError(f"none of the {rejected} rows of {where} can be used. The first:\n{listed}")


def _check_columns(where: str, reward: Reward, name: str, columns: Sequence[str]) -> None:
    if (why := field_taken(columns, name)) is not None:
        raise DataError(f"{where} has {why}.")
    if missing := sorted(reward.required_columns - set(columns)):
        raise DataError(
            f"the reward {reward} needs {' and '.join(missing)}, and {where} has only {', '.join(sorted(columns))}. "
            "Add what is missing to the data, or choose a reward that does without."
        )


def _schema(
    sources: Sequence[Source],
    schemas: Sequence[pa.Schema | None],
    target: Path,
    usable: Sequence[UsableRow],
    name: str,
) -> pa.Schema | None:
    """For a Parquet target, the data's own columns and the three added ones."""
    if file_format(target) != "parquet":
        return None
    import pyarrow as pa

    loose = {source.name for source, schema in zip(sources, schemas, strict=True) if schema is None}
    free = [row for row in usable if str(row.path) in loose]
    schema = schema_of(
        [schema for schema in schemas if schema is not None],
        [row.row.values for row in free],
        [row.row.line for row in free],
        str(usable[0].path),
    )
    types = (pa.float64(), pa.map_(pa.string(), pa.float64()), pa.string())
    for column, kind in zip(added_fields(name), types, strict=True):
        schema = schema.append(pa.field(column, kind))
    return schema


# --- going on ---------------------------------------------------------------------------------------------------------


def _go_on(
    partial: PartialFile,
    manifest: dict[str, Any],
    target: Path,
    overwrite: bool,
    summary: ScoreSummary,
    advance: Callable[[int], None],
) -> Position:
    """Take over what is done into `summary`, and return where it ends."""
    anew = partial.manifest is None
    if partial.manifest is not None and (differences := _differences(partial, manifest)):
        if not overwrite:
            raise StoreError(
                f"{target}{PARTIAL} holds what a run that was stopped has done, and this is not the same: "
                f"{'; '.join(differences)}.\nGive that command again to go on with it. To begin anew, add --force, or "
                "remove that directory."
            )
        anew = True
    end = (0, 0)
    for record in partial.recover(lambda record: not anew):
        summary.add(Tally.from_record(record["tally"]))
        advance(record["lines"])
        end = (record["end"][0], record["end"][1])
    summary.resumed = summary.scored + summary.not_scored
    partial.describe(manifest)
    return end


def _differences(partial: PartialFile, manifest: dict[str, Any]) -> list[str]:
    """Why what is done is not the beginning of what is asked for."""
    begun = max((record["end"][0] + 1 for record in partial.recover()), default=0)
    old = partial.manifest
    if not begun:
        return []
    if not old:
        return ["its manifest.json is damaged"]
    differences = [
        f"the {what} was {old.get(key)}, is {manifest[key]}"
        for key, what in (("reward", "reward"), ("name", "name of the added fields"))
        if old.get(key) != manifest[key]
    ]
    if not differences and old.get("reward_id") != manifest["reward_id"]:
        differences.append(f"the encoder, its settings, the stop strings or a feature of {manifest['reward']} changed")
    # Of the data only what was begun has to be the same: what comes after may still change.
    for (was, before), (now, after) in zip_longest(_data(old)[:begun], manifest["data"][:begun], fillvalue=("", "")):
        if was != now:
            return [*differences, f"the data was {was or 'less'} where it is {now or 'no more'}"]
        if before != after:
            return [*differences, f"{was} has changed since"]
    if not differences and old.get("columns") != manifest["columns"]:
        differences.append("the columns of the data changed")
    return differences


def _data(manifest: dict[str, Any]) -> list[list[str]]:
    data = manifest.get("data")
    return data if isinstance(data, list) else []
