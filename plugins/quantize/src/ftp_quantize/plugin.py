"""The plugin `quantize`: the base's linear layers in 4 or 8 bits, under whatever trains beside them."""

from __future__ import annotations

from collections.abc import Generator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from ftp import Problem, UserError, hookimpl, option, plugin
from ftp.plugin_info import declaration_of
from ftp.plugins.declare import implementations, kind_of
from ftp.plugins.find import installed
from ftp.types import Model, Run

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Bits = Literal["4", "8"]


@plugin(
    kind="parameterisation",
    starts_as_base=False,
    goes_with=("lora",),
    tried_with={"quantize.bits": "8"},  # the kit's models are narrower than a block of 4 bits
    needs=("bitsandbytes",),
)
class Quantize:
    """Read the base in 4 or 8 bits; `quantize,lora` is QLoRA (Dettmers et al. 2023, arXiv:2305.14314)."""

    bits: Bits = option("4", "bits of a weight: 4 or 8")
    backend: Literal["bitsandbytes", "torchao"] = option("bitsandbytes", "library that quantises; torchao: 8 bits, weights alone")
    quant_type: Literal["nf4", "fp4"] = option("nf4", "of 4 bits: what its 16 values are; nf4 suits weights (QLoRA, section 3)")
    double_quant: bool = option(False, "of 4 bits: quantise the scales too, about 0.4 bits a weight less")
    compute_dtype: Literal["fp32", "bf16", "fp16"] = option("fp32", "of 4 bits: numbers that are multiplied with")

    @hookimpl(wrapper=True)
    def build_model(self, run: Run) -> Generator[None, Model, Model]:
        """Have core quantise the weights while it reads them, and freeze them."""
        self._check(run)
        from ftp.model import quantized

        with quantized(self._config()):
            model = yield
        if any(weight.is_meta for weight in model.net.parameters()):  # a plan, which has no weights
            return model
        if not getattr(model.net, "is_quantized", False):
            raise UserError("quantize: this network was not read from a checkpoint, so there is nothing to quantise",
                            "leave quantize out of --plugins, or train from a checkpoint")
        unpackable = _unpackable(model.net)
        for name, (rows, columns) in unpackable.items():
            raise UserError(f"--quantize.bits 4: {len(unpackable)} linear layers do not fit, such as {name} ({columns} numbers "
                            f"in, {rows} out): what is saved would not run on a CPU",
                            "4 bits are for layers that take a multiple of 64 numbers and give one of 32", "--quantize.bits 8")
        return model

    def _check(self, run: Run) -> None:
        """What is missing: the library, or a method that trains beside frozen weights; and what does not go together."""
        problems = []
        if find_spec(self.backend) is None:
            problems.append(Problem(f"--quantize.backend {self.backend}: it is not installed",
                                    command=f"ftp install --exact {self.backend}"))
        if self.backend == "torchao" and self.bits == "4":
            problems.append(Problem("--quantize.bits 4: torchao is asked for 8 bits here", "--quantize.backend bitsandbytes, or",
                                    "--quantize.bits 8"))
        defaults_of_4_bits = {"quant_type": "nf4", "double_quant": False, "compute_dtype": "fp32"}
        for name, usual in defaults_of_4_bits.items():
            if self.bits == "8" and getattr(self, name) != usual:
                problems.append(Problem(f"--quantize.{name} {getattr(self, name)}: it is of 4 bits only",
                                        "leave it out, or --quantize.bits 4"))
        if run.settings.shard:
            problems.append(Problem("--shard: quantised weights are not spread over devices here",
                                    "leave out --shard, or quantize"))
        # weights in 4 or 8 bits take no gradient
        if not any(_adds_weights(picked.cls) for picked in run.hooks.picked):
            names = [name for name, cls in installed() if _adds_weights(cls)]
            problems.append(Problem("quantize: quantised weights cannot be trained, and no plugin of this run adds some that can",
                                    f"name one beside it: {', '.join(names) or 'lora'}", "--plugins quantize,lora,..."))
        if problems:
            raise UserError(problems)

    def _config(self) -> dict[str, object]:
        """The quantisation as Transformers writes it."""
        if self.backend == "torchao":
            from torchao.quantization import Int8WeightOnlyConfig
            from transformers import TorchAoConfig

            return dict(TorchAoConfig(quant_type=Int8WeightOnlyConfig()).to_dict())
        if self.bits == "8":
            return {"quant_method": "bitsandbytes", "load_in_8bit": True}
        dtype = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}[self.compute_dtype]
        return {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": self.quant_type,
                "bnb_4bit_use_double_quant": self.double_quant, "bnb_4bit_compute_dtype": dtype}


def _unpackable(net: PreTrainedModel) -> dict[str, tuple[int, int]]:
    """Layer -> its shape, of layers in 4 bits that a CPU cannot pack: its kernel takes 32 rows at a time, each of whole blocks
    that share a scale (bitsandbytes, `_convert_weight_packed_for_cpu`); the code in the README.md of `model/` comes to it."""
    unpackable = {}
    for name, module in net.named_modules():
        state = getattr(module, "quant_state", None)
        if state is None:
            continue
        rows, columns = state.shape
        if rows % 32 or columns % state.blocksize:
            unpackable[name] = (rows, columns)
    return unpackable


def _adds_weights(cls: type) -> bool:
    """Whether a plugin, other than this one, adds weights that are trained."""
    if cls is Quantize:
        return False
    wraps = bool(implementations(cls).get("build_model", {}).get("wrapper"))
    return kind_of(cls) == "parameterisation" and wraps and declaration_of(cls).adds_weights

