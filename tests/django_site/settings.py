"""Django's settings; `server` sets the two environment variables before they are read."""

import os
from pathlib import Path

ORIGIN = os.environ["DJANGO_SITE_ORIGIN"]
DATA = Path(os.environ["DJANGO_SITE_DATA"])

SECRET_KEY = "a key that protects nothing but a test"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "tests.django_site.urls"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.sites",
    "django.contrib.staticfiles",
    "indieweb",
]
SITE_ID = 1
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATA / "django.sqlite3"},
}
# Nobody attacks the password of a test, and the strong hash costs half a second per sign-in.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LOGIN_URL = "/admin/login/"
STATIC_URL = "/static/"
MEDIA_URL = "/media/"
MEDIA_ROOT = DATA / "media"
USE_TZ = True

INDIEWEB_MICROPUB_HANDLER = "tests.django_site.handler.Handler"
# The strict variant: what the specification demands today.
INDIEWEB_REQUIRE_PKCE_S256 = True
INDIEWEB_BIND_ME_TO_USER = True
