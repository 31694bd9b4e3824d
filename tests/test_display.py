"""The display of a terminal: what it shows at which size, and that lines scroll above it or go where they should."""

import io
import os
import pty
import subprocess
import sys
import threading

import pytest
from rich.console import Console

from afterkernel.progress import display as module
from afterkernel.progress.display import ProgressRow, ProgressView, print_above, render

NAME = "vgg-lr0.1-seed3-0123456789"
WORDS = "epoch 5 (snapshot 2 of 3), ntk: SVM exact, gap 3e-07, step 12"
ROWS = [ProgressRow(NAME, WORDS, 0.5, "about 2 min 5 s left"), ProgressRow("mlp", "starting", None, "")]
WHOLE = ProgressView(ROWS, "sweep s: 3 of 40 done, 2 running, 35 to go, about 3 h left", 0.1)


def drawn(view, width, height=24):
    console = Console(
        width=width, height=height, record=True, force_terminal=True, color_system=None, file=io.StringIO()
    )
    console.print(render(view, width, height))
    return console.export_text().splitlines()


def test_a_wide_terminal_has_a_line_a_run():
    heading, bar, first, second = drawn(WHOLE, 140)
    assert heading == WHOLE.heading
    assert bar.rstrip() == "━" * 14
    assert first.startswith(f"{NAME}  {WORDS}  ")
    assert first.rstrip().endswith("about 2 min 5 s left")
    assert first.count("━") == 10
    assert second.split() == ["mlp", "starting"]


def test_on_80_columns_the_words_have_a_line_of_their_own():
    _, _, first, words, second, last = drawn(WHOLE, 80)
    assert first.startswith(NAME)
    assert first.rstrip().endswith("about 2 min 5 s left")
    assert words.rstrip() == f"  {WORDS}"
    assert second.split() == ["mlp"]
    assert last.split() == ["starting"]
    assert all(len(line) <= 40 for line in drawn(WHOLE, 40))


@pytest.mark.parametrize("width", [80, 140])
def test_runs_that_do_not_fit_are_counted(width):
    view = ProgressView([ProgressRow(str(number), "x", None, "") for number in range(100)], "many", 0.5)
    lines = drawn(view, width, height=12)
    assert len(lines) <= 12
    shown = sum(line.split()[0].isdigit() for line in lines)
    assert shown >= 3
    assert lines[-1].strip() == f"and {100 - shown} more"


def test_without_a_terminal_nothing_is_shown_and_lines_are_printed(capsys):
    def asked():
        raise AssertionError("not rendered")

    with module.display(asked) as on_terminal:
        assert not on_terminal
        assert not module.is_shown()
        print_above("one")
        print_above("two", "err")
    assert capsys.readouterr() == ("one\n", "two\n")


def on_terminal(code, *, out=None, term="xterm"):
    """What a program writes on a terminal as its standard error, and as its output too unless `out` takes that."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": term, "COLUMNS": "80", "LINES": "24"}
    environment = {name: value for name, value in environment.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=theirs,
        stdout=theirs if out is None else out,
        stderr=theirs,
        env=environment,
    )
    os.close(theirs)
    found = []

    def read():
        try:
            while part := os.read(ours, 4096):
                found.append(part)
        except OSError:  # the other end is closed
            pass

    thread = threading.Thread(target=read)
    thread.start()
    piped = process.communicate(timeout=300)[0]
    thread.join()
    os.close(ours)
    assert process.returncode == 0, b"".join(found).decode()
    return b"".join(found).decode(), piped


REDRAWN = """
import threading
from afterkernel.progress import display as module
drawing, render = threading.Semaphore(0), module.render

def counted(*arguments):
    drawing.release()
    return render(*arguments)

module.render = counted

def redrawn():
    # What is drawn second from now on is drawn after the first has been written.
    while drawing.acquire(blocking=False):
        pass
    assert drawing.acquire(timeout=200) and drawing.acquire(timeout=200)
"""
SHOW = f"""
{REDRAWN}
import sys
from afterkernel.progress.display import ProgressView, ProgressRow, display, is_shown, print_above
rows = [ProgressRow("run", "training: epoch 3 of 10", 0.3, "over 5 s left")]
with display(lambda: ProgressView(rows, "sweep s: 1 of 2 done", 0.5)):
    assert is_shown() == SHOWN
    if SHOWN: redrawn()
    print_above("long " * 40 + "end")
    print_above("[bold]broken", "err")
    print("stray")
    if SHOWN: redrawn()
    print_above("last")
print("after")
"""


def test_whole_lines_scroll_above_the_display_which_is_removed_at_the_end():
    text, _ = on_terminal(SHOW.replace("SHOWN", "True"))
    assert text.count("training: epoch 3 of 10") >= 3
    for line in ("long " * 40 + "end", "[bold]broken", "stray", "last", "after"):
        assert f"{line}\r\n" in text
    # What is drawn last is cleared line by line, and the cursor is seen again.
    ending = text[text.rindex("over 5 s left") :]
    assert ending.count("\x1b[2K") >= 4
    assert "\x1b[?25h" in ending
    assert ending.endswith("after\r\n")


def test_lines_for_a_pipe_go_there_and_not_to_the_terminal():
    text, piped = on_terminal(SHOW.replace("SHOWN", "True"), out=subprocess.PIPE)
    assert piped.decode() == "long " * 40 + "end\nstray\nlast\nafter\n"
    assert "[bold]broken\r\n" in text
    assert "training: epoch 3 of 10" in text
    assert "long" not in text
    assert "after" not in text


def test_lines_for_a_file_go_there(tmp_path):
    with (tmp_path / "out.txt").open("w") as file:
        text, _ = on_terminal(SHOW.replace("SHOWN", "True"), out=file)
    assert (tmp_path / "out.txt").read_text() == "long " * 40 + "end\nstray\nlast\nafter\n"
    assert "last" not in text


def test_a_terminal_that_can_t_move_its_cursor_gets_lines():
    text, _ = on_terminal(SHOW.replace("SHOWN", "False"), term="dumb")
    assert text == "long " * 40 + "end\r\n[bold]broken\r\nstray\r\nlast\r\nafter\r\n"


ALONE = f"""
{REDRAWN}
from afterkernel.progress.work import progress
with progress("Gram matrix", 4.0, unit="tile", units=4) as advance:
    for _ in range(4):
        redrawn()
        advance(1.0)
        with progress("inner", 1.0) as inner:
            inner(1.0)
print("done")
"""


def test_a_library_s_long_work_shows_a_bar():
    text, _ = on_terminal(ALONE)
    assert "Gram matrix" in text
    assert "tile 2 of 4" in text
    assert "inner" not in text
    assert text.endswith("done\r\n")
