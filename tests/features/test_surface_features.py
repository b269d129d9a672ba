"""The features of style and repetition, against counts made by hand."""

import zlib

import pytest

from proxygold import Example, reward
from proxygold.features.markdown import Markdown, count_markdown
from proxygold.features.phrases import PhraseList, english_words


def score(line: str, completion: str, prompt: object = "q") -> float:
    return float(reward(line).score([Example(prompt, completion)]).total[0])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "completion", "expected"),
    [
        # a b a b: 2 words, 4 in all; bigrams ab ba ab: 2 of 4 words
        ("distinct_n(n=1)", "a b a b", 2 / 4),
        ("distinct_n", "a b a b", 2 / 4),
        ("distinct_n(n=3)", "a b a b", 2 / 4),  # aba bab
        ("distinct_n", "a", 0),
        ("distinct_n", "", 0),
        ("distinct_n(words='unicode', n=1)", "我喜欢我", 2 / 3),
        # "I will." three times, of 4 sentences; case and white space do not count
        ("repeated_sentences", "I will. I  WILL. No! I will.", 2 / 4),
        ("repeated_sentences", "One. Two.", 0),
        ("repeated_sentences", "One.", 0),
        ("repeated_sentences", "🎉", 0),
        ("repeated_sentences", "", 0),
        ("repeated_sentences", "はい。はい。", 1 / 2),
    ],
)
def test_repetition(line: str, completion: str, expected: float) -> None:
    assert score(line, completion) == expected


def test_compression_ratio_is_bytes_over_packed_bytes() -> None:
    text = "é says: again and again and again"
    packed = zlib.compressobj(9)
    assert score("compression_ratio", text) == len(text.encode()) / len(packed.compress(text.encode()) + packed.flush())
    assert score("compression_ratio", "") == 0
    # A loop packs better than prose of its length.
    assert score("compression_ratio", "I am happy. " * 20) > 5 * score("compression_ratio", "I am happy.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Markdown()),
        ("plain\n\n \ntext", Markdown(lines=2)),
        ("# A\n###### B\n#hash\n####### seven\n## ", Markdown(lines=5, headers=2)),
        ("- a\n* b\n+ c\n• d\n1. e\n12) f\n(3) g\n  - nested\n> - quoted", Markdown(lines=9, items=9)),
        # a rule, a minus, a year, an en dash between words
        ("* * *\n---\n-5 degrees\n1999. A year\na – b\n-\n- ", Markdown(lines=7)),
        ("**a** and __b c__ not ** a** nor snake__case__name, **open", Markdown(lines=1, bold=2)),
        ("```python\n# no\n- no\n```\n- yes", Markdown(lines=5, items=1, fences=1)),
        ("~~~~\n```\n~~~\n~~~~\ntext", Markdown(lines=5, fences=1)),
        ("```\nnever closed\n- a", Markdown(lines=3, fences=1)),
        ("```inline``` is no block\n- a", Markdown(lines=2, items=1)),
        ("| a | b |\n|---|:-:|\n| 1 | 2 |\na | b\n|", Markdown(lines=5, table_rows=2)),
        ("1. **Mix** it", Markdown(lines=1, items=1, bold=1)),
    ],
)
def test_markdown_is_counted(text: str, expected: Markdown) -> None:
    assert count_markdown(text) == expected


def test_densities_of_lists_and_markdown() -> None:
    text = "Do:\n- **Mix** well\n- Bake\n\nEnjoy it."
    assert score("list_density", text) == 2 / 4
    assert score("markdown_density", text) == 3 / 8  # two items, a bold span; Do: - **Mix** well - Bake Enjoy it.
    for line in ("list_density", "markdown_density"):
        assert score(line, "") == score(line, "Just a sentence.") == 0


