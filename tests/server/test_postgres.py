"""The same store on PostgreSQL; runs where TILESIFT_POSTGRES holds a URL of an empty database."""

from __future__ import annotations

import os
import queue
import random
import threading
import uuid
import zlib

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, make_url, select, text

from server_sync.curation import queries, summary
from server_sync.intake.apply import Intake
from server_sync.intake.inbox import Inbound
from server_sync.intake.ingest import Worker
from server_sync.settings import IntakeSettings
from server_sync.store.blobs import BlobFolder
from server_sync.store.metadata import open_metadata
from server_sync.store.schema import metadata as schema
from server_sync.store.schema import parts, quarantine
from sync_protocol import codec, topics
from sync_protocol import messages as m


@pytest.fixture
def url():
    """The database's URL with a schema of this test's own."""
    given = os.environ.get("TILESIFT_POSTGRES")
    if not given:
        pytest.skip("no PostgreSQL: set TILESIFT_POSTGRES=postgresql+psycopg://user@host/database")
    name = f"test_{uuid.uuid4().hex}"
    engine = create_engine(given)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {name}"))
    within = make_url(given).update_query_dict({"options": f"-csearch_path={name}"})
    yield within.render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {name} CASCADE"))
    engine.dispose()


class Answers:
    """Collects the ends that a worker tells."""

    def __init__(self):
        self.ends = {}

    def publish(self, topic, payload):
        if topic.endswith("/receipt"):
            for settlement in codec.decode(payload, m.Receipt).settlements:
                self.ends[settlement.sample_id] = settlement.outcome
        return True

    def acknowledge(self, message):
        pass


def worker(url, folder, answers, **changes):
    metadata = open_metadata(url)
    blobs = BlobFolder(folder)
    intake = Intake(IntakeSettings(**changes), blobs)
    made = Worker(
        queue.Queue(), answers, metadata, intake, blobs, batch_messages=4, min_free_bytes=0
    )
    return made, metadata


def inbound(kind, message):
    return Inbound(topics.build("drone-1", kind), codec.encode(message), 1, 1, 1)


def chunk(sample, payload, start, end):
    data = payload[start:end]
    return m.Chunk(
        sample_id=sample.sample_id,
        payload_sha256=sample.payload_sha256,
        payload_size=len(payload),
        offset=start,
        crc32=zlib.crc32(data),
        data=data,
    )


def test_workers_that_start_at_once_build_one_schema(url):
    """Four connections migrate an empty database at the same time; it ends at the last revision."""
    opened, threads = [], []
    for _ in range(4):
        threads.append(threading.Thread(target=lambda: opened.append(open_metadata(url))))
        threads[-1].start()
    for thread in threads:
        thread.join(30)
    assert len(opened) == 4
    with opened[0].reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema) == []
    for each in opened:
        each.close()


def test_two_workers_finish_samples_together(url, tmp_path, picture, describe):
    """Offers and chunks, each delivered to both workers in different orders at the same time:
    every sample is stored once, byte for byte, and no part is left."""
    payloads = [picture(seed, size=40) for seed in range(12)]
    offered = [describe(payload, sequence=n) for n, payload in enumerate(payloads)]
    pairs = list(zip(offered, payloads, strict=True))
    offers = [inbound(topics.Kind.OFFER, m.Offer(samples=(sample,))) for sample in offered]
    pieces = [
        inbound(topics.Kind.CHUNK, chunk(sample, payload, start, start + 700))
        for sample, payload in pairs
        for start in range(0, len(payload), 700)
    ]
    answers = Answers()
    workers = [worker(url, tmp_path, answers) for _ in range(2)]

    def work(made, seed):
        shuffled = random.Random(seed)
        for messages in (offers, pieces):
            mine = list(messages)
            shuffled.shuffle(mine)
            for start in range(0, len(mine), 4):
                assert made.process(mine[start : start + 4])

    threads = [
        threading.Thread(target=work, args=(made, seed)) for seed, (made, _) in enumerate(workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    # Chunks that came before their offer were ignored; an honest device sends them again.
    work(workers[0][0], 9)
    metadata = workers[0][1]
    with metadata.reading() as connection:
        found = queries.find(connection, queries.Filter(outcome="pictures"))
        assert connection.execute(select(parts)).all() == []
        assert summary.totals(connection).outcomes == {"stored": 12}
        assert queries.choices(connection, queries.Filter(reason="score")).labels
    assert sorted(BlobFolder(tmp_path).get(s.payload_sha256) for s in found) == sorted(payloads)
    assert set(answers.ends.values()) == {"stored"}
    for _, each in workers:
        each.close()


def test_text_that_postgresql_refuses_is_set_aside(url, tmp_path, picture, describe):
    """A NUL in a survey's name: that message goes to quarantine, its neighbours are stored."""
    answers = Answers()
    made, metadata = worker(url, tmp_path, answers, near_duplicate_bits=-1)
    batch = [
        inbound(
            topics.Kind.OFFER,
            m.Offer(samples=(describe(picture(n), payload=picture(n), survey=survey),)),
        )
        for n, survey in enumerate(("a", "b\0c", "d"))
    ]
    assert made.process(batch)
    assert list(answers.ends.values()) == ["stored", "stored"]
    with metadata.reading() as connection:
        assert connection.execute(select(quarantine.c.topic)).scalars().all() == [
            "tilesift/1/drone-1/offer"
        ]
    metadata.close()
