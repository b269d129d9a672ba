"""T5 models that say which of two responses is better, as a score of one: SteamSHP.

The score is the probability of "A" as the first word of the answer, where A is the response and B a mere full stop, as
the model card of stanfordnlp/SteamSHP-flan-t5-xl does it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from proxygold.errors import ModelError
from proxygold.models.classifiers import Float32Head, first_line
from proxygold.models.quiet import quiet_loading

__all__ = ["T5_MAX_LENGTH", "is_t5", "load_preference_model", "preference_of"]

# What the card says that the model was trained to read; T5's positions are relative and know no end.
T5_MAX_LENGTH = 512


def is_t5(config: Any) -> bool:
    """Whether a configuration is that of a T5 that writes text."""
    return config.model_type in ("t5", "mt5", "umt5") and not any(
        "SequenceClassification" in kind for kind in config.architectures or ()
    )


def load_preference_model(path: str, name: str, dtype: torch.dtype, **options: Any) -> Any:
    """The model in the directory or hub repository `path`; its last layer computes in float32. Raises ModelError."""
    from safetensors import SafetensorError
    from transformers import AutoModelForSeq2SeqLM

    try:
        with quiet_loading():
            model, report = AutoModelForSeq2SeqLM.from_pretrained(
                path, dtype=dtype, output_loading_info=True, **options
            )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"cannot load {name!r} as a T5 preference model: {first_line(error)}\n"
            "Give the hub id or the directory of one, such as stanfordnlp/SteamSHP-flan-t5-xl."
        ) from error
    if report["missing_keys"]:
        raise ModelError(
            f"{name!r} is no T5 preference model: its checkpoint has no {', '.join(sorted(report['missing_keys']))}. "
            "Give one that is whole, such as stanfordnlp/SteamSHP-flan-t5-xl."
        )
    if isinstance(model.lm_head, nn.Linear) and model.lm_head.weight.device.type != "meta":
        # In bfloat16 a probability has three digits, and those near 1 would all be the same.
        model.lm_head = Float32Head.of(model.lm_head)
    return model.eval()


def preference_of(tokenizer: Any, name: str) -> Callable[[Any, dict[str, Tensor], Tensor], Tensor]:
    """What reads the probability of "A", (n,), from a model and its inputs.

    Raises ModelError for a tokenizer that has no token for it.
    """
    ids = tokenizer("A", add_special_tokens=False)["input_ids"]
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise ModelError(
            f'the tokenizer of {name!r} has no single token for "A": it is no preference model of this form.'
        )
    token = ids[0]

    def read(model: Any, inputs: dict[str, Tensor], lengths: Tensor) -> Tensor:
        start = torch.full((len(lengths), 1), model.config.decoder_start_token_id, device=lengths.device)
        logits = model(**inputs, decoder_input_ids=start, use_cache=False).logits[:, 0]
        probabilities: Tensor = logits.float().softmax(dim=-1)
        return probabilities[:, token]

    return read
