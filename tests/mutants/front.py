# ruff: noqa: E501  (a fault is one line beside the other)
"""Seeded faults in the smaller parts of the front: who is chosen, what is said in pages and logs, files, pipes."""

from __future__ import annotations

from tests.mutants.fault import Fault
from tests.mutants.faults import SPLICE

HANDLERS = ("tests/proxy/test_handlers.py",)
NETWORKS = ("tests/proxy/test_networks.py",)
RANGES = ("tests/proxy/test_ranges.py",)
CONDITIONS = ("tests/proxy/test_conditions.py",)
ACCESS = ("tests/proxy/test_access.py",)
PAGES = ("tests/proxy/test_pages.py", "tests/proxy/test_failures.py")
BALANCE = ("tests/proxy/test_balance.py",)
REQUEST_ID = ("tests/proxy/modules/test_request_id.py",)
CLOSED = ("tests/proxy/modules/test_offline.py",)
STATIC = ("tests/proxy/modules/test_static.py",)
TAIL = ("tests/supervisor_conf/test_logtail.py",)


FRONT_FAULTS = (
    # handlers.py, readings.py
    Fault("proxy/handlers.py", "                if self._node(host, segments) is not raw:", "                if False:",
          "a path is one app's to us and another's to a reader that normalises it", HANDLERS),
    Fault("proxy/handlers.py", "        if child is None:\n            break", "        if child is None:\n            continue",
          "/other/shop is below /shop", HANDLERS),
    Fault("proxy/handlers.py", "        if not app.methods or method in app.methods:", "        if True:",
          "an app gets methods that it does not take", HANDLERS),
    Fault("proxy/handlers.py", "app.path == \"/\" and not app.hosts and not app.methods", "app.path == \"/\" and not app.methods",
          "an app of one host answers for all", HANDLERS),
    Fault("proxy/readings.py", 'or b"\\\\" in path or b";" in path', 'or b"\\\\" in path',
          "/shop;x/../admin is /admin to a servlet container", HANDLERS),
    Fault("proxy/readings.py", "            del kept[-1:]\n", "            pass\n",
          "dot segments lead out of an app", HANDLERS),
    # networks.py
    Fault("proxy/networks.py", "for (of, rest), prefixes in self._sets.items() if of == version)", "for (of, rest), prefixes in self._sets.items())",
          "an IPv6 address is in an IPv4 network", NETWORKS),
    Fault("proxy/networks.py", "    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:", "    if False:",
          "a dual-stack listener's IPv4 peers are in no IPv4 network", NETWORKS),
    Fault("proxy/networks.py", "            return self._unix\n", "            return True\n",
          "whoever comes by a Unix socket is trusted unasked", NETWORKS),
    Fault("proxy/networks.py", "            if len(self._known) >= MEMORY:\n                self._known.clear()\n", "",
          "a flood of addresses fills the memory", NETWORKS),
    # ranges.py, conditions.py
    Fault("proxy/ranges.py", "        if len(wanted) > MOST:", "        if False:", "a thousand ranges of one file (RFC 9110 17.15)", RANGES),
    Fault("proxy/ranges.py", "        if begin <= before + length:", "        if begin < before:",
          "overlapping ranges are sent twice (CVE-2011-3192)", RANGES),
    Fault("proxy/ranges.py", "    if begin >= size:", "    if begin > size:", "a range behind the last byte is answered", RANGES),
    Fault("proxy/conditions.py", "any(not weak and found == tag for weak, found in _tags(wanted))", "any(found == tag for weak, found in _tags(wanted))",
          "If-Match compares weakly (RFC 9110 13.1.1)", CONDITIONS),
    Fault("proxy/conditions.py", "        return value == tag\n", '        return value.removeprefix("W/") == tag\n',
          "parts of two versions are put together (RFC 9110 13.1.5)", CONDITIONS),
    # access.py, pages.py, failures.py
    Fault("proxy/access.py", "            target = _QUOTE.sub(_escaped, target)", "            pass",
          "a visitor ends the quotes of its log line", ACCESS),
    Fault("proxy/access.py", "_NUMBERS[status or 499]", "_NUMBERS[status or 200]",
          "who went away was served", ACCESS),
    Fault("proxy/access.py", "        if piece and len(piece) + len(line) > PIECE:", "        if False:",
          "a pipe takes half a line", ACCESS),
    Fault("proxy/pages.py", "<p>{escape(page.sentence)}</p>", "<p>{page.sentence}</p>",
          "a path or an operator's word is HTML in our page", PAGES),
    Fault("proxy/pages.py", "<pre>{escape(page.last_lines)}</pre>", "<pre>{page.last_lines}</pre>",
          "an app's last lines are HTML in our page", PAGES),
    Fault("proxy/pages.py", "report.last_lines if report and loopback else", "report.last_lines if report else",
          "an app's last lines are for everybody", PAGES),
    Fault("proxy/pages.py", "failure.refusal.report if failure.refusal and show_report else None", "failure.refusal.report if failure.refusal else None",
          "a report of a start is shown where the settings forbid it", PAGES),
    # splice.py, balance.py
    Fault("proxy/splice.py", "        if pipe.held or len(self._spare) >= SPARE:", "        if len(self._spare) >= SPARE:",
          "the rest of one visitor's body comes to another one", SPLICE),
    Fault("proxy/splice.py", "or len(self._spare) >= SPARE:", "or False:", "every pipe that was ever used stays open", SPLICE),
    Fault("proxy/balance.py", " if numbers[slot + 1] > since\n", "\n",
          "visitors wait for a worker that hangs", BALANCE),
    Fault("proxy/balance.py", "        self._numbers[self._own + 1] = 0\n", "        pass\n",
          "visitors wait for a worker that has left", BALANCE),
    # listener.py
    Fault("proxy/listener.py", '    environ.pop("LISTEN_PID", None)\n', "", "what a worker starts takes the sockets for its own", ("tests/proxy/test_listener.py",)),
    # modules
    Fault("proxy/modules/request_id.py", "        return said[0] if len(said) == 1 and is_sane_id(said[0]) else None", "        return said[0] if said else None",
          "a visitor writes into the log by its request id", REQUEST_ID),
    Fault("proxy/modules/request_id.py", "        named = (self._trust and self._said(fields)) or", "        named = self._said(fields) or",
          "every visitor chooses the id that its request is logged under", REQUEST_ID),
    Fault("proxy/modules/offline.py", "        return UNREADABLE\n", '        return b""\n', "a front that is closed shows nothing", CLOSED),
    Fault("proxy/modules/offline.py", "            return  # nobody can tell: as before", "            self._page = None; return",
          "a front that is closed opens when its folder cannot be read", CLOSED),
    # logs that root reads for an operator
    Fault("supervisor_conf/logtail.py", "os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC", "os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC",
          "an app's link has root read somebody's secret aloud", TAIL),
    Fault("supervisor_conf/logtail.py", "    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):", "    if False:",
          "`app logs` waits at a pipe that an app has put there", TAIL),
)  # fmt: skip
