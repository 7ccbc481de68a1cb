"""Three right answers to each exercise beside the declared one, each by another way: a loop, a formula, a library call.

A definition that comes again under the same name is another answer to the same exercise; `test_right_answers.py` takes
each by itself, with `math`, `torch` and `F` as a notebook has them.
"""
# ruff: noqa: F811

import math

import torch
import torch.nn.functional as F


# 01
def softmax_score(theta, arm):
    return F.one_hot(torch.tensor(arm), len(theta)).to(theta.dtype) - F.softmax(theta, dim=0)


def softmax_score(theta, arm):
    leaf = theta.detach().clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(torch.log_softmax(leaf, 0)[arm], leaf)
    return gradient


def softmax_score(theta, arm):
    weights = torch.exp(theta - theta.max())
    return torch.eye(len(theta), dtype=theta.dtype)[arm] - weights / weights.sum()


def reinforce_gradient(scores, rewards):
    return rewards @ scores / len(rewards)


def reinforce_gradient(scores, rewards):
    return torch.einsum("n,np->p", rewards, scores) / scores.shape[0]


def reinforce_gradient(scores, rewards):
    total = torch.zeros_like(scores[0])
    for score, reward in zip(scores, rewards, strict=True):
        total = total + reward * score
    return total / len(scores)


def train(theta, play, learning_rate, steps):
    for _ in range(steps):
        leaf = theta.detach().clone().requires_grad_(True)
        arms, rewards = play(leaf.detach())
        objective = (torch.log_softmax(leaf, 0)[arms] * rewards).mean()
        (gradient,) = torch.autograd.grad(objective, leaf)
        theta = theta + learning_rate * gradient
    return theta


def train(theta, play, learning_rate, steps):
    theta = torch.nn.Parameter(theta.clone())
    optimizer = torch.optim.SGD([theta], lr=learning_rate, maximize=True)
    for _ in range(steps):
        arms, rewards = play(theta.detach())
        optimizer.zero_grad()
        torch.distributions.Categorical(logits=theta).log_prob(arms).mul(rewards).mean().backward()
        optimizer.step()
    return theta.detach()


def train(theta, play, learning_rate, steps):
    if steps == 0:
        return theta
    arms, rewards = play(theta)
    step = torch.zeros_like(theta)
    for arm, reward in zip(arms.tolist(), rewards, strict=True):
        step = step + reward * (F.one_hot(torch.tensor(arm), len(theta)) - F.softmax(theta, 0)) / len(arms)
    return train(theta + learning_rate * step, play, learning_rate, steps - 1)


def reinforce_loss(log_probs, rewards):
    return -(rewards.detach() * log_probs).mean()


def reinforce_loss(log_probs, rewards):
    with torch.no_grad():
        weights = -rewards / len(rewards)
    return (weights * log_probs).sum()


def reinforce_loss(log_probs, rewards):
    return torch.stack([-r * lp for r, lp in zip(rewards.tolist(), log_probs, strict=True)]).mean()


def gaussian_score(mean, log_std, action):
    z = (action - mean) / log_std.exp()
    return torch.stack([z / log_std.exp(), z * z - 1])


def gaussian_score(mean, log_std, action):
    mean, log_std = (x.detach().clone().requires_grad_() for x in (mean, log_std))
    log_prob = torch.distributions.Normal(mean, log_std.exp()).log_prob(action)
    return torch.stack(torch.autograd.grad(log_prob, (mean, log_std)))


def gaussian_score(mean, log_std, action):
    away = (action - mean).item()
    variance = math.exp(2 * log_std.item())
    return torch.tensor([away / variance, away**2 / variance - 1], dtype=mean.dtype)


def discounted_gradient(scores, rewards, gamma):
    weights = gamma ** torch.arange(rewards.shape[1]).to(rewards)
    credit = (weights * rewards).flip(1).cumsum(1).flip(1)
    return torch.einsum("nt,ntp->p", credit, scores) / len(scores)


def discounted_gradient(scores, rewards, gamma):
    n, time = rewards.shape
    running, total = torch.zeros(n, dtype=rewards.dtype), torch.zeros_like(scores[0, 0])
    for t in reversed(range(time)):
        running = rewards[:, t] + gamma * running
        total = total + gamma**t * (running[:, None] * scores[:, t]).sum(0)
    return total / n


def discounted_gradient(scores, rewards, gamma):
    so_far = scores.cumsum(1)  # seen from the rewards: each is worth the scores of all steps up to it
    weights = torch.tensor([gamma**k for k in range(rewards.shape[1])], dtype=rewards.dtype)
    return ((weights * rewards)[..., None] * so_far).sum(1).mean(0)


# 02
def others_mean(rewards):
    return (rewards.sum(-1, keepdim=True) - rewards) / (rewards.shape[-1] - 1)


def others_mean(rewards):
    columns = [torch.cat([rewards[:, :i], rewards[:, i + 1 :]], 1).mean(1) for i in range(rewards.shape[1])]
    return torch.stack(columns, 1)


def others_mean(rewards):
    n = rewards.shape[1]
    return rewards.mean(1, keepdim=True) * n / (n - 1) - rewards / (n - 1)


def running_advantages(baseline, rewards, rate):
    return rewards - baseline, baseline + rate * (rewards.mean() - baseline)


