"""What is made of an engine's log-probabilities, and of a vLLM server that fails. Real engines: test_vllm_*.py."""

import math
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest
import torch
from trl.generation import vllm_client
from trl.generation.vllm_client import VLLMClient

from mgrpo.errors import UserError
from mgrpo.training.sampling.entropy import entropy_from_top_log_probs
from mgrpo.training.sampling.vllm import sampled_alone
from mgrpo.training.sampling.vllm_server import clear_server_errors


def test_entropies_of_the_likeliest_tokens():
    half, quarter = math.log(0.5), math.log(0.25)
    rows = [
        # 1/2, 1/4 and the rest, 1/4: 1/2 ln 2 + 2/4 ln 4 = 1.5 ln 2; a certain token: 0; their mean
        ([[half, quarter], [0.0, -math.inf]], [half, 0.0], 0.75),
        # 1/2 twice: ln 2, and nothing is left
        ([[half, half]], [half], 1.0),
        # a value that the engine could not give is no probability: 1/2 and the rest: ln 2
        ([[half, None]], [half], 1.0),
        # of the rest, 1/4, a token of 1/16 was sampled: ln 16 - ln 4 = 2 ln 2 more
        ([[half, quarter]], [math.log(1 / 16)], 3.5),
    ]
    found = entropy_from_top_log_probs([top for top, _, _ in rows], [sampled for _, sampled, _ in rows])
    torch.testing.assert_close(found, torch.tensor([value for _, _, value in rows]) * math.log(2))


def test_the_estimate_has_no_bias():
    p = torch.tensor([0.3, 0.25, 0.2, 0.15, 0.07, 0.03]).double()
    top = p.log()[:2].tolist()
    estimates = entropy_from_top_log_probs([[top]] * 6, [[value] for value in p.log().tolist()]).double()
    torch.testing.assert_close((p * estimates).sum(), torch.special.entr(p).sum(), atol=1e-6, rtol=0)


def test_the_sampled_tokens_log_probability_is_found():
    log_probs = [[[-0.1, -3.0, -9.0], [-0.2, -2.0]]]
    token_ids = [[[5, 6, 70], [5, 6]]]
    assert sampled_alone([[70, 5]], log_probs, token_ids) == ([[[-9.0], [-0.2]]], [[[70], [5]]])


class Server(BaseHTTPRequestHandler):
    """A vLLM server, as far as TRL's client asks, whose completions fail in the way that it is told."""

    failure = ""
    is_over = Event()

    def do_GET(self):
        self._answer(200, b'{"data": [{"id": "model"}]}')

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.failure == "is silent":
            self.is_over.wait(60)
        elif self.failure == "dies":
            self.connection.close()
        else:
            self._answer(400, b"EngineDeadError")

    def _answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.mark.parametrize(
    ("failure", "said"),
    [("is silent", "Read timed out"), ("dies", "Connection"), ("refuses", "Request failed: 400, EngineDeadError")],
)
def test_a_server_that_fails_is_told_in_a_sentence(monkeypatch, make_config, failure, said):
    monkeypatch.setattr(vllm_client, "is_vllm_available", lambda: True)
    monkeypatch.setattr(Server, "failure", failure)
    Server.is_over.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        config = make_config()
        config.vllm_mode, config.vllm_server_base_url, config.ddp_timeout = "server", url, 1
        client = VLLMClient(base_url=url)
        try:
            with (
                pytest.raises(UserError, match=rf"the vLLM server at {url} failed: .*{said}.* last checkpoint"),
                clear_server_errors(config, client),
            ):
                client.generate([[1, 2]])
        finally:
            Server.is_over.set()
            server.shutdown()


def test_a_server_that_is_not_there(monkeypatch, make_config):
    monkeypatch.setattr(vllm_client, "is_vllm_available", lambda: True)
    config = make_config()
    config.vllm_mode, config.vllm_server_base_url = "server", "http://127.0.0.1:9"
    with (
        pytest.raises(UserError, match="127.0.0.1:9 failed: The vLLM server can't be reached at .* See its log"),
        clear_server_errors(config),
    ):
        VLLMClient(base_url="http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            "".join(f"line {i}\n" for i in range(99)),
            r"The last lines of .*/log:\nline 79\n.*line 98\nRestart it",
        ),
        ("", r"Its log .*/log is empty\. Restart it"),
        (None, r"Its log .*/log cannot be read \(No such file or directory\)\. Restart it"),
    ],
)
def test_the_end_of_its_log_is_shown(tmp_path, make_config, written, said):
    config = make_config(vllm_server_log=str(tmp_path / "log"))
    config.vllm_mode = "server"
    if written is not None:
        (tmp_path / "log").write_text(written)
    with pytest.raises(UserError, match=f"(?s)failed: gone. {said}"), clear_server_errors(config):
        raise ConnectionError("gone.")


def test_other_errors_stay_what_they_are(make_config):
    config = make_config()
    for mode, error in (("server", TypeError("a bug")), ("colocate", ConnectionError("of something else"))):
        config.vllm_mode = mode
        with pytest.raises(type(error)), clear_server_errors(config):
            raise error
