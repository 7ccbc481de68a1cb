import http.server
import json
import threading

import pytest

from policy_gradients.training.loop import train
from policy_gradients.training.presets import preset


@pytest.fixture(scope="session")
def run_folder(micro_folder, tmp_path_factory):
    """A finished run of two steps, of a micro model."""
    settings = {"num_prompts": 2, "num_generations": 4, "max_new_tokens": 8, "max_prompt_tokens": 128, "max_steps": 2}
    config = preset("tiny", model=str(micro_folder), precision="no", rule="digits%3=0", **settings)
    return train(config, tmp_path_factory.mktemp("deploy") / "run", progress=False)


@pytest.fixture
def server_of():
    """Servers that misbehave: `server_of(answer)` serves /v1/models, and what `answer(handler)` does with a POST."""
    started = []

    def start(answer):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = json.dumps({"data": [{"id": "policy"}]}).encode() if self.path == "/v1/models" else b""
                self.send_response(200 if body else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                answer(self)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in started:
        server.shutdown()
        server.server_close()
