"""Texts laid end to end: what each architecture gives for a text alone, and nothing of its neighbours."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    CamembertConfig,
    DistilBertConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

from proxygold.models.bundled import bundled_encoder_path
from proxygold.models.encoder import Encoder, EncoderSettings, load_encoder

# From two tokens to more than a pass of 64 holds, and one that spells out special tokens.
TEXTS = [
    "",
    "Oslo",
    "Where is Oslo?",
    "a [PAD] token and a [SEP], spelled out",
    *["word " * n for n in (1, 14, 30, 90)],
]
SIZES = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 80}
KINDS = {
    "bert": BertConfig(**SIZES),
    # [PAD] of the tokenizer is token 0; positions begin after the padding index.
    "roberta": RobertaConfig(**SIZES, vocab_size=30522, max_position_embeddings=258, pad_token_id=0),
    "xlm-roberta": XLMRobertaConfig(**SIZES, vocab_size=30522, max_position_embeddings=258, pad_token_id=0),
    "camembert": CamembertConfig(**SIZES, vocab_size=30522, max_position_embeddings=258, pad_token_id=0),
}


def save(directory: Path, config: Any) -> Path:
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(directory)
    AutoTokenizer.from_pretrained(bundled_encoder_path()).save_pretrained(directory)
    return directory


def alone(directory: Path, text: str) -> np.ndarray:
    """The mean of the last hidden states, by plain transformers and its eager attention."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModel.from_pretrained(directory, attn_implementation="eager").eval()
    inputs = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        states: torch.Tensor = model(**inputs).last_hidden_state
    return states[0].mean(0).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_each_architecture_gives_what_it_gives_for_each_text_alone(kind: str, tmp_path: Path) -> None:
    directory = save(tmp_path / kind, KINDS[kind])
    encoder = load_encoder(EncoderSettings(model=str(directory), batch_tokens=64))
    assert encoder._packed
    vectors = encoder.embed(TEXTS)
    np.testing.assert_allclose(vectors, [alone(directory, text) for text in TEXTS], atol=1e-5)
    assert len(np.unique(vectors.round(4), axis=0)) == len(TEXTS)  # no two alike: positions and words both count


@pytest.mark.parametrize("heads", [2, 6])  # heads of 24 and of 8: rows that begin on any 32 bytes
@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_no_bit_depends_on_what_shares_the_pass(kind: str, heads: int, tmp_path: Path) -> None:
    directory = save(tmp_path / kind, type(KINDS[kind])(**{**KINDS[kind].to_dict(), "num_attention_heads": heads}))
    encoder = load_encoder(EncoderSettings(model=str(directory)))
    words = ["one", "other", "third", "of", "many"]
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, length)) + f" {length}" for length in range(0, 200, 3)]
    together = encoder.embed(texts)
    assert np.array_equal(together, np.concatenate([encoder.embed([text]) for text in texts]))
    for _ in range(3):
        order = rng.permutation(len(texts))
        assert np.array_equal(together[order], encoder.embed([texts[row] for row in order]))


def test_nor_on_the_number_of_threads() -> None:
    encoder = load_encoder(EncoderSettings(normalize=False, max_length=512))
    texts = ["word " * length for length in (0, 1, 7, 30, 200)]
    before = torch.get_num_threads()
    try:
        vectors = []
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            vectors += [encoder.embed(texts), np.concatenate([encoder.embed([text]) for text in texts])]
    finally:
        torch.set_num_threads(before)
    assert all(np.array_equal(vectors[0], other) for other in vectors[1:])


def test_what_is_not_supported_is_padded(tmp_path: Path) -> None:
    distil = save(tmp_path / "distil", DistilBertConfig(dim=32, n_layers=1, n_heads=2, hidden_dim=32))
    encoder = load_encoder(EncoderSettings(model=str(distil)))
    assert not encoder._packed
    np.testing.assert_allclose(encoder.embed(TEXTS), [alone(distil, text) for text in TEXTS], atol=1e-5)


def test_the_modules_after_the_transformer_are_applied(tmp_path: Path) -> None:
    transformer = Transformer(str(save(tmp_path / "bert", BertConfig(**SIZES))))
    modules = [transformer, Pooling(48, pooling_mode="cls"), Dense(48, 5)]
    SentenceTransformer(modules=modules).save(str(tmp_path / "whole"))
    whole = SentenceTransformer(str(tmp_path / "whole"), device="cpu")
    encoder = load_encoder(EncoderSettings(model=str(tmp_path / "whole"), device="cpu"))
    assert encoder._packed
    assert encoder.dimension == 5
    np.testing.assert_allclose(encoder.embed(TEXTS), whole.encode(TEXTS, batch_size=1), atol=1e-5)


def test_another_model_keeps_its_own_attention() -> None:
    # Packing is set on one loaded model; transformers at large stays as it was.
    load_encoder()
    model = AutoModel.from_pretrained(bundled_encoder_path())
    assert model.config._attn_implementation == "sdpa"
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(model(torch.tensor([[101, 102]])).last_hidden_state.shape))
    thread.start()
    thread.join()
    assert results == [(1, 2, 384)]
    assert isinstance(load_encoder(), Encoder)
