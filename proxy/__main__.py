"""`python -P -m proxy RUN_DIRECTORY`: one worker of the front, started by supervisord."""

import sys

from proxy.worker import main

sys.exit(main(sys.argv))
