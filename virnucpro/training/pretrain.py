"""Masked-language pre-training of a small ESM-2, as the published ones were trained: `transformers` does it.

The task and the model's shape are those of Lin et al. (Science 379, 2023): 15 % of the residues are chosen,
of which 80 % are masked, 10 % exchanged and 10 % left.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from esm.data import Alphabet
from transformers import (
    DataCollatorForLanguageModeling,
    EsmConfig,
    EsmForMaskedLM,
    EsmTokenizer,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging

from virnucpro.models.esm2_weights import Esm2Config
from virnucpro.training.epochs import Epoch, Log, Remaining, epoch_line

BATCH = 64  # proteins
LEARNING_RATE = 4e-3
STAGE = "ESM-2, masked residues"


@dataclass(frozen=True)
class Proteins(torch.utils.data.Dataset[dict[str, list[int]]]):
    """Tokenized proteins, as the collator takes them."""

    tokens: Sequence[Sequence[int]]

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, row: int) -> dict[str, list[int]]:
        return {"input_ids": list(self.tokens[row])}


def pretrain_esm2(
    folder: Path,
    config: Esm2Config,
    training: Sequence[Sequence[int]],
    validation: Sequence[Sequence[int]],
    epochs: int,
    seed: int,
    device: torch.device,
    log: Log,
) -> tuple[Path, list[Epoch]]:
    """Train on tokenized proteins; give a Hugging Face folder with the weights of the epoch of lowest
    validation loss, and all epochs.

    `folder` keeps the last epoch, from which a killed training goes on. The same arguments, machine and
    number of threads give the same weights.
    """
    torch.manual_seed(seed)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    last = _last_whole(folder)
    # The Trainer leaves layer norms as they are: a checkpoint has them under other names than the model.
    model = EsmForMaskedLM.from_pretrained(last) if last else EsmForMaskedLM(published_config(config))
    collate = DataCollatorForLanguageModeling(_tokenizer(folder), mlm_probability=0.15)
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,  # of all steps
        weight_decay=0.01,
        seed=seed,
        train_sampling_strategy="group_by_length",
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=2,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=device.type != "cpu",
        disable_tqdm=True,
        report_to="none",
    )
    each_epoch = _EachEpoch(log)
    trainer = Trainer(
        model=model,
        args=arguments,
        data_collator=collate,
        train_dataset=Proteins(training),
        eval_dataset=Proteins(validation),
        callbacks=[each_epoch],
    )
    trainer.pop_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=last)
    return Path(trainer.state.best_model_checkpoint), _history(trainer.state.log_history)


def published_config(config: Esm2Config) -> EsmConfig:
    """The shape in the words of `transformers`, of which ESM-2 has no dropout and rotary positions."""
    alphabet = Alphabet.from_architecture("ESM-1b")
    return EsmConfig(
        vocab_size=len(alphabet),
        hidden_size=config.embed_dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.attention_heads,
        intermediate_size=4 * config.embed_dim,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        position_embedding_type="rotary",
        emb_layer_norm_before=False,
        layer_norm_eps=1e-5,
        token_dropout=config.token_dropout,
        mask_token_id=alphabet.mask_idx,
        pad_token_id=alphabet.padding_idx,
        max_position_embeddings=1026,
    )


def _last_whole(folder: Path) -> str | None:
    """The last checkpoint of a killed training; its state is what is written last."""
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
    last = max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
    return None if last is None else str(last)


def _tokenizer(folder: Path) -> EsmTokenizer:
    folder.mkdir(parents=True, exist_ok=True)
    words = folder / "vocab.txt"
    words.write_text("\n".join(Alphabet.from_architecture("ESM-1b").all_toks), encoding="utf-8")
    return EsmTokenizer(str(words))


class _EachEpoch(TrainerCallback):  # type: ignore[misc]
    """One line an epoch, with the time left."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._remaining = Remaining(round(args.num_train_epochs - (state.epoch or 0)))

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        last = _history(state.log_history)[-1]
        self._log(epoch_line(last, round(args.num_train_epochs), self._remaining.after_one_more()))


def _history(lines: Sequence[dict[str, Any]]) -> list[Epoch]:
    training = [line["loss"] for line in lines if "loss" in line]
    validation = [line["eval_loss"] for line in lines if "eval_loss" in line]
    pairs = zip(training, validation, strict=False)  # the last line sums up
    return [Epoch(STAGE, number, *pair) for number, pair in enumerate(pairs, 1)]
