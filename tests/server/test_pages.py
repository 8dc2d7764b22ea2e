"""The review pages, over the application and in a real browser."""

from __future__ import annotations

import asyncio
import re
import shutil

import httpx
import pytest

from server_sync.curation import queries
from server_sync.domain import State
from server_sync.settings import WebSettings
from server_sync.web.app import create_app
from sync_protocol import messages as m
from sync_protocol import topics


class Client:
    """Asks the application without a network."""

    def __init__(self, shelf, **settings):
        self.transport = httpx.ASGITransport(
            create_app(shelf.metadata, shelf.blobs, WebSettings(**settings))
        )

    def get(self, path, headers=None, host="localhost"):
        async def ask():
            base = f"http://{host}"
            async with httpx.AsyncClient(transport=self.transport, base_url=base) as http:
                return await http.get(path, headers=headers)

        return asyncio.run(ask())


@pytest.fixture
def client(shelf):
    return Client(shelf, page_size=5)


def found(shelf, **wanted):
    with shelf.metadata.reading() as connection:
        wanted = queries.Filter(**wanted)
        result = queries.find(connection, wanted)
        assert queries.count(connection, wanted) == len(result)
        return result


@pytest.mark.parametrize(
    ("settings", "host", "status"),
    [
        ({}, "localhost:8080", 200),
        ({}, "127.0.0.1", 200),
        ({}, "[::1]:8080", 200),
        ({}, "attacker.example", 400),
        ({"host": "base.local"}, "base.local:8080", 200),
        ({"hosts": ("pages.example",)}, "pages.example", 200),
        ({"host": "0.0.0.0"}, "192.168.1.5:8080", 200),  # noqa: S104
        ({"host": "0.0.0.0", "hosts": ("pages.example",)}, "192.168.1.5", 400),  # noqa: S104
    ],
)
def test_only_names_of_its_own_are_answered(shelf, settings, host, status):
    """A page on a re-bound foreign name cannot read the store through a reviewer's browser."""
    assert Client(shelf, **settings).get("/", host=host).status_code == status


def test_the_grid_pages_and_keeps_its_filters(client):
    """Five a page, most valuable first, and the filter stays in every link."""
    page = client.get("/?device=drone-2")
    assert page.status_code == 200
    assert len(re.findall('class="card"', page.text)) == 5
    assert "7 samples" in page.text
    assert "/?device=drone-2&amp;page=2" in page.text
    second = client.get("/?device=drone-2&page=2")
    assert len(re.findall('class="card"', second.text)) == 2
    assert client.get("/?page=999").status_code == 200
    assert client.get("/?page=x&outcome=nonsense&sort=%00").status_code == 200


def test_text_from_devices_is_never_markup(client):
    """A survey called `<b>` is shown, not obeyed."""
    page = client.get("/?survey=survey+%3Cb%3E+%26+c")
    assert "survey &lt;b&gt; &amp; c" in page.text
    assert "survey <b>" not in page.text


def test_a_sample_page_tells_all(client, shelf):
    """Reason, scores, place and provenance; one without a place says so."""
    sample = found(shelf, reason="score:entropy", outcome=State.STORED)[0]
    page = client.get(f"/samples/{sample.key.device}/{sample.key.sample_id}?reason=score")
    for text in (
        "Entropy 1.92 is higher than for 99.1 % of familiar tiles",
        sample.payload_sha256,
        "DJI_0001.JPG",
        '<svg class="map"',
        "known to 2.5 m",
        "?reason=score",
    ):
        assert text in page.text
    placeless = found(shelf, label="beach", reason="audit")[0]
    page = client.get(f"/samples/{placeless.key.device}/{placeless.key.sample_id}")
    assert "No place is known" in page.text


@pytest.mark.parametrize(
    "path",
    ["/samples/drone-1/zz", "/samples/drone-1/" + "0" * 32, "/samples/..%2f/" + "0" * 32,
     "/pictures/" + "0" * 64, "/pictures/..%2f..%2fetc%2fpasswd", "/nothing", "/static/../app.py"],
)  # fmt: skip
def test_what_is_not_there_is_a_plain_404(client, path):
    """Unknown and malformed addresses end on a page that leads back."""
    page = client.get(path)
    assert page.status_code == 404
    assert "All samples" in page.text


