"""`python -m supervisor_conf` is `portico`."""

from __future__ import annotations

import sys

from supervisor_conf.cli import main

if __name__ == "__main__":
    sys.exit(main())
