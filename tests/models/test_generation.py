"""Sampling, against a loop that pads nothing, caches nothing and runs one prompt at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from proxygold.errors import DataError
from proxygold.models.generation import generate, sample, sample_tokens
from proxygold.models.policy_settings import SamplingSettings

SAMPLING = SamplingSettings(max_new_tokens=12)
# Of different lengths, and with the token that is both padding and end inside.
PROMPTS = [[1, 2, 3, 4, 5, 6, 7], [8], [3, 0, 0, 9], [0, 0]]


def one_at_a_time(
    policy: Any, prompt: list[int], uniforms: Any, sampling: SamplingSettings
) -> tuple[list[int], list[float]]:
    """Tokens and log-probabilities, by running the whole causal model on the whole text for every token."""
    ids, logprobs = list(prompt), []
    for uniform in uniforms:
        with torch.no_grad():
            logits = policy.causal_lm(input_ids=torch.tensor([ids])).logits[0, -1].double()
        log_p = (logits / sampling.temperature).log_softmax(0)
        mass = 0.0
        token, masses = 0, log_p.exp().tolist()
        while (mass := mass + masses[token]) <= uniform:
            token += 1
        ids.append(token)
        logprobs.append(float(log_p[token]))
        if token == 0:
            break
    return ids[len(prompt) :], logprobs


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("layers", [None, 1])
def test_padding_cache_and_leaving_rows_change_nothing(
    tiny_policy: Any, layers: int | None, temperature: float
) -> None:
    policy = tiny_policy(layers=layers, perturbed=True)
    sampling = SamplingSettings(max_new_tokens=12, temperature=temperature)
    draws = np.random.default_rng(0).random((16, 12))
    samples = sample(policy, PROMPTS, sampling, draws, keep_frozen_hidden=True)
    ended = 0
    for row in range(16):
        tokens, logprobs = one_at_a_time(policy, PROMPTS[row // 4], draws[row], sampling)
        assert samples.response(row) == tokens
        assert samples.logprobs[row, : len(tokens)].tolist() == pytest.approx(logprobs, abs=1e-4)
        assert bool(samples.finished[row]) == (tokens[-1] == 0)
        ended += len(tokens) < 12
    assert 1 <= ended <= 15  # rows did leave the batch, at different times


def test_kept_hidden_states_are_those_of_the_whole_model(tiny_policy: Any) -> None:
    policy = tiny_policy(layers=1, perturbed=True)
    assert policy.frozen.depth == 2
    draws = np.random.default_rng(0).random((8, 12))
    samples = sample(policy, PROMPTS, SAMPLING, draws, keep_frozen_hidden=True)
    kept = samples.batch.frozen_hidden
    assert kept is not None
    assert kept.shape[1] == samples.batch.input_ids.shape[1] - 1
    for row in range(8):
        ids = PROMPTS[row // 2] + samples.response(row)
        with torch.no_grad():
            states = policy.causal_lm(input_ids=torch.tensor([ids[:-1]]), output_hidden_states=True).hidden_states[2][0]
        start = samples.batch.prompt_width - len(PROMPTS[row // 2])
        assert torch.allclose(kept[row, start : start + len(ids) - 1], states, atol=1e-4)


def test_nothing_is_kept_when_every_layer_is_adapted(tiny_policy: Any) -> None:
    draws = np.random.default_rng(0).random((4, 3))
    samples = sample(tiny_policy(), PROMPTS, SamplingSettings(max_new_tokens=3), draws, keep_frozen_hidden=True)
    assert samples.batch.frozen_hidden is None


def test_completions_do_not_depend_on_the_batch(tiny_policy: Any) -> None:
    policy = tiny_policy(perturbed=True)
    prompts = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9", "w1", "w2 w2"]
    together = generate(policy, prompts, SAMPLING, seed=3, samples_per_prompt=2, batch_size=32)
    apart = generate(policy, prompts, SAMPLING, seed=3, samples_per_prompt=2, batch_size=1)
    assert together == apart
    assert len(together) == 10
    assert generate(policy, prompts, SAMPLING, seed=4, samples_per_prompt=2) != together
    assert together[0] != together[1]  # two samples of one prompt


def test_completion_text_has_no_end_token(tiny_policy: Any) -> None:
    done = [0]
    completions = generate(
        tiny_policy(), ["w1"] * 8, SAMPLING, seed=0, batch_size=3, progress=lambda count: done.append(count)
    )
    assert done[-1] == 8
    assert {completion.finished for completion in completions} == {True, False}
    for completion in completions:
        words = [f"w{token}" for token in completion.token_ids if token != 0]
        assert completion.text == " ".join(words)
        assert completion.finished == (completion.token_ids[-1] == 0)
        assert 0 not in completion.token_ids[:-1]
        assert len(completion.token_ids) == 12 or completion.finished


def test_a_prompt_too_long_for_the_model_is_refused(tiny_policy: Any) -> None:
    with pytest.raises(DataError, match=r"120 tokens and 12 new ones do not fit the model's 128"):
        generate(tiny_policy(), [" ".join(["w1"] * 120)], SAMPLING, seed=0)


# --- one token -------------------------------------------------------------------------------------------------------


def drawn(probabilities: list[float], uniforms: list[float], **settings: Any) -> list[int]:
    logits = torch.tensor([probabilities] * len(uniforms)).log()
    sampling = SamplingSettings(max_new_tokens=1, **settings)
    return sample_tokens(logits, torch.tensor(uniforms, dtype=torch.float64), sampling)[0].tolist()


def test_draws_invert_the_cumulative_distribution() -> None:
    # cumulative 0.5, 0.8, 1
    assert drawn([0.5, 0.3, 0.2], [0.0, 0.49, 0.51, 0.79, 0.81, 0.999999]) == [0, 0, 1, 1, 2, 2]


def test_a_token_without_probability_is_never_drawn() -> None:
    assert drawn([0.0, 0.6, 0.0, 0.4, 0.0], [0.0, 0.61, 1 - 2**-53]) == [1, 3, 3]


def test_an_even_grid_of_draws_gives_the_probabilities() -> None:
    grid = [(i + 0.5) / 1000 for i in range(1000)]
    counts = np.bincount(drawn([0.125, 0.25, 0.625], grid))
    assert counts.tolist() == [125, 250, 625]


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    grid = [(i + 0.5) / 1000 for i in range(1000)]
    # sorted 0.5, 0.3, 0.2: 0.7 needs the first two, 0.5 the first alone
    assert set(drawn([0.2, 0.5, 0.3], grid, top_p=0.7)) == {1, 2}
    assert set(drawn([0.2, 0.5, 0.3], grid, top_p=0.45)) == {1}
    # 0.5 and 0.3 renormalised: 62.5% and 37.5%
    assert np.bincount(drawn([0.2, 0.5, 0.3], grid, top_p=0.7)).tolist() == [0, 625, 375]


def test_top_k_keeps_the_k_likeliest() -> None:
    grid = [(i + 0.5) / 100 for i in range(100)]
    assert set(drawn([0.2, 0.5, 0.3], grid, top_k=2)) == {1, 2}
    assert set(drawn([0.2, 0.5, 0.3], grid, top_k=9)) == {0, 1, 2}


def test_greedy() -> None:
    assert drawn([0.2, 0.5, 0.3], [0.0, 0.99], temperature=0) == [1, 1]


def test_temperature_sharpens() -> None:
    # At temperature 0.5 probabilities are squared: 0.64 and 0.04, so 0.9412 and 0.0588.
    logits = torch.tensor([[0.8, 0.2]]).log()
    tokens, logprobs = sample_tokens(logits, torch.tensor([0.93]), SamplingSettings(max_new_tokens=1, temperature=0.5))
    assert tokens.tolist() == [0]
    assert float(logprobs.exp()) == pytest.approx(0.64 / 0.68, rel=1e-5)


@pytest.mark.parametrize("vocabulary", [3, 256, 257, 1000, 49_152])
def test_any_vocabulary_is_inverted_exactly(vocabulary: int) -> None:
    generator = np.random.default_rng(vocabulary)
    logits = torch.from_numpy(generator.normal(size=(8, vocabulary)) * generator.uniform(0, 8, size=(8, 1))).float()
    uniforms = generator.random(8)
    uniforms[:2] = 0.0, np.nextafter(1.0, 0.0)
    tokens, logprobs = sample_tokens(logits, torch.from_numpy(uniforms), SamplingSettings(max_new_tokens=1))
    exact = logits.double().numpy()
    exact = exact - np.log(np.exp(exact).sum(axis=1, keepdims=True))
    cumulative = np.exp(exact).cumsum(axis=1)
    for row, token in enumerate(tokens.tolist()):
        # float32 weights are right to 1e-7 or so of the whole.
        assert cumulative[row, token] >= uniforms[row] - 1e-6
        assert cumulative[row, token] - np.exp(exact[row, token]) <= uniforms[row] + 1e-6
        assert logprobs[row].item() == pytest.approx(exact[row, token], abs=1e-4)
