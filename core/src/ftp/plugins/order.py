"""The order of the plugins of a run: as they are named, but for those that declare `before` or `after`. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence

from ftp.plugin_info import Picked


def in_order(picked: Sequence[Picked]) -> list[Picked]:
    """Plugins in the order in which they act: that of their names, and each behind those that it declares to come after.
    Where such wishes go round in a circle (`circle_of`), the plugins in it stay as they are named."""
    earlier = _earlier(picked)
    waiting = list(picked)
    ordered: list[Picked] = []
    while waiting:
        names = {plugin.name for plugin in waiting}
        # the first that waits for nobody; in a circle the first of all
        ready = waiting[0]
        for plugin in waiting:
            if earlier[plugin.name].isdisjoint(names):
                ready = plugin
                break
        waiting.remove(ready)
        ordered.append(ready)
    return ordered


def circle_of(picked: Sequence[Picked]) -> list[str]:
    """Names of plugins of which each has to act before the next, and the last before the first; none where there is no circle."""
    earlier = _earlier(picked)
    # take away those that wait for nobody, until all that are left wait
    is_free = True
    while is_free:
        free = [name for name, others in earlier.items() if others.isdisjoint(earlier)]
        for name in free:
            del earlier[name]
        is_free = bool(free)
    if not earlier:
        return []

    # every plugin that is left waits for another that is left, so that walking back comes round
    path = [next(iter(earlier))]
    while True:
        previous = min(earlier[path[-1]].intersection(earlier))
        if previous in path:
            return path[path.index(previous):][::-1]
        path.append(previous)


def _earlier(picked: Sequence[Picked]) -> dict[str, set[str]]:
    """The name of each plugin -> those of this run that have to act before it."""
    names = {plugin.name for plugin in picked}
    earlier = {plugin.name: set(plugin.declaration.after) & names for plugin in picked}
    for plugin in picked:
        for later in names.intersection(plugin.declaration.before):
            earlier[later].add(plugin.name)
    return earlier
