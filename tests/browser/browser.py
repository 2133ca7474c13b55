"""A headless Chromium, driven over a pipe (the DevTools protocol), and the checks that the browser tests share.

Needs only Python and chromium.
"""

import argparse
import base64
import contextlib
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, Self

BROWSER_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
    "--window-size=1440,900",
]

# Width and height of the windows that are photographed, px.
SCREENS = {"wide": (1440, 900), "tablet": (820, 1180), "phone": (360, 780)}

# The keys that are pressed by name: the code of Windows, and the text that the key gives.
KEYS = {
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    "Tab": (9, ""),
    "Delete": (46, ""),
    " ": (32, " "),
    "ArrowLeft": (37, ""),
    "ArrowUp": (38, ""),
    "ArrowRight": (39, ""),
    "ArrowDown": (40, ""),
}

# Resolves with what `look()` gives as soon as that is something: now, after any change of the document, or after an
# event that changes no element.
UNTIL = """
new Promise((done) => {
  const seen = %s;
  const look = () => { %s };
  const found = look();
  if (found) return done(found);
  const events = ["load", "error", "loadeddata", "timeupdate", "seeked", "scroll", "focusin", "focusout"];
  const again = () => {
    const found = look();
    if (!found) return;
    observer.disconnect();
    for (const name of events) document.removeEventListener(name, again, true);
    done(found);
  };
  const observer = new MutationObserver(again);
  observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
  for (const name of events) document.addEventListener(name, again, true);
})
"""


class CheckError(Exception):
    """Raised for something that should have been seen and was not."""


