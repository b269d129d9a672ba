"""The cache with room, against transformers' own."""

from __future__ import annotations

import torch
from transformers import DynamicCache, Gemma2Config, LlamaConfig

from proxygold.models.decoding_cache import decoding_cache

CONFIG = LlamaConfig(num_hidden_layers=2, hidden_size=16, num_attention_heads=2)


def _states(rows: int, tokens: int, seed: int) -> torch.Tensor:
    return torch.randn(2, 2, rows, 2, tokens, 4, generator=torch.Generator().manual_seed(seed))  # key or value, layer


def test_it_holds_what_transformers_own_does() -> None:
    ours, theirs = decoding_cache(CONFIG, capacity=6), DynamicCache(config=CONFIG)

    def update(rows: int, tokens: int, seed: int) -> None:
        keys, values = _states(rows, tokens, seed)
        for layer in range(2):
            for mine, other in zip(
                ours.update(keys[layer], values[layer], layer),
                theirs.update(keys[layer], values[layer], layer),
                strict=True,
            ):
                assert torch.equal(mine, other)
        assert ours.get_seq_length() == theirs.get_seq_length()

    def both(method: str, argument: object) -> None:
        for cache in (ours, theirs):
            getattr(cache, method)(argument)

    update(2, 3, seed=0)
    both("batch_repeat_interleave", 2)
    update(4, 1, seed=1)
    both("batch_select_indices", torch.tensor([3, 1]))
    update(2, 1, seed=2)
    update(2, 1, seed=3)  # full now
    update(2, 1, seed=4)  # and grows
    both("batch_select_indices", torch.tensor([1]))
    update(1, 2, seed=5)


def test_a_token_is_written_in_place() -> None:
    cache = decoding_cache(CONFIG, capacity=8)
    keys, values = _states(2, 3, seed=0)
    cache.update(keys[0], values[0], 0)
    place = cache.layers[0].keys.data_ptr()
    cache.update(keys[0], values[0], 0)
    assert cache.layers[0].keys.data_ptr() == place


def test_layers_of_another_kind_stay_transformers_own() -> None:
    config = Gemma2Config(num_hidden_layers=2, layer_types=["sliding_attention", "full_attention"])
    own = [type(layer) for layer in DynamicCache(config=config).layers]
    ours = [type(layer) for layer in decoding_cache(config, capacity=8).layers]
    assert ours[0] is own[0]
    assert ours[1] is not own[1]
