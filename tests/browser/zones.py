#!/usr/bin/env python3
"""Draws zones on the page with a real browser, by mouse, touch and keyboard, and saves their YAML.

    python3 tests/browser/zones.py --url http://127.0.0.1:8080 --cases testdata/zones/cases.json --out FOLDER
        draws on camera gate of tests/web/zones.rs, whose zones and boxes it expects
    ... --screenshots FOLDER     saves the view at several sizes, light and dark

Exit status 0: all was seen. FOLDER then has one YAML file per drawing, for `kvs-infer check`.
"""

import argparse
import json
import pathlib
import sys
from typing import Any

from browser import SCREENS, Browser, CheckError, arguments_of, check, run_checks

# Names that are markup and YAML of their own.
HOSTILE = ["<img src=x id=injected>", 'a: "b" # ${HOME} $$ \' \\ [x] &y *z !t | - %']

SHIFT = 8
CONTROL = 2
CODES = {"Enter": 13, "Escape": 27, " ": 32, "PageUp": 33, "PageDown": 34, "F2": 113, "Backspace": 8, "Delete": 46} | {
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
}

REPORT = """
const view = document.querySelector(".view-zones");
if (view?.dataset.state !== "checked") return null;
const chip = view.querySelector(".chip");
const yaml = view.querySelector(".yaml").textContent;
if ((seen.yaml && !yaml.includes(seen.yaml)) || (seen.chip && chip.textContent !== seen.chip)) return null;
const texts = (selector) => [...document.querySelectorAll(selector)].map((node) => node.textContent);
return {
  chip: chip.textContent, yaml, problems: texts(".yaml-panel .problems li"),
  difference: texts(".diff-panel .note")[0], added: texts(".diff .added"), removed: texts(".diff .removed"),
};
"""

CASES = """
(async () => {
  const { rejection, zonesOf } = await import("/page/zone_rule.js");
  const judged = (one) => ({
    zones: one.roi ? zonesOf(one.roi, one.bbox, one.frame) : [], kept: rejection(one, one, one.roi, one.frame) === null,
  });
  const differs = (one) => JSON.stringify(judged(one)) !== JSON.stringify({ zones: one.zones, kept: one.kept });
  return (%s).filter(differs).map((one) => one.name);
})()
"""


