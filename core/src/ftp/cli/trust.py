"""The options of commands that load a run's model, and of those that ask its plugins too."""

from __future__ import annotations

import click

trust = click.option("--trust-remote-code", is_flag=True, help="Run the code that came with the model, where it has some.")
trust_recipe = click.option("--trust-recipe", is_flag=True, help="Run the Python files that the run's recipe names.")
changed_base = click.option("--allow-changed-base", is_flag=True, help="Take the base model as it is now, where it was changed "
                            "since the run was trained on it.")