def test_pictures_are_served_for_ever_and_pages_are_locked_down(client, shelf):
    """Right type and bytes, immutable, 304 on a repeat; strict headers on every page."""
    sample = found(shelf, outcome=State.STORED)[0]
    answer = client.get(f"/pictures/{sample.payload_sha256}")
    assert answer.content == shelf.blobs.get(sample.payload_sha256)
    assert answer.headers["content-type"] == "image/png"
    assert "immutable" in answer.headers["cache-control"]
    again = client.get(
        f"/pictures/{sample.payload_sha256}", headers={"If-None-Match": answer.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    for path in ("/", "/devices", "/static/style.css", "/nothing"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; img-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"


def test_an_empty_store_says_what_to_do(tmp_path, new_shelf):
    """The very first look, before any device has sent."""
    shelf = new_shelf(tmp_path)
    client = Client(shelf)
    assert "Nothing has arrived yet" in client.get("/").text
    assert "No device has been heard of yet" in client.get("/devices").text


def test_the_device_page_shows_what_a_device_told(tmp_path, new_shelf):
    """Presence, counters and an idle rule with its reason."""
    shelf = new_shelf(tmp_path)
    shelf.send(
        "rover-7", topics.Kind.PRESENCE, m.Presence(online=True, birth=1, agent_version="0.1.0")
    )
    rule = m.RuleState(rule="species_range", active=False, reason="no range file")
    shelf.send(
        "rover-7",
        topics.Kind.STATUS,
        m.Status(
            boot=1,
            agent_version="0.1.0",
            counters={"tiles_seen": 4321, "outbox_bytes": 1500},
            rules=(rule,),
        ),
    )
    page = Client(shelf).get("/devices").text
    for text in (
        "rover-7",
        "online",
        "4\N{THIN SPACE}321",
        "Outbox bytes",
        "1.5 kB",
        "Species range: not at work (no range file)",
    ):
        assert text in page


@pytest.fixture
def browser():
    """Chromium, headless, its requests and console watched."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not on the PATH")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as driver:
        quiet = ("no-sandbox", "disable-gpu", "disable-background-networking",
                 "disable-component-update", "disable-sync")  # fmt: skip
        started = driver.chromium.launch(
            executable_path=program, args=[f"--{flag}" for flag in quiet]
        )
        yield started
        started.close()


@pytest.mark.browser
def test_a_reviewer_filters_and_opens_a_sample(browser, shelf, start_server):
    """Cards are shown, a filter narrows them, a click leads to a sample whose picture is really
    drawn; nothing is asked of another host and the console stays silent."""
    server = start_server(shelf.folder, "--embedded-broker", "127.0.0.1:0", "--web", "127.0.0.1:0")
    page = browser.new_page()
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(server.web)
    assert page.locator("a.card").count() == 13
    page.focus("select[name=class]")
    page.keyboard.press("ArrowDown")
    page.select_option("select[name=class]", "river")
    with page.expect_navigation():
        page.get_by_role("button", name="Apply").click()
    assert "class=river" in page.url
    assert page.locator("a.card").count() == 4
    with page.expect_navigation():
        page.locator("a.card").first.click()
    assert page.locator("h1").inner_text().startswith("river")
    page.wait_for_function("document.querySelector('img.big').complete")
    assert page.evaluate("document.querySelector('img.big').naturalWidth") == 32
    with page.expect_navigation():
        page.keyboard.press("ArrowRight")
    assert "class=river" in page.url
    page.set_viewport_size({"width": 1400, "height": 900})
    assert page.evaluate(
        "[...document.querySelectorAll('.scores, .rank, .rank .num')].every("
        "each => each.getBoundingClientRect().right"
        " <= each.closest('section').getBoundingClientRect().right + 0.01)"
    )
    page.set_viewport_size({"width": 375, "height": 800})
    for path in ("", "devices", page.url.removeprefix(server.web)):
        page.goto(server.web + path)
        assert page.evaluate("document.documentElement.scrollWidth") == 375
    assert complaints == []
    assert {url for url in asked if not url.startswith(server.web)} == set()
    assert server.terminate() == 0
