"""The configuration of a checkpoint for the task of a run. Heavy: imports torch."""

from __future__ import annotations

from transformers import AutoConfig, PretrainedConfig

from ftp import heads
from ftp.model.refusals import explained
from ftp.model.source import Source, reading_options


def read_config(source: Source, head: str, labels: tuple[str, ...], trust_remote_code: bool) -> PretrainedConfig:
    """The checkpoint's configuration with the classes of this task, and without a cache of keys and values.

    Args:
        source: the checkpoint.
        head: the name of a head.
        labels: names of the classes, for a head that has some.
        trust_remote_code: whether code that comes with the checkpoint may run.

    Raises:
        UserError: the configuration cannot be read.
    """
    with explained(source):
        config = AutoConfig.from_pretrained(source.where, **reading_options(source, trust_remote_code))
    spec = heads.get(head)
    if spec.has_classes and not labels:
        raise ValueError(f"head '{head}' needs the names of the classes")
    for name, value in spec.config_values(labels).items():
        setattr(config, name, value)
    use_cache(config, False)
    return config


def use_cache(config: PretrainedConfig, value: bool) -> None:
    """Set whether the network keeps keys and values for generation: on in what is saved, off while it is trained.

    Args:
        config: the network's configuration, which is changed.
        value: whether it does.
    """
    for part in with_text_config(config):
        if hasattr(part, "use_cache"):
            part.use_cache = value


def with_text_config(config: PretrainedConfig) -> list[PretrainedConfig]:
    """A configuration, and that of its language model where it is another object (images and text)."""
    text_config = config.get_text_config()
    return [config] if text_config is config else [config, text_config]
