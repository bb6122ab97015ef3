"""Proof that what was saved is what was trained: the card's own code, in a fresh process, gives the same logits."""

from __future__ import annotations

import contextlib
import copy
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from ftp import heads
from ftp.errors import VerifyError
from ftp.host import fresh
from ftp.host.faults import disk
from ftp.model.card import loading_code
from ftp.model.loading import origin
from ftp.model.modes import evaluating
from ftp.types import Model

SCRATCH = ".verify-"
"""Beginning of the name of a folder for what the fresh process reads and writes."""
ANSWER = '''
import sys

import torch
from safetensors.torch import load_file, save_file

with torch.no_grad():
    out = model.eval()(**load_file(sys.argv[1]))
outputs = [out[name] for name in sys.argv[3:]]
logits = outputs[0] if len(outputs) == 1 else torch.stack(outputs, -1)
assert "ftp" not in sys.modules
save_file({"logits": logits.float().contiguous()}, sys.argv[2])
'''


NO_NETWORK = {
    "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error",
    "CUDA_VISIBLE_DEVICES": "",
}  # fmt: skip
"""Environment of the fresh process: nothing is asked or shown, and no device is taken."""
OF_RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""Variables by which libraries would take the fresh process for one of a run of several."""


def verify(
    model: Model, folder: Path, inputs: Mapping[str, torch.Tensor], *, tolerance: float | None = None, timeout: float = 600
) -> float:
    """Load a saved model in a fresh Python process by the code of its card, offline and without ftp, and compare its logits
    with those of the trained network, both in fp32.

    Args:
        model: the model as it was trained.
        folder: where it was saved.
        inputs: what both read, see `probe`.
        tolerance: largest difference that is allowed, as a share of the largest logit; None: 1e-4, or 3e-2 over a quantised
            base, as its kernels differ with device and mode.
        timeout: seconds that the process may take.

    Returns:
        The largest difference, as a share of the largest logit.

    Raises:
        VerifyError: the difference is larger than allowed, or the process fails.
    """
    if model.net.config.is_encoder_decoder and "decoder_input_ids" not in inputs:
        inputs = {**inputs, "decoder_input_ids": _written(inputs)}
    came_from = origin(model.net)
    if tolerance is None:
        tolerance = 3e-2 if came_from is not None and came_from.quantization else 1e-4
    outputs = heads.get(model.head).outputs
    expected = logits(model.net, inputs, outputs)
    folder = folder.resolve()
    answer = _logits_of_card(folder, inputs, outputs, _base_folder(model), timeout)
    # a comparison with NaN is false, so that each way to be wrong is asked for by itself
    if answer.shape != expected.shape:
        raise VerifyError(f"{folder} gives logits of shape {list(answer.shape)}, the trained network {list(expected.shape)}")
    if not bool(torch.isfinite(expected).all()):
        raise VerifyError("the trained network gives logits that are not finite")
    difference = largest_difference(answer, expected)
    if not difference <= tolerance:
        raise VerifyError(f"{folder} gives other logits than the trained network: largest difference {difference:.2g} of the "
                          f"largest logit (allowed: {tolerance:g})")
    return difference


def _base_folder(model: Model) -> str | None:
    """The folder of the base where a package offers it: its hub id, which the card names, is not to be asked for."""
    came_from = origin(model.net)
    return str(came_from.source.folder) if came_from is not None and came_from.source.offer is not None else None


def _logits_of_card(
    folder: Path, inputs: Mapping[str, torch.Tensor], outputs: Sequence[str], base: str | None, timeout: float
) -> torch.Tensor:
    """The logits of a saved model in a fresh process. Raises `VerifyError` where that fails."""
    from safetensors.torch import load_file, save_file

    environment = {**os.environ, **NO_NETWORK}
    for name in OF_RANKS:
        environment.pop(name, None)
    # beside the model, which has just been written there: the system's folder for temporary files may be small, full or missing
    with disk(folder), tempfile.TemporaryDirectory(dir=folder.parent, prefix=SCRATCH) as scratch:
        inputs_file = Path(scratch, "inputs.safetensors")
        logits_file = Path(scratch, "logits.safetensors")
        save_file({name: column.cpu().contiguous() for name, column in inputs.items()}, inputs_file)
        try:
            code = loading_code(folder, base=base) + ANSWER
            arguments = [str(inputs_file), str(logits_file), *outputs]
            process = fresh.run_code(code, arguments, folder=folder.parent, environment=environment, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise VerifyError(f"{folder} did not load within {timeout:g} s in a fresh process") from error
        if process.returncode:
            tail = "\n".join(process.stderr.strip().splitlines()[-6:])
            raise VerifyError(f"{folder} does not load in a fresh process (the code is in its README.md):\n{tail}")
        answer: torch.Tensor = load_file(logits_file)["logits"]
    return answer


def largest_difference(logits: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference of a logit, as a share of the largest one; infinite between different shapes."""
    if logits.shape != expected.shape:
        return float("inf")
    return float((logits - expected).abs().max() / expected.abs().max().clamp_min(1e-12))


