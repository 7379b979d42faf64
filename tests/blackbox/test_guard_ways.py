"""The ways by which a page's scripts can make a browser ask: each is stopped, and each really is one.

Every way asks one tracker for a number of its own. Before consent no number arrives; with consent all
of them do, so that a way which asks for nothing at all is no proof.
"""
import json
import time

import pytest

from chromium import EveryHost, chromium, errors, settled
from harness import Origin, Proxy, http_response
from test_enforce import decide

WRITTEN = {  # while the page is parsed, by document.write
    "quoted": """document.write('<img alt="a > b" src="' + T + '">')""",
    "cut in a value": """document.write('<img alt="a > b" '); document.write('src="' + T + '">')""",
    "cut in quotes": """document.write('<img alt="a > '); document.write('b" src="' + T + '">')""",
    "cut in a name": """document.write('<i'); document.write('mg src="' + T + '">')""",
    "one by one": """('<img alt=x src="' + T + '">').split('').forEach(function (c) { document.write(c); })""",
    "references": """document.write('<img src="' + T.replace(/\\//g, '&#x2f;').replace(/o/g, '&#111;') + '">')""",
    "style": """document.write('<style>#w{background:url(' + T + ')}</style><p id=w>x</p>')""",
    "speculation": """document.write('<script type="speculationrules">{"prefetch":[{"urls":["' + T + '"]}]}<' + '/script>')""",
    "a frame's document": """var f = document.createElement('iframe'); document.head.after(f);
        f.contentDocument.write('<!DOCTYPE html><html><body><img alt=">" src="' + T + '">'); f.contentDocument.close()""",
}
MARKUP = {  # as text that becomes elements
    "references": """box.innerHTML = '<img src="' + T.replace('://', '&#58;&#x2F;&sol;').replace('.', '&period;') + '">'""",
    "quoted": """box.innerHTML = '<img alt="a > b" title=\\'">\\' src="' + T + '">'""",
    "after a slash": """box.innerHTML = '<img/alt=""src="' + T + '"/>'""",
    "two attributes of one name": """box.innerHTML = '<img src="' + T + '" src="/own.png">'""",
    "in a comment's shadow": """box.innerHTML = '<!-- <a title=" --><img src="' + T + '">'""",
    "outerHTML": """box.appendChild(document.createElement('p')).outerHTML = '<img alt=">" src="' + T + '">'""",
    "insertAdjacentHTML": """box.insertAdjacentHTML('beforeend', '<img alt=">" src="' + T + '">')""",
    "a fragment": """box.append(document.createRange().createContextualFragment('<img alt=">" src="' + T + '">'))""",
    "a template": """box.innerHTML = '<template><img alt=">" src="' + T + '"></template>'; box.append(box.lastChild.content)""",
    "a template in one": """box.innerHTML = '<template><template><img src="&#104' + T.slice(1) + '"></template></template>';
        box.append(box.lastChild.content.firstChild.content)""",
    "a shadow root": """box.attachShadow({mode: 'open'}).innerHTML = '<img alt=">" src="' + T + '">'""",
    "a declared shadow root": """box.setHTMLUnsafe('<p><template shadowrootmode=open><img alt=">" src="' + T + '"></template></p>')""",
    "parseHTMLUnsafe": """box.append(document.adoptNode(Document.parseHTMLUnsafe('<img alt=">" src="' + T + '">').body.firstChild))""",
    "DOMParser": """box.append(new DOMParser().parseFromString('<img alt=">" src="' + T + '">', 'text/html').images[0])""",
    "DOMParser, XML": """box.append(document.adoptNode(new DOMParser().parseFromString(
        '<svg xmlns="http://www.w3.org/2000/svg"><image href="' + T + '" width="9" height="9"/></svg>', 'image/svg+xml').documentElement))""",
    "execCommand": """box.contentEditable = 'true'; getSelection().selectAllChildren(box); document.execCommand('insertHTML', false, '<img alt=">" src="' + T + '">')""",
    "srcdoc": """var f = document.createElement('iframe'); f.srcdoc = '<img alt=">" src="' + T + '">'; box.append(f)""",
    "srcdoc in srcdoc": """box.innerHTML = '<iframe srcdoc="<iframe srcdoc=\\'<img src=&amp;quot;' + T + '&amp;quot;>\\'></iframe>"></iframe>'""",
    "SRCDOC": """var f = document.createElement('iframe'); f.setAttribute('SRCDOC', '<img src="' + T + '">'); box.append(f)""",
    "a style's references": """box.innerHTML = '<p style="background:u&#114;l(&#39;' + T + '&#39;)">x</p>'""",
    "a style element": """box.innerHTML = '<style>#' + id + '{background:url(' + T + ')}</style>'; box.id = id""",
    "svg": """box.innerHTML = '<svg><image href="' + T + '" width="9" height="9"/></svg>'""",
    "svg, xlink": """box.innerHTML = '<svg><image xlink:href="' + T + '" width="9" height="9"/></svg>'""",
    "a cell": """box.innerHTML = '<table background="/own.png"><td background="' + T + '">x'""",
    "link": """box.innerHTML = '<link rel=stylesheet title=">" href="' + T + '">'""",
    "srcset": """box.innerHTML = '<img srcset="/own.png 9x,&#32;' + T + ' 1x">'""",
}
WAYS = {  # one by one
    "Audio": "new Audio(T)",
    "imageSrcset": "var l = document.createElement('link'); l.rel = 'preload'; l.as = 'image'; l.imageSrcset = T + ' 1x'; document.head.append(l)",
    "an address without slashes": "new Image().src = 'https:' + T.slice(8)",
    "an address without slashes in CSS": "box.style.cssText = 'background:url(https:' + T.slice(8) + ')'",
    "a constructed sheet": """var s = new CSSStyleSheet(); box.id = id; s.replaceSync('#' + id + '{background:url(' + T + ')}'); document.adoptedStyleSheets.push(s)""",
    "an inert document": """var d = document.implementation.createHTMLDocument(''); d.body.innerHTML = '<img src=' + T + '>'; box.append(d.body.firstChild)""",
    "written into an inert document": """var d = document.implementation.createHTMLDocument(''); d.write('<img src=' + T + '>'); box.append(d.body.firstChild)""",
    "a script in srcdoc": """var f = document.createElement('iframe'); f.srcdoc = '<script>new Image().src = "' + T + '"<' + '/script>'; box.append(f)""",
    "a script of a frame": """var f = document.createElement('iframe'); box.append(f); var s = f.contentDocument.createElement('script');
        s.text = 'new Image().src = "' + T + '"'; f.contentDocument.body.append(s)""",
    "a frame's name": "var f = document.createElement('iframe'); f.name = 'named' + id; box.append(f); window['named' + id].fetch(T, {mode: 'no-cors'})",
    "a frame of text": "box.innerHTML = '<iframe></iframe>'; window[window.length - 1].fetch(T, {mode: 'no-cors'})",
    "a frame in a shadow": """var r = box.attachShadow({mode: 'open'}); r.innerHTML = '<iframe></iframe>'; r.firstChild.contentWindow.fetch(T, {mode: 'no-cors'})""",
    "a worker of a frame": """var f = document.createElement('iframe'); box.append(f);
        new f.contentWindow.Worker(URL.createObjectURL(new Blob(['fetch("' + T + '", {mode: "no-cors"})'])))""",
    "a blob of a frame": """var f = document.createElement('iframe'); box.append(f);
        new Worker(f.contentWindow.URL.createObjectURL(new f.contentWindow.Blob(['fetch("' + T + '", {mode: "no-cors"})'])))""",
    "a worker's script": """new Worker(URL.createObjectURL(new File(['importScripts("' + T + '")'], 'x.js')))""",
    "a sheet in a shadow": """var r = box.attachShadow({mode: 'open'}), s = document.createElement('link'); s.rel = 'stylesheet'; s.href = T; r.append(s)""",
    "what it is for, later": "var l = document.createElement('link'); l.href = T; l.rel = 'prefetch'; document.head.append(l)",
    "pictures of other elements": """var i = document.createElement('input'); i.type = 'image'; i.src = T; box.append(i)""",
    "a poster": "var v = document.createElement('video'); v.poster = T; box.append(v)",
    "Audio, src": "new Audio().src = T",
    "speculation": """var s = document.createElement('script'); s.type = 'speculationrules';
        s.textContent = JSON.stringify({prefetch: [{urls: [T]}]}); document.head.append(s)""",
    "speculation, text": """var s = document.createElement('script'); s.type = 'speculationrules';
        s.text = JSON.stringify({prefetch: [{source: 'list', urls: ['/own.png', T]}]}); document.head.append(s)""",
    "speculation, appended": """var s = document.createElement('script'); s.type = 'speculationrules';
        s.append(JSON.stringify({prefetch: [{urls: [T]}]})); document.head.append(s)""",
    "SRC": "var i = document.createElement('img'); i.setAttribute('SRC', T)",
    "an argument more": "var i = document.createElement('img'); i.setAttribute('src', T, 0)",
    "an object": "var i = document.createElement('img'); i.setAttribute({toString: function () { return 'src'; }}, {toString: function () { return T; }})",
    "STYLE": "box.setAttribute('STYLE', 'background:url(' + T + ')')",
    "a style's node": """var a = document.createAttribute('style'); a.value = 'background:url(' + T + ')'; box.setAttributeNode(a)""",
    "a style as an object": "box.setAttribute('style', {toString: function () { return 'background:url(' + T + ')'; }})",
    "innerText": """var s = document.createElement('style'); box.id = id; document.head.append(s); s.innerText = '#' + id + '{background:url(' + T + ')}'""",
    "innerHTML of a style": """var s = document.createElement('style'); box.id = id; document.head.append(s); s.innerHTML = '#' + id + '{background:url(' + T + ')}'""",
    "an import": """var s = document.createElement('style'); s.textContent = '@import "' + T + '"'; document.head.append(s)""",
    "a text's data": """var s = document.createElement('style'); box.id = id; s.append(''); document.head.append(s); s.firstChild.data = '#' + id + '{background:url(' + T + ')}'""",
    "appendData": """var s = document.createElement('style'); box.id = id; s.append('#' + id); document.head.append(s); s.firstChild.appendData('{background:url(' + T + ')}')""",
    "svg, baseVal": """box.innerHTML = '<svg><image width="9" height="9"/></svg>'; box.querySelector('image').href.baseVal = T""",
    "svg script, baseVal": """var s = document.createElementNS('http://www.w3.org/2000/svg', 'script'); s.href.baseVal = T; box.append(s)""",
    "attributeStyleMap": "box.attributeStyleMap.set('background-image', 'url(' + T + ')')",
    "attributeStyleMap, append": "box.attributeStyleMap.append('background-image', 'url(' + T + ')')",
    "CSSStyleValue": "box.attributeStyleMap.set('background-image', CSSStyleValue.parse('background-image', 'url(' + T + ')'))",
    "a rule's map": """var s = document.createElement('style'); box.id = id; s.textContent = '#' + id + '{}'; document.head.append(s);
        s.sheet.cssRules[0].styleMap.set('background-image', 'url(' + T + ')')""",
    "ping": "var a = document.createElement('a'); a.href = '#x'; a.ping = T; box.append(a); a.click()",
    "ping, an attribute": "var a = document.createElement('a'); a.href = '#x'; a.setAttribute('ping', '/own.png ' + T); box.append(a); a.click()",
    "background": "document.body.background = T",
    "background, an attribute": "box.innerHTML = '<table><td>x'; box.querySelector('td').setAttribute('background', T)",
    "a frame after another": """var one = document.createElement('iframe'), two = document.createElement('iframe'); box.append(one); one.remove(); box.append(two);
        window[window.length - 1].fetch(T, {mode: 'no-cors'})""",
    "a hidden length": """window.length = 'abc'; var f = document.createElement('iframe'); box.append(f); frames[document.querySelectorAll('iframe').length - 1];
        for (var i = 0, w; w = window[i]; i++) if (w.frameElement === f) new w.Image().src = T""",
    "a document of a blob": """var f = document.createElement('iframe'); f.src = URL.createObjectURL(new Blob(['<!DOCTYPE html><script>new Image().src = "' + T + '"<' + '/script>'], {type: 'text/html'})); box.append(f)""",
}
OWN = """var out = {}, done = arguments[0], key = Symbol(), events = [];
localStorage.clear(); localStorage[key] = 1; localStorage.own = 'x'; localStorage.setItem('page', '["https://www.facebook.com/x"]');
out.symbol = String(localStorage[key]);
out.storage = [localStorage.constructor === Storage, localStorage.own, localStorage.length, localStorage.getItem('page')];
var socket = new WebSocket('wss://static.hotjar.com/w'), stream = new EventSource('https://static.hotjar.com/e'), frame = document.createElement('iframe');
class Own extends WebSocket {}
out.socket = [socket instanceof WebSocket, socket.constructor === WebSocket, Object.getPrototypeOf(socket) === WebSocket.prototype, socket.readyState < 3,
  stream instanceof EventSource, new Own('wss://static.hotjar.com/w') instanceof Own, typeof socket.addEventListener];
['error', 'close'].forEach(function (type) { socket['on' + type] = function (event) { events.push(type + socket.readyState + (event.code || '')); }; });
stream.onerror = function () { events.push('stream' + stream.readyState); };
out.threw = [function () { document.body.setAttribute('src'); }, function () { new WebSocket('no such:'); }, function () { new Audio(Symbol()); }]
  .map(function (f) { try { f(); return ''; } catch (e) { return e.name; } });
out.audio = [new Audio('/own.png') instanceof HTMLAudioElement, HTMLAudioElement.prototype.constructor === HTMLAudioElement, new Audio().hasAttribute('src')];
out.html = %s.map(function (html) { var t = document.createElement('div'); t.innerHTML = html; return t.innerHTML; });
out.parsed = ['text/xml', 'text/html'].map(function (type) {
  return new DOMParser().parseFromString('<feed><link href="https://www.facebook.com/x">x</link></feed>', type).querySelector('link').getAttribute('href'); })[0];
var odd = document.createElement('p'); odd.setAttribute('STYLE', 'Color: red'); odd.setAttribute('data-src', 'https://www.facebook.com/'); odd.setAttribute('title', 'a, "https://www.facebook.com/"');
out.odd = odd.outerHTML;
addEventListener('storage', function (event) { out.area = event.storageArea === localStorage; out.events = events.sort(); setTimeout(done, 300, out); });
frame.onload = function () { setTimeout(function () { frame.contentWindow.localStorage.setItem('other', 1); }, 300); };
frame.src = '/blank'; document.body.append(frame);"""
HTML = ["<td>x<td>y", "<p/>a<p>b", "<!-- <img src='https://www.facebook.com/tr?id=1'> -->", "<a href='https://www.facebook.com/x?a=1&b=2' title=it's>x</a>",
        "<textarea><img src=https://www.facebook.com/tr></textarea>", "<b title='a > b & c'>x", "a < b & c", "", "<svg><a xlink:href='https://www.facebook.com/'/></svg>",
        "<table><tr><td style='color:red'>&nbsp;&copy;</table>", "<script>var a = '<img src=https://www.facebook.com/tr>'</script>", "<template><p title='//x'>y</template>"]
