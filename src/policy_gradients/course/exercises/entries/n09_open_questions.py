"""Exercises of notebook 09: a tilted rate, a falsifier that fires at nothing, peers, two terms, a price in tokens; what
a preference teaches, best of n, a teacher's returns, entropy from its parts."""

import math

import torch

from policy_gradients.course.exercises.declare import exercise
from policy_gradients.estimators.baselines import mean_of_peers
from policy_gradients.evaluation.statistics import chance_of_a_lower_prompt, tilted_rate
from policy_gradients.oracle.distillation import teacher_returns as returns_of_a_teacher
from policy_gradients.oracle.entropies import entropy_slope as slope_of_entropy
from policy_gradients.oracle.preferences import preference_gradient as gradient_of_preferences
from policy_gradients.oracle.retrieval import best_group as cheapest_group
from policy_gradients.oracle.retrieval import retrieval_terms
from policy_gradients.oracle.tilting import best_of_n as kept_of_n


def _optimum(p, beta):
    return float(tilted_rate(p, 1 / beta))


def _prompts(generator):
    return [(0.5, 1.0), (0.1, 0.5), (0.02, 0.2), (0.8, 0.3), (0.4, 4.0), (0.9, 1.0), (0.001, 0.1)]


@exercise(
    title="Where a fixed weight comes to rest",
    difficulty=1,
    minutes=6,
    importance=3,
    why=(
        "The optimum is the reference, weighted by e^(r/β): what passes gets e^(1/β), what fails gets 1.\n"
        "Divided by the sum of both, the passing share is p e^(1/β) / (1 − p + p e^(1/β)): the odds, times e^(1/β)."
    ),
    reference=_optimum,
    shows=[tilted_rate],
    cases=_prompts,
    hints=[
        "The optimum reweights the reference by e^(r/β). By how much does it reweight what passes, and what fails?",
        "Passing completions together weigh p e^(1/β), failing ones 1 − p. The rest is to make them sum to one.",
        "raised = p * math.exp(1 / beta), then raised / (1 - p + raised)",
    ],
    mistakes={
        "A large β holds the policy back: the reward is divided by β, so it is e^(1/β), not e^β.": lambda p, beta: (
            _optimum(p, 1 / beta)
        ),
        "It is not normalised: passing and failing have to sum to one.": lambda p, beta: p * math.exp(1 / beta),
        "The failing completions weigh 1 − p, not 1.": lambda p, beta: (
            p * math.exp(1 / beta) / (1 + p * math.exp(1 / beta))
        ),
        "The factor belongs to what passes; here it raises what fails.": lambda p, beta: _optimum(p, -beta),
        "The logit moves by 1/β, not by 1: β is not in it.": lambda p, beta: _optimum(p, 1),
    },
)
def optimal_rate(p, beta):
    """Pass rate of the policy that maximises E[r] − β·KL, for a 0/1 reward; the reference passes with probability p."""
    return 1 / (1 + (1 - p) / p * math.exp(-1 / beta))


def _evaluations(generator):
    return [(0.5, 1, 1), (0.5, 1, 2), (0.3, 2, 1), (0.9, 4, 3), (1.0, 5, 10), (0.6, 8, 20), (0.7, 16, 100)]


def _lower(q, n, ties=0.0):
    chances = [math.comb(n, k) * q**k * (1 - q) ** (n - k) for k in range(n + 1)]
    tie = sum(chance**2 for chance in chances)
    return (1 - tie) / 2 + ties * tie


