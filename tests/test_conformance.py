"""Every installed plugin passes the conformance kit, here alone; those of core itself are held by core's tests."""

from __future__ import annotations

from ftp.plugin_info import declaration_of
from ftp.plugins.find import installed
from ftp_testing import conformance

NAMES = sorted(name for name, cls in installed() if not cls.__module__.startswith("ftp.") and declaration_of(cls).kind != "core")

test_installed_plugins = conformance(*NAMES)


def test_the_plugins_of_the_workspace_are_among_them() -> None:
    assert {"lora", "full", "sentiment", "sft", "dpo", "leakage"} <= set(NAMES)
