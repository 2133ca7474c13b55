#!/usr/bin/env python3
"""Opens the views Live and System with a real browser: headless Chromium, driven over a pipe.

    python3 tests/browser/page.py --url http://127.0.0.1:8080
        sees a live picture change and an event arrive
    ... --token TOKEN            signs in first
    ... --refused URL            also opens URL, and must be refused there
    ... --screenshots FOLDER     saves the page at several sizes, light and dark

Exit status 0: all was seen. Needs only Python and chromium.
"""

import argparse
import pathlib
import sys

from browser import SCREENS, Browser, arguments_of, check, fits_all_widths, run_checks, status_of

# The first live picture that has loaded, as its camera's name and a text of its pixels, unlike those of `seen`.
PICTURE = """
for (const img of document.querySelectorAll(".card .screen:not(.stale) img:not([hidden])")) {
  if (!img.naturalWidth) continue;
  const canvas = document.createElement("canvas");
  canvas.width = 64; canvas.height = 36;
  canvas.getContext("2d").drawImage(img, 0, 0, 64, 36);
  const camera = img.closest(".card").dataset.id;
  const pixels = canvas.toDataURL();
  if (!seen || (seen.camera === camera && seen.pixels !== pixels)) return { camera, pixels };
}
"""

# The ids of the events that were kept, once all of them are there.
KEPT = """
if (document.querySelector("#feed-state").textContent !== "live") return null;
return [...document.querySelectorAll(".event")].map((row) => row.dataset.id);
"""

# An event that is none of `seen`, and stands out as new.
ARRIVED = """
const row = [...document.querySelectorAll(".event")].find((row) => !seen.includes(row.dataset.id));
return row && row.classList.contains("new") && row.innerText.replaceAll("\\n", " ");
"""


def refused(browser: Browser, url: str, screenshots: pathlib.Path | None) -> None:
    """Beyond loopback, pictures need a token."""
    for path in ["/", "/incidents", "/system", "/api/cameras", "/api/cluster", "/api/events"]:
        check(status_of(url + path) in (401, 403), f"{path} is refused without a token off loopback")
    check(status_of(url + "/healthz") == 200, "/healthz is open")
    browser.open(url)
    words = browser.run("document.body.innerText")
    check("HTTP_TOKEN" in words, "the refusal says that HTTP_TOKEN is what is missing")
    check(browser.run("document.querySelectorAll('.card, img').length") == 0, "and shows no camera")
    browser.screenshot(screenshots, "sign-in" if browser.run("document.querySelector('form') !== null") else "closed")


def signed_in(browser: Browser, url: str, token: str) -> None:
    """The token opens the page, and is not what the cookie holds."""
    browser.open(url)
    check(status_of(url) == 401, "the page asks for the token")
    browser.run("document.querySelector('#token').focus()")
    browser.call("Input.insertText", text=token)
    with browser.loading():
        browser.run("document.querySelector('form button').click()")
    browser.until("a camera after signing in", "return document.querySelector('.card') !== null")
    check(browser.run("document.cookie") == "", "the cookie is out of a script's reach")
    cookies = browser.call("Network.getCookies")["cookies"]
    check(len(cookies) == 1 and token not in cookies[0]["value"], "the cookie is not the token")
    # The first visit's 401 is in the browser's log by design.
    browser.complaints()


def signed_out(browser: Browser, url: str) -> None:
    """The button ends the sign-in, and the page asks for the token again."""
    cookies = browser.call("Network.getCookies")["cookies"]
    with browser.loading():
        browser.run("document.querySelector('.sign-out button').click()")
    check(browser.run("document.querySelector('#token') !== null"), "signing out asks for the token again")
    check(not browser.call("Network.getCookies")["cookies"], "the cookie is gone")
    browser.call("Network.setCookie", url=url, name=cookies[0]["name"], value=cookies[0]["value"])
    browser.open(url)
    check(browser.run("document.querySelector('#token') !== null"), "a copy of the cookie opens nothing")
    browser.complaints()


