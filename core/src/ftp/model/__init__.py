"""Models: where they come from (`source`), loading one with a head (`load`), writing `model/` (`save`), and proof that
what was written gives the same answers without ftp (`verify`). Everything here is heavy: it imports torch."""

from ftp.model.load import capacity, load, parameters, quiet, shape_only
from ftp.model.save import loading_code, merge, reload, save
from ftp.model.source import Source, find, offers
from ftp.model.verify import VerifyError, logits, probe, verify

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
