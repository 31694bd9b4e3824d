"""Injected faults at exact places: with this folder on PYTHONPATH, HARM="PART,PART:WHAT;..." does WHAT when a file
whose path has all the parts is opened, once: kill (SIGKILL), exit, memory, full (no space left on the device) or
interrupt. That the N-th one happened is marked by a file HARM_MARK.N.

Modules named in AFTERKERNEL_TEST_HIDDEN can't be imported (tests/isolation.py).
"""

import errno
import os
import signal
import sys
from pathlib import Path


def _watch(parts, what, mark):
    def hook(event, arguments):
        if event != "open" or not all(part in str(arguments[0]) for part in parts) or Path(mark).exists():
            return
        Path(mark).touch()
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "exit":
            sys.exit(0)
        if what == "memory":
            raise MemoryError
        if what == "full":
            raise OSError(errno.ENOSPC, "No space left on device", str(arguments[0]))
        if what == "interrupt":
            os.kill(os.getppid(), signal.SIGINT)

    sys.addaudithook(hook)


for _number, _fault in enumerate(filter(None, os.environ.get("HARM", "").split(";"))):
    _place, _, _what = _fault.partition(":")
    _watch(_place.split(","), _what, f"{os.environ['HARM_MARK']}.{_number}")

sys.modules.update(dict.fromkeys(filter(None, os.environ.get("AFTERKERNEL_TEST_HIDDEN", "").split(","))))
