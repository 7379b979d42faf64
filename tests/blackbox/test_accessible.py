"""What WCAG 2.2 AA asks of the banner, measured in Chromium without anybody else's tool.

Every text and control in every language, theme and state: contrast as it is painted, size of targets, reflow at 320 px
and at 200 %, names and roles as assistive technology gets them, the order of the keyboard, and a focus that can be seen.
"""
import itertools

import pytest

from chromium import Keys, chromium, control, cookies, until
from harness import Origin, Proxy, http_response
from test_banner import LANGUAGES, i18n, size, speak, visit

PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>t</title><link rel=icon href="data:,"><meta name="viewport" content="width=device-width">
</head><body><main><h1>t</h1><p>%s</p><a href="#x">link</a></main><script src="/own.js"></script></body></html>""" % ("text " * 400)
THEMES = {"light": [("prefers-color-scheme", "light")], "dark": [("prefers-color-scheme", "dark")],
          "forced": [("forced-colors", "active")], "forced-dark": [("forced-colors", "active"), ("prefers-color-scheme", "dark")]}
STATES = ("first", "settings", "decided", "gpc")

# every element of ours with text of its own, and every control: [what, ratio, wanted]
CONTRAST = """
var parse = text => { var c = text.match(/[\\d.]+/g).map(Number); return c.length < 4 ? c.concat(1) : c; };
var over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
var light = c => { var v = c.slice(0, 3).map(x => (x /= 255) <= 0.04045 ? x / 12.92 : Math.pow((x + 0.055) / 1.055, 2.4)); return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
var ratio = (a, b) => { var x = light(a), y = light(b); return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05); };
var behind = e => { var layers = []; for (; e; e = e.parentElement) { var c = parse(getComputedStyle(e).backgroundColor); layers.push(c); if (c[3] === 1) break; }
  return layers.reverse().reduce((below, c) => over(c, below), [255, 255, 255, 1]); };
var visible = e => e.checkVisibility({visibilityProperty: true}) && e.getBoundingClientRect().width > 0;
var found = [];
document.querySelectorAll('.cnsnt, .cnsnt *').forEach(e => {
  if (!visible(e) || /^(STYLE|SCRIPT)$/.test(e.tagName)) return;
  var style = getComputedStyle(e), back = behind(e), own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  if (own) {
    var px = parseFloat(style.fontSize), large = px >= 24 || (px >= 18.66 && style.fontWeight >= 700);
    found.push([e.tagName + ' ' + e.textContent.trim().slice(0, 30), ratio(over(parse(style.color), back), back), large ? 3 : 4.5]);
  }
  if (e.matches('button, .cnsnt-more, .cnsnt-open, input')) { /* 1.4.11: its edge or its surface tells it from what it stands on */
    var around = behind(e.parentElement), edge = parseFloat(style.borderTopWidth) ? over(parse(style.borderTopColor), around) : around;
    if (!e.matches('.cnsnt-x') && getComputedStyle(e).appearance !== 'auto' && style.textDecorationLine !== 'underline')
      found.push(['edge of ' + e.outerHTML.slice(0, 60), Math.max(ratio(edge, around), ratio(back, around)), 3]);
  }
});
return found;"""
TARGETS = """return [...document.querySelectorAll('.cnsnt button, .cnsnt input, .cnsnt summary, .cnsnt a')].filter(e => e.checkVisibility()).filter(e => {
  var r = e.getBoundingClientRect(), inline = getComputedStyle(e).display === 'inline' && e.closest('p');
  return r.width && !inline && (r.width < 24 || r.height < 24); }).map(e => e.outerHTML.slice(0, 90));"""
# what the first layer offers is in sight, above whatever does not fit
CHOICES = """return [...document.querySelectorAll('.cnsnt-row > *')].filter(e => e.checkVisibility()).map(e => {
  var r = e.getBoundingClientRect(); return [r.top + 2, r.bottom - 2].every(y => e.contains(document.elementFromPoint(r.left + r.width / 2, y))); });"""
# what sticks out of its box or of the window, and texts that lie on each other
REFLOW = """
var out = [], boxes = [], shown = [...document.querySelectorAll('.cnsnt *')].filter(e => e.checkVisibility() && e.getBoundingClientRect().width && !/^(STYLE|SCRIPT|DIALOG|OPTION)$/.test(e.tagName));
if (document.documentElement.scrollWidth > innerWidth) out.push('page scrolls sideways');
shown.forEach(e => {
  var r = e.getBoundingClientRect(), style = getComputedStyle(e), scrolls = /auto|scroll/.test(style.overflowY);
  if (r.left < -0.5 || r.right > innerWidth + 0.5) out.push('outside: ' + e.outerHTML.slice(0, 80));
  if (e.scrollWidth > e.clientWidth + 1 && e.clientWidth && style.display !== 'inline') out.push('too wide: ' + e.outerHTML.slice(0, 80));
  if (e.scrollHeight > e.clientHeight + 2 && e.clientHeight && !scrolls && style.display !== 'inline') out.push('too high: ' + e.outerHTML.slice(0, 80));
  if (e.matches('button, a, summary, label, h2, p, li')) boxes.push([e, r]);
});
boxes.forEach(([a, x], i) => boxes.slice(i + 1).forEach(([b, y]) => {
  if (a.contains(b) || b.contains(a) || a.closest('.cnsnt-row') !== b.closest('.cnsnt-row')) return; /* the row of buttons is sticky: it covers what scrolls */
  if (Math.min(x.right, y.right) - Math.max(x.left, y.left) > 1 && Math.min(x.bottom, y.bottom) - Math.max(x.top, y.top) > 1)
    out.push('on each other: ' + a.outerHTML.slice(0, 50) + ' | ' + b.outerHTML.slice(0, 50)); }));