class Browser:
    """One browser window, spoken to over a pipe (the DevTools protocol). Leaving the `with` ends it."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.deadline = time.monotonic() + limit_s
        self.stack = contextlib.ExitStack()
        self.received = b""
        self.last_id = 0
        self.session: str | None = None
        self.loads = 0
        self.errors: list[str] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            profile = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="kvs-infer-page-", ignore_cleanup_errors=True)
            )
            self.start(stack, profile)
            stack.callback(self.close)
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ["Page", "Runtime", "Log", "Network"]:
                self.call(f"{domain}.enable")
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def start(self, stack: contextlib.ExitStack, profile: str) -> None:
        """The browser reads commands from its descriptor 3 and writes answers to its descriptor 4."""
        commands, self.to_browser = os.pipe()
        self.from_browser, answers = os.pipe()
        log = stack.enter_context(tempfile.TemporaryFile())
        line = [program("chromium"), *BROWSER_ARGUMENTS, f"--user-data-dir={profile}", "about:blank"]
        shell = ["sh", "-c", f'exec "$@" 3<&{commands} 4>&{answers}', "sh", *line]
        self.child = subprocess.Popen(shell, pass_fds=[commands, answers], stdout=log, stderr=log)
        os.close(commands)
        os.close(answers)

    def close(self) -> None:
        """Closing its pipe ends the browser."""
        self.session = None
        with contextlib.suppress(CheckError, OSError):
            self.call("Browser.close")
        os.close(self.to_browser)
        os.close(self.from_browser)
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    def call(self, method: str, **parameters: Any) -> Any:
        self.last_id += 1
        command = {"id": self.last_id, "method": method, "params": parameters}
        if self.session:
            command["sessionId"] = self.session
        self.deadline = time.monotonic() + self.limit_s
        os.write(self.to_browser, json.dumps(command).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.last_id:
                if "error" in answer:
                    raise CheckError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def receive(self) -> dict[str, Any]:
        """The next answer or happening."""
        while b"\0" not in self.received:
            left_s = self.deadline - time.monotonic()
            if left_s <= 0 or not select.select([self.from_browser], [], [], left_s)[0]:
                raise CheckError(f"not within {self.limit_s} s")
            part = os.read(self.from_browser, 1 << 16)
            if not part:
                raise CheckError(
                    "the browser ended; does it start? chromium --headless --no-sandbox --dump-dom about:blank"
                )
            self.received += part
        message, self.received = self.received.split(b"\0", 1)
        message = json.loads(message)
        self.notice(message.get("method"), message.get("params"))
        return message

    def notice(self, method: str | None, event: Any) -> None:
        self.loads += method == "Page.loadEventFired"
        if method == "Log.entryAdded" and event["entry"]["level"] == "error":
            self.errors.append(f"{event['entry']['text']} {event['entry'].get('url', '')}")
        if method == "Runtime.exceptionThrown":
            self.errors.append(event["exceptionDetails"]["text"])

    def open(self, url: str) -> None:
        """Returns once the page is loaded."""
        with self.loading():
            self.call("Page.navigate", url=url)

    @contextlib.contextmanager
    def loading(self, pages: int = 1) -> Iterator[None]:
        """Waits, when it is left, for the page that was loaded inside, or for several in a row."""
        before = self.loads
        yield
        self.deadline = time.monotonic() + self.limit_s
        while self.loads < before + pages:
            self.receive()

    def run(self, expression: str) -> Any:
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            raise CheckError(answer["exceptionDetails"].get("exception", {}).get("description", "the page threw"))
        return answer["result"].get("value")

    def until(self, what: str, look: str, seen: Any = None) -> Any:
        try:
            return self.run(UNTIL % (json.dumps(seen), look))
        except CheckError as failure:
            raise CheckError(f"{what} was not seen: {failure}") from None

    def size(self, width: int, height: int) -> None:
        """Gives the window this size, px."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def scheme(self, name: str) -> None:
        """Makes the user prefer `light` or `dark`."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def as_usual(self) -> None:
        """Ends what `size` and `scheme` have set."""
        self.call("Emulation.clearDeviceMetricsOverride")
        self.call("Emulation.setEmulatedMedia", features=[])

    def press(self, key: str) -> None:
        """Presses and releases a key: one of `KEYS`, or a letter or sign by itself."""
        code, text = KEYS.get(key, (ord(key.upper()[0]), key))
        common = {"key": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Inserts a text in the focused field."""
        self.call("Input.insertText", text=text)

    def place(self, selector: str) -> tuple[float, float]:
        """The centre of the first element of a selector, scrolled into view, px."""
        found = self.run(f"""
          (() => {{
            const found = document.querySelector({json.dumps(selector)});
            if (!found) return null;
            found.scrollIntoView({{ block: "center", behavior: "instant" }});
            const box = found.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
          }})()
        """)
        if found is None:
            raise CheckError(f"there is no {selector}")
        return found[0], found[1]

    def click(self, selector: str) -> None:
        """Clicks the first element of a selector with the mouse."""
        self.drag(*self.place(selector), *self.place(selector))

    def drag(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """Presses the mouse button at one place of the window, px, and releases it at another."""
        self.mouse("mouseMoved", x1, y1)
        self.mouse("mousePressed", x1, y1)
        if (x1, y1) != (x2, y2):
            self.mouse("mouseMoved", (x1 + x2) / 2, (y1 + y2) / 2)
            self.mouse("mouseMoved", x2, y2)
        self.mouse("mouseReleased", x2, y2)

    def mouse(self, kind: str, x: float, y: float) -> None:
        pressed = {"mouseMoved": {}, "mousePressed": {"button": "left"}, "mouseReleased": {"button": "left"}}[kind]
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, clickCount=1, **pressed)

    def complaints(self) -> list[str]:
        """The errors since the last call."""
        errors, self.errors = self.errors, []
        return errors

    def screenshot(self, folder: pathlib.Path | None, name: str, whole: bool = False) -> None:
        """Saves what is seen, or the whole page; no folder: nothing."""
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        (folder / f"{name}.png").write_bytes(base64.b64decode(picture))


def opener() -> urllib.request.OpenerDirector:
    """Opens addresses of this host only, past any proxy."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def program(name: str) -> str:
    path = os.environ.get(name.upper()) or shutil.which(name)
    if path is None:
        raise CheckError(f"{name} is not installed: apt-get install chromium")
    return path


def status_of(url: str) -> int:
    try:
        with opener().open(url, timeout=10) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def check(holds: bool, words: str) -> None:
    if not holds:
        raise CheckError(words)
    print(f"ok  {words}", flush=True)


def fits_all_widths(browser: Browser) -> None:
    """No width of the window makes the view scroll sideways."""
    for width in [320, 360, 390, 560, 820, 1440]:
        browser.size(width, 900)
        fits = "document.documentElement.scrollWidth <= innerWidth"
        check(browser.run(fits), f"nothing is wider than a page of {width} px")
    browser.as_usual()


def arguments_of(description: str | None, *, needs_url: bool = True) -> argparse.ArgumentParser:
    """The arguments that every check of the page has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=needs_url, help="the page of the service")
    parser.add_argument("--screenshots", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--limit-seconds", type=int, default=60, help="until what is not seen is missing (60)")
    return parser


def run_checks(limit_s: int, checks: Callable[[Browser], None]) -> int:
    """The exit code of checks in a browser of their own."""
    try:
        with Browser(limit_s) as browser:
            checks(browser)
    except CheckError as failure:
        print(f"FAILED  {failure}", file=sys.stderr)
        return 1
    return 0
