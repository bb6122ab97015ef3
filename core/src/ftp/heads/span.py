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
    loss_is_nats=True,
)
