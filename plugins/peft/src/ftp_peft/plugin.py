"""The plugin `peft`: the methods of the PEFT library that have no plugin of their own."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from ftp import Problem, UserError, heads, hookimpl, nearest, option, plugin
from ftp.types import Model, Run
from ftp_peft.given import parse

SHORT = {"prefix": "prefix_tuning", "prompt": "prompt_tuning", "ptuning": "p_tuning"}
REFUSED = {
    "lora": "it has a plugin of its own: --plugins lora,...",
    "adalora": "its budget of ranks is kept outside of the weights, so no checkpoint could go on with it; lora is near",
    "poly": "every row would need the number of its task",
    "multitask_prompt_tuning": "every row would need the number of its task; prompt_tuning is near",
    "xlora": "it mixes adapters of finished runs; train those first, with --plugins lora,...",
    "cartridge": "it begins with the keys and values of a text, which rows do not have; prefix_tuning is near",
    "cpt": "it begins with a prompt of its own tokens, which rows do not have; prompt_tuning is near",
    "lily": "its experts are chosen by the mean of a whole batch, so a row's answer would depend on the rows beside it",
}
"""Methods that want more than a network and rows, and what to take."""
OURS = ("task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode")
"""Options of every method that are no choice of the user."""


@plugin(suggests={"learning_rate": 3e-3}, decides="which weights are trained")
class Peft:
    """Train with any other method of the PEFT library, by its name and with its own options."""

    method: str = option("ia3", "a method of PEFT: ia3, vera, boft, oft, loha, lokr, fourierft, vblora, ln_tuning, "
                         "prefix_tuning, prompt_tuning, p_tuning, ... (a wrong name lists them)")
    options: str = option("", "the method's own options under PEFT's names, as in r=8,target_modules=[query,value], or as JSON")

    @hookimpl(wrapper=True)
    def build_model(self, run: Run) -> Generator[None, Model, Model]:
        """Put the method on; only what it adds and the new head are trained and saved."""
        model = yield
        from ftp.model.peft import attach, task_type, whole
        from ftp_peft.methods import is_on, is_prompt, known, leaves_base, start

        name, kind = self._kind()
        given = self._given(name, kind)
        _modules(model, given)
        if is_prompt(kind):
            self._fits(run, model, name)
        if model.fresh and not _has(kind, "modules_to_save"):
            able = [one for one, other in known().items() if one not in REFUSED and _has(other, "modules_to_save")]
            raise UserError(f"--peft.method {name}: it cannot train and save the new head ({', '.join(model.fresh)})",
                            f"methods that can: lora, {', '.join(able)}")
        kept = whole(model, tuple(given.get("modules_to_save") or ())) if _has(kind, "modules_to_save") else []
        given |= {"modules_to_save": kept} if kept else {}
        before = {id(weight) for weight in model.net.parameters()}
        try:
            config = kind(**{"task_type": task_type(model), **start(model, kind), **given})
            adapted = attach(model, config, who=f"peft {name}", seed=run.settings.seed)
        except UserError as error:
            raise UserError(error.problems[0].what, _advice(name, kind, str(error))) from error
        except (ValueError, TypeError, ImportError, NotImplementedError, AttributeError, KeyError) as error:
            raise UserError(f"peft {name}: PEFT refuses: {str(error).strip()}", _advice(name, kind, str(error))) from error
        if not is_on(adapted):
            raise UserError(f"peft {name}: PEFT found nothing in {type(model.net).__name__} to put it on",
                            _advice(name, kind, "target_modules"))
        return adapted if leaves_base(adapted, before) else replace(adapted, reference=model.reference)

    def _kind(self) -> tuple[str, Any]:
        """The method's name and its configuration class in PEFT."""
        from ftp_peft.methods import known

        methods = known()
        name = SHORT.get(self.method.lower(), self.method.lower().replace("-", "_"))
        if name in REFUSED:
            raise UserError(f"--peft.method {self.method}: {REFUSED[name]}", f"methods that go: {', '.join(self._fitting())}")
        if name not in methods:
            from importlib.metadata import version

            raise UserError(f"--peft.method {self.method}: PEFT {version('peft')} has no such method",
                            f"{nearest(name, methods)} it has: {', '.join(self._fitting())}".strip())
        return name, methods[name]

    def _fitting(self, prompts: bool = True) -> list[str]:
        from ftp_peft.methods import is_prompt, known

        return [name for name, kind in known().items() if name not in REFUSED and (prompts or not is_prompt(kind))]

    def _given(self, name: str, kind: Any) -> dict[str, Any]:
        """`options`, each one that the method has and of the right type."""
        from dataclasses import fields

        defaults = {item.name: item.default for item in fields(kind) if item.init and item.name not in OURS}
        given, problems = parse(self.options), []
        for key, value in given.items():
            if key in OURS:
                problems.append(Problem(f"--peft.options {key}: the run itself says that", "leave it out"))
            elif key not in defaults:
                problems.append(Problem(f"--peft.options {key}: {name} has no such option",
                                        f"{nearest(key, defaults)} it has: {', '.join(defaults)}".strip()))
            elif wrong := _wrong(defaults[key], value):
                problems.append(Problem(f"--peft.options {key}={value}: {wrong}", f"its default is {defaults[key]}"))
        if problems:
            raise UserError(problems)
        return given

    def _fits(self, run: Run, model: Model, name: str) -> None:
        """What does not go with a learnt prompt, which lies before every row."""
        others = f"methods that fit: lora, {', '.join(self._fitting(prompts=False))}"
        if run.settings.pack == "on":
            raise UserError(f"--pack on: {name} puts a prompt before each row, so rows cannot lie end to end",
                            f"--pack auto, or {others}")
        if heads.get(model.head).peft_task is None:
            raise UserError(f"--peft.method {name}: PEFT puts no learnt prompt before rows of the head '{model.head}'", others)


