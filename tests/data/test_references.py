"""Reference answers by an LLM: what is sent, what becomes a reference, and which rows keep theirs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from proxygold.data.annotation import annotate_file
from proxygold.data.prompt_sets import read_prompt_set
from proxygold.data.query_type_llm import LLMAnnotator
from proxygold.data.references import REFERENCE, ReferenceAnnotator
from proxygold.data.source_settings import SourceSettings
from proxygold.errors import DataError
from proxygold.llm import LLM, LLMSettings

Start = Callable[[Callable[[str, int], Any]], Any]
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who wrote Emma?"},
    {"role": "assistant", "content": "Jane Austen."},
    {"role": "user", "content": "When?"},
]
ROWS = [
    {"prompt": TALK, "id": "talk"},
    {"prompt": "What is 2 + 2?", "reference": "Four.", "n": 1},
    {"prompt": "Name a hue.", "reference": None},
    {"prompt": "Refuse me.", "reference": " "},
    {"prompt": "Cut me off."},
    {"prompt": "Say nothing."},
]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def server(chat: Any, chat_server: Start) -> Any:
    def answer(text: str, attempt: int) -> Any:
        if "Refuse" in text:
            return chat.completion(None, refusal="I will not.")
        if "Cut" in text:
            return chat.completion("It begins", finish="length")
        if "nothing" in text:
            return chat.completion("<think>Hm.</think> ")
        return chat.completion(f"<think>Easy.</think>\nAnswer to {text}\n")

    return chat_server(answer)


def asker(server: Any, prompt: str | None = None, **settings: Any) -> ReferenceAnnotator:
    return ReferenceAnnotator(LLM(LLMSettings("m", server.url, retries=0, **settings)), prompt)


def test_rows_without_a_reference_get_one(tmp_path: Path, server: Any) -> None:
    source = write(tmp_path / "in.jsonl", [*ROWS, {"prompt": "", "reference": "x"}])
    summary = annotate_file(source, tmp_path / "out.jsonl", asker(server), name=REFERENCE)
    assert read(tmp_path / "out.jsonl") == [
        {**ROWS[0], "reference": "Answer to When?"},
        ROWS[1],
        {**ROWS[2], "reference": "Answer to Name a hue."},
        {**ROWS[3], "reference": None, "reference_reason": "refusal: I will not."},
        {
            **ROWS[4],
            "reference": None,
            "reference_reason": "unparseable answer: cut off at the token limit: raise max_tokens",
        },
        {**ROWS[5], "reference": None, "reference_reason": "unparseable answer: an empty answer"},
    ]
    assert summary.labels == {"written": 2, "kept": 1}
    assert summary.unlabelled == {"refusal": 1, "unparseable answer": 2}
    assert summary.rejected == 1  # nothing is asked in it
    assert [row.get("answer") for row in read(summary.unlabelled_file)] == [None, "It begins", "<think>Hm.</think> "]
    # The conversation goes out as it is; what has a reference is not asked.
    assert [body["messages"] for body in server.bodies if len(body["messages"]) > 1] == [TALK]
    assert len(server.bodies) == 5


def test_a_second_run_fills_what_is_missing(tmp_path: Path, server: Any) -> None:
    first = annotate_file(write(tmp_path / "a.jsonl", ROWS), tmp_path / "b.jsonl", asker(server), name=REFERENCE)
    second = annotate_file(first.written, tmp_path / "c.jsonl", asker(server), name=REFERENCE)
    assert second.labels == {"kept": 3}
    assert len(server.bodies) == 5 + 3
    assert read(tmp_path / "c.jsonl") == read(tmp_path / "b.jsonl")


def test_ones_own_question(tmp_path: Path, server: Any) -> None:
    source = write(tmp_path / "in.jsonl", [ROWS[0]])
    annotate_file(source, tmp_path / "out.jsonl", asker(server, "Answer in one word: {query}"), name="short")
    assert read(tmp_path / "out.jsonl")[0]["short"] == "Answer to Answer in one word: When?"
    assert server.texts == ["Answer in one word: When?"]


def test_parquet_keeps_its_columns(tmp_path: Path, server: Any) -> None:
    rows = [{"prompt": "a", "reference": None, "n": 1}, {"prompt": "b", "reference": "B", "n": 2}]
    schema = pa.schema([("prompt", pa.string()), ("reference", pa.string()), ("n", pa.int8())])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "in.parquet")
    annotate_file(tmp_path / "in.parquet", tmp_path / "out.parquet", asker(server), name=REFERENCE)
    written = pq.read_table(tmp_path / "out.parquet")
    assert written.schema == schema.append(pa.field("reference_reason", pa.string()))
    assert [row["reference"] for row in written.to_pylist()] == ["Answer to a", "B"]


def test_the_estimate_is_of_what_is_missing(tmp_path: Path, server: Any) -> None:
    source = write(tmp_path / "in.jsonl", ROWS)
    estimate = asker(server, parameters={"max_tokens": 10}).estimate_file(source, REFERENCE)
    assert (estimate.rows, estimate.to_ask, estimate.tokens_out) == (5, 5, 50)


def test_a_data_set_is_written_with_our_own_fields(tmp_path: Path, server: Any) -> None:
    dialogue = "\n\nHuman: {}\n\nAssistant: {}"
    rows = [{"chosen": dialogue.format(*pair), "rejected": ""} for pair in (("Hi", "Yo."), ("Hi", "?"), ("Go", "No."))]
    settings = SourceSettings(source=str(write(tmp_path / "hh.jsonl", rows)), name="hh_helpful")
    for name in ("out.jsonl", "out.parquet"):
        summary = annotate_file(settings, tmp_path / name, asker(server), name="mine")
        assert (summary.labels, summary.rejected) == ({"written": 2}, 1)
        assert str(summary.first_rejected[0]).endswith("hh.jsonl:2: a copy of one before")
        assert [
            (row.prompt, row.reference, row.columns["mine"]) for row in read_prompt_set(str(tmp_path / name)).records
        ] == [
            ("Hi", "Yo.", "Answer to Hi"),
            ("Go", "No.", "Answer to Go"),
        ]
    assert asker(server).estimate_file(settings, "mine").rows == 2


def test_query_types_for_a_published_form_without_any(tmp_path: Path, chat: Any, chat_server: Start) -> None:
    server = chat_server(lambda text, _: chat.completion("open-ended"))
    settings = SourceSettings(
        source=str(write(tmp_path / "a.jsonl", [{"instruction": "Hi", "output": ""}])), name="alpaca"
    )
    annotate_file(settings, tmp_path / "out.jsonl", LLMAnnotator(LLM(LLMSettings("m", server.url))))
    assert read(tmp_path / "out.jsonl") == [{"prompt": "Hi", "reference": None, "query_type": "open_ended"}]
    typed = SourceSettings(source=str(write(tmp_path / "b.jsonl", [{"input": "Hi", "qtype": "x"}])), name="alpaca")
    with pytest.raises(DataError, match=r"b\.jsonl \(alpaca\) has a field 'query_type' already"):
        annotate_file(typed, tmp_path / "out2.jsonl", LLMAnnotator(LLM(LLMSettings("m", server.url))))


def test_a_query_type_is_never_filled_in(tmp_path: Path, server: Any) -> None:
    source = write(tmp_path / "in.jsonl", [{"prompt": "a", "query_type": None}])
    with pytest.raises(DataError, match="has a field 'query_type' already"):
        annotate_file(source, tmp_path / "out.jsonl", LLMAnnotator(LLM(LLMSettings("m", server.url))))
