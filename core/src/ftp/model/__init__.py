"""Models: where they come from (`source`), loading one with a head (`loading`, `auto_class`, `new_modules`), what is refused
(`refusals`), how long a row may be (`limits`), writing `model/` (`saving`), `merging` an adapter into its base, and `proof` that
what was written gives the same answers without ftp (`verify`). Everything here is heavy: it imports torch."""

from ftp.errors import VerifyError
from ftp.model.limits import capacity
from ftp.model.loading import grow_shape, load, parameters, quantized, quiet, shape_only
from ftp.model.merging import Merged, export_whole, merge, merged
from ftp.model.proof import logits, probe, verify
from ftp.model.saving import loading_code, reload, save
from ftp.model.source import Source, find
from ftp.plugins.offers import offers

__all__ = [
    "Merged",
    "Source",
    "VerifyError",
    "capacity",
    "export_whole",
    "find",
    "grow_shape",
    "load",
    "loading_code",
    "logits",
    "merge",
    "merged",
    "offers",
    "parameters",
    "probe",
    "quantized",
    "quiet",
    "reload",
    "save",
    "shape_only",
    "verify",
]
