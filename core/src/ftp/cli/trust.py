"""The option of every command that loads a run's model."""

from __future__ import annotations

import click

trust = click.option("--trust-remote-code", is_flag=True, help="Run the code that came with the model, where it has some.")
