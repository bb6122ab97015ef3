"""Core's own options: the one table of everything that no plugin owns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ftp.options import option

FOLLOWING = ("batch_size", "epochs", "load_best_model_at_end", "early_stopping_patience", "metric_for_best_model")
"""Options that follow from the data where nobody gives them (`ftp.train.amount`). Until the rows are known their option has no
value, and a `Settings` has what is right for rows that cannot be counted."""


@dataclass(frozen=True)
class Settings:
    """Options of every run. Names follow Transformers' TrainingArguments where they have one."""

    # --- the run ---
    out: Path | None = option(None, "run folder; default: runs/<plugins>-<number>", group="run")
    seed: int = option(0, "seed of everything random", low=0, high=2**31 - 1, group="run")
    on_risk: Literal["warn", "stop", "fail"] = option(
        "warn", "warn: report it and go on (a verdict stop still ends the run); stop: a warn ends training and keeps the best "
        "checkpoint; fail: as stop, with exit status 2", group="run")
    plugins_from: tuple[str, ...] = option((), "plugins that are not installed: path.py:Class (joins the run), or a "
                                           "file or folder (its plugins can be named in --plugins)", group="run", code=True)
    processes: int = option(1, "processes on this machine, one a device", low=1, high=1024, group="run")
    shard: bool = option(False, "spread weights, gradients and optimizer over processes (FSDP2)", group="run")
    device: Literal["auto", "cpu", "cuda", "mps"] = option("auto", "where to compute", group="run")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option("auto", "arithmetic; auto takes bf16 where the "
                                                                "device has it", group="run")

    # --- model ---
    model: str | None = option(None, "folder, offered name, or hub id; default: the installed offer for the task",
                               group="model", path=True)
    revision: str | None = option(None, "revision of a hub model", group="model")
    trust_remote_code: bool = option(False, "run code that comes with a hub model", group="model")
    add_tokens: tuple[str, ...] = option((), "tokens to add to the tokenizer, each with rows of its own, which are trained: "
                                         "'<|tool|>,<|note|>'", group="model")
    resize_embeddings: bool = option(False, "give rows to tokens of the tokenizer that the weights have none for; they are "
                                     "trained", group="model")
    max_length: int | None = option(None, "tokens per row at most (where an encoder reads and a decoder writes: of each); "
                                    "default: what the model takes, 1024 at most", low=4,
                                    group="model")
    head_init: Literal["probe", "random"] = option("probe", "how a new head of classes, labels or numbers begins; probe: as a "
                                                   "linear model of the training rows; random: with random numbers",
                                                   group="model")
    gradient_checkpointing: bool = option(False, "recompute activations instead of keeping them", group="model")

    # --- data ---
    data: str | None = option(None, "file, folder of splits, or hub id (hub_id:config); default: the domain's sample",
                              group="data", path=True)
    domain_shares: tuple[str, ...] = option(
        (), "share of each domain in training, where a run has several (chat=0.7,medical=0.3); default: by their rows",
        flag="mix", group="data")
    form: str | None = option(
        None, "what rows are read as where a domain gives several forms and no objective says which; default: its first",
        group="data")
    columns: tuple[str, ...] = option((), "column mapping, ours=theirs: text=sentence,label=target", group="data")
    join_labels: bool = option(False, "labels or tags that differ in case, blanks, hyphens or Unicode form alone become one "
                               "class, in its most frequent spelling", group="data")
    validation_share: float = option(0.1, "share of train cut for validation where there is none", low=0.001, high=0.9,
                                     group="data")
    group_column: str | None = option(None, "rows with the same value stay on one side of that cut", group="data")
    streaming: bool = option(False, "read training rows as they come instead of storing them", group="data")
    max_train_rows: int | None = option(None, "use this many training rows at most (the first after shuffling)", low=1,
                                        group="data")
    max_eval_rows: int | None = option(None, "evaluate on this many rows of a split at most", low=1, group="data")
    truncated_answers: Literal["error", "drop", "keep"] = option(
        "error", "rows whose answers are longer than the model takes; drop: leave them out; keep: train on what is left",
        group="data")
    max_decompressed: str | None = option(None, "what a compressed file may grow to while it is read, as 64GB; default: 200 "
                                          "times its size, at least 4 GB", group="data")
    split_special_tokens: bool = option(True, "control tokens that a text spells (</s>, [SEP], <|im_end|>) stay text; without "
                                        "it they are tokens, as texts need that a template has rendered before", group="data")
    cache_dir: Path | None = option(None, "where encoded rows are kept; default: ~/.cache/ftp", group="data")
    pack: Literal["auto", "on", "off"] = option("auto", "lay rows end to end without padding, each attending to itself "
                                                "alone; auto: where the network gives the same answers", group="data")

    # --- optimisation ---
    epochs: float = option(3.0, "passes over the training rows; default: follows from the data", low=0, group="optimisation")
    max_steps: int | None = option(None, "updates at most (overrides epochs)", low=0, group="optimisation")
    batch_size: int = option(32, "rows per update, over all processes and micro-batches; default: follows from the data", low=1,
                             group="optimisation")
    batch_tokens: int | None = option(None, "tokens per update instead of rows", low=1, group="optimisation")
    micro_batch_size: int | None = option(None, "rows per forward pass on a device at most; default: all of an update's",
                                          low=1, group="optimisation")
    micro_batch_tokens: int = option(16384, "tokens per forward pass on a device at most", low=1, group="optimisation")
    learning_rate: float = option(5e-5, "peak learning rate (methods suggest their own)", low=0, group="optimisation")
    lr_scheduler_type: Literal["linear", "cosine", "constant", "wsd"] = option(
        "linear", "schedule after warm-up; wsd: constant, then down over the last fifth", group="optimisation")
    warmup_ratio: float = option(0.06, "share of updates with a rising learning rate", low=0, high=1,
                                 group="optimisation")
    warmup_steps: int | None = option(None, "updates with a rising learning rate (overrides warmup_ratio)", low=0,
                                      group="optimisation")
    weight_decay: float = option(0.01, "decoupled decay of matrices (not of norms and biases)", low=0,
                                 group="optimisation")
    adam_beta1: float = option(0.9, "AdamW beta1", low=0, high=1, group="optimisation")
    adam_beta2: float = option(0.999, "AdamW beta2", low=0, high=1, group="optimisation")
    adam_epsilon: float = option(1e-8, "AdamW epsilon", low=0, group="optimisation")
    max_grad_norm: float = option(1.0, "gradients are scaled down to this norm; 0: never", low=0, group="optimisation")

    # --- evaluation and saving ---
    eval_steps: int | None = option(None, "updates between evaluations; default: 4 per epoch, at least 20 apart", low=1,
                                    group="evaluation")
    eval_on_start: bool | None = option(None, "evaluate before the first update as well, so that a run that only gets worse "
                                        "keeps what it began with; default: where a new head was fitted", group="evaluation")
    eval_batch_tokens: int = option(16384, "tokens per forward pass in evaluation", low=1, group="evaluation")
    metric_for_best_model: str | None = option(None, "score that picks the best checkpoint; default: accuracy of classes, "
                                               "macro_f1 where they are uneven, else the validation loss", group="evaluation")
    load_best_model_at_end: bool = option(True, "the weights of the best evaluation are the result, not the last ones; "
                                          "default: follows from the data", group="evaluation")
    early_stopping_patience: int = option(0, "evaluations without a better score before training ends; 0: never; default: "
                                          "follows from the data", low=0, group="evaluation")
    save_steps: int | None = option(None, "updates between checkpoints; default: at each evaluation", low=1,
                                    group="evaluation")
    save_total_limit: int = option(2, "checkpoints kept beside the best", low=1, group="evaluation")
    logging_steps: int = option(5, "updates between lines of the log", low=1, group="evaluation")
    baselines: bool = option(True, "measure simpler models beside the result: the majority class, words, the untuned model",
                             group="evaluation")
    verify: bool = option(True, "load model/ in a fresh process at the end and compare its answers", group="evaluation")
    report: bool = option(True, "write report.html, the run as a page", group="evaluation")
    report_examples: int = option(12, "held-out rows that went wrong whose text is kept for the report; 0: none", low=0,
                                  group="evaluation")
