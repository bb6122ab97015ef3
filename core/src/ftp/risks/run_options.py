"""What checks look at in the run itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ftp.options import Option
from ftp.types import Run


def named_options(run: Run) -> Iterator[tuple[str, Any, Option]]:
    """Flag (without dashes), value and description of each option of the plugins that were named.

    Default plugins are left out: nobody chose them, and their options restrict nothing.

    Args:
        run: the run whose plugins are asked.
    """
    for plugin in run.hooks.picked:
        if plugin.found.default:
            continue
        instance = run.hooks.plugins[plugin.name]
        for description in plugin.options:
            value = getattr(instance, description.name, description.default)
            yield description.key, value, description
