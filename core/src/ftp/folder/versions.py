"""The versions of plugins and libraries that a run was made with. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata

from ftp.folder.json_files import Lock

PACKAGES = (
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "peft",
    "trl",
    "tokenizers",
    "safetensors",
    "numpy",
    "scikit-learn",
    "pluggy",
)
"""Libraries that decide the numbers of a run."""
SOURCE = ("distribution", "version", "sha256")
"""Keys of a plugin in plugins.lock by which its code is known again."""


def software() -> dict[str, str]:
    """Versions of Python and of the libraries that decide a run's numbers; imports none of them."""
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def differences(lock: Lock, plugins: Sequence[Mapping[str, str]]) -> list[str]:
    """How plugins and libraries differ from those of a lock, one line a difference.

    Args:
        lock: what plugins.lock holds.
        plugins: what `ftp.plugins.lock.lock` gives now.
    """
    lines = list(_plugin_differences(lock["plugins"], plugins))
    installed = software()
    for name, version in lock["software"].items():
        if installed.get(name) != version:
            lines.append(f"{name} changed: {version} -> {installed.get(name, 'not installed')}")
    return lines


def _plugin_differences(
    before: Sequence[Mapping[str, str]], now: Sequence[Mapping[str, str]]
) -> Iterator[str]:
    old_plugins = {plugin["name"]: plugin for plugin in before}
    new_plugins = {plugin["name"]: plugin for plugin in now}
    for name in dict.fromkeys([*old_plugins, *new_plugins]):
        if name not in old_plugins:
            yield f"plugin {name} was added"
        elif name not in new_plugins:
            yield f"plugin {name} was left out"
        elif _source(old_plugins[name]) != _source(new_plugins[name]):
            old_version = old_plugins[name].get("version", "?")
            new_version = new_plugins[name].get("version", "?")
            # the same version with another hash: somebody works on the plugin
            change = f"changed: {old_version} -> {new_version}"
            if old_version == new_version:
                change = f"{new_version}: its source changed"
            yield f"plugin {name} {change}"


def _source(plugin: Mapping[str, str]) -> list[str | None]:
    return [plugin.get(key) for key in SOURCE]
