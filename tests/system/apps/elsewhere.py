"""Listens on a port of its own liking, whatever the environment says: `python -I elsewhere.py PORT`."""

import sys
from wsgiref.simple_server import demo_app, make_server

if __name__ == "__main__":
    print("listening where I like", flush=True)
    make_server("127.0.0.1", int(sys.argv[1]), demo_app).serve_forever()
