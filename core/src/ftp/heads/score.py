"""One number for a row."""

from ftp.heads import HeadSpec, names_of_classes

HEAD = HeadSpec(
    "score",
    "one number for each row",
    "AutoModelForSequenceClassification",
    config_values=lambda labels: names_of_classes(["score"]),
    peft_task="SEQ_CLS",
    export_task="text-classification",
    what_is_trained="no single token is trained: the score of the row is; what was chosen is to score higher",
    gives_number=True,
    reads_answers=True,
    loss_is_nats=True,
)
