"""The page of options follows from their declarations."""

import subprocess
import sys
from pathlib import Path

import options_page


def test_the_page_in_docs_is_written_from_the_declarations():
    # In a process of its own, without what other tests register.
    program = "import options_page; print(options_page.page(), end='')"
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert options_page.DOCS.read_text() == done.stdout, "run python tests/config/options_page.py"
