"""Standard streams that cannot fail: a full disk or a reader that has gone costs the text, not the work."""

import io
import os
import sys
from typing import Any


class _Forgiving(io.FileIO):
    """A file that takes what it cannot write for written."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or len(data)  # None: it does not wait for a reader
        except OSError:
            return len(data)


def forgive_output() -> None:
    """From now on nothing that is written to stdout and stderr raises an error of the system.

    Streams that were closed when the process began are opened on the null device, so that no other file gets their
    descriptors.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            os.set_inheritable(number, True)
        if number and stream is getattr(sys, f"__{name}__"):
            encoding, by_line = (stream.encoding, stream.line_buffering) if stream else ("utf-8", True)
            raw = io.BufferedWriter(_Forgiving(number, "w", closefd=False))
            setattr(sys, name, io.TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=by_line))
