"""Tests of the kit: what it remembers about trusted files goes into a folder of its own."""

from __future__ import annotations

import os
import tempfile

os.environ["FTP_STATE"] = tempfile.mkdtemp(prefix="ftp-tests-")  # not the file of whoever runs the tests
