"""Train a reward model from preferences."""

from ftp_reward.plugin import Reward

__all__ = ["Reward"]
