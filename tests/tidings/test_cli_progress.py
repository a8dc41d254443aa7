"""A bar is for a person: on a terminal, with the extra installed, and never in what is piped."""

import os
import pty
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
if sys.argv[1] == "without":
    sys.modules["rich"] = None  # as if the extra were not installed
from tidings.cli.output import progress
for total in (3, None):
    with progress("delivering", total) as advance:
        advance(2, "2 sent \\x1b]0;owned\\x07[red]")
print("done", "rich.progress" in sys.modules)
"""


def on_a_terminal(folder: Path, how: str) -> tuple[str, str]:
    """Its output, and what the terminal saw of its errors."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    try:
        started = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, how], cwd=folder, stdout=subprocess.PIPE, stderr=theirs, env=environment
        )
        out, _ = started.communicate(timeout=60)
        os.close(theirs)
        theirs = -1
        seen = b""
        try:
            while part := os.read(ours, 65_536):
                seen += part
        except OSError:  # the end of a terminal nobody holds
            pass
        return out.decode(), seen.decode(errors="replace")
    finally:
        os.close(ours)
        if theirs >= 0:
            os.close(theirs)


def test_on_a_terminal_there_is_a_bar_with_words_that_drive_nothing(tmp_path: Path) -> None:
    out, seen = on_a_terminal(tmp_path, "with")
    assert out == "done True\n"
    assert "delivering" in seen
    assert "2/3" in seen
    assert "2 sent  ]0;owned [red]" in seen, "neither a control sequence nor markup"
    assert "\x1b]0;" not in seen


def test_without_the_extra_there_is_none_and_nothing_is_said(tmp_path: Path) -> None:
    assert on_a_terminal(tmp_path, "without") == ("done False\n", "")


def test_in_a_pipe_there_is_none_and_rich_is_not_loaded(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "with"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("done False\n", "")
