"""Networks with their tokenizers, and models that packages offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ftp.types.tasks import Head

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Model:
    """A network with its tokenizer, and what other plugins may need to know of it.

    Attributes:
        net: the network, on the device of the run.
        tokenizer: its tokenizer.
        head: what the network ends in.
        labels: names of the classes in the order of their numbers; empty where there are none.
        fresh: names of modules that are not in the checkpoint (a new classifier), which any parameterisation must train and
            save.
        has_fitted_head: its new head was fitted on the training rows (`--head-init probe`), so that it answers before training.
        averaging: names of modules of the body, in `fresh` as well, that were made to give the head the mean of all tokens. They
            begin with weights that mean something, so that the rate of small adapters would spoil them.
        reference: gives a context manager in which `net` (the value that it yields) gives the answers of the weights as they
            were before this run; None: nobody can.
        save: writes the standard Transformers or PEFT layout into a folder; None: nobody can.
        packed: rows may be laid end to end without padding (measured on this network, see `ftp.net.packing.can_pack`).
        name: what the user calls it: a folder, an offered name or a hub id.
        fresh_tokens: ids of tokens that the run uses and whose rows in the embeddings and the output layer are new, or look
            untrained (`ftp.model.token_rows`); a parameterisation that freezes those should train these rows.
    """

    net: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    head: Head
    labels: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    has_fitted_head: bool = False
    averaging: tuple[str, ...] = ()
    reference: Callable[[], AbstractContextManager[PreTrainedModel]] | None = None
    save: Callable[[Path], None] | None = None
    packed: bool = False
    name: str = ""
    fresh_tokens: tuple[int, ...] = ()


@dataclass(frozen=True)
class Offer:
    """A model inside an installed package.

    Attributes:
        folder: holds it in Transformers layout.
        sha256: file name -> digest, which is checked when the model is loaded.
        default_for: the heads for which it is the default model.
        summary: one line for `ftp plugins`.
        suggests: core's options -> defaults that it would rather have, in place of an objective's (a small model takes a much
            higher `learning_rate`).
    """

    folder: Path
    sha256: Mapping[str, str] = field(default_factory=dict)
    default_for: tuple[Head, ...] = ()
    summary: str = ""
    suggests: Mapping[str, object] = field(default_factory=dict)
