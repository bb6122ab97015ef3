"""The plugin keeps to the contract, each check a test of its own; below stands what only its author knows."""

from ftp_testing import conformance

test_contract = conformance("plugin-name")
