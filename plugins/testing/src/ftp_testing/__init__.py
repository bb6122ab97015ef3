"""The conformance kit for plugin authors: on tiny models made in memory, offline, on a CPU, in seconds.

On the command line: `ftp check NAME`. In a plugin's own tests, each check a test of its own:

    from ftp_testing import conformance

    test_mine = conformance("mine")

A plugin that is not installed is named by its file: `conformance("path/to/file.py:Class")`. docs/conformance.md says what is
checked, and why.
"""

from ftp_testing.kit import Report, check, conformance

__all__ = ["Report", "check", "conformance"]
