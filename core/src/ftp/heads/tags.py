"""A tag for each word."""

from ftp.heads import HeadSpec, Later, names_of_classes

HEAD = HeadSpec(
    "tags",
    "a tag for each word",
    "AutoModelForTokenClassification",
    config_values=names_of_classes,
    peft_task="TOKEN_CLS",
    export_task="token-classification",
    default_loss=Later("ftp.losses.tags:make"),
    baselines=Later("ftp.evaluate.baselines:tag_baselines"),
    scores=Later("ftp.metrics.entities:tagging"),
    has_classes=True,
    probe="class",
    what_is_trained="⟦...⟧ is trained: the first token of each word, which is to give the tag behind →",
    picks_class_of="word",
    loss_is_nats=True,
)
