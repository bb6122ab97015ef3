"""Proof that what was saved is what was trained: the card's own code, in a fresh process, gives the same logits."""

from __future__ import annotations

import contextlib
import copy
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ftp import heads
from ftp.errors import VerifyError
from ftp.host import fresh
from ftp.host.faults import disk
from ftp.model.loading import origin
from ftp.model.modes import evaluating
from ftp.model.saving import loading_code
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


def verify(
    model: Model, folder: Path, inputs: Mapping[str, torch.Tensor], *, tolerance: float | None = None, timeout: float = 600
) -> float:
    """Load `folder` in a fresh Python process by the code of its card, offline and without ftp, and compare the logits
    of `inputs` (see `probe`) with those of the trained network, both in fp32.

    Returns the largest difference as a share of the largest logit. Raises `VerifyError` above `tolerance`, or when the
    process fails. `tolerance`: 1e-4 by default; 3e-2 over a quantised base, as its kernels differ with device and mode.
    """
    from safetensors.torch import load_file, save_file

    if model.net.config.is_encoder_decoder and "decoder_input_ids" not in inputs:
        inputs = {**inputs, "decoder_input_ids": _written(inputs)}
    came_from = origin(model.net)
    if tolerance is None:
        tolerance = 3e-2 if came_from is not None and came_from.quantization else 1e-4
    outputs = heads.get(model.head).outputs
    expected = logits(model.net, inputs, outputs)
    folder, came_from = folder.resolve(), origin(model.net)
    base = str(came_from.source.folder) if came_from is not None and came_from.source.offer is not None else None  # its hub id
    # beside the model, which has just been written there: the system's folder for temporary files may be small, full or missing
    with disk(folder), tempfile.TemporaryDirectory(dir=folder.parent, prefix=SCRATCH) as scratch:
        written = Path(scratch, "inputs.safetensors")
        got = Path(scratch, "logits.safetensors")
        save_file({name: value.cpu().contiguous() for name, value in inputs.items()}, written)
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error",
                       "HF_HUB_DISABLE_PROGRESS_BARS": "1", "CUDA_VISIBLE_DEVICES": ""}
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
            environment.pop(name, None)
        try:
            code = loading_code(folder, base=base) + ANSWER
            arguments = [str(written), str(got), *outputs]
            done = fresh.run_code(code, arguments, folder=folder.parent, environment=environment, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise VerifyError(f"{folder} did not load within {timeout:g} s in a fresh process") from error
        if done.returncode:
            tail = "\n".join(done.stderr.strip().splitlines()[-6:])
            raise VerifyError(f"{folder} does not load in a fresh process (the code is in its README.md):\n{tail}")
        answer = load_file(got)["logits"]
    if answer.shape != expected.shape:
        raise VerifyError(f"{folder} gives logits of shape {list(answer.shape)}, the trained network {list(expected.shape)}")
    if not bool(torch.isfinite(expected).all()):
        raise VerifyError("the trained network gives logits that are not finite")
    difference = float((answer - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
    if not difference <= tolerance:
        raise VerifyError(f"{folder} gives other logits than the trained network: largest difference {difference:.2g} of the "
                          f"largest logit (allowed: {tolerance:g})")
    return difference


def probe(model: Model, texts: Sequence[str], *, most: int = 4, length: int = 64) -> dict[str, torch.Tensor]:
    """The first texts as padded inputs for `verify`."""
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
    ids, real = inputs["input_ids"], inputs["attention_mask"].bool()
    return ids.where(real, ids[real][0])


def logits(
    net: nn.Module, inputs: Mapping[str, torch.Tensor], outputs: Sequence[str] = ()
) -> torch.Tensor:
    """What a network gives in fp32 and evaluation mode, on the CPU; several outputs (start and end of a span) stacked last.

    Args:
        outputs: their names; none: those of the first head that the network has.
    """
    if any(weight.is_floating_point() and weight.dtype != torch.float32 for weight in net.parameters()):
        net = copy.deepcopy(net).float()
    device = next(net.parameters()).device
    # accelerate replaces `forward` by one under autocast; the one before it is what is compared
    forward: Any = net.__dict__.get("_original_forward", net)
    with evaluating(net), torch.no_grad(), torch.autocast(device.type, enabled=False), _exact():
        out = forward(**{name: value.to(device) for name, value in inputs.items()})
    names = outputs or next(head.outputs for head in heads.all_heads().values() if all(name in out for name in head.outputs))
    tensors = [out[name] for name in names]
    answer = tensors[0] if len(tensors) == 1 else torch.stack(tensors, -1)
    return answer.float().cpu()


@contextlib.contextmanager
def _exact() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
