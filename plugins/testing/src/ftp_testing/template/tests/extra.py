"""What only the author of plugin-name knows: when the rate is how high."""

import math

import pytest

from ftp_plugin_name import PluginName, Schedule


def share_of(plugin: PluginName, total: int, schedule: Schedule) -> Schedule:
    """The schedule that the plugin makes of another one. Its hook is a wrapper: it yields for that one."""
    hook = plugin.make_schedule(total)
    next(hook)
    with pytest.raises(StopIteration) as ended:
        hook.send(schedule)
    made: Schedule = ended.value.value
    return made


def test_each_cycle_begins_at_the_peak() -> None:
    share = share_of(PluginName(cycles=3), 30, lambda step: 1.0)
    assert [share(step) for step in (0, 10, 20)] == [1.0, 1.0, 1.0]
    assert math.isclose(share(5), 0.5) and share(9) < 0.05


def test_the_run_has_a_say() -> None:
    share = share_of(PluginName(cycles=1), 10, lambda step: 0.1)
    assert math.isclose(share(5), 0.05)
