"""One number for a row."""

from ftp.heads import HeadSpec, names_of_classes

HEAD = HeadSpec(
    "score",
    "one number for each row",
    "AutoModelForSequenceClassification",
    config_values=lambda labels: names_of_classes(["score"]),
    peft_task="SEQ_CLS",
    export_task="text-classification",
    loss_is_nats=True,
)
