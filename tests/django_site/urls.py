"""The pages of the website and the endpoints of django-indieweb."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe

from tests.django_site.handler import Handler

RELS = {
    "indieauth-metadata": "indieweb:auth-metadata",
    "authorization_endpoint": "indieweb:auth",
    "token_endpoint": "indieweb:token",
    "micropub": "indieweb:micropub",
}


def home(request: HttpRequest) -> HttpResponse:
    """Show the profile, which names the endpoints, and a link to each post."""
    del request
    links = [(rel, reverse(name)) for rel, name in RELS.items()]
    posts = [(post["url"], post["url"]) for post in all_posts() if not post["deleted"]]
    return HttpResponse(
        format_html(
            '<!doctype html><html lang="en"><head><title>Ada</title>{}</head>'
            '<body><h1 class="h-card"><a class="p-name u-url u-uid" href="{}/">Ada</a></h1>'
            "<ul>{}</ul></body></html>",
            format_html_join("", '<link rel="{}" href="{}">', links),
            settings.ORIGIN,
            format_html_join("", '<li><a href="{}">{}</a></li>', posts),
        )
    )


def permalink(request: HttpRequest, number: int) -> HttpResponse:
    """Show the text of one post; 410 when it is deleted, 404 when it never was."""
    del request
    url = f"{settings.ORIGIN}/posts/{number}"
    for post in all_posts():
        if post["url"] == url and post["deleted"]:
            return HttpResponse("deleted", status=410)
        if post["url"] == url:
            content = post["properties"].get("content", [""])[0]
            # HTML is its author's own here, as on any blog.
            text = mark_safe(content["html"]) if isinstance(content, dict) else content  # noqa: S308 - the author is Ada
            page = '<!doctype html><title>Post</title><div class="h-entry e-content">{}</div>'
            return HttpResponse(format_html(page, text))
    return HttpResponse("no such post", status=404)


def posts_json(request: HttpRequest) -> JsonResponse:
    """Return every post, so that a test can see what the website was given."""
    del request
    return JsonResponse({"posts": all_posts()})


def all_posts() -> list[dict[str, Any]]:
    """Return the posts as the file holds them now."""
    handler = Handler()
    with handler.remembering():
        return handler.posts()


urlpatterns = [
    path("", home),
    path("posts/<int:number>", permalink),
    path("posts.json", posts_json),
    path("admin/", admin.site.urls),
    path("indieweb/", include("indieweb.urls")),
]