def running_advantages(baseline, rewards, rate):
    return torch.sub(rewards, baseline), torch.lerp(baseline, rewards.mean(), rate)


def running_advantages(baseline, rewards, rate):
    advantages = torch.stack([reward - baseline for reward in rewards])
    return [advantages, baseline + rate * advantages.mean()]


def best_baseline(scores, returns):
    top, bottom = (scores.square() * returns[:, None]).mean(0), scores.square().mean(0)
    return torch.where(bottom == 0, 0.0, top / torch.where(bottom == 0, 1.0, bottom))


def best_baseline(scores, returns):
    result = torch.zeros_like(scores[0])
    for k in range(scores.shape[1]):
        weights = scores[:, k] ** 2
        if weights.sum() > 0:
            result[k] = weights @ returns / weights.sum()
    return result


def best_baseline(scores, returns):
    return torch.nan_to_num(returns @ scores**2 / (scores**2).sum(0), nan=0.0)


def rewards_to_go(rewards, mask, gamma):
    time = rewards.shape[1]
    result = torch.zeros_like(rewards)
    for t in range(time):
        for k in range(t, time):
            result[:, t] += gamma ** (k - t) * rewards[:, k] * mask[:, k]
    return result * mask


def rewards_to_go(rewards, mask, gamma):
    weights = gamma ** torch.arange(rewards.shape[1]).to(rewards)
    return (rewards * mask * weights).flip(1).cumsum(1).flip(1) / weights * mask


def rewards_to_go(rewards, mask, gamma):
    steps = range(rewards.shape[1])
    powers = torch.tensor([[gamma ** (k - t) if k >= t else 0.0 for t in steps] for k in steps])
    return ((rewards * mask) @ powers) * mask


def gae(rewards, values, gamma, lam):
    values = values.detach()
    advantages, running = torch.zeros_like(rewards), 0.0
    for t in reversed(range(rewards.shape[1])):
        following = values[:, t + 1] if t + 1 < rewards.shape[1] else 0.0
        running = rewards[:, t] + gamma * following - values[:, t] + gamma * lam * running
        advantages[:, t] = running
    return advantages


@torch.no_grad()
def gae(rewards, values, gamma, lam):
    errors = rewards + gamma * F.pad(values[:, 1:], (0, 1)) - values
    result = torch.zeros_like(errors)
    for away in range(errors.shape[1]):
        result[:, : errors.shape[1] - away] += (gamma * lam) ** away * errors[:, away:]
    return result


def gae(rewards, values, gamma, lam):  # by way of the λ-return
    values = values.detach()
    targets, after, target = [], torch.zeros(len(values)), torch.zeros(len(values))
    for reward, value in zip(rewards.flip(1).T, values.flip(1).T, strict=True):
        target = reward + gamma * ((1 - lam) * after + lam * target)
        after = value
        targets.insert(0, target)
    return torch.stack(targets, 1) - values


def td_error(reward, value, next_value, ended, gamma):
    return torch.where(ended, reward, reward + gamma * next_value) - value


def td_error(reward, value, next_value, ended, gamma):
    return reward - value + gamma * next_value.masked_fill(ended, 0.0)


def td_error(reward, value, next_value, ended, gamma):
    errors = []
    for r, v, following, over in zip(reward, value, next_value, ended.tolist(), strict=True):
        errors.append(r - v if over else r + gamma * following - v)
    return torch.stack(errors)


# 03
def shaped_rewards(rewards, potentials, gamma):
    return rewards + gamma * F.pad(potentials[:, 1:], (0, 1)) - potentials


def shaped_rewards(rewards, potentials, gamma):
    after = torch.roll(potentials, -1, dims=1)
    after[:, -1] = 0
    return rewards + gamma * after - potentials


def shaped_rewards(rewards, potentials, gamma):
    time = rewards.shape[1]
    columns = []
    for t in range(time):
        later = potentials[:, t + 1] if t < time - 1 else 0
        columns.append(rewards[:, t] + gamma * later - potentials[:, t])
    return torch.stack(columns, dim=1)


def spread_reward(returns, shares, gamma):
    total = shares.sum(1, keepdim=True)
    if bool((total == 0).any()):
        raise ValueError("an episode without shares")
    return returns[:, None] * (shares / total) / gamma ** torch.arange(shares.shape[1])


def spread_reward(returns, shares, gamma):
    result = torch.empty_like(shares)
    for i, row in enumerate(shares):
        if row.sum() == 0:
            raise ValueError(f"the shares of episode {i} sum to 0")
        for t, share in enumerate(row):
            result[i, t] = share / row.sum() * returns[i] / gamma**t
    return result


def spread_reward(returns, shares, gamma):
    totals = torch.einsum("nt->n", shares)
    if not totals.all():
        raise ValueError
    inverse = torch.cumprod(torch.cat([torch.ones(1), torch.full((shares.shape[1] - 1,), 1 / gamma)]), 0)
    return torch.einsum("n,nt,t->nt", returns / totals, shares, inverse)


def traces(scores, beta):
    result, trace = [], 0
    for score in scores:
        trace = beta * trace + score
        result.append(trace)
    return torch.stack(result)


