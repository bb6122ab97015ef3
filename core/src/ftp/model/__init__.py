"""Models: where they come from (`source`), loading one with a head (`loading`), writing `model/` (`saving`), and `proof` that
what was written gives the same answers without ftp (`verify`). Everything here is heavy: it imports torch."""

from ftp.model.loading import capacity, load, parameters, quiet, shape_only
from ftp.model.proof import VerifyError, logits, probe, verify
from ftp.model.saving import loading_code, merge, reload, save
from ftp.model.source import Source, find, offers

__all__ = [
    "Source",
    "VerifyError",
    "capacity",
    "find",
    "load",
    "loading_code",
    "logits",
    "merge",
    "offers",
    "parameters",
    "probe",
    "quiet",
    "reload",
    "save",
    "shape_only",
    "verify",
]
