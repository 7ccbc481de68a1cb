"""What the notebooks ask to be predicted, with the answers: kept here, so that no cell tells its own.

ask("02: ten more")                          all of it is here
ask("03: a thousand tokens", 2999.0)         the answer comes from the cells above
ask("06: groups that speak", share, p=0.01)  the question and the reason have {p} in them
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from policy_gradients.course.predict import Guess, predict


@dataclass(frozen=True)
class Asked:
    """One prediction, in the words of `predict`; an answer of None comes from the notebook."""

    question: str
    answer: Guess | None = None
    options: Sequence[str] = ()
    within: float = 0.0
    because: str = ""


def ask(name: str, answer: Guess | None = None, options: Sequence[str] = (), because: str = "", **values: Any) -> None:
    """`predict` by name; what is given here stands for what is missing there.

    Raises:
        ValueError: no prediction of that name, none of its answer, or an answer both here and there.
    """
    if name not in ASKED:
        raise ValueError(f"no prediction is called {name!r}; add it to course/predictions.py")
    asked = ASKED[name]
    if (answer is None) == (asked.answer is None):
        raise ValueError(f"{name}: the answer is needed once, here or in course/predictions.py")
    predict(
        name,
        asked.question.format(**values) if values else asked.question,
        asked.answer if answer is None else answer,
        options=tuple(options or asked.options),
        within=asked.within,
        because=because or (asked.because.format(**values) if values else asked.because),
    )


ASKED = {
    # 01
    "01: the average over all dice": Asked(
        "As a function of θ₃, one press is a cliff. What is the average over all dice?",
        "a smooth slope",
        options=(
            "a cliff",
            "a staircase",
            "a smooth slope",
        ),
        because="Twenty presses are the staircase.",
    ),
    "01: J at even odds": Asked(
        "At θ = 0 all buttons are equally likely. What is J?",
        0.4667,
        within=0.01,
        because="The middling button pays a little more than that, so ∂J/∂θ₂ is positive, if small.",
    ),
    "01: the mean score": Asked(
        "Average the scores of a million presses, without any rewards. How long is the mean?",
        0.0,
        within=0.01,
        because="At any θ: probabilities sum to one, and the gradient of one is zero.",
    ),
    "01: half the error": Asked(
        "You want half the error. How many times as many presses is that?",
        4.0,
        within=0,
        because="The error falls as 1/√n, so the slope in logarithms is −1/2.",
    ),
    "01: the middling button": Asked(
        "How will the middling button's probability run?",
        "up, then down",
        options=(
            "up",
            "down",
            "up, then down",
        ),
        because="It beats the average until the policy has become better than it.",
    ),
    "01: two steps": Asked(
        "At even odds, should action 1 become likelier? And what does the sum without γᵗ say?",
        "yes, and the sum says no",
        options=(
            "yes, and so says the sum",
            "yes, and the sum says no",
            "no, and so says the sum",
        ),
        because="Discounted, the loss at the second step weighs 0.75, less than the gain of 1.",
    ),
    "01: other states": Asked(
        "You change the policy, and come to other states. Is the derivative of the state distribution zero?",
        "no",
        options=(
            "yes",
            "no",
        ),
        because="It is far from zero, but it need not be computed: Q counts it already.",
    ),
    "01: blind": Asked(
        "What is the best chance of “right”?",
        "more than ½",
        options=(
            "less than ½",
            "½",
            "more than ½",
        ),
        because="It is 2 − √2. Always right, or always left, never gets out.",
    ),
    "01: the gift": Asked(
        "What can an offset of +10 do, if all buttons get it alike?",
        "some learners end sure of a wrong button",
        options=(
            "nothing at all",
            "all learn more slowly, and arrive",
            "some learners end sure of a wrong button",
        ),
        because="The exact gradient is the same; the noise is not. Try it with the slider.",
    ),
    # 02
    "02: ten more": Asked(
        "With +10 on every reward, will the unlucky learners be slow, or stuck?",
        "stuck",
        options=(
            "slow",
            "stuck",
        ),
        because="Nearly half of them are sure of a wrong button after 200 steps.",
    ),
    "02: a bonus": Asked(
        "With +10 and an entropy bonus, how many learners find the best button?",
        "no more than before",
        options=(
            "no more than before",
            "more",
            "nearly all",
        ),
        because="Fewer are sure of a wrong one. What the bonus holds near a coin toss is the same noise.",
    ),
    "02: the best constant": Asked(
        "Which b makes the variance least?",
        "another number",
        options=(
            "0",
            "the mean reward J",
            "another number",
        ),
        because="A mean reward in which the presses with large scores, the rare ones, count for more.",
    ),
    "02: a running mean": Asked(
        "The baseline starts ten too low. At which of these rates do all sixty learners earn more than 0.6?",
        "0.3",
        options=(
            "0.05",
            "0.1",
            "0.3",
        ),
        because="A slow one loses learners while it is on its way.",
    ),
    "02: who knows the press?": Asked(
        "Of seven baselines, how many of the rows below show a bias?",
        "two",
        options=(
            "none",
            "one",
            "two",
            "three",
        ),
        because=(
            "The batch mean, and the best one for each parameter if it is estimated from the same batch: both "
            "know the press."
        ),
    ),
    "02: the least noise": Asked(
        "Full return, reward to go, reward to go less V(s): which has the least variance, and is any biased?",
        "less V(s), none biased",
        options=(
            "full return, none biased",
            "less V(s), and it is biased",
            "less V(s), none biased",
        ),
        because="V(s) depends on the state, which comes before the action.",
    ),
    "02: λ and the exact critic": Asked(
        "With the exact V, which λ is biased?",
        "none",
        options=(
            "λ = 0",
            "λ = 1",
            "every λ but 1",
            "none",
        ),
        because=(
            "With a wrong V, every λ but 1. Then it is a trade: few episodes want less noise, many want less bias."
        ),
    ),
    "02: the news walks back": Asked(
        "Without a trace (λ = 0), how many episodes does it take until the first of six places hears of the exit?",
        4.0,
        within=1,
        because="One or two places an episode: pacing to and fro carries it farther.",
    ),
    "02: λ on the cart pole": Asked(
        "Which learns slowest?",
        "λ = 0",
        options=(
            "λ = 0",
            "λ = 0.95",
            "λ = 1",
        ),
        because="Its five learners also end farthest from each other.",
    ),
    "02: the gift and the bars": Asked(
        "Give every reward the same gift. Which bar moves?",
        "that without a baseline",
        options=(
            "all of them",
            "that without a baseline",
            "that of the group's mean",
        ),
        because="The bias of the group's mean shrinks as the group grows: it is 1/n.",
    ),
    # 03
    "03: six places": Asked(
        "In expectation, under REINFORCE: which of the six places have a gradient?",
        "the first alone",
        options=(
            "the first alone",
            "the last alone",
            "all six",
        ),
        because="By the page only the last would count, and here it decides nothing: none would have one.",
    ),
    "03: the first token stands out": Asked(
        "How many sentences until the others' estimates are below a fifth of token 1's?",
        "100",
        options=(
            "10",
            "100",
            "10,000",
        ),
        because="Averaging finds it, at the usual pace of 1/√n.",
    ),
    "03: a thousand tokens": Asked(
        "Extend the line to 1000 tokens. How many sentences for noise as large as the signal?",
        within=500,
        because="About three sentences more for each token.",
    ),
    "03: rewards spread evenly": Asked(
        "Is REINFORCE with reward-to-go on these rewards still unbiased?",
        "no",
        options=(
            "yes",
            "no",
        ),
        because="The last token's return is its own share alone, and yet its choice moves more of R than that.",
    ),
    "03: a critic at λ = 0": Asked(
        "With the critic at λ = 0, which words get any credit?",
        "the digits",
        options=(
            "all of them",
            "the digits",
            "the last one",
        ),
        because="And one of them gets a minus, though the text passes.",
    ),
    "03: no critic at λ = 0": Asked(
        "No critic at all, and λ = 0: which tokens get credit?",
        "the last one",
        options=(
            "all of them",
            "those that matter",
            "the last one",
        ),
        because="That is the page's claim, and the most biased corner.",
    ),
    "03: memory": Asked(
        "At which β is the expected estimate right?",
        "at none of them",
        options=(
            "0",
            "0.5",
            "0.99",
            "at none of them",
        ),
        because="It meets ∇η only as β goes to 1.",
    ),
    "03: old sentences": Asked(
        "Today's policy differs by 0.01 nats a token. Of 1000 old sentences of 1000 tokens, how many are left?",
        "a handful",
        options=(
            "about 900",
            "about 100",
            "a handful",
        ),
        because="Never less than one: the sentence that outweighs all others.",
    ),
    "03: where the clip acts": Asked(
        "In how many of the six cases is the gradient 0?",
        2.0,
        within=0,
        because="Where the token has already moved the wanted way: up for A > 0, down for A < 0.",
    ),
    # 04
    "04: a small step": Asked(
        "μ moves by 0.1. At σ = 1 that costs 0.005 nats. And at σ = 0.01?",
        50.0,
        within=5,
        because="½(Δμ/σ)²: ten times the precision, a hundred times the damage. At σ = 0.1 it is half a nat.",
    ),
    "04: the dangerous parameter": Asked(
        "At σ = 0.1, how many times as costly is a change of μ as the same change of ln σ?",
        50.0,
        within=10,
        because="F is 1/σ² for μ, and 2 for ln σ.",
    ),
    "04: vanilla in σ's": Asked(
        "From σ = 1 to σ = 0.01, by what factor does the vanilla step grow, in σ's of that day?",
        "more than 1,000",
        options=(
            "about 10",
            "about 100",
            "more than 1,000",
        ),
        because="As 1/σ². The natural step stays a fixed part of σ.",
    ),
    "04: centimetres": Asked(
        "μ is measured in centimetres. What becomes of the two steps, seen in metres?",
        "vanilla shrinks, natural stays",
        options=(
            "both stay",
            "both shrink",
            "vanilla shrinks, natural stays",
        ),
        because="Ten thousand times smaller, for a change of unit.",
    ),
    "04: the best arm": Asked(
        "The best arm pays 0.7, and has a chance of 1.6 %. Which arm's logit does the natural step raise most?",
        "the best one, though rare",
        options=(
            "the one tried most",
            "the middling one",
            "the best one, though rare",
        ),
        because="Vanilla raises the middling one: it asks how often an arm was tried.",
    ),
    "04: conjugate gradients": Asked(
        "F has 226 eigenvalues. How many products F·v until the answer is right to 1 %, with damping 0.1?",
        5.0,
        within=2,
        because="With damping 0.001 it takes ten.",
    ),
    "04: is the clip a trust region?": Asked(
        "A robot that has learnt, a rate from day one: with the clip, the twenty passes go …",
        "farther, in most draws",
        options=(
            "less far, always",
            "as far",
            "farther, in most draws",
        ),
        because="It takes away the gain from going on, and with it the pull back.",
    ),
    "04: two states": Asked(
        "Which of the two stops and stares, and where?",
        "vanilla, near η = 1",
        options=(
            "vanilla, near η = 1",
            "natural, near η = 1",
            "vanilla, at the start",
        ),
        because="It hardly visits the better state, so it hardly hears of it.",
    ),
    "04: the next rate up": Asked(
        "Each rate is about three times the last. The next one up from the best is …",
        "ruin",
        options=(
            "nearly as good",
            "a little worse",
            "ruin",
        ),
        because="There is no warning in between.",
    ),
    # 05
    "05: value of the loss": Asked(
        "What is the value of −A · π/π_old at the first update, summed over completions of equal length?",
        0.0,
        within=0.01,
        because="Advantages sum to zero in each group, and π/π_old is 1. The gradients of the two forms are the same.",
    ),
    "05: the line that bends": Asked(
        "Which line gives the mean estimate an angle to the true gradient?",
        "none of them",
        options=(
            "group mean",
            "group mean and std",
            "both",
            "none of them",
        ),
        because="Two of them change its length: the group's mean, and its std.",
    ),
    "05: aggregation": Asked(
        "Leave-one-out advantages, three aggregations. Which have an angle to ∇J?",
        "sequence and token",
        options=(
            "none",
            "sequence",
            "sequence and token",
            "all three",
        ),
        because="What a token weighs there depends on the lengths that were drawn.",
    ),
    "05: difficulty": Asked(
        "Where does GRPO, with a large G, pull hardest, beside the true gradient?",
        "at hard and at nearly solved prompts",
        options=(
            "at p = 1/2",
            "at hard and at nearly solved prompts",
            "everywhere alike",
        ),
        because="With G = 2 there is no such weight: every group that speaks has the same std.",
    ),
    "05: redrawing": Asked(
        "By which factor does redrawing silent groups lengthen E[ĝ] at p = 0.02, G = 8?",
        6.7,
        within=1.5,
        because="It is one over the share of groups that speak, and that is what it costs in completions.",
    ),
    "05: a mixed baseline": Asked(
        "What does a baseline that mixes easy and hard prompts do to the gradient?",
        "no bias, noise at the hard prompts",
        options=(
            "a bias",
            "no bias, noise at the easy prompts",
            "no bias, noise at the hard prompts",
        ),
        because=(
            "It does not know the completion that it is subtracted from. But a hard prompt's failures get its "
            "full weight."
        ),
    ),
    "05: the clip at first": Asked(
        "One update a batch. What does the clip change?",
        "nothing",
        options=(
            "it shortens the gradient",
            "it drops the tokens with large advantages",
            "nothing",
        ),
        because="At the first update the ratio is 1, and its gradient is ∇log π, at any width.",
    ),
    "05: value and gradient": Asked(
        "k₁ and k₃ have the right value on average. As parts of the loss, which has the right gradient?",
        "neither",
        options=(
            "k₁",
            "k₃",
            "both",
            "neither",
        ),
        because="The expected gradient of k₁ is 0, and that of k₃ belongs to the other KL.",
    ),
    "05: a bonus of the sample": Asked(
        "How long is the expected gradient of −log π at the sample?",
        0.0,
        within=0.01,
        because="It is a score, and the mean score is zero (notebook 01).",
    ),
    "05: PPO beside GRPO": Asked(
        "Which learns fastest?",
        "three seeds do not tell",
        options=(
            "GRPO",
            "PPO with a head",
            "PPO with a second model",
            "three seeds do not tell",
        ),
        because="A critic has seen nothing when training begins; what it learns comes from the same completions.",
    ),
    # break_it
    "lab: zero loss": Asked(
        "At step 1, which of the two differs between the healthy run and the broken one?",
        "the norm of the gradient",
        options=(
            "the loss",
            "the norm of the gradient",
            "both",
            "neither",
        ),
        because="The forward numbers are the same. The weights move all the same, by rounding that Adam blows up.",
    ),
    "lab: uniform groups": Asked(
        "What does leave-one-out make of a group that was scored once?",
        "zeros",
        options=(
            "zeros",
            "one advantage for all, above zero",
            "nothing unusual",
        ),
        because="The mean reward of the batch looks alive: prompts still differ.",
    ),
    "lab: temperature": Asked(
        "Beside the healthy run, the reward of the training samples will be …",
        "better",
        options=(
            "better",
            "the same",
            "worse",
        ),
        because="They come from a sharper policy. Here its entropy falls towards zero.",
    ),
    "lab: padding": Asked(
        "No mask in the trainer. What will the KL to the reference show at step 1?",
        "0, as it should",
        options=(
            "0, as it should",
            "a large number",
            "NaN",
        ),
        because="The reference is wrong in the same way. Nothing raises an error, and the reward rises, if less.",
    ),
    "lab: k3": Asked(
        "Where do the right k3 and the reversed one part?",
        "at tokens that have become more likely",
        options=(
            "at tokens that have become less likely",
            "at tokens that have become more likely",
        ),
        because="The reversed one grows like π/π_ref, the other like its logarithm.",
    ),
    "lab: the sample's entropy": Asked(
        "Two bonuses of one value on average. The mean gradient of the sampled one is …",
        "zero",
        options=(
            "the same",
            "zero",
            "the opposite",
        ),
        because="A score has mean zero; the sampling itself is not differentiated.",
    ),
    "lab: advantage not detached": Asked(
        "Minimising −(R − V) log π over V, with log π < 0: which way is V pushed?",
        "up, without end",
        options=(
            "towards R",
            "up, without end",
            "down, without end",
        ),
        because="The derivative by V is log π, always negative. And the loss falls.",
    ),
    "lab: the end token": Asked(
        "Can the policy still learn to be brief?",
        "a little, by the back door",
        options=(
            "as well as before",
            "a little, by the back door",
            "it grows longer",
        ),
        because="No term raises the chance of stopping; the words that lead to an end are still paid.",
    ),
    "lab: fp16": Asked(
        "How large may a logit be before its exp is too large for fp16?",
        11.09,
        within=0.5,
        because="The run does not stop: the loop skips every update.",
    ),
    "lab: constant reward": Asked(
        "At which step does an alarm dare to say so?",
        "5",
        options=(
            "1",
            "5",
            "never",
        ),
        because="With a hard task, nothing may pass at first. The groups without a gradient show it at once.",
    ),
    "lab: the mystery": Asked("Which of the ten was it?"),
    # 06
    "06: strings made to fool the checker": Asked(
        "How many of these seven pass?",
        within=0,
        because="Read each again: a space is a character, ³ is no digit, and a text that was cut off has not ended.",
    ),
    "06: groups that speak": Asked(
        "Strictly, {p:.1%} pass; a group is G = {G}. Which share of the groups carries a gradient? (0 to 1)",
        within=0.05,
        because="Within the wide tolerance {p_wide:.1%} pass, and {speak:.0%} of groups speak.",
    ),
    "06: the sparse run": Asked(
        "The strict rule alone, for a few steps: how many of the groups will have no gradient?",
        "more than four in five",
        options=(
            "hardly any",
            "about a half",
            "more than four in five",
        ),
        because="And the policy can drift all the same: Adam makes full-sized steps of whatever is left.",
    ),
    "06: what the page's recipe writes": Asked(
        "It passes more than nine in ten of 400 new prompts. How many different texts are among its 400 answers?",
        "fewer than twenty",
        options=(
            "fewer than twenty",
            "about a hundred",
            "nearly four hundred",
        ),
        because="Nothing in this objective pays for a second right answer, and the narrowing length rewards the first.",
    ),
    "06: credit by state": Asked(
        "Same prompts and curriculum, settings of its own. The strict rate after as many steps, beside the run above?",
        "higher",
        options=(
            "lower",
            "about the same",
            "higher",
        ),
        because="Every token is paid its own share, and learns from every draw. (And a batch is used twice.)",
    ),
    "06: without training": Asked(
        "Decoding by the chances of states: how many of a hundred answers of the untouched model will pass?",
        100.0,
        within=3,
        because="Where the rule could no longer be met the chance is 0, and such a token is never drawn.",
    ),
    "06: resume": Asked(
        "With which step will the resumed run go on?",
        5,
        within=0,
        because=(
            "The last checkpoint is that of step 4. Step 5 is done again, and the log has each of its six steps once."
        ),
    ),
    "06: the lost answer": Asked(
        "Two answers are equally good, and the reference likes both. The policy has all but lost the second, π = "
        "1/1000. Which objective pulls it back harder?",
        "the projection",
        options=(
            "the policy gradient",
            "both alike",
            "the projection",
        ),
        because="A token's policy gradient is π (Q − V), next to nothing where π is. The projection's is q − π.",
    ),
    # 07
    "07: nothing of a hundred": Asked(
        "A policy fails on all of 100 prompts. What is the largest true pass rate that is still compatible with "
        "that, at 95 % confidence, in per cent?",
        3.699,
        within=1,
        because="Nothing seen does not mean nothing there.",
    ),
    "07: the zero writer": Asked(
        "Which of these exposes the zero writer?",
        "five words in common",
        options=(
            "the strict rate",
            "distinct completions",
            "five words in common",
            "none of them",
        ),
        because="It passes, and all its strings differ. Distinct completions expose the parrot alone.",
    ),
    "07: an unseen target": Asked(
        "Will the mean length follow the number in the prompt?",
        "it stays where training put it",
        options=(
            "it follows",
            "half-way",
            "it stays where training put it",
        ),
        because="The number never varied in training, so nothing could teach the policy to read it.",
    ),
    "07: several targets": Asked(
        "Six numbers in training, and each text is paid by its own prompt's. What do the trained answers follow?",
        "one length for all",
        options=("their number, trained or not", "the trained numbers alone", "one length for all"),
        because="One length for all earns three quarters of the reward without reading. To read was not found.",
    ),
    # 08
    "08: from 5 to 95": Asked(
        "A method takes the pass rate from 5 % to 95 %. By how much has it reduced the variance of the reward?",
        "not at all",
        options=(
            "by nine tenths",
            "by a half",
            "not at all",
        ),
        because="p(1 − p) is the same at 0.05 and at 0.95. A method that ends at 0 % has reduced it by all there was.",
    ),
    "08: twelve tests": Asked(
        "Twelve independent tests at 5 %, and there is nothing to be found. In which share of such studies does at "
        "least one test find something? (0 to 1)",
        0.4596,
        within=0.1,
        because="All twelve keep silent with probability 0.95¹².",
    ),
    "08: the verdict": Asked(
        "Which schedule beats all three constant weights, each difference significant after the correction?",
        options=(
            "inverse variance",
            "variance",
            "inverse variance and variance",
            "neither",
        ),
    ),
    "08: what to divide by": Asked(
        "Which of them learns faster than RLOO (leave-one-out, no scale), significantly after the correction?",
        options=(
            "GRPO",
            "MaxRL",
            "REINFORCE++",
            "none of them",
        ),
    ),
    "08: who speaks": Asked(
        "One completion in twenty passes. Which split of 32 completions has the largest share of groups that speak?",
        "1 prompt of 32",
        options=("1 prompt of 32", "4 prompts of 8", "16 prompts of 2", "it is the same in all"),
        because="A group is silent where all fail, which 32 do with probability 0.95³² = 19 %, and two with 90 %.",
    ),
    "08: once or twice": Asked(
        "Two clipped updates a batch (PPO). Against which do they win, significantly after the correction: one update "
        "at the same learning rate, or one at twice that rate?",
        options=("both", "the first alone", "the second alone", "neither"),
    ),
    "08: which price is none": Asked(
        "The same weight everywhere. Which price does not hold the policy, as its gradient has the mean 0?",
        "k1 in the loss",
        options=("k1 in the reward", "k1 in the loss", "k3 in the loss", "the exact divergence in the loss"),
        because="E[∇log π] = 0. In the reward k1 is a number that is multiplied by ∇log π, and there it is unbiased.",
    ),
    "08: whose credit": Asked(
        "Which of them learns faster than one advantage a completion (leave-one-out), significantly after the "
        "correction?",
        options=(
            "states",
            "critic, head",
            "critic, model",
            "states and critic, head",
            "states and critic, model",
            "states and critic, head and critic, model",
            "none of them",
        ),
    ),
    "08: whose length": Asked(
        "Divided by the batch's tokens, or by each completion's own length. Which of them ends with another mean "
        "length than the constant does, significantly after the correction?",
        options=(
            "token",
            "sequence",
            "sequence, std",
            "token and sequence",
            "sequence and sequence, std",
            "token and sequence and sequence, std",
            "none of them",
        ),
    ),
    "08: steps or size": Asked(
        "960 completions each. Which of them passes more often at the end than 30 steps of four prompts at the rate "
        "0.0008, significantly after the correction?",
        options=(
            "8 prompts, 0.0008",
            "8 prompts, 0.0016",
            "8 prompts, 0.0008 and 8 prompts, 0.0016",
            "4 prompts, 0.0016",
            "4 prompts, 0.0016 and 8 prompts, 0.0016",
            "none of them",
        ),
    ),
    "08: the rare bit": Asked(
        "One completion in a hundred passes. Which help learns the strict rule faster than the strict bit alone does, "
        "significantly after the correction?",
        options=(
            "parts",
            "widened length",
            "both",
            "widened length and both",
            "parts and both",
            "parts and widened length and both",
            "none of them",
        ),
    ),
    "08: its own or all": Asked(
        "Easy and hard prompts in one batch. Which of them learns faster than a comparison with the whole batch, "
        "without a scale, significantly after the correction?",
        options=(
            "own group",
            "batch, its spread",
            "own group and batch, its spread",
            "none of them",
        ),
    ),
    "08: on the whole job": Asked(
        "Each of these was found in thirty steps. Which of them has that sign in every seed of the whole job?",
        options=(
            "two updates beat one",
            "PPO's clip beats CISPO's",
            "a price costs learning",
            "two updates beat one and PPO's clip beats CISPO's",
            "two updates beat one and a price costs learning",
            "PPO's clip beats CISPO's and a price costs learning",
            "two updates beat one and PPO's clip beats CISPO's and a price costs learning",
            "none of them",
        ),
    ),
    # 09
    "09: a clever schedule": Asked(
        "One prompt, a 0/1 reward. β follows the pass rate, the variance, or what you like, until training rests. "
        "Where does it rest, beside the curve on which fixed weights end?",
        "on it",
        options=(
            "above it",
            "on it",
            "below it",
        ),
        because="At rest β has some value, and for that value the optimum is on the curve.",
    ),
    "09: a falsifier": Asked(
        "Two equal policies, ten prompts, eight completions of each at each prompt, of which 60 % pass. How likely is "
        "the first one's pass rate the lower one at some prompt? (0 to 1)",
        0.994,
        within=0.05,
        because="At one prompt it is two in five, and there are ten of them.",
    ),
    "09: learnt clusters": Asked(
        "Prompts are sorted into easy and hard by the rewards of this very batch; then each completion is compared "
        "with the others of its cluster. Is the gradient biased?",
        "yes, if little",
        options=(
            "no: nobody is compared with itself",
            "yes, if little",
            "yes, it points backwards",
        ),
        because="A completion is not in its own mean, but it has a say in who is.",
    ),
    "09: two documents": Asked(
        "A retriever learns from its two likeliest documents, both read at every step, without any sampling. The one "
        "that helps (85 %) stands last of six. Where is the pass rate after 1000 steps?",
        "about 30 %",
        options=(
            "about 15 %",
            "about 30 %",
            "about 85 %",
        ),
        because="The third moves up when one of the two is pushed down; the last one has not been read by then.",
    ),
    "09: unseen articles": Asked(
        "A matrix of 147,456 numbers learns from the bits of 96 questions which article to read, and gets better at "
        "them. And the 48 questions about other articles?",
        "they get worse",
        options=("they get better by as much", "they get better by less", "they stay as they are", "they get worse"),
        because="What the encoder knew of all articles is spent on the 96; see the right side of the figure.",
    ),
    "09: enough preferences": Asked(
        "300 noisy preferences make a proxy, and a policy climbs it; at first the gold rises with it. Then the reward "
        "model is fitted again, to all preferences in the world, without any noise. How does the gold end this time?",
        "below the reference's, as before",
        options=(
            "at its highest: there is no noise to exploit",
            "lower than its highest, above the reference's",
            "below the reference's, as before",
        ),
        because="More of the same pairs do not show what the model cannot see.",
    ),
    "09: its own token alone": Asked(
        "A student is to come near its teacher, in KL(π ‖ π_T). Each token that it writes is paid log π_T − log π, and "
        "is credited with that alone. Is the mean gradient the right one?",
        "no: it leaves out where a token leads",
        options=(
            "yes: the tokens' terms sum to the KL",
            "yes, but for its length",
            "no: it leaves out where a token leads",
        ),
        because="The KL is a return; a token is responsible for what is paid after it, too.",
    ),
    "09: entropy and difficulty": Asked(
        "In the third family the reference gives the right answer in 5 to 80 % of cases, and one wrong answer else. "
        "Before any training: on which prompts has it more entropy?",
        "on the whole, the easier ones",
        options=(
            "the harder ones",
            "on the whole, the easier ones",
            "all alike",
        ),
        because="Where it nearly always gives the wrong answer, it is nearly decided.",
    ),
    # 10
    "10: four bits": Asked(
        "The weights of this policy are rounded to 4 bits. Which number will show it most clearly?",
        "KL to the policy",
        options=["the pass rate", "distinct completions", "KL to the policy"],
        because="A pass rate of sixty prompts has an interval of ten points and more; KL is read off every token.",
    ),
    "10: a greedy server": Asked(
        "A server that always takes the likeliest token is asked for one completion of each of many prompts. What "
        "happens to the pass rate?",
        "nothing that one would notice",
        options=["it falls to zero", "nothing that one would notice", "it falls by half"],
        because=(
            "Each prompt still has its own likeliest completion, and that was trained to pass. Ask one prompt twice."
        ),
    ),
    "10: sixteen clients": Asked(
        "The server writes four completions at a time. With 16 clients in place of 4, and the same throughput, latency "
        "becomes …",
        "four times as long",
        options=["the same", "twice as long", "four times as long", "sixteen times as long"],
        because="Inside = rate × time. Four times as many are inside, and the rate stands still: they wait in line.",
    ),
}