CASE = """(function () { var id = %r, T = 'https://www.facebook.com/tr?id=' + id, box = document.createElement('div');
%s try { %s; } catch (e) { threw.push(id + ' ' + e); } })();"""
PUT = "box.textContent = 'x'; document.body.append(box);"


def script(prefix, ways, put):
    return "".join(CASE % (f"{prefix}{n}", put, way) for n, way in enumerate(ways.values()))


def named(prefix, ways, numbers):
    return sorted(name for n, name in enumerate(ways) if f"{prefix}{n}" in numbers)


@pytest.fixture(scope="module")
def numbers():
    """Those for which the tracker was asked."""
    return set()


@pytest.fixture(scope="module")
def browser(folder, numbers):
    def answer(host, path):
        if host == "www.facebook.com":
            numbers.add(path.partition("id=")[2].split("&")[0])
        return "image/gif", b"GIF89a"
    with EveryHost(folder, answer) as server, chromium(server) as driver:
        yield driver


@pytest.fixture(scope="module")
def proxy(folder):
    origin = Origin()
    javascript = [("Content-Type", "text/javascript")]
    origin.routes["/written.js"] = http_response(200, javascript, script("w", WRITTEN, "").encode())
    origin.routes["/ways.js"] = http_response(200, javascript, (script("m", MARKUP, PUT) + script("o", WAYS, PUT)
        + "document.documentElement.dataset.own = 'ran';").encode())
    origin.routes["/own.png"] = http_response(200, [("Content-Type", "image/gif")], b"GIF89a")
    origin.routes["/"] = http_response(200, [("Content-Type", "text/html; charset=utf-8")], b"""<!DOCTYPE html><title>t</title>
        <script>var threw = [];</script><body><script src="/written.js"></script><script src="/ways.js"></script></body>""")
    origin.routes["/blank"] = http_response(200, [("Content-Type", "text/html")], b"<!DOCTYPE html><title>t</title><p>x")
    daemon = Proxy(folder, origin, workers=1)
    yield daemon
    daemon.stop()
    origin.stop()


