"""The plugin. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from ftp import hookimpl, plugin
from ftp.types import Batch, LossOut, Model, Run, StartedRun, StepOut

if TYPE_CHECKING:
    from torch.optim import Optimizer


@plugin(kind="extra")
class Cpu:
    """Compute dropout, LoRA and the update of embedding tables on a CPU in fewer passes over memory."""

    @hookimpl(wrapper=True, tryfirst=True)  # around all others: adapters are in the network by then
    def build_model(self, run: Run) -> Generator[None, Model, Model]:
        model = yield
        # sharded weights are not for one process to copy; a run that is not started is only planned
        if run.settings.shard or not isinstance(run, StartedRun):
            return model
        from ftp.net.packed_attention import use_dropout_kernel
        from ftp_cpu.dropout import packed_dropout, quick_dropout
        from ftp_cpu.lora import quick_lora
        from ftp_cpu.memory import keep_memory

        quick_dropout(model.net)
        quick_lora(model.net)
        use_dropout_kernel(model.net, packed_dropout)
        keep_memory()
        return model

    @hookimpl(wrapper=True, tryfirst=True)
    def make_optimizer(self) -> Generator[None, Optimizer, Optimizer]:
        from ftp_cpu import row_wise_adamw

        optimizer = yield
        row_wise_adamw.enable(optimizer)
        return optimizer

    @hookimpl(wrapper=True, trylast=True)  # right around core's step: no other plugin meets gradients that are rows
    def train_step(
        self, run: StartedRun, loss: Callable[[Batch], LossOut], optimizer: Optimizer
    ) -> Generator[None, StepOut, StepOut]:
        from ftp_cpu import row_wise_adamw

        is_cores_step = all(how != "answers" for _, how in run.hooks.who("train_step"))
        if run.accelerator.num_processes > 1 or not is_cores_step:
            return (yield)
        with row_wise_adamw.row_gradients(loss, optimizer):
            return (yield)
