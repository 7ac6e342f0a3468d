"""`python wsgiref_app.py PORT`: the smallest server there is, its port from the command line."""

import sys
from wsgiref.simple_server import make_server

import probe

if __name__ == "__main__":
    make_server("127.0.0.1", int(sys.argv[1]), probe.wsgi).serve_forever()