def test_its_own_code_notices_nothing(browser, proxy):
    got = []
    for cookie in (None, decide(proxy, "analytics", "marketing").split("=", 1)[1]):
        browser.get(f"http://localhost:{proxy.port}/blank")
        browser.delete_all_cookies()
        if cookie:
            browser.add_cookie({"name": "consent", "value": cookie})
        browser.get(f"http://localhost:{proxy.port}/blank")
        assert browser.execute_script("return !document.querySelector('[data-consent-guard]')") == bool(cookie)
        got.append(browser.execute_async_script(OWN % json.dumps(HTML)))
        errors(browser)
    browser.delete_all_cookies()
    assert len(got[0]) == 10 and got[0]["events"] == ["close31006", "error3", "stream2"]
    got[1]["events"] = got[0]["events"]  # the tracker takes no sockets
    assert got[0] == got[1]


def went(browser, proxy, numbers):
    """The ways that reached the tracker."""
    numbers.clear()
    browser.get(f"http://localhost:{proxy.port}/")
    settled(browser)
    time.sleep(1)
    assert browser.execute_script("return threw") == []
    return named("w", WRITTEN, numbers) + named("m", MARKUP, numbers) + named("o", WAYS, numbers)


def test_each_is_stopped(browser, proxy, numbers):
    assert went(browser, proxy, numbers) == []
    assert errors(browser) == []


def test_each_is_a_way(browser, proxy, numbers):
    browser.get(f"http://localhost:{proxy.port}/")
    browser.add_cookie({"name": "consent", "value": decide(proxy, "analytics", "marketing").split("=", 1)[1]})
    assert went(browser, proxy, numbers) == sorted(WRITTEN) + sorted(MARKUP) + sorted(WAYS)
    browser.delete_all_cookies()
