"""A vLLM server that fails ends the run with a clear message, instead of waiting for ever."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

from mgrpo.errors import UserError
from mgrpo.training.config import MGRPOConfig
from mgrpo.training.patches import replaced

LAST_LINES, MOST_OF_LOG = 20, 8192
"""Of a server's log: lines, and bytes, that are shown."""


@contextmanager
def clear_server_errors(config: MGRPOConfig, client: Any = None) -> Iterator[None]:
    """Within the block a vLLM server that is unreachable, silent or broken ends the run with a clear message.

    Args:
        config: which says whether there is one, and where.
        client: TRL's, once there is one; its requests then wait for `ddp_timeout` at most, which is as long as other
            processes wait for this one, where TRL's wait for ever.

    Raises:
        UserError: for what TRL's client raises.
    """
    if config.vllm_mode != "server":
        yield
        return
    import requests  # comes with the extra vllm

    try:
        with nullcontext() if client is None else _limited_waiting(client.session, config.ddp_timeout):
            yield
    except Exception as error:
        # TRL raises a bare Exception for an answer that is not 200
        if not isinstance(error, requests.RequestException | ConnectionError) and type(error) is not Exception:
            raise
        where = config.vllm_server_base_url or f"http://{config.vllm_server_host}:{config.vllm_server_port}"
        raise UserError(
            f"the vLLM server at {where} failed: {str(error).rstrip('.'):.500}. {_end_of_log(config.vllm_server_log)}"
            "Restart it, then rerun the same command to resume from the last checkpoint."
        ) from error


def _end_of_log(path: str | None) -> str:
    """A log's last lines, to stand within a message."""
    if path is None:
        return "See its log. "
    try:
        with open(path, "rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - MOST_OF_LOG, 0))
            lines = file.read().decode(errors="replace").splitlines()[-LAST_LINES:]
    except OSError as error:
        return f"Its log {path} cannot be read ({error.strerror}). "
    return "\n".join([f"The last lines of {path}:", *lines, ""]) if lines else f"Its log {path} is empty. "


@contextmanager
def _limited_waiting(session: Any, seconds: float) -> Iterator[None]:
    """Within the block no request waits longer."""

    def request(*args: Any, **kwargs: Any) -> Any:
        return type(session).request(session, *args, **{"timeout": seconds, **kwargs})

    with ExitStack() as around:
        for adapter in session.adapters.values():
            once = adapter.max_retries.new(read=0)  # else a silent server is asked 5 times more
            around.enter_context(replaced(adapter, "max_retries", once))
        around.enter_context(replaced(session, "request", request))
        yield
