# ---
# jupyter:
#   accelerator: GPU
#   colab:
#     gpuType: T4
#     provenance: []
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 · Is what is served the policy that was trained?
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/policy-gradients/blob/main/notebooks/10_deploy.ipynb)
#
# A tuned policy becomes useful when somebody else can ask it. On the way there its weights are rounded, its tokenizer is
# rewritten, its sampling is set by a server's defaults. Each of these makes another policy, and none of them raises an
# error. This notebook starts a real server, measures how it behaves under load, and asks the question first.
#
# **Afterwards you can**
#
# - export a policy for a server, and check that the files are the policy;
# - say what 8 bits cost, with a number that sees it;
# - find out from a server's answers which sampler it uses;
# - measure latency, throughput and a prefix cache without fooling yourself.
#
# | | |
# | --- | --- |
# | to read and think | 30 min, and 34 min for the four exercises |
# | to run | under 3 min on two CPU cores, no GPU, with the tier `tiny`; cells for a GPU are skipped without one |
# | needs | [notebook 07](07_evaluation.ipynb): pass rates with intervals, and KL; `pip install 'policy-gradients[deploy]'` |

# %%
# @title Setup: on Colab this installs the course, elsewhere it does nothing
from importlib.util import find_spec

if find_spec("policy_gradients") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/OWNER/policy-gradients")  # noqa: F821

# %%
from policy_gradients.course.diagram import five_steps
from policy_gradients.course.display import show

show(five_steps("10_deploy"))

# %%
if find_spec("xllamacpp") is None:  # the extra `deploy` brings these
    pip = get_ipython().run_line_magic  # noqa: F821
    pip("pip", "install -q xllamacpp gguf bitsandbytes")

# %%
import math
import shutil
import tempfile
from pathlib import Path

import torch

from policy_gradients.course.display import Table
from policy_gradients.course.exercises import check, hint, progress, solution  # noqa: F401
from policy_gradients.course.predictions import ask

PROMPTS = 60  # held-out prompts of every comparison below

# %%
folder = Path(tempfile.mkdtemp(), "run")
shipped = Path("../results/tiny/seed-0")
if (shipped / "model").is_dir():
    shutil.copytree(shipped, folder)  # exports are written beside the model: into a copy

# %% [markdown]
# Where only the package is installed, a short run stands in; its policy has hardly begun to learn.

# %%
from policy_gradients.training.loop import train
from policy_gradients.training.presets import preset

if not folder.exists():
    train(preset("tiny", max_steps=20), folder, progress=False)

# %% [markdown]
# ## 1. Files that are the policy
#
# llama.cpp reads one GGUF file: weights, tokenizer, chat template, and how to sample. `export_policy` writes it, reads it
# back through the server, and compares log-probs of the likeliest tokens after a few texts. In 32 bits only rounding may
# differ. Fewer bits are allowed to differ: what that costs is measured further down.

# %%
from policy_gradients.deploy.export import export_policy

exports = {dtype: export_policy(folder, "gguf", dtype) for dtype in ("f32", "q8_0", "q4_0")}
rows = [[dtype, f"{e.megabytes:.1f}", f"{e.difference:.2g}"] for dtype, e in exports.items()]
Table(["weights", "MB", "largest difference of a log-prob, nats"], rows)

# %% [markdown]
# `q8_0` keeps 8 bits a weight, and one scale for 32 of them; `q4_0` keeps 4. One thing did not survive: this policy's
# tokens are pairs of characters, and llama.cpp knows a fixed list of ways to cut text, by name. Pairs are not on it.

# %%
print("llama.cpp cuts text into this policy's tokens:", exports["f32"].cuts_text_alike)

# %% [markdown]
# So prompts are sent as token ids, which no tokenizer can misread; the same `/v1/completions` takes them. In a model
# with a common tokenizer (SmolLM2, Qwen2.5) text arrives as it was meant.
#
# ## 2. A server, and its end
#
# `start_server` starts a real one as a process of its own, waits until `/health` answers, and ends it for certain: also
# if this kernel dies. At the command line: `policy-gradients serve DIR`.

# %%
from policy_gradients.deploy.servers import ServerOptions, start_server

server = start_server(exports["f32"].path, options=ServerOptions(port=0, threads=1))
print(f"ready in {server.started_in:.2f} s, {server.megabytes():.0f} MB")

# %%
from policy_gradients.deploy.client import Client
from policy_gradients.deploy.served import next_logits, subject_of

policy = subject_of(folder)
prompt = policy.task.prompt(policy.tokenizer, policy.task.heldout[0], policy.config.max_prompt_tokens)
with Client(server.url) as client:
    answer = client.complete(prompt, 40, temperature=1.0, logprobs=1, seed=0)
