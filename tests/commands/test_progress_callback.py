"""What a run says: on a terminal (a pseudo-terminal is one), off it, and with --quiet."""

import fcntl
import logging
import os
import pty
import re
import signal
import struct
import sys
import termios
import threading
from contextlib import redirect_stderr, suppress
from functools import partial
from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState
from transformers.utils.logging import get_logger

from mgrpo.cli import main
from mgrpo.commands.progress_callback import TrainingProgress
from mgrpo.monitoring.collapse import Event
from mgrpo.runs.files import read_rows

RUN = ["train", "--config", "embedded", "--max_steps", "3", "--logging_steps", "1", "--eval_dataset_size", "16"]
RUN += ["--per_device_eval_batch_size", "16", "--eval_steps", "2", "--save_steps", "2", "--output_dir", "run"]
RUN += ["--dataset_size", "48", "--probe_prompts", "4"]
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
OWN = """
import signal
from mgrpo.embedded.task import extract_answer

def loud(text):
    print("read", repr(text[:1]))
    return extract_answer(text)

raised = []

def interrupted(completions, **kwargs):
    if not raised:
        raised.append(signal.raise_signal(signal.SIGINT))
    return [0.0] * len(completions)

def broken(completions, **kwargs):
    raise RuntimeError("a reward that breaks")
"""
CODE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|(.)", re.DOTALL)


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own", raising=False)
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


class Terminal:
    """Within the block stderr is a terminal of 80 columns, and stdout none; afterwards `written` has what came."""

    def __enter__(self):
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
        self._file = os.fdopen(slave, "w", encoding="utf-8")
        self._bytes = bytearray()
        self._reader = threading.Thread(target=self._read)  # as it comes, so that it never fills up
        self._reader.start()
        self._redirected = redirect_stderr(self._file)
        self._redirected.__enter__()
        return self

    def _read(self):
        with suppress(OSError):  # the other end was closed
            while chunk := os.read(self._master, 65536):
                self._bytes += chunk

    def __exit__(self, *error):
        self._redirected.__exit__(*error)
        self._file.close()
        self._reader.join()
        os.close(self._master)
        self.written = self._bytes.decode()


def screen(written):
    """The lines that are to be seen in the end; obeys what rich makes use of."""
    rows, row, column = [""], 0, 0
    for argument, code, sign in CODE.findall(written):
        if code == "A":
            row -= int(argument or 1)
        elif code == "K":
            rows[row] = ""
        elif sign == "\r":
            column = 0
        elif sign == "\n":
            row += 1
            rows += [""] * (row == len(rows))
        elif sign:
            rows[row] = rows[row][:column].ljust(column) + sign + rows[row][column + 1 :]
            column += 1
    return [line.rstrip() for line in rows]


def shown(written):
    """The same without the time that a slow machine's first step lets expect."""
    return [line for line in screen(written) if "expected: " not in line]


def test_on_a_terminal(capsys):
    with Terminal() as terminal:
        assert main([*RUN, "--answer_extractor", "own:loud"]) == 0
    written = terminal.written
    assert written.count(HIDE) == written.count(SHOW) == 2  # the probe's bar, and the view
    *events, bar, trends, _, _, speed, time, alarm, last = shown(written)
    assert re.fullmatch(r"the initial model answers prompts ━+ 4/4 .*", events.pop(0))
    assert [re.sub(r"\d\.\d+", "x", event.replace(f"{Path.cwd()}/", "")) for event in events] == [
        "step 0  evaluated: held-out x, x s",
        "step 2  evaluated: held-out x, x s",
        "step 2  checkpoint: run/checkpoint-2",
        "step 3  evaluated: held-out x, x s",
        "step 3  checkpoint: run/checkpoint-3",
    ]
    assert re.fullmatch(r"step 3/3 ━+  \d+\.\d (steps/s|s/step)  elapsed \d+:\d\d", bar)
    row = read_rows(Path("run/metrics.jsonl"))[-1]
    assert row["step"] == 3
    assert trends.split()[:2] == ["agreement", f"{row['vote/agreement']:.3g}"]
    # 8 prompts x (12 + 4)
    assert speed.split()[1] == f"{8 * 16 / row['step_time']:,.0f}"
    assert re.fullmatch(r"time +policy \d+%  momentum \d+%  label \d+%  learn \d+%", time)
    assert alarm == "alarm     none"
    assert last == ""
    output = capsys.readouterr().out  # which somebody may have sent into a file
    assert "read '" in output and "read '" not in written
    assert output.endswith(f"trained 3 steps; the model is in {Path.cwd()}/run/final\n")


