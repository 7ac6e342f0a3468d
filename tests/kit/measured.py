"""`python -m tests.kit.measured ARGS`: pytest with the coverage of every process the tests start.

Workers of a front that root started are another user when they end: the folder for the data is open to all.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile


def main() -> int:
    """pytest's own exit status; its summary is the last thing printed."""
    with tempfile.TemporaryDirectory(prefix="pt-") as folder:
        os.chmod(folder, 0o1777)
        environment = os.environ | {"COVERAGE_FILE": os.path.join(folder, "data")}
        # Four files at a time, each whole in one process: most tests wait for processes to start and to end.
        # The order is that of tests/conftest.py, not that of how many tests a file has.
        side_by_side = ["-n", "4", "--dist", "loadfile", "--no-loadscope-reorder"]
        # Unix sockets have short paths, so the folders of the tests are as near to the root as they can be.
        base = f"--basetemp={os.path.join(folder, 't')}"
        options = ["--cov", "--cov-report=term", "--durations=40", base, *side_by_side]
        command = [sys.executable, "-m", "pytest", *options, *sys.argv[1:]]
        return subprocess.run(command, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