print(answer.text, f"| ended by itself: {answer.finished}, {1000 * answer.seconds:.0f} ms", sep="\n")

# %% [markdown]
# ## 3. Is it the same policy?
#
# The server reports the log-prob of each token that it chose. The policy in this process has an opinion on the same
# tokens. From both comes an estimate of KL(served ‖ policy), and no other access to the server is needed.

# %% [markdown]
# **Exercise: A server's divergence, from its own log-probs** (★★, 12 min). It is k3 again. Who sampled here?


# %%
def server_divergence(policy, served):
    """k3 estimate of KL(served ‖ policy), in nats, from both log-probs of the server's tokens, (tokens,) each."""
    return ...  # your code here


# %%
server_divergence = check(server_divergence)
# hint(server_divergence)  # without the #: a hint, and the next one each time
# solution(server_divergence)

# %%
with torch.no_grad():
    logits = next_logits(policy.model, prompt, answer.token_ids)
own = logits.double().log_softmax(-1).gather(-1, torch.tensor(answer.token_ids)[:, None])[:, 0]
one = server_divergence(own, torch.tensor(answer.log_probs, dtype=torch.double))
print(f"{one:.1e} nats, over the {len(own)} tokens of this answer")

# %% [markdown]
# One answer says little; `evaluate_server` asks for one completion of every prompt, and puts the table of notebook 07 over
# HTTP beside the same in process. At the command line: `policy-gradients evaluate DIR --server URL`.

# %%
from policy_gradients.cli_deploy import served_table
from policy_gradients.deploy.served import evaluate_server

report = evaluate_server(policy, server.url, num_prompts=PROMPTS)
print(served_table(report).partition(f"{server.url}\n")[2])

# %% [markdown]
# The last line is what was said of tokens above: *sent as text*, the prompt would arrive as another one.
#
# ## 4. Eight bits, four bits
#
# Pinsker's inequality bounds what a divergence can do: two policies at KL = k differ in the probability of *anything*,
# passing included, by at most $\sqrt{k/2}$. A small KL is a guarantee. An equal pass rate guarantees nothing.

# %%
ask("10: four bits")

# %%
reports = {"f32": report}
for dtype in ("q8_0", "q4_0"):
    with start_server(exports[dtype].path, options=ServerOptions(port=0, threads=1)) as other:
        reports[dtype] = evaluate_server(policy, other.url, num_prompts=PROMPTS)

# %%
from policy_gradients.deploy.rounded import evaluate_bnb8

bnb8 = export_policy(folder, "bnb8")
rounded = evaluate_bnb8(bnb8.path, policy, PROMPTS)


# %%
def line(name, megabytes, texts, kl, error):
    """A row of the table: what is served, its size, and how far it is from the policy."""
    low, high = texts["pass_rate_interval"]
    rate = f"{texts['pass_rate']:.0%} [{low:.0%}, {high:.0%}]"
    return [name, f"{megabytes:.1f}", rate, f"{kl:.2g} ± {error:.1g}", f"{min(1, math.sqrt(kl / 2)):.1%}"]


rows = [
    line(f"llama.cpp {d}", exports[d].megabytes, r["served"], r["kl"], r["kl_standard_error"])
    for d, r in reports.items()
]
rows.append(line("bitsandbytes, 8 bits", bnb8.megabytes, rounded, rounded["kl"], rounded["kl_standard_error"]))
Table(["served", "MB", "strict pass rate", "KL, nats a completion", "moves a rate by at most"], rows)

# %% [markdown]
# The intervals of the pass rates overlap. From 32 bits to 8, and from 8 to 4, the KLs lie orders of magnitude apart; the two ways
# to 8 bits cost about the same. bitsandbytes was measured in this process, with the KL exact at each token. It rounds *activations*
# too, and a feature that is large for one token of a batch is left unrounded for all of them: so a log-prob can depend on who
# else is in the batch. That is why `load_model` refuses such a folder for training.
#
# ## 5. The same weights, another sampler
#
# A server has opinions. llama.cpp's own defaults are temperature 0.8, top_k 40, top_p 0.95 and min_p 0.05, and a client that
# sets temperature and top_p to 1 still gets the other two, unless the file says otherwise. Ours does.

# %%
ask("10: a greedy server")

# %%
wrong = {"as exported": {}, "greedy": {"temperature": 0}, "min_p 0.05": {"min_p": 0.05}, "no end": {"ignore_eos": True}}
found = {name: evaluate_server(policy, server.url, num_prompts=24, fields=sent) for name, sent in wrong.items()}
rows = []
for name, r in found.items():
    said = [f for f in r["findings"] if not f.startswith("sent as")]
    rows.append(
        [name, f"{r['served']['pass_rate']:.0%}", f"{r['distinct_of_one_prompt']} of 8", "; ".join(said) or "–"]
    )