def _wrong(default: Any, value: Any) -> str:
    """What is wrong with a value, as far as the default tells."""
    if isinstance(default, bool):
        return "" if isinstance(value, bool | str) and value not in ("", "yes", "no") else "not true or false"
    if isinstance(default, int) and (not isinstance(value, int) or isinstance(value, bool)):
        return "not a whole number"
    if isinstance(default, float) and (not isinstance(value, int | float) or isinstance(value, bool)):
        return "not a number"
    return ""


def _modules(model: Model, given: dict[str, Any]) -> None:
    """Raise `UserError` for names that end no module's name (PEFT leaves such out of a list in silence)."""
    names = [name for name, _ in model.net.named_modules() if name]
    ends = sorted({name.split(".")[-1] for name in names} - {str(number) for number in range(1000)})
    problems = []
    for key in ("target_modules", "modules_to_save", "feedforward_modules"):
        for one in given[key] if isinstance(given.get(key), list) else ():
            if not any(f".{name}".endswith(f".{one}") for name in names):
                problems.append(Problem(f"--peft.options {key}={one}: this network has no such module",
                                        f"{nearest(str(one), ends)} names end in: {', '.join(ends)}".strip()))
    if problems:
        raise UserError(problems)


def _has(kind: Any, name: str) -> bool:
    return name in kind.__dataclass_fields__


def _advice(name: str, kind: Any, said: str) -> str:
    """What to do where PEFT refuses: name modules where it found none, methods where this one has no such layers, else look at
    the method's options."""
    if said == "target_modules" or ("target_modules" in said and "specify" in said.lower()):
        return "name the modules: --peft.options target_modules=[query,value] (ends of their names)"
    if "Conv1D" in said:
        from ftp_peft.methods import on_conv1d

        fitting = [one for one in on_conv1d() if one not in REFUSED]
        return f"methods that fit these layers: lora (a plugin of its own), {', '.join(fitting)}"
    chosen = ", ".join(one for one in kind.__dataclass_fields__ if one not in OURS)
    return f"the options of {name}: {chosen}; or another method"
