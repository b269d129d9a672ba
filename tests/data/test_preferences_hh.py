"""HH dialogues, in their published form."""

from collections import Counter
from pathlib import Path

import pytest

from proxygold.data.files import RejectedRow
from proxygold.data.hh import parse_dialogue, parse_hh
from proxygold.data.preferences import PreferencePair, read_preferences
from proxygold.errors import DataError

SHARED = Path(__file__).parents[2] / "../shared/data/hh_rlhf"


def test_turns_become_messages():
    text = "\n\nHuman: What is moss?\n\nAssistant: A small plant.\n\nIt likes shade.\n\nHuman: And\n\nfern?"
    assert parse_dialogue(text) == [
        {"role": "user", "content": "What is moss?"},
        {"role": "assistant", "content": "A small plant.\n\nIt likes shade."},
        {"role": "user", "content": "And\n\nfern?"},
    ]


def test_a_speaker_named_within_a_line_is_no_turn():
    text = "\n\nHuman: Finish this.\nHuman: hi\n\nAssistant: Human: is what you wrote, Assistant: is me."
    assert [message["role"] for message in parse_dialogue(text)] == ["user", "assistant"]


def test_two_turns_of_one_speaker_are_joined():
    text = "\n\nHuman: One.\n\nHuman: Two.\n\nAssistant:\n\nAssistant: Three."
    assert parse_dialogue(text) == [
        {"role": "user", "content": "One.\n\nTwo."},
        {"role": "assistant", "content": "Three."},
    ]


def test_what_was_compared_is_the_last_turn():
    shared = "\n\nHuman: Hi.\n\nAssistant: Yo.\n\nHuman: Who are you?"
    prompt, chosen, rejected = parse_hh(f"{shared}\n\nAssistant: A program.", f"{shared}\n\nAssistant: Guess!")
    assert [message["content"] for message in prompt] == ["Hi.", "Yo.", "Who are you?"]
    assert (chosen, rejected) == ("A program.", "Guess!")


@pytest.mark.parametrize(
    ("chosen", "rejected", "message"),
    [
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: z\n\nAssistant: c", "differ before the last turn"),
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a", "must be the assistant's"),
        ("\n\nAssistant: b", "\n\nAssistant: c", "no human turn"),
        ("Human asks", "\n\nHuman: a\n\nAssistant: c", "a dialogue must start with"),
        ("", "\n\nHuman: a\n\nAssistant: c", "a dialogue must start with"),
    ],
)
def test_what_cannot_be_compared(chosen, rejected, message):
    with pytest.raises(DataError) as caught:
        parse_hh(chosen, rejected)
    assert message in str(caught.value)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real HH data is not at ../shared/data/hh_rlhf")
def test_the_published_files_are_read():
    rows = list(read_preferences(SHARED / "helpful-base/test.jsonl.gz"))
    pairs = [row for row in rows if isinstance(row, PreferencePair)]
    rejected = [row for row in rows if isinstance(row, RejectedRow)]
    assert len(rows) == 2354
    # Some rows compare dialogues that part before the last turn, or two equal answers: they are named, not dropped.
    assert 0 < len(rejected) < 30
    assert all(pair.prompt[-1]["role"] == "user" for pair in pairs)
    assert all(pair.chosen and pair.rejected for pair in pairs)
    # Nothing of the markers is left in an answer at a turn's start.
    assert not any("\n\nHuman:" in pair.chosen for pair in pairs)
    assert Counter(len(pair.prompt) for pair in pairs).keys() >= {1, 3, 5}