@exercise(
    title="A falsifier that fires at nothing",
    difficulty=2,
    minutes=10,
    importance=3,
    why=(
        "Two equal policies tie with probability Σ b(k)², and of what is left each is the lower one half of the time.\n"
        "That no prompt fires is that none of them does: one minus the chance, to the power of their number."
    ),
    reference=chance_of_a_lower_prompt,
    cases=_evaluations,
    hints=[
        "At one prompt: how likely have two equal policies the same number of passes? What is left is split evenly.",
        "b(k) = C(n, k) q^k (1 − q)^(n−k); a tie has probability Σ b(k)². At no prompt: (1 − lower)^prompts.",
        "lower = (1 - sum(b * b for b in chances)) / 2, and return 1 - (1 - lower) ** prompts",
    ],
    mistakes={
        "A tie is no lower reward.": lambda q, n, m: 1 - (1 - _lower(q, n, ties=1.0)) ** m,
        "That counts a difference either way; half of them are to the other policy's loss.": lambda q, n, m: (
            1 - (1 - 2 * _lower(q, n)) ** m
        ),
        "That is one prompt; the falsifier asks for *any* of them.": lambda q, n, m: _lower(q, n),
        "That is the chance that it fires at *every* prompt.": lambda q, n, m: _lower(q, n) ** m,
        "Chances of several prompts do not add up: this can exceed 1.": lambda q, n, m: m * _lower(q, n),
        "That is the chance that it stays silent.": lambda q, n, m: (1 - _lower(q, n)) ** m,
        "Without ties it would be one half at each prompt; with few samples, ties are common.": lambda q, n, m: (
            1 - 0.5**m
        ),
    },
)
def fires_at_nothing(q, samples, prompts):
    """Two equal policies pass with probability q at each of so many prompts; all samples are independent. How likely is
    the first one's sampled pass rate below the second one's at one prompt at least?"""
    tied = sum((math.comb(samples, k) * q**k * (1 - q) ** (samples - k)) ** 2 for k in range(samples + 1))
    return 1 - (0.5 + tied / 2) ** prompts


def _comparisons(generator):
    one_way = torch.tensor([[False, True, True], [False, False, True], [True, False, False]])
    yield torch.tensor([1.0, 0.0, 0.0], dtype=torch.double), one_way
    groups = torch.tensor([0, 0, 1, 1, 1, 2])
    rewards = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0], dtype=torch.double)
    yield rewards, groups[:, None] == groups
    yield rewards, torch.ones(6, 6, dtype=torch.bool)
    yield torch.randn(4, 6, generator=generator, dtype=torch.double), groups[:, None] == groups
    several = torch.rand(3, 5, 5, generator=generator) < 0.6
    yield torch.randn(3, 5, generator=generator, dtype=torch.double), several


def _without(peers):
    return (peers & ~torch.eye(peers.shape[-1], dtype=torch.bool)).double()


def _times(weights, rewards):
    return (weights @ rewards.unsqueeze(-1)).squeeze(-1)


def _alone(rewards, peers, instead):
    weights = _without(peers)
    mean = _times(weights, rewards) / weights.sum(-1).clamp(min=1)
    return rewards - torch.where(weights.sum(-1) > 0, mean, instead)


