/*
 * The companion: the second wall, inside the page. The proxy decides what a page's markup may
 * fetch; this decides what its scripts fetch and store later, by the same rules. The proxy appends
 * the rules as the argument:
 *   u  [host, first label, exact host, kind, path, mask, own, essential, query]
 *   c, s  names of cookies and of storage: [kind, text, mask, essential]
 *   g  [global, mask], k  category -> bit, m  what is granted, x  unknown cookies are denied
 * A mask holds the categories of which one must be granted. Kinds are those of ruleset.h.
 */
(function (R) {
  'use strict';
  var W = window, D = document, me = D.currentScript, natives = new WeakMap(), hosts = Object.create(null);
  var EMPTY = location.origin + R.p + 'empty.js';
  function glob(text, any, end) {
    return new RegExp('^' + text.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replace(/\*/g, any) + end, 's');
  }
  function pattern(text) {
    try { return new RegExp(text, 's'); } catch (e) { return /^/; }
  }
  R.u.forEach(function (r) {
    (hosts[r[0]] = hosts[r[0]] || []).push(r);
    r.re = r[3] === 2 ? pattern(r[4]) : r[3] ? glob(r[4], '[^/]+', r[3] === 3 ? '$' : '') : /^/;
    r.label = r[1] && glob(r[1], '[^.]+', '$');
    r.ask = (r[8] || []).map(function (q) { return [q[0], glob(q[1], '.*', '$')]; });
    r.rank = r[6] * 1e10 + r[3] * 2e9 + r.ask.length * 1e8 + (r[0].length + r[1].length) * 1e5 +
      (r[3] === 1 ? r[4].length * 2 : 0) + r[7];
  });
  [R.c, R.s].forEach(function (list) {
    list.forEach(function (r) { r.re = r[0] === 1 ? pattern('^(?:' + r[1] + ')$') : null; });
  });
  function needs(mask) { return !(mask & R.m); }

  /* The verdict on a URL; the site's own addresses are the proxy's to judge. */
  function denied(value) {
    var u, best = -1, no = false;
    try { u = new URL(value, D.baseURI); } catch (e) { return false; }
    if (!/^(http|ws)s?:$/.test(u.protocol) || u.host === location.host) return false;
    var host = u.hostname.replace(/\.$/, '');
    for (var at = 0; ; at = host.indexOf('.', at) + 1) {
      (hosts[host.slice(at)] || []).forEach(function (r) {
        var left = host.slice(0, at ? at - 1 : 0), dot = left.lastIndexOf('.');
        if (r.label ? !at || (r[2] && dot >= 0) || !r.label.test(left.slice(dot + 1)) : at && r[2]) return;
        if (!r.re.test(r[3] === 2 ? u.pathname + u.search : u.pathname)) return;
        if (!r.ask.every(function (q) { return u.searchParams.getAll(q[0]).some(function (v) { return q[1].test(v); }); })) return;
        if (r.rank > best || (r.rank === best && needs(r[5]))) { best = r.rank; no = needs(r[5]); }
      });
      if (host.indexOf('.', at) < 0) break;
    }
    if (no && me) me.blocked = true;
    return no;
  }
  function deniedName(list, name, unknown) {
    var best = -1, no = unknown;
    list.forEach(function (r) {
      if (!(r[0] === 2 ? name === r[1] : r[0] ? r.re.test(name) : name.startsWith(r[1]))) return;
      var rank = r[0] * 1e6 + r[3] * 1e5 + (r[0] ? 0 : r[1].length);
      if (rank > best || (rank === best && needs(r[2]))) { best = rank; no = needs(r[2]); }
    });
    return no;
  }
  function deniedCookie(name) { return deniedName(R.c, name, R.x); }
  function deniedKey(name) { return deniedName(R.s, String(name), false); }

  /* What takes a native's place looks like it: a Proxy, and its text is the native's. */
  function hook(native, traps) {
    var p = new Proxy(native, traps);
    natives.set(p, native);
    return p;
  }
  function change(owner, name, part, traps) {
    var d = owner && Object.getOwnPropertyDescriptor(owner, name);
    if (!d || !d.configurable || !d[part]) return;
    d[part] = hook(d[part], traps);
    Object.defineProperty(owner, name, d);
  }
  function method(owner, name, fn) { change(owner, name, 'value', { apply: fn }); }
  function setter(owner, name, fn) { change(owner, name, 'set', { apply: fn }); }
  function proto(name) { return W[name] && W[name].prototype; }
  var run = Reflect.apply;
  method(Function.prototype, 'toString', function (f, self, args) { return run(f, natives.get(self) || self, args); });

  function later(target, name) { setTimeout(function () { target.dispatchEvent(new Event(name)); }); }
  function deniedSet(value) {
    return String(value).split(/[\s,]+/).some(function (part) { return /\/\//.test(part) && denied(part); });
  }
  function bad(name, value) { return name === 'srcset' ? deniedSet(value) : denied(value); }
  function css(text) {
    return String(text).replace(/(url\(\s*["']?|@import\s+["'])([^"')]+)/gi, function (all, head, url) {
      return denied(url.trim()) ? head + 'data:,' : all;
    });
  }
  var FETCHES = 'script|iframe|frame|img|image|link|object|embed|source|video|audio|input|track';
  var TAG = new RegExp('<(?:' + FETCHES + ')\\b[^>]*>', 'gi'), ELEMENT = new RegExp('^(?:' + FETCHES + ')$');
  function clean(html) {
    var before = String(html), after = before.replace(TAG, function (tag) {
      return tag.replace(/([\s"'\/])(src|srcset|href|data|poster)(\s*=\s*)("[^"]*"|'[^']*'|[^\s>]+)/gi, function (all, gap, name, eq, value) {
        var url = value.replace(/^["']|["']$/g, '').replace(/&amp;/g, '&');
        return bad(name.toLowerCase(), url) ? gap + 'data-consent-removed=""' : all;
      });
    });
    return after === before ? html : after;
  }
  function cleaned(f, self, args) { return run(f, self, args.map(clean)); }
  'Script.src IFrame.src Frame.src Image.src Image.srcset Link.href Object.data Embed.src Source.src Source.srcset Media.src Video.poster Input.src Track.src'
    .split(' ').forEach(function (pair) {
      var p = pair.split('.');
      setter(proto('HTML' + p[0] + 'Element'), p[1], function (f, self, args) {
        return bad(p[1], args[0]) ? later(self, 'error') : run(f, self, args);
      });
    });
  function attribute(at) {
    return function (f, self, args) {
      var name = String(args[at]).toLowerCase().replace(/^.*:/, '');
      if (/^(src|srcset|href|data|poster)$/.test(name) && ELEMENT.test(self.localName) && bad(name, args[at + 1]))
        return later(self, 'error');
      return run(f, self, args);
    };
  }
  method(Element.prototype, 'setAttribute', attribute(0));
  method(Element.prototype, 'setAttributeNS', attribute(1));
  setter(Element.prototype, 'innerHTML', function (f, self, args) {
    return run(f, self, [self.localName === 'style' ? css(args[0]) : clean(args[0])]);
  });
  setter(Element.prototype, 'outerHTML', cleaned);
  setter(proto('HTMLIFrameElement'), 'srcdoc', cleaned);
  setter(Node.prototype, 'textContent', function (f, self, args) {
    return run(f, self, self.localName === 'style' ? [css(args[0])] : args);
  });
  method(Element.prototype, 'insertAdjacentHTML', function (f, self, args) { return run(f, self, [args[0], clean(args[1])]); });
  method(proto('Range'), 'createContextualFragment', cleaned);
  method(Document.prototype, 'write', cleaned);
  method(Document.prototype, 'writeln', cleaned);
  method(proto('CSSStyleSheet'), 'insertRule', function (f, self, args) {
    return run(f, self, [css(args[0])].concat(args.slice(1)));
  });
  ['replace', 'replaceSync'].forEach(function (name) {
    method(proto('CSSStyleSheet'), name, function (f, self, args) { return run(f, self, args.map(css)); });
  });

  method(W, 'fetch', function (f, self, args) {
    var input = args[0];
    return denied(input && input.url || input) ? Promise.resolve(new Response(null, { status: 204 })) : run(f, self, args);
  });
  method(proto('XMLHttpRequest'), 'open', function (f, self, args) {
    return run(f, self, denied(args[1]) ? ['GET', EMPTY].concat(args.slice(2)) : args);
  });
  method(proto('Navigator'), 'sendBeacon', function (f, self, args) { return denied(args[0]) || run(f, self, args); });
  function construct(name, fn) {
    var d = Object.getOwnPropertyDescriptor(W, name);
    if (!d || !d.value) return;
    change(W, name, 'value', { construct: fn });
    d.value.prototype.constructor = W[name];
  }
  ['Worker', 'SharedWorker'].forEach(function (name) {
    construct(name, function (f, args, target) {
      return Reflect.construct(f, denied(args[0]) ? [EMPTY].concat(args.slice(1)) : args, target);
    });
  });
  ['WebSocket', 'EventSource'].forEach(function (name) {
    construct(name, function (f, args, target) {
      if (!denied(args[0])) return Reflect.construct(f, args, target);
      function none() {}
      var closed = new EventTarget(), own = { send: none, close: none, url: String(args[0]), readyState: f.CLOSED };
      Object.setPrototypeOf(closed, target.prototype);
      ['onopen', 'onmessage', 'onerror', 'onclose'].forEach(function (key) { own[key] = null; });
      Object.keys(own).forEach(function (key) {
        Object.defineProperty(closed, key, { value: own[key], writable: true, configurable: true });
      });
      ['error', 'close'].forEach(function (type) {
        closed.addEventListener(type, function (event) { if (closed['on' + type]) closed['on' + type](event); });
      });
      later(closed, 'error');
      if (name === 'WebSocket') later(closed, 'close');
      return closed;
    });
  });

  var jar = Object.getOwnPropertyDescriptor(Document.prototype, 'cookie');
  setter(Document.prototype, 'cookie', function (f, self, args) {
    var text = String(args[0]), name = text.split(/[=;]/)[0].trim();
    if (!deniedCookie(name) || /;\s*max-age\s*=\s*(0|-)/i.test(text)) run(f, self, args);
  });
  method(proto('CookieStore'), 'set', function (f, self, args) {
    return deniedCookie(String(args[0] && args[0].name || args[0])) ? Promise.resolve() : run(f, self, args);
  });
  method(proto('Storage'), 'setItem', function (f, self, args) { if (!deniedKey(args[0])) run(f, self, args); });
  /* What a tag wrote when the last page was left, or before the refusal. */
  function clear() {
    try {
      jar.get.call(D).split('; ').forEach(function (pair) {
        var name = pair.split('=')[0], host = location.hostname, end = name + '=; Max-Age=0; Path=/';
        if (!name || !deniedCookie(name)) return;
        jar.set.call(D, end);
        for (; host.indexOf('.') > 0; host = host.slice(host.indexOf('.') + 1)) jar.set.call(D, end + '; Domain=' + host);
      });
      [localStorage, sessionStorage].forEach(function (store) {
        Object.keys(store).filter(deniedKey).forEach(function (key) { store.removeItem(key); });
      });
      if (R.s.length && W.indexedDB && indexedDB.databases) indexedDB.databases().then(function (all) {
        all.forEach(function (db) { if (deniedKey(db.name)) indexedDB.deleteDatabase(db.name); });
      }, function () {});
    } catch (e) { /* a sandboxed document has neither */ }
  }

  /* Stand-ins: what the page calls of a removed tag takes the call and does nothing. */
  function answer(args) {
    for (var i = 0; i < args.length; i++) {
      var fn = args[i] && (args[i].hitCallback || args[i].event_callback);
      if (typeof fn === 'function') setTimeout(fn);
    }
  }
  function queue(name) {
    var q = [], methods = 'track page identify load init group alias capture register reset trackEvent on off once ready set';
    if (/^(_hsq|_paq|_mtm|dataLayer|uetq|_learnq|_tfa|_gaq|_qevts|_kmq|_cio)$/.test(name)) return q;
    if (/^(ttq|analytics|mixpanel|posthog|heap|rudderanalytics)$/.test(name)) {
      methods.split(' ').forEach(function (m) { q[m] = function () { q.push([m].concat([].slice.call(arguments))); }; });
      return q;
    }
    if (!/^(gtag|ga|fbq|hj|clarity|lintrk|twq|snaptr|pintrk|rdt|obApi|ym|plausible|_vwo_track|Intercom|drift|FS|mouseflow)$/.test(name)) return null;
    var f = function () { q.push(arguments); answer(arguments); };
    f.q = f.queue = q;
    return f;
  }
  R.g.forEach(function (g) {
    var stand = needs(g[1]) && !(g[0] in W) && queue(g[0]);
    if (stand) W[g[0]] = stand;
  });

  clear();
  W.addEventListener('pageshow', function (event) { if (event.persisted) clear(); });
  D.addEventListener('consent:change', function (event) {
    var grants = event.detail && event.detail.grants || {};
    R.m = 1;
    Object.keys(R.k).forEach(function (id) { if (grants[id]) R.m |= R.k[id]; });
    clear();
  });
})