Table(["setting", "pass rate", "distinct, one prompt", "what was found"], rows)

# %% [markdown]
# How is a sampler found out? By likelihood. Under each usual setting the chosen tokens have a probability; if one of them
# explains the tokens better than the policy does, by a factor of $e^{10}$, it is named. Were the tokens the policy's own,
# that would happen with probability $e^{-10}$ at most for each setting (Ville 1939), and for all 21 that are tried, less than one
# time in a thousand.
#
# ## 6. Under load
#
# Now the other question. Clients ask at the same time, each again as soon as it has its answer. Times were taken beside
# whatever else this machine was doing: read them as orders of magnitude, and run the cell for yours.

# %% [markdown]
# **Exercise: A percentile from raw times** (★, 8 min). At least so large a share of the times lies at or below it.


# %%
def percentile(times, share):
    """The smallest of the times that at least this share (such as 0.95) of all times does not exceed."""
    return ...  # your code here


# %%
percentile = check(percentile)
# hint(percentile)  # without the #: a hint, and the next one each time
# solution(percentile)

# %% [markdown]
# Every prompt is sent once: a repeated prompt measures the cache. Prompts of the kind *shared* begin with the same hundred
# tokens, as a system prompt would; *unshared* ones have nothing in common. Two requests with texts of their own warm up.

# %%
from policy_gradients.course.live import LivePlot
from policy_gradients.deploy.loadtest import Load, load_test

load = Load(concurrency=(1, 4, 16), requests=32)
with LivePlot("latency", "first_token", "concurrency", total=192, columns=3, unit="request") as live:
    loaded = load_test(
        server.url,
        load,
        on_request=lambda row: live.log(
            step=row["request"], **{k: row[k] for k in ("latency", "first_token", "concurrency")}
        ),
    )

# %%
rows = []
for level in loaded["levels"]:
    times, first = level["latencies_ms"], level["first_tokens_ms"]
    row = [level["prefix"], level["concurrency"], *(f"{percentile(times, p):.0f}" for p in (0.5, 0.95))]
    rows.append(
        [*row, f"{percentile(first, 0.5):.1f}", f"{level['tokens_per_second']:.0f}", f"{level['cache']['share']:.0%}"]
    )
Table(["prefix", "clients", "p50 ms", "p95 ms", "first token p50 ms", "tokens/s", "from cache"], rows)

# %%
from policy_gradients.course.load_figures import under_load

show(under_load(loaded))

# %% [markdown]
# **Exercise: Little's law** (★★, 8 min). What latency follows from the throughput alone?


# %%
def expected_latency(clients, per_second):
    """Mean latency in ms, if so many clients ask again at once and so many requests a second are answered."""
    return ...  # your code here


# %%
expected_latency = check(expected_latency)
# hint(expected_latency)  # without the #: a hint, and the next one each time
# solution(expected_latency)

# %%
ask("10: sixteen clients")

# %%
rows = []
for level in loaded["levels"]:
    mean = sum(level["latencies_ms"]) / len(level["latencies_ms"])
    rows.append(
        [
            level["prefix"],
            level["concurrency"],
            f"{mean:.0f}",
            f"{expected_latency(level['concurrency'], level['requests_per_second']):.0f}",
        ]
    )
Table(["prefix", "clients", "mean latency, ms", "by Little's law, ms"], rows)

# %% [markdown]
# The law is exact for a long run. Of 32 requests by 16 clients, the first come to an empty server and the last leave one, so they
# wait less than it says.
#
# ## 7. The prefix cache, on and off
#
# Keys and values of a prompt depend on nothing behind it. So a prompt that begins as an earlier one did need not be computed
# from its first token.

# %% [markdown]
# **Exercise: The share of a cache** (★, 6 min). Counters of a server only ever grow.


# %%
def cache_share(before, after):
    """Share of prompt tokens taken from the cache between two readings of {"cached": …, "computed": …} counters."""
    return ...  # your code here


# %%
cache_share = check(cache_share)
# hint(cache_share)  # without the #: a hint, and the next one each time
# solution(cache_share)


# %%
def counted(url):
    """The server's counters of prompt tokens."""
    with Client(url) as client:
        counters = client.counters()
    return {
        "cached": counters["llamacpp:prompt_tokens_cached_total"],
        "computed": counters["llamacpp:prompt_tokens_total"],
    }


