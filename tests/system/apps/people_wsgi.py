"""people.py for WSGI servers."""

from people import application as made

application = made("wsgi")
