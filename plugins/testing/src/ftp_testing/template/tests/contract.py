"""The plugin keeps to the contract: each check of `ftp check plugin-name` is a test of its own."""

import pytest

from ftp_testing import conformance

pytestmark = pytest.mark.slow

test_contract = conformance("plugin-name")
