"""Where in a text an answer begins and ends."""

from ftp.heads import HeadSpec, Later

HEAD = HeadSpec(
    "span",
    "first and last token of an answer",
    "AutoModelForQuestionAnswering",
    outputs=("start_logits", "end_logits"),
    peft_task="QUESTION_ANS",
    export_task="question-answering",
    default_loss=Later("ftp.losses.span:make"),
    scores=Later("ftp.metrics.answers:reading"),
    what_is_trained="⟦...⟧ is trained: the first and the last token of the answer are to be found; where there is no answer, the "
    "token that stands for none",
    finds_span=True,
    loss_is_nats=True,
)
