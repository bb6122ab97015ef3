"""What only the author of plugin-name knows: the values of its formula."""

import torch

from ftp_plugin_name import PluginName

P = torch.tensor([0.9, 0.5, 0.1])


def test_with_q_one_it_is_the_absolute_error() -> None:
    torch.testing.assert_close(PluginName(q=1.0).row_losses(P), 1 - P)


def test_with_a_small_q_it_is_nearly_cross_entropy() -> None:
    torch.testing.assert_close(PluginName(q=0.01).row_losses(P), -P.log(), rtol=0.02, atol=0.0)
