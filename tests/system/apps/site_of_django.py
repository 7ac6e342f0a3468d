"""A Django project in one file."""

import probe
from django.http import JsonResponse
from django.urls import path

DEBUG = False
SECRET_KEY = "of no worth"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = __name__


def facts(request):
    headers = [[name.lower(), value] for name, value in request.headers.items()]
    return JsonResponse(probe.facts(headers, request.META.get("SCRIPT_NAME", ""), request.path_info))


urlpatterns = [path("facts", facts)]
