"""supervisord with the plugin, as `portico run` becomes it: settings as JSON, then the RUN directory.

supervisord_with_plugin.py RUN      prepared in the same process; the terminal is standard output
"""

import sys
from pathlib import Path

from supervisor import supervisord

from supervisor_conf.plugin import guard, rpc, sockets
from supervisor_conf.settings import from_json


def main() -> None:
    run = Path(sys.argv[1])
    settings = from_json((run / "settings.json").read_text())
    try:
        rpc.prepare(settings, terminal=1, shim=run / "shim")
    except (guard.Unsuitable, sockets.AddressUnavailable) as error:
        sys.exit(str(error))
    supervisord.main(["-n", "-c", str(run / "supervisord.conf")])


main()
