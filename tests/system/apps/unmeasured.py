"""Imported by an app that makes a thread for each connection: coverage measures nothing of it from here on.

Coverage asks greenlet in every thread, since the workers need that; so each thread that ends leaves greenlet's
clean-up as a pending call for the main thread. CPython 3.11 does not come back from a traced function within a pending
call if another one is waiting: RESUME is traced, sees the eval breaker, and begins again. Such an app spins and never
answers anybody any more.
"""

import sys

if "coverage" in sys.modules:
    measuring = sys.modules["coverage"].Coverage.current()
    if measuring is not None:
        measuring.stop()
