import base64
import gzip
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from mgrpo.cli import main
from mgrpo.report import serve as serve_module
from mgrpo.report.serve import LiveRuns, PageServer
from mgrpo.runs.files import MetricsWriter, write_completions


@pytest.fixture
def serve(start_server):
    """Serves runs on a free port; what it returns asks for a path and gives the response with its body."""

    def serve(*directories):
        server, _ = start_server(*directories)
        port = server.listener.getsockname()[1]

        def ask(path, method="GET", host=f"127.0.0.1:{port}"):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.putrequest(method, path, skip_host=True)
            if host is not None:
                connection.putheader("Host", host)
            connection.endheaders()
            response = connection.getresponse()
            body = response.read()
            connection.close()
            return response, body

        ask.port = port
        return ask

    return serve


def data_of(answer):
    response, body = answer
    assert response.status == 200
    return json.loads(body)


def test_the_page(make_run, serve):
    response, body = serve(make_run())("/")
    assert response.status == 200
    text = body.decode()
    block = re.search(r'<script type="application/gzip" id="data">([\w+/=]+)</script>', text)[1]
    data = json.loads(gzip.decompress(base64.b64decode(block)))
    (run,) = data["runs"]
    assert data["live"] is True
    assert (run["state"], run["steps"], run["from"]) == ("unfinished", [10, 20], 0)
    assert run["completions"]["steps"] == [10, 20] and run["completions"]["chunks"] == []
    assert run["updated"] > 0
    assert 'id="completions-0-0"' not in text
    policy = response.headers["Content-Security-Policy"]
    nonce = re.search(r"script-src 'nonce-([\w-]{24})'", policy)[1]
    assert f'<script nonce="{nonce}">' in text
    assert policy == re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1] + "; frame-ancestors 'none'"
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_each_page_has_a_nonce_of_its_own(make_run, serve):
    ask = serve(make_run())
    policies = {ask("/", "HEAD")[0].headers["Content-Security-Policy"] for _ in range(2)}
    assert len(policies) == 2


def test_only_what_is_new_is_sent(make_run, serve):
    directory = make_run()
    ask = serve(directory)
    (run,) = data_of(ask("/data.json"))["runs"]
    assert (run["from"], run["steps"], run["metrics"]["vote/agreement"]) == (0, [10, 20], [0.5, 0.5])

    # The last row is sent again: an evaluation may have joined it.
    (run,) = data_of(ask(f"/data.json?have={run['token']}"))["runs"]
    assert (run["from"], run["steps"]) == (1, [20])

    writer = MetricsWriter(directory / "metrics.jsonl", last_step=20)  # the run goes on in another file
    writer.write({"step": 20, "eval_gold/accuracy": 0.25})
    (run,) = data_of(ask(f"/data.json?have={run['token']}"))["runs"]
    assert (run["from"], run["steps"], run["metrics"]["eval_gold/accuracy"]) == (0, [10, 20], [None, 0.25])

    writer.write({"step": 30, "vote/agreement": 0.75})
    writer.close()
    (run,) = data_of(ask(f"/data.json?have={run['token']}"))["runs"]
    assert (run["from"], run["steps"], run["step"]) == (1, [20, 30], 30)
    assert run["metrics"]["vote/agreement"] == [0.5, 0.75]
    assert run["metrics"]["eval_gold/accuracy"] == [0.25, None]


@pytest.mark.parametrize("have", ["", "x", "1-2,3-4", "1", "-", "1-" + "9" * 5000, "%00-1"])
def test_a_token_of_elsewhere_gets_everything(make_run, serve, have):
    assert data_of(serve(make_run())(f"/data.json?have={have}"))["runs"][0]["from"] == 0


def test_a_run_that_has_not_begun(tmp_path, rows, serve, finish):
    (tmp_path / "config.yaml").write_text("task: gsm8k\n")
    ask = serve(tmp_path)
    (run,) = data_of(ask("/data.json"))["runs"]
    assert (run["state"], run["step"], run["steps"], run["updated"]) == ("starting", None, [], None)
    assert run["verdict"] == f"{tmp_path.name}: no step is logged yet."

    writer = MetricsWriter(tmp_path / "metrics.jsonl")
    assert data_of(ask(f"/data.json?have={run['token']}"))["runs"][0]["state"] == "starting"
    writer.write({"step": 10, "vote/agreement": 0.5})
    writer.close()
    write_completions(rows, tmp_path, step=10)
    (run,) = data_of(ask(f"/data.json?have={run['token']}"))["runs"]
    assert (run["state"], run["steps"], run["completions"]["flags"]) == ("unfinished", [10], [[9, 4]])
    finish(tmp_path)
    assert data_of(ask("/data.json"))["runs"][0]["state"] == "finished"


def test_completions_of_one_step(make_run, serve):
    directory = make_run()
    ask = serve(directory)
    step = data_of(ask("/completions/0/20.json"))
    assert step["step"] == 20
    assert [group["prompt"] for group in step["groups"]] == ["3+4=", "2+2="]

    path = directory / "completions" / "step-000020.parquet"
    path.write_bytes(path.read_bytes()[:100])  # still being written
    response, body = ask("/completions/0/20.json")
    assert (response.status, json.loads(body)) == (404, {"error": "this step has no completions, or not yet."})
    assert data_of(ask("/data.json"))["runs"][0]["completions"]["steps"] == [10]


