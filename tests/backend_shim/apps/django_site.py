"""A Django project in one file: settings, URLs and manage.py."""

import json
import sys

from django.conf import settings

if not settings.configured:
    settings.configure(
        DEBUG=True,
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="for tests",
        ROOT_URLCONF=__name__,
        MIDDLEWARE=[],
        USE_TZ=True,
    )

from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import re_path


def facts(request):
    meta = request.META
    answer = {
        "kind": "django",
        "script": meta.get("SCRIPT_NAME", ""),
        "path": request.path_info,
        "client": meta.get("REMOTE_ADDR"),
        "scheme": request.scheme,
        "host": meta.get("HTTP_HOST"),
        "headers": [key for key in meta if key.startswith("HTTP_")],
    }
    return HttpResponse(json.dumps(answer), content_type="application/json")


urlpatterns = [re_path("", facts)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
