"""What supervisord runs to start an app: `python -I -S launch_main.py NAME`.

Two lines, since a script is compiled anew every time it runs and a module is not: `launch.py`, as a script, would
add half as much again to every start.
"""

import sys

sys.path.insert(0, __file__.rpartition("/")[0].rpartition("/")[0])

from supervisor_conf.launch import main

main()
