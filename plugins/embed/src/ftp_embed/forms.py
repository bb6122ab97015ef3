"""Forms of rows that say which texts belong together. Imports nothing heavy."""

from ftp.forms import Column, FormSpec, Way

ANCHOR = Column("anchor", other_names=("query",), likely_names=("question", "title", "text"))
POSITIVE = Column(
    "positive", is_answer=True, other_names=("document", "passage"), likely_names=("context", "answer", "body", "text_pair")
)
NEGATIVE = Column("negative", is_answer=True, likely_names=("hard_negative",))

PAIRS = FormSpec("pairs", (ANCHOR, POSITIVE), default_head="embedding", sequence_names=("anchor", "positive"))
"""A text and one that belongs to it: a question and what answers it, two ways to say the same."""

TRIPLETS = FormSpec(
    "triplets",
    (ANCHOR, POSITIVE, NEGATIVE),
    ways=(Way("pairs", lambda row, labels: {"anchor": row["anchor"], "positive": row["positive"]}),),
    default_head="embedding",
    sequence_names=("anchor", "positive", "negative"),
)
"""A pair, and a text that looks as if it belonged to it and does not (a hard negative)."""

SCORED_PAIRS = FormSpec(
    "scored_pairs",
    (
        Column("text", other_names=("sentence1", "text_a")),
        Column("text_pair", other_names=("sentence2", "text_b")),
        Column("score", "number", is_answer=True, likely_names=("similarity", "label")),
    ),
    row_of_text=lambda text: {"text": text},
    default_head="embedding",
    sequence_names=("text", "text_pair"),
)
"""Two texts, and how alike they are, in any unit."""