@pytest.mark.parametrize(
    "path",
    [
        "/completions/0/30.json",
        "/completions/1/20.json",
        "/completions/0/../../config.yaml",
        "/completions/0/20.parquet",
        "/config.yaml",
        "/../config.yaml",
        "/%2e%2e/config.yaml",
        "//etc/passwd",
        "//[",
        "/page.js",
        "/index.html",
    ],
)
def test_nothing_else_is_there(make_run, serve, path):
    response, body = serve(make_run())(path)
    assert response.status == 404
    assert "error" in json.loads(body)
    assert response.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize(
    "host", [None, "", "evil.example", "127.0.0.1.evil.example:80", "evil.example:127.0.0.1", "0"]
)
@pytest.mark.parametrize("path", ["/", "/data.json", "/completions/0/20.json", "/nothing"])
def test_pages_of_other_hosts_get_nothing(make_run, serve, host, path):
    response, body = serve(make_run())(path, host=host)
    assert response.status == 403
    assert json.loads(body) == {"error": "this page is for 127.0.0.1 and localhost alone."}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost:9000"])
def test_forwarded_ports_are_let_in(make_run, serve, host):
    assert serve(make_run())("/data.json", host=host)[0].status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT"])
def test_nothing_can_be_changed(make_run, serve, method):
    assert serve(make_run())("/data.json", method=method)[0].status == 501


def test_head_has_no_body(make_run, serve):
    response, body = serve(make_run())("/data.json", method="HEAD")
    assert (response.status, body) == (200, b"")
    assert int(response.headers["Content-Length"]) > 100


def test_a_run_that_breaks_while_it_is_watched(make_run, serve):
    directory = make_run()
    ask = serve(directory)
    (directory / "metrics.jsonl").write_text('{"loss": 1}\n')
    response, body = ask("/data.json")
    assert response.status == 503
    assert "line 1 has no step" in json.loads(body)["error"]


def test_only_this_machine_is_served(make_run):
    with PageServer(LiveRuns([make_run()])) as server:
        assert server.listener.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken(make_run, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["watch", str(make_run()), "--port", str(port)]) == 2
    assert capsys.readouterr().err == (
        f"mgrpo: port {port} of 127.0.0.1 is not available (Address already in use); give another --port.\n"
    )


def test_a_port_that_is_none(make_run, capsys):
    assert main(["watch", str(make_run()), "--port", "70000"]) == 2
    assert (
        capsys.readouterr().err
        == "mgrpo: port 70000 of 127.0.0.1 is not available (not a port number); give another --port.\n"
    )


def test_nothing_to_watch(tmp_path, capsys):
    assert main(["watch", str(tmp_path / "nowhere")]) == 2
    assert "nowhere holds no run" in capsys.readouterr().err


def test_the_command_prints_its_address_and_ends_with_ctrl_c(make_run):
    watching = subprocess.Popen(
        [sys.executable, "-m", "mgrpo", "watch", str(make_run())],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test that is started in the background inherits that interrupts are ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        url = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/ \(Ctrl-C ends it\)\n", watching.stdout.readline())
        connection = http.client.HTTPConnection("127.0.0.1", int(url[1]), timeout=30)
        connection.request("GET", "/data.json")
        assert connection.getresponse().status == 200
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=30)
        assert (watching.returncode, errors) == (0, "")
    finally:
        watching.kill()
        watching.wait()


def test_requests_that_never_end_hold_no_threads_and_are_dropped(make_run, serve, monkeypatch):
    ask = serve(make_run())
    half = [socket.create_connection(("127.0.0.1", ask.port)) for _ in range(300)]
    for connection in half:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127")
    assert ask("/data.json")[0].status == 200
    assert threading.active_count() < 50
    monkeypatch.setattr(serve_module, "REQUEST_SECONDS", 0.05)
    late = socket.create_connection(("127.0.0.1", ask.port), timeout=30)
    late.sendall(b"GET /")
    assert late.recv(1) == b""  # it was closed
    for connection in (*half, late):
        connection.close()


def test_answers_that_nobody_takes_are_dropped(make_run, serve, monkeypatch):
    monkeypatch.setattr(serve_module, "RESPONSE_SECONDS", 0.05)
    monkeypatch.setattr(serve_module, "MAX_CONNECTIONS", 2)
    ask = serve(make_run())
    idle = []
    for _ in range(4):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", ask.port))
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        idle.append(connection)
    assert ask("/data.json")[0].status == 200
    for connection in idle:
        connection.close()


HEADS = [b"\0" * 70_000, b"GET /" + b"x" * 70_000, b"\r\n\r\n", b"GET\r\n\r\n", b"\xff /\r\n\r\n"]


@pytest.mark.parametrize("head", HEADS)
def test_what_is_no_request_ends_nothing(make_run, serve, head):
    ask = serve(make_run())
    with socket.create_connection(("127.0.0.1", ask.port), timeout=30) as connection:
        connection.sendall(head)
        with suppress(ConnectionError):
            while connection.recv(2**16):
                pass
    assert ask("/data.json")[0].status == 200


@pytest.mark.slow
def test_hundreds_of_requests_at_once(make_run, serve):
    ask = serve(make_run())
    waiting = [socket.create_connection(("127.0.0.1", ask.port), timeout=120) for _ in range(400)]
    for connection in waiting:
        connection.sendall(b"GET /data.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert all(connection.recv(15).startswith(b"HTTP/1.0 200 OK") for connection in waiting)
    for connection in waiting:
        connection.close()
