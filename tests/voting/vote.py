"""The page on which one votes: POST /cats or /dogs puts a vote into the queue; GET / shows how it stands."""

from urllib.request import urlopen

import redis

import pages

CHOICES = ("cats", "dogs")
queue = redis.Redis(host="redis", socket_timeout=5)


def answer(method, path):
    choice = path.strip("/")
    if method == "POST" and choice in CHOICES:
        queue.rpush("votes", choice)
        return 202, "text/plain", f"one more for {choice}\n"
    if method == "GET" and path == "/":
        with urlopen("http://result:8080/", timeout=5) as result:
            standing = result.read().decode()
        buttons = "".join(
            f'<form method="post" action="/{choice}"><button>{choice}</button></form>'
            for choice in CHOICES
        )
        return 200, "text/html", f"<!doctype html><title>Vote</title>{buttons}<pre>{standing}</pre>\n"
    return 404, "text/plain", "GET /, POST /cats or POST /dogs\n"


pages.serve(80, answer)