@exercise(
    title="Compared with whom?",
    difficulty=2,
    minutes=12,
    importance=3,
    why=(
        "What is subtracted may hang on anything but the sample's own action: so its own reward must not be in it.\n"
        "A sum over peers is one matrix product, once the diagonal is out; it is divided by the number of those peers."
    ),
    reference=lambda rewards, peers: rewards - mean_of_peers(rewards, peers),
    shows=[mean_of_peers],
    cases=_comparisons,
    hints=[
        "A mask with the diagonal taken out says who counts. A matrix product with it is a sum over peers.",
        "`weights = (peers & ~torch.eye(n, dtype=torch.bool)).to(rewards.dtype)`, and `(weights @ rewards[..., None])"
        "[..., 0]` is the sum. Divide by `weights.sum(-1)`.",
        "Where that is 0, `torch.where` takes the mean of all others: `(rewards.sum(-1, keepdim=True) - rewards) / "
        "(n - 1)`.",
    ],
    mistakes={
        "The own reward is among those compared with: take the diagonal out.": lambda r, peers: (
            r - _times(own := (peers | torch.eye(peers.shape[-1], dtype=torch.bool)).double(), r) / own.sum(-1)
        ),
        "The sum over the peers is divided by the number of all, not by that of the peers.": lambda r, peers: (
            r - _times(_without(peers), r) / (r.shape[-1] - 1)
        ),
        "That compares with all others, whoever is a peer.": lambda r, peers: (
            r - (r.sum(-1, keepdim=True) - r) / (r.shape[-1] - 1)
        ),
        "Row i of `peers` says with whom i is compared; here it is the column.": lambda r, peers: (
            r - mean_of_peers(r, peers.mT.contiguous())
        ),
        "Who has no peers is compared with nobody here; it should be with all others.": lambda r, peers: _alone(
            r, peers, torch.zeros(())
        ),
        "Who has no peers is compared with all, itself among them; it should be with all *others*.": lambda r, peers: (
            _alone(r, peers, r.mean(-1, keepdim=True))
        ),
        "Only the baseline is returned: subtract it from the rewards.": mean_of_peers,
    },
)
def compared(rewards, peers):
    """Advantages, (..., n): each reward less the mean over its peers, without itself; who has none, over all others.
    rewards (..., n); peers truth values, (n, n) or (..., n, n): row i says with whom i is compared."""
    n = rewards.shape[-1]
    advantages = torch.empty_like(rewards)
    for i in range(n):
        others = torch.arange(n) != i
        mask = (peers[..., i, :] & others).to(rewards.dtype)
        mask = torch.where(mask.sum(-1, keepdim=True) > 0, mask, others.to(rewards.dtype))
        advantages[..., i] = rewards[..., i] - (mask * rewards).sum(-1) / mask.sum(-1)
    return advantages


def _by_autograd(pi_d, pi_y, rewards):
    documents = len(pi_d)
    theta = torch.cat([pi_d.log(), pi_y.log().flatten()])
    terms = retrieval_terms(
        lambda t: t[:documents].log_softmax(-1),
        lambda t: t[documents:].view_as(pi_y).log_softmax(-1),
        rewards,
        theta,
    )
    return terms.retrieval[:documents], terms.generation[documents:].view_as(pi_y)


def _libraries(generator):
    half = torch.full((2,), 0.5, dtype=torch.double)
    yield half, torch.full((2, 2), 0.5, dtype=torch.double), torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.double)
    yield (
        torch.tensor([0.75, 0.25], dtype=torch.double),
        torch.tensor([[0.2, 0.8], [0.6, 0.4]], dtype=torch.double),
        torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.double),
    )
    pi_d = torch.randn(3, generator=generator, dtype=torch.double).softmax(-1)
    pi_y = torch.randn(3, 4, generator=generator, dtype=torch.double).softmax(-1)
    yield pi_d, pi_y, torch.rand(3, 4, generator=generator, dtype=torch.double)


def _parts(pi_d, pi_y, rewards):
    values = (pi_y * rewards).sum(1)
    return values, pi_d @ values


