"""A Django project that knows visitors by `RemoteUserMiddleware`; docs/identity.md's settings are in `said`."""

import os
from pathlib import Path

import said
from django.http import HttpResponse, JsonResponse
from django.urls import re_path

DEBUG = False
SECRET_KEY = "of no worth"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = __name__
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(os.environ["DATABASE"])},
}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = True
MIDDLEWARE = said.MIDDLEWARE
AUTHENTICATION_BACKENDS = said.AUTHENTICATION_BACKENDS


def page(request):
    user = request.user
    if request.path_info.endswith("/private") and not user.is_authenticated:
        return HttpResponse(status=401)
    kind = "asgi" if hasattr(request, "scope") else "wsgi"
    return JsonResponse({"user": user.get_username(), "known": user.is_authenticated, "kind": kind})


urlpatterns = [re_path("", page)]


def application(kind):
    """For servers: migrated, and with the settings of this file."""
    import django
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler
    from django.core.management import call_command

    os.environ["DJANGO_SETTINGS_MODULE"] = "people"
    django.setup()
    call_command("migrate", verbosity=0)
    return ASGIHandler() if kind == "asgi" else WSGIHandler()