def traces(scores, beta):
    result = scores.clone()
    for t in range(1, len(scores)):
        result[t] += beta * result[t - 1]
    return result


def traces(scores, beta):
    time = len(scores)
    rows = [sum(beta ** (t - k) * scores[k] for k in range(t + 1)) for t in range(time)]
    return torch.stack(rows)


def prefix_weights(log_probs, old_log_probs):
    return (log_probs - old_log_probs.detach()).cumsum(-1).exp()


def prefix_weights(log_probs, old_log_probs):
    with torch.no_grad():
        old = old_log_probs.cumsum(1)
    return torch.exp(log_probs.cumsum(1) - old)


def prefix_weights(log_probs, old_log_probs):
    ratio, result, running = (log_probs - old_log_probs.detach()).exp(), [], 1.0
    for t in range(log_probs.shape[1]):
        running = running * ratio[:, t]
        result.append(running)
    return torch.stack(result, 1)


def effective_samples(weights):
    return weights.sum(-1) ** 2 / weights.square().sum(-1)


def effective_samples(weights):
    return weights.sum(-1).square() / torch.einsum("...n,...n->...", weights, weights)


def effective_samples(weights):
    return (weights.norm(p=1, dim=-1) / weights.norm(p=2, dim=-1)) ** 2


# 04
def sampled_fisher(scores):
    return scores.mT @ scores / scores.shape[-2]


def sampled_fisher(scores):
    return torch.einsum("...si,...sj->...ij", scores, scores) / scores.shape[-2]


def sampled_fisher(scores):
    total = 0
    for i in range(scores.shape[-2]):
        psi = scores[..., i, :]
        total = total + psi[..., :, None] * psi[..., None, :]
    return total / scores.shape[-2]


def natural_direction(gradient, fisher, damping):
    return torch.linalg.solve(fisher + damping * torch.eye(len(gradient), dtype=gradient.dtype), gradient)


def natural_direction(gradient, fisher, damping):
    return torch.linalg.inv(fisher + damping * torch.eye(len(fisher)).to(fisher)) @ gradient


def natural_direction(gradient, fisher, damping):
    lower = torch.linalg.cholesky(fisher + torch.diag(torch.full_like(gradient, damping)))
    return torch.cholesky_solve(gradient[:, None], lower)[:, 0]


def kl_sized(gradient, direction, max_kl):
    slope = gradient @ direction
    return torch.sqrt(2 * max_kl / slope) * direction if slope > 0 else torch.zeros_like(direction)


def kl_sized(gradient, direction, max_kl):
    slope = (gradient * direction).sum()
    if slope <= 0:
        return torch.zeros_like(direction)
    return math.sqrt(2 * max_kl / float(slope)) * direction


def kl_sized(gradient, direction, max_kl):
    slope = torch.dot(gradient, direction)
    good = slope > 0
    return torch.where(good, (2 * max_kl / torch.where(good, slope, 1.0)).sqrt(), 0.0) * direction


def fisher_times(scores, vector):
    return scores.T @ (scores @ vector) / len(scores)


def fisher_times(scores, vector):
    return (scores * (scores @ vector)[:, None]).mean(0)


def fisher_times(scores, vector):
    return torch.einsum("sp,s->p", scores, torch.einsum("sp,p->s", scores, vector)) / scores.shape[0]


def critic_weights(scores, returns):
    centred = scores - scores.mean(0, keepdim=True)
    return torch.linalg.lstsq(centred, (returns - returns.mean())[:, None], driver="gelsd").solution[:, 0]


def critic_weights(scores, returns):
    centred = scores - scores.mean(0)
    return torch.linalg.pinv(centred.T @ centred, rtol=1e-10) @ (centred.T @ returns)


def critic_weights(scores, returns):
    u, s, vh = torch.linalg.svd(scores - scores.mean(0), full_matrices=False)
    inverse = torch.where(s > 1e-10 * s.max(), 1 / s, 0.0)
    return vh.T @ (inverse * (u.T @ (returns - returns.mean())))


# 05
def grpo_advantages(rewards):
    return (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)


def grpo_advantages(rewards):
    rows = [(row - row.mean()) / (row.std() + 1e-4) for row in rewards]
    return torch.stack(rows)


def grpo_advantages(rewards):
    std, mean = torch.std_mean(rewards, dim=-1, keepdim=True)
    return torch.sub(rewards, mean).div(std.add(1e-4))


def silent_share(rewards):
    return (rewards == rewards[:, :1]).all(1).float().mean()


def silent_share(rewards):
    silent = [row.unique().numel() == 1 for row in rewards]
    return torch.tensor(sum(silent) / len(silent))


def silent_share(rewards):
    return sum(len(set(row)) == 1 for row in rewards.tolist()) / len(rewards)


def token_log_probs(logits, actions):
    return logits.log_softmax(-1).gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def token_log_probs(logits, actions):
    return -F.cross_entropy(logits.transpose(1, 2), actions, reduction="none")


def token_log_probs(logits, actions):
    return torch.distributions.Categorical(logits=logits).log_prob(actions)


def full_entropy(log_pi):
    return torch.distributions.Categorical(logits=log_pi).entropy()


def full_entropy(log_pi):
    return -torch.where(log_pi.isneginf(), 0.0, log_pi.exp() * torch.where(log_pi.isneginf(), 0.0, log_pi)).sum(-1)


