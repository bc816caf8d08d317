"""The live page of runs that train: served to this machine alone, and read-only."""

import asyncio
import io
import re
import secrets
import socket
import threading
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from mgrpo.errors import UserError, reason_of
from mgrpo.report.bundle import Data, bundle, to_json
from mgrpo.report.completions import compress, read_groups, step_text, summarize_table, summarize_tables
from mgrpo.report.page import content_security_policy, page, plotly_block
from mgrpo.report.read import FileCache, RunRecord, open_runs

ADDRESS = "127.0.0.1"
HOSTS = ("127.0.0.1", "localhost")
BACKLOG = 2048
"""Connections that wait in the kernel while so many are open:"""
MAX_CONNECTIONS = 512
"""more than half of the descriptors that a process usually has."""
MAX_HEAD = 2**16
"""Bytes of a request."""
REQUEST_SECONDS, RESPONSE_SECONDS = 10.0, 60.0
"""How long a request may take to arrive, and its answer to be taken."""
COMPLETIONS_PATH = re.compile(r"/completions/([0-9]{1,4})/([0-9]{1,12})\.json")


def watch(run_directories: Sequence[Path], port: int = 0, open_browser: bool = False) -> None:
    """Serve the page of some runs, which may have logged nothing yet, until it is interrupted; prints the address.

    Args:
        run_directories: the runs'.
        port: of 127.0.0.1; 0: a free one.
        open_browser: open the page.

    Raises:
        UserError: if a directory holds no run, or one of a newer version, or if the port is not available.
    """
    live_runs = LiveRuns(run_directories)
    live_runs.data()
    with PageServer(live_runs, port) as server, suppress(KeyboardInterrupt):
        print(f"{server.url} (Ctrl-C ends it)", flush=True)
        if open_browser:
            webbrowser.open(server.url)
        server.serve()


class LiveRuns:
    """What the page shows of some runs now, while they train.

    Raises:
        UserError: if a directory holds no run.
    """

    def __init__(self, run_directories: Sequence[Path]) -> None:
        self._readers = open_runs(run_directories)
        self._tables = FileCache()
        self._lock = threading.Lock()  # each request has its thread

    def data(self, have: Sequence[str] = ()) -> Data:
        """The page's data without the metric rows that it has; `have` holds the token of each run's last answer."""
        with self._lock:
            records = [reader.read() for reader in self._readers]
            summarize = partial(self._tables.read, function=summarize_table)
            summaries = [summarize_tables(record.tables, summarize) for record in records]
            data = bundle(records, summaries, live=True)
        tokens = have if len(have) == len(records) else [""] * len(records)
        for run, record, token in zip(data["runs"], records, tokens, strict=True):
            run["from"] = _first_new(record, token)
            run["steps"] = run["steps"][run["from"] :]
            run["metrics"] = {name: values[run["from"] :] for name, values in run["metrics"].items()}
            run["token"] = f"{record.metrics_file}-{len(record.rows)}"
        return data

    def step(self, r: int, step: int) -> str | None:
        """The completions of a run's step as JSON, None where there are none, or they are still being written."""
        with self._lock:
            path = self._readers[r].read().tables.get(step) if r < len(self._readers) else None
        groups = None if path is None else read_groups(path)
        return None if groups is None else step_text(step, groups)


def _first_new(record: RunRecord, token: str) -> int:
    """The first row to send again: the last one that the page has, which an evaluation may have joined since."""
    metrics_file, _, known = token.partition("-")
    num_known = int(known) if re.fullmatch(r"[0-9]{1,9}", known) else 0
    if metrics_file != str(record.metrics_file) or num_known > len(record.rows):
        return 0  # another file: the run was resumed, from an earlier step perhaps
    return max(num_known - 1, 0)


