"""The class of a row."""

from ftp.heads import HeadSpec, Later, names_of_classes

HEAD = HeadSpec(
    "labels",
    "a class for each row",
    "AutoModelForSequenceClassification",
    config_values=names_of_classes,
    peft_task="SEQ_CLS",
    export_task="text-classification",
    example='inputs = tokenizer(["a text"], return_tensors="pt")\n'
    "probabilities = model.eval()(**inputs).logits.softmax(-1)\n",
    default_loss=Later("ftp.losses.labels:make"),
    baselines=Later("ftp.evaluate.baselines:class_baselines"),
    scores=Later("ftp.metrics.classes:classification"),
    has_classes=True,
    probe="class",
    reads_first_token=True,
    what_is_trained="no single token is trained: the class of the row is",
    picks_class_of="row",
    loss_is_nats=True,
)