@exercise(
    title="Two terms",
    difficulty=2,
    minutes=12,
    importance=3,
    why=(
        "Retrieving is an action like any other: a document's advantage is V(d) − J, times its probability.\n"
        "An answer is only ever written under its document: its advantage is r − V(d), times π(d) π(y|d)."
    ),
    reference=_by_autograd,
    shows=[retrieval_terms],
    cases=_libraries,
    hints=[
        "For a softmax, the gradient by the logit of an action is π(a) (value of a − mean value). Which values are "
        "there, one level up?",
        "V(d) = Σ_y π(y|d) r(d, y) and J = Σ_d π(d) V(d). The documents' gradient is π(d) (V(d) − J).",
        "Second: `pi_d[:, None] * pi_y * (rewards - values[:, None])`: it is reached with probability π(d) only.",
    ],
    mistakes={
        "A document's value is measured against the mean over documents, J: raising all logits alike changes "
        "nothing.": lambda d, y, r: (d * _parts(d, y, r)[0], _by_autograd(d, y, r)[1]),
        "An answer is written only if its document is retrieved: its term has a factor π(d).": lambda d, y, r: (
            _by_autograd(d, y, r)[0],
            y * (r - _parts(d, y, r)[0][:, None]),
        ),
        "Given the document, an answer is measured against V(d), not against J: the difference belongs to the "
        "retriever.": lambda d, y, r: (
            _by_autograd(d, y, r)[0],
            d[:, None] * y * (r - _parts(d, y, r)[1]),
        ),
        "The best answer counts here; V(d) is the mean over the answers that the generator really writes.": (
            lambda d, y, r: (d * (r.max(1).values - d @ r.max(1).values), _by_autograd(d, y, r)[1])
        ),
        "The factor π(d) of the documents' gradient is missing.": lambda d, y, r: (
            _parts(d, y, r)[0] - _parts(d, y, r)[1],
            _by_autograd(d, y, r)[1],
        ),
        "The factor π(y|d) of the answers' gradient is missing.": lambda d, y, r: (
            _by_autograd(d, y, r)[0],
            d[:, None] * (r - _parts(d, y, r)[0][:, None]),
        ),
    },
)
def two_terms(pi_d, pi_y, rewards):
    """Gradients of J by the logits of the documents, (D,), and by those of the answers, (D, Y), as a pair.
    pi_d (D,) are the probabilities of documents, pi_y (D, Y) of answers given each, rewards (D, Y)."""
    values = torch.einsum("dy,dy->d", pi_y, rewards)
    by_document = pi_d * values - pi_d * (pi_d * values).sum()
    joint = pi_d.unsqueeze(1) * pi_y
    return by_document, joint * rewards - joint * values.unsqueeze(1)


def _prices(generator):
    return [
        (1.0, 1.0, 1, 1),
        (1.0, 1.0, 4, 1),
        (4.0, 1.0, 1, 1),
        (1.0, 2.5, 1, 1),
        (1.0, 8.0, 1, 1),
        (0.03, 0.1, 1000, 50),
        (0.03, 0.1, 100, 200),
        (1.0, 0.0, 100, 10),
        (0.5, 0.1, 400, 10),
    ]


@exercise(
    title="How many answers a document is worth",
    difficulty=3,
    minutes=12,
    importance=2,
    why=(
        "T tokens are M = T / (L_d + G L_y) documents: the variance is (between + within/G) (L_d + G L_y) / T.\n"
        "Of its terms, G only moves between · G L_y and within · L_d / G, which balance at the square root of "
        "within · L_d over between · L_y."
    ),
    reference=cheapest_group,
    cases=_prices,
    hints=[
        "For T tokens, how many documents can be read, at L_d + G L_y tokens each? Then what is the variance?",
        "Minimise (between + within / G) * (L_d + G * L_y): multiply it out, and differentiate by G.",
        "G = √(within · L_d / (between · L_y)) need not be whole: compare both neighbours, none below 1. Or try "
        "G = 1, 2, 3, … until it rises.",
    ],
    mistakes={
        "The ratio is upside down: long documents, and answers that differ among themselves, are reasons for *more* "
        "answers.": lambda b, w, d, a: cheapest_group(max(w, 1e-9), b, a, max(d, 1e-9)),
        "The square root is missing: multiply out and differentiate.": lambda b, w, d, a: max(
            1, round(w * d / (b * a))
        ),
        "That is rounded down: of the two whole neighbours, take the one with the lower price.": lambda b, w, d, a: max(
            1, math.floor(math.sqrt(w * d / (b * a)))
        ),
        "There cannot be fewer than one answer.": lambda b, w, d, a: (
            0 if w * d / (b * a) < 0.25 else cheapest_group(b, w, d, a)
        ),
        "Without a price for tokens, more answers always seem better: the variance alone is not what to minimise.": (
            lambda b, w, d, a: 64
        ),
        "That is without what the documents cost: only the two variances are weighed.": lambda b, w, d, a: (
            cheapest_group(b, w, 1, 1)
        ),
    },
)
def best_group(between, within, document_tokens, answer_tokens):
    """The whole number G ≥ 1 of answers to each document with the least variance for the tokens, a document being read
    once: of M documents, the variance is (between + within / G) / M, and the cost M (L_d + G L_y) tokens."""
    price, group = math.inf, 0
    while (now := (between + within / (group + 1)) * (document_tokens + (group + 1) * answer_tokens)) < price:
        price, group = now, group + 1
    return group