def seen(browser: Browser, url: str) -> None:
    """A picture changes and an event arrives."""
    browser.open(url)
    first = browser.until("a live picture", PICTURE)
    print(f"ok  a live picture of {first['camera']}", flush=True)
    browser.until("a change of that picture", PICTURE, first)
    print("ok  the picture changed", flush=True)
    kept = browser.until("the list of events", KEPT)
    event = browser.until("a new event", ARRIVED, kept)
    print(f"ok  an event arrived: {event}", flush=True)
    origins = browser.run(
        "[...new Set(performance.getEntriesByType('resource').map(e => new URL(e.name))"
        ".filter(u => u.protocol !== 'blob:').map(u => u.origin))]"
    )
    check(origins == [browser.run("location.origin")], "nothing is fetched from elsewhere")
    complaints = [line for line in browser.complaints() if "snapshot.jpg" not in line and "/pictures/" not in line]
    check(not complaints, f"the browser's log has no error {complaints or ''}".rstrip())


def coloured(browser: Browser, colours: list[tuple[str, str]]) -> None:
    """The stripe of a label's events has the colour that its boxes have."""
    look = """
      const rows = [...document.querySelectorAll(".event")];
      const row = rows.find((row) => row.querySelector("strong").textContent === seen);
      return row && getComputedStyle(row.querySelector(".hue")).backgroundColor;
    """
    for label, colour in colours:
        stripe = browser.until(f"an event of {label}", look, label)
        check(stripe == colour, f"the stripe of {label} has the colour of its box, {colour}: {stripe}")


def summed_up(browser: Browser, text: str) -> None:
    """An activity shows what it has counted, in place of a confidence."""
    look = """
      const rows = [...document.querySelectorAll(".event")];
      const row = rows.find((row) => row.querySelector("strong").textContent === "activity");
      return row && row.querySelector(".conf").textContent;
    """
    shown = browser.until("an activity", look)
    check(shown == text, f"an activity says {text}: {shown}")


def explained(browser: Browser, url: str) -> None:
    """Dropped frames have their reason beside them, and the name of a model is not broken."""
    look = """
      const why = document.querySelector("[data-why][title]:not([title=''])");
      return why && { title: why.title, words: why.querySelector("small").textContent };
    """
    why = browser.until("why frames were dropped", look)
    check(why["words"] and why["words"] in why["title"], f"dropped frames have a reason: {why['words']}")
    open_view(browser, url, "system")
    browser.until("a model", "return document.querySelector('#models b')")
    one_line = "[...document.querySelectorAll('.strip b')].every((name) => name.clientHeight < 30)"
    for width in range(340, 620, 20):
        browser.size(width, 900)
        check(browser.run(one_line), f"names of sinks and models are on one line of a page of {width} px")
    browser.as_usual()


def open_view(browser: Browser, url: str, view: str) -> None:
    """Opens a view by its link in the header, which does not load the page again."""
    if not browser.run("location.href").startswith(url):
        browser.open(url)
    # Not with the mouse: the window has possibly just got another size, and the link another place.
    browser.run(f"document.querySelector('nav a[data-view={view}]').click()")
    browser.until(f"the view {view}", f"return document.querySelector('.view-{view} h1')")


def shared(browser: Browser, url: str) -> None:
    """The workers are listed, and each camera with its worker, also one of another worker. Ids are no markup."""
    counted = "return document.querySelector('#summary').innerText.startsWith(seen)"
    browser.until("the cameras of this worker", counted, "2 of 5 cameras of this worker")
    # Reading the pool takes a camera away.
    check(status_of(url + "api/cluster") == 200, "the pool can be read")
    browser.until("the cameras that are left", counted, "2 of 4 cameras of this worker")
    cards = browser.run("[...document.querySelectorAll('.card')].map((card) => card.dataset.id)")
    check(cards == ["street", "gate", "yard", "roof"], f"a camera that has left has no card: {cards}")
    open_view(browser, url, "system")
    look = """
      const cells = (row) => [...row.children].map((cell) => cell.innerText.trim());
      const workers = [...document.querySelectorAll("#workers li")].map((row) => row.innerText);
      if (!document.querySelector("#workers").innerText.includes("this worker")) return null;
      return workers.length && { workers, owners: [...document.querySelectorAll("#owners tr")].map(cells) };
    """
    pool = browser.until("the workers", look)
    first, second = pool["workers"]
    check("this worker" not in second, "the worker of this page is marked, and no other")
    check("host-a" in first and "leads" in first and "load 45 %" in first, "the leader is shown with its load")
    check("load 130 %" in second and "Does not keep up" in second, "an overloaded worker says so")
    check("Has configuration 1, the newest is 2" in second, "and so does one with an older configuration")
    ids = [row[0] for row in pool["owners"]]
    check(ids == ["attic", "gate", "<img src=x id=injected>"], f"cameras that need attention come first: {ids}")
    check(pool["owners"][0][1:3] == ["no worker", "\u2013"], "a free camera has no worker")
    check("no worker has room" in pool["owners"][0][3], "and the reason")
    check(pool["owners"][1][1:] == ["host-a", "2 h ago", "running"], "a camera has its worker and since when")
    check(pool["owners"][2][1] == "<b id=injected>host-b</b>", "a camera of another worker has that one's name")
    check(browser.run("document.querySelector('#injected') === null"), "ids are text and not markup")
    browser.run("document.querySelector('.owners').focus()")
    check(browser.run("document.activeElement.classList.contains('owners')"), "the list is in reach of the keyboard")
    fits_all_widths(browser)


