"""The version of the contract between core and plugins, and whether an installed package was made for this core.

Imports nothing heavy.
"""

from __future__ import annotations

import re

from ftp.errors import Problem

VERSION = "0.1.0"
"""Version of the package ftp-core."""

CONTRACT = "2.0"
"""Version of the contract: hooks, declarations and public names. The first number changes when something is taken away."""

PUBLIC_MODULES = (
    "ftp", "ftp.types", "ftp.forms", "ftp.heads",
    "ftp.data", "ftp.data.control_text", "ftp.data.look", "ftp.data.readers", "ftp.data.tables", "ftp.data.turns",
    "ftp.losses", "ftp.losses.answer_logps", "ftp.losses.blocks", "ftp.losses.chat_template", "ftp.losses.conversations",
    "ftp.losses.generation", "ftp.losses.labels", "ftp.losses.preference_pairs", "ftp.losses.prompted_answers",
    "ftp.losses.sampling", "ftp.losses.scored_texts", "ftp.losses.span", "ftp.losses.stretches", "ftp.losses.tokens",
    "ftp.net", "ftp.net.heads", "ftp.net.layout", "ftp.net.logits", "ftp.net.packed_attention", "ftp.net.packing",
    "ftp.model", "ftp.model.peft", "ftp.model.scratch", "ftp.model.token_rows",
    "ftp.train", "ftp.metrics", "ftp.evaluate.linear", "ftp.risks", "ftp_testing", "ftp_testing.models",
)  # fmt: skip
"""Modules whose `__all__` is what plugins may use, and what docs/stability.md promises."""

REQUIREMENT = re.compile(r"^ftp[-_.]core(?![-\w.])[^\S\n]*\(?([^;)\n]*)\)?[^\S\n]*(;.*)?$", re.IGNORECASE | re.MULTILINE)


def normal_name(package: str) -> str:
    """The name of a package as package indexes compare them (PEP 503)."""
    return re.sub(r"[-_.]+", "-", package).lower()


def install_command(requirement: str, *flags: str) -> str:
    """The command that installs a package where ftp is.

    Args:
        requirement: its name, which may have versions after it.
        flags: of `ftp install`.
    """
    from shlex import quote

    # another name than ftp-... would be taken for that of a plugin
    exact = () if normal_name(requirement).startswith("ftp-") else ("--exact",)
    return " ".join(["ftp install", *exact, *flags, quote(requirement)])


def required_core(metadata: str) -> str:
    """The versions of ftp-core that a package runs with, as in `>=0.1,<1`; empty: it names none.

    Args:
        metadata: the head of a package's METADATA.
    """
    ranges = []
    for line in re.findall(r"^Requires-Dist: *(.*)$", metadata, re.MULTILINE):
        match = REQUIREMENT.match(line)
        # what only an extra asks for (`; extra == "test"`) does not bind the package itself
        if match and "extra" not in (match[2] or ""):
            ranges.append(match[1].strip())
    return ",".join(version_range for version_range in ranges if version_range)


def refusal(package: str, distribution: str, versions: str) -> Problem | None:
    """Why a package does not run with the installed core; None: it does.

    Args:
        package: its name and version.
        versions: of ftp-core, as `required_core` gives them.
    """
    if not versions:
        return None
    # the parts of packaging that are needed here take a few milliseconds, and only where a plugin is loaded
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import Version

    upgrade = install_command(distribution, "--upgrade")
    installed = Version(VERSION)
    try:
        admitted = SpecifierSet(versions)
    except InvalidSpecifier:
        return Problem(f"{package} requires ftp-core {versions}, which is no range of versions",
                       f"its package is broken; update it, or remove it with: ftp uninstall {distribution}", upgrade)
    if admitted.contains(installed, prereleases=True):
        return None
    what = f"{package} requires ftp-core {versions}, but {installed} is installed (contract {CONTRACT})"
    for bound in admitted:
        if Version(bound.version.removesuffix(".*")) > installed:
            return Problem(what, f"this ftp is too old for it; update ftp, or remove it with: ftp uninstall {distribution}",
                           install_command(f"ftp-core{versions}", "--upgrade"))
    return Problem(what, "it was made for an older ftp; a newer version of it may fit; or remove it with: "
                   f"ftp uninstall {distribution}", upgrade)
