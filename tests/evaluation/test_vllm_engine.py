"""vLLM's side of the contract, as vLLM 0.33 has it, played by the model in transformers: the same greedy answers."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from proxygold.errors import ModelError
from proxygold.evaluation.answers.answering import AnsweringSettings, ModelSubject
from proxygold.evaluation.answers.subjects import Request
from proxygold.evaluation.answers.vllm_engine import stream_seed
from proxygold.models.policy_settings import SamplingSettings

GREEDY = SamplingSettings(max_new_tokens=10, temperature=0)


@dataclass(kw_only=True)
class SamplingParams:
    """Of vLLM's, the names that are used, with its checks of them."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    max_tokens: int | None = 16
    stop_token_ids: list[int] = field(default_factory=list)
    detokenize: bool = True

    def __post_init__(self) -> None:
        assert self.temperature >= 0
        assert 0 < self.top_p <= 1
        assert self.max_tokens is not None
        assert self.max_tokens >= 1
        assert self.seed is None or 0 <= self.seed < 2**63  # what a torch generator takes


class LLM:
    made: list[LLM]

    def __init__(self, model: str, *, dtype: str = "auto", seed: int = 0) -> None:
        if "refused" in model:
            raise ValueError("Model architectures ['X'] are not supported for now.\nmore")
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype))
        self.calls: list[list[SamplingParams]] = []
        type(self).made.append(self)

    def generate(
        self, prompts: list[dict[str, list[int]]], sampling_params: list[SamplingParams], *, use_tqdm: bool = True
    ) -> list[Any]:
        self.calls.append(sampling_params)
        return [
            SimpleNamespace(outputs=[self._complete(prompt["prompt_token_ids"], params)], finished=True)
            for prompt, params in zip(prompts, sampling_params, strict=True)
        ]

    @torch.no_grad()
    def _complete(self, prompt: list[int], params: SamplingParams) -> Any:
        """Token ids with the one that ended them; the text stays empty, as asked."""
        ids: list[int] = []
        while len(ids) < (params.max_tokens or 16):
            logits = self.model(input_ids=torch.tensor([prompt + ids])).logits[0, -1].float()
            if params.temperature == 0:
                ids.append(int(logits.argmax()))
            else:
                generator = torch.Generator().manual_seed((params.seed or 0) + len(ids))
                ids.append(int(torch.multinomial(logits.softmax(0), 1, generator=generator)))
            if ids[-1] in params.stop_token_ids:
                return SimpleNamespace(text="", token_ids=ids, finish_reason="stop", stop_reason=ids[-1])
        return SimpleNamespace(text="", token_ids=ids, finish_reason="length", stop_reason=None)


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> type[LLM]:
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams  # type: ignore[attr-defined]
    module.__spec__ = SimpleNamespace(name="vllm")  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "vllm", module)
    LLM.made = []
    return LLM


@pytest.fixture
def model(tmp_path: Path, tiny_llama: Any, word_tokenizer: Any) -> Path:
    # With an output layer of its own: with a tied one, the likeliest word is always the last one again.
    config = LlamaConfig(**(tiny_llama().config.to_dict() | {"tie_word_embeddings": False}))
    torch.manual_seed(0)
    directory = tmp_path / "model"
    LlamaForCausalLM(config).save_pretrained(directory)
    word_tokenizer.save_pretrained(directory)
    return directory


def subject(model: Path, engine: str, base: Path | None = None) -> ModelSubject:
    settings = AnsweringSettings(template="none", dtype="float32", device="cpu", engine=engine)
    return ModelSubject("m", str(model), settings, base=None if base is None else str(base))


def test_greedy_answers_are_those_of_the_other_engine(vllm: type[LLM], model: Path, tmp_path: Path) -> None:
    requests = [Request(str(i), f"w{i % 15 + 1} w{i % 4 + 1}", GREEDY) for i in range(12)]
    fast = subject(model, "vllm").answer(requests, tmp_path / "fast.jsonl")
    ours = subject(model, "transformers").answer(requests, tmp_path / "ours.jsonl")
    assert fast == ours
    assert {given[0].finished for given in ours} == {True, False}


def test_each_answer_has_a_stream_of_its_own(vllm: type[LLM], model: Path, tmp_path: Path) -> None:
    sampling = SamplingSettings(max_new_tokens=7, temperature=0.7, top_p=0.9, top_k=5)
    requests = [Request("a", "w1", sampling, 3), Request("b", "w1", GREEDY, number=9)]
    answers = subject(model, "vllm").answer(requests, tmp_path / "a.jsonl", seed=4)
    assert [(answer.id, answer.draw) for given in answers for answer in given] == [
        ("a", 0),
        ("a", 1),
        ("a", 2),
        ("b", 0),
    ]
    (calls,) = vllm.made[0].calls
    expected = [stream_seed(4, 0, 0), stream_seed(4, 0, 1), stream_seed(4, 0, 2), stream_seed(4, 9, 0)]
    assert [params.seed for params in calls] == expected
    assert len(set(expected)) == 4
    assert calls[0] == SamplingParams(
        temperature=0.7, top_p=0.9, top_k=5, seed=expected[0], max_tokens=7, stop_token_ids=[0], detokenize=False
    )
    assert calls[3].top_k == 0
    again = subject(model, "vllm").answer(requests, tmp_path / "b.jsonl", seed=4)
    assert again == answers


def test_what_is_handed_over_at_a_time_is_bounded(
    vllm: type[LLM], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxygold.evaluation.answers.vllm_engine._AT_A_TIME", 5)
    short = SamplingSettings(max_new_tokens=1, temperature=0)
    requests = [Request(str(i), "w1", short, samples=2) for i in range(5)]
    done: list[int] = []
    subject(model, "vllm").answer(requests, tmp_path / "a.jsonl", progress=done.append)
    assert [len(call) for call in vllm.made[0].calls] == [6, 4]
    assert done == [0, 1, 1, 1, 1, 1]


def test_an_adapter_is_merged_first(vllm: type[LLM], model: Path, tmp_path: Path, tiny_policy: Any) -> None:
    adapter = tmp_path / "adapter"
    tiny_policy(perturbed=True).save_adapter(adapter)
    requests = [Request(str(i), f"w{i + 1}", GREEDY) for i in range(15)]
    fast = subject(adapter, "vllm", model).answer(requests, tmp_path / "fast.jsonl")
    assert fast == subject(adapter, "transformers", model).answer(requests, tmp_path / "ours.jsonl")
    assert fast != subject(model, "transformers").answer(requests, tmp_path / "plain.jsonl")


def test_what_vllm_cannot_load_is_told(vllm: type[LLM], model: Path, tmp_path: Path) -> None:
    refused = model.rename(tmp_path / "refused")
    message = r"vLLM cannot load .*refused': Model architectures .* supported for now.\nGive --engine transformers"
    with pytest.raises(ModelError, match=message):
        subject(refused, "vllm").answer([Request("a", "w1", GREEDY)], tmp_path / "a.jsonl")
