import pytest
import torch

from policy_gradients.language.rollout import generate
from policy_gradients.language.scoring import CompletionScorer
from policy_gradients.training.value_head import ValueModel, advantages_and_returns, make_critic

MASK = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
REWARDS = torch.tensor([1.0, 0.5])
VALUES = torch.tensor([[0.2, 0.4, 0.7], [0.1, 0.3, 9.0]])
COST = torch.tensor([[0.0, 0.1, 0.0], [0.2, 0.0, 0.0]])


def test_with_lambda_1_it_is_the_return_less_the_value():
    advantages, returns = advantages_and_returns(REWARDS, COST, VALUES, MASK, 1.0)
    torch.testing.assert_close(returns, torch.tensor([[0.9, 0.9, 1.0], [0.3, 0.5, 0.0]]))
    torch.testing.assert_close(advantages, torch.tensor([[0.7, 0.5, 0.3], [0.2, 0.2, 0.0]]))


def test_with_lambda_0_it_is_the_error_of_one_step():
    advantages, returns = advantages_and_returns(REWARDS, COST, VALUES, MASK, 0.0)
    torch.testing.assert_close(advantages, torch.tensor([[0.2, 0.2, 0.3], [0.0, 0.2, 0.0]]))
    torch.testing.assert_close(returns, torch.tensor([[0.4, 0.6, 1.0], [0.1, 0.5, 0.0]]))


def test_no_gradient_flows_back_into_the_critic():
    advantages, returns = advantages_and_returns(REWARDS, COST, VALUES.clone().requires_grad_(), MASK, 0.5)
    assert not advantages.requires_grad and not returns.requires_grad


@pytest.fixture
def rollout(any_model):
    numbers = torch.rand(4, 5, generator=torch.Generator().manual_seed(0))
    return generate(any_model, [[5, 6, 7], [8, 9]], 2, numbers, [1, 2], pad_id=0)


@pytest.mark.parametrize("kind", ["head", "model"])
def test_a_critic_starts_at_zero_and_can_learn(any_model, rollout, kind):
    critic = make_critic(kind, any_model)
    values = CompletionScorer(any_model, critic=critic)(rollout).values
    assert values.shape == rollout.mask.shape and (values == 0).all()
    ((values - 1) ** 2 * rollout.mask).sum().backward()
    assert sum(p.grad.abs().sum() for p in critic.parameters() if p.grad is not None) > 0
    any_model.zero_grad()


def test_a_value_model_shares_no_weights_with_the_policy(any_model, rollout):
    critic = ValueModel(any_model).double()
    torch.nn.init.ones_(critic.head.linear.weight)
    CompletionScorer(any_model, critic=critic)(rollout).values.sum().backward()
    assert all(p.grad is None for p in any_model.parameters())
    own = {p.data_ptr() for p in any_model.parameters()}
    assert not own & {p.data_ptr() for p in critic.parameters()}


def test_no_such_critic(any_model):
    with pytest.raises(ValueError, match="'head' or 'model', got 'tail'"):
        make_critic("tail", any_model)
