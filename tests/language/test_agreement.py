"""Architecture × (sampler = trainer = the model's own forward): tiny random models of many families."""

import copy

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from policy_gradients.language.agreement import check_agreement, is_padded, own_log_probs
from policy_gradients.language.models import ModelError, frozen_copy, load_model
from policy_gradients.language.rollout import generate
from policy_gradients.language.scoring import CompletionScorer

SIZES = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
GEMMA = {"head_dim": 8, "query_pre_attn_scalar": 8}
EXPERTS = {"num_experts": 4, "moe_intermediate_size": 16, "num_experts_per_tok": 2}
LATENT = {
    "num_key_value_heads": 4, "kv_lora_rank": 8, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "v_head_dim": 8, "n_routed_experts": 4, "moe_intermediate_size": 16, "n_group": 1, "topk_group": 1,
    "num_experts_per_tok": 2,
}  # fmt: skip
# those of later releases of transformers are left out where they are not known
PACKED = {
    "qwen2": {}, "llama": {}, "gpt2": GPT, "mistral": {}, "mixtral": {"num_local_experts": 4}, "qwen3": {"head_dim": 8},
    "qwen3_moe": {"head_dim": 8, **EXPERTS}, "gemma": {"head_dim": 8}, "gemma3_text": GEMMA, "phi3": {}, "olmo": {},
    "olmo2": {}, "starcoder2": {}, "gpt_neox": {}, "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "glm": {"head_dim": 8}, "glm4": {"head_dim": 8}, "persimmon": {}, "smollm3": {}, "helium": {"head_dim": 8},
    "arcee": {}, "gpt_bigcode": GPT, "biogpt": {}, "qwen2_moe": {**EXPERTS, "shared_expert_intermediate_size": 16},
    "phimoe": {"num_local_experts": 4},
}  # fmt: skip
PADDED = {
    # after the head: scales, caps and biases
    "granite": {"logits_scaling": 8.0},
    "granitemoe": {"logits_scaling": 8.0, "num_local_experts": 4},
    "gemma2": GEMMA,
    "cohere": {"logit_scale": 0.25},
    "cohere2": {"logit_scale": 0.25},
    "phi": {},
    "ctrl": {**GPT, "dff": 48},
    # attention of their own
    "falcon": {},
    "gpt_neo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 8},
    "gptj": {**GPT, "rotary_dim": 4},
    "codegen": {**GPT, "rotary_dim": 4},
    "bloom": {"n_layer": 2, "n_head": 4},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 128},
    "stablelm": {},
    "nemotron": {},
    "deepseek_v2": {**LATENT, "q_lora_rank": None},
    "deepseek_v3": LATENT,
    "openai-gpt": GPT,
    "diffllama": {},
    "xglm": {"d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 48},
    "roberta": {"is_decoder": True},
    "gpt_oss": {"num_local_experts": 4, "head_dim": 8, "sliding_window": 8},
    # convolutions and states
    "mamba": {"state_size": 4},
    "mamba2": {"state_size": 4, "num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 8},
    "jamba": {
        "num_experts": 2,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "mamba_d_state": 4,
        "use_mamba_kernels": False,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "rwkv": {"attention_hidden_size": 32},
}
FAMILIES = {**PACKED, **PADDED}
PROMPTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13], [14]]


