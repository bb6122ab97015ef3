"""What only the author of plugin-name knows: which weights are trained."""

from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from ftp import UserError
from ftp_plugin_name import PluginName


class Net(nn.Module):
    """Embeddings, three layers and a new classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(4, 2)
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
        self.classifier = nn.Linear(2, 2)


def build(plugin: PluginName) -> Net:
    """The network as the plugin leaves it. Its hook is a wrapper: it yields for the model as loaded."""
    model: Any = SimpleNamespace(net=Net(), fresh=("classifier",))
    hook = plugin.build_model()
    next(hook)
    with pytest.raises(StopIteration) as ended:
        hook.send(model)
    net: Net = ended.value.value.net
    return net


def test_the_upper_layers_and_the_classifier_are_trained() -> None:
    names = [name for name, weight in build(PluginName(layers=1)).named_parameters() if weight.requires_grad]
    assert names == ["layers.2.weight", "layers.2.bias", "classifier.weight", "classifier.bias"]


def test_more_layers_than_there_are_is_a_mistake() -> None:
    hook = PluginName(layers=4).build_model()
    next(hook)
    with pytest.raises(UserError, match="there are 3"):
        hook.send(SimpleNamespace(net=Net(), fresh=()))  # type: ignore[arg-type]
