"""A process that reads one file after another, named on its standard input, and says what came of each.

It answers a line of JSON: `rows`, a `word` (UserError), or a `fault` (anything else). The test that started it sees a
death by a signal as the end of its answers.
"""

from __future__ import annotations

import json
import resource
import sys
import traceback
import warnings
from pathlib import Path

import datasets.arrow_dataset

from ftp import forms
from ftp.data.read import read
from ftp.data.target_form import shape
from ftp.errors import UserError

MEMORY = 16 << 30  # bytes of addresses: a length from a damaged file must not fill the machine


def outcome(path: Path, is_stream: bool, is_shaped: bool) -> tuple[str, str]:
    """What reading a file comes to, and its text. `is_shaped`: its rows are brought into their form as well."""
    try:
        notes: list[str] = []
        splits = read(path, streaming=is_stream, notes=notes)
        for rows in splits.values():
            for row in rows:
                repr(row)
        first = next(iter(splits.values()))
        form = forms.detect(first.column_names or ())
        if is_shaped and form is not None:
            shape(splits, form, source_name=str(path))
        json.dumps(notes).encode()
    except UserError as error:
        text = str(error)
        text.encode()
        return (
            ("word", text)
            if path.stem.split(".")[0] in text or "label" in text
            else ("fault", f"no file named: {text}")
        )
    except BaseException:
        return "fault", traceback.format_exc()
    return "rows", ""


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    # `datasets` names each table by a pickle of it, which is half of the time here, and no test reads the name
    datasets.arrow_dataset.generate_fingerprint = lambda dataset: "unnamed"
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    for line in sys.stdin:
        path, is_stream, is_shaped = json.loads(line)
        answers.write(json.dumps(outcome(Path(path), is_stream, is_shaped)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
