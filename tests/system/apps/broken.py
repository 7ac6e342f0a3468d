"""Says two lines and gives up with exit status 3."""

import sys

print("reading the settings", flush=True)
print("cannot reach the <database> & gave up", file=sys.stderr, flush=True)
sys.exit(3)