def micro(family, **changes):
    torch.manual_seed(0)
    try:
        config = AutoConfig.for_model(family, **{**SIZES, **FAMILIES.get(family, {}), **changes})
    except ValueError:
        pytest.skip(f"this release of transformers has no {family}")
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():  # larger than the usual initialisation: distributions that are not uniform
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_sampler_trainer_and_forward_give_one_log_prob(family):
    model = micro(family)
    before = copy.deepcopy(model.state_dict())
    assert check_agreement(model).difference < 1e-5
    # a small model of a new release may move from one list to the other; these three are what the course runs on
    assert is_padded(model) == (family in PADDED) or family not in ("qwen2", "llama", "gpt2")
    numbers = torch.rand(6, 9, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    rollout = generate(model, PROMPTS, 2, numbers, [*range(20, 40)], pad_id=0)
    with torch.no_grad():
        own = own_log_probs(model, PROMPTS, rollout)
        trained = CompletionScorer(model)(rollout).log_probs
    torch.testing.assert_close(rollout.log_probs, own, atol=1e-5, rtol=0)
    torch.testing.assert_close(trained, own, atol=1e-5, rtol=0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_table_is_long():
    assert len(FAMILIES) >= 50 and len(PACKED) >= 20


@pytest.mark.parametrize("family", ["granite", "phi", "mpt"])
def test_the_padded_path_equals_the_plain_forward_in_gradient_too(family):
    model = micro(family)
    assert is_padded(model)  # found out at the first use
    reference = frozen_copy(model)
    assert is_padded(reference)
    for parameter in reference.parameters():
        parameter.data *= 1.1
    numbers = torch.rand(6, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    rollout = generate(model, PROMPTS, 2, numbers, [*range(20, 50)], 0, 0.7)
    scores = CompletionScorer(model)(rollout, 0.7, reference, with_prompts=True)
    found, gradients = [scores.log_probs, scores.entropy, scores.kl], []
    plain = [torch.zeros_like(scores.log_probs) for _ in found]
    for row, (ids, length) in enumerate(zip(rollout.completion_ids, rollout.mask.sum(1).long().tolist(), strict=True)):
        prompt = PROMPTS[row // 2]
        ids = torch.tensor([prompt + ids[:length].tolist()])
        log_pi = (model(input_ids=ids).logits[0] / 0.7).log_softmax(-1)
        with torch.no_grad():
            log_ref = (reference(input_ids=ids).logits[0] / 0.7).log_softmax(-1)
        kl = (log_pi.exp() * (log_pi - log_ref)).sum(-1)
        torch.testing.assert_close(scores.prompt_kl[row // 2, -len(prompt) :], kl[: len(prompt)], atol=1e-5, rtol=1e-4)
        log_pi, kl = log_pi[len(prompt) - 1 : -1], kl[len(prompt) - 1 : -1]
        chosen = log_pi.gather(1, ids[0, len(prompt) :].unsqueeze(1)).squeeze(1)
        for column, values in zip(plain, (chosen, -(log_pi.exp() * log_pi).sum(-1), kl), strict=True):
            column[row, :length] = values
    for columns in (found, plain):
        model.zero_grad()
        sum((i + 1) * column.sum() for i, column in enumerate(columns)).backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for a, b in zip(found, plain, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_a_critic_on_the_padded_path_looks_at_states(tokenizer):
    model = micro("granite")
    numbers = torch.rand(6, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    rollout = generate(model, PROMPTS, 2, numbers, [2], 0)
    seen = {}

    def critic(rollout, hidden):
        seen["shape"] = hidden.shape
        return hidden.mean(-1)

    CompletionScorer(model, critic=critic)(rollout)
    assert seen["shape"] == (6, rollout.mask.shape[1], 32)


@pytest.mark.parametrize("name, changes", [("BertLMHeadModel", {}), ("RobertaForCausalLM", {"is_decoder": False})])
def test_a_model_that_sees_what_comes_after_is_refused_by_name(name, changes):
    model = micro("bert" if "Bert" in name else "roberta", **changes)
    with pytest.raises(ModelError, match=f"^{name} is not supported: .* choose another model$"):
        check_agreement(model)
    with pytest.raises(ModelError, match=name):  # whoever goes on all the same hears it again
        generate(model, PROMPTS, 1, torch.rand(3, 4), [2], 0)


def test_weights_that_are_not_finite_are_refused():
    model = micro("llama")
    model.model.norm.weight.data[3] = torch.nan
    with pytest.raises(ModelError, match=r"LlamaForCausalLM .* are its weights whole"):
        check_agreement(model)


def test_a_window_that_prompt_and_completion_fit_into_is_no_reason_to_pad():
    model = micro("mistral", sliding_window=40)
    assert not check_agreement(model).padded
    found = check_agreement(model, longest=64)  # what this run needs
    assert found.padded and "sliding_window=40" in found.packed_failure


def test_the_check_draws_no_global_numbers_and_keeps_mode_and_attention():
    model = micro("falcon").train()
    attention, state = model.config._attn_implementation, torch.random.get_rng_state()
    check_agreement(model)
    assert model.training and model.config._attn_implementation == attention
    assert torch.equal(torch.random.get_rng_state(), state)


def test_loading_checks(tokenizer, tmp_path):
    micro("granite", vocab_size=len(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model, _ = load_model(str(tmp_path))
    assert model.reads_padded and model.base_model.reads_padded
    micro("bert", vocab_size=len(tokenizer)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="BertLMHeadModel is not supported"):
        load_model(str(tmp_path))