class PageServer:
    """A server of the page. One thread reads requests and sends answers, a few others make the answers.

    So a request that never ends holds a descriptor for `REQUEST_SECONDS`, and no thread.

    Args:
        live_runs: what it shows.
        port: of `ADDRESS`; 0: a free one.

    Raises:
        UserError: if the port is not available.
    """

    def __init__(self, live_runs: LiveRuns, port: int = 0) -> None:
        self._runs = live_runs
        try:
            self.listener = socket.create_server((ADDRESS, port), backlog=BACKLOG)
        except (OSError, OverflowError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else "not a port number"
            raise UserError(f"port {port} of {ADDRESS} is not available ({reason}); give another --port.") from error
        self.listener.setblocking(False)
        self.url = f"http://{ADDRESS}:{self.listener.getsockname()[1]}/"

    def __enter__(self) -> "PageServer":
        """Connections wait until `serve` is called."""
        return self

    def __exit__(self, *_: Any) -> None:
        """Refuse further connections."""
        self.listener.close()

    def serve(self) -> None:
        """Answer requests until an interruption."""
        asyncio.run(self.accept())

    async def accept(self) -> None:
        """Answer requests for ever."""
        loop, slots = asyncio.get_running_loop(), asyncio.Semaphore(MAX_CONNECTIONS)
        answering: set[asyncio.Task] = set()

        def ended(task: asyncio.Task) -> None:
            answering.discard(task)
            slots.release()

        while True:
            await slots.acquire()
            while True:
                try:
                    connection, _ = await loop.sock_accept(self.listener)
                    break
                except OSError:  # it has no descriptor left
                    await asyncio.sleep(0.1)
            task = loop.create_task(self._answer(connection))
            answering.add(task)
            task.add_done_callback(ended)

    async def _answer(self, connection: socket.socket) -> None:
        loop, head = asyncio.get_running_loop(), b""
        with connection, suppress(OSError):  # it takes too long, or the page was closed meanwhile
            async with asyncio.timeout(REQUEST_SECONDS):
                while b"\r\n\r\n" not in head and len(head) <= MAX_HEAD:
                    chunk = await loop.sock_recv(connection, MAX_HEAD)
                    if not chunk:
                        return
                    head += chunk
            answer = await loop.run_in_executor(None, _Handler, self._runs, head)
            async with asyncio.timeout(RESPONSE_SECONDS):
                await loop.sock_sendall(connection, answer.content.getvalue())


class _Handler(BaseHTTPRequestHandler):
    """Answers what the page asks, to the page alone; any other method than GET and HEAD is answered 501.

    The request comes from memory, and the answer is left in `content`.
    """

    server_version = "mgrpo"
    sys_version = ""

    def __init__(self, runs: LiveRuns, head: bytes) -> None:
        self.runs, self.rfile = runs, io.BytesIO(head)
        self.wfile = self.content = io.BytesIO()
        self.handle_one_request()

    def do_GET(self) -> None:  # noqa: N802
        """Answer."""
        # A page of another site whose name was bound to 127.0.0.1 asks by that name. The port may be another one
        # where it is forwarded, by ssh from a machine with a GPU.
        if self.headers.get("Host", "").partition(":")[0] not in HOSTS:
            return self._refuse(HTTPStatus.FORBIDDEN, "this page is for 127.0.0.1 and localhost alone.")
        path, _, query = self.path.partition("?")
        try:
            if path == "/":
                return self._send_page()
            if path == "/data.json":
                have = parse_qs(query).get("have", [""])[0]
                return self._send(to_json(self.runs.data(have.split(",") if have else [])))
            if asked := COMPLETIONS_PATH.fullmatch(path):
                text = self.runs.step(int(asked[1]), int(asked[2]))
                if text is None:
                    return self._refuse(HTTPStatus.NOT_FOUND, "this step has no completions, or not yet.")
                return self._send(text)
        except (UserError, OSError) as error:  # a run's directory was taken away or written anew
            return self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here.")

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the terminal quiet: the page asks every other second."""

    def _send_page(self) -> None:
        data, nonce = self.runs.data(), secrets.token_urlsafe(18)
        blocks = {"data": compress(to_json(data)), "plotly": plotly_block()}
        policy = f"{content_security_policy(nonce, live=True)}; frame-ancestors 'none'"
        self._send(page(data["title"], blocks, nonce, live=True), "text/html; charset=utf-8", policy=policy)

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        self._send(to_json({"error": sentence}), status=status)

    def _send(
        self,
        text: str,
        content_type: str = "application/json",
        status: HTTPStatus = HTTPStatus.OK,
        policy: str = "default-src 'none'; frame-ancestors 'none'",
    ) -> None:
        body = text.encode("utf-8")
        headers = {
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": policy,
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
