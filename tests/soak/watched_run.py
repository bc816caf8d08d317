"""`mgrpo train` that reads its own process off now and then: run as a script, with the command's arguments.

A line of `readings.jsonl` is written as soon as a row of metrics is, so each stands for the same place in a step.
"""

import ctypes
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from mgrpo.cli import main
from mgrpo.runs.files import MetricsWriter

READINGS_FILE = "readings.jsonl"


class Mallinfo2(ctypes.Structure):
    """What glibc's malloc says of itself, in bytes but for the counts."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def take_reading(step: int, metrics_file: Path) -> dict[str, float]:
    """What the process holds now.

    Returns:
        step: of the row that was just written.
        in_use: bytes that malloc has given out and not got back.
        blocks: pieces of memory that Python's own allocator has given out.
        anonymous: bytes of RAM that no file backs.
        resident: bytes of RAM, shared libraries too.
        seconds: processor time so far.
        files: open ones, sockets and pipes too.
        threads: of this process.
        children: processes that it has started and that are there.
        metrics_bytes: length of metrics.jsonl.
    """
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Mallinfo2
    seconds = time.process_time()
    malloc = mallinfo2()
    blocks = sys.getallocatedblocks()
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    memory = {name: int(size.split()[0]) * 1024 for name, size in (line.split(":") for line in lines)}
    threads = os.listdir("/proc/self/task")
    return {
        "step": step,
        "in_use": malloc.uordblks + malloc.hblkhd,
        "blocks": blocks,
        "anonymous": memory["Anonymous"],
        "resident": memory["Rss"],
        "seconds": seconds,
        "files": len(os.listdir("/proc/self/fd")),
        "threads": len(threads),
        "children": sum(len(Path(f"/proc/self/task/{thread}/children").read_text().split()) for thread in threads),
        "metrics_bytes": metrics_file.stat().st_size,
    }


def read_every(num_steps: int) -> None:
    """Have a reading taken whenever the row of so many more steps has been written."""
    write = MetricsWriter.write

    def write_and_read(self: MetricsWriter, row: dict[str, Any]) -> None:
        write(self, row)
        if row["step"] and row["step"] % num_steps == 0 and "loss" in row:
            gc.collect()  # else what is unreachable counts until Python happens to look
            gc.freeze()  # what is there now will be: the next look is short
            path = Path(self._file.name)
            reading = take_reading(row["step"], path)
            with (path.parent / READINGS_FILE).open("a") as file:
                file.write(json.dumps(reading) + "\n")

    MetricsWriter.write = write_and_read  # type: ignore[method-assign]


if __name__ == "__main__":
    read_every(int(sys.argv[1]))
    sys.exit(main(["train", *sys.argv[2:]]))
