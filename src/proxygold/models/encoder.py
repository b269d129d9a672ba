"""The bi-encoder M of the paper: text in, vector out, and relevance is the dot product of two vectors.

Any Hugging Face checkpoint is taken with mean pooling over the attention mask, as the paper takes
facebook/contriever; a sentence-transformers model (one with a `modules.json`) is taken with the modules that
it declares, static embeddings and bags of words included. `all-minilm-l6-v2` is the one that comes as a package.

Embeddings are float32, and a text's embedding does not depend on what else is embedded with it. On a CPU, texts for a
BERT or a RoBERTa are laid end to end without padding (`packed.py`). Elsewhere the length that a text is padded to
depends on its own length alone, and only texts padded to one length share a forward pass. In float32 on a CPU the
result is then the same to the last bit for every batch size (a test holds that), which is what lets a resumed training
run repeat its rewards exactly. On a GPU, and in bfloat16, the last bits can still depend on the batch.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from proxygold.errors import ConfigError, ModelError
from proxygold.models.bundled import BUNDLED_ENCODER
from proxygold.models.hub import find_checkpoint
from proxygold.models.quiet import quiet_loading

if TYPE_CHECKING:
    import torch

__all__ = ["Encoder", "EncoderSettings", "load_encoder"]

_PAPER_MAX_LENGTH = 512
_DTYPES = ("auto", "float32", "bfloat16", "float16")
_SIDES = ("left", "right")


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """Which encoder, and how it is used.

    - `model`: a bundled name, a hub id, or a directory.
    - `normalize`: vectors of length 1, so that the dot product is the cosine. None: as the model's own
      configuration declares, that is, whether its modules end in a Normalize. False takes such a module out.
    - `max_length`: tokens of a text that are read, special tokens included. None: 512 as in the paper, or
      what the model declares if that is less (all-MiniLM-L6-v2 declares 256). A model that is no transformer
      reads all of a text, and takes no `max_length`.
    - `truncation_side`: the side that a longer text loses. `left` as in the paper.
    - `dtype`: of weights and activations; `auto` is float32.
    - `device`: a torch device; `auto` is the GPU where there is one.
    - `batch_tokens`: tokens, any padding included, of one forward pass. None: 2,048 on a CPU, 65,536 elsewhere.
    - `cache`: a directory that keeps the embeddings of prompts and references for other processes and later runs
      (`rewards/embedding_file.py`). None: they are kept in memory alone. It changes no embedding.
    """

    model: str = BUNDLED_ENCODER
    normalize: bool | None = None
    max_length: int | None = None
    truncation_side: Literal["left", "right"] = "left"
    dtype: str = "auto"
    device: str = "auto"
    batch_tokens: int | None = None
    cache: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise ConfigError(f"encoder.dtype is {self.dtype!r}. Allowed: {', '.join(_DTYPES)}.")
        if self.truncation_side not in _SIDES:
            raise ConfigError(f"encoder.truncation_side is {self.truncation_side!r}. Allowed: {', '.join(_SIDES)}.")
        for name in ("max_length", "batch_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"encoder.{name} is {value}. Give a number of tokens of at least 1, or none.")


class Encoder:
    """A loaded bi-encoder. Threads may share it: they take turns. Made by `load_encoder`."""

    def __init__(self, settings: EncoderSettings, pipeline: Any) -> None:
        # `pipeline` is a SentenceTransformer, whose modules are applied one after another.
        self.settings = settings
        # None: no transformer, whose texts are read whole.
        self.max_length = _max_length(settings, pipeline) if _is_transformer(pipeline) else None
        self._pipeline = pipeline
        self._tokenizer = pipeline.tokenizer
        if self.max_length is not None:
            self._tokenizer.truncation_side = settings.truncation_side
        self._prefix: str = (pipeline.prompts or {}).get(pipeline.default_prompt_name, "")
        on_cpu = pipeline.device.type == "cpu"
        self._packed = on_cpu and self.max_length is not None and _pack(pipeline)
        self._batch_tokens = settings.batch_tokens or (2_048 if on_cpu else 65_536)
        # The Rust tokenizer refuses two threads at once, and two forward passes at once would only share the
        # cores.
        self._lock = threading.Lock()

    @property
    def dimension(self) -> int:
        """The length d of an embedding."""
        return int(self._pipeline.get_embedding_dimension())

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The embeddings of n texts: (n, d) float32, in the order given. Equal texts are computed once."""
        distinct = list(dict.fromkeys(texts))
        if not distinct:
            return np.zeros((0, self.dimension), dtype=np.float32)
        with self._lock:
            vectors = (
                self._embed_one_by_one(distinct)
                if self.max_length is None
                else self._embed_in_batches(distinct, self.max_length)
            )
        row = {text: index for index, text in enumerate(distinct)}
        return vectors[[row[text] for text in texts]]

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of everything that decides an embedding: weights, modules, tokenizer and settings."""
        digest = hashlib.sha256()
        decisive = {
            "modules": [[type(module).__name__, _module_settings(module)] for module in self._pipeline],
            "max_length": self.max_length,
            "truncation_side": self.settings.truncation_side,
            "prefix": self._prefix,
            "tokenizer": _tokenizer_state(self._tokenizer),
        }
        digest.update(json.dumps(decisive, sort_keys=True, default=str).encode())
        for name, tensor in self._pipeline.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(_bytes(tensor))
        return digest.hexdigest()

    def _embed_one_by_one(self, texts: list[str]) -> NDArray[np.float32]:
        # Each alone: a model of any make then gives a text the same vector whatever stands beside it. Those that are no
        # transformers look words up, and have little to gain from batches.
        vectors: NDArray[np.float32] = self._pipeline.encode(texts, batch_size=1, show_progress_bar=False)
        return vectors.astype(np.float32, copy=False)

    def _embed_in_batches(self, texts: list[str], max_length: int) -> NDArray[np.float32]:
        import torch

        encoded = self._tokenizer([self._prefix + text for text in texts], truncation=True, max_length=max_length)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        with torch.inference_mode():
            if self._packed:
                from proxygold.models.packed import packed_states

                for row, states in packed_states(self._pipeline[0].auto_model, encoded, self._batch_tokens):
                    features = {
                        "token_embeddings": states,
                        "attention_mask": torch.ones(states.shape[:2], dtype=torch.long),
                    }
                    vectors[row] = _apply(list(self._pipeline)[1:], features)[0]
                return vectors
            for padded, rows in self._batches(lengths, max_length):
                batch = self._tokenizer.pad(
                    {key: [values[row] for row in rows] for key, values in encoded.items()},
                    padding="max_length",
                    max_length=padded,
                    return_tensors="pt",
                )
                vectors[rows] = _apply(
                    self._pipeline, {key: value.to(self._pipeline.device) for key, value in batch.items()}
                )
        return vectors

    def _batches(self, lengths: list[int], max_length: int) -> Iterator[tuple[int, list[int]]]:
        """Padded length and row numbers of each forward pass."""
        by_length: defaultdict[int, list[int]] = defaultdict(list)
        for row, length in enumerate(lengths):
            by_length[min(_padded_length(length), max_length)].append(row)
        for padded, rows in sorted(by_length.items()):
            size = max(1, self._batch_tokens // padded)
            for start in range(0, len(rows), size):
                yield padded, rows[start : start + size]


_loaded: dict[EncoderSettings, Encoder] = {}
_loading = threading.Lock()


def load_encoder(settings: EncoderSettings | None = None) -> Encoder:
    """The encoder for `settings`, loaded once in a process.

    Raises ModelError when it cannot be loaded or cannot read `max_length` tokens.
    """
    settings = settings or EncoderSettings()
    with _loading:
        if settings not in _loaded:
            _loaded[settings] = Encoder(settings, _load_pipeline(settings))
        return _loaded[settings]


def _load_pipeline(settings: EncoderSettings) -> Any:
    """A SentenceTransformer with exactly the modules that `settings` ask for."""
    try:
        import torch
        from safetensors import SafetensorError
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Normalize
    except ImportError as error:
        raise ModelError(
            f"an encoder needs {error.name}, which is not installed. Run: pip install 'proxygold[encoder]'"
        ) from error

    if settings.device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"encoder.device is {settings.device!r}, but there is no CUDA GPU here. Give cpu or auto.")
    dtype = torch.float32 if settings.dtype == "auto" else getattr(torch, settings.dtype)
    path = find_checkpoint(settings.model, "encoder")
    try:
        with quiet_loading():
            pipeline = SentenceTransformer(
                path,
                device=None if settings.device == "auto" else settings.device,
                model_kwargs={"dtype": dtype},
            )
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, SafetensorError) as error:
        # What a damaged file, an unknown architecture and an unknown device raise.
        raise ModelError(
            f"the encoder {settings.model!r} cannot be loaded: {error}\n"
            "If the settings above are right, its files may be damaged: download it again."
        ) from error
    if settings.max_length is not None and not _is_transformer(pipeline):
        raise ConfigError(
            f"encoder.max_length is {settings.max_length}, but {settings.model!r} begins with "
            f"{type(pipeline[0]).__name__}, which reads texts whole. Leave max_length out."
        )
    declared = isinstance(pipeline[-1], Normalize)
    if settings.normalize is False and declared:
        # encode(normalize_embeddings=False) of sentence-transformers would leave the module in.
        pipeline.pop(-1)
    elif settings.normalize and not declared:
        pipeline.append(Normalize())
    return pipeline.eval()


def _is_transformer(pipeline: Any) -> bool:
    from sentence_transformers.sentence_transformer.modules import Transformer

    return isinstance(pipeline[0], Transformer)


def _pack(pipeline: Any) -> bool:
    """Set the encoder up for texts without padding, if it is of a kind that can be."""
    from proxygold.models.packed import pack_attention

    model = getattr(pipeline[0], "auto_model", None)
    # The modules after the first see one text at a time, as token states.
    return model is not None and len(pipeline) > 1 and pack_attention(model)


def _apply(modules: Iterable[Any], features: dict[str, Any]) -> NDArray[np.float32]:
    for module in modules:
        features = module(features)
    vectors: NDArray[np.float32] = features["sentence_embedding"].float().cpu().numpy()
    return vectors


def _max_length(settings: EncoderSettings, pipeline: Any) -> int:
    positions = _positions(pipeline[0])
    if settings.max_length is None:
        limits = (_PAPER_MAX_LENGTH, pipeline.max_seq_length, positions)
        return min(limit for limit in limits if limit is not None)
    if positions is not None and settings.max_length > positions:
        raise ModelError(
            f"encoder.max_length is {settings.max_length}, but {settings.model!r} has {positions} positions. "
            f"Give at most {positions}."
        )
    return settings.max_length


def _positions(transformer: Any) -> int | None:
    """How many tokens the model has learned positions for; None where positions are not learned."""
    for name, module in transformer.named_modules():
        if name.endswith("position_embeddings") and hasattr(module, "num_embeddings"):
            # RoBERTa and its kin count positions from the one after the padding index.
            reserved = 0 if module.padding_idx is None else module.padding_idx + 1
            return int(module.num_embeddings) - reserved
    return None


def _padded_length(length: int) -> int:
    """Few enough lengths for texts to share forward passes, close enough for little padding."""
    step = 8 if length <= 128 else 32
    return -(-length // step) * step


def _tokenizer_state(tokenizer: Any) -> Any:
    """What decides a tokenizer's output: all of a fast one, kind and vocabulary of any other."""
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(backend, "to_str"):
        vocabulary = tokenizer.get_vocab()
        return [
            type(tokenizer).__name__,
            sorted(vocabulary.items()) if isinstance(vocabulary, Mapping) else list(vocabulary),
        ]
    state = json.loads(backend.to_str())
    # Every call sets these two anew.
    return {key: value for key, value in state.items() if key not in ("truncation", "padding")}


def _module_settings(module: Any) -> dict[str, Any]:
    if not hasattr(module, "auto_model"):
        return dict(module.get_config_dict())
    # Not where the model lies nor who saved it: these change no embedding.
    bookkeeping = {"_name_or_path", "transformers_version", "dtype", "architectures"}
    config = module.auto_model.config.to_diff_dict()
    return {key: value for key, value in config.items() if key not in bookkeeping}


def _bytes(tensor: torch.Tensor) -> bytes:
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
