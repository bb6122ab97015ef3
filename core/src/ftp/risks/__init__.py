"""The risks of a run: what its checks say, and what follows from it.

For plugins that check: rows as the loss encodes them (`encode_split`, `as_rows`), what a model answers to
them (`predict`), and the options of the plugins that were named (`named_options`), for advice.
"""

from typing import TYPE_CHECKING

from ftp.deprecation import late_names

if TYPE_CHECKING:
    from ftp.data.encode import encode as encode_split
    from ftp.data.tables import as_rows
    from ftp.evaluate.predict import predict
    from ftp.risks.run_options import named_options

__all__ = ["as_rows", "encode_split", "named_options", "predict"]

__getattr__ = late_names(__name__, {
    "as_rows": "ftp.data.tables:as_rows",
    "encode_split": "ftp.data.encode:encode",
    "named_options": "ftp.risks.run_options:named_options",
    "predict": "ftp.evaluate.predict:predict",
})
