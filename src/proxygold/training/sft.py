"""Supervised fine-tuning with TRL's SFTTrainer: all weights, or an adapter. Only answers are learned.

A prompt is written, and made into tokens, by the code that the policy uses later (`models/prompt_tokens.py`), so
that what is sampled from is what was trained on, to the token.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from proxygold.data.demonstrations import Demonstration
from proxygold.errors import DataError, ModelError, StoreError, TrainingError
from proxygold.models.policy_settings import PolicySettings
from proxygold.models.quiet import quiet_loading
from proxygold.store import to_json, whole_directory, write_whole
from proxygold.training.answer_loss import AnswerLoss, answer_loss
from proxygold.training.held_out import split_by_first_turn
from proxygold.training.processes import launched_processes
from proxygold.training.sft_config import SFTConfig
from proxygold.training.sft_rows import (
    IGNORED,
    EncodedRows,
    Row,
    RowOrder,
    collate,
    encode_rows,
    without_prompts,
)
from proxygold.training.trainer_checkpoints import last_checkpoint, watch_checkpoints

__all__ = ["TrainedModel", "is_first_process", "train_sft"]

CLAIM = "config.json"  # whose training a directory holds


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """What a training made: `directory` has the model or the adapter, and what went in.

    `too_long` and `refused` (each with its place and the reason) count held-out rows as well. `shared` have a prompt
    of the held-out rows that were given. `before` and `after` are the loss on held-out answers, None when nothing was
    held out, or when the weights were sharded (FSDP, DeepSpeed).
    """

    directory: Path
    rows: int
    learned_tokens: int
    max_length: int
    """What a row may have: that of the settings, or what the model has room for."""
    too_long: int
    shared: int
    refused: tuple[str, ...]
    held_out_rows: int
    steps: int
    final_loss: float
    """Mean training loss over the last tenth of what was logged."""
    before: AnswerLoss | None
    after: AnswerLoss | None


def is_first_process() -> bool:
    """Whether this is the process that writes, under `accelerate launch` or alone."""
    return int(os.environ.get("RANK", "0")) == 0


def train_sft(
    config: SFTConfig,
    demonstrations: Sequence[Demonstration],
    out: Path,
    *,
    held_out: Sequence[Demonstration] | None = None,
    verbose: bool = False,
) -> TrainedModel:
    """Train on demonstrations; `out` gets `model/`, `train.jsonl`, `result.json` and `checkpoints/`.

    A training that was stopped goes on from its last checkpoint when it is called again with the same settings and
    rows; with others, `out` is refused. `held_out` is what the loss is measured on before and after; None holds out
    `config.held_out` of the prompts. What begins with a first user turn of `held_out` is not trained on.

    Under `accelerate launch` every process trains on its share, and the first one writes.

    Raises DataError when no row is left, ModelError when the model cannot be loaded, ConfigError when template or
    adapter do not fit it, StoreError when `out` belongs to another training or cannot be written, TrainingError when
    the loss is not finite.
    """
    shared = 0
    if held_out is None:
        demonstrations, held_out = split_by_first_turn(demonstrations, config.held_out)
    else:
        given = len(demonstrations)
        demonstrations = without_prompts(held_out, demonstrations)
        shared = given - len(demonstrations)
    claim = _claim(out, config, demonstrations, held_out)
    if not ((out / "result.json").is_file() and (out / "model").is_dir()):
        with warnings.catch_warnings(), quiet_loading():
            # PEFT and TRL read settings of transformers by their old names.
            warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
            _Training(config, out, claim, verbose=verbose).run(demonstrations, held_out)
    record = json.loads((out / "result.json").read_text(encoding="utf-8"))
    losses = {key: record[key] and AnswerLoss(**record[key]) for key in ("before", "after")}
    refused = tuple(record["refused"])
    return TrainedModel(directory=out / "model", shared=shared, **{**record, **losses, "refused": refused})


def _claim(out: Path, config: SFTConfig, *rows: Sequence[Demonstration]) -> str:
    """What the training in `out` is known by, to be written there. Raises StoreError when `out` is another's."""
    digest = hashlib.sha256()
    for part in rows:
        for row in part:
            digest.update(repr((row.prompt, row.answer)).encode())
        digest.update(b"--")
    claim = {"config": config.model_dump(mode="json"), "rows_sha256": digest.hexdigest()}
    file = out / CLAIM
    if file.is_file():
        if json.loads(file.read_text(encoding="utf-8")) != claim:
            raise StoreError(
                f"{out} has a training with other settings or other rows. Give another --out, or delete it."
            )
    elif out.is_dir() and any(out.iterdir()):
        raise StoreError(f"{out} is not empty and is no supervised fine-tuning. Give another --out.")
    return json.dumps(claim, indent=2) + "\n"


