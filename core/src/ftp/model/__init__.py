"""Models: where they come from (`source`), loading one with a head (`loading`, `configuration`, `auto_class`, `new_modules`,
`quantization`), what is refused (`refusals`), how long a row may be (`limits`), how a new head begins (`head_start`, `head_fit`),
writing `model/` (`saving`, `card`, `saved_facts`), `merging` an adapter into its base, and `proof` that what was written gives
the same answers without ftp (`verify`). Everything here is heavy: it imports torch."""

from ftp.errors import VerifyError
from ftp.model.card import loading_code
from ftp.model.configuration import read_config, use_cache
from ftp.model.head_fit import HeadFit, fitting
from ftp.model.head_start import why_not as why_not_fitted
from ftp.model.limits import capacity
from ftp.model.loading import grow_shape, load, origin, parameters, quiet, shape_only
from ftp.model.merging import Merged, export_whole, merge, merged
from ftp.model.modes import evaluating, without_dropout
from ftp.model.proof import logits, probe, verify
from ftp.model.quantization import quantized
from ftp.model.saving import reload, save
from ftp.model.source import Source, find
from ftp.plugins.offers import offers

__all__ = [
    "HeadFit",
    "Merged",
    "Source",
    "VerifyError",
    "capacity",
    "evaluating",
    "export_whole",
    "find",
    "fitting",
    "grow_shape",
    "load",
    "loading_code",
    "logits",
    "merge",
    "merged",
    "offers",
    "origin",
    "parameters",
    "probe",
    "quantized",
    "quiet",
    "read_config",
    "reload",
    "save",
    "shape_only",
    "use_cache",
    "verify",
    "why_not_fitted",
    "without_dropout",
]
