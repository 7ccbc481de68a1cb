"""The process of an embedded llama.cpp server: `python -m policy_gradients.deploy.llamacpp_server FILE.gguf …`."""

import argparse
import os
import signal
import sys
import threading


def main() -> None:
    """Serve one GGUF file until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--name", default="policy")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parallel", type=int, default=4, help="completions written at the same time")
    parser.add_argument("--context", type=int, default=0, help="tokens of one sequence; 0: the model's own limit")
    parser.add_argument("--no-prefix-cache", action="store_true")
    parser.add_argument("--chat-template", default="")
    for name, kind in (("temperature", float), ("top_p", float), ("top_k", int), ("min_p", float)):
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help="a default instead of the file's")
    options = parser.parse_args()

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = options.file
    params.hostnames, params.port = [options.host], options.port
    params.model_alias = {options.name}
    params.n_parallel, params.n_ctx = options.parallel, options.context * options.parallel
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    # more connections may wait than completions are written: a client gets in line, not turned away
    params.n_threads_http = 64
    params.cache_prompt, params.cache_ram_mib = not options.no_prefix_cache, 0
    params.cache_idle_slots = False
    params.cache_type_k = params.cache_type_v = 0  # float32 keys and values: rounding is the export's decision
    # its flash attention rounds queries to 16 bits, which alone moves log-probs by a hundredth of a nat
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.fit_params = False  # do not shrink anything to fit
    params.endpoint_metrics, params.endpoint_slots, params.ui = True, True, False
    if options.chat_template:
        params.chat_template = options.chat_template
    for theirs, ours in (("temp", "temperature"), ("top_p", "top_p"), ("top_k", "top_k"), ("min_p", "min_p")):
        if (value := getattr(options, ours)) is not None:
            setattr(params.sampling, theirs, value)
            # what is marked as set by hand goes before what the file says
            bit = getattr(xllamacpp.common_params_sampling_config, f"COMMON_PARAMS_SAMPLING_CONFIG_{theirs.upper()}")
            params.sampling.user_sampling_config |= int(bit)
    server = xllamacpp.Server(params)
    print(f"serving {options.file} on {server.listening_address}", flush=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):  # after the server: it installs handlers of its own
        signal.signal(number, lambda *_: stop.set())
    while not stop.wait(0.2):
        pass
    sys.stdout.flush()
    os._exit(0)  # its threads may be in the middle of a completion that nobody waits for


if __name__ == "__main__":
    main()
