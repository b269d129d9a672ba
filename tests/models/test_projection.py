"""Whether a model's cap on its logits is seen; other models' logits are in test_architectures.py."""

from __future__ import annotations

from typing import Any

import torch

from proxygold.models.projection import find_projection


def test_a_cap_far_above_an_untrained_models_logits_is_kept(small_model: Any) -> None:
    cap = 30.0
    model = small_model("gemma2", final_logit_softcapping=cap, initializer_range=0.1)
    ids = torch.arange(4)[None, :]
    with torch.no_grad():
        hidden = model.base_model(input_ids=ids).last_hidden_state[0]
        plain = model.lm_head(hidden)
        # On such logits the cap is below what two paths of bfloat16 differ by.
        assert torch.allclose(plain, model(input_ids=ids).logits[0], atol=1e-2, rtol=1e-2)
        expected = torch.tanh(100 * plain / cap) * cap
        assert (100 * plain).abs().max() > 2 * cap
        torch.testing.assert_close(find_projection("gemma2", model)(100 * hidden), expected)
