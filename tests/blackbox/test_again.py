"""After a choice in real Chromium: a reload only where it must be, and then nothing typed is lost."""
import pytest

from chromium import chromium, errors, until
from harness import Origin, Proxy, http_response

FORM = b"""<!DOCTYPE html><html lang="en"><title>t</title><body><p style="height:3000px">x</p>
<form><input name=a value=old><input name=b type=checkbox><input name=c type=radio value=1><input name=c type=radio value=2 checked>
<select name=d><option>1<option>2</select><textarea name=e></textarea><input name=p type=password></form>%s
<p style="height:3000px">y</p><script>window.mark = Math.random(); performance.setResourceTimingBufferSize(500)</script></body></html>"""
TAG = b'<script src="https://connect.facebook.net/en_US/fbevents.js"></script>'
PIXEL = b'<img src="https://www.facebook.com/tr?id=1&amp;ev=PageView" alt="">'
FRAME = b'<iframe src="https://www.youtube.com/embed/abc" width="400" height="300" title="v" class="big"></iframe>'
EXACT = {"async": TAG.replace(b"<script", b"<script async"), "pixel": PIXEL, "frame": FRAME, "several":
         TAG.replace(b"<script", b"<script async") + b"<b id=between></b>" + PIXEL + FRAME}


@pytest.fixture(scope="module")
def proxy(folder):
    origin = Origin()
    html = [("Content-Type", "text/html; charset=utf-8")]
    origin.routes["/tag"] = http_response(200, html, FORM % TAG)
    for name, markup in EXACT.items():
        origin.routes["/" + name] = http_response(200, html, FORM % markup)
    origin.routes["/plain"] = http_response(200, html, FORM % b"")
    daemon = Proxy(folder, origin, workers=1)
    yield daemon
    daemon.stop()
    origin.stop()


@pytest.fixture
def browser(trackers):
    with chromium(trackers) as driver:
        trackers.asked.clear()
        yield driver


TYPE = """var f = document.forms[document.forms.length - 1]; f.a.value = 'typed'; f.b.checked = true; f.c[0].checked = true;
f.d.selectedIndex = 1; f.e.value = 'long\\ntext'; f.p.value = 'secret'; scrollTo(0, 2500); return window.mark;"""
READ = """var f = document.forms[document.forms.length - 1];
return [f.a.value, f.b.checked, f.c.value, f.d.value, f.e.value, f.p.value, Math.round(scrollY) > 2000, sessionStorage.length];"""
KEPT = ["typed", True, "1", "2", "long\ntext", "", True, 0]


def visit(browser, proxy, path):
    browser.get(f"http://localhost:{proxy.port}{path}")
    until(lambda: browser.execute_script("return document.readyState === 'complete' && !!window.consent"))


def choose(browser, action):
    browser.execute_script("document.querySelector('[data-consent-action=\"' + arguments[0] + '\"]').click()", action)


def granted(browser, name):
    return browser.execute_script("return window.consent && window.consent.state.grants[arguments[0]]", name)


def test_the_reload_keeps_what_was_typed(browser, proxy, trackers):
    visit(browser, proxy, "/tag")
    mark = browser.execute_script(TYPE)
    choose(browser, "accept-all")
    until(lambda: browser.execute_script("return window.mark") != mark)
    until(lambda: browser.execute_script(READ) == KEPT)
    until(lambda: trackers.asked["connect.facebook.net"] == 1)
    assert errors(browser) == []


@pytest.mark.parametrize("name", list(EXACT))
def test_without_a_reload_where_that_is_exact(browser, proxy, trackers, name):
    """Once, where it stood, and nothing else happens to the page."""
    hosts = [h for h, n in (("connect.facebook.net", b"fbevents"), ("www.facebook.com", b"/tr?"), ("www.youtube.com", b"embed"))
             if n in EXACT[name]]
    visit(browser, proxy, "/" + name)
    mark = browser.execute_script(TYPE)
    choose(browser, "accept-all")
    until(lambda: [h for h in hosts if trackers.asked[h]] == hosts)
    until(lambda: granted(browser, "marketing"))
    assert browser.execute_script("return window.mark") == mark
    assert browser.execute_script(READ)[:5] == KEPT[:5]
    assert [trackers.asked[h] for h in hosts] == [1] * len(hosts)
    if name == "several":  # in the place where the proxy had left its comment
        assert browser.execute_script("""var b = document.getElementById('between');
            return [b.previousElementSibling.src, b.nextElementSibling.src, b.nextElementSibling.nextElementSibling.className]""") == [
                "https://connect.facebook.net/en_US/fbevents.js", "https://www.facebook.com/tr?id=1&ev=PageView", "big"]
    assert errors(browser) == []


def test_no_reload_where_nothing_was_removed(browser, proxy, trackers):
    visit(browser, proxy, "/plain")
    mark = browser.execute_script(TYPE)
    choose(browser, "accept-all")
    until(lambda: granted(browser, "marketing"))
    browser.execute_script("localStorage.setItem('_hjid', '1'); localStorage.setItem('mine', '1')")
    choose(browser, "reject-all")
    until(lambda: granted(browser, "marketing") is False)
    until(lambda: browser.execute_script("return Object.keys(localStorage)") == ["mine"])
    assert browser.execute_script("return window.mark") == mark
    assert browser.execute_script(READ)[:5] == KEPT[:5]
    assert errors(browser) == []


def test_withdrawal_reloads_where_something_ran(browser, proxy, trackers):
    visit(browser, proxy, "/tag")
    choose(browser, "accept-all")
    until(lambda: trackers.asked["connect.facebook.net"] == 1)
    until(lambda: granted(browser, "marketing") and browser.execute_script("return document.readyState") == "complete")
    mark = browser.execute_script(TYPE)
    choose(browser, "reject-all")
    until(lambda: browser.execute_script("return window.mark") != mark)
    until(lambda: browser.execute_script(READ) == KEPT)
    assert trackers.asked["connect.facebook.net"] == 1
    assert errors(browser) == []