return out;"""
FOCUS = """var e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
var x = Math.min(Math.max(r.left + r.width / 2, 1), innerWidth - 2), y = Math.min(Math.max(r.top + r.height / 2, 1), innerHeight - 2), hit = document.elementFromPoint(x, y);
return {ours: !!e.closest('.cnsnt'), outline: parseFloat(s.outlineWidth) >= 2 && s.outlineStyle !== 'none', seen: r.bottom > 0 && r.top < innerHeight && (e.contains(hit) || hit.contains(e)),
  what: e.getAttribute('data-consent-action') || e.getAttribute('name') || e.localName, html: e.outerHTML.slice(0, 80)};"""


@pytest.fixture(scope="module")
def proxy(folder):
    origin = Origin()
    origin.routes["/"] = http_response(200, [("Content-Type", "text/html; charset=utf-8")], PAGE.encode())
    origin.routes["/own.js"] = http_response(200, [("Content-Type", "text/javascript")], b"document.documentElement.dataset.own = 'ran';")
    daemon = Proxy(folder, origin, workers=1)
    yield daemon
    daemon.stop()
    origin.stop()


@pytest.fixture(scope="module")
def one_browser():
    with chromium() as driver:
        driver.execute_cdp_cmd("Network.enable", {})
        yield driver


@pytest.fixture
def browser(one_browser, proxy):
    one_browser.get(f"http://localhost:{proxy.port}/own.js")
    one_browser.delete_all_cookies()
    size(one_browser, 1100, 800)
    speak(one_browser, "en")
    yield one_browser
    one_browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def theme(browser, name):
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": [
        {"name": feature, "value": value} for feature, value in THEMES[name] + [("prefers-reduced-motion", "reduce")]]})


def enter(browser, proxy, state, language):
    """The page in this state; the settings with everything unfolded and one box ticked."""
    browser.delete_all_cookies()
    speak(browser, language, **({"Sec-GPC": "1"} if state == "gpc" else {}))
    visit(browser, proxy)
    if state == "decided":
        control(browser, "reject-all").click()
        until(lambda: control(browser, "open").is_displayed())
    if state == "settings":
        control(browser, "settings").click()
        browser.execute_script("document.querySelectorAll('.cnsnt details').forEach(d => { d.open = true; }); document.querySelector('.cnsnt input').checked = true;")


@pytest.mark.parametrize("name", list(THEMES))
@pytest.mark.parametrize("state", STATES)
def test_contrast(browser, proxy, name, state):
    theme(browser, name)
    enter(browser, proxy, state, "en")
    found = browser.execute_script(CONTRAST)
    assert len(found) >= (1 if state == "decided" else 6), found
    assert [row for row in found if row[1] < row[2]] == []


@pytest.mark.parametrize("state", STATES)
def test_sizes_in_every_language(browser, proxy, state):
    """1280 px, 320 px (1.4.10), and 1280x800 at 200 % (1.4.4): all of it is there, nothing is cut off, on each other, or too small to hit."""
    for language, (width, height) in itertools.product(LANGUAGES, ((1280, 800), (320, 640), (640, 400))):
        size(browser, width, height)
        enter(browser, proxy, state, language)
        assert browser.execute_script(REFLOW) == [], (language, width)
        assert browser.execute_script(TARGETS) == [], (language, width)
        assert state not in ("first", "gpc") or browser.execute_script(CHOICES) == [True] * 3, (language, width)


@pytest.mark.parametrize("state", ["first", "settings"])
def test_mirrored(browser, proxy, state):
    """Arabic is the mirror image of German, control by control, as far as the words let it be."""
    where = """var centre = innerWidth / 2, at = {};
        document.querySelectorAll('.cnsnt [data-consent-action], .cnsnt h2, .cnsnt input, .cnsnt-card').forEach(e => { var r = e.getBoundingClientRect();
          if (r.width) at[e.dataset.consentAction || e.name || e.className || e.localName] = [Math.round(r.left - 0), Math.round(innerWidth - r.right), Math.round(r.width)]; });
        return at;"""
    sides = {}
    for language in ("de", "ar"):
        enter(browser, proxy, state, language)
        sides[language] = browser.execute_script(where)
        assert browser.execute_script("return getComputedStyle(document.querySelector('.cnsnt-card')).direction") == ("rtl" if language == "ar" else "ltr")
    assert sides["de"].keys() == sides["ar"].keys()
    for what, (left, right, width) in sides["de"].items():
        if sides["ar"][what][2] == width:  # the same width: at the same distance from the other edge
            scroll = 16  # a scroll bar stays on its side
            assert abs(sides["ar"][what][1] - left) <= scroll or abs(sides["ar"][what][0] - right) <= scroll, (what, sides)


@pytest.mark.parametrize("width,height", [(1100, 800), (320, 640), (640, 400)])
def test_the_keyboard_sees_where_it_is(browser, proxy, width, height):
    """Every stop in the order of the page, marked, in the window and not covered (2.4.3, 2.4.7, 2.4.11)."""
    size(browser, width, height)
    for state, want in (("first", ["a", "accept-all", "reject-all", "settings"]), ("settings", ["close", "a", "analytics", "marketing", "accept-all", "reject-all"]), ("decided", ["open"])):
        enter(browser, proxy, state, "en")
        if state != "settings":
            browser.execute_script("document.activeElement.blur(); document.body.tabIndex = -1; document.body.focus();")
        stops = []
        for _ in range(30):
            browser.switch_to.active_element.send_keys(Keys.TAB)
            at = browser.execute_script(FOCUS)
            if not at["ours"]:
                break
            assert at["outline"] and at["seen"], (state, at)
            stops.append(at["what"])
        rest = iter(stops)
        assert all(what in rest for what in want), (state, stops)


def test_reduced_motion(browser, proxy):
    for state in STATES:
        theme(browser, "light")
        enter(browser, proxy, state, "en")
        moving = browser.execute_script("""return [...document.querySelectorAll('.cnsnt, .cnsnt *')].filter(e => [null, '::before', '::after', '::backdrop'].some(part => {
            var s = getComputedStyle(e, part); return parseFloat(s.transitionDuration) > 0 || s.animationName !== 'none'; })).map(e => e.outerHTML.slice(0, 60));""")
        assert moving == [], state


def tree(browser):
    """What assistive technology gets: (role, name, properties) of what is not ignored."""
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    return [(node["role"]["value"], node.get("name", {}).get("value", ""), {p["name"]: p["value"].get("value") for p in node.get("properties", [])})
            for node in nodes if not node["ignored"]]


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_and_roles(browser, proxy, language):
    browser.execute_cdp_cmd("Accessibility.enable", {})
    words = i18n(language)
    enter(browser, proxy, "first", language)
    nodes = tree(browser)
    named = {(role, name) for role, name, _ in nodes}
    assert ("region", words["title"]) in named and ("heading", words["title"]) in named
    assert {("button", words["accept_all"]), ("button", words["reject_all"]), ("button", words["settings"])} <= named
    enter(browser, proxy, "settings", language)
    nodes = tree(browser)
    dialog = next(node for node in nodes if node[0] == "dialog")
    assert dialog[1] == words["title"] and dialog[2].get("modal") is True
    boxes = [(name, properties.get("checked")) for role, name, properties in nodes if role in ("checkbox", "switch")]
    assert len(boxes) == 2 and all(title and title in name for (name, _), title in zip(boxes, (words["analytics_title"], words["marketing_title"])))
    assert [checked for _, checked in boxes] == ["true", "false"]
    nameless = [(role, properties) for role, name, properties in nodes if role in ("button", "link", "checkbox", "switch", "heading", "DisclosureTriangle") and not name.strip()]
    assert nameless == []
    assert ("button", words["close"]) in {(role, name) for role, name, _ in nodes}
    enter(browser, proxy, "decided", language)
    assert any(role == "button" and name == words["open"] for role, name, _ in tree(browser))
    browser.execute_cdp_cmd("Accessibility.disable", {})


def test_what_was_chosen_is_no_trap(browser, proxy):
    """Escape leaves the settings; the focus is back where it was, and nothing was decided (2.1.2, 3.2.1)."""
    enter(browser, proxy, "first", "en")
    control(browser, "settings").send_keys(Keys.ENTER)
    until(lambda: browser.find_elements("css selector", "dialog[open]"))
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    until(lambda: browser.switch_to.active_element.get_attribute("data-consent-action") == "settings")
    assert cookies(browser) == []
