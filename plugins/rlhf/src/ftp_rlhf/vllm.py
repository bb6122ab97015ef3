"""Completions sampled by vLLM, in this process and on the same GPU. Not tested here: it needs CUDA and vLLM.

The weights go over before each rollout, adapters merged. Log probabilities are computed by the trained network itself, so a
difference between the two engines shows in what is sampled, not in the ratios.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ftp import UserError
from ftp.losses.sampling import Completion, Sampler, Sampling, ended
from ftp.types import Model, StartedRun

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel
    from vllm import LLM  # type: ignore[import-not-found,unused-ignore]


def sampler(run: StartedRun, model: Model) -> Sampler:
    """`ftp.losses.sampling.sample` by vLLM. `UserError` where there is no CUDA device, or no vLLM, or several processes."""
    without_it = "leave it out: completions are then sampled by the network itself"
    if run.accelerator.device.type != "cuda":
        raise UserError("--rlhf.use_vllm: this run is not on CUDA", without_it)
    if find_spec("vllm") is None:
        raise UserError("--rlhf.use_vllm: vLLM is not installed", without_it, "ftp install --exact vllm")
    if run.accelerator.num_processes > 1:
        raise UserError("--rlhf.use_vllm: with several processes each would start an engine of its own", "--processes 1")
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # in this process, where the weights are at hand
    from vllm import LLM, SamplingParams  # type: ignore[import-not-found,unused-ignore]

    folder = Path(tempfile.mkdtemp(prefix="ftp-vllm-"))
    plain: PreTrainedModel = model.net.get_base_model() if hasattr(model.net, "get_base_model") else model.net
    plain.config.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    engine = LLM(model=str(folder), load_format="dummy", gpu_memory_utilization=0.3, enforce_eager=True)

    def sample(
        model: Model, prompts: Sequence[Sequence[int]], keys: Sequence[Sequence[int]], how: Sampling, batch_tokens: int
    ) -> list[Completion]:
        _send(model, engine)
        params = []
        for key in keys:
            seed = int(np.random.SeedSequence(list(key)).generate_state(1)[0])
            params.append(SamplingParams(temperature=how.temperature, top_p=how.top_p, top_k=how.top_k or -1, seed=seed,
                                         max_tokens=how.max_completion_length, stop_token_ids=list(how.stop),
                                         detokenize=False))
        outputs = engine.generate([{"prompt_token_ids": list(prompt)} for prompt in prompts], params, use_tqdm=False)
        return [ended(list(output.outputs[0].token_ids), how.stop) for output in outputs]

    return sample


def _send(model: Model, engine: LLM) -> None:
    """Put the weights as they are now into the engine."""
    net: PreTrainedModel | PeftModel = model.net
    target = engine.llm_engine.model_executor.driver_worker.model_runner.model
    if not hasattr(net, "merge_adapter"):
        target.load_weights(net.state_dict().items())
    else:
        net.merge_adapter()
        try:
            merged = net.get_base_model().state_dict()  # the adapters' own weights beside those that they are merged into
            target.load_weights((name.replace(".base_layer", ""), merged[name]) for name in merged if "lora_" not in name)
        finally:
            net.unmerge_adapter()
    engine.reset_prefix_cache()