rows, alone = [], Load(concurrency=(1,), requests=16, prefixes=("shared",))
for on in (True, False):
    with start_server(exports["f32"].path, options=ServerOptions(port=0, threads=1, prefix_cache=on)) as other:
        before = counted(other.url)
        [level] = load_test(other.url, alone)["levels"]
        share = cache_share(before, counted(other.url))
    late, first = (percentile(level[key], 0.5) for key in ("latencies_ms", "first_tokens_ms"))
    rows.append(["on" if on else "off", f"{share:.0%}", f"{first:.1f}", f"{late:.0f}"])
Table(["prefix cache", "of prompt tokens", "first token p50, ms", "p50, ms"], rows)

# %% [markdown]
# The share is below that of the table above: these counters hold the two warm-up requests too, and of sixteen requests, not 32, the
# first finds an empty cache. The cache saves time before the *first* token; writing the rest takes as long as it did.
#
# ## 8. What a million tokens cost
#
# Throughput turns a machine's price into the price of a token. The price below is made up: put your own in.

# %%
PRICE = 0.10  # of an hour of this machine, in any currency
best = max(loaded["levels"], key=lambda level: level["tokens_per_second"])
hours = 1e6 / best["tokens_per_second"] / 3600
print(
    f"{best['concurrency']} clients, {best['prefix']}: {best['tokens_per_second']:.0f} tokens/s, {PRICE * hours:.3f} for a million"
)

# %%
server.stop()
print("still running:", server.alive())

# %% [markdown]
# ## 9. On a GPU: vLLM
#
# The course's [source page](../docs/bibliography.md#the-source-page) quantises to 8 bits with bitsandbytes and serves with vLLM on an
# A10. Read today, the page's recipe is out of date: since vLLM 0.28 bitsandbytes lives in a plug-in (`vllm-bnb-plugin`), and
# `--quantization bitsandbytes` on a plain folder means **4** bits. 8 bits need a folder that was rounded before,
# which is what `--format bnb8` writes. vLLM wants an environment of its own.
#
# | GPU | command |
# | --- | --- |
# | A10, bf16 | `policy-gradients serve DIR --server vllm --python VLLM/bin/python` |
# | A10, 8 bits | `policy-gradients export DIR --format bnb8`, then `policy-gradients serve DIR/export/bnb8-f32 --server vllm --python VLLM/bin/python --extra --enforce-eager` |
# | T4 (no bf16) | the same with `--extra --dtype half` |
#
# Then `loadtest` and `evaluate --server` as above. For a second opinion on load, `vllm bench serve` and guidellm are well kept.

# %%
if torch.cuda.is_available() and find_spec("vllm"):
    half = ("--dtype", "half") if torch.cuda.get_device_capability() < (8, 0) else ()
    exported = export_policy(folder, "hf")
    with start_server(exported.path, "vllm", ServerOptions(port=0, extra=half)) as gpu:
        print(served_table(evaluate_server(policy, gpu.url, num_prompts=PROMPTS)))
else:
    print("no CUDA device with vLLM here: skipped")

# %% [markdown]
# Recorded on a CPU with vLLM 0.32 (a third party's CPU build, machine not noted; not run again here): 31 to 54 s to start
# and 3.2 GB; KL by k3 1e-7 in f32 and 0.045 in 8 bits; SmolLM2 with the prefix cache on and off: p50 732 and 1016 ms, first
# token 99 and 306 ms.

# %%
progress()

# %% [markdown]
# ## References
#
# 1. Little (1961). A proof for the queuing formula L = λW. *Operations Research* 9:383–387.
# 2. Dettmers et al. (2022). LLM.int8(): 8-bit matrix multiplication for transformers at scale.
#    [arXiv:2208.07339](https://arxiv.org/abs/2208.07339)
# 3. Kwon et al. (2023). Efficient memory management for large language model serving with PagedAttention.
#    [arXiv:2309.06180](https://arxiv.org/abs/2309.06180)
# 4. Ville (1939). *Étude critique de la notion de collectif*. Gauthier-Villars.
# 5. Schulman (2020). Approximating KL divergence. [joschu.net/blog/kl-approx.html](http://joschu.net/blog/kl-approx.html)

# %% [markdown]
# ## Onward
#
# A server is a policy of its own until it was compared. Its log-probs show what rounding did to the weights, its tokens
# show its sampler, and a count of prompt tokens shows what it read. Latency is a distribution and a queue, so percentiles
# and Little's law describe it, and prompts that were sent before do not.
#
# Not shown: a server that is updated while it serves, and a policy that goes on learning from what it is asked.
#
# Next: back to the lab, [What does each classic bug look like?](break_it.ipynb), 40 min to read and 20 min of exercises.