def probe(model: Model, texts: Sequence[str], *, most: int = 4, length: int = 64) -> dict[str, torch.Tensor]:
    """The first texts as padded inputs for `verify`.

    Args:
        model: the model that reads them.
        texts: texts of any kind.
        most: how many of them.
        length: tokens of each at most.

    Returns:
        Tensors `[texts, longest]` by name, as the head's networks take them.
    """
    make_inputs = heads.get(model.head).probe_inputs
    if make_inputs is not None:
        return dict(make_inputs(model, texts[:most]))
    encoded = model.tokenizer(list(texts[:most]), padding=True, truncation=True, max_length=length, return_tensors="pt")
    wanted = ("input_ids", "attention_mask", "token_type_ids")
    inputs = {name: encoded[name] for name in wanted if name in encoded}
    if model.net.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = _written(inputs)
    return inputs


def _written(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """What a decoder goes on from: what is read, without padding, which T5Gemma masks or not as it keeps a cache or not."""
    ids = inputs["input_ids"]
    is_real = inputs["attention_mask"].bool()
    return ids.where(is_real, ids[is_real][0])


def logits(
    net: nn.Module, inputs: Mapping[str, torch.Tensor], outputs: Sequence[str] = ()
) -> torch.Tensor:
    """What a network gives in fp32 and evaluation mode.

    Args:
        net: the network, in a PEFT wrapper or not.
        inputs: what it reads, by name.
        outputs: names of its outputs; none: those of the first head that the network has.

    Returns:
        `[...] float32` on the CPU; several outputs (start and end of a span) are stacked in the last dimension.
    """
    if any(weight.is_floating_point() and weight.dtype != torch.float32 for weight in net.parameters()):
        net = copy.deepcopy(net).float()
    device = next(net.parameters()).device
    # accelerate replaces `forward` by one under autocast; the one before it is what is compared
    forward: Callable[..., Mapping[str, torch.Tensor]] = net.__dict__.get("_original_forward", net)
    with evaluating(net), torch.no_grad(), torch.autocast(device.type, enabled=False), _exact():
        out = forward(**{name: value.to(device) for name, value in inputs.items()})
    tensors = [out[name] for name in outputs or _outputs_in(out)]
    answer = tensors[0] if len(tensors) == 1 else torch.stack(tensors, -1)
    return answer.float().cpu()


def _outputs_in(out: Mapping[str, torch.Tensor]) -> Sequence[str]:
    """The outputs of the first head whose outputs are all there."""
    for head in heads.all_heads().values():
        if all(name in out for name in head.outputs):
            return head.outputs
    raise ValueError(f"no head has the outputs {', '.join(out)}")


@contextlib.contextmanager
def _exact() -> Iterator[None]:
    """Products of matrices in fp32, as some devices round them to fewer bits where nobody says otherwise."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
