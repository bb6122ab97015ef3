"""Label Studio's exports: JSON (`tasks`, whose annotations hold `results`) and JSON-MIN (`flat_tasks`).

Read: choices (a label), labels over text or hypertext (BIO tags), pairwise (a preference), textarea (a completion), chat
messages (a conversation).
"""

from ftp.data.readers import Export, Layout
from ftp_labelling.label_studio import flat_tasks, tasks

__all__ = ["EXPORT"]

EXPORT = Export(
    "label-studio",
    (
        Layout("Label Studio", tasks.matches_tagging, tasks.convert_tagging),
        Layout("Label Studio", tasks.matches, tasks.convert),
        Layout("Label Studio (JSON-MIN)", flat_tasks.matches_spans, flat_tasks.convert_spans),
        Layout("Label Studio (JSON-MIN)", flat_tasks.matches_whole_rows, flat_tasks.convert_whole_row),
    ),
)