class _Training:
    """One training, from the model on the disk to the one in `out`."""

    def __init__(self, config: SFTConfig, out: Path, claim: str, *, verbose: bool) -> None:
        try:
            import datasets  # noqa: F401
            import peft  # noqa: F401
            import trl  # noqa: F401
        except ImportError as error:
            raise ModelError(f"fine-tuning needs {error.name}. Run: pip install 'proxygold[train]'") from error
        import torch
        from transformers import set_seed

        from proxygold.models.causal_lm import eos_token_ids, load_causal_lm, load_tokenizer, pick_device, pick_dtype
        from proxygold.models.prompt_tokens import PromptTokens

        self.config, self.out, self.claim, self.verbose = config, out, claim, verbose
        self.device = pick_device(config.device)
        self.dtype = pick_dtype(config.dtype, self.device)
        self.tokenizer = load_tokenizer(config.model)
        set_seed(config.seed)
        # What is trained is held in float32, or small updates would be rounded away.
        weights = torch.float32 if config.lora is None else self.dtype
        self.model = load_causal_lm(config.model, weights, self._place(), config.quantization)
        policy = PolicySettings(
            model=config.model, prompt_template=config.prompt_template, system_prompt=config.system_prompt
        )
        self.tokens = PromptTokens(policy, self.tokenizer, self.model.config)
        self.ends = eos_token_ids(self.model, self.tokenizer)

    def _place(self) -> Any:
        """Where to load the model: of several processes each has a GPU of its own, to which the trainer moves it."""
        import torch

        if launched_processes() == 1 or self.device.type == "cpu":
            return self.device
        if self.config.quantization == "none":
            return torch.device("cpu")
        return torch.device(self.device.type, int(os.environ.get("LOCAL_RANK", "0")))

    def run(self, demonstrations: Sequence[Demonstration], held_out: Sequence[Demonstration]) -> None:
        """Train and write the model, then the result: with that, the training is done."""
        from proxygold.models.policy import add_lora

        train, test = self._encode(demonstrations), self._encode(held_out)
        if not train.rows:
            refused = f" The first: {train.refused[0]}." if train.refused else ""
            raise DataError(
                f"none of the {len(demonstrations)} rows to train on can be used: {train.too_long} have more than "
                f"{self._max_length} tokens, {len(train.refused)} were refused.{refused}"
            )
        trained = self.model if self.config.lora is None else add_lora(self.model, self.config.lora)
        if is_first_process():  # not before everything fits: a mistake is no training that others must not touch
            write_whole(self.out / CLAIM, self.claim)
        trainer = self._trainer(trained, train.rows)
        # Weights that are sharded cannot be called as the loss is measured here.
        sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
        before = None if sharded else self._before(test.rows)
        result = trainer.train(resume_from_checkpoint=last_checkpoint(self.out / "checkpoints"))
        logged = [entry for entry in trainer.state.log_history if "loss" in entry]
        losses = [entry["loss"] for entry in logged]
        last = losses[-max(1, len(losses) // 10) :] or [result.training_loss]
        final_loss = sum(last) / len(last)
        if not math.isfinite(final_loss):
            raise TrainingError(
                f"the loss is {final_loss} after {result.global_step} steps. Lower learning_rate, or use dtype float32."
            )
        after = None if sharded else self._loss(test.rows)
        state = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # gathered, where it is sharded
        if is_first_process():
            self._write_model(trainer.model, state)
            write_whole(self.out / "train.jsonl", "".join(to_json(_logged(entry)) + "\n" for entry in logged))
            record = {
                "rows": len(train.rows),
                "learned_tokens": sum(label != IGNORED for row in train.rows for label in row.labels[1:]),
                "max_length": self._max_length,
                "too_long": train.too_long + test.too_long,
                "refused": [*train.refused, *test.refused],
                "held_out_rows": len(test.rows),
                "steps": result.global_step,
                "final_loss": final_loss,
                "before": before and asdict(before),
                "after": after and asdict(after),
            }
            write_whole(self.out / "result.json", to_json(record) + "\n")
        trainer.accelerator.wait_for_everyone()

    @property
    def _max_length(self) -> int:
        return min(self.config.max_length, self.tokens.context_length or self.config.max_length)

    def _encode(self, demonstrations: Sequence[Demonstration]) -> EncodedRows:
        return encode_rows(self.tokens, demonstrations, self.ends, learn=self.config.learn, max_length=self._max_length)

    def _loss(self, rows: Sequence[Row]) -> AnswerLoss | None:
        return answer_loss(self.model, rows, name=self.config.model) if rows else None

    def _before(self, rows: Sequence[Row]) -> AnswerLoss | None:
        """The loss of the model to start from: measured once, before the first step."""
        file = self.out / "before.json"
        if not file.is_file():
            loss = self._loss(rows)
            if not is_first_process():
                return loss
            write_whole(file, to_json(loss and asdict(loss)) + "\n")
        measured = json.loads(file.read_text(encoding="utf-8"))
        return measured and AnswerLoss(**measured)

    def _trainer(self, trained: Any, rows: Sequence[Row]) -> Any:
        import torch
        from datasets import Dataset
        from transformers import PrinterCallback
        from trl import SFTConfig as Arguments
        from trl import SFTTrainer

        config = self.config
        arguments = Arguments(
            output_dir=str(self.out / "checkpoints"),
            per_device_train_batch_size=config.batch_size,
            gradient_accumulation_steps=config.gradient_accumulation_steps,
            num_train_epochs=config.epochs,
            max_steps=config.max_steps or -1,
            learning_rate=config.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=config.warmup_ratio,  # below 1 it is a share of the steps
            weight_decay=config.weight_decay,
            max_grad_norm=config.max_grad_norm,
            # TRL turns both of these on by default.
            bf16=self.dtype == torch.bfloat16,
            gradient_checkpointing=config.gradient_checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False} if config.gradient_checkpointing else None,
            max_length=None,  # too long rows are gone already, and were counted
            save_steps=config.save_every,
            save_total_limit=2,
            logging_steps=math.gcd(5, config.save_every),  # no log entry spans a checkpoint, which forgets half of it
            logging_nan_inf_filter=False,  # it would log the last finite loss in place of one that is not
            report_to="none",
            disable_tqdm=not self.verbose,
            use_cpu=self.device.type == "cpu",
            seed=config.seed,
            dataloader_num_workers=0,
            ddp_find_unused_parameters=False,
        )
        pad = self.tokenizer.pad_token_id
        trainer = SFTTrainer(
            model=trained,
            args=arguments,
            train_dataset=Dataset.from_list([{"input_ids": row.ids, "labels": row.labels} for row in rows]),
            data_collator=partial(collate, pad_token_id=min(self.ends) if pad is None else pad),
            processing_class=self.tokenizer,
        )
        for parameter in trained.parameters():
            if parameter.requires_grad:  # beside quantised weights, TRL makes adapters bfloat16
                parameter.data = parameter.data.float()
        trainer.remove_callback(PrinterCallback)  # without a bar the trainer would print every log entry
        per_step = arguments.train_batch_size * config.gradient_accumulation_steps * arguments.world_size
        order = RowOrder([len(row.ids) for row in rows], per_step, config.seed, lambda: int(trainer.state.global_step))
        trainer._get_train_sampler = lambda *_: order
        watch_checkpoints(trainer, self.out / "checkpoints")
        return trainer

    def _write_model(self, trained: Any, state: Mapping[str, Any]) -> None:
        """A model directory, or an adapter's, with the tokenizer and its chat template."""
        with whole_directory(self.out / "model") as directory:
            if self.config.lora is None:
                trained.save_pretrained(directory, state_dict=_cast(state, self.dtype))
                # What save_pretrained writes is the dtype of the model in memory.
                settings = json.loads((directory / "config.json").read_text(encoding="utf-8"))
                settings["dtype"] = str(self.dtype).removeprefix("torch.")
                write_whole(directory / "config.json", json.dumps(settings, indent=2) + "\n")
            else:
                _write_adapter(trained, state, directory, self.config.model)
            self.tokenizer.save_pretrained(directory)
            write_whole(directory / "training.json", to_json({"config": self.config.model_dump(mode="json")}) + "\n")


def _cast(state: Mapping[str, Any], dtype: Any) -> dict[str, Any]:
    """Weights in `dtype`; those that were one tensor under two names, as tied ones are, still are."""
    cast: dict[int, Any] = {}
    for tensor in state.values():
        cast.setdefault(tensor.data_ptr(), tensor.to(dtype))
    return {name: cast[tensor.data_ptr()] for name, tensor in state.items()}


def _logged(entry: Mapping[str, Any]) -> dict[str, Any]:
    # Not TRL's count of tokens, which begins anew when a training goes on.
    names = ("step", "epoch", "loss", "mean_token_accuracy", "entropy", "learning_rate", "grad_norm")
    return {name: entry[name] for name in names if name in entry}


def _write_adapter(trained: Any, state: Mapping[str, Any], directory: Path, base: str) -> None:
    from peft import get_peft_model_state_dict
    from safetensors.torch import save

    settings = trained.peft_config["default"]
    # As it was asked for: the directory of a bundled model is another one on another machine.
    settings.base_model_name_or_path = (
        str(Path(base).expanduser().resolve()) if Path(base).expanduser().is_dir() else base
    )
    settings.inference_mode = True
    settings.save_pretrained(str(directory))
    tensors = get_peft_model_state_dict(trained, state_dict=dict(state), save_embedding_layers=False)
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_whole(directory / "adapter_model.safetensors", save(on_cpu, metadata={"format": "pt"}))
