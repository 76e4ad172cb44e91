"""The page with the result: the votes of each choice, as JSON."""

import json
import os

import psycopg2

import pages


def answer(method, path):
    if method != "GET" or path != "/":
        return 404, "text/plain", "GET /\n"
    database = psycopg2.connect(
        host="db", user="postgres", password=os.environ["POSTGRES_PASSWORD"], connect_timeout=5
    )
    try:
        with database.cursor() as cursor:
            cursor.execute("SELECT choice, count(*) FROM votes GROUP BY choice ORDER BY choice")
            counts = dict(cursor.fetchall())
    finally:
        database.close()
    return 200, "application/json", json.dumps(counts) + "\n"


pages.serve(8080, answer)
