"""Makes this process act as one on another machine, named by SOAK_MACHINE, whose locks go stale within seconds."""

import os

HEARTBEAT_S, STALE_S = 0.3, 1.5


def patch(run_lock):
    machine = os.environ["SOAK_MACHINE"]
    run_lock._machine = lambda: machine
    run_lock._seen.clear()
    run_lock.run_lock.__wrapped__.__kwdefaults__.update(heartbeat_s=HEARTBEAT_S, stale_s=STALE_S)