def _judgements(generator):
    double = {"dtype": torch.double}
    yield torch.tensor([0.0], **double), torch.tensor([[2.0]], **double), torch.tensor([[1.0]], **double)
    yield torch.tensor([1.5], **double), torch.tensor([[0.0], [1.0]], **double), torch.tensor([[2.0], [0.0]], **double)
    draws = [torch.randn(n, 3, generator=generator, **double) for n in (1, 4, 4)]
    yield draws[0][0], draws[1], draws[2]


def _pull(weights, preferred, other, margin):
    return (torch.sigmoid(margin).unsqueeze(-1) * (preferred - other)).mean(0)


@exercise(
    title="What a pair teaches",
    difficulty=2,
    minutes=10,
    importance=3,
    why=(
        "The derivative of log σ(m) is σ(−m): a pair pulls as hard as the model finds its label unlikely.\n"
        "The margin m is (x_preferred − x_other) · w, so it pulls along the difference of the features: what both "
        "answers share teaches nothing."
    ),
    reference=gradient_of_preferences,
    cases=_judgements,
    hints=[
        "Write the log-likelihood of one pair: log σ(m), with m = (preferred − other) · weights. What is its "
        "derivative by m?",
        "d/dm log σ(m) = σ(−m) = 1 − σ(m). Then the chain rule: times (preferred − other). Then the mean over pairs.",
        "`apart = preferred - other`, and `(torch.sigmoid(-(apart @ weights))[:, None] * apart).mean(0)`",
    ],
    mistakes={
        "A pair that is judged right already should pull *less*: σ(−margin), not σ(margin).": lambda w, a, b: _pull(
            w, a, b, (a - b) @ w
        ),
        "The sign: the likelihood rises towards what was preferred.": lambda w, a, b: -gradient_of_preferences(w, a, b),
        "It is the mean over the pairs, not their sum.": lambda w, a, b: len(a) * gradient_of_preferences(w, a, b),
        "Only the preferred answer is in it: the other one is pushed down as far as it is pulled up.": lambda w, a, b: (
            torch.sigmoid(-((a - b) @ w)).unsqueeze(-1) * a
        ).mean(0),
        "Each pair pulls alike, however sure the model is of it: the factor σ(−margin) is missing.": lambda w, a, b: (
            a - b
        ).mean(0),
        "That is the slope of σ itself; the likelihood's logarithm was asked for.": lambda w, a, b: (
            torch.sigmoid((a - b) @ w).unsqueeze(-1) * torch.sigmoid(-((a - b) @ w)).unsqueeze(-1) * (a - b)
        ).mean(0),
    },
)
def preference_gradient(weights, preferred, other):
    """Gradient of the mean log-likelihood of preferences by the weights of a linear reward model, (features,).
    weights (features,); preferred and other (pairs, features): what the model sees of both answers of each pair."""
    margin = preferred @ weights - other @ weights
    surprise = 1 - 1 / (1 + torch.exp(-margin))
    return torch.einsum("p,pf->f", surprise, preferred - other) / len(margin)


def _shops(generator):
    double = {"dtype": torch.double}
    yield torch.tensor([0.75, 0.25], **double), torch.tensor([0.0, 1.0], **double), 2
    yield torch.tensor([0.5, 0.3, 0.2], **double), torch.tensor([2.0, 1.0, 1.0], **double), 3
    yield torch.tensor([0.1, 0.2, 0.3, 0.4], **double), torch.tensor([1.0, -1.0, 1.0, 0.0], **double), 1
    chances = torch.randn(6, generator=generator, **double).softmax(0)
    yield chances, torch.tensor([0.0, 2.0, 2.0, 1.0, 0.0, 3.0], **double), 5


