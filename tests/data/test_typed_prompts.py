"""Prompts get their query types when a study reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from proxygold.data.query_types import RandomAnnotator
from proxygold.data.typed_prompts import QueryTypeSettings, with_query_types
from proxygold.errors import ConfigError
from proxygold.records import CLOSED_ENDED, OPEN_ENDED, PromptRecord
from proxygold.study.config import DataSettings
from proxygold.study.loading import load_study
from proxygold.study.prompts import read_study_prompts

QUERIES = ("Write a poem about autumn.", "What is the capital of France?", "How many legs does a spider have?")


def records(*types: str | None) -> list[PromptRecord]:
    return [
        PromptRecord(id=str(index), prompt=query, reference="r", query_type=kind, columns={"n": index})
        for index, (query, kind) in enumerate(zip(QUERIES, types, strict=True))
    ]


def test_nobody_gives_types_unless_asked() -> None:
    given = records(None, OPEN_ENDED, None)
    assert with_query_types(given, None) == tuple(given)


def test_the_classifier_types_what_has_no_type_and_leaves_the_rest() -> None:
    given = records(None, OPEN_ENDED, None)
    typed = with_query_types(given, QueryTypeSettings.model_validate("local"))
    # A poem and a spider's legs are clear cases; the capital keeps what it came with, though it is closed-ended.
    assert [each.query_type for each in typed] == [OPEN_ENDED, OPEN_ENDED, CLOSED_ENDED]
    assert [(each.id, each.prompt, each.reference, each.columns) for each in typed] == [
        (each.id, each.prompt, each.reference, each.columns) for each in given
    ]


@pytest.mark.parametrize(("share", "expected"), [(0, CLOSED_ENDED), (1, OPEN_ENDED)])
def test_chance_types_everything(share: float, expected: str) -> None:
    typed = with_query_types(records(OPEN_ENDED, CLOSED_ENDED, None), QueryTypeSettings(by="random", share=share))
    assert {each.query_type for each in typed} == {expected}


def test_chance_is_that_of_annotate() -> None:
    queries = [f"Question {index}?" for index in range(200)]
    given = [PromptRecord(id=query, prompt=query) for query in queries]
    types = [each.query_type for each in with_query_types(given, QueryTypeSettings(by="random", seed=3))]
    turns = [[{"role": "user", "content": query}] for query in queries]
    assert types == [label.value for label in RandomAnnotator(0.5, 3).label(turns)]  # type: ignore[arg-type]
    assert 70 < types.count(OPEN_ENDED) < 130
    assert types != [each.query_type for each in with_query_types(given, QueryTypeSettings(by="random", seed=4))]


def test_a_prompt_in_which_nothing_is_asked_stays_without_a_type() -> None:
    silent = PromptRecord(id="s", prompt=[{"role": "system", "content": "Be brief."}])
    assert with_query_types([silent], QueryTypeSettings(by="random")) == (silent,)


def test_a_study_reads_its_prompts_so(tmp_path: Path) -> None:
    for name, prompt in (("train", QUERIES[1]), ("validation", QUERIES[0]), ("dev", QUERIES[2])):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"prompt": prompt}) + "\n")
    places = {name: str(tmp_path / f"{name}.jsonl") for name in ("train", "validation", "dev")}
    read = read_study_prompts(DataSettings.model_validate({**places, "query_types": "local"}))
    (train,), (validation,), (dev,) = read.train, read.validation, read.dev
    assert (train.query_type, validation.query_type, dev.query_type) == (CLOSED_ENDED, OPEN_ENDED, CLOSED_ENDED)
    assert read_study_prompts(DataSettings.model_validate(places)).train[0].query_type is None


def test_what_is_not_allowed_is_told(study_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.query_types\.by: input should be 'local' or 'random'"):
        load_study(study_file, ["data.query_types=gpt-4"])
    with pytest.raises(ConfigError, match=r"data\.query_types: share and seed are for query_types by random"):
        load_study(study_file, ["data.query_types={by: local, share: 0.4}"])
    with pytest.raises(ConfigError, match=r"data\.query_types\.shares: unknown key\. Did you mean 'share'"):
        load_study(study_file, ["data.query_types={by: random, shares: 0.4}"])
    with pytest.raises(ValidationError):
        QueryTypeSettings(by="random", share=1.1)
