"""What AutoModel and AutoTokenizer make of a folder. Run as a file it needs nothing of this package, as a stranger."""

import json
import sys
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

SAMPLING = ("do_sample", "temperature", "top_p", "top_k", "eos_token_id", "pad_token_id")


def read(folder: str, texts: list[str], probes: list[list[int]], dtype: str) -> dict[str, Any]:
    """Tokens of the texts, log-probs of what follows each probe (token ids), and how the folder says to sample."""
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), local_files_only=True).eval()
    return {
        "ids": [tokenizer.encode(text, add_special_tokens=False) for text in texts],
        "last": [last_log_probs(model, probe) for probe in probes],
        "sampling": {key: getattr(model.generation_config, key) for key in SAMPLING},
    }


def last_log_probs(model: Any, ids: list[int]) -> list[float]:
    """Of every next token behind these, by the model's own forward."""
    device = next(model.parameters()).device
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        return model(input_ids=torch.tensor([ids], device=device)).logits[0, -1].double().log_softmax(-1).tolist()


if __name__ == "__main__":
    print("\n" + json.dumps(read(sys.argv[1], **json.load(sys.stdin))))