def full_entropy(log_pi):
    return torch.special.entr(log_pi.exp()).sum(dim=-1)


def exact_kl(log_pi, log_ref):
    ratio = torch.where(log_pi.isneginf(), 0.0, log_pi - log_ref)
    return (log_pi.exp() * ratio).sum(-1)


def exact_kl(log_pi, log_ref):
    never = log_pi.isneginf()
    terms = F.kl_div(log_ref.masked_fill(never, 0.0), log_pi.masked_fill(never, 0.0), reduction="none", log_target=True)
    return terms.masked_fill(never, 0.0).sum(-1)


def exact_kl(log_pi, log_ref):
    pi = log_pi.exp()
    impossible = pi == 0
    return torch.where(impossible, 0.0, pi * (log_pi.masked_fill(impossible, 0.0) - log_ref)).sum(-1)


def token_loss(log_probs, advantages):
    return -advantages.detach()[:, None] * log_probs


def token_loss(log_probs, advantages):
    with torch.no_grad():
        spread = advantages.unsqueeze(1).expand(log_probs.shape)
    return -(spread * log_probs)


def token_loss(log_probs, advantages):
    return torch.stack([-a * row for a, row in zip(advantages.detach(), log_probs, strict=True)])


def grpo(run, steps):
    norms = []
    while len(norms) < steps:
        for parameter in run.parameters:
            parameter.grad = None
        batch = run.sample()
        r = run.reward(batch)
        spread = torch.sqrt(r.var(dim=1, keepdim=True)) + 1e-4
        advantage = ((r - r.mean(dim=1, keepdim=True)) / spread).view(-1)
        loss = 0.0
        for a, log_probs, mask in zip(advantage, run.log_probs(batch), batch.mask, strict=True):
            loss = loss - a * (log_probs * mask).sum()
        (loss / (batch.mask.shape[0] * batch.mask.shape[1])).backward()
        norms += [float(torch.nn.utils.clip_grad_norm_(run.parameters, max_norm=1))]
        run.optimizer.step()
    return norms


def grpo(run, steps):
    def step():
        batch = run.sample()
        rewards = run.reward(batch)
        std, mean = torch.std_mean(rewards, dim=1, keepdim=True)
        objective = ((rewards - mean) / (std + 1e-4)).flatten()[:, None] * run.log_probs(batch)
        gradients = torch.autograd.grad(-(objective * batch.mask).mean(), run.parameters)
        norm = torch.cat([g.flatten() for g in gradients]).norm()
        for parameter, gradient in zip(run.parameters, gradients, strict=True):
            parameter.grad = gradient * (1 / (norm + 1e-6)).clamp(max=1)
        run.optimizer.step()
        return norm.item()

    return [step() for _ in range(steps)]


def grpo(run, steps):
    if steps == 0:
        return []
    batch = run.sample()
    centred = run.reward(batch) - run.reward(batch).mean(1, keepdim=True)
    advantages = centred / (run.reward(batch).std(1, keepdim=True) + 1e-4)
    loss = -torch.einsum("c,ct,ct->", advantages.flatten(), run.log_probs(batch), batch.mask) / batch.mask.numel()
    run.optimizer.zero_grad(set_to_none=False)
    loss.backward()
    norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in run.parameters])
    torch.nn.utils.clip_grads_with_norm_(run.parameters, 1.0, norm)
    run.optimizer.step()
    return [norm.item(), *grpo(run, steps - 1)]


def ppo_loss(log_probs, old_log_probs, advantages):
    ratio = (log_probs - old_log_probs.detach()).exp()
    a = advantages[:, None]
    return -torch.minimum(ratio * a, ratio.clamp(0.8, 1.2) * a)


def ppo_loss(log_probs, old_log_probs, advantages):
    ratio, a = torch.exp(log_probs - old_log_probs.detach()), advantages.detach().unsqueeze(-1)
    return torch.max(-ratio * a, -torch.clip(ratio, 1 - 0.2, 1 + 0.2) * a)


def ppo_loss(log_probs, old_log_probs, advantages):
    ratio, a = log_probs.exp() / old_log_probs.detach().exp(), advantages.view(-1, 1)
    too_far = ((a > 0) & (ratio > 1.2)) | ((a < 0) & (ratio < 0.8))
    return torch.where(too_far, -ratio.detach().clamp(0.8, 1.2) * a, -ratio * a)


def sequence_weights(mask):
    return mask / mask.sum(1, keepdim=True) / len(mask)


def sequence_weights(mask):
    lengths = mask.sum(dim=-1)
    return torch.einsum("nt,n->nt", mask, 1 / (lengths * mask.shape[0]))


def sequence_weights(mask):
    loss = torch.zeros_like(mask, requires_grad=True)
    mean_of_means = ((loss * mask).sum(1) / mask.sum(1)).mean()
    return torch.autograd.grad(mean_of_means, loss)[0]


# 06
def leave_one_out(rewards):
    n = rewards.shape[1]
    return (rewards - rewards.mean(1, keepdim=True)) * n / (n - 1)


def leave_one_out(rewards):
    n = rewards.shape[-1]
    return rewards - (rewards @ (torch.ones(n, n) - torch.eye(n))) / (n - 1)


