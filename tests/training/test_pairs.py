"""Which pairs are trained on and which are held out."""

import pytest

from proxygold.data.preferences import PreferencePair
from proxygold.errors import DataError
from proxygold.training.pairs import split_by_prompt, without_prompts_of

ANSWERS = [("Certainly.", "Whatever."), ("With pleasure.", "Who cares."), ("This is how.", "No idea.")]


def pairs_about(topics):
    return [
        PreferencePair(({"role": "user", "content": f"Tell me about {topic}."},), good, bad)
        for topic in topics
        for good, bad in ANSWERS
    ]


def test_a_prompt_falls_on_one_side_with_all_that_follows_it():
    pairs = pairs_about([f"thing {number}" for number in range(300)])
    first = pairs[0].prompt
    follow_up = PreferencePair(
        (*first, {"role": "assistant", "content": "Well."}, {"role": "user", "content": "Go on."}), "A", "B"
    )
    train, held_out = split_by_prompt([*pairs, follow_up], 0.2)
    assert {pair.prompt[0]["content"] for pair in train}.isdisjoint(pair.prompt[0]["content"] for pair in held_out)
    assert len(train) + len(held_out) == 901
    # Binomial: 300 prompts at 0.2 are 60 with a standard deviation of 6.9.
    assert 3 * 40 < len(held_out) < 3 * 80
    with pytest.raises(DataError, match="one side is empty"):
        split_by_prompt(pairs[:3], 0.2)


def test_what_shares_a_first_turn_with_a_held_out_pair_is_not_trained_on():
    tea, rain, dogs = (pairs_about([topic]) for topic in ("tea", "rain", "dogs"))
    shouted = PreferencePair(({"role": "user", "content": " TELL me about tea.\n"},), "A", "B")
    later = PreferencePair(
        ({"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hi."}, tea[0].prompt[0]), "A", "B"
    )
    kept = without_prompts_of([tea[0], *rain], [*tea, shouted, later, *dogs])
    assert kept == [later, *dogs]  # a dialogue is known by how it begins
    with pytest.raises(DataError, match="all 3 pairs to train on begin with the prompt of a held-out pair"):
        without_prompts_of([*rain, *tea], tea)