def _at_most(p, scores, strict=False):
    below = scores < scores.unsqueeze(-1) if strict else scores <= scores.unsqueeze(-1)
    return (below * p).sum(-1)


@exercise(
    title="Best of n, exactly",
    difficulty=2,
    minutes=12,
    importance=2,
    why=(
        "All n score at most s with probability F(s)^n, and all below s with F(<s)^n: the difference is the chance "
        "that s is the highest.\n"
        "Within one score nothing chooses, so that chance is shared in the proportion in which the answers are drawn."
    ),
    reference=kept_of_n,
    cases=_shops,
    hints=[
        "When is the highest of n scores at most s? When all n are. What is the chance of that?",
        "F(s)^n − F(<s)^n is the chance that the highest score is s: F(s) sums the probabilities of scores ≤ s.",
        "Among equal scores it is shared as `probabilities` are: times `probabilities / same`, where `same` is the sum "
        "over answers with this very score, F(s) − F(<s).",
    ],
    mistakes={
        "Each of the equal scores takes the whole chance of its score: they have to share it.": lambda p, s, n: (
            _at_most(p, s) ** n - _at_most(p, s, strict=True) ** n
        ),
        "That is the chance that an answer is among the n, not that it is the best of them.": lambda p, s, n: (
            1 - (1 - p) ** n
        ),
        "That is the *worst* of n: the highest score is to be kept.": lambda p, s, n: kept_of_n(p, -s, n),
        "Equal scores are shared evenly here; a likelier answer is more often among those drawn.": lambda p, s, n: (
            (_at_most(p, s) ** n - _at_most(p, s, strict=True) ** n) / (s == s.unsqueeze(-1)).sum(-1)
        ),
        "F(s)^n is the chance that the highest is *at most* s; take away that it is less.": lambda p, s, n: (
            _at_most(p, s) ** n
        ),
        "The one drawn first is kept, whatever n: n draws make F(s)^n.": lambda p, s, n: p + 0 * s,
    },
)
def best_of_n(probabilities, scores, n):
    """Probabilities (m,) of each answer to be the one kept: n are drawn from `probabilities` (m,), and the one with the
    highest of `scores` (m,) is kept. Of the draws that share the highest score, each is kept with the same chance."""
    kept = torch.zeros_like(probabilities)
    for score in scores.unique():
        equal = scores == score
        below = probabilities[scores < score].sum()
        mass = probabilities[equal].sum()
        kept[equal] = probabilities[equal] * ((below + mass) ** n - below**n) / mass
    return kept


def _lessons(generator):
    double = {"dtype": torch.double}
    yield (
        torch.tensor([[-1.0, -2.0]], **double),
        torch.tensor([[-0.5, -4.0]], **double),
        torch.tensor([[1.0, 1.0]], **double),
    )
    yield (
        torch.tensor([-1.0, -0.5, -3.0], **double),
        torch.tensor([-2.0, -1.5, -0.1], **double),
        torch.tensor([1.0, 1.0, 0.0], **double),
    )
    log_probs, taught = (-torch.rand(2, 3, 5, generator=generator, **double) for _ in range(2))
    lengths = torch.tensor([[1, 5, 3], [4, 2, 5]]).unsqueeze(-1)
    yield log_probs, taught, (torch.arange(5) < lengths).double()


def _paid(own, taught, mask):
    return (taught - own) * mask