def leave_one_out(rewards):
    result = torch.zeros_like(rewards)
    for p in range(rewards.shape[0]):
        for i in range(rewards.shape[1]):
            others = [rewards[p, j] for j in range(rewards.shape[1]) if j != i]
            result[p, i] = rewards[p, i] - sum(others) / len(others)
    return result


def checker(completion):
    text = completion.text
    digits = [int(character) for character in text if character in "0123456789"]
    return completion.finished and len(text) == 64 and len(digits) > 0 and sum(digits) % 3 == 0


def checker(completion):
    import re

    digits = re.findall("[0-9]", completion.text)
    if not completion.finished or len(completion.text) != 64 or not digits:
        return False
    return sum(map(int, digits)) % 3 == 0


def checker(completion):
    total, seen = 0, False
    for character in completion.text:
        if character.isascii() and character.isdigit():
            total, seen = total + ord(character) - ord("0"), True
    return bool(completion.finished) and seen and not (len(completion.text) - 64 or total % 3)


def end_mask(completion_ids, end_ids):
    ends = torch.isin(completion_ids, end_ids).long()
    return (ends.cumsum(1) - ends == 0).float()


def end_mask(completion_ids, end_ids):
    mask, stops = torch.zeros(completion_ids.shape), set(end_ids.tolist())
    for i, row in enumerate(completion_ids.tolist()):
        for t, token in enumerate(row):
            mask[i, t] = 1.0
            if token in stops:
                break
    return mask


def end_mask(completion_ids, end_ids):
    going = (completion_ids[..., None] != end_ids).all(-1).float()
    return torch.cat([torch.ones_like(going[:, :1]), going[:, :-1].cumprod(1)], 1)


def to_go(kl, mask):
    cost = (kl * mask).detach()
    return cost.flip(1).cumsum(1).flip(1) - cost


def to_go(kl, mask):
    with torch.no_grad():
        later = torch.triu(torch.ones(kl.shape[1], kl.shape[1]), diagonal=1)
        return (kl * mask) @ later.T


def to_go(kl, mask):
    kl, result = kl.detach() * mask, torch.zeros_like(mask)
    for t in range(kl.shape[1]):
        result[:, t] = kl[:, t + 1 :].sum(1)
    return result


def draw(logits, uniform, temperature):
    ends = torch.softmax(logits / temperature, -1).cumsum(-1)
    return (ends <= uniform.unsqueeze(-1)).sum(-1)


def draw(logits, uniform, temperature):
    ends = (logits / temperature).softmax(-1).cumsum(-1)
    return torch.searchsorted(ends, uniform[:, None], right=True)[:, 0]


def draw(logits, uniform, temperature):
    chosen = []
    for row, number in zip(torch.softmax(logits / temperature, dim=-1).tolist(), uniform.tolist(), strict=True):
        end = 0.0
        token = 0
        while number >= (end := end + row[token]):
            token += 1
        chosen.append(token)
    return torch.tensor(chosen)


def bonus_weight(base, rewards):
    return min(base / (rewards.var(1).mean().item() + 1e-8), 10 * base)


def bonus_weight(base, rewards):
    variance = (rewards.std(dim=1) ** 2).mean()
    return (base / (variance + 1e-8)).clamp(max=10 * base)


def bonus_weight(base, rewards):
    import statistics

    variance = statistics.fmean(statistics.variance(row) for row in rewards.tolist())
    return base * min(1 / (variance + 1e-8), 10)


# 07
def wilson(successes, trials):
    z, rate = 1.959963984540054, successes / trials
    centre = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials**2)) / (1 + z * z / trials)
    return centre - half, centre + half


def wilson(successes, trials):
    z2 = 1.959963984540054**2
    middle, root = successes + z2 / 2, math.sqrt(z2 * (successes * (1 - successes / trials) + z2 / 4))
    return [(middle - root) / (trials + z2), (middle + root) / (trials + z2)]


def wilson(successes, trials):
    z, rate = 1.959963984540054, successes / trials

    def end(low, high):  # the p between low and high that is z standard errors away
        for _ in range(100):
            p = (low + high) / 2
            outside = abs(rate - p) > z * math.sqrt(p * (1 - p) / trials)
            far, near = (low, high) if abs(low - rate) > abs(high - rate) else (high, low)
            far, near = (p, near) if outside else (far, p)
            low, high = far, near
        return (low + high) / 2

    return (end(0.0, rate) if successes else 0.0), (end(1.0, rate) if successes < trials else 1.0)


def floor(q, p):
    if q <= p:
        return 0.0
    failing = (1 - q) * math.log((1 - q) / (1 - p)) if q < 1 else 0.0
    return q * math.log(q / p) + failing


def floor(q, p):
    q = max(q, p)
    return sum(a * math.log(a / b) for a, b in ((q, p), (1 - q, 1 - p)) if a > 0)


def floor(q, p):
    if q < p:
        return 0.0
    ours, theirs = torch.tensor([[q, 1 - q], [p, 1 - p]], dtype=torch.float64)
    return (torch.special.xlogy(ours, ours) - ours * theirs.log()).sum().item()


def p_value(gained, lost):
    n = gained + lost
    tail = sum(math.comb(n, k) for k in range(min(gained, lost) + 1)) / 2**n
    return min(1.0, 2 * tail)


