"""Reward models that cannot be read: a transformer that gives a conversation one number. Gold is one of these.

Taken are any Hugging Face sequence-classification model with one output, by hub id or directory, with its
chat template (one without a template reads a pair of texts, as OpenAssistant's DeBERTa does); a PEFT
adapter with a head, by its directory; and `gold-mini`, which ships with the package (`gold_mini/README.md`
says what it is worth).

The score of an answer does not depend on what is scored with it: an answer is padded to a length that
depends on its own length alone, on the right, and only answers padded to one length share a forward pass.
In float32 on a CPU that makes scores equal to the last digits for every batch size and order; in bfloat16 a
batch of another size can still differ in the third digit.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from proxygold.errors import ConfigError, DataError, ModelError
from proxygold.models.bundled import resolve_model
from proxygold.models.hub import find_checkpoint
from proxygold.models.length_batches import length_groups, positions_of
from proxygold.models.quiet import quiet_loading
from proxygold.models.reward_inputs import encode_completion
from proxygold.records import Example, FloatArray

__all__ = ["GOLD_MINI", "RewardModel", "check_reward_model", "find_reward_model", "load_reward_model"]

GOLD_MINI = "gold-mini"
_GOLD_MINI_DIRECTORY = Path(__file__).parent / "gold_mini"
_DEFAULT_MAX_LENGTH = 1_024
_DTYPES = ("auto", "float32", "bfloat16")


class RewardModel:
    """A loaded reward model. Threads may share it: they take turns. Made by `load_reward_model`.

    `name` is what it was asked for by; an answer of more than `max_length` tokens with its prompt loses the
    prompt's start.
    """

    def __init__(self, name: str, model: Any, tokenizer: Any, *, max_length: int, batch_size: int) -> None:
        self.name = name
        self.max_length = max_length
        self.batch_size = batch_size
        self._model = model
        self._tokenizer = tokenizer
        # Set apart before the first call changes the tokenizer's truncation state.
        self._tokenizer_text = _tokenizer_text(tokenizer)
        # The Rust tokenizer refuses two threads at once, and two forward passes at once would only share the cores.
        self._lock = threading.Lock()

    def score(
        self, examples: Sequence[Example], progress: Callable[[int], None] | None = None
    ) -> tuple[FloatArray, tuple[str | None, ...]]:
        """Scores (n,) float64 and n reasons: None where the score is finite, else why it is NaN.

        `progress` is called with the number of examples scored so far.
        """
        scores = np.full(len(examples), np.nan)
        reasons: list[str | None] = [None] * len(examples)
        with self._lock:
            encoded: dict[int, dict[str, list[int]]] = {}
            for row, example in enumerate(examples):
                try:
                    encoded[row] = encode_completion(
                        self._tokenizer, example.prompt, example.completion, self.max_length
                    )
                except DataError as error:
                    reasons[row] = str(error)
            done = len(examples) - len(encoded)
            for padded, rows in self._batches(encoded):
                scores[rows] = self._forward([encoded[row] for row in rows], padded)
                done += len(rows)
                if progress is not None:
                    progress(done)
        for row in encoded:
            if not np.isfinite(scores[row]):
                reasons[row] = f"the reward model {self.name} gave {scores[row]}, not a finite number"
                scores[row] = np.nan
        return scores, tuple(reasons)

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of all that decides a score: weights, dtype, tokenizer, chat template, length limit."""
        import torch

        digest = hashlib.sha256()
        decisive = {
            "class": type(self._model).__name__,
            "max_length": self.max_length,
            "tokenizer": self._tokenizer_text,
            "chat_template": self._tokenizer.chat_template,
        }
        digest.update(json.dumps(decisive, sort_keys=True, default=str).encode())
        for name, tensor in self._model.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def _batches(self, encoded: dict[int, dict[str, list[int]]]) -> Iterator[tuple[int, list[int]]]:
        """Padded length and rows of each forward pass, the longest first: memory runs out at once or never."""
        lengths = {row: len(inputs["input_ids"]) for row, inputs in encoded.items()}
        for padded, rows in length_groups(lengths, self.max_length):
            for start in range(0, len(rows), self.batch_size):
                yield padded, rows[start : start + self.batch_size]

    def _forward(self, rows: list[dict[str, list[int]]], padded: int) -> FloatArray:
        """The scores (len(rows),) of inputs that are all padded to one length, on the right."""
        import torch

        model, device = self._model, self._model.device
        lengths = torch.tensor([len(row["input_ids"]) for row in rows], device=device)
        inputs = {}
        for name in rows[0]:
            fill = (self._tokenizer.pad_token_id or 0) if name == "input_ids" else 0
            padding = [row[name] + [fill] * (padded - len(row[name])) for row in rows]
            inputs[name] = torch.tensor(padding, device=device)
        # From lengths: SmolLM2 pads with the token that also ends every turn.
        inputs["attention_mask"] = (torch.arange(padded, device=device) < lengths[:, None]).long()
        with torch.inference_mode():
            if isinstance(getattr(model, "score", None), torch.nn.Module):
                # A decoder with a head, of any family. The model itself would read the score at the rightmost token
                # that is not the padding token: too early where the conversation ends with that very token.
                hidden = model.base_model(**inputs, use_cache=False).last_hidden_state
                logits = model.score(hidden[torch.arange(len(rows), device=device), lengths - 1])
            else:
                logits = model(**inputs).logits
        scores: FloatArray = logits.reshape(len(rows)).double().cpu().numpy()
        return scores


