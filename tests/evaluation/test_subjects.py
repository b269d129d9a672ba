"""What --model, --adapter and --outputs name."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from proxygold.errors import ConfigError, DataError, ModelError
from proxygold.evaluation.answers.outputs import GivenOutputs
from proxygold.evaluation.answers.subjects import Subject, model_name, open_subjects


@pytest.fixture
def model(tmp_path: Path, tiny_llama: Any, word_tokenizer: Any) -> Path:
    directory = tmp_path / "model"
    tiny_llama().save_pretrained(directory)
    word_tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
def adapter(tmp_path: Path, tiny_policy: Any) -> Path:
    directory = tmp_path / "grpo" / "checkpoint-5"
    directory.mkdir(parents=True)
    tiny_policy(perturbed=True).save_adapter(directory)
    return directory


def test_models_and_outputs_in_the_order_given(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "gpt4.jsonl.gz"
    (tmp_path / "plain.json").write_text('[{"output": "x"}]')
    with pytest.raises(DataError, match="there is no file"):
        open_subjects(None, None, [str(file)])
    found = open_subjects([f"mine={model}", str(model)], None, [str(tmp_path / "plain.json")], dtype="float32")
    assert [one.name for one in found] == ["mine", "model", "plain"]
    assert isinstance(found[0], Subject)
    assert isinstance(found[2], GivenOutputs)
    assert not isinstance(found[2], Subject)


def test_what_a_model_is_goes_on_record(model: Path, adapter: Path) -> None:
    options: dict[str, Any] = {"template": "none", "system": "Be brief.", "dtype": "float32", "device": "cpu"}
    (whole,) = open_subjects([str(model)], None, None, **options)
    assert dict(whole.about) == {
        "model": str(model),
        "adapter": None,
        "weights": whole.about["weights"],
        "template": "none",
        "system": "Be brief.",
        "dtype": "float32",
        "engine": "transformers",
        "device": "cpu",
    }
    (adapted,) = open_subjects([str(model)], [str(adapter)], None, **options)
    assert (adapted.name, adapted.about["model"], adapted.about["adapter"]) == (
        "grpo/checkpoint-5",
        str(model),
        str(adapter),
    )
    assert adapted.about["weights"] != whole.about["weights"]
    (again,) = open_subjects([f"other={model}"], None, None, **options)
    assert again.about["weights"] == whole.about["weights"]
    (model / "config.json").write_text((model / "config.json").read_text() + " ")
    (changed,) = open_subjects([str(model)], None, None, **options)
    assert changed.about["weights"] != whole.about["weights"]


def test_several_adapters_on_one_model(model: Path, adapter: Path) -> None:
    found = open_subjects([str(model)], [f"a={adapter}", f"b={adapter}"], None)
    assert [one.name for one in found] == ["a", "b"]
    with pytest.raises(ConfigError, match="--adapter is put on the one --model, and 2 were given: x, y"):
        open_subjects(["x", "y"], [str(adapter)], None)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([], [], []), {}, ConfigError, "there is nothing to evaluate. Give --model MODEL"),
        ((["m="], [], []), {}, ConfigError, "'m=' names nothing. Write NAME=MODEL or NAME=FILE"),
        ((["DIR", "DIR"], [], []), {}, ConfigError, "'model' is the name of more than one"),
        ((["DIR/none"], [], []), {}, ModelError, "the model '.*none' is not a directory"),
        ((["DIR"], ["DIR"], []), {}, ModelError, "the adapter '.*model' is a directory without adapter_config.json"),
        ((["DIR"], [], []), {"dtype": "int4"}, ConfigError, "--dtype: Input should be .*given: 'int4'"),
        ((["DIR"], [], []), {"engine": "tgi"}, ConfigError, "--engine is 'tgi'; allowed: auto, transformers, vllm"),
    ],
)
def test_errors_say_what_to_do(
    model: Path, arguments: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    given = [[text.replace("DIR", str(model)) for text in texts] for texts in arguments]
    with pytest.raises(error, match=message):
        open_subjects(*given, **options)


def test_a_path_with_an_equals_sign_is_a_path(tmp_path: Path, model: Path) -> None:
    there = tmp_path / "lr=1e-5"
    model.rename(there)
    assert [one.name for one in open_subjects([str(there)], None, None)] == ["lr=1e-5"]


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_vllm_that_is_not_installed_is_an_error_before_anything_is_loaded(model: Path) -> None:
    (subject,) = open_subjects([str(model)], None, None, engine="vllm")
    with pytest.raises(ConfigError, match="--engine vllm needs vLLM, which is not installed. Run: pip install vllm"):
        _ = subject.about


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("smollm2-135m-instruct", "smollm2-135m-instruct"),
        ("runs/a/RER/seed-1/checkpoints/step-500", "RER/seed-1/step-500"),
        ("verl/global_step_20/actor/huggingface", "verl/global_step_20"),
        ("out/step_20", "out/step_20"),
    ],
)
def test_names_of_models(model: str, name: str) -> None:
    assert model_name(model) == name