def p_value(gained, lost):
    n, more = gained + lost, max(gained, lost)
    chances = [1.0]
    for _ in range(n):  # Pascal's triangle, coin by coin
        chances = [a / 2 + b / 2 for a, b in zip([*chances, 0.0], [0.0, *chances], strict=True)]
    return min(1.0, 2 * sum(chances[more:]))


def p_value(gained, lost):
    from itertools import accumulate
    from operator import mul

    n = gained + lost
    counts = list(accumulate(((n - k) / (k + 1) for k in range(n)), mul, initial=1.0))  # n over 0, 1, 2, …
    return sum(c for c in counts if c <= counts[gained] * (1 + 1e-9)) / 2**n


# 08
def steps_to_half(strict_rates):
    means = [sum(strict_rates[i : i + 5]) / 5 for i in range(len(strict_rates) - 4)]
    return next((i + 5 for i, mean in enumerate(means) if mean >= 0.5), len(strict_rates) + 1)


def steps_to_half(strict_rates):
    if len(strict_rates) < 5:
        return len(strict_rates) + 1
    reached = (torch.tensor(strict_rates, dtype=torch.float64).unfold(0, 5, 1).sum(1) >= 2.5).nonzero()
    return int(reached[0]) + 5 if len(reached) else len(strict_rates) + 1


def steps_to_half(strict_rates):
    running, step = [], 0
    for rate in strict_rates:
        step += 1
        running = [*running, rate][-5:]
        if len(running) == 5 and sum(running) >= 2.5:
            return step
    return step + 1


def sign_flip_p_value(differences):
    from itertools import product

    found = abs(sum(differences))
    pairs = product(*[(d, -d) for d in differences])
    sums = [abs(sum(choice)) for choice in pairs]
    return sum(total >= found - 1e-12 for total in sums) / len(sums)


def sign_flip_p_value(differences):
    values = torch.tensor(differences, dtype=torch.float64)
    n = len(values)
    signs = 1 - 2 * ((torch.arange(2**n)[:, None] >> torch.arange(n)) & 1)
    return ((signs.double() @ values).abs() >= values.sum().abs() - 1e-12).double().mean().item()


def sign_flip_p_value(differences):
    found = abs(sum(differences))

    def ways(rest, total):
        if not rest:
            return int(abs(total) >= found - 1e-12)
        return ways(rest[1:], total + rest[0]) + ways(rest[1:], total - rest[0])

    return ways(differences, 0.0) / 2 ** len(differences)


def least_seeds(hypotheses, alpha):
    n = 1
    while hypotheses * 2 / 2**n >= alpha:
        n += 1
    return n


def least_seeds(hypotheses, alpha):
    return math.floor(math.log2(2 * hypotheses / alpha)) + 1


def least_seeds(hypotheses, alpha):
    def possible(n):
        return hypotheses / 2 ** (n - 1) < alpha

    n = 50
    while n > 1 and possible(n - 1):
        n -= 1
    return n


def holm(p_values):
    m, corrected, running = len(p_values), list(p_values), 0.0
    for k, i in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        running = max(running, (m - k) * p_values[i])
        corrected[i] = min(1.0, running)
    return corrected


def holm(p_values):
    p = torch.tensor(p_values, dtype=torch.float64)
    ordered, places = p.sort()
    stepped = (ordered * torch.arange(len(p), 0, -1)).cummax(0).values.clamp(max=1)
    return torch.empty_like(p).scatter(0, places, stepped).tolist()


def holm(p_values):
    left, running, corrected = dict(enumerate(p_values)), 0.0, {}
    while left:
        i = min(left, key=left.get)
        running = max(running, len(left) * left.pop(i))
        corrected[i] = min(running, 1.0)
    return [corrected[i] for i in range(len(p_values))]


def verdict(difference, interval, corrected, smallest):
    if corrected < 0.05 and difference > 0:
        return "holds"
    if corrected < 0.05:
        return "the reverse holds"
    low, high = interval
    return "no difference that matters" if low > -smallest and high < smallest else "undecided"


def verdict(difference, interval, corrected, smallest):
    if corrected >= 0.05:
        return "no difference that matters" if all(abs(end) < smallest for end in interval) else "undecided"
    return ("the reverse holds", "holds")[difference > 0]


def verdict(difference, interval, corrected, smallest):
    words = {1: "holds", -1: "the reverse holds"}
    significant = corrected < 0.05
    nothing = max(map(abs, interval)) < smallest
    if significant:
        return words[round(math.copysign(1, difference))]
    return ("undecided", "no difference that matters")[nothing]


# 09
def optimal_rate(p, beta):
    raised = p * math.exp(1 / beta)
    return raised / (1 - p + raised)


def optimal_rate(p, beta):
    return torch.sigmoid(torch.logit(torch.tensor(p, dtype=torch.double)) + 1 / beta).item()


def optimal_rate(p, beta):
    weights = [(1 - p) * math.exp(-1 / beta), p]
    return weights[1] / sum(weights)


def fires_at_nothing(q, samples, prompts):
    chances = [math.comb(samples, k) * q**k * (1 - q) ** (samples - k) for k in range(samples + 1)]
    lower = sum(chances[a] * chances[b] for a in range(samples + 1) for b in range(samples + 1) if a < b)
    return 1 - (1 - lower) ** prompts


