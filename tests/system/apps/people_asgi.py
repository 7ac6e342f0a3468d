"""people.py for ASGI servers."""

from people import application as made

application = made("asgi")
