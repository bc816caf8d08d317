"""What `mgrpo watch` listens on, as the kernel has it, and what a request can reach."""

import http.client
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mgrpo.runs.files import MetricsWriter

LISTENS = "0A"
"""The state in the kernel's tables."""


@pytest.fixture
def watching(tmp_path):
    """`mgrpo watch` on a run, and its port."""
    writer = MetricsWriter(tmp_path / "run" / "metrics.jsonl")
    writer.write({"step": 1, "loss": 0.5})
    writer.close()
    (tmp_path / "secret.txt").write_text("secret")
    command = [sys.executable, "-m", "mgrpo", "watch", str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, int(process.stdout.readline().split("/")[2].split(":")[1])
        finally:
            process.kill()


def listening(pid):
    """Addresses and ports that a process listens on, as in /proc/net/tcp."""
    links = (os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd"))
    sockets = {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:[")}
    found = []
    for table in ("tcp", "tcp6", "udp", "udp6"):
        path = Path(f"/proc/{pid}/net/{table}")
        rows = [line.split() for line in path.read_text().splitlines()[1:]] if path.exists() else []
        is_open = {"tcp": LISTENS, "tcp6": LISTENS}.get(table)
        found += [(table, row[1]) for row in rows if row[9] in sockets and is_open in (None, row[3])]
    return found


def read(port, path, host, address="127.0.0.1"):
    connection = http.client.HTTPConnection(address, port, timeout=30)
    connection.putrequest("GET", path, skip_host=True)
    connection.putheader("Host", host)
    connection.endheaders()
    response = connection.getresponse()
    return response.status, response.read()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_page_listens_on_127_0_0_1_alone_answers_its_own_names_alone_and_gives_no_file(watching):
    process, port = watching
    assert listening(process.pid) == [("tcp", f"0100007F:{port:04X}")]  # little endian
    assert read(port, "/data.json", f"localhost:{port}")[0] == 200
    # a name of elsewhere that was bound to 127.0.0.1, and hosts that only look right
    for host in (f"rebound.example:{port}", "127.0.0.1.example", "localhost.example", "[::1]", "0.0.0.0", "127.0.0.2"):
        status, body = read(port, "/data.json", host)
        assert status == 403 and b"loss" not in body, host
    for path in (
        *("/../secret.txt", "/completions/0/../../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt"),
        *("/completions/0/..%2f..%2fsecret.txt.json", "//secret.txt", "/\\..\\secret.txt", "/secret.txt%00.json"),
        *(f"/{Path(__file__)}", "/metrics.jsonl", "/completions/0/1.json/../../metrics.jsonl"),
    ):
        status, body = read(port, path, "localhost")
        assert status == 404 and b"secret" not in body.replace(path.encode(), b""), path
    with pytest.raises(OSError):  # all of 127/8 is this machine's
        socket.create_connection(("127.0.0.2", port), timeout=5)
