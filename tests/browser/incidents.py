#!/usr/bin/env python3
"""Uses the views Incidents and Incident with a real browser: headless Chromium, driven over a pipe.

    python3 tests/browser/incidents.py --url http://127.0.0.1:8080
        filters, pages, opens and leaves incidents; the service must have more than one page of them
    ... --token TOKEN            signs in first, with the address of an incident
    ... --arriving               a new incident appears every few seconds, and must be announced
    ... --video ID               the video of this incident plays, and lasts as long as its headers say
    ... --no-video ID WORDS      the video of this incident is refused with these words
    ... --noted ID WORDS         beside the video of this incident is a note with these words
    ... --screenshots FOLDER     saves the views at several sizes, light and dark

The expected incidents are those of /api/incidents. Exit status 0: all was seen. Needs only Python and chromium.
"""

import argparse
import json
import pathlib
import sys
import urllib.parse
from typing import Any

from browser import SCREENS, Browser, arguments_of, check, fits_all_widths, opener, run_checks

# The ids of the cards, in order, once the list is loaded.
CARDS = """
const days = document.querySelector(".days");
if (!days || days.hasAttribute("aria-busy")) return null;
const ids = [...days.querySelectorAll(".grid > li")].map((row) => row.dataset.id);
return seen === null || JSON.stringify(ids) === JSON.stringify(seen) ? { ids } : null;
"""

# The id of the incident that is shown, once it is another than the seen one.
INCIDENT = """
const id = document.querySelector(".view-incident .facts code");
return id && id.innerText !== seen && id.innerText;
"""

# The time of the video, once it is beyond the seen one.
PLAYED = """
const video = document.querySelector(".stage video");
return video && !video.hidden && video.readyState >= 2 && video.currentTime > seen && [video.currentTime];
"""

# A hostile text makes one of these, if it is taken as markup.
INJECTED = "document.querySelector('#injected, [onerror], .view script') === null && !('hostile' in window)"


class Service:
    """The API of the service, as a program asks it."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url
        self.headers = [("Authorization", f"Bearer {token}")] if token else []

    def get(self, path: str) -> Any:
        ask = opener()
        ask.addheaders = self.headers
        with ask.open(self.url + path, timeout=30) as reply:
            return json.load(reply)

    def video_s(self, incident: str) -> float:
        """The duration of an incident's video by the media times in its headers, s."""
        ask = opener()
        ask.addheaders = self.headers
        with ask.open(f"{self.url}/api/incidents/{incident}/clip.mp4?before=5&after=5", timeout=30) as reply:
            return (int(reply.headers["X-Clip-End-Ms"]) - int(reply.headers["X-Clip-Start-Ms"])) / 1000

    def incidents(self, **query: str) -> list[dict[str, Any]]:
        """All incidents that match, page by page."""
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = self.get("/api/incidents?" + urllib.parse.urlencode({"limit": "200", **query, **cursor}))
            found += page["incidents"]
            if page["next"] is None:
                return found
            cursor = {"cursor": page["next"]}


def ids_of(incidents: list[dict[str, Any]]) -> list[str]:
    return [incident["incident_id"] for incident in incidents]


def signed_in(browser: Browser, url: str, token: str, incident: str) -> None:
    """A sign-in returns to the incident whose address was opened."""
    address = f"{url}/incidents/{incident}"
    browser.open(address)
    check(browser.run("document.querySelectorAll('.view, img').length") == 0, "nothing is shown without the token")
    browser.run("document.querySelector('#token').focus()")
    browser.type(token)
    with browser.loading():
        browser.run("document.querySelector('form button').click()")
    check(browser.run("location.href") == address, "the sign-in returns to the address of the incident")
    check(browser.until("the incident", INCIDENT, "") == incident, "and the incident is shown")
    browser.complaints()


def linked_to(browser: Browser, url: str, incident: str) -> None:
    """A link of another site, as in a chat, opens the incident for a user who is signed in."""
    # A host name and an address are different sites to a browser.
    other = url.replace("127.0.0.1", "localhost")
    browser.open(f"{other}/healthz")
    # The first page opens the address again, as one of this site.
    with browser.loading(pages=2):
        browser.run(f"location.href = {json.dumps(f'{url}/incidents/{incident}')}")
    check(browser.until("the incident", INCIDENT, "") == incident, "a link of another site opens the incident")
    browser.complaints()


