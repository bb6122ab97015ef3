"""What a run is about."""

from __future__ import annotations

from dataclasses import dataclass

Form = str
"""Which columns the rows of a data set have: the name of a registered `ftp.forms.FormSpec`."""

Head = str
"""What sits on top of the network: the name of a registered `ftp.heads.HeadSpec`."""


@dataclass(frozen=True)
class Task:
    """What a run is about, settled before anything heavy is imported.

    Attributes:
        form: the columns that the objective reads.
        head: what the network ends in.
        others: forms that `--form` could have chosen in its place.
    """

    form: Form
    head: Head
    others: tuple[Form, ...] = ()
