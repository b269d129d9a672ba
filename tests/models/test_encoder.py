"""The encoder against mean pooling written out with plain transformers, and what its settings promise."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import BoW, StaticEmbedding
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, RobertaConfig, RobertaModel

from proxygold.errors import ConfigError, ModelError
from proxygold.models.bundled import bundled_encoder_path
from proxygold.models.encoder import EncoderSettings, load_encoder

PAPER = EncoderSettings(normalize=False, max_length=512)
TEXTS = [
    "Where is Oslo?",
    "In Norway.",
    "",
    "word " * 40,
    "A longer answer, with (some) punctuation — and naïve characters: 東京, 😀.",
    " ".join(f"sentence {number} of a long text." for number in range(120)),  # more than 512 tokens
    "Where is Oslo?",
]


def mean_pooled(directory: Path, text: str, max_length: int = 512, side: str = "left") -> np.ndarray:
    """One text, alone, without padding: the mean of the last hidden states."""
    tokenizer = AutoTokenizer.from_pretrained(directory, truncation_side=side)
    model = AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    inputs = tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt")
    with torch.no_grad():
        return model(**inputs).last_hidden_state[0].mean(0).numpy()


def test_without_normalize_it_is_plain_mean_pooling() -> None:
    vectors = load_encoder(PAPER).embed(TEXTS)
    assert vectors.shape == (7, 384)
    assert vectors.dtype == np.float32
    expected = np.stack([mean_pooled(bundled_encoder_path(), text) for text in TEXTS])
    np.testing.assert_allclose(vectors, expected, atol=2e-5)
    assert np.array_equal(vectors[0], vectors[6])


def test_normalize_is_what_the_modules_declare_unless_told() -> None:
    plain = load_encoder(PAPER).embed(TEXTS[:2])
    declared = load_encoder(EncoderSettings(max_length=512)).embed(TEXTS[:2])
    asked = load_encoder(EncoderSettings(max_length=512, normalize=True)).embed(TEXTS[:2])
    assert np.linalg.norm(plain, axis=1).min() > 3
    expected = plain / np.linalg.norm(plain, axis=1, keepdims=True)
    np.testing.assert_allclose(declared, expected, atol=1e-6)
    assert np.array_equal(declared, asked)


def test_a_long_text_loses_its_beginning_or_its_end() -> None:
    long = TEXTS[5]
    left = load_encoder(EncoderSettings(normalize=False, max_length=32)).embed([long])[0]
    right = load_encoder(EncoderSettings(normalize=False, max_length=32, truncation_side="right")).embed([long])[0]
    np.testing.assert_allclose(left, mean_pooled(bundled_encoder_path(), long, 32, "left"), atol=2e-5)
    np.testing.assert_allclose(right, mean_pooled(bundled_encoder_path(), long, 32, "right"), atol=2e-5)
    assert np.abs(left - right).max() > 0.01


def test_an_embedding_does_not_depend_on_its_batch() -> None:
    # Training depends on it: a resumed run embeds other texts together than the run that was interrupted did.
    words = [" ".join(["word", "other", "third"][: 1 + n % 3] * (1 + n // 2)) for n in range(60)]
    encoder = load_encoder(PAPER)
    together = encoder.embed(words)
    assert np.array_equal(together, np.concatenate([encoder.embed([text]) for text in words]))
    assert np.array_equal(together, encoder.embed(words[::-1])[::-1])
    small = load_encoder(EncoderSettings(normalize=False, max_length=512, batch_tokens=16))
    assert np.array_equal(together, small.embed(words))


def test_nothing_in_nothing_out() -> None:
    assert load_encoder(PAPER).embed([]).shape == (0, 384)


def test_loaded_once_and_shared_by_threads() -> None:
    encoder = load_encoder(PAPER)
    expected = encoder.embed(TEXTS)
    results: list[np.ndarray] = []

    def work() -> None:
        shared = load_encoder(EncoderSettings(normalize=False, max_length=512))
        assert shared is encoder
        results.append(shared.embed(TEXTS))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert all(np.array_equal(result, expected) for result in results)


def test_the_default_length_is_what_the_model_declares_up_to_512() -> None:
    declared = json.loads((bundled_encoder_path() / "sentence_bert_config.json").read_text())["max_seq_length"]
    assert load_encoder(EncoderSettings()).max_length == declared == 256


# --- other checkpoints ------------------------------------------------------------------------------------------------


def save_checkpoint(directory: Path, seed: int = 0, hidden: int = 32) -> Path:
    """A small BERT with random weights and no modules.json, as facebook/contriever is published."""
    torch.manual_seed(seed)
    config = BertConfig(hidden_size=hidden, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    BertModel(config).save_pretrained(directory)
    AutoTokenizer.from_pretrained(bundled_encoder_path()).save_pretrained(directory)
    return directory


def test_a_plain_checkpoint_is_mean_pooled_and_not_normalised(tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "plain")
    encoder = load_encoder(EncoderSettings(model=str(directory)))
    assert encoder.max_length == 512
    expected = np.stack([mean_pooled(directory, text) for text in TEXTS])
    np.testing.assert_allclose(encoder.embed(TEXTS), expected, atol=2e-5)


def test_roberta_reserves_its_first_positions(tmp_path: Path) -> None:
    config = RobertaConfig(
        vocab_size=30522,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=66,
        pad_token_id=1,
    )
    RobertaModel(config).save_pretrained(tmp_path / "roberta")
    AutoTokenizer.from_pretrained(bundled_encoder_path()).save_pretrained(tmp_path / "roberta")
    encoder = load_encoder(EncoderSettings(model=str(tmp_path / "roberta")))
    assert encoder.max_length == 64  # 66 less the padding index 1 and what is before it
    assert np.isfinite(encoder.embed(["word " * 200])).all()
    with pytest.raises(ModelError, match="has 64 positions"):
        load_encoder(EncoderSettings(model=str(tmp_path / "roberta"), max_length=65))


def test_the_fingerprint_changes_with_what_changes_an_embedding(tmp_path: Path) -> None:
    base = save_checkpoint(tmp_path / "base")
    moved = shutil.copytree(base, tmp_path / "moved")
    other = save_checkpoint(tmp_path / "other", seed=1)

    def fingerprint(directory: Path, **settings: object) -> str:
        return load_encoder(EncoderSettings(model=str(directory), **settings)).fingerprint  # type: ignore[arg-type]

    assert fingerprint(base) == fingerprint(moved) == fingerprint(base, batch_tokens=64)
    assert fingerprint(base) == fingerprint(base, max_length=512)  # which is the default here
    different = [
        fingerprint(base),
        fingerprint(other),
        fingerprint(base, normalize=True),
        fingerprint(base, max_length=64),
        fingerprint(base, truncation_side="right"),
        fingerprint(base, dtype="bfloat16"),
    ]
    assert len(set(different)) == len(different)


def test_the_fingerprint_does_not_change_with_use(tmp_path: Path) -> None:
    base = save_checkpoint(tmp_path / "base")
    used = load_encoder(EncoderSettings(model=str(base)))
    used.embed(TEXTS)
    unused = load_encoder(EncoderSettings(model=str(base), batch_tokens=64))
    assert used.fingerprint == unused.fingerprint


def save_static(directory: Path, seed: int = 0) -> Path:
    """A sentence-transformers model of static embeddings, as model2vec publishes them: there is no transformer in it."""
    tokenizer = Tokenizer.from_file(str(bundled_encoder_path() / "tokenizer.json"))
    tokenizer.no_truncation()
    weights = np.random.default_rng(seed).normal(size=(tokenizer.get_vocab_size(), 16)).astype(np.float32)
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)]).save(str(directory))
    return directory


def test_static_embeddings_are_the_mean_of_their_tokens(tmp_path: Path) -> None:
    directory = save_static(tmp_path / "static")
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    weights = np.random.default_rng(0).normal(size=(tokenizer.get_vocab_size(), 16)).astype(np.float32)
    texts = [text for text in TEXTS if text]
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    encoder = load_encoder(EncoderSettings(model=str(directory)))
    assert (encoder.dimension, encoder.max_length) == (16, None)
    vectors = encoder.embed([*texts, ""])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors[:-1], [weights[row].mean(axis=0) for row in ids], atol=1e-5)
    assert (vectors[-1] == 0).all()
    assert np.array_equal(vectors, np.concatenate([encoder.embed([text]) for text in [*texts, ""]]))
    unit = load_encoder(EncoderSettings(model=str(directory), normalize=True)).embed(texts)
    np.testing.assert_allclose(unit, vectors[:-1] / np.linalg.norm(vectors[:-1], axis=1, keepdims=True), atol=1e-6)


def test_a_model_without_a_transformer_has_a_fingerprint_and_no_max_length(tmp_path: Path) -> None:
    first, second = save_static(tmp_path / "first"), save_static(tmp_path / "second", seed=1)
    moved = shutil.copytree(first, tmp_path / "moved")
    prints = [load_encoder(EncoderSettings(model=str(path))).fingerprint for path in (first, second, moved)]
    assert prints[0] == prints[2] != prints[1]
    with pytest.raises(
        ConfigError, match=r"begins with StaticEmbedding, which reads texts whole\. Leave max_length out"
    ):
        load_encoder(EncoderSettings(model=str(first), max_length=64))


def test_a_bag_of_words_is_an_encoder_too(tmp_path: Path) -> None:
    bag = BoW(vocab=["oslo", "norway", "where"])
    SentenceTransformer(modules=[bag]).save(str(tmp_path / "bag"))
    encoder = load_encoder(EncoderSettings(model=str(tmp_path / "bag")))
    assert encoder.embed(["where is oslo", "norway"]).tolist() == [[1, 0, 1], [0, 1, 0]]
    assert len(encoder.fingerprint) == 64


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is not a directory.*Give a hub id"):
        load_encoder(EncoderSettings(model=str(tmp_path / "nothing")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"without config\.json"):
        load_encoder(EncoderSettings(model=str(tmp_path / "empty")))
    with pytest.raises(ModelError, match="cannot be had from the hub"):
        load_encoder(EncoderSettings(model="not a/hub/id"))


def test_a_damaged_model(tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "damaged")
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"cannot be loaded(.|\n)*damaged"):
        load_encoder(EncoderSettings(model=str(directory)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "int8"}, "Allowed: auto, float32"),
        ({"truncation_side": "middle"}, "Allowed: left, right"),
        ({"max_length": 0}, "at least 1"),
        ({"batch_tokens": -5}, "at least 1"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EncoderSettings(**settings)  # type: ignore[arg-type]


def test_more_tokens_than_positions() -> None:
    with pytest.raises(ModelError, match="has 512 positions"):
        load_encoder(EncoderSettings(max_length=513))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(ModelError, match="no CUDA GPU here"):
        load_encoder(EncoderSettings(device="cuda"))
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_encoder(EncoderSettings(device="abacus"))
