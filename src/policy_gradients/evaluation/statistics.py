"""Numbers that keep a pass rate honest: intervals, the exact price of steering in KL, paired tests, diversity."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval for a proportion: every rate that a two-sided z-test of the observed count would not reject.

    Unlike p ± z·sqrt(p(1-p)/n) it stays inside [0, 1] and keeps a width at 0 and n successes, which is where a pass
    rate starts and ends (Wilson 1927, "Probable inference, the law of succession, and statistical inference").

    Raises:
        ValueError: trials below 1, successes outside [0, trials], either not whole, or confidence outside (0, 1).
    """
    if not all(math.isfinite(number) and number == int(number) for number in (successes, trials)):
        raise ValueError(f"successes and trials must be whole numbers, got {successes!r} and {trials!r}")
    if trials < 1:
        raise ValueError(f"trials must be at least 1, got {trials}")
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie in [0, {trials}], got {successes}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate, spread = successes / trials, z * z / trials
    centre = (rate + spread / 2) / (1 + spread)
    half = math.sqrt(spread * (rate * (1 - rate) + spread / 4)) / (1 + spread)
    # The ends are exact at 0 and n successes; rounding would leave 1e-18 there.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return low, high


def binary_kl(q: float, p: float) -> float:
    """KL(Bernoulli(q) ‖ Bernoulli(p)) = q ln(q/p) + (1-q) ln((1-q)/(1-p)) in nats, with 0 ln 0 = 0.

    Infinite where q puts mass on an outcome that p rules out. ValueError if q or p lies outside [0, 1].
    """
    _probability("q", q)
    _probability("p", p)
    others = _relative_entropy(1 - q, 1 - p) if p == 1 or q == 1 else (1 - q) * (math.log1p(-q) - math.log1p(-p))
    return max(0.0, _relative_entropy(q, p) + others)


def kl_floor(q: float, p: float) -> float:
    """Least KL(policy ‖ reference), nats per completion, at which a policy passes with probability at least q.

    The reference passes with probability p. Merging all passing completions into one event, and all others into
    another, can only lower a KL (log-sum inequality; Cover & Thomas 2006, theorem 2.7.1), so no policy gets below
    `binary_kl(q, p)`; the reference reweighted by one factor inside and one factor outside the passing set reaches it.

    For q <= p it is 0: the reference itself already passes often enough. (`binary_kl` prices passing with
    probability *exactly* q, which costs something below p too.) For p = 0 < q it is infinite.
    ValueError if q or p lies outside [0, 1].
    """
    _probability("q", q)
    _probability("p", p)
    return 0.0 if q <= p else binary_kl(q, p)


