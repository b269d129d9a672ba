"""Super-NaturalInstructions' instances, out of the files in which it is published, or rows of any data file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxygold.data.files import RejectedRow, Row, is_data_file, read_rows
from proxygold.errors import DataError
from proxygold.evaluation.super_ni.categories import category_of

__all__ = ["Instance", "InstanceSet", "read_instances"]

_SPLIT = Path("splits/default/test_tasks.txt")
# What a row may call each thing: ours, the original tool's references.jsonl, and Alpaca's.
_TASK = ("task", "task_id", "Task", "task_name")
_CATEGORY = ("category", "task_category")
_DEFINITION = ("instruction", "definition", "Definition")
_INPUT = ("input", "inputs")
_REFERENCES = ("reference", "references", "output", "outputs", "targets")


@dataclass(frozen=True, slots=True)
class Instance:
    """One question of a task. `definition` and `input` are None where a file has only references.

    `examples`: the task's positive examples, inputs with outputs.
    """

    id: str
    task: str
    category: str | None
    definition: str | None
    input: str | None
    references: tuple[str, ...]
    examples: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class InstanceSet:
    """The instances to evaluate on, in the order of the files, and what could not be used of them."""

    instances: Sequence[Instance]
    rejected: Sequence[RejectedRow]

    @property
    def tasks(self) -> list[str]:
        """The tasks, in order."""
        return list(dict.fromkeys(instance.task for instance in self.instances))


def read_instances(
    data: Path, *, tasks: Path | None = None, per_task: int = 100, limit: int | None = None
) -> InstanceSet:
    """The first `per_task` instances of each task (the original benchmark's are its first 100), at most `limit` in all.

    `data`: a copy of the natural-instructions repository, its directory of tasks, one task's JSON file, or rows (JSONL,
    a JSON array, Parquet) with `task`, `instruction`, `input` and `reference`, a text or a list; the references.jsonl
    of the original tool is such a file without questions. `tasks`: a file with a task's name on each line; without it,
    the repository's own list of the 119 where that is beside the tasks, else all.

    A row or a task that cannot be read is among the rejected. Raises DataError when a file is missing or nothing is
    left.
    """
    listed = _listed(tasks) if tasks else None
    rejected: list[RejectedRow] = []
    instances: list[Instance] = []
    seen: set[str] = set()
    counts: dict[str, int] = {}
    for found in _all_instances(data, listed, per_task):
        if isinstance(found, RejectedRow):
            rejected.append(found)
            continue
        place, instance = found
        if counts.get(instance.task, 0) >= per_task or (listed is not None and instance.task not in listed):
            continue
        if instance.id in seen:
            rejected.append(RejectedRow(place.path, place.line, f"the id {instance.id!r} was there before"))
            continue
        seen.add(instance.id)
        counts[instance.task] = counts.get(instance.task, 0) + 1
        instances.append(instance)
        if len(instances) == limit:
            break
    if tasks is not None and data.is_file() and limit is None:
        missing = [(line, name) for line, name in enumerate(listed or (), start=1) if name not in counts]
        rejected += [RejectedRow(tasks, line, f"{data} has no instance of {name}") for line, name in missing]
    if not instances:
        why = f" The first problem: {rejected[0]}." if rejected else ""
        raise DataError(
            f"{data} has no instance that can be evaluated.{why} Rows need task, instruction, input and reference."
        )
    return InstanceSet(instances, rejected)


@dataclass(frozen=True, slots=True)
class _Place:
    path: Path
    line: int


_Found = Iterator[tuple[_Place, Instance] | RejectedRow]


def _all_instances(data: Path, listed: Sequence[str] | None, per_task: int) -> _Found:
    if data.is_dir():
        yield from _directory(data, listed, per_task)
    elif data.name.endswith(".json") and (task := _task_file(data)) is not None:
        yield from _task_instances(data, task, per_task)
    else:
        yield from _rows(data)


# --- the published form -----------------------------------------------------------------------------------------------


def _directory(data: Path, listed: Sequence[str] | None, per_task: int) -> _Found:
    folder = data / "tasks" if (data / "tasks").is_dir() else data
    if listed is None and (folder.parent / _SPLIT).is_file():
        listed = _listed(folder.parent / _SPLIT)
    if listed is None:
        files = sorted(folder.glob("task*.json"))
        if not files:
            raise DataError(
                f"{data} has no task*.json, neither itself nor in tasks/. Give a copy of the natural-instructions "
                "repository, its tasks directory, or a file of rows."
            )
    else:
        files = [folder / f"{name}.json" for name in listed]
    for file in files:
        if not file.is_file():
            yield RejectedRow(file, 0, "the list of tasks names it, and it is not there")
        elif (task := _task_file(file)) is None:
            yield RejectedRow(file, 0, "not a task: a JSON object with Instances")
        else:
            yield from _task_instances(file, task, per_task)


def _task_file(path: Path) -> dict[str, Any] | None:
    """The task that a JSON file holds; None when it holds something else."""
    try:
        task = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}.") from error
    except ValueError:
        return None
    return task if isinstance(task, dict) and isinstance(task.get("Instances"), list) else None


def _task_instances(path: Path, task: Mapping[str, Any], per_task: int) -> _Found:
    name = path.name.removesuffix(".json")
    definition = _first(task.get("Definition"))
    category = _first(task.get("Categories")) or category_of(name)
    examples = tuple(
        (example["input"], example["output"])
        for example in task.get("Positive Examples") or ()
        if isinstance(example, Mapping) and all(isinstance(example.get(key), str) for key in ("input", "output"))
    )
    # Which instances are a task's first does not depend on whether they can be read.
    for number, row in enumerate(task["Instances"][:per_task], start=1):
        references = _references(row.get("output")) if isinstance(row, Mapping) else None
        if definition is None or not references or not isinstance(row.get("input"), str):
            yield RejectedRow(path, number, "an instance needs input and output, and its task a Definition")
            continue
        identity = str(row.get("id") or f"{name}/{number}")
        found = Instance(identity, name, category, definition, row["input"], references, examples)
        yield _Place(path, number), found


# --- rows -------------------------------------------------------------------------------------------------------------


def _rows(path: Path) -> _Found:
    if not path.is_file() and not is_data_file(path):
        raise DataError(
            f"there is no {path}. Give a copy of the natural-instructions repository, its tasks directory, a task's "
            "JSON file, or a file of rows (.jsonl, .json, .parquet)."
        )
    counts: dict[str, int] = {}
    for row in read_rows(path):
        if isinstance(row, RejectedRow):
            yield row
            continue
        found = _instance(path, row, counts)
        yield found if isinstance(found, RejectedRow) else (_Place(path, row.line), found)


def _instance(path: Path, row: Row, counts: dict[str, int]) -> Instance | RejectedRow:
    values = row.values
    task, references = _named(values, _TASK), _references(_named(values, _REFERENCES))
    if not isinstance(task, str) or not task:
        return RejectedRow(path, row.line, f"no task: none of {', '.join(_TASK)} is a text")
    number = counts[task] = counts.get(task, 0) + 1  # of a row that is rejected too: another's id stays what it was
    if not references:
        return RejectedRow(
            path, row.line, f"no reference: none of {', '.join(_REFERENCES)} is a text or a list of texts"
        )
    category = _named(values, _CATEGORY) or _first(values.get("Categories")) or category_of(task)
    question = _named(values, _INPUT)
    return Instance(
        id=str(values.get("id") or f"{task}/{number}"),
        task=task,
        category=str(category) if category else None,
        definition=_first(_named(values, _DEFINITION)),
        input=question if isinstance(question, str) else None,
        references=references,
    )


def _named(values: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((values[name] for name in names if values.get(name) is not None), None)


def _references(value: object) -> tuple[str, ...] | None:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and value and all(isinstance(text, str) for text in value):
        return tuple(value)
    return None


def _first(value: object) -> str | None:
    """A text, or the first of a list of texts: the benchmark has been published with both."""
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, str) else None


def _listed(path: Path) -> list[str]:
    try:
        names = path.read_text(encoding="utf-8").split()
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the list of tasks {path}: {error}. It has a task's name on each line.") from error
    if not names:
        raise DataError(f"the list of tasks {path} is empty. It has a task's name on each line.")
    return [name.removesuffix(".json") for name in names]
