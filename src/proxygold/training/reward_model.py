"""Training a reward model on preference pairs, with TRL's RewardTrainer: LoRA and a head of one output.

The loss is that of Bradley and Terry: -log sigmoid(score of the chosen - score of the rejected answer).
What is held out is scored with the saved model as anybody will load it, so the accuracies are of what
ships, not of what was in memory.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from proxygold.data.preferences import PreferencePair
from proxygold.errors import DataError, ModelError, StoreError, TrainingError
from proxygold.models.bundled import BUNDLED_POLICY, resolve_model
from proxygold.records import Example
from proxygold.store import to_json, whole_directory, write_whole
from proxygold.training.pair_accuracy import AccuracyTable, measure_accuracy
from proxygold.training.pairs import PairOrder, encode_pairs, split_by_prompt, without_prompts_of
from proxygold.training.trainer_checkpoints import last_checkpoint, watch_checkpoints

if TYPE_CHECKING:
    from proxygold.models.reward_models import RewardModel

__all__ = ["RewardModelConfig", "TrainedRewardModel", "evaluate_pairs", "train_reward_model"]

_log = logging.getLogger(__name__)


class RewardModelConfig(BaseModel):
    """Settings of one training. The defaults are those of gold-mini, as far as they are not its data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = BUNDLED_POLICY
    """The language model to start from: a bundled name, a hub id or a directory."""
    chat_template: str | None = None
    """A Jinja chat template to use in place of the model's own, and to save with the reward model."""
    max_length: int = Field(default=256, ge=8)
    """Tokens of prompt and answer. A pair with a longer side is left out, counted and reported."""
    epochs: float = Field(default=2.0, gt=0)
    max_steps: int | None = Field(default=None, ge=1)
    """Optimiser steps, in place of `epochs`."""
    batch_size: int = Field(default=8, ge=1)
    """Pairs of one step."""
    learning_rate: float = Field(default=3e-4, gt=0)
    warmup_steps: int = Field(default=20, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    center_rewards: float = Field(default=0.01, ge=0)
    """Weight of the squared sum of a pair's scores in the loss, which keeps them near 0 (Eisenstein 2023)."""
    lora_r: int = Field(default=8, ge=1)
    lora_alpha: int = Field(default=16, ge=1)
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    lora_layers: int | None = Field(default=16, ge=1)
    """How many of the uppermost layers are adapted; None is all. Backward stops at the lowest of them."""
    lora_modules: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    held_out: float = Field(default=0.1, gt=0, lt=1)
    """Share of the prompts that are held out, where no pairs to hold out are given."""
    save_every: int = Field(default=50, ge=1)
    """Steps between checkpoints, from which a stopped training goes on."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the frozen weights; adapters and head are trained in float32."""


@dataclass(frozen=True, slots=True)
class TrainedRewardModel:
    """What a training made: the adapter's directory, the accuracy on held-out pairs, and what went in.

    `dropped_pairs` are too long. `shared_pairs` have a prompt of the held-out pairs that were given. `refused` has the
    place of every pair, held-out ones included, that the chat template refuses, and why.
    """

    directory: Path
    accuracy: AccuracyTable
    trained_pairs: int
    dropped_pairs: int
    shared_pairs: int
    refused: tuple[str, ...]
    held_out_pairs: int
    steps: int
    final_loss: float
    """Mean training loss over the last tenth of the steps."""


def train_reward_model(
    config: RewardModelConfig,
    pairs: Sequence[PreferencePair],
    out: Path,
    *,
    held_out: Sequence[PreferencePair] | None = None,
    verbose: bool = False,
) -> TrainedRewardModel:
    """Train on `pairs`; `out` gets `model/` (adapter, head, template), `accuracy.json` and `checkpoints/`.

    A training that was stopped goes on from its last checkpoint when it is called again with the same
    settings and pairs; with others, `out` is refused. `held_out` is what accuracy is measured on; None
    holds out `config.held_out` of the prompts. Pairs that begin with a first user turn of `held_out` are not
    trained on. They go from the training, not from `held_out`: that is often a published test set, whose
    accuracies can be compared only while it is whole.

    A pair that the chat template refuses is left out, of either side, and listed.

    Raises DataError when too few pairs are left, ModelError when the model cannot be loaded, StoreError when
    `out` belongs to another training or cannot be written, TrainingError when the loss is not finite.
    """
    shared = 0
    if held_out is None:
        pairs, held_out = split_by_prompt(pairs, config.held_out)
    else:
        given = len(pairs)
        pairs = without_prompts_of(held_out, pairs)
        shared = given - len(pairs)
    tokenizer = _load_tokenizer(config)
    readable = encode_pairs(tokenizer, held_out)
    if not readable.pairs:
        first = f" The first: {readable.refused[0]}." if readable.refused else ""
        raise DataError(f"none of the {len(held_out)} pairs to hold out can be used.{first}")
    _claim(out, config, pairs, held_out)
    model_directory = out / "model"
    if not model_directory.is_dir():
        with warnings.catch_warnings():
            # The old name of a setting, which the oldest transformers that we allow knows alone.
            warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
            _train(config, tokenizer, pairs, out, verbose=verbose)
    record = json.loads((model_directory / "training.json").read_text(encoding="utf-8"))

    from proxygold.models.reward_models import load_reward_model

    reward_model = load_reward_model(str(model_directory), device=config.device, dtype=config.dtype)
    accuracy = evaluate_pairs(reward_model, readable.pairs)
    write_whole(out / "accuracy.json", to_json(accuracy.to_dict()) + "\n")
    return TrainedRewardModel(
        directory=model_directory,
        accuracy=accuracy,
        trained_pairs=record["pairs"],
        dropped_pairs=record["dropped_pairs"],
        shared_pairs=shared,
        refused=(*record.get("refused", ()), *readable.refused),
        held_out_pairs=len(readable.pairs),
        steps=record["steps"],
        final_loss=record["final_loss"],
    )


def evaluate_pairs(model: RewardModel, pairs: Sequence[PreferencePair]) -> AccuracyTable:
    """The accuracy of a reward model on pairs; lengths are in words. Raises DataError when there are none."""
    if not pairs:
        raise DataError("there are no pairs to measure accuracy on")
    answers = [(pair, answer) for pair in pairs for answer in (pair.chosen, pair.rejected)]
    scores, _ = model.score([Example(list(pair.prompt), answer) for pair, answer in answers])
    lengths = [len(answer.split()) for _, answer in answers]
    return measure_accuracy(scores[::2], scores[1::2], lengths[::2], lengths[1::2], [pair.source for pair in pairs])


def _claim(
    out: Path, config: RewardModelConfig, pairs: Sequence[PreferencePair], held_out: Sequence[PreferencePair]
) -> None:
    """Make `out` this training's, or raise StoreError when it is another's."""
    digest = hashlib.sha256()
    for part in (pairs, held_out):
        for pair in part:
            digest.update(repr((pair.prompt, pair.chosen, pair.rejected)).encode())
        digest.update(b"--")
    claim = {"config": config.model_dump(mode="json"), "pairs_sha256": digest.hexdigest()}
    file = out / "config.json"
    if file.is_file():
        if json.loads(file.read_text(encoding="utf-8")) != claim:
            raise StoreError(
                f"{out} has a training with other settings or other pairs. Give another --out, or delete it."
            )
    elif out.is_dir() and any(out.iterdir()):
        raise StoreError(f"{out} is not empty and is no training of a reward model. Give another --out.")
    else:
        write_whole(file, json.dumps(claim, indent=2) + "\n")


def _load_tokenizer(config: RewardModelConfig) -> Any:
    """The tokenizer of the model to start from, with the chat template to use. Raises ModelError without one."""
    from proxygold.models.classifiers import load_reward_tokenizer

    tokenizer = load_reward_tokenizer(resolve_model(config.model), config.model)
    if config.chat_template is not None:
        tokenizer.chat_template = config.chat_template
    if not tokenizer.chat_template:
        raise ModelError(
            f"{config.model!r} has no chat template, so where the answer begins could not be told. "
            "Give one: chat_template."
        )
    return tokenizer


def _train(
    config: RewardModelConfig, tokenizer: Any, pairs: Sequence[PreferencePair], out: Path, *, verbose: bool
) -> None:
    import torch

    try:
        from datasets import Dataset
        from peft import LoraConfig
        from transformers import PrinterCallback, set_seed
        from trl import RewardConfig, RewardTrainer
        from trl.trainer.reward_trainer import DataCollatorForPreference
    except ImportError as error:
        raise ModelError(f"training a reward model needs {error.name}. Run: pip install 'proxygold[train]'") from error
    from proxygold.models.causal_lm import pick_device, pick_dtype
    from proxygold.models.classifiers import CHAT_TEMPLATE_FILE, new_classifier
    from proxygold.models.reward_inputs import rightmost_is_never

    base = resolve_model(config.model)
    device = pick_device(config.device)
    dtype = pick_dtype(config.dtype, device)
    rows, dropped, refused = _rows(tokenizer, pairs, config.max_length)

    set_seed(config.seed)
    model = new_classifier(base, dtype)
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    if not names.intersection(config.lora_modules):
        raise ModelError(
            f"{config.model!r} has no modules called {', '.join(config.lora_modules)}. Set lora_modules to linear "
            f"layers that it has; its modules are called {', '.join(sorted(name for name in names if name))}."
        )
    layers = int(model.config.get_text_config().num_hidden_layers)
    adapted = range(max(0, layers - (config.lora_layers or layers)), layers)
    pad = rightmost_is_never(
        [row[side] for row in rows for side in ("chosen_ids", "rejected_ids")],
        tokenizer.pad_token_id,
        len(tokenizer),
    )
    arguments = RewardConfig(
        output_dir=str(out / "checkpoints"),
        per_device_train_batch_size=config.batch_size,
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        center_rewards_coefficient=config.center_rewards or None,
        max_grad_norm=1.0,
        disable_dropout=config.lora_dropout == 0,
        # TRL turns both of these on by default. Checkpointing would compute every layer twice.
        bf16=dtype == torch.bfloat16,
        gradient_checkpointing=False,
        max_length=None,  # too long pairs are gone already, and were counted
        save_steps=config.save_every,
        save_total_limit=2,
        logging_steps=math.gcd(5, config.save_every),  # so no log entry spans a checkpoint, which forgets half of it
        logging_nan_inf_filter=False,  # it would log the last finite loss in place of one that is not
        report_to="none",
        disable_tqdm=not verbose,
        use_cpu=device.type == "cpu",
        seed=config.seed,
        dataloader_num_workers=0,
    )
    trainer = RewardTrainer(
        model=model,
        args=arguments,
        data_collator=DataCollatorForPreference(pad_token_id=pad),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            task_type="SEQ_CLS",
            r=config.lora_r,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=list(config.lora_modules),
            layers_to_transform=list(adapted),
            modules_to_save=["score"],
        ),
    )
    trainer.remove_callback(PrinterCallback)  # without a bar the trainer would print every log entry
    # The model finds an answer's end as the rightmost token that is not this one.
    trainer.model.config.get_text_config().pad_token_id = pad
    order = PairOrder(
        [row["length"] for row in rows], arguments.train_batch_size, config.seed, lambda: trainer.state.global_step
    )
    trainer._get_train_sampler = lambda *_: order
    watch_checkpoints(trainer, out / "checkpoints")
    result = trainer.train(resume_from_checkpoint=last_checkpoint(out / "checkpoints"))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    last = losses[-max(1, len(losses) // 10) :] or [result.training_loss]
    final_loss = sum(last) / len(last)
    if not final_loss < float("inf"):
        raise TrainingError(
            f"the loss is {final_loss} after {result.global_step} steps. Lower learning_rate, or use dtype float32."
        )

    with whole_directory(out / "model") as directory:
        _save(trainer.model, directory, config.model)
        if tokenizer.chat_template:
            write_whole(directory / CHAT_TEMPLATE_FILE, tokenizer.chat_template)
        record = {
            "config": config.model_dump(mode="json"),
            "pairs": len(rows),
            "dropped_pairs": dropped,
            "refused": refused,
            "steps": result.global_step,
            "final_loss": final_loss,
        }
        write_whole(directory / "training.json", to_json(record) + "\n")


def _rows(
    tokenizer: Any, pairs: Sequence[PreferencePair], max_length: int
) -> tuple[list[dict[str, Any]], int, list[str]]:
    """The pairs that fit as rows of token ids, how many do not, and those that the chat template refuses.

    Raises DataError when fewer than two are left.
    """
    encoded = encode_pairs(tokenizer, pairs)
    rows = []
    for chosen, rejected in encoded.ids:
        length = max(len(chosen), len(rejected))
        if length <= max_length:
            rows.append({"chosen_ids": chosen, "rejected_ids": rejected, "length": length})
    dropped = len(encoded.pairs) - len(rows)
    if dropped:
        _log.warning("%d of %d pairs have more than %d tokens and are left out", dropped, len(pairs), max_length)
    if len(rows) < 2:
        refused = f" {len(encoded.refused)} were refused, first {encoded.refused[0]}." if encoded.refused else ""
        raise DataError(
            f"{len(rows)} of {len(pairs)} pairs fit into max_length={max_length} tokens; "
            f"give more pairs, or raise it.{refused}"
        )
    return rows, dropped, encoded.refused


def _save(model: Any, directory: Path, base: str) -> None:
    """The adapter and head in float16: half the size, and its rounding is far below what training resolves."""
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import save

    settings = model.peft_config["default"]
    # As it was asked for: the directory of a bundled model is another one on another machine.
    settings.base_model_name_or_path = base
    settings.inference_mode = True
    settings.save_pretrained(directory)
    state = {
        name: tensor.detach().to("cpu", torch.float16).contiguous()
        for name, tensor in get_peft_model_state_dict(model).items()
    }
    write_whole(directory / "adapter_model.safetensors", save(state, metadata={"format": "pt"}))
