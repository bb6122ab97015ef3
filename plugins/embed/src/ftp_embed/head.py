"""The head `embedding`: none at all, the network's last hidden states are what is pooled. Imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ftp.heads import HeadSpec, Later
from ftp.types import Prediction


def shown(prediction: Prediction, labels: Sequence[str]) -> Mapping[str, object]:
    """The vector of a text; of two texts or more, the cosine of the first two, whose vectors have length 1."""
    vectors = prediction.answer
    if not vectors or isinstance(vectors[0], float):
        return {"answer": vectors}
    cosine = math.fsum(left * right for left, right in zip(vectors[0], vectors[1], strict=True))
    return {"answer": round(cosine, 6)}


EMBEDDING = HeadSpec(
    "embedding",
    "a vector for each text",
    "AutoModel",
    outputs=("last_hidden_state",),
    peft_task="FEATURE_EXTRACTION",
    export_task="feature-extraction",
    example='inputs = tokenizer(["a text"], return_tensors="pt")\nstates = model.eval()(**inputs).last_hidden_state\n',
    shown=shown,
    scores=Later("ftp_embed.evaluation:scores"),
    model_as="labels",
    unused=("pooler",),
)
