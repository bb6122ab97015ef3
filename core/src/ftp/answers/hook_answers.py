"""What each hook gives back, checked by type before it travels, so that the plugin at fault is named.

The table `HOOKS` says what each hook gives. Nothing here looks at whether numbers are right: the kit does (`ftp check`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftp.answers.carried_functions import with_checked_functions
from ftp.answers.fields import Check, a_loss, an, instance, listed, of
from ftp.answers.kinds import CONTEXT, FUNCTION, OPTIMIZER, UPDATES, is_dataset
from ftp.answers.origin import Mismatch, Source
from ftp.types import Model, Reward, Risk, Score, StepOut, Stop


def splits(value: object) -> Mismatch | None:
    """Check the answer to load_data."""
    right = "a dictionary of split name -> datasets.Dataset"
    if not isinstance(value, Mapping):
        return Mismatch(an(value), right)
    for name, rows in value.items():
        if not isinstance(name, str):
            return Mismatch(f"a dictionary with the key {name!r:.40}", right)
        if not is_dataset(rows):
            return Mismatch(f"{an(rows)} for the split '{name}'", right)
    return None


def text(value: object) -> Mismatch | None:
    """Check the answer to hide."""
    return None if isinstance(value, str) else Mismatch(an(value), "a text")


HOOKS: Mapping[str, Check] = {
    "load_data": splits,
    "build_model": instance(Model),
    "make_loss": a_loss,
    "order_rows": of(UPDATES),
    "make_optimizer": of(OPTIMIZER),
    "make_schedule": of(FUNCTION),
    "train_step": instance(StepOut),
    "evaluated_weights": of(CONTEXT),
    "evaluate": listed(Score),
    "check_risks": listed(Risk),
    "reward": instance(Reward),
    "on_event": instance(Stop),
    "hide": text,
}
"""What each hook gives."""


def checked(hook: str, value: object, source: Source) -> Any:
    """A plugin's answer as it may travel: itself, or a `Loss` or `Model` whose functions are checked.

    Raises:
        PluginError: it is not what the hook gives.
    """
    mismatch = HOOKS[hook](value)
    if mismatch is not None:
        raise source.error(hook, mismatch)
    # the table has just said that it is of the hook's type, which no type of this function can say
    return with_checked_functions(value, source)


def checked_list(hook: str, values: object, source: Source) -> Any:
    """What a wrapper of a collected hook gives back: the list of all answers."""
    if not isinstance(values, list):
        right = "the list of answers that it was given (a wrapper ends with `return answers`)"
        raise source.error(hook, Mismatch(an(values), right))
    # a wrapper may have added answers of its own
    for value in values:
        checked(hook, value, source)
    return values