def alone(browser: Browser, url: str) -> None:
    """Without sharing the page has no workers."""
    open_view(browser, url, "system")
    check(browser.run("document.querySelector('#pool').hidden"), "no workers are shown without sharing")


def enlarged(browser: Browser) -> None:
    """A click shows one camera large."""
    browser.until("a camera", "return document.querySelector('.card .screen')")
    browser.run("document.querySelector('.card .screen').click()")
    look = "const img = document.querySelector('dialog[open] .screen img'); return img && img.naturalWidth > 0"
    browser.until("the enlarged camera", look)
    print("ok  a click enlarges a camera", flush=True)


def photograph(browser: Browser, url: str, folder: pathlib.Path | None, pool: bool) -> None:
    if folder is None:
        return
    for scheme in ["light", "dark"]:
        browser.scheme(scheme)
        for name, (width, height) in SCREENS.items():
            browser.size(width, height)
            open_view(browser, url, "live")
            browser.until("a live picture", PICTURE)
            browser.screenshot(folder, f"live-{name}-{scheme}")
            open_view(browser, url, "system")
            browser.until("a model", "return document.querySelector('#models b')")
            if pool:
                browser.until("the workers", "return document.querySelector('#workers b')")
            browser.screenshot(folder, f"{'pool' if pool else 'system'}-{name}-{scheme}", whole=True)
    browser.as_usual()


def main() -> int:
    parser = arguments_of(__doc__, needs_url=False)
    parser.add_argument("--token", help="its HTTP_TOKEN")
    parser.add_argument("--refused", metavar="URL", help="a page that must be refused")
    parser.add_argument(
        "--stripe",
        nargs=2,
        action="append",
        default=[],
        metavar=("LABEL", "RGB"),
        help="the colour that events of LABEL must have",
    )
    parser.add_argument("--explained", action="store_true", help="frames were dropped, and the page must say why")
    parser.add_argument(
        "--pool", action="store_true", help="the worker shares its cameras in the pool of tests/web/page.rs"
    )
    parser.add_argument("--activity", metavar="TEXT", help="an activity is among the events, and must say TEXT")
    arguments = parser.parse_args()
    if not (arguments.url or arguments.refused):
        parser.error("give --url, --refused, or both")
    return run_checks(arguments.limit_seconds, lambda browser: look_at(browser, arguments))


def look_at(browser: Browser, arguments: argparse.Namespace) -> None:
    if arguments.refused:
        refused(browser, arguments.refused.rstrip("/"), arguments.screenshots)
        browser.complaints()
    if not arguments.url:
        return
    url = arguments.url.rstrip("/") + "/"
    if arguments.token:
        signed_in(browser, url, arguments.token)
    seen(browser, url)
    coloured(browser, arguments.stripe)
    if arguments.activity:
        summed_up(browser, arguments.activity)
    if arguments.explained:
        explained(browser, url)
    if arguments.pool:
        shared(browser, url)
    else:
        alone(browser, url)
    photograph(browser, url, arguments.screenshots, arguments.pool)
    open_view(browser, url, "live")
    enlarged(browser)
    browser.screenshot(arguments.screenshots, "enlarged")
    if arguments.token:
        signed_out(browser, url)


if __name__ == "__main__":
    sys.exit(main())
