"""A gunicorn configuration file with two addresses."""

import os

bind = [f"127.0.0.1:{os.environ['ASKED_PORT']}", f"[::1]:{os.environ['ASKED_PORT']}"]
workers = 2