def listed(browser: Browser, service: Service) -> None:
    """The first page is there with its pictures, newest first, and the next ones on demand."""
    browser.open(f"{service.url}/incidents")
    first = browser.until("the incidents", CARDS)["ids"]
    check(len(first) > 0 and len(first) == len(set(first)), f"{len(first)} incidents are listed, each once")
    everything = ids_of(service.incidents())
    check(first == [one for one in everything if one in set(first)], "the newest is first")
    loaded = "return [...document.querySelectorAll('.shot img')].some((img) => img.naturalWidth > 0)"
    browser.until("a picture", loaded)
    pages = 1
    while browser.run("!document.querySelector('.more-incidents').hidden"):
        before = browser.run("document.querySelectorAll('.grid > li').length")
        browser.click(".more-incidents")
        more = "return document.querySelectorAll('.grid > li').length > seen"
        browser.until("older incidents", more, before)
        pages += 1
    shown = browser.until("all incidents", CARDS)["ids"]
    check(pages > 1 and shown == [one for one in everything if one in set(shown)], f"{pages} pages are in order")
    check(
        len(set(shown)) == len(shown) and set(everything) <= set(shown), f"all {len(shown)} incidents are listed once"
    )


def filtered(browser: Browser, service: Service) -> None:
    """Each field of the filter changes the list and the address, and the back button undoes it."""
    everything = service.incidents()
    camera = everything[0]["camera_id"]
    browser.open(f"{service.url}/incidents")
    browser.until("the camera in the filter", f"return {option('camera', camera)}")
    choose(browser, "camera", camera)
    seen_only(browser, service, {"camera": camera})
    label = next(one["label"] for one in everything if one["camera_id"] == camera)
    browser.run("document.querySelector('.filters [name=label]').focus()")
    browser.type(label)
    browser.press("Enter")
    seen_only(browser, service, {"camera": camera, "label": label})
    browser.run("history.back()")
    seen_only(browser, service, {"camera": camera})
    check(browser.run("document.querySelector('.filters [name=label]').value") == "", "going back empties the field")
    browser.click(".filters .clear")
    browser.until("no filter", "return location.search === ''")
    for name, query in filters(everything).items():
        browser.open(f"{service.url}/incidents?{urllib.parse.urlencode(query)}")
        seen_only(browser, service, query, f"the filter by {name}")
    browser.open(f"{service.url}/incidents?text=there-is-no-such-plate")
    browser.until("that nothing matches", "return document.querySelector('.view > .empty:not([hidden])')")
    browser.open(f"{service.url}/incidents?from=yesterday")
    fault = browser.until("a wrong filter", "return document.querySelector('.fault:not([hidden])')?.textContent")
    check("from" in fault, f"a wrong filter is named: {fault}")
    browser.complaints()