class Editor:
    """The zone editor in a browser window; places are px of the frame."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    def open(self, url: str) -> None:
        self.browser.open(url)
        loaded = "const img = document.querySelector('.stage img:not([hidden])'); return img && img.naturalWidth > 0;"
        self.browser.until("the picture", loaded)
        self.report()

    def report(self, **seen: str) -> Any:
        return self.browser.until(f"the checked drawing {seen}", REPORT, seen)

    def place(self, x: float, y: float) -> tuple[float, float]:
        found = self.browser.run(f"""
          (() => {{
            const svg = document.querySelector(".stage svg");
            svg.scrollIntoView({{ block: "center", behavior: "instant" }});
            const [area, frame] = [svg.getBoundingClientRect(), svg.viewBox.baseVal];
            return [area.x + {x} / frame.width * area.width, area.y + {y} / frame.height * area.height];
          }})()
        """)
        return found[0], found[1]

    def click(self, x: float, y: float) -> None:
        at = self.place(x, y)
        self.browser.drag(*at, *at)

    def drag(self, x1: float, y1: float, x2: float, y2: float) -> None:
        self.browser.drag(*self.place(x1, y1), *self.place(x2, y2))

    def tap(self, x: float, y: float) -> None:
        left, top = self.place(x, y)
        self.browser.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": left, "y": top}])
        self.browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def button(self, words: str) -> None:
        found = self.browser.run(f"""
          (() => {{
            const wanted = {json.dumps(words)};
            const isIt = (button) => button.textContent === wanted && !button.hidden && !button.disabled;
            const button = [...document.querySelectorAll(".view-zones button")].find(isIt);
            button?.click();
            return button !== undefined;
          }})()
        """)
        if not found:
            raise CheckError(f"there is no button {words}")

    def keys(self, *keys: str, modifiers: int = 0) -> None:
        for key in keys:
            code = CODES.get(key, ord(key.upper()[0]))
            common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
            self.browser.call("Input.dispatchKeyEvent", type="rawKeyDown", **common)
            self.browser.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def said(self) -> str:
        return self.browser.run("document.querySelector('.said').textContent")

    def choose(self, selector: str, value: str) -> None:
        self.browser.run(f"""
          (() => {{
            const field = document.querySelector({json.dumps(selector)});
            field.value = {json.dumps(value)};
            field.dispatchEvent(new Event("input", {{ bubbles: true }}));
            field.dispatchEvent(new Event("change", {{ bubbles: true }}));
          }})()
        """)

    def points_of(self, name: str) -> list[list[float]]:
        """The corners that the YAML has for a zone."""
        lines = self.report(yaml=f"name: {name}")["yaml"].splitlines()
        at = next(i for i, line in enumerate(lines) if line.endswith(f"name: {name}"))
        points: list[list[float]] = json.loads(lines[at + 1].split("points: ", 1)[1])
        return points


def judges_alike(browser: Browser, cases: str) -> None:
    """The rule in the page is that of the service."""
    count = len(json.loads(cases))
    differing = browser.run(CASES % cases)
    check(
        count > 400 and not differing, f"the page judges {count} cases as the service does {differing or ''}".rstrip()
    )


def running(editor: Editor) -> None:
    """The editor begins with the running configuration."""
    report = editor.report(chip="Runs")
    check(report["difference"].startswith("None"), "the drawing is the running configuration")
    check("name: doorway" in report["yaml"] and "masks:" in report["yaml"], "with its zones and masks")
    rows = editor.browser.run("[...document.querySelectorAll('ul.shapes > li')].map((row) => row.innerText)")
    check(len(rows) == 3 and "boxes" in rows[0], f"they are listed, with the boxes in them: {rows}")
    note = editor.browser.run("document.querySelector('.options .note:not([hidden])').innerText")
    check("Running masks are black" in note, "the black of masks in the picture is explained")


def boxes(editor: Editor) -> None:
    """The example boxes are counted by the filters and the rule."""
    look = """
      const cells = (row) => [...row.children].map((cell) => cell.textContent);
      const rows = [...document.querySelectorAll(".box-panel tr")].map(cells);
      const counts = Object.fromEntries(rows.map(([name, count]) => [name, Number(count)]));
      return counts["In a zone"] > 0 && { counts, verdict: document.querySelector(".verdict").textContent };
    """
    seen = editor.browser.until("the judged boxes", look)
    expected = {"In a zone": 80, "Outside the zones": 40, "Below the confidence": 40, "Too small": 40}
    check(seen["counts"] == expected, f"boxes are counted by what becomes of them: {seen['counts']}")
    check("80 boxes of 200, as many as" in seen["verdict"], f"as in the running configuration: {seen['verdict']}")
    editor.choose(".rule-panel select", "any")
    more = "const verdict = document.querySelector('.verdict').textContent; return verdict.includes('more') && verdict;"
    verdict = editor.browser.until("the boxes by another rule", more)
    check("120 boxes of 200, 40 more than" in verdict, f"another rule keeps others: {verdict}")
    editor.button("Undo")
    editor.report(chip="Runs")
    shown = editor.browser.run("document.querySelectorAll('svg .box-in').length")
    check(shown == 80, f"the boxes are on the picture: {shown}")
    title = editor.browser.run("document.querySelector('svg .box-in title').textContent")
    check("person 90 %" in title and "in doorway" in title, f"and say what they are: {title}")


def drawn_by_mouse(editor: Editor) -> None:
    corners = [(340, 40), (480, 50), (470, 160), (350, 170)]
    editor.button("New zone")
    for corner in corners:
        editor.click(*corner)
    editor.click(*corners[0])
    check("closed, with 4 corners" in editor.said(), f"a click at the first corner closes the zone: {editor.said()}")
    check(editor.browser.run("document.activeElement.placeholder") == "zone-3", "its name has the focus")
    editor.browser.type("kerb")
    near = [[round(x), round(y)] for x, y in editor.points_of("kerb")]
    far = max(abs(x - a) + abs(y - b) for (x, y), (a, b) in zip(near, corners, strict=True))
    check(far <= 3, f"its corners are where they were clicked: {near}")
    editor.drag(near[2][0], near[2][1], 520, 180)
    moved = editor.points_of("kerb")
    check(abs(moved[2][0] - 520) <= 2 and abs(moved[2][1] - 180) <= 2, f"a corner is dragged: {moved}")
    editor.drag(400, 100, 410, 105)
    shifted = editor.points_of("kerb")
    by = {(round(x - a), round(y - b)) for (x, y), (a, b) in zip(shifted, moved, strict=True)}
    check(len(by) == 1 and by != {(0, 0)}, f"the whole zone is dragged: {by}")
    middle = [(shifted[0][i] + shifted[1][i]) / 2 for i in (0, 1)]
    editor.drag(middle[0], middle[1], middle[0], middle[1] - 20)
    check(len(editor.points_of("kerb")) == 5, "the middle of an edge becomes a corner")


def drawn_by_keyboard(editor: Editor) -> None:
    browser = editor.browser
    browser.run("document.querySelector('.stage svg').focus()")
    editor.keys("n")
    check("New zone" in editor.said(), f"N begins a zone: {editor.said()}")
    editor.keys("ArrowUp", "ArrowUp", modifiers=SHIFT)
    editor.keys("Enter")
    check("Corner 1 at 320, 160" in editor.said(), f"Enter sets a corner: {editor.said()}")
    editor.keys("ArrowRight", "ArrowRight", "ArrowRight", modifiers=SHIFT)
    editor.keys(" ")
    editor.keys("ArrowDown", "ArrowDown", "ArrowDown", modifiers=SHIFT)
    editor.keys("ArrowDown", "Enter")
    editor.keys("ArrowDown", "ArrowDown", modifiers=SHIFT)
    editor.keys("Enter", "Backspace")
    check("3 left" in editor.said(), f"Backspace removes the last corner: {editor.said()}")
    editor.keys("c")
    check("closed, with 3 corners" in editor.said(), f"C closes the zone: {editor.said()}")
    browser.type("steps")
    editor.keys("Enter")
    check(browser.run("document.activeElement.tagName") == "svg", "Enter in the name returns to the picture")
    check(editor.points_of("steps") == [[320, 160], [350, 160], [350, 191]], "the corners are where the keys led")
    changed_by_keyboard(editor)


def changed_by_keyboard(editor: Editor) -> None:
    editor.keys(" ", " ")
    check("corner 2 of 3 at 350, 160" in editor.said(), f"Space selects a corner: {editor.said()}")
    editor.keys("ArrowRight", modifiers=SHIFT)
    editor.keys("ArrowRight")
    editor.keys("a")
    check("corner 3 of 4" in editor.said(), f"A adds a corner: {editor.said()}")
    check(editor.points_of("steps")[1] == [361, 160] and len(editor.points_of("steps")) == 4, "arrows move the corner")
    editor.keys("Delete")
    editor.keys("Delete")
    check("needs 3 corners" in editor.said(), f"the last three corners stay: {editor.said()}")
    editor.keys("z", "z", "z", modifiers=CONTROL)
    editor.report(yaml="[[320, 160], [350, 160], [350, 191]]")
    editor.keys("y", modifiers=CONTROL)
    editor.report(yaml="[[320, 160], [361, 160], [350, 191]]")
    print("ok  Ctrl+Z undoes moves that follow each other as one, and Ctrl+Y repeats them", flush=True)
    editor.keys("PageDown")
    check("Mask 1" in editor.said(), f"Page Down selects the next shape: {editor.said()}")
    editor.keys("PageUp")
    check("Zone steps" in editor.said(), "Page Up the previous one")


def drawn_by_touch(editor: Editor) -> None:
    editor.button("New mask")
    for corner in [(560, 20), (630, 20), (630, 60), (560, 60)]:
        editor.tap(*corner)
    editor.button("Close shape")
    editor.report(yaml="[[560, 20]")
    check("Mask 2 closed" in editor.said(), f"a mask is tapped: {editor.said()}")


def copied(editor: Editor, origin: str) -> None:
    editor.browser.call(
        "Browser.grantPermissions", origin=origin, permissions=["clipboardReadWrite", "clipboardSanitizedWrite"]
    )
    editor.button("Copy")
    editor.browser.until("the word Copied", "return document.querySelector('.copy').textContent === 'Copied'")
    text = editor.browser.run("navigator.clipboard.readText()")
    check(text == editor.report()["yaml"] and "name: kerb" in text, "the YAML is copied")


def compared(editor: Editor) -> None:
    report = editor.report(chip="Not in the configuration yet")
    check(any("name: kerb" in line for line in report["added"]), f"the difference has the new zone: {report['added']}")
    check("added" in report["difference"], f"and counts: {report['difference']}")
    check(report["removed"] == [], "nothing that runs is missing")


def survives_a_reload(editor: Editor, url: str) -> None:
    before = editor.report()["yaml"]
    editor.open(url)
    check(editor.report(yaml="name: kerb")["yaml"] == before, "the drawing survives a reload of the page")


def taken_over(editor: Editor) -> None:
    """The configuration with the drawing takes effect while the page is open."""
    report = editor.report(chip="Runs")
    check(report["difference"].startswith("None"), "a drawing that has taken effect differs no longer")


def hostile(editor: Editor, out: pathlib.Path) -> None:
    for name in HOSTILE:
        editor.browser.run("document.querySelector('ul.shapes input').focus()")
        editor.browser.run("document.querySelector('ul.shapes input').select()")
        editor.browser.type(name)
        # The end of the name as YAML has it in double quotes.
        editor.report(yaml="injected>" if "injected" in name else "- %")
        check(
            editor.browser.run("document.querySelector('#injected')") is None, f"a name is text and not markup: {name}"
        )
        shown = editor.browser.run("[...document.querySelectorAll('svg text')].map((text) => text.textContent)")
        check(name in shown, "it is shown as it is")
        (out / f"hostile-{HOSTILE.index(name)}.yaml").write_text(editor.report()["yaml"])
    (out / "hostile.json").write_text(json.dumps(HOSTILE))


def complained(editor: Editor, out: pathlib.Path) -> None:
    """Crossing edges and mistakes are reported in the words of `check`."""
    editor.button("New zone")
    for corner in [(400, 60), (560, 150), (560, 60), (400, 120)]:
        editor.click(*corner)
    editor.button("Close shape")
    editor.browser.type("bow")
    report = editor.report(yaml="name: bow")
    warnings = [line for line in report["problems"] if "cross" in line]
    check(len(warnings) == 1, f"edges that cross are reported: {report['problems']}")
    (out / "crossing.yaml").write_text(report["yaml"])
    (out / "crossing.txt").write_text(warnings[0])
    row = editor.browser.run("document.querySelector('ul.shapes > li.current .problems').textContent")
    check(row == warnings[0], "also beside the zone")
    editor.choose("ul.shapes > li.current input", "doorway")
    report = editor.report(chip="1 mistake")
    check(
        any("is used by an earlier polygon" in line for line in report["problems"]),
        "a name that is used twice is a mistake",
    )
    (out / "mistake.yaml").write_text(report["yaml"])
    (out / "mistake.txt").write_text(next(line for line in report["problems"] if "earlier polygon" in line))
    editor.keys("Enter")
    editor.keys("Delete", modifiers=SHIFT)
    editor.report(chip="Runs")


def in_fractions(editor: Editor, out: pathlib.Path) -> None:
    editor.choose(".rule-panel .field:nth-of-type(3) select", "normalized")
    report = editor.report(yaml="units: normalized")
    check("[0.1, 0.25]" in report["yaml"], "points become fractions of the frame")
    sizes = editor.browser.run("document.querySelector('[aria-label=\"YAML of the minimum sizes\"]').textContent")
    check("min_box: { width: 0.0375, height: 0.08889 }" in sizes, "and so does the minimum size")
    (out / "normalized.yaml").write_text(report["yaml"])
    (out / "normalized-sizes.yaml").write_text(sizes)
    look = "return document.querySelector('.verdict').textContent"
    check("80 boxes of 200" in editor.browser.until("the verdict", look), "and the boxes are judged as before")
    editor.button("Undo")
    editor.report(chip="Runs")


def fits(browser: Browser) -> None:
    for width in [360, 560, 820, 1440]:
        browser.size(width, 900)
        is_wider = browser.run("document.documentElement.scrollWidth > innerWidth")
        check(not is_wider, f"nothing is wider than a page of {width} px")
    browser.as_usual()


def photograph(editor: Editor, folder: pathlib.Path | None) -> None:
    if folder is None:
        return
    editor.browser.run("document.querySelectorAll('ul.shapes .pick')[1].click()")
    for scheme in ["light", "dark"]:
        editor.browser.scheme(scheme)
        for name, size in SCREENS.items():
            editor.browser.size(*size)
            editor.browser.run("scrollTo(0, 0)")
            editor.browser.screenshot(folder, f"zones-{name}-{scheme}", whole=True)
    editor.browser.as_usual()


def choice(browser: Browser, url: str) -> None:
    """Without a camera in the address, the cameras are listed."""
    browser.open(f"{url}/zones")
    look = """
      const all = [...document.querySelectorAll(".choice b")].map((b) => b.textContent);
      return all.length && all;
    """
    ids = browser.until("the cameras", look)
    check(ids == ["gate", "street"], f"the cameras are listed: {ids}")
    browser.click(".choice a")
    browser.until("the editor", "return document.querySelector('.stage') && location.pathname === '/zones/gate'")


def drawn(browser: Browser, arguments: argparse.Namespace) -> None:
    url, out = arguments.url.rstrip("/"), arguments.out
    editor = Editor(browser)
    choice(browser, url)
    editor.open(f"{url}/zones/gate")
    judges_alike(browser, arguments.cases.read_text())
    running(editor)
    boxes(editor)
    drawn_by_mouse(editor)
    drawn_by_keyboard(editor)
    drawn_by_touch(editor)
    compared(editor)
    copied(editor, url)
    fits(browser)
    photograph(editor, arguments.screenshots)
    survives_a_reload(editor, f"{url}/zones/gate")
    (out / "drawn.yaml").write_text(editor.report()["yaml"])
    (out / "drawn").touch()
    taken_over(editor)
    in_fractions(editor, out)
    complained(editor, out)
    hostile(editor, out)
    complaints = [line for line in browser.complaints() if "snapshot.jpg" not in line]
    check(not complaints, f"the browser's log has no error {complaints or ''}".rstrip())


def main() -> int:
    parser = arguments_of(__doc__)
    parser.add_argument("--cases", type=pathlib.Path, required=True, help="boxes and zones, judged by the service")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="FOLDER", help="where the YAML is saved")
    arguments = parser.parse_args()
    return run_checks(arguments.limit_seconds, lambda browser: drawn(browser, arguments))


if __name__ == "__main__":
    sys.exit(main())
