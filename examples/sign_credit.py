"""A credit of one's own: each token gets +1 or -1, whether its completion earned more or less than the group's mean.

python examples/sign_credit.py runs/sign        # plain GRPO on the tiny model, with this in place of its advantages
"""

import sys

from policy_gradients.training.credit import Credit, TokenLosses
from policy_gradients.training.loop import train
from policy_gradients.training.presets import preset


class SignCredit(Credit):
    """What a vote of the group says, without how much."""

    def assign(self, groups, reward):
        return (groups - groups.mean(dim=1, keepdim=True)).sign()

    def losses(self, scores, old, piece, cost):
        advantages = piece.advantages.flatten().unsqueeze(1) - cost
        return TokenLosses(-advantages.detach() * scores.log_probs, advantages, old.log_probs)


def make(config, model, tokenizer):
    return SignCredit()


if __name__ == "__main__":
    train(preset("tiny-grpo", max_steps=20), sys.argv[1], make_credit=make)