@pytest.mark.parametrize("how", ["interrupted", "broken"])
def test_the_cursor_is_shown_again(how, request):
    # a shell starts what it runs in the background with SIGINT ignored
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    run = [*RUN, "--eval_strategy", "no", "--reward_funcs", f"own:{how}"]
    with Terminal() as terminal:
        if how == "interrupted":
            assert main(run) == 130  # after the first step, in which it came
        else:
            assert main(run) == 2
    written = terminal.written
    assert 0 <= written.index(HIDE) < written.rindex(HIDE) < written.rindex(SHOW)
    seen = shown(written)
    done = 1 if how == "interrupted" else 0
    assert any(line.startswith(f"step {done}/3 ") for line in seen)
    if how == "interrupted":
        assert "SIGINT: the step under way is finished and saved first; a second signal stops at once" in " ".join(
            seen
        )
        assert seen[-2].startswith(
            f"mgrpo: stopped: SIGINT after step 1; the same command resumes from {Path.cwd()}/run/checkpoint-1"
        )


def test_warnings_stand_above_the_view_and_go_where_they_went_before(make_config):
    library, logger = (get_logger(name) for name in ("transformers", "transformers.of_this_test"))
    with Terminal() as terminal:
        handler = logging.StreamHandler()
        library.addHandler(handler)
        try:
            progress = TrainingProgress()
            progress.on_train_begin(make_config(), TrainerState(max_steps=3), TrainerControl())
            logger.warning("first")
            print("second", file=sys.stderr)
            progress.close()
            logger.warning("third")
        finally:
            library.removeHandler(handler)
    assert [line for line in screen(terminal.written) if line[:6] in ("first", "second", "step 0", "third")] == [
        *("first", "second"),
        f"step 0/3 {'─' * 57}  elapsed 0:00",
        "third",
    ]


def test_off_a_terminal_a_line_a_logging_step(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # which is no terminal either
    assert main(RUN) == 0
    error = capsys.readouterr().err
    start, *rows = read_rows(Path("run/metrics.jsonl"))
    said = re.sub(r"\x1b\[[0-9;]*m", "", error).splitlines()
    first, *lines = [line for line in said if "expected: " not in line]
    assert first == f"step 0/3  held-out {start['eval_gold/accuracy']:.2f}"
    assert [line.split("  held-out ")[0] for line in lines] == [
        f"step {row['step']}/3  agreement {row['vote/agreement']:.2f}  entropy {row['entropy/mean']:.2f}"
        for row in rows
    ]
    assert len(rows) == 3


def test_quiet(capsys):
    with Terminal() as terminal:
        assert main([*RUN, "--quiet"]) == 0
    assert terminal.written == ""
    assert capsys.readouterr().out == f"trained 3 steps; the model is in {Path.cwd()}/run/final\n"


def test_what_is_to_be_seen_in_any_case(capsys):
    for progress in (TrainingProgress(is_quiet=True), TrainingProgress(is_main=False)):
        progress.show_event("a [bold]word[/bold] of a model: \x1b[2J")
    assert capsys.readouterr().err == "a [bold]word[/bold] of a model: \\x1b[2J\n"


def test_the_alarm_in_the_view(make_config):
    with Terminal() as terminal:
        progress = TrainingProgress()
        progress.on_train_begin(make_config(), TrainerState(max_steps=3), TrainerControl())
        progress.show_alarm(Event(2, "alarm", ["agreement rose\x1b[2J"], ""), "collapse alarm")
        progress.close()
    assert screen(terminal.written)[-2] == r"alarm     agreement rose\x1b[2J"
