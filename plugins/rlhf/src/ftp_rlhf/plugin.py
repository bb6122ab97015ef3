"""The plugin `rlhf`: sample answers, judge them, and make the better ones likelier."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from ftp import Problem, UserError, hookimpl, option, plugin
from ftp.types import Data, Loss, Model, StartedRun

METHODS_OF_OPTION: dict[str, tuple[str, ...]] = {
    "scale_rewards": ("grpo",), "loss_type": ("grpo",), "use_bias_correction_kl": ("grpo",), "epsilon_high": ("grpo", "rloo"),
    "normalize_advantages": ("rloo",),
    "lam": ("ppo",), "gamma": ("ppo",), "vf_coef": ("ppo",), "cliprange_value": ("ppo",), "whiten_rewards": ("ppo",),
}
"""Options that only some methods read; with another method they are an error, not ignored."""


@plugin(
    wants=("prompt",),
    head="tokens",
    suggests={"learning_rate": 1e-5, "batch_size": 8, "epochs": 1.0},
)
class Rlhf:
    """Optimise against a reward, held near the untrained model: RLOO (Ahmadian et al. 2024), GRPO (Shao et al. 2024) or PPO
    (Schulman et al. 2017)."""

    method: Literal["rloo", "grpo", "ppo"] = option("rloo", "rloo: a completion against the others of its prompt; grpo: the "
                                                    "same in units of their spread; ppo: against a value head, token by token")
    reward_model: Path | None = option(None, "a finished run of `reward`, or a folder with a model that scores texts")
    reward: tuple[str, ...] = option((), "Python functions that judge completions, each as path.py:function", code=True)
    reward_weights: tuple[float, ...] = option((), "weights of the rewards named above: first of reward_model, then of each "
                                               "function; default: 1 each")
    num_generations: int = option(4, "completions sampled for each prompt; --batch-size counts prompts", low=1)
    max_completion_length: int = option(64, "tokens at most in a completion", low=1)
    temperature: float = option(1.0, "of sampling, and of the probabilities that are trained", low=0.01)
    top_p: float = option(1.0, "sample from the likeliest tokens that have this probability together", low=0.01, high=1)
    top_k: int = option(0, "sample from this many likeliest tokens; 0: from all", low=0)
    beta: float = option(0.05, "weight of the KL divergence from the untrained model (kl_coef)", low=0)
    target_kl: float | None = option(None, "KL divergence, in nats a completion, to which the weight is adapted, starting from "
                                     "beta (Ziegler et al. 2019, section 2.2)", low=1e-6)
    num_iterations: int = option(1, "passes over each rollout (num_ppo_epochs)", low=1)
    num_mini_batches: int = option(1, "updates in each of these passes", low=1)
    epsilon: float = option(0.2, "probability ratios are clipped to 1 - epsilon and 1 + epsilon (cliprange)", low=0)
    epsilon_high: float | None = option(None, "the upper one, where it is another (rloo, grpo)", low=0)
    scale_rewards: Literal["group", "batch", "none"] = option("group", "what grpo divides advantages by: the spread of a "
                                                              "prompt's rewards, of all of a rollout, or nothing")
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = option(
        "grpo", "how grpo weighs tokens: grpo: each completion's mean; bnpo, dapo: all alike over an update, a rollout; "
        "dr_grpo: all alike, divided by max_completion_length")
    use_bias_correction_kl: bool = option(True, "grpo: the KL term times the probability ratio, whose gradient is then that of "
                                          "the divergence itself (DeepSeek-AI 2025, arXiv:2512.02556)")
    normalize_advantages: bool = option(False, "rloo: advantages of a rollout to mean 0 and spread 1")
    lam: float = option(0.95, "lambda of PPO's advantages (GAE, Schulman et al. 2016)", low=0, high=1)
    gamma: float = option(1.0, "discount of later rewards in PPO", low=0, high=1)
    vf_coef: float = option(0.1, "weight of PPO's value loss", low=0)
    cliprange_value: float = option(0.2, "PPO's values are clipped to this far from those at the rollout", low=0)
    whiten_rewards: bool = option(False, "PPO: rewards of a rollout to spread 1")
    missing_eos_penalty: float | None = option(None, "taken from the reward of a completion that did not end by itself", low=0)
    mask_truncated_completions: bool = option(False, "learn nothing from completions that did not end by themselves")
    disable_dropout: bool = option(True, "train without the checkpoint's dropout, so that what is trained is what was sampled")
    use_vllm: bool = option(False, "sample with vLLM (on CUDA, where it is installed)")
    chat_template: Path | None = option(None, "file with a chat template in place of the tokenizer's own")
    eos_token: str | None = option(None, "token of the vocabulary that ends answers, where the tokenizer has no EOS")

    @hookimpl
    def make_loss(self, run: StartedRun, data: Data, model: Model) -> Loss:
        """Make rollouts of the prompts, and the clipped objective of the method over their tokens."""
        from ftp_rlhf import rollout

        self._check(run, data)
        return rollout.make(self, run, data, model)

    def _check(self, run: StartedRun, data: Data) -> None:
        """Raise `UserError` with everything that does not go together."""
        problems = []
        defaults: dict[str, object] = {field.name: field.default for field in dataclasses.fields(self)}
        for name, methods in METHODS_OF_OPTION.items():
            if self.method not in methods and getattr(self, name) != defaults[name]:
                problems.append(Problem(f"--rlhf.{name} {getattr(self, name)}: {self.method} has none",
                                        f"leave it out, or take --rlhf.method {' or '.join(methods)}"))
        if self.method != "ppo" and self.num_generations < 2:
            problems.append(Problem(f"--rlhf.num_generations {self.num_generations}: {self.method} compares the completions of a "
                                    "prompt with one another", "2 at least, or --rlhf.method ppo"))
        num_rewards = (self.reward_model is not None) + len(self.reward)
        if self.reward_weights and len(self.reward_weights) != num_rewards:
            problems.append(Problem(f"--rlhf.reward_weights: {len(self.reward_weights)} weights for {num_rewards} rewards",
                                    "one for reward_model (if there is one), then one for each of --rlhf.reward"))
        if data.splits and not num_rewards and not run.hooks.who("reward"):
            problems.append(Problem("rlhf: nothing judges the completions", "name a finished run of `reward`, a Python function, "
                                    "or a domain with a reward of its own", "--rlhf.reward path.py:function"))
        if run.settings.shard:
            problems.append(Problem("--shard: rlhf generates on each process from whole weights", "leave --shard out"))
        if self.target_kl is not None and self.beta == 0:
            problems.append(Problem("--rlhf.target_kl: with beta 0 there is no weight to adapt", "start from --rlhf.beta 0.05"))
        if problems:
            raise UserError(problems)
