"""The plugin `peft`: the methods of the PEFT library that have no plugin of their own."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ftp import Problem, UserError, heads, hookimpl, nearest, option, plugin
from ftp.types import Model, Run
from ftp_peft.method_options import parse

if TYPE_CHECKING:
    from peft import PeftConfig

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
        from ftp.model.peft import attach
        from ftp_peft.methods import is_on, leaves_base

        name, method = self._method()
        options = self._checked_options(name, method)
        self._check_model(run, model, name, method, options)
        # methods that train weights of the base itself (ln_tuning) need a reference of their own
        base = {id(weight) for weight in model.net.parameters()}
        try:
            adapted = attach(model, self._config(model, method, options), who=f"peft {name}", seed=run.settings.seed)
        except UserError as error:
            raise UserError(error.problems[0].what, _advice(name, method, str(error))) from error
        except (ValueError, TypeError, ImportError, NotImplementedError, AttributeError, KeyError) as error:
            raise UserError(f"peft {name}: PEFT refuses: {str(error).strip()}", _advice(name, method, str(error))) from error
        # PEFT takes names that match nothing, and trains the new head alone
        if not is_on(adapted):
            raise UserError(f"peft {name}: PEFT found nothing in {type(model.net).__name__} to put it on",
                            _advice(name, method, "target_modules"))
        return adapted if leaves_base(adapted, base) else replace(adapted, reference=model.reference)

    def _method(self) -> tuple[str, type[PeftConfig]]:
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

        return [name for name, method in known().items() if name not in REFUSED and (prompts or not is_prompt(method))]

    def _checked_options(self, name: str, method: type[PeftConfig]) -> dict[str, object]:
        """`options`, each one that the method has and of the right type."""
        from dataclasses import fields

        defaults = {field.name: field.default for field in fields(method) if field.init and field.name not in OURS}
        options = parse(self.options)
        problems = []
        for key, value in options.items():
            if key in OURS:
                problems.append(Problem(f"--peft.options {key}: the run itself says that", "leave it out"))
            elif key not in defaults:
                problems.append(Problem(f"--peft.options {key}: {name} has no such option",
                                        f"{nearest(key, defaults)} it has: {', '.join(defaults)}".strip()))
            elif mismatch := _mismatch(defaults[key], value):
                problems.append(Problem(f"--peft.options {key}={value}: {mismatch}", f"its default is {defaults[key]}"))
        if problems:
            raise UserError(problems)
        return options

    def _check_model(
        self, run: Run, model: Model, name: str, method: type[PeftConfig], options: Mapping[str, object]
    ) -> None:
        """Raise `UserError` for a network, a head or a layout of rows that a method does not go with."""
        from ftp_peft.methods import has_option, is_prompt, known

        _check_modules(model, options)
        if is_prompt(method):
            self._check_prompt(run, model, name)
        if model.fresh and not has_option(method, "modules_to_save"):
            able = [other for other, config in known().items()
                    if other not in REFUSED and has_option(config, "modules_to_save")]
            raise UserError(f"--peft.method {name}: it cannot train and save the new head ({', '.join(model.fresh)})",
                            f"methods that can: lora, {', '.join(able)}")

    def _check_prompt(self, run: Run, model: Model, name: str) -> None:
        """What does not go with a learnt prompt, which lies before every row."""
        others = f"methods that fit: lora, {', '.join(self._fitting(prompts=False))}"
        if run.settings.pack == "on":
            raise UserError(f"--pack on: {name} puts a prompt before each row, so rows cannot lie end to end",
                            f"--pack auto, or {others}")
        if heads.get(model.head).peft_task is None:
            raise UserError(f"--peft.method {name}: PEFT puts no learnt prompt before rows of the head '{model.head}'", others)

    def _config(self, model: Model, method: type[PeftConfig], options: Mapping[str, object]) -> PeftConfig:
        """The method's configuration: what it usually needs, what the user says, and the new head."""
        from ftp.model.peft import task_type, whole
        from ftp_peft.methods import has_option, usual_options

        arguments = {"task_type": task_type(model), **usual_options(model, method), **options}
        if has_option(method, "modules_to_save"):
            names = options.get("modules_to_save") or []
            modules = whole(model, tuple(names if isinstance(names, list) else [str(names)]))
            if modules:
                arguments["modules_to_save"] = modules
        return method(**arguments)


def _mismatch(default: object, value: object) -> str:
    """What is wrong with a value, as far as the default tells."""
    # True is an int to Python
    is_bool = isinstance(value, bool)
    if isinstance(default, bool):
        is_right = (is_bool or isinstance(value, str)) and value not in ("", "yes", "no")  # init_weights is gaussian, or true
        return "" if is_right else "not true or false"
    if isinstance(default, int) and (not isinstance(value, int) or is_bool):
        return "not a whole number"
    if isinstance(default, float) and (not isinstance(value, int | float) or is_bool):
        return "not a number"
    return ""


def _check_modules(model: Model, options: Mapping[str, object]) -> None:
    """Raise `UserError` for names that end no module's name (PEFT leaves such out of a list in silence)."""
    modules = [name for name, _ in model.net.named_modules() if name]
    ends = {module.split(".")[-1] for module in modules}
    words = sorted(end for end in ends if not end.isdigit())
    problems = []
    for key in ("target_modules", "modules_to_save", "feedforward_modules"):
        names = options.get(key)
        if not isinstance(names, list):  # a text is an expression, or one of PEFT's words
            continue
        for name in names:
            if not any(f".{module}".endswith(f".{name}") for module in modules):
                problems.append(Problem(f"--peft.options {key}={name}: this network has no such module",
                                        f"{nearest(str(name), words)} names end in: {', '.join(words)}".strip()))
    if problems:
        raise UserError(problems)


def _advice(name: str, method: type[PeftConfig], reason: str) -> str:
    """What to do where PEFT refuses: name modules where it found none, methods where this one has no such layers, else look at
    the method's options."""
    if reason == "target_modules" or ("target_modules" in reason and "specify" in reason.lower()):
        return "name the modules: --peft.options target_modules=[query,value] (ends of their names)"
    if "Conv1D" in reason:
        from ftp_peft.methods import on_conv1d

        fitting = [other for other in on_conv1d() if other not in REFUSED]
        return f"methods that fit these layers: lora (a plugin of its own), {', '.join(fitting)}"
    options = ", ".join(option for option in method.__dataclass_fields__ if option not in OURS)
    return f"the options of {name}: {options}; or another method"
