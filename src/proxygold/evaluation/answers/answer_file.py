"""A file of answers that grows as they come, and is gone on with after a stop.

One line of JSON an answer: `id, draw, prompt, completion, tokens, finished`, and what it was drawn with: `sampling,
seed, number`. What answered stands beside it, in `NAME.about.json`. `proxygold score` and `--outputs` read it as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from proxygold.errors import StoreError
from proxygold.evaluation.answers.subjects import Answer, Request
from proxygold.json_lines import finite, iterate_jsonl, to_json
from proxygold.whole_files import storage_error, write_whole

__all__ = ["AnswerFile", "open_answers"]

# Of what answered, what its answers depend on. Paths and names may change: the hash of the weights says what it is.
_COMPARED = ("weights", "template", "system", "dtype", "engine")
_NEEDED = {"id", "draw", "prompt", "completion", "tokens", "finished", "sampling", "seed", "number"}
_REMEDY = "Give another --out, or begin anew with --force."


class AnswerFile:
    """The answers that are there. Get one from `open_answers`."""

    def __init__(self, path: Path, rows: Mapping[tuple[str, int], Mapping[str, Any]], file: IO[str]) -> None:
        self._path = path
        self._rows = dict(rows)
        self._file = file

    def answers(self, request: Request) -> list[Answer] | None:
        """All answers to a request; None while one of them is not there."""
        rows = [self._rows.get((request.id, draw)) for draw in range(request.samples)]
        return [_answer(row) for row in rows if row is not None] if None not in rows else None

    def add(self, request: Request, answers: Sequence[Answer], seed: int) -> None:
        """Write down the answers to a request that are not there yet. Raises StoreError when the disk refuses."""
        new = {(answer.id, answer.draw): _row(request, answer, seed) for answer in answers}
        new = {key: row for key, row in new.items() if key not in self._rows}
        try:
            self._file.write("".join(to_json(row) + "\n" for row in new.values()))
            self._file.flush()
        except OSError as error:
            raise storage_error(self._path, error) from error
        self._rows.update(new)


@contextmanager
def open_answers(
    path: Path, about: Mapping[str, Any], requests: Sequence[Request], seed: int, *, force: bool = False
) -> Iterator[AnswerFile]:
    """The answers in `path`, to be added to, checked to be of the subject `about` and of `requests` (numbered).

    With `force`, answers of another subject go, and so do those to `requests` that were drawn otherwise. Raises
    StoreError for such answers without it, for a damaged file, and when the disk refuses.
    """
    rows, whole = _read(path)
    stale = _other_subject(path, about) if rows else None
    if stale is None:
        asked = {request.id: request for request in requests}
        differing = {}
        for (id_, draw), row in rows.items():
            if id_ in asked and (difference := _other_request(row, asked[id_], seed)):
                differing[id_, draw] = f"its answer to {id_} has {difference}"
        stale = next(iter(differing.values()), None)
        kept = {key: row for key, row in rows.items() if key not in differing}
    else:
        kept = {}
    if stale is not None and not force:
        raise StoreError(f"{path} has answers of other settings: {stale}. {_REMEDY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if stale is not None or not whole:
            write_whole(path, "".join(to_json(row) + "\n" for row in kept.values()))
        if not kept or stale is not None or not _about_file(path).exists():
            write_whole(_about_file(path), json.dumps(finite(about), indent=2, ensure_ascii=False) + "\n")
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise storage_error(path, error) from error
    with file:
        yield AnswerFile(path, kept, file)


def _about_file(path: Path) -> Path:
    return path.with_name(f"{path.stem}.about.json")


def _read(path: Path) -> tuple[dict[tuple[str, int], dict[str, Any]], bool]:
    """The answers by id and draw, and whether the last line is whole: a killed process leaves half of one."""
    if not path.exists():
        return {}, True
    content = path.read_bytes()
    whole, newline, rest = content.rpartition(b"\n")
    remedy = "Delete that line, and only its answer is written again."
    rows = iterate_jsonl(path, whole + newline, _NEEDED, None, remedy)
    return {(row["id"], row["draw"]): row for row in rows}, not rest


def _other_subject(path: Path, about: Mapping[str, Any]) -> str | None:
    """In what the subject that answered before differs, in words; None when it is the same."""
    try:
        before = json.loads(_about_file(path).read_text(encoding="utf-8"))
        differing = {key: (before[key], about[key]) for key in _COMPARED if before[key] != about[key]}
    except FileNotFoundError:
        return f"{_about_file(path).name}, which says what answered, is missing"
    except (ValueError, KeyError, TypeError):
        return f"{_about_file(path).name}, which says what answered, is damaged"
    for key, (then, now) in differing.items():
        if key == "weights":
            return f"they are of other weights ({before.get('model')}, adapter {before.get('adapter')})"
        return f"{key} was {then!r} and is {now!r}"
    return None


def _other_request(row: Mapping[str, Any], request: Request, seed: int) -> str | None:
    """In what an answer was drawn otherwise than is asked for now, in words; None when in nothing."""
    if row["prompt"] != json.loads(to_json(request.prompt)):
        return "another prompt"
    now = {"seed": seed, "number": request.number, **request.sampling.model_dump()}
    then = {"seed": row["seed"], "number": row["number"], **row["sampling"]}
    for key, value in now.items():
        if then.get(key) != value:
            return f"{key} {then.get(key)!r}, and {value!r} is asked for"
    return None


def _row(request: Request, answer: Answer, seed: int) -> dict[str, Any]:
    return {
        "id": answer.id,
        "draw": answer.draw,
        "prompt": request.prompt,
        "completion": answer.text,
        "tokens": answer.tokens,
        "finished": answer.finished,
        "sampling": request.sampling.model_dump(),
        "seed": seed,
        "number": request.number,
    }


def _answer(row: Mapping[str, Any]) -> Answer:
    return Answer(row["id"], row["completion"], row["tokens"], row["finished"], row["draw"])