@exercise(
    title="A teacher's returns",
    difficulty=2,
    minutes=10,
    importance=3,
    why=(
        "−KL(π ‖ π_T) is the expected sum of log π_T − log π over the tokens, so it is an expected return.\n"
        "A token is credited with what is paid from it on: what was paid before does not depend on it."
    ),
    reference=returns_of_a_teacher,
    cases=_lessons,
    hints=[
        "What is a token paid, by itself? And for what else is it responsible: for what came before it, or after?",
        "Paid: `(teacher_log_probs - log_probs) * mask`. A sum from each place to the end is a `cumsum` of what is "
        "turned round, turned round again.",
        "`paid.flip(-1).cumsum(-1).flip(-1) * mask`",
    ],
    mistakes={
        "That is what a token is paid for itself; what it leads to is paid to the tokens after it.": _paid,
        "The sign: a token is good that the *teacher* finds likelier than the student does.": lambda own, taught, m: (
            returns_of_a_teacher(taught, own, m)
        ),
        "That sums what came *before*; a token is responsible for what comes after.": lambda own, taught, m: (
            _paid(own, taught, m).cumsum(-1) * m
        ),
        "Each token is credited with the whole sum: unbiased, but what was paid before it is only noise.": (
            lambda own, taught, m: _paid(own, taught, m).sum(-1, keepdim=True) * m
        ),
        "A token's own payment is left out: the sum begins *with* it.": lambda own, taught, m: (
            (returns_of_a_teacher(own, taught, m) - _paid(own, taught, m)) * m
        ),
        "Padding is paid as well: use the mask before you sum.": lambda own, taught, m: (
            (taught - own).flip(-1).cumsum(-1).flip(-1) * m
        ),
        "The student's own log-prob is not taken off: that pays for what the teacher likes, and ends in its one "
        "likeliest text.": lambda own, taught, m: returns_of_a_teacher(0 * own, taught, m),
    },
)
def teacher_returns(log_probs, teacher_log_probs, mask):
    """What each token is credited with, (..., time): all that the teacher pays from this token on; 0 on padding.
    log_probs, teacher_log_probs and mask (..., time): of the student's tokens, by the student and by the teacher."""
    paid = mask * (teacher_log_probs - log_probs)
    before = torch.cumsum(paid, dim=-1) - paid
    return (paid.sum(-1, keepdim=True) - before) * mask


def _policies(generator):
    return [(0.5, 1.0, 0.0), (0.5, 0.0, 0.0), (0.1, 0.0, 5.0), (0.2, 0.0, 0.0), (0.9, 3.0, 4.5), (0.05, 2.0, 1.0)]


@exercise(
    title="Which way entropy goes",
    difficulty=2,
    minutes=8,
    importance=2,
    why=(
        "The bit's own entropy has the slope log((1 − q)/q): it rises up to one half and falls beyond.\n"
        "The rest is a mean of two entropies, so moving probability from failing to passing adds their difference."
    ),
    reference=slope_of_entropy,
    cases=_policies,
    hints=[
        "Three terms, differentiated one by one. Only h(q) needs a derivative that is not at once seen.",
        "d/dq (−q log q) = −log q − 1, and d/dq (−(1 − q) log(1 − q)) = log(1 − q) + 1.",
        "math.log((1 - q) / q) + h_pass - h_fail",
    ],
    mistakes={
        "The sign of the bit's part: below one half its entropy rises with q.": lambda q, a, b: (
            -slope_of_entropy(q, 0, 0) + a - b
        ),
        "The two entropies are exchanged: probability moves *to* what passes.": lambda q, a, b: slope_of_entropy(
            q, b, a
        ),
        "The bit's own entropy h(q) moves as well: its slope is log((1 − q)/q).": lambda q, a, b: a - b,
        "What fails loses as much as what passes gains: take h_fail away.": lambda q, a, b: slope_of_entropy(q, a, 0),
        "That is the slope of the bit alone: the ways to pass and to fail are missing.": lambda q, a, b: (
            slope_of_entropy(q, 0, 0)
        ),
        "That is H itself, not its slope.": lambda q, a, b: (
            -q * math.log(q) - (1 - q) * math.log(1 - q) + q * a + (1 - q) * b
        ),
    },
)
def entropy_slope(q, h_pass, h_fail):
    """dH/dq, in nats, of H = h(q) + q · h_pass + (1 − q) · h_fail, with h(q) = −q log q − (1 − q) log(1 − q)."""
    return (h_pass - math.log(q)) - (h_fail - math.log(1 - q))