def filters(everything: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """A query for each field, of values that exist."""
    zoned = next(one for one in everything if one["zones"])
    middle = everything[len(everything) // 2]
    return {
        "type": {"type": everything[-1]["type"]},
        "zone": {"zone": zoned["zones"][0]},
        "time": {"from": str(middle["start_ms"]), "to": str(middle["start_ms"] + 600_000)},
    }


def option(name: str, value: str) -> str:
    """An expression that is true once a select has an option."""
    options = f"[...(document.querySelector('.filters [name={name}]')?.options ?? [])]"
    return f"{options}.some((one) => one.value === {json.dumps(value)})"


def choose(browser: Browser, name: str, value: str) -> None:
    """Chooses an option of a select, as a user does."""
    browser.run(f"""
      (() => {{
        const select = document.querySelector(".filters [name={name}]");
        select.value = {json.dumps(value)};
        select.dispatchEvent(new Event("change", {{ bubbles: true }}));
      }})()
    """)


def seen_only(browser: Browser, service: Service, query: dict[str, str], name: str = "the filter") -> None:
    """The list has the incidents of a query, and the address has the query."""
    wanted = ids_of(service.incidents(**query))
    look = """
      const days = document.querySelector(".days");
      const query = Object.fromEntries(new URLSearchParams(location.search));
      if (!days || days.hasAttribute("aria-busy") || JSON.stringify(query) !== JSON.stringify(seen.query)) return null;
      const ids = [...days.querySelectorAll(".grid > li")].map((row) => row.dataset.id);
      return ids.length && ids.every((id) => seen.ids.includes(id)) && { ids };
    """
    shown = browser.until(f"{name} {query}", look, {"query": query, "ids": wanted})["ids"]
    check(shown == wanted[: len(shown)], f"{name} {query} shows its {len(shown)} incidents")


def found_by_plate(browser: Browser, service: Service) -> str:
    """A plate is found by a part of its text, without hyphens and spaces, from the keyboard. Returns its incident."""
    plate = next(one for one in service.incidents() if one["has_snapshot"] and "<" not in one.get("text", "<"))
    part = plate["text"].replace("-", "").replace(" ", "").lower()[1:]
    browser.open(f"{service.url}/incidents")
    browser.until("the incidents", CARDS)
    browser.press("/")
    check(browser.run("document.activeElement.name") == "text", "the key / goes to the search")
    browser.type(part)
    seen_only(browser, service, {"text": part}, "the search for")
    texts = browser.run("[...document.querySelectorAll('.grid .plate')].map((one) => one.textContent)")
    check(plate["text"] in texts, f"the plate {plate['text']} is shown")
    browser.press("Enter")
    browser.press("Escape")
    browser.until("an empty search", "return location.search === ''")
    return str(plate["incident_id"])


def walked(browser: Browser, service: Service) -> None:
    """The keyboard moves through the cards, opens one, moves through the incidents and returns to the card."""
    browser.open(f"{service.url}/incidents")
    ids = browser.until("the incidents", CARDS)["ids"]
    focused = "document.activeElement.closest('.grid > li')?.dataset.id"
    for key, at in [("j", 0), ("j", 1), ("ArrowRight", 2), ("k", 1), ("ArrowLeft", 0)]:
        browser.press(key)
        check(browser.run(focused) == ids[at], f"{key} goes to card {at + 1}")
    browser.press("ArrowDown")
    below = browser.run(focused)
    check(below not in (None, ids[0]), "the arrow down goes to the next row")
    browser.press("ArrowUp")
    check(browser.run(focused) == ids[0], "and the arrow up back")
    browser.press("j")
    outline = browser.run("getComputedStyle(document.activeElement).outlineStyle")
    check(outline == "solid", "the focus is visible")
    browser.press("Enter")
    check(browser.until("the opened incident", INCIDENT, "") == ids[1], "Enter opens the card")
    ready = "return document.querySelectorAll('.incident-bar a[aria-disabled]').length === 0"
    browser.until("the neighbours", ready)
    browser.press("ArrowRight")
    check(browser.until("the older one", INCIDENT, ids[1]) == ids[2], "the arrow right goes to the older one")
    browser.until("the neighbours", ready)
    browser.press("k")
    check(browser.until("the newer one", INCIDENT, ids[2]) == ids[1], "k goes to the newer one")
    browser.run("history.back()")
    browser.until("the card again", f"return {focused} === seen", ids[1])
    print("ok  the back button returns to the card", flush=True)
    browser.press("Enter")
    browser.until("the incident", INCIDENT, "")
    browser.press("Escape")
    browser.until("the list", CARDS)


def opened(browser: Browser, service: Service, incident: str) -> None:
    """An incident by its address: its picture, facts, records and JSON, and its neighbours without the list."""
    address = f"{service.url}/incidents/{incident}"
    browser.complaints()
    browser.open(address)
    browser.until("the incident", INCIDENT, "")
    answer = service.get(f"/api/incidents/{incident}")
    wanted, records = answer["incident"], answer["records"]
    words = browser.run("document.querySelector('.view').innerText")
    for part in [wanted["camera_id"], wanted.get("text", ""), *wanted["zones"]]:
        check(part in words, f"the incident shows {part or 'no text'}")
    picture = "const img = document.querySelector('.stage img'); return !img.hidden && img.naturalWidth > 0"
    browser.until("the large picture", picture)
    check(
        browser.run("document.querySelectorAll('.record').length") == len(records), f"{len(records)} records are listed"
    )
    check(browser.run("document.querySelectorAll('.marker').length") == len(records), "and are on the timeline")
    shown = json.loads(browser.run("document.querySelector('.json .code').textContent"))
    check([one["event_id"] for one in shown] == [one["event_id"] for one in records], "their JSON is shown")
    everything = ids_of(service.incidents())
    at = everything.index(incident)
    look = "const link = document.querySelector('.incident-bar a:last-child'); return link.href && { href: link.href }"
    older = browser.until("the older neighbour", look)["href"]
    check(older.endswith(f"/incidents/{everything[at + 1]}"), "the older neighbour is known without the list")
    copied(browser, address)
    quiet(browser, incident)


def quiet(browser: Browser, incident: str) -> None:
    """The log has no error. Pictures of others in the list may be gone, and close-ups are not always stored.

    A video that is not ready is asked for again.
    """

    def matters(line: str) -> bool:
        if "/clip.mp4" in line:
            return "503" not in line
        return "/pictures/" not in line or (f"/{incident}/" in line and "kind=crop" not in line)

    complaints = [line for line in browser.complaints() if matters(line)]
    check(not complaints, f"the browser's log has no error {complaints or ''}".rstrip())


def copied(browser: Browser, address: str) -> None:
    """The button copies the address of the incident."""
    browser.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    browser.click(".incident-bar button")
    said = "return document.querySelector('.incident-bar [role=status]').textContent === 'Copied'"
    browser.until("that the link is copied", said)
    check(browser.run("navigator.clipboard.readText()") == address, "the link is copied")


def unknown(browser: Browser, service: Service) -> None:
    """An address without an incident says so."""
    browser.open(f"{service.url}/incidents/%3Cimg%20src=x%20id=injected%3E")
    said = browser.until("the reason", "return document.querySelector('.view .fault')?.textContent")
    check("<img src=x id=injected>" in said and browser.run(INJECTED), f"an unknown incident is named: {said}")
    browser.open(f"{service.url}/incidents/")
    browser.complaints()


def arrived(browser: Browser, service: Service) -> None:
    """A new incident is announced without moving the list, and shown on demand."""
    browser.open(f"{service.url}/incidents")
    before = browser.until("the incidents", CARDS)["ids"]
    words = browser.until(
        "a new incident", "const news = document.querySelector('.news'); return !news.hidden && news.innerText"
    )
    check(browser.until("the list", CARDS)["ids"] == before, f"a new incident is announced and moves nothing: {words}")
    browser.click(".news")
    first = "return document.querySelector('.grid > li')?.dataset.id !== seen"
    browser.until("the new incident in the list", first, before[0])
    print("ok  it is shown on demand", flush=True)


def played(browser: Browser, service: Service, incident: str) -> None:
    """The video of an incident plays, has the right duration, and follows the timeline."""
    browser.open(f"{service.url}/incidents/{incident}")
    browser.until("the incident", INCIDENT, "")
    browser.click(".stage .play")
    first = browser.until("the video", PLAYED, 0)[0]
    browser.until("more of the video", PLAYED, first + 0.5)
    frames = browser.run("document.querySelector('.stage video').getVideoPlaybackQuality().totalVideoFrames")
    check(frames > 5, f"the video plays: {frames} frames")
    seconds = service.video_s(incident)
    duration = browser.run("document.querySelector('.stage video').duration")
    check(abs(duration - seconds) < 0.2, f"it lasts {duration:.2f} s, of {seconds:.2f}")
    check(not browser.run("document.querySelector('.playhead').hidden"), "the timeline shows the time that plays")
    browser.run("document.querySelector('.stage video').pause()")
    browser.click(".marker:last-child")
    marked = """
      const video = document.querySelector(".stage video");
      const box = (name) => document.querySelector(name).getBoundingClientRect();
      const gap = Math.abs(box(".marker:last-child").x + box(".marker:last-child").width / 2 - box(".playhead").x);
      return !video.seeking && gap < 6 && document.querySelector(".record[aria-current]");
    """
    browser.until("the video at the last record", marked)
    print("ok  a record moves the video to its time", flush=True)
    browser.press("v")
    browser.until("the picture", "return !document.querySelector('.stage img').hidden")
    quiet(browser, incident)


def not_played(browser: Browser, service: Service, incident: str, words: str) -> None:
    """A video that the service refuses has its reason in its place."""
    browser.open(f"{service.url}/incidents/{incident}")
    browser.until("the incident", INCIDENT, "")
    browser.click(".stage .play")
    look = (
        "const { innerText } = document.querySelector('.stage .notice'); return innerText.includes(seen) && innerText"
    )
    said = browser.until("the reason", look, "No video")
    check(words.lower() in said.lower(), f"a video that is refused has a reason: {said}")
    browser.complaints()


def noted(browser: Browser, service: Service, incident: str, words: str) -> None:
    """A video that does not show all of its incident has a note, which goes with the video."""
    browser.open(f"{service.url}/incidents/{incident}")
    browser.until("the incident", INCIDENT, "")
    check(browser.run("document.querySelector('.stage-note').hidden"), "without the video there is no note")
    browser.click(".stage .play")
    look = "const note = document.querySelector('.stage-note'); return !note.hidden && note.innerText"
    said = browser.until("the note", look)
    check(words in said, f"the video has a note: {said}")
    browser.press("v")
    browser.until("the note gone", "return document.querySelector('.stage-note').hidden")
    browser.complaints()


def hostile(browser: Browser, service: Service) -> None:
    """Labels, cameras, zones and texts that are markup stay text in each view."""
    bad = [one for one in service.incidents() if "<" in json.dumps(one)]
    check(len(bad) > 0, f"{len(bad)} incidents have hostile texts")
    paths = ["/", "/incidents", "/system", "/zones", *(f"/incidents/{one['incident_id']}" for one in bad[:4])]
    for path in paths:
        browser.open(service.url + path)
        browser.until("the view", "return document.querySelector('.view > *')")
        if path == "/incidents":
            browser.until("the incidents", CARDS)
    for one in bad[:4]:
        browser.open(f"{service.url}/incidents?{urllib.parse.urlencode({'label': one['label']})}")
        browser.until("the incidents", CARDS)
        browser.until("their cards", "return document.querySelector('.grid > li')")
        check(browser.run(INJECTED), f"{one['label']} is text and not markup")
    browser.complaints()


def photographed(browser: Browser, service: Service, incident: str, folder: pathlib.Path | None) -> None:
    """Saves both views at all sizes."""
    for path, name in [("/incidents", "incidents"), (f"/incidents/{incident}", "incident")]:
        browser.open(service.url + path)
        browser.until("the view", "return document.querySelector('.view h1')")
        browser.until(
            "a picture", "return [...document.querySelectorAll('.view img')].some((img) => img.naturalWidth > 0)"
        )
        fits_all_widths(browser)
        if folder is None:
            continue
        for scheme in ["light", "dark"]:
            browser.scheme(scheme)
            for size, (width, height) in SCREENS.items():
                browser.size(width, height)
                browser.run("scrollTo(0, 0)")
                browser.screenshot(folder, f"{name}-{size}-{scheme}")
        browser.as_usual()


def main() -> int:
    parser = arguments_of(__doc__)
    parser.add_argument("--token", help="its HTTP_TOKEN")
    parser.add_argument("--arriving", action="store_true", help="new incidents appear")
    parser.add_argument("--hostile", action="store_true", help="some incidents have texts that are markup")
    parser.add_argument("--video", metavar="ID", help="an incident with a video")
    parser.add_argument("--noted", nargs=2, metavar=("ID", "WORDS"), help="an incident whose video has this note")
    parser.add_argument("--no-video", nargs=2, metavar=("ID", "WORDS"), help="an incident whose video is refused")
    arguments = parser.parse_args()
    return run_checks(arguments.limit_seconds, lambda browser: use(browser, arguments))


def use(browser: Browser, arguments: argparse.Namespace) -> None:
    service = Service(arguments.url.rstrip("/"), arguments.token)
    if arguments.token:
        known = service.incidents()[0]["incident_id"]
        signed_in(browser, service.url, arguments.token, known)
        linked_to(browser, service.url, known)
        return
    if arguments.video:
        played(browser, service, arguments.video)
    if arguments.no_video:
        not_played(browser, service, *arguments.no_video)
    if arguments.noted:
        noted(browser, service, *arguments.noted)
    if arguments.arriving:
        arrived(browser, service)
        return
    if arguments.video or arguments.no_video or arguments.noted:
        return
    listed(browser, service)
    filtered(browser, service)
    plate = found_by_plate(browser, service)
    walked(browser, service)
    opened(browser, service, plate)
    unknown(browser, service)
    if arguments.hostile:
        hostile(browser, service)
    photographed(browser, service, plate, arguments.screenshots)


if __name__ == "__main__":
    sys.exit(main())