_loaded: dict[tuple[object, ...], RewardModel] = {}
_loading = threading.Lock()


def load_reward_model(
    name_or_path: str,
    device: str = "auto",
    dtype: str = "auto",
    max_length: int | None = None,
    batch_size: int = 16,
) -> RewardModel:
    """The reward model called `name_or_path`: `gold-mini`, a hub id, or a directory. Loaded once in a process.

    `dtype` is float32, bfloat16, or `auto`: bfloat16 where the device multiplies it natively, else float32.
    `max_length` is in tokens of prompt and answer; None is 1,024, or what the model can read if that is
    less. Raises ModelError when it cannot be loaded or is no reward model, ConfigError for an unusable
    device.
    """
    if dtype not in _DTYPES:
        raise ConfigError(f"a reward model's dtype is {dtype!r}. Allowed: {', '.join(_DTYPES)}.")
    if batch_size < 1:
        raise ConfigError(f"a reward model's batch_size is {batch_size}. Give at least 1.")
    key = (name_or_path, device, dtype, max_length, batch_size)
    with _loading:
        if key not in _loaded:
            _loaded[key] = _load(name_or_path, device, dtype, max_length, batch_size)
        return _loaded[key]


def _load(name: str, device: str, dtype: str, max_length: int | None, batch_size: int) -> RewardModel:
    try:
        from proxygold.models.causal_lm import pick_device, pick_dtype
        from proxygold.models.classifiers import load_classifier, load_reward_tokenizer
    except ImportError as error:
        raise ModelError(
            f"a reward model needs {error.name}, which is not installed. Run: pip install 'proxygold[train]'"
        ) from error

    path = find_reward_model(name)
    place = pick_device(device)
    model = load_classifier(path, name, pick_dtype(dtype, place)).to(place)
    tokenizer = load_reward_tokenizer(path, name)
    return RewardModel(
        name, model, tokenizer, max_length=_max_length(name, model.config, max_length), batch_size=batch_size
    )


def find_reward_model(name: str) -> str:
    """The directory or hub id of the reward model called `name`, without loading it. Raises ModelError."""
    if name.lower() == GOLD_MINI:
        if not (_GOLD_MINI_DIRECTORY / "adapter_config.json").is_file():
            raise ModelError("gold-mini is missing from this installation of proxygold: install the package again.")
        return str(_GOLD_MINI_DIRECTORY)
    directory = Path(resolve_model(name)).expanduser()
    if (directory / "adapter_config.json").is_file():
        return str(directory)
    return find_checkpoint(name, "reward model")


def check_reward_model(name: str, device: str = "auto", max_length: int | None = None) -> None:
    """Raise what `load_reward_model` would, as far as that can be told without reading the weights.

    For who needs the model late, such as a study its gold: that it is there, has one output and a tokenizer, reads
    `max_length` tokens, and, of a whole model in a directory, that its checkpoint lacks nothing.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from proxygold.models.causal_lm import pick_device
    from proxygold.models.classifiers import adapter_base, load_reward_tokenizer

    path = find_reward_model(name)
    pick_device(device)
    base = adapter_base(path)
    missing: set[str] = set()
    try:
        with quiet_loading():
            config = AutoConfig.from_pretrained(path if base is None else resolve_model(base))
            if not any("SequenceClassification" in kind for kind in config.architectures or ()):
                config.num_labels = 1  # the head of a model that was never a classifier is made with one output
            if base is None and Path(path).is_dir():
                # On this device the checkpoint's names and shapes are read, and nothing else.
                _, report = AutoModelForSequenceClassification.from_pretrained(
                    path, config=config, device_map="meta", output_loading_info=True
                )
                missing = set(report["missing_keys"])
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ModelError(f"cannot load {name!r} as a reward model: {error}") from error
    if missing:
        raise ModelError(
            f"{name!r} is not a reward model: its checkpoint has no {', '.join(sorted(missing))}. "
            "Give a sequence-classification model with one output, or train one: proxygold train reward-model."
        )
    if config.num_labels != 1:
        raise ModelError(
            f"{name!r} has {config.num_labels} outputs; a reward model has one. "
            "Choose a reward model, not a classifier."
        )
    _max_length(name, config, max_length)
    load_reward_tokenizer(path, name)


def _max_length(name: str, config: Any, asked: int | None) -> int:
    positions = positions_of(config)
    if asked is None:
        return min(_DEFAULT_MAX_LENGTH, positions or _DEFAULT_MAX_LENGTH)
    if asked < 1 or (positions is not None and asked > positions):
        raise ModelError(
            f"max_length is {asked}, but the reward model {name!r} reads 1 to {positions or 'any number of'} tokens."
        )
    return asked


def _tokenizer_text(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return json.dumps([type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())])
    return str(backend.to_str())
