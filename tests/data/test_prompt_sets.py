"""Sets of prompts out of files, data sets of the hub and published forms, as a study names them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from proxygold.data.builtin import builtin_prompts
from proxygold.data.hub import find_hub_source
from proxygold.data.prompt_sets import published_rows, read_prompt_set
from proxygold.data.published import PUBLISHED, fitting_forms, get_form
from proxygold.data.source_settings import SourceSettings, parse_source
from proxygold.errors import ConfigError, DataError
from proxygold.records import PromptRecord


def write(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


# --- files of our own fields ------------------------------------------------------------------------------------------


def test_prompts_are_numbered_by_line_and_told_apart(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a"},
        {"prompt": "b", "id": 7, "domain": "x"},
        {"id": 1},
        {"prompt": "c", "id": "7"},
        {"prompt": "d"},
    ]
    path = write(tmp_path / "prompts.jsonl", rows)
    found = read_prompt_set(str(path))
    assert found.records == (
        PromptRecord("line-1", "a"),
        PromptRecord("7", "b", columns={"domain": "x"}),
        PromptRecord("line-5", "d"),
    )
    assert [(row.line, row.reason) for row in found.rejected] == [
        (3, "the field prompt is missing; the row has id"),
        (4, "the id '7' came before"),
    ]
    assert [record.id for record in read_prompt_set(str(path), limit=2).records] == ["line-1", "7"]
    limited = SourceSettings(source=str(path), limit=1)
    assert [record.id for record in read_prompt_set(limited, limit=2).records] == ["line-1"]
    assert [record.id for record in read_prompt_set(limited.model_copy(update={"limit": 9}), limit=1).records] == [
        "line-1"
    ]


def test_prompts_that_are_all_unusable(tmp_path: Path) -> None:
    path = write(tmp_path / "prompts.jsonl", [{"text": "a"}, {"text": "b"}])
    with pytest.raises(DataError, match=r"no row of .* can be used. The first: .*prompts\.jsonl:1: "):
        read_prompt_set(str(path))


def test_a_source_without_a_row(tmp_path: Path) -> None:
    for name, text in (("empty.jsonl", "\n"), ("empty.json", "[]")):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=rf"{name} is empty. Give a source with at least one row"):
            read_prompt_set(str(tmp_path / name))


def test_several_files_are_one_set(tmp_path: Path) -> None:
    write(tmp_path / "d/a.jsonl", [{"prompt": "a"}, "{"])
    write(tmp_path / "d/b.jsonl", [{"prompt": "b"}])
    found = read_prompt_set(str(tmp_path / "d"))
    assert [(record.id, record.prompt) for record in found.records] == [("1-line-1", "a"), ("2-line-1", "b")]
    assert [str(row)[:-1] for row in found.rejected] == [
        f"{tmp_path}/d/a.jsonl:2: not JSON: Expecting property name enclosed in double quotes at column "
    ]


def test_fields_say_which_column_is_what(tmp_path: Path) -> None:
    row = {"question": "Why?", "best": "So.", "kind": "CONSTRAINED", "key": 5, "prompt": "not this", "n": 2}
    path = write(tmp_path / "x.jsonl", [row, {"question": "Who?"}])
    fields = {"prompt": "question", "reference": "best", "query_type": "kind", "id": "key"}
    found = read_prompt_set(SourceSettings(source=str(path), fields=fields))
    assert found.records == (PromptRecord("5", "Why?", "So.", "closed_ended", {"n": 2}),)
    assert [row.reason for row in found.rejected] == [
        "there is no column 'best', which `fields` names; the row has question"
    ]


def test_the_built_in_prompts() -> None:
    assert read_prompt_set("builtin").records == tuple(builtin_prompts("train"))
    for role in ("dev", "validation"):
        assert read_prompt_set("builtin", role, 3).records == tuple(builtin_prompts("validation")[:3])
    some = SourceSettings(source="builtin", split="train", limit=2)
    assert read_prompt_set(some, "dev").records == tuple(builtin_prompts("train")[:2])


# --- published forms --------------------------------------------------------------------------------------------------


ALPACA = [
    {"instruction": "Name a fruit.", "input": "", "output": "A fig.", "text": "Below is …"},
    {"instruction": "Sort these.", "input": "b, a", "output": "a, b", "qtype": "CONSTRAINED"},
    # The paper's authors keep the whole prompt of AlpacaFarm's val split under `input`.
    {"input": "Rhyme.\n\n### Input:\nsun", "output": "fun", "qtype": "OPENENDED"},
    {"instruction": "", "input": " ", "output": "?"},
]


@pytest.mark.parametrize("name", ["alpaca", "alpaca_farm", "alpaca_farm_val", "alpaca_eval"])
@pytest.mark.parametrize("suffix", [".json", ".json.gz", ".jsonl"])
def test_alpaca_in_its_published_form(tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / f"alpaca_data{suffix}"
    if suffix == ".jsonl":
        write(path, ALPACA)
    else:
        (gzip.open if suffix.endswith(".gz") else open)(path, "wb").write(json.dumps(ALPACA, indent=4).encode())
    found = read_prompt_set(SourceSettings(source=str(path), name=name))
    assert found.records == (
        PromptRecord("line-1", "Name a fruit.", "A fig."),
        PromptRecord("line-2", "Sort these.\n\n### Input:\nb, a", "a, b", "closed_ended"),
        PromptRecord("line-3", "Rhyme.\n\n### Input:\nsun", "fun", "open_ended"),
    )
    assert [(row.line, row.reason) for row in found.rejected] == [
        (4, "there is neither an instruction nor an input; the row has instruction, input, output")
    ]


def test_a_field_goes_over_the_form(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{**ALPACA[0], "mine": "open_ended"}])
    [record] = read_prompt_set(SourceSettings(source=str(path), name="alpaca", fields={"query_type": "mine"})).records
    assert (record.prompt, record.query_type) == ("Name a fruit.", "open_ended")


def test_dolly(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Who sat?", "context": "Ann sat.\n", "response": "Ann.", "category": "closed_qa"},
        {"instruction": "Name a hue.", "context": "", "response": "Red.", "category": "brainstorming"},
        {"instruction": " ", "context": "x", "response": "y", "category": "z"},
    ]
    found = read_prompt_set(SourceSettings(source=str(write(tmp_path / "d.jsonl", rows)), name="dolly"))
    assert found.records == (
        PromptRecord("line-1", "Who sat?\n\nAnn sat.", "Ann.", columns={"category": "closed_qa"}),
        PromptRecord("line-2", "Name a hue.", "Red.", columns={"category": "brainstorming"}),
    )
    assert "instruction must be text that is not empty" in found.rejected[0].reason


HH = [
    {"chosen": "\n\nHuman: Hi.\n\nAssistant: Hello!\n\nHuman: Bye.\n\nAssistant: See you.", "rejected": "…"},
    {"chosen": "\n\nHuman: Hi.\n\nAssistant: Yes?", "rejected": "…"},
    {"chosen": "\n\nHuman: Who?\n\nAssistant: Me.\n\nHuman: Sure?\n\nAssistant:", "rejected": "…"},
]


def test_hh_dialogues_for_fine_tuning_and_first_queries_for_ppo(tmp_path: Path) -> None:
    path = str(write(tmp_path / "train.jsonl", HH))
    whole = read_prompt_set(SourceSettings(source=path, name="hh"))
    talk = [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Bye."},
    ]
    assert whole.records == (
        PromptRecord("line-1", talk, "See you."),
        PromptRecord("line-2", [{"role": "user", "content": "Hi."}], "Yes?"),
    )
    assert [(row.line, row.reason) for row in whole.rejected] == [(3, "the last answer of the dialogue is empty")]
    first = read_prompt_set(SourceSettings(source=path, name="hh_helpful"))
    # The second row asks what the first one asked: PPO needs the query once. Its reference is the answer to it.
    assert first.records == (PromptRecord("line-1", "Hi.", "Hello!"),)
    assert (first.repeated, len(first.rejected)) == (1, 1)


def turns(*texts: str, first: str = "human") -> list[dict[str, str]]:
    speakers = ("human", "gpt") if first == "human" else ("gpt", "human")
    return [{"from": speakers[number % 2], "value": text} for number, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("conversations", "reason"),
    [
        (turns("Hi"), "too short"),
        (turns("Hi", "Yo", first="gpt"), "too short"),  # what is left without its first and its last turn
        ([{"from": "human", "value": "a"}, {"from": "bing", "value": "b"}], "turn 2 is from 'bing'"),
        (turns("a", "I am from OpenAI."), "the conversation names openai"),
        (turns("Are you ChatGPT?", "b"), "the conversation names chatgpt"),
        (turns("a", "2 / 2"), "turn 2 is empty"),
        ("Hi", "conversations must be a list of turns"),
    ],
)
def test_what_fastchat_leaves_out_of_sharegpt(tmp_path: Path, conversations: Any, reason: str) -> None:
    good = {"id": "good", "conversations": turns("Hi", "Yo")}
    path = write(tmp_path / "s.jsonl", [{"id": "x", "conversations": conversations}, good])
    found = read_prompt_set(SourceSettings(source=str(path), name="sharegpt"))
    assert [record.id for record in found.records] == ["good"]
    assert reason in found.rejected[0].reason


def test_sharegpt_is_cleaned_as_fastchat_does(tmp_path: Path) -> None:
    code = "Run:\n```pythonCopy codeprint(1)\n```\n\n\nDone.Copy12 chars / 3 words"
    rows = [
        # The first turn is not the human's, the last has no answer.
        {"id": "a", "conversations": [*turns("Hello!", "Help me. ", "2 / 3\n\n" + code, "More?", first="gpt")]},
        {"id": "b", "conversations": turns("Help", "Sure.", "Go on", "Ok.")},
        {"id": "c", "conversations": turns("Help!", "Sure.", "And?", "Fine.")},  # as long as b, with its first answer
        {"id": "d", "conversations": turns("Help!", "Sure.")},  # shorter
        {"id": "b", "conversations": turns("Other", "Answer")},
    ]
    path = tmp_path / "ShareGPT.json"
    path.write_text(json.dumps(rows))
    found = read_prompt_set(SourceSettings(source=str(path), name="sharegpt"))
    assert found.records[0] == PromptRecord(
        "a", [{"role": "user", "content": "Help me."}], "Run:\n```python\nprint(1)\n```\nDone."
    )
    assert found.records[1].prompt == [
        {"role": "user", "content": "Help"},
        {"role": "assistant", "content": "Sure."},
        {"role": "user", "content": "Go on"},
    ]
    assert [record.id for record in found.records] == ["a", "b", "d"]
    assert found.repeated == 1
    assert [(row.line, row.reason) for row in found.rejected] == [(5, "the id 'b' came before")]


def test_ultrafeedback_in_both_forms(tmp_path: Path) -> None:
    def answer(text: str, score: float | None) -> dict[str, Any]:
        return {"model": "m", "response": text, "overall_score": score}

    rows = [
        {"source": "s", "instruction": "Say.", "completions": [answer("a", 7.0), answer("b", 9), answer("c", 9.0)]},
        {"source": "s", "instruction": "Tell.", "completions": [answer("a", None)]},
        {
            "prompt": "Ask.",
            "prompt_id": "p1",
            "chosen": [{"role": "user", "content": "Ask."}, {"role": "assistant", "content": "Why?"}],
            "rejected": [{"role": "user", "content": "Ask."}, {"role": "assistant", "content": "No."}],
            "score_chosen": 8.0,
        },
        {"prompt": "x"},
    ]
    found = read_prompt_set(SourceSettings(source=str(write(tmp_path / "u.jsonl", rows)), name="ultrafeedback"))
    assert found.records == (
        PromptRecord("line-1", "Say.", "b", columns={"source": "s"}),
        PromptRecord("line-2", "Tell.", None, columns={"source": "s"}),
        PromptRecord("p1", [{"role": "user", "content": "Ask."}], "Why?", columns={"score_chosen": 8.0}),
    )
    assert "this is no row of UltraFeedback" in found.rejected[0].reason


def test_published_rows_keep_what_else_they_have(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"instruction": "Go.", "output": "ok", "id": 3, "n": 1}])
    [row] = published_rows(SourceSettings(source=str(path), name="alpaca"))
    assert row.values == {"id": 3, "n": 1, "prompt": "Go.", "reference": "ok"}
    assert (row.place, row.line, row.default_id) == (str(path), 1, "line-1")


def test_a_published_row_without_its_name_says_what_it_looks_like(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [ALPACA[0]])
    with pytest.raises(
        DataError, match=r"looks like one of alpaca_farm or .*Write \{source: .*a\.jsonl, name: alpaca_farm\}"
    ):
        read_prompt_set(str(path))
    assert fitting_forms(HH[0]) == ["hh"]
    assert fitting_forms({"conversations": []}) == ["sharegpt"]
    assert fitting_forms({"text": ""}) == []


# --- where they are published -----------------------------------------------------------------------------------------


def test_every_data_set_is_somewhere_on_the_hub() -> None:
    for form in PUBLISHED.values():
        assert set(form.roles) == {"train", "dev", "validation"}
        assert set(form.roles.values()) <= set(form.splits)
        for sources in form.splits.values():
            for source in sources:
                found = find_hub_source(source)  # asks the hub for nothing: each names its split, or is a file
                assert form.dataset in (found.files or found.dataset)


def test_which_files_a_role_reads() -> None:
    helpful = get_form("hh_helpful")
    assert helpful.sources(None, "train") == (
        "hf://datasets/Anthropic/hh-rlhf/helpful-rejection-sampled/train.jsonl.gz",
        "hf://datasets/Anthropic/hh-rlhf/helpful-online/train.jsonl.gz",
    )
    assert all(source.endswith("/test.jsonl.gz") for source in helpful.sources(None, "dev"))
    assert helpful.sources("train", "dev") == helpful.sources(None, "train")
    assert len(get_form("hh").sources(None, "train")) == 4
    farm = get_form("alpaca_farm")
    assert farm.sources(None, "train")[0].endswith("alpaca_instructions/unlabeled.json")
    assert farm.sources(None, "dev") == get_form("alpaca_farm_val").sources(None, "train")
    with pytest.raises(ConfigError, match=r"no split 'valid'. Allowed: sft, preference, unlabeled, val\."):
        farm.sources("valid", "dev")


def test_a_split_of_the_hub(tmp_path: Path) -> None:
    # A directory stands for a repository: `datasets` reads both alike.
    for split, text in (("train", "a"), ("test", "b")):
        write(tmp_path / f"set/{split}.jsonl", [{"question": text}])
    settings = SourceSettings(source=f"hub:{tmp_path / 'set'}", split="test", fields={"prompt": "question"})
    assert [record.prompt for record in read_prompt_set(settings).records] == ["b"]
    assert settings.needs_download
    with pytest.raises(DataError, match="has several splits. Choose one: .*:train, .*:test"):
        read_prompt_set(f"hub:{tmp_path / 'set'}")


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("builtin", "builtin"),
        ({"source": "a.jsonl"}, "a.jsonl"),
        ({"source": "a.jsonl", "name": "alpaca"}, {"source": "a.jsonl", "name": "alpaca"}),
        ({"name": "alpaca", "limit": 3}, {"name": "alpaca", "limit": 3}),
        (
            {"source": "a.jsonl", "fields": {"prompt": "q"}, "split": None},
            {"source": "a.jsonl", "fields": {"prompt": "q"}},
        ),
    ],
)
def test_settings_are_written_as_they_were_given(given: Any, written: Any) -> None:
    settings = SourceSettings.model_validate(given)
    assert settings.model_dump(mode="json") == written
    assert SourceSettings.model_validate(written) == settings


def test_settings_have_a_name_to_show() -> None:
    assert str(SourceSettings(source="a.jsonl")) == "a.jsonl"
    assert str(SourceSettings(name="hh", split="test")) == "hh (test)"
    assert str(SourceSettings(source="a.jsonl", name="hh")) == "a.jsonl (hh)"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give a source: builtin, the name of a known data set, a file, or hub:OWNER/NAME"),
        ("", "give a source"),
        (
            {"source": "a.jsonl", "name": "alpca"},
            r"no data set called 'alpca'; known: hh_helpful.* Did you mean 'alpaca'",
        ),
        ({"source": "alpaca", "name": "dolly"}, "source 'alpaca' and name 'dolly' are two data sets"),
        ({"source": "a.jsonl", "split": "test"}, "split is of a data set by name or of the hub; a.jsonl"),
        ({"source": "a.jsonl", "fields": {"prompts": "q"}}, "fields maps prompt, reference, .*; it has 'prompts'"),
        ({"source": "builtin", "name": "hh"}, "the built-in prompts take no name"),
        ({"source": "builtin", "split": "test"}, "have no split 'test'; allowed: train, validation"),
        (5, "give a word, such as builtin, a data set or a file, or a mapping with a source"),
        ({"source": "a.jsonl", "limit": 0}, "greater than 0"),
        ({"source": "a.jsonl", "lmit": 1}, "lmit\n.*not permitted"),
    ],
)
def test_settings_that_make_no_sense(given: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SourceSettings.model_validate(given)


def test_a_source_that_makes_no_sense_outside_of_a_study() -> None:
    with pytest.raises(
        ConfigError, match=r"\{'source': 'hh', 'name': 'alpaca'\} is no source of prompts: source 'hh' and"
    ):
        parse_source({"source": "hh", "name": "alpaca"})
    with pytest.raises(ConfigError, match="'' is no source of prompts: give a source: builtin"):
        read_prompt_set("")


def test_a_word_that_is_nearly_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no file or directory alpaca_fram.* did you mean the data set 'alpaca_farm'"):
        read_prompt_set("alpaca_fram")
    with pytest.raises(DataError, match=r"there is no file alpaca\.jsonl"):
        read_prompt_set("alpaca.jsonl")
    with pytest.raises(DataError, match="alpaca.txt has no format that is known by its name. Allowed: .*json.gz"):
        read_prompt_set("alpaca.txt")