@pytest.mark.parametrize(
    ("line", "completion", "expected"),
    [
        ("hedges", "It seems that it could rain.", 2 / 6),
        ("hedges", "As far as I know, it’s 5. IT DEPENDS", 2 / 8),  # as far as i know; it depends
        ("hedges", "I'm not sure", 1 / 3),
        ("hedges", "I may go in May.", 1 / 5),
        ("hedges", "It will rain.", 0),
        ("boosters", "Clearly, it must never, of course.", 4 / 6),
        ("boosters", "No doubt.", 1 / 2),
        ("boosters", "Perhaps.", 0),
        ("hedges", "", 0),
        ("boosters", "42!", 0),
        ("hedges", "多分そうです。", 0),
    ],
)
def test_hedges_and_boosters(line: str, completion: str, expected: float) -> None:
    assert score(line, completion) == expected


@pytest.mark.parametrize("name", ["hedges", "boosters"])
def test_no_listed_word_counts_twice(name: str) -> None:
    import importlib

    listed: PhraseList = getattr(importlib.import_module(f"proxygold.features.{name}"), f"_{name.upper()}")
    phrases = [phrase for sizes in listed._phrases.values() for phrase in sizes]
    assert listed._words
    assert phrases
    for phrase in phrases:
        assert listed.share(" ".join(phrase)) == 1 / len(phrase)
        assert list(phrase) == english_words(" ".join(phrase)), "a phrase that no text can match"


@pytest.mark.parametrize(
    ("completion", "refuses"),
    [
        ("I'm sorry, but I can't help with that.", 1),
        ("I’m really sorry, but that is not possible.", 1),
        ("I cannot provide instructions for that.", 1),
        ("Unfortunately, I am unable to assist you.", 1),
        ("As an AI language model, I do not have opinions.", 1),
        ("I must respectfully decline.", 0),  # only the listed ways to say it
        ("I must decline.", 1),
        ("I'd rather not.", 1),
        ("It is not appropriate or safe to suggest such a thing.", 1),
        ("I don't feel comfortable discussing this.", 1),
        ("I'm just an AI and do not condone violence.", 1),
        ("That goes against my guidelines.", 1),
        ("I can help. You cannot provide too much water.", 0),
        ("It is not appropriate to wear white there.", 0),
        ("Sure! " + "It is easy. " * 30 + "I cannot help with more.", 0),  # beyond the opening
        ("Ai can't help it.", 0),
        ("", 0),
    ],
)
def test_refusal(completion: str, refuses: int) -> None:
    assert score("refusal", completion) == refuses


CONVERSATION = [
    {"role": "system", "content": "secret words here"},
    {"role": "user", "content": "tell me all"},
    {"role": "assistant", "content": "never ever again"},
    {"role": "user", "content": "do it now"},
]


@pytest.mark.parametrize(
    ("line", "prompt", "completion", "expected"),
    [
        # trigrams why-is-the is-the-sky the-sky-so sky-so-far: the first two are the prompt's
        ("prompt_echo", "Why is the sky blue?", "why is the sky so far", 2 / 4),
        ("prompt_echo", "Why?", "Air scatters light.", 0),
        # the whole of it, whatever the case
        ("prompt_echo", "Why is it?", "WHY IS IT?", 1),
        # two words: the one bigram
        ("prompt_echo", "Paris or Rome?", "or Rome", 1),
        ("prompt_echo", "Paris or Rome?", "Rome or", 0),
        ("prompt_echo", "Paris or Rome?", "Rome", 1),
        # a prompt of one word: words in place of trigrams, 2 of 3
        ("prompt_echo", "Sing", "sing, sing", 2 / 3),
        ("prompt_echo(n=1)", "a b", "a c a d", 2 / 4),
        ("prompt_echo", "Why?", "", 0),
        ("prompt_echo", "", "Because.", 0),
        ("prompt_echo(n=2, words='unicode')", "我喜欢书", "我喜欢他", 1 / 2),
        # user turns only: tell-me-all all-do-it, of 2 and 2 trigrams
        ("prompt_echo", CONVERSATION, "tell me all", 1),
        ("prompt_echo", CONVERSATION, "all do it", 1),
        ("prompt_echo", CONVERSATION, "secret words here", 0),
        ("prompt_echo", CONVERSATION, "never ever again", 0),
    ],
)
def test_prompt_echo(line: str, prompt: object, completion: str, expected: float) -> None:
    assert score(line, completion, prompt) == expected
