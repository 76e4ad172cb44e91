"""Takes votes out of the queue and writes them into the database, one after the other."""

import os
import time

import psycopg2
import redis

import pages


def work():
    queue = redis.Redis(host="redis", socket_timeout=30)
    database = psycopg2.connect(
        host="db", user="postgres", password=os.environ["POSTGRES_PASSWORD"], connect_timeout=5
    )
    database.autocommit = True
    cursor = database.cursor()
    cursor.execute("CREATE TABLE IF NOT EXISTS votes (id serial PRIMARY KEY, choice text NOT NULL)")
    while True:
        taken = queue.blpop("votes", timeout=10)
        if taken:
            cursor.execute("INSERT INTO votes (choice) VALUES (%s)", (taken[1].decode(),))


pages.end_when_told()
while True:
    try:
        work()
    except (psycopg2.Error, redis.RedisError) as error:
        print(f"again in a second: {error}", flush=True)
        time.sleep(1)