def fires_at_nothing(q, samples, prompts):
    chances, below, lower = [], 0.0, 0.0
    for k in range(samples + 1):
        chances.append(math.comb(samples, k) * q**k * (1 - q) ** (samples - k))
        lower += chances[-1] * below
        below += chances[-1]
    silent = 1.0
    for _ in range(prompts):
        silent *= 1 - lower
    return 1 - silent


def fires_at_nothing(q, samples, prompts):
    k = torch.arange(samples + 1, dtype=torch.double)
    log_choose = math.lgamma(samples + 1) - torch.lgamma(k + 1) - torch.lgamma(samples - k + 1)
    chances = log_choose.exp() * torch.tensor(q).double() ** k * torch.tensor(1 - q).double() ** (samples - k)
    return 1 - (1 - (1 - chances.square().sum().item()) / 2) ** prompts


def compared(rewards, peers):
    n = rewards.shape[-1]
    weights = (peers & ~torch.eye(n, dtype=torch.bool)).to(rewards.dtype)
    count = weights.sum(-1)
    others = (rewards.sum(-1, keepdim=True) - rewards) / (n - 1)
    mean = (weights @ rewards[..., None])[..., 0] / count.clamp(min=1)
    return rewards - torch.where(count > 0, mean, others)


def compared(rewards, peers):
    n = rewards.shape[-1]
    peers = peers.expand(*rewards.shape, n).clone()
    peers.diagonal(dim1=-2, dim2=-1).fill_(False)
    alone = ~peers.any(-1, keepdim=True)
    weights = (peers | (alone & ~torch.eye(n, dtype=torch.bool))).to(rewards.dtype)
    return rewards - torch.einsum("...ij,...j->...i", weights / weights.sum(-1, keepdim=True), rewards)


def compared(rewards, peers):
    if rewards.dim() > 1:
        each = peers if peers.dim() > 2 else [peers] * len(rewards)
        return torch.stack([compared(r, p) for r, p in zip(rewards, each, strict=True)])
    advantages = []
    for i, own in enumerate(rewards.tolist()):
        others = [r for j, r in enumerate(rewards.tolist()) if j != i]
        chosen = [r for j, r in enumerate(rewards.tolist()) if j != i and peers[i, j]] or others
        advantages.append(own - sum(chosen) / len(chosen))
    return torch.tensor(advantages, dtype=rewards.dtype)


def two_terms(pi_d, pi_y, rewards):
    values = (pi_y * rewards).sum(1)
    return pi_d * (values - pi_d @ values), pi_d[:, None] * pi_y * (rewards - values[:, None])


def two_terms(pi_d, pi_y, rewards):
    documents = pi_d.log().clone().requires_grad_()
    answers = pi_y.log().clone().requires_grad_()
    objective = (documents.softmax(0)[:, None] * answers.softmax(1) * rewards).sum()
    return torch.autograd.grad(objective, (documents, answers))


def two_terms(pi_d, pi_y, rewards):
    values = torch.stack([p @ r for p, r in zip(pi_y, rewards, strict=True)])
    first = (torch.diag(pi_d) - torch.outer(pi_d, pi_d)) @ values
    second = [d * (torch.diag(p) - torch.outer(p, p)) @ r for d, p, r in zip(pi_d, pi_y, rewards, strict=True)]
    return first, torch.stack(second)


def best_group(between, within, document_tokens, answer_tokens):
    def price(group):
        return (between + within / group) * (document_tokens + group * answer_tokens)

    group = 1
    while price(group) > price(group + 1):
        group += 1
    return group


def best_group(between, within, document_tokens, answer_tokens):
    ideal = math.sqrt(within * document_tokens / (between * answer_tokens))
    low = max(1, math.floor(ideal))
    rises = between * answer_tokens >= within * document_tokens / (low * (low + 1))  # of one answer more
    return low if rises else low + 1


def best_group(between, within, document_tokens, answer_tokens):
    group = 1
    while group * (group + 1) * between * answer_tokens < within * document_tokens:
        group += 1
    return group


def preference_gradient(weights, preferred, other):
    leaf = weights.clone().requires_grad_()
    F.logsigmoid((preferred - other) @ leaf).mean().backward()
    return leaf.grad


def preference_gradient(weights, preferred, other):
    total = torch.zeros_like(weights)
    for a, b in zip(preferred, other, strict=True):
        total += (a - b) / (1 + ((a - b) @ weights).exp())
    return total / len(preferred)


def preference_gradient(weights, preferred, other):
    won, lost = (preferred @ weights).exp(), (other @ weights).exp()
    return (lost / (won + lost)) @ (preferred - other) / preferred.shape[0]


def best_of_n(probabilities, scores, n):
    equal, below = scores[:, None] == scores, scores[:, None] > scores
    mass, under = equal.to(probabilities.dtype) @ probabilities, below.to(probabilities.dtype) @ probabilities
    return probabilities / mass * ((mass + under) ** n - under**n)


