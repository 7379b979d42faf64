/*
 * The companion: the second wall, inside the page. The proxy decides what a page's markup may
 * fetch; this decides what its scripts fetch and store later, by the same rules. It goes first in
 * pages, and in the scripts of the site's workers. The proxy appends the rules as the argument:
 *   u  URLs, c, s  names of cookies and of storage: [mask, keys, pattern, pattern]
 *   g  [global, mask, list]: what stands in for a removed tag's global; without a list it is called
 *   k  category -> bit, m  what is granted, x  unknown cookies are denied, p  the path of an empty script
 * A mask holds the categories of which one must be granted. Keys stand between spaces: hosts, names
 * and starts of names with "*". The first rule that matches says.
 *
 * proxy/web/minify.py shortens it: names of our own must not be those of globals. Functions and
 * hooks stand in the order that packs best.
 */
(function script(R) {
  var top = self, page = top.document, me = page?.currentScript || {};
  var kept, blobs = {}, unfinished = [], natives = new WeakMap(), frames = [], spare, stands = [], wraps = new WeakMap();
  /* The verdict on a URL; the site's own addresses are the proxy's to judge. */
  var denied = value => {
    try {
      var u = new URL(value, page?.baseURI || location), host = u.hostname.replace(/\.$/, '');
    } catch {
      return;
    }
    return u.host !== location.host && verdict(R.u, parents(host),
      0, u.pathname + u.search, '.' + host + '?' + u.searchParams) && (me.blocked = -~me.blocked);
  };
  /* Of style sheets, of speculation rules, and of text nodes that go into their elements. */
  var css = text => text?.replace ?
    text.replace(/(["'(,]\s*)([^"'(),]*[:\\/][^"'(),]+)/g, (all, head, url) => denied(url) ? head + 'data:,' : all) :
    text?.data?.replace ? (text.data = css(text.data), text) : text;
  var dead = 'https:' + location.host;
  /* What an attribute becomes: R if it must not be. */
  var fix = (value, element, name) => / style$/i.test(name = element.localName + ' ' + name) ? css(value + '') :
    / srcdoc$/i.test(name) ? clean(value, 1) :
    /^(?!(a|area|base|.*href) .*href).* (.*:)?(\w*src\w*|href|data|poster|ping|background)$/i.test(name) &&
    (/set$|ping/i.test(name) ? String(value).split(/[\s,]+/).some(denied) : denied(value)) ? R : value;
  /*
   * HTML without what is denied, or untouched. It is parsed into a template, for which nothing is fetched,
   * and judged there. loose: it may be a piece of a document, whose elements begin
   * before or end after it: then the tags are judged one by one, and all that is between them stays.
   */
  var clean = (html, loose) => {
    var text = String(html), before = me.blocked;
    if (!/[&:]|[\\/]\s*[\\/]/.test(text)) return html;
    var t = spare = page.createElement('template');
    t.innerHTML = like([], text);
    judge(t.content);
    return before === me.blocked ? html : like([html], !loose ? t.innerHTML : clean(text.replace(
      /<(?:style|script)\b[^]*?(?=<\/)|<[a-z](?:[^>"']|"[^"]*"|'[^']*')*>/gi, tag => clean(tag).replace(/<\/\w+>$/, ''))));
  };
  var parents = host => host.split('.').map((label, i, all) => all.slice(i).join('.'));
  var deniedName = (list, bad) => name =>
    verdict(list, [...(name = String(name)) + ' '].map((c, i) => name.slice(0, i) + '*').concat(name), bad, name);
  /* Takes what is denied out of a tree that nothing is fetched for. */
  var judge = root => root?.querySelectorAll?.('*').forEach(e => {
    if (!e.focus) return;
    e.getAttributeNames().forEach(name => {
      var before = e.getAttribute(name), value = fix(before, e, name);
      if (value !== before) e.setAttribute(name, value === R ? '' : value);
    });
    if (styled(e)) e.textContent += '';
    judge(e.content);
  });
  /*
   * What takes a native's place looks like it: a Proxy, its text the native's, absent from stacks.
   * each makes of an argument what goes in its place, R to stop the call; after gets what the call returns,
   * and may return something else.
   */
  var hook = (native, key, each, after) => {
    var call = (go, self, args) => {
      try {
        if (each) args = args.map((value, i) => each(value, self, key, i, args));
        if (args.includes(R)) return later(self);
        var result = go(args);
        return after?.(result, args) ?? result;
      } catch (e) {
        if (key > 'wr') unfinished = kept;
        e.stack = e.stack?.replace(/\n.*(guard.js|Reflect\.).*/g, '');
        throw e;
      } finally {
        for (var i = 0; top[i]; i++) if (frames[i] !== top[i]) install(frames[i] = top[i]);
      }
    };
    var p = new Proxy(native, {
      apply: (f, self, args) => call(args => Reflect.apply(f, self, args), self = natives.get(self) || self, args),
      construct: (f, args, self) => call(args => Reflect.construct(f, args, self), self, args)
    });
    natives.set(p, natives.get(native) || native);
    return p;
  };
  var instead = value => denied(value?.url || value) ? like([value], location.origin + R.p) : value;
  /* What was made of values that the page trusted is trusted, each of them by the browser's own word. */
  var like = (values, text) => {
    var kind = policy && ['HTML', 'ScriptURL'].find(kind => values.every(value => types['is' + kind](value)));
    return kind ? policy['create' + kind](text) : text;
  };
  var deniedCookie = deniedName(R.c, R.x), deniedKey = deniedName(R.s);
  var verdict = (rules, keys, bad, text, other) => {
    rules.all ??= new Set((rules + '').split(' '));
    var rule = keys.some(key => rules.all.has(key)) && rules.find(r => {
      try {
        return keys.some(key => r[1].includes(' ' + key + ' ')) && RegExp(r[2]).test(text) && RegExp(r[3]).test(other);
      } catch {
        return true;
      }
    });
    return rule ? needs(rule[0]) : bad;
  };
  /* An object whose properties are set by assignment: fix makes the value that is stored, or R for none. */
  var wrap = (object, fix) => {
    var p = wraps.get(object);
    if (object && !p) {
      p = new Proxy(object, {
        get: (o, key) => o[key],
        set: (o, key, value) => (value = fix(value, key)) === R || Reflect.set(o, key, value),
        defineProperty: (o, key, d) => fix(d.value, key) === R || Reflect.defineProperty(o, key, d)
      });
      wraps.set(object, p);
      natives.set(p, object);
    }
    return p;
  };
  var needs = mask => !(mask & R.m);
  /* Whether the text in it is css()'s. */
  var styled = e => /^style|spec/.test((e = e.nodeType === 3 && e.parentNode || e).localName + e.type);
  /* What a denied call returns, be it a promise or nothing. */
  var later = async target => { setTimeout(() => target.cookie ?? target.dispatchEvent?.(new Event('error'))); };
  var install = W => {
    try {
      if (wraps.get(W.Function)) return;
      wraps.set(W.Function, 1);
    } catch {
      return;
    }
    /*
     * The members, by a pattern, of the owners and of their prototypes; of the window itself by name.
     * An attribute's setter where there is something to do with what is set, else its getter.
     */
    var on = (owners, members, each, after) => owners.split(' ').forEach(name => {
      var owner = W['HTML' + name + 'Element'] || W[name] || R;
      [owner, owner.prototype || R].forEach(object => (object === W ? members.split('|') : Object.keys(object)).forEach(key => {
        var d = RegExp(members).test(key) && Reflect.getOwnPropertyDescriptor(object, key) || {};
        var part = d.value ? 'value' : each ? 'set' : 'get', native = d[part];
        if (!native?.call) return;
        d[part] = hook(native, key, each, after);
        Reflect.defineProperty(object, key, d);
        if (native.prototype?.constructor === native) native.prototype.constructor = d.value;
      }));
    });
    W.Function.prototype.toString = hook(W.Function.prototype.toString, '');
    on('Element', '^setAttribute', (value, self, key, i, args) => i === 1 + !!key[12] ? fix(value, self, args[i - 1]) : value);
    on('Document CookieStore', '^(cookie|set)$', (value, self, key, i) =>
      !i && !/=;Max-Age=0;/.test(value) && deniedCookie(/[^=;]*/.exec(value?.name || value)[0].trim()) ? R : value);
    on('Storage', '', (value, self, key, i) => !i && key > 's' && deniedKey(value) ? R : value);
    /* A worker made of a blob or of data has no answer that the proxy could put the companion into. */
    on('URL', 'ObjectURL', 0, (result, args) => { blobs[result || args[0]] = result && args[0]; });
    on('self StorageEvent', 'localStorage|sessionStorage|storageArea', 0, result => wrap(result, (value, key) => deniedKey(key) ? R : value));
    on('self StorageEvent', 'StorageEvent', value => natives.get(value) || (value?.storageArea ?
      Object.create(value, { storageArea: { value: natives.get(value.storageArea) } }) : value));
    on('self', 'Worker|SharedWorker', value => {
      var blob = blobs[value], own = '(' + script + ')(' + JSON.stringify(R) + ');\n';
      if (blob?.size) blob = blobs[value] = URL.createObjectURL(new Blob([own, blob], blob));
      return blob ? like([value], blob) : instead(value?.replace ? value.replace(/^data:[^,]*?(;base64)?,/i, (all, coded) =>
        all + (coded ? btoa(own + ' '.repeat(own.length * 2 % 3)) : encodeURIComponent(own))) : value);
    });
    on('self WorkerGlobalScope', 'fetch|fetchLater|importScripts|Audio', instead);
    on('IFrame', '^content', 0, result => install(result?.defaultView || result));
    /* The tag that a call leaves unfinished waits for the next one; kept: what waited, should this one be refused. */
    on('Document', '^write', (value, self, key, i, args) => {
      if (i) return like(args, '');
      args = (kept = unfinished).concat(args);
      unfinished = [];
      return clean(like(args, args.join('').replace(/<([a-z](?:[^>"']|"[^"]*"|'[^']*')*(=\s*("[^"]*|'[^']*))?)?$/i, half => {
        unfinished = [like(args, half)];
        return '';
      })), 1);
    });
    on('DOMParser', '', 0, judge);
    on('Image IFrame Input Embed Track Frame Link Script Media Object Source Video Anchor Area Body', 'rc|href|^data$|poster|ping|ground', fix);
    on('Element ShadowRoot Range Document', 'HTML|Frag|Command', (value, self) => styled(self) ? css(value) : self === spare ? value : clean(value));
    on('HTMLElement SVGElement CSSStyleRule', '^style$', 0, result => wrap(result, css));
    /* Also what must only find the object behind its wrap. */
    on('CSSStyleSheet CSSStyleDeclaration StylePropertyMap CSSStyleValue', '', css);
    on('self HTMLElement SVGElement CSSStyleRule', '^style$|FontFace', css);
    on('SVGImageElement SVGScriptElement', 'href', 0, result => wrap(result, value => denied(value) ? R : value));
    on('Attr Node CharacterData Script HTMLElement Element', 'alue$|ext|ata$|p.*end|insert|replace', (value, self) =>
      self.nodeType === 2 ? fix(value, self.ownerElement || self, self.name) : styled(self) ? css(value) : value);
    on('self', 'WebSocket|EventSource|WebTransport', value => denied(value) ? dead : value, (result, args) => {
      if (args[0] !== dead) return;
      result.close();
      if (!result.send) later(result);
    });
    on('XMLHttpRequest Navigator', '^open|sendB', instead);
    on('IDBFactory', '^open', 0, (result, args) => {
      if (deniedKey(args[0])) result.addEventListener('upgradeneeded', event => {
        event.stopImmediatePropagation();
        result.transaction.abort();
      });
    });
  };

  /*
   * What a tag wrote when the last page was left, or before the refusal. Asking for it stops the
   * page for a while: at its start each part waits for a moment in which nothing else is to do, and
   * all of them until the page can have been drawn.
   */
  var wipe = store => { for (var key in store) if (deniedKey(key)) delete store[key]; };
  var clear = when => [
    () => page.cookie.split('; ').forEach(pair => {
      var name = /[^=;]*/.exec(pair)[0];
      if (deniedCookie(name)) parents(location.hostname).concat('').forEach(host => { page.cookie = name + '=;Max-Age=0;Path=/;Domain=' + host; });
    }),
    () => wipe(localStorage),
    () => wipe(sessionStorage),
    () => indexedDB.databases().then(all => all.forEach(db => deniedKey(db.name) && indexedDB.deleteDatabase(db.name)))
  ].forEach(part => when(() => {
    try {
      part();
    } catch {}
  }));

  /*
   * Stand-ins: what the page calls of a removed tag takes the call, and hands it on after consent.
   * Lists are taken over by the tag itself.
   */
  R.g.splice(0).forEach(g => {
    var name = g[0], mask = g[1], queue = [], stand = g[2];
    if (name in top) return;
    /* A function with functions inside: what is called is owner()[key], which the real one will have. */
    var take = (owner, key) => new Proxy((...args) => {
      queue.push(() => owner()[key](...args));
      args.forEach(a => a && setTimeout(a.hitCallback || a.event_callback || needs));
    }, { get: (f, next) => f[next] ??= next.at && next !== 'then' ? take(() => owner()[key], next) : f[next] });
    top[name] = stand ||= stands.push(() => needs(mask) || top[name] === stand && delete top[name] || !top[name] ||
      queue.forEach(call => call())) && take(() => top, name);
  });
  var handOver = () => stands = stands.filter(stand => stand());

  try {
    var types = trustedTypes, policy = types.createPolicy('consentd', { createHTML: String, createScriptURL: String });
  } catch {}
  install(top);
  if (page) {
    var soon = () => clear(top.requestIdleCallback || setTimeout);
    addEventListener('pageshow', soon);
    setTimeout(soon, 200);
    page.addEventListener('consent:change', event => {
      R.m = 1;
      for (var id in R.k) if (event.detail.grants[id]) R.m |= R.k[id];
      clear(part => part());
      handOver();
      setInterval(handOver, 200);
    });
    me.denied = denied;
  }
})
