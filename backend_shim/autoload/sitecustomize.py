# Run by every Python of an app at its start, whatever its version: keep to words that old ones understand.
# Arms the shim, then lets the next sitecustomize on the path have its turn, as if this one were not there.
import os
import sys


def _arm():  # type: () -> None
    if sys.version_info < (3, 8):  # noqa: UP036
        return
    try:
        from backend_shim.autoload.hook import activate

        activate(os.environ)
    except Exception as error:  # noqa: BLE001 - said on stderr; the interpreter must start
        sys.stderr.write("portico: the shim is not armed: %s: %s\n" % (type(error).__name__, error))  # noqa: UP031


def _run_next():  # type: () -> None
    here = os.path.dirname(os.path.abspath(__file__))
    ours = [place for place, entry in enumerate(sys.path) if os.path.abspath(entry) == here]
    entries = [sys.path[place] for place in ours]
    for place in reversed(ours):
        del sys.path[place]
    this = sys.modules.pop("sitecustomize", None)
    try:
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        if getattr(error, "name", "sitecustomize") != "sitecustomize":
            raise
    finally:
        # What it did to the path stays; an import in progress must find its module.
        for place, entry in zip(ours, entries):
            sys.path.insert(place, entry)
        if this is not None:
            sys.modules.setdefault("sitecustomize", this)


_arm()
_run_next()