def best_of_n(probabilities, scores, n):
    rows = []
    for p, s in zip(probabilities.tolist(), scores.tolist(), strict=True):
        pairs = list(zip(probabilities.tolist(), scores.tolist(), strict=True))
        mass, under = sum(q for q, t in pairs if t == s), sum(q for q, t in pairs if t < s)
        # k of the n have this score and the rest less; any of the k is kept
        rows.append(sum(math.comb(n, k) * mass**k * under ** (n - k) for k in range(1, n + 1)) * p / mass)
    return torch.tensor(rows, dtype=probabilities.dtype)


def best_of_n(probabilities, scores, n):
    at_least = (scores[:, None] >= scores).to(probabilities.dtype)  # row i: whom i beats or ties
    equal = (scores[:, None] == scores).to(probabilities.dtype)
    kept, of_this_score = probabilities, equal @ probabilities
    for _ in range(1, n):  # one sample more: highest so far at most s, and the new one, less both below s
        reached, below = at_least @ kept, at_least @ kept - equal @ kept
        new, under = at_least @ probabilities, at_least @ probabilities - of_this_score
        kept = probabilities / of_this_score * (reached * new - below * under)
    return kept


def teacher_returns(log_probs, teacher_log_probs, mask):
    paid = (teacher_log_probs - log_probs) * mask
    return paid.flip(-1).cumsum(-1).flip(-1) * mask


def teacher_returns(log_probs, teacher_log_probs, mask):
    paid, total = (teacher_log_probs - log_probs) * mask, torch.zeros_like(log_probs[..., 0])
    returns = []
    for t in reversed(range(paid.shape[-1])):
        total = total + paid[..., t]
        returns.insert(0, total * mask[..., t])
    return torch.stack(returns, dim=-1)


def teacher_returns(log_probs, teacher_log_probs, mask):
    later = torch.ones(mask.shape[-1], mask.shape[-1], dtype=log_probs.dtype).tril()
    return ((teacher_log_probs - log_probs) * mask) @ later * mask


def entropy_slope(q, h_pass, h_fail):
    return math.log(1 - q) - math.log(q) + h_pass - h_fail


def entropy_slope(q, h_pass, h_fail):
    leaf = torch.tensor(q, dtype=torch.double, requires_grad=True)
    entropy = -leaf * leaf.log() - (1 - leaf) * (1 - leaf).log() + leaf * h_pass + (1 - leaf) * h_fail
    return torch.autograd.grad(entropy, leaf)[0].item()


def entropy_slope(q, h_pass, h_fail):
    ways = math.exp(h_pass - h_fail)
    return -math.log(q / (1 - q) / ways)


# The lab
def token_positions(mask):
    return (mask.cumsum(-1) - 1).clamp(min=0)


def token_positions(mask):
    return mask.cumsum(-1) - mask


def token_positions(mask):
    rows = []
    for row in mask.tolist():
        padding = row.index(1)
        rows.append([max(t - padding, 0) for t in range(len(row))])
    return torch.tensor(rows)


def scored_log_probs(logits, actions, temperature):
    return torch.log_softmax(logits / temperature, -1).gather(-1, actions[..., None])[..., 0]


def scored_log_probs(logits, actions, temperature):
    scaled = logits / temperature
    return scaled.gather(-1, actions.unsqueeze(-1)).squeeze(-1) - scaled.logsumexp(-1)


def scored_log_probs(logits, actions, temperature):
    nll = F.cross_entropy((logits / temperature).flatten(0, 1), actions.flatten(), reduction="none")
    return -nll.view_as(actions)


def masked_mean(loss, mask):
    return (loss * mask).sum() / mask.sum()


def masked_mean(loss, mask):
    return torch.masked_select(loss, mask > 0).mean()


def masked_mean(loss, mask):
    weights = mask / mask.sum()
    return torch.einsum("nt,nt->", weights, loss)


# 10
def percentile(times, share):
    return sorted(times)[max(1, math.ceil(share * len(times))) - 1]


def percentile(times, share):
    return min(t for t in times if sum(other <= t for other in times) >= share * len(times))


def percentile(times, share):
    return torch.quantile(
        torch.tensor(times, dtype=torch.double), max(math.ceil(share * len(times)) - 1, 0) / max(len(times) - 1, 1)
    ).item()


def expected_latency(clients, per_second):
    return 1000 * clients / per_second


def expected_latency(clients, per_second):
    return clients / (per_second / 1000)


def expected_latency(clients, per_second):
    seconds = clients / per_second
    return seconds * 1e3


def server_divergence(policy, served):
    return ((policy - served).exp() - 1 - (policy - served)).sum()


def server_divergence(policy, served):
    return (torch.expm1(policy - served) + served - policy).sum()


def server_divergence(policy, served):
    return sum(math.exp(p - s) - 1 - (p - s) for p, s in zip(policy.tolist(), served.tolist(), strict=True))


def cache_share(before, after):
    cached, computed = (after[name] - before[name] for name in ("cached", "computed"))
    return cached / (cached + computed) if cached + computed > 0 else 0.0


def cache_share(before, after):
    total = sum(after.values()) - sum(before.values())
    return (after["cached"] - before["cached"]) / total if total else 0.0


def cache_share(before, after):
    try:
        return 1 - (after["computed"] - before["computed"]) / (sum(after.values()) - sum(before.values()))
    except ZeroDivisionError:
        return 0.0
