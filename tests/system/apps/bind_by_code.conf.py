"""gunicorn's configuration file, asking for an address of its own."""

bind = "0.0.0.0:9876"
workers = 2