def tilted_rate(p: float | NDArray[np.float64], tilt: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """The pass rate after the odds of passing were multiplied by e^tilt: p e^s / (1 - p + p e^s), broadcast.

    With tilt = 1/β this is the optimum of E[R] - β·KL for a 0/1 reward, see `optimal_frontier`. Nothing is checked:
    p = 0 and p = 1 give NaN or themselves.
    """
    return 1 / (1 + np.exp(-(np.log(p) - np.log1p(-np.asarray(p)) + tilt)))


def optimal_frontier(p: float, num: int = 200) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The exact reward-KL frontier of a 0/1 reward, as (kl, pass_rate), both shape (num,), both rising.

    The optimum of E[R] - β·KL(π ‖ π_ref) is π ∝ π_ref · e^{R/β}, which multiplies the odds of passing by e^{1/β}
    (Korbak et al. 2022, "RL with KL penalties is better viewed as Bayesian inference"). With the tilt s = 1/β and
    Z = 1 - p + p·e^s, pass_rate = p·e^s / Z and KL = s·pass_rate - ln Z. The first point is the reference, (0, p);
    the last is the limit β → 0, the reference conditioned on passing, (-ln p, 1).

    Raises:
        ValueError: p outside (0, 1) (no reweighting moves a rate of 0 or 1), or num below 2.
    """
    if not 0 < p < 1:
        raise ValueError(f"p must lie in (0, 1), got {p}")
    if num < 2:
        raise ValueError(f"num must be at least 2, got {num}")
    reference_logit = math.log(p) - math.log1p(-p)
    furthest = max(reference_logit, 0.0) + 20  # odds of 5e8 : 1 at least, beyond which the rate is 1 on any plot
    tilt = np.linspace(0.0, furthest - reference_logit, num - 1)
    pass_rate = tilted_rate(p, tilt)
    log_z = np.logaddexp(math.log1p(-p), math.log(p) + tilt)
    kl = np.maximum(tilt * pass_rate - log_z, 0.0)
    pass_rate[0], kl[0] = p, 0.0
    return np.append(kl, -math.log(p)), np.append(pass_rate, 1.0)


@dataclass(frozen=True)
class PairedDifference:
    """What the same prompts say about two policies: `difference` = after's pass rate minus before's."""

    difference: float
    interval: tuple[float, float]
    p_value: float
    gained: int  # failed before, pass after
    lost: int  # passed before, fail after
    trials: int


def paired_difference(before: Sequence[int], after: Sequence[int], confidence: float = 0.95) -> PairedDifference:
    """Compare two policies' 0/1 outcomes on the same prompts, entry by entry.

    The p-value is McNemar's test in its exact form: if nothing changed, each prompt whose outcome differs is equally
    likely to have been gained or lost, so the smaller count is Binomial(gained + lost, 1/2); two-sided, doubled and
    cut at 1 (McNemar 1947). The interval is Newcombe's for paired proportions: the two Wilson intervals squared and
    added, less the correlation of the pairs (Newcombe 1998, Statistics in Medicine 17:2635-2650, method 10, after
    which the correlation is shrunk by a continuity correction where it is positive).

    Raises:
        ValueError: unequal or zero lengths, an outcome other than 0 and 1, or confidence outside (0, 1).
    """
    if len(before) != len(after):
        raise ValueError(f"before and after must be the same prompts, got {len(before)} and {len(after)} outcomes")
    if any(outcome not in (0, 1) for outcome in [*before, *after]):
        raise ValueError("outcomes must be 0 or 1")
    pairs = Counter((int(b), int(a)) for b, a in zip(before, after, strict=True))
    both, gained, lost, neither = pairs[1, 1], pairs[0, 1], pairs[1, 0], pairs[0, 0]
    trials = len(before)

    low_after, high_after = wilson_interval(both + gained, trials, confidence)
    low_before, high_before = wilson_interval(both + lost, trials, confidence)
    rate_after, rate_before = (both + gained) / trials, (both + lost) / trials
    covariance = both * neither - gained * lost
    if covariance > 0:
        covariance = max(covariance - trials / 2, 0)
    scale = math.sqrt((both + gained) * (lost + neither) * (both + lost) * (gained + neither))
    correlation = covariance / scale if scale else 0.0

    def combined(x: float, y: float) -> float:
        return math.sqrt(max(0.0, x * x - 2 * correlation * x * y + y * y))

    difference = (gained - lost) / trials
    low = difference - combined(rate_after - low_after, high_before - rate_before)
    high = difference + combined(high_after - rate_after, rate_before - low_before)

    changed = gained + lost
    tail, ways = 0, 1  # whole numbers until the division: exact at any size
    for k in range(min(gained, lost) + 1):
        tail, ways = tail + ways, ways * (changed - k) // (k + 1)
    p_value = min(1.0, 2 * tail / 2**changed)
    return PairedDifference(difference, (low, high), p_value, gained, lost, trials)


def distinct_completions(texts: Sequence[str]) -> int:
    """How many different strings there are. Necessary, not sufficient: see `largest_cluster_share`."""
    return len(set(texts))


def distinct_ngrams(texts: Sequence[str], n: int = 3) -> float:
    """Share of the pooled word n-grams that are different, in (0, 1] (Li et al. 2016, "distinct-n").

    Words are compared without case or punctuation, and every run of digits counts as the same word, so that neither a
    comma between words nor another year makes a sentence new (1,000 counts as two words). A text of fewer than n words
    counts as one n-gram. It falls as texts are added: compare equal numbers of texts only.

    Raises:
        ValueError: no texts, or n below 1.
    """
    grams = [gram for text in _some(texts) for gram in _ngrams(text, n)]
    return len(set(grams)) / len(grams)


def largest_cluster_share(texts: Sequence[str], n: int = 5) -> float:
    """Share of the texts that hold the most widespread word n-gram, in [1/len(texts), 1].

    1/len(texts) means that no two texts share n words in a row; 1 that all are variations of one sentence, however
    many distinct strings that makes. Words are read as in `distinct_ngrams`; a text of fewer than n words is one
    n-gram, so a hundred different strings of zeros are one cluster.

    Raises:
        ValueError: no texts, or n below 1.
    """
    holders = Counter(gram for text in _some(texts) for gram in set(_ngrams(text, n)))
    return max(holders.values()) / len(texts)


def chance_of_a_lower_prompt(pass_rate: float, samples: int, prompts: int) -> float:
    """How likely two policies of *equal* pass rates differ at some prompt, to the loss of a given one of them.

    Each is sampled `samples` times at each prompt, and passes there with probability `pass_rate`. A prompt counts as
    soon as the first has fewer passes than the second: (1 - Σ_k b(k)²) / 2 with b the binomial probabilities.

    Raises:
        ValueError: a pass rate outside [0, 1], samples or prompts below 1.
    """
    _probability("pass_rate", pass_rate)
    if samples < 1 or prompts < 1:
        raise ValueError(f"samples and prompts must be at least 1, got {samples} and {prompts}")
    chances = binom.pmf(np.arange(samples + 1), samples, pass_rate)
    lower = (1 - float(chances @ chances)) / 2
    return 1 - (1 - lower) ** prompts


def _probability(name: str, value: float) -> None:
    if not 0 <= value <= 1:  # false for NaN too
        raise ValueError(f"{name} must lie in [0, 1], got {value}")


def _relative_entropy(x: float, y: float) -> float:
    if x == 0:
        return 0.0
    return math.inf if y == 0 else x * (math.log(x) - math.log(y))  # a ratio would overflow at subnormal y


def _some(texts: Sequence[str]) -> Sequence[str]:
    if isinstance(texts, str) or not len(texts):
        raise ValueError("texts must be a list of at least one text")
    return texts


def _ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    words = re.findall(r"\w+", re.sub(r"[0-9]+", "0", unicodedata.normalize("NFC", text.casefold())))
    return [tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))]


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean of independent values, and its standard error (NaN of a single one)."""
    array = np.asarray(values, dtype=np.float64)
    error = array.std(ddof=1) / math.sqrt(len(array)) if len(array) > 1 else math.nan
    return float(array.mean()), float(error)


def floor_ratio_interval(
    kl: float, kl_error: float, tuned_passed: int, tuned_drawn: int, passed: int, drawn: int, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of KL over its floor, with all three that were estimated: the KL, q and p.

    By simulation: the KL is drawn normal, q and p from their Jeffreys posteriors Beta(k + 1/2, n - k + 1/2) (Brown, Cai
    & DasGupta 2001, "Interval estimation for a binomial proportion"), 20,000 times.
    """
    if not math.isfinite(kl_error):
        return math.nan, math.nan
    generator = np.random.default_rng(seed)
    size = 20_000
    q = generator.beta(tuned_passed + 0.5, tuned_drawn - tuned_passed + 0.5, size)
    p = generator.beta(passed + 0.5, drawn - passed + 0.5, size)
    floors = q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))
    floors = np.where(q > p, floors, 0.0)  # what passes no more often need not move
    ratios = np.divide(generator.normal(kl, kl_error, size), floors, out=np.full(size, np.inf), where=floors > 0)
    low, high = np.quantile(ratios, [0.025, 0.975], method="nearest")
    return float(low), float(high)


def text_shape(text: str) -> str:
    """The shape of a text: runs of letters, digits, spaces and other characters with their lengths, as "0 Families" is
    "d1 s1 a8". Two texts of one shape are fillings of one template, however different their words."""
    kinds = ("s" if c.isspace() else "d" if c in "0123456789" else "a" if c.isalpha() else "p" for c in text)
    return " ".join(f"{kind}{len(list(run))}" for kind, run in groupby(kinds))


def largest_shape_share(texts: Sequence[str]) -> float:
    """Share of the texts that have the commonest shape (`text_shape`): near 1, one template is filled in.

    Raises:
        ValueError: there are no texts.
    """
    return Counter(text_shape(text) for text in _some(texts)).most_common(1)[0][1] / len(texts)


def largest_opening_share(texts: Sequence[str], characters: int = 10) -> float:
    """Share of the texts that begin with the commonest first characters: what a policy says to everybody.

    Raises:
        ValueError: there are no texts, or characters below 1.
    """
    if not texts or characters < 1:
        raise ValueError(f"need a text and a character at least, got {len(texts)} texts and {characters} characters")
    return Counter(text[:characters] for text in texts).most_common(1)[0][1] / len(texts)
