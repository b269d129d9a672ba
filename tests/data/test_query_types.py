"""Query types of a data file: which query is typed, what is written, what is refused, and an LLM's answers."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from proxygold.data.annotation import Conversation, Label, annotate_file, conversation
from proxygold.data.llm_asking import read_prompt
from proxygold.data.query_type_llm import DEFAULT_PROMPT, LLMAnnotator, parse_query_type
from proxygold.data.query_type_pairs import other_labelling, pair_labels
from proxygold.data.query_types import RandomAnnotator, read_labelled_queries
from proxygold.errors import ConfigError, DataError, StoreError
from proxygold.llm import LLM, LLMSettings

Start = Callable[[Callable[[str, int], Any]], Any]
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who wrote Emma?"},
    {"role": "assistant", "content": "Jane Austen."},
    {"role": "user", "content": "Write her a letter."},
    {"role": "assistant", "content": "Dear"},
]


class ByQuestionMark:
    """Closed-ended is what ends with a question mark."""

    adds: tuple[str, ...] = ("probability",)
    fills = False

    def label(self, conversations: Sequence[Conversation]) -> list[Label]:
        asked = [turns[-1]["content"].endswith("?") for turns in conversations]
        return [Label("closed_ended", 0.25) if one else Label("open_ended", 0.75) for one in asked]


def write(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- conversations ----------------------------------------------------------------------------------------------------


def test_a_published_row_says_which_form_it_has(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"conversations": []}])
    with pytest.raises(DataError, match="the row has conversations; it looks like one of sharegpt: say so with --form"):
        annotate_file(source, tmp_path / "out.jsonl", ByQuestionMark())


def test_the_last_query_of_the_user_has_the_type() -> None:
    assert conversation(TALK) == TALK[:4]  # type: ignore[arg-type]
    assert conversation("Hi") == [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([{"role": "system", "content": "x"}], "no message of the user's"),
        (" \n", "the last query of the user is empty"),
    ],
)
def test_prompts_without_a_query(prompt: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        conversation(prompt)


# --- files ------------------------------------------------------------------------------------------------------------


def test_rows_get_their_type_and_keep_all_else(tmp_path: Path) -> None:
    rows = [{"prompt": "Why?", "n": 1, "query_type": "no label at all"}, {"prompt": TALK, "reference": 7}]
    summary = annotate_file(write(tmp_path / "a.jsonl", rows), tmp_path / "b.jsonl", ByQuestionMark(), name="t")
    assert read(tmp_path / "b.jsonl") == [
        {**rows[0], "t": "closed_ended", "t_probability": 0.25},
        {**rows[1], "t": "open_ended", "t_probability": 0.75},
    ]
    assert summary.labels == {"closed_ended": 1, "open_ended": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl"]


def test_bad_rows_are_listed_with_their_lines(tmp_path: Path) -> None:
    rows = [{"prompt": "Why?"}, "{oops", {"text": "x"}, {"prompt": [{"role": "assistant", "content": "x"}]}]
    told: list[int] = []
    summary = annotate_file(
        write(tmp_path / "a.jsonl", rows), tmp_path / "b.jsonl", ByQuestionMark(), advance=told.append
    )
    assert (summary.rejected, told) == (3, [4])
    listed = read(tmp_path / "b.jsonl.rejected.jsonl")
    assert [(row["line"], row["reason"][:20]) for row in listed] == [
        (2, "not JSON: Expecting "),
        (3, "the field prompt is "),
        (4, "prompt has no messag"),
    ]


@pytest.mark.parametrize("target", ["b.jsonl.gz", "b.parquet"])
def test_other_formats(tmp_path: Path, target: str) -> None:
    pq.write_table(pa.table({"prompt": ["Why?", "Sing."], "n": [1, 2]}), tmp_path / "a.parquet")
    annotate_file(tmp_path / "a.parquet", tmp_path / target, ByQuestionMark())
    if target.endswith("parquet"):
        rows = pq.read_table(tmp_path / target).to_pylist()
    else:
        with gzip.open(tmp_path / target, "rt") as file:
            rows = [json.loads(line) for line in file]
    assert rows == [
        {"prompt": "Why?", "n": 1, "query_type": "closed_ended", "query_type_probability": 0.25},
        {"prompt": "Sing.", "n": 2, "query_type": "open_ended", "query_type_probability": 0.75},
    ]


def test_what_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [{"prompt": "x", "query_type": "open_ended"}])
    plain = write(tmp_path / "plain.jsonl", [{"prompt": "x", "t_probability": 1}])
    (tmp_path / "there.jsonl").write_text("precious")
    cases: list[tuple[Path, str, str, type[Exception], str]] = [
        (source, "b.jsonl", "query_type", DataError, "has a field 'query_type' already.*--name query_type_2"),
        (plain, "b.jsonl", "t", DataError, "has a field 't_probability' already"),
        (source, "there.jsonl", "t", StoreError, "exists already.*--force"),
        (source, "a.jsonl", "t", StoreError, "is the data itself"),
        (source, "b.csv", "t", DataError, "has no format"),
        (write(tmp_path / "none.jsonl", ["{", "["]), "b.jsonl", "t", DataError, "none of the 2 rows.*can be used"),
    ]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for data, target, name, kind, message in cases:
        with pytest.raises(kind, match=f"(?s){message}"):
            annotate_file(data, tmp_path / target, ByQuestionMark(), name=name)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_lists_of_an_earlier_run_go_when_it_is_written_over(tmp_path: Path) -> None:
    annotate_file(write(tmp_path / "a.jsonl", [{"prompt": "x"}, "{"]), tmp_path / "b.jsonl", ByQuestionMark())
    assert (tmp_path / "b.jsonl.rejected.jsonl").exists()
    write(tmp_path / "a.jsonl", [{"prompt": "x"}])
    annotate_file(tmp_path / "a.jsonl", tmp_path / "b.jsonl", ByQuestionMark(), overwrite=True)
    assert not (tmp_path / "b.jsonl.rejected.jsonl").exists()


# --- at random --------------------------------------------------------------------------------------------------------


def test_chance_has_its_share_and_is_repeatable() -> None:
    queries = [conversation(f"Query number {n}") for n in range(4_000)]
    first = [label.value for label in RandomAnnotator(0.3, seed=1).label(queries)]
    # 4,000 draws at 0.3: standard deviation 0.0072, so within 4 of them.
    assert first.count("open_ended") / 4_000 == pytest.approx(0.3, abs=0.029)
    assert [label.value for label in RandomAnnotator(0.3, seed=1).label(queries[::-1])] == first[::-1]
    other = [label.value for label in RandomAnnotator(0.3, seed=2).label(queries)]
    # Independent of it: they agree on 0.3^2 + 0.7^2 = 0.58.
    assert sum(a == b for a, b in zip(first, other, strict=True)) / 4_000 == pytest.approx(0.58, abs=0.032)
    for share, only in ((0.0, "closed_ended"), (1.0, "open_ended")):
        assert {label.value for label in RandomAnnotator(share).label(queries)} == {only}
    with pytest.raises(ConfigError, match="from 0 to 1"):
        RandomAnnotator(1.5)


# --- by an LLM --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("open-ended", "open_ended"),
        ("Closed-Ended.", "closed_ended"),
        (" **open ended** \n", "open_ended"),
        ("CONSTRAINED", "closed_ended"),
        ('"OPENENDED"', "open_ended"),
        ("Answer: closed-ended", "closed_ended"),
        ("The answer is open_ended.", "open_ended"),
        ("<think>It is open-ended, or closed-ended?</think>\nclosed-ended", "closed_ended"),
        ("open–ended", "open_ended"),
        ("It is not open-ended.", None),
        ("open-ended or closed-ended", None),
        ("open", None),
        ("不 open-ended", None),
        ("", None),
        ("I can't help with that.", None),
        ("<think>open-ended", None),
    ],
)
def test_only_a_label_is_an_answer(answer: str, label: str | None) -> None:
    assert parse_query_type(answer) == label


@pytest.fixture
def asking(chat: Any, chat_server: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server that knows a few queries, and the settings to ask it."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")

    def answer(text: str, attempt: int) -> Any:
        if "refuse" in text:
            return chat.completion(None, refusal="No.")
        if "mumble" in text:
            return chat.completion("Hmm, both?")
        if "think" in text:
            return chat.completion("", finish="length")
        if "broken" in text:
            return chat.error(500)
        return chat.completion("closed-ended" if "?\n-----" in text else "open-ended")

    server = chat_server(answer)
    cache = tmp_path / "cache" / "c.sqlite"
    return server, LLMSettings("m", server.url, {"max_tokens": 16}, cache=cache, retries=0, first_delay=0.01)


def test_what_is_no_label_is_listed_and_not_guessed(asking: Any, tmp_path: Path) -> None:
    server, settings = asking
    queries = ["Why?", "Sing.", "refuse", "mumble", "think", "broken", "Why?"]
    source = write(tmp_path / "a.jsonl", [{"prompt": query} for query in queries])
    with LLM(settings) as llm:
        summary = annotate_file(source, tmp_path / "b.parquet", LLMAnnotator(llm))
    assert len(server.bodies) == 6  # the same query is asked once
    rows = pq.read_table(tmp_path / "b.parquet").to_pylist()
    assert [row["query_type"] for row in rows] == ["closed_ended", "open_ended", *[None] * 4, "closed_ended"]
    assert rows[0]["query_type_reason"] is None
    assert rows[2]["query_type_reason"] == "refusal: No."
    assert summary.unlabelled == {"refusal": 1, "unparseable answer": 2, "no answer": 1}
    listed = read(tmp_path / "b.parquet.unlabelled.jsonl")
    assert [(row["line"], row["kind"], row.get("answer")) for row in listed] == [
        (3, "refusal", None),
        (4, "unparseable answer", "Hmm, both?"),
        (5, "unparseable answer", ""),
        (6, "no answer", None),
    ]
    assert "raise max_tokens" in listed[2]["reason"]


def test_what_was_answered_is_not_asked_again(asking: Any, tmp_path: Path) -> None:
    server, settings = asking
    queries = [conversation(text) for text in ("Why?", "Sing.", "refuse", "broken", "Why?")]
    with LLM(settings) as llm:
        annotator = LLMAnnotator(llm)
        estimate = annotator.estimate(queries)
        assert (estimate.rows, estimate.distinct, estimate.answered, estimate.to_ask) == (5, 4, 0, 4)
        # Four questions of our prompt's length and at most 16 tokens each in answer.
        assert estimate.tokens_in == pytest.approx(4 * len(DEFAULT_PROMPT) / 4, rel=0.05)
        assert estimate.tokens_out == 64
        annotator.label(queries)
    with LLM(settings) as llm:
        annotator = LLMAnnotator(llm)
        assert (annotator.estimate(queries).answered, annotator.estimate(queries).to_ask) == (3, 1)
        annotator.label(queries)
        assert llm.spent.calls == 1
    assert len(server.bodies) == 5


def test_the_estimate_has_the_prices(asking: Any) -> None:
    _, settings = asking
    priced = LLMSettings("m", settings.base_url, {"max_tokens": 10}, price_in=2.0, price_out=8.0)
    with LLM(priced) as llm:
        # 4 + 8/4 = 6 tokens in, 10 out, at 2 and 8 a million: 92 millionths.
        found = LLMAnnotator(llm, "{query}").estimate([conversation("12345678")])
    assert (found.tokens_in, found.tokens_out, found.cost) == (6, 10, pytest.approx(92e-6))


def test_the_model_sees_the_whole_conversation_and_nothing_after_it(asking: Any) -> None:
    server, settings = asking
    with LLM(settings) as llm:
        LLMAnnotator(llm).label([conversation(TALK)])  # type: ignore[arg-type]
    [sent] = server.texts
    shown = "[user]\nWho wrote Emma?\n\n[assistant]\nJane Austen.\n\n[user]\nWrite her a letter.\n"
    assert shown in sent
    assert "[system]\nBe brief." in sent
    assert "Dear" not in sent


def test_a_users_own_question(asking: Any, tmp_path: Path) -> None:
    server, settings = asking
    (tmp_path / "p.txt").write_text("Type of {query}? Seen in: {conversation}!\n")
    with LLM(settings) as llm:
        # A query that has a placeholder in it stays as it is.
        LLMAnnotator(llm, read_prompt(tmp_path / "p.txt")).label([conversation("Print {conversation}")])
    assert server.texts == ["Type of Print {conversation}? Seen in: Print {conversation}!"]
    (tmp_path / "p.txt").write_text("Which type is it?")
    with pytest.raises(ConfigError, match=r"p\.txt has no placeholder.*\{conversation\}"):
        read_prompt(tmp_path / "p.txt")
    with pytest.raises(ConfigError, match=r"cannot read the prompt .*none\.txt"):
        read_prompt(tmp_path / "none.txt")


# --- two labellings ---------------------------------------------------------------------------------------------------


def test_pairs_with_a_column_and_with_a_file(tmp_path: Path) -> None:
    ours = [
        {"prompt": "a", "t": "open_ended", "gpt": "OPENENDED"},
        {"prompt": "b", "t": "open_ended", "gpt": "CONSTRAINED"},
        {"prompt": "c", "t": None, "gpt": "CONSTRAINED"},
        {"prompt": "d", "t": "closed_ended", "gpt": "?"},
    ]
    written = write(tmp_path / "w.jsonl", ours)
    pairs = pair_labels(written, "t", other_labelling("gpt", written))
    assert (pairs.ours, pairs.theirs, pairs.unpaired) == (["open_ended"] * 2, ["open_ended", "closed_ended"], 2)
    other = write(
        tmp_path / "o.jsonl", [{"prompt": "d", "query_type": "open_ended"}, {"prompt": "zz", "query_type": "OPENENDED"}]
    )
    pairs = pair_labels(written, "t", other_labelling(str(other), written))
    assert (pairs.ours, pairs.theirs, pairs.unpaired) == (["closed_ended"], ["open_ended"], 3)


def test_pairs_that_cannot_be(tmp_path: Path) -> None:
    written = write(tmp_path / "w.jsonl", [{"prompt": "a", "t": "open_ended"}])
    with pytest.raises(DataError, match="none of its queries has a label in the column 'gpt'"):
        pair_labels(written, "t", other_labelling("gpt", written))
    pq.write_table(pa.table({"prompt": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="has no column 'gpt' to compare with; it has prompt"):
        other_labelling("gpt", tmp_path / "a.parquet")
    with pytest.raises(DataError, match="no row of .*w.jsonl has a prompt and a query_type"):
        other_labelling(str(written), written)
    twice = write(tmp_path / "2.jsonl", [{"prompt": "a", "query_type": kind} for kind in ("OPENENDED", "CONSTRAINED")])
    with pytest.raises(DataError, match="2.jsonl:2 gives a query another type"):
        other_labelling(str(twice), written)


def test_labelled_queries(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", [{"prompt": TALK, "qtype": "OPENENDED"}, {"prompt": "x", "qtype": "neither"}, "{"]
    )
    queries, rejected = read_labelled_queries(path, "qtype")
    assert [(query.text, query.query_type) for query in queries] == [("Write her a letter.", "open_ended")]
    assert [row.line for row in rejected] == [2, 3]
    assert "qtype is 'neither'; allowed: open_ended, closed_ended" in str(rejected[0])
    with pytest.raises(DataError, match="no row of .* can be used. The first: .*:1: query_type is None"):
        read_labelled_queries(path)
