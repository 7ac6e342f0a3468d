"""Django's manage.py as `startproject` writes it."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_of_django")
    execute_from_command_line(sys.argv)
