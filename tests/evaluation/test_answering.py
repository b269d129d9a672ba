"""Answers of real models: the same whatever the batch, gone on with after a stop, and never mixed with others."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from proxygold.errors import DataError, ModelError, StoreError
from proxygold.evaluation.answers import engines
from proxygold.evaluation.answers.answering import AnsweringSettings, ModelSubject, Shelf
from proxygold.evaluation.answers.subjects import Answer, Request, open_subjects
from proxygold.models import sampling_policy
from proxygold.models.generation import generate
from proxygold.models.policy import Policy
from proxygold.models.policy_settings import PolicySettings, SamplingSettings

SAMPLING = SamplingSettings(max_new_tokens=10, temperature=0.8)
REQUESTS = [
    Request(f"q{i}", " ".join(f"w{(i * j) % 15 + 1}" for j in range(1, i % 7 + 2)), SAMPLING) for i in range(12)
]


@pytest.fixture
def model(tmp_path: Path, tiny_llama: Any, word_tokenizer: Any) -> Path:
    directory = tmp_path / "model"
    tiny_llama().save_pretrained(directory)
    word_tokenizer.save_pretrained(directory)
    return directory


def subject(model: Path | str, *, base: Path | None = None, force: bool = False, **settings: Any) -> ModelSubject:
    chosen = {"template": "none", "dtype": "float32", "device": "cpu", "batch_size": 4, **settings}
    on = None if base is None else str(base)
    return ModelSubject("m", str(model), AnsweringSettings(**chosen), base=on, force=force)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_answers_are_those_of_the_model_each_from_its_own_stream(model: Path, tmp_path: Path) -> None:
    policy = Policy.load(PolicySettings(model=str(model), prompt_template="none", dtype="float32", device="cpu"))
    requests = [*REQUESTS, Request("two", "w3", SamplingSettings(max_new_tokens=5, temperature=0), samples=2)]
    done: list[int] = []
    answers = subject(model).answer(requests, tmp_path / "a.jsonl", seed=3, progress=done.append)
    for number, (request, given) in enumerate(zip(requests, answers, strict=True)):
        alone = generate(
            policy,
            [request.prompt],
            request.sampling,
            seed=3,
            samples_per_prompt=request.samples,
            batch_size=1,
            numbers=[number],
        )
        assert given == [
            Answer(request.id, one.text, len(one.token_ids), one.finished, draw) for draw, one in enumerate(alone)
        ]
    assert sum(done) == len(requests)
    assert {answer.finished for given in answers for answer in given} == {True, False}
    # What is written is what was returned, ready to be scored or to be given as --outputs.
    rows = lines(tmp_path / "a.jsonl")
    assert sorted((row["id"], row["draw"], row["completion"]) for row in rows) == sorted(
        (answer.id, answer.draw, answer.text) for given in answers for answer in given
    )
    assert {row["prompt"] for row in rows} == {request.prompt for request in requests}


def test_batch_size_changes_at_most_one_answer_in_a_hundred(tiny_models: tuple[Path, Path], tmp_path: Path) -> None:
    # Random weights over 49,152 tokens: no token is likely, so that rounding has every chance to flip one.
    sampling = SamplingSettings(max_new_tokens=6, temperature=1.0)
    requests = [Request(str(i), "Name a color. " * (i % 9 + 1) + str(i), sampling) for i in range(100)]
    texts = []
    for size in (1, 8):
        answering = subject(tiny_models[0], template="chat", batch_size=size)
        texts.append([given[0] for given in answering.answer(requests, tmp_path / f"{size}.jsonl")])
    same = sum(one == other for one, other in zip(*texts, strict=True))
    assert same >= 99, f"{same} of 100 answers are identical at batch 1 and batch 8"
    assert len({answer.text for answer in texts[0]}) > 95  # and they are not all the same one


def test_a_stopped_evaluation_goes_on_at_the_next_prompt(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = subject(model).answer(REQUESTS, tmp_path / "whole.jsonl")
    file = tmp_path / "stopped.jsonl"
    done = 0

    def stop(more: int) -> None:
        nonlocal done
        done += more
        if done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        subject(model).answer(REQUESTS, file, progress=stop)
    assert len(lines(file)) == 6  # nothing that was told as done is lost
    before = file.read_bytes()
    file.write_bytes(before + before.splitlines()[0][:40])  # the process was killed in the middle of a line
    asked: list[str] = []

    def counted(policy: Any, prompts: Any, *arguments: Any, **options: Any) -> Any:
        asked.extend(prompts)
        return generate(policy, prompts, *arguments, **options)

    monkeypatch.setattr(engines, "generate", counted)
    told: list[int] = []
    assert subject(model, batch_size=8).answer(REQUESTS, file, progress=told.append) == whole
    answered = {row["prompt"] for row in map(json.loads, before.splitlines())}
    assert len(asked) == 6
    assert not answered & set(asked)
    assert told == [6, *[1] * 6]
    assert file.read_bytes().startswith(before)
    assert sorted(row["id"] for row in lines(file)) == sorted(request.id for request in REQUESTS)


def test_what_is_all_answered_needs_no_weights(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = subject(model).answer(REQUESTS, tmp_path / "a.jsonl")
    monkeypatch.setattr(sampling_policy, "load_sampling_policy", pytest.fail)
    assert subject(model).answer(REQUESTS, tmp_path / "a.jsonl") == first
    assert subject(model).answer(REQUESTS[:3], tmp_path / "a.jsonl") == first[:3]  # some of them, as with --limit


def test_more_samples_keep_those_that_are_there(model: Path, tmp_path: Path) -> None:
    def asked(samples: int) -> list[Request]:
        return [Request("a", "w1", SAMPLING, samples), Request("b", "w2 w3", SAMPLING, samples)]

    few = subject(model).answer(asked(2), tmp_path / "a.jsonl")
    many = subject(model).answer(asked(5), tmp_path / "a.jsonl")
    assert [given[:2] for given in many] == few
    assert [[answer.draw for answer in given] for given in many] == [[0, 1, 2, 3, 4]] * 2
    assert len(lines(tmp_path / "a.jsonl")) == 10


def test_a_second_turn_goes_into_the_same_file(model: Path, tmp_path: Path) -> None:
    answering, file = subject(model), tmp_path / "a.jsonl"
    (first,) = answering.answer([Request("81/1", "w1", SAMPLING)], file)
    turns: Any = [
        {"role": "user", "content": "w1"},
        {"role": "assistant", "content": first[0].text},
        {"role": "user", "content": "w2"},
    ]
    too_long: Any = [{"role": "user", "content": "w1 " * 200}]
    both = [Request("81/2", turns, SAMPLING), Request("82/2", too_long, SAMPLING)]
    second, none = answering.answer(both, file)
    assert (len(second), none) == (1, [])
    assert [row["id"] for row in lines(file)] == ["81/1", "81/2"]
    assert answering.left_out.keys() == {"82/2"}
    assert "a prompt of 200 tokens and 10 new ones do not fit the model's 128" in answering.left_out["82/2"]
    answering.answer([Request("x", "w1", SAMPLING)], tmp_path / "b.jsonl")
    assert answering.left_out == {}


def test_answers_of_other_settings_are_not_taken(model: Path, tmp_path: Path, tiny_llama: Any) -> None:
    file = tmp_path / "a.jsonl"
    subject(model).answer(REQUESTS[:2], file)

    def refused(message: str, asked: Request = REQUESTS[0], seed: int = 0, **settings: Any) -> None:
        before = file.read_bytes()
        with pytest.raises(StoreError, match=f"{file} has answers of other settings: {message}.*anew with --force"):
            subject(model, **settings).answer([asked], file, seed=seed)
        assert file.read_bytes() == before

    refused("its answer to q0 has another prompt", Request("q0", "w9", SAMPLING))
    refused("its answer to q0 has seed 0, and 1 is asked for", seed=1)
    refused("its answer to q0 has number 0, and 5 is asked for", Request("q0", REQUESTS[0].prompt, SAMPLING, number=5))
    longer = SAMPLING.model_copy(update={"max_new_tokens": 11})
    refused("its answer to q0 has max_new_tokens 10, and 11 is asked for", Request("q0", REQUESTS[0].prompt, longer))
    refused("template was 'none' and is 'hh'", template="hh")
    refused("system was None and is 'w3'", system="w3")
    refused("dtype was 'float32' and is 'bfloat16'", dtype="bfloat16")
    tiny_llama(seed=1).save_pretrained(model)
    refused("they are of other weights")
    # Begun anew: answers of another model go, those of another setting go where they are asked for again.
    subject(model, force=True).answer(REQUESTS[:3], file)
    assert [row["id"] for row in lines(file)] == ["q2", "q1", "q0"]  # the longest prompt first
    subject(model, force=True).answer(REQUESTS[:1], file, seed=1)
    assert [(row["id"], row["seed"]) for row in lines(file)] == [("q2", 0), ("q1", 0), ("q0", 1)]
    (tmp_path / "a.about.json").unlink()
    refused("a.about.json, which says what answered, is missing")


def test_a_damaged_line_is_named(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    subject(model).answer(REQUESTS[:2], file)
    file.write_text("{}\n" + file.read_text())
    with pytest.raises(StoreError, match=r"a.jsonl:1 is not a record of this kind. Delete that line, and only its"):
        subject(model).answer(REQUESTS[:2], file)


def test_two_questions_of_one_id_are_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two questions have the id 'q0'"):
        subject(model).answer([REQUESTS[0], REQUESTS[0]], tmp_path / "a.jsonl")


def test_an_adapter_is_put_on_the_model_that_is_given(model: Path, tmp_path: Path, tiny_policy: Any) -> None:
    policy = tiny_policy(perturbed=True)
    adapter = tmp_path / "adapter"
    policy.save_adapter(adapter)  # says that it is of "tiny", which is nowhere
    answers = subject(adapter, base=model).answer(REQUESTS, tmp_path / "a.jsonl")
    expected = generate(policy, [request.prompt for request in REQUESTS], SAMPLING, seed=0)
    assert [given[0].text for given in answers] == [one.text for one in expected]
    plain = subject(model).answer(REQUESTS, tmp_path / "b.jsonl")
    assert [given[0].text for given in plain] != [given[0].text for given in answers]
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(model)}))
    assert subject(adapter).answer(REQUESTS, tmp_path / "c.jsonl") == answers  # as a model of its own
    with pytest.raises(ModelError, match="the adapter .* is a directory without adapter_config.json"):
        subject(model, base=model)


def test_one_model_is_in_memory_at_a_time(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[Any]] = []
    load = sampling_policy.load_sampling_policy

    def watched(*arguments: Any) -> Any:
        gc.collect()
        assert all(one() is None for one in alive)
        policy = load(*arguments)
        alive.append(weakref.ref(policy))
        return policy

    monkeypatch.setattr(sampling_policy, "load_sampling_policy", watched)
    options: dict[str, Any] = {"template": "none", "dtype": "float32", "device": "cpu"}
    models = open_subjects([f"a={model}", f"b={model}"], None, None, **options)
    for one in models:
        assert isinstance(one, ModelSubject)
        one.answer(REQUESTS[:2], tmp_path / f"{one.name}.jsonl")
        one.answer(REQUESTS[2:4], tmp_path / f"{one.name}.jsonl")  # is not loaded again
    assert len(alive) == 2
    assert isinstance(models[0], ModelSubject)
    models[0].release()
    gc.collect()
    assert alive[1]() is None
    Shelf().clear()  # of nothing


def test_too_large_a_batch_says_what_to_do(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(engines, "generate", full)
    with pytest.raises(ModelError, match="4 answers at a time do not fit .* Give a smaller --batch-size"):
        subject(model).answer(REQUESTS, tmp_path / "a.jsonl")


def test_a_template_that_the_model_lacks_is_named_as_the_option(model: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="--template is 'chat', but the model's tokenizer has no chat template"):
        subject(model, template="chat").answer(REQUESTS, tmp_path / "a.jsonl")
