"""A whole Django project in one file: `python manage.py runserver`, or `gunicorn manage`."""

import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path


def home(request):
    return HttpResponse(
        f"hello from Django, {request.headers['X-Forwarded-For']}\n", content_type="text/plain"
    )


urlpatterns = [path("", home)]
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="of no worth here", USE_TZ=True)

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
else:
    application = get_wsgi_application()
