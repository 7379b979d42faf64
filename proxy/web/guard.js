/*
 * The companion: the second wall, inside the page. The proxy decides what a page's markup may
 * fetch; this decides what its scripts fetch and store later, by the same rules. It goes first in
 * pages, and in the scripts of the site's workers. The proxy appends the rules as the argument:
 *   u  URLs, c, s  names of cookies and of storage: [mask, keys, pattern, pattern]
 *   g  [global, mask, list]: what stands in for a removed tag's global
 *   k  category -> bit, m  what is granted, x  unknown cookies are denied, p  our own paths
 * A mask holds the categories of which one must be granted. Keys stand between spaces: hosts, names
 * and starts of names with "*". The first rule that matches says.
 *
 * proxy/web/minify.py shortens it: names of our own must not be those of globals. Functions and
 * hooks stand in the order that packs best.
 */
(function script(R) {
  var top = self, page = top.document, me = page?.currentScript || {}, frames = top.length;
  var trust = [], natives = new WeakMap(), stands = [], wraps = new WeakMap(), unfinished = [], blobs = {};
  var later = (target, type) => { setTimeout(() => target.dispatchEvent(new Event(type))); };
  var matches = (text, value) => {
    try {
      return RegExp(text, 's').test(value);
    } catch {
      return true;
    }
  };
  var badAttribute = (element, name, value) => /^(.*:)?(\w*src\w*|href|data|poster)$/i.test(name) &&
    !/^(a|area|base)$/.test(element.localName) && bad(name, value);
  /* The verdict on a URL; the site's own addresses are the proxy's to judge. */
  var denied = value => {
    try {
      var u = new URL(value, page?.baseURI || location), host = u.hostname.replace(/\.$/, '');
    } catch {
      return;
    }
    return u.host !== location.host && verdict(R.u, host.split('.').map((label, i, all) => all.slice(i).join('.')),
      0, u.pathname + u.search, '.' + host + '?' + u.searchParams) && (me.blocked = true);
  };
  /*
   * What takes a native's place looks like it: a Proxy, its text the native's, absent from stacks.
   * fn gets the native to call with arguments, the object, the arguments and the native's name.
   */
  var hook = (native, fn, name) => {
    var call = (go, self, args) => {
      try {
        return fn(go, self, args, name);
      } catch (e) {
        if (e.stack) e.stack = e.stack.replace(/\n.*(guard\.js|Reflect\.).*/g, '');
        throw e;
      } finally {
        if (frames !== top.length) for (var i = frames = top.length; i--;) install(top[i]);
      }
    };
    var p = new Proxy(native, {
      apply: (f, self, args) => call(args => Reflect.apply(f, self, args), self = natives.get(self) || self, args),
      construct: (f, args, self) => call(args => Reflect.construct(f, args, self), self, args)
    });
    natives.set(p, native);
    return p;
  };
  /* An object whose properties are set by assignment: fix makes the value that is stored, or R for none. */
  var wrap = (object, fix) => {
    var p = wraps.get(object);
    if (!p) {
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
  /* What was made of values that the page trusted is trusted, each of them by the browser's own word. */
  var like = (values, text) => trust.find(kind => values.every(kind[0]))?.[1](text) || text;
  var deniedName = (list, bad) => name => verdict(list, [...name + ' '].map((c, i) => (name + ' ').slice(0, i) + '*').concat(name), bad, name);
  var deniedCookie = deniedName(R.c, R.x), deniedKey = deniedName(R.s);
  var verdict = (rules, keys, bad, text, other) => {
    var rule = rules.find(r => keys.some(key => r[1].includes(' ' + key + ' ')) && matches(r[2], text) && matches(r[3], other));
    return rule ? needs(rule[0]) : bad;
  };
  var bad = (name, value) => /srcset$/i.test(name) ? String(value).split(/[\s,]+/).some(denied) : denied(value);
  var clean = html => {
    var before = String(html), after = before.replace(/<(?!(a|area|base)\b)[a-z][^>]*>/gi, tag =>
      tag.replace(/([\s"'/])(\w*src\w*|href|data|poster)\s*=\s*("[^"]*"|'[^']*'|[^\s>]+)/gi, (all, gap, name, value) =>
        bad(name, value.replace(/["']|amp;/g, '')) ? gap : all)
    ).replace(/<style\b[^]*?<\/style|\sstyle\s*=\s*("[^"]*"|'[^']*'|[^\s>]+)/gi, css);
    return after === before ? html : like([html], after);
  };
  var css = text => text?.replace ?
    text.replace(/(["'(,]\s*(?:&quot;)?)([^"'(),]*\/\/[^"'(),]+)/gi, (all, head, url) => denied(url) ? head : all) : text;
  var needs = mask => !(mask & R.m);
  var instead = value => denied(value?.url || value) ? like([value], location.origin + R.p + 'empty.js') : value;

  var install = W => {
    try {
      if (wraps.get(W.Function)) return;
      wraps.set(W.Function, 1);
    } catch {
      return;
    }
    /*
     * "Owner member ..." are on Owner's prototype, Owner or window; ".member" means its getter.
     */
    var on = (list, fn) => list.split('|').forEach(line => line.split(' ').forEach((name, i, words) => {
      var owner = W[words[0]] || W, key = name.replace('.', '');
      if (key in (owner.prototype || R)) owner = owner.prototype;
      var d = i && Reflect.getOwnPropertyDescriptor(owner, key) || {}, part = name < key ? 'get' : d.set ? 'set' : 'value';
      if (!d[part]) return;
      d[part] = hook(d[part], fn, key);
      Reflect.defineProperty(owner, key, d);
      if (key < 'a') d.value.prototype.constructor = d.value;
    }));
    var each = fix => (go, self, args) => go(args.map(fix));
    on('Element setAttribute setAttributeNS', (go, self, args) => {
      var value = args.pop(), name = String(args.slice(-1));
      return badAttribute(self, name, value) ? later(self, 'error') : go(args.concat(name === 'style' ? css(value) : name === 'srcdoc' ? clean(value) : value));
    });
    on('HTMLIFrameElement .contentWindow .contentDocument', go => {
      var result = go([]);
      install(result?.defaultView || result);
      return result;
    });
    on('HTMLElement .style|SVGElement .style|CSSStyleRule .style', go => wrap(go([]), css));
    on('W .localStorage .sessionStorage', go => wrap(go([]), (value, key) => deniedKey(key) ? R : value));
    on('Element innerHTML outerHTML insertAdjacentHTML setHTMLUnsafe|ShadowRoot innerHTML setHTMLUnsafe|HTMLIFrameElement srcdoc|Range createContextualFragment|DOMParser parseFromString', (go, self, args) =>
      go(args.map(self.localName === 'style' ? css : clean)));
    on('W Worker SharedWorker', each(value => {
      var blob = blobs[value], own = '(' + script + ')(' + JSON.stringify(R) + ');\n';
      if (blob?.size) blob = blobs[value] = URL.createObjectURL(new Blob([own, blob], blob));
      return blob ? like([value], blob) : instead(value?.replace ? value.replace(/^data:[^,]*?(;base64)?,/i, (all, coded) =>
        coded ? all + btoa(own + ' '.repeat(own.length * 2 % 3)) : all + encodeURIComponent(own)) : value);
    }));
    on('HTMLImageElement src srcset|HTMLIFrameElement src|HTMLInputElement src|HTMLEmbedElement src|HTMLTrackElement src|HTMLFrameElement src|HTMLLinkElement href imageSrcset|HTMLScriptElement src|HTMLMediaElement src|HTMLObjectElement data|HTMLSourceElement src srcset|HTMLVideoElement poster', (go, self, args, name) =>
      bad(name, args[0]) ? later(self, 'error') : go(args));
    on('Element setAttributeNode setAttributeNodeNS|NamedNodeMap setNamedItem setNamedItemNS', (go, self, args) =>
      badAttribute(self, args[0].name, args[0].value) ? null : go(args));
    on('Attr value|Node nodeValue textContent|CharacterData data', (go, self, args) => {
      if (!self.ownerElement || !badAttribute(self.ownerElement, self.name, args[0]))
        go((self.nodeType === 3 && self.parentNode || self).localName === 'style' ? args.map(css) : args);
    });
    /* Also what must only find the object behind its wrap. */
    on('CSSStyleSheet insertRule replace replaceSync|CSSStyleDeclaration setProperty cssText getPropertyValue getPropertyPriority removeProperty item|HTMLElement style|SVGElement style|CSSStyleRule style|W FontFace|Storage getItem removeItem key clear', each(css));
    on('WorkerGlobalScope fetch fetchLater importScripts|XMLHttpRequest open|Navigator sendBeacon', each(instead));
    on('Storage setItem', (go, self, args) => { if (!deniedKey(args[0])) go(args); });
    on('Node appendChild insertBefore replaceChild|Element append prepend replaceChildren', (go, self, args) => {
      if (self.localName === 'style') args = args.map(node => {
        if (node?.data) node.data = css(node.data);
        return css(node);
      });
      return go(args);
    });
    on('CookieStore set', async (go, self, args) => { if (!deniedCookie(args[0]?.name || args[0])) await go(args); });
    on('Function toString', go => go([]));
    on('W WebSocket EventSource', (go, self, args) => {
      if (!denied(args[0])) return go(args);
      var closed = new EventTarget();
      closed.send = closed.close = needs;
      ['error', 'close'].forEach(type => {
        closed.addEventListener(type, event => closed['on' + type]?.(event));
        later(closed, type);
      });
      return closed;
    });
    on('IDBFactory open', (go, self, args) => {
      var request = go(args);
      if (deniedKey(args[0])) request.addEventListener('upgradeneeded', event => {
        event.stopImmediatePropagation();
        request.transaction.abort();
      });
      return request;
    });
    on('Document cookie', (go, self, args) => {
      if (/=;Max-Age=0;/.test(args[0]) || !deniedCookie(/[^=;]*/.exec(args[0])[0].trim())) go(args);
    });
    /* A worker made of a blob or of data has no answer that the proxy could put the companion into. */
    on('URL createObjectURL revokeObjectURL', (go, self, args) => {
      var url = go(args);
      blobs[url || args[0]] = url && args[0];
      return url;
    });
    on('Document write writeln', (go, self, args) => {
      var before = unfinished, rest = [], all = before.concat(args);
      args = [like(all, clean(all.join('').replace(/<[a-z!/][^>]*$/i, half => {
        rest = [like(all, half)];
        return '';
      })))];
      unfinished = [];
      try {
        go(args);
        before = rest;
      } finally {
        unfinished = before;
      }
    });
  };

  /*
   * What a tag wrote when the last page was left, or before the refusal. Asking for it stops the
   * page for a while: at its start each part waits for a moment in which nothing else is to do.
   */
  var wipe = store => { for (var key in store) if (deniedKey(key)) delete store[key]; };
  var clear = when => [
    () => page.cookie.split('; ').forEach(pair => {
      var name = /[^=;]*/.exec(pair)[0], host = '.' + location.hostname, end = name + '=;Max-Age=0;Path=/';
      if (deniedCookie(name))
        for (page.cookie = end; host; host = host.replace(/^\.[^.]*/, '')) page.cookie = end + ';Domain=' + host.slice(1);
    }),
    () => wipe(localStorage),
    () => wipe(sessionStorage),
    () => indexedDB.databases().then(all => all.forEach(db => deniedKey(db.name) && indexedDB.deleteDatabase(db.name)))
  ].forEach(part => when(() => {
    try {
      part();
    } catch {}
  }));
  var clearSoon = () => clear(top.requestIdleCallback || setTimeout);

  /* Stand-ins: what the page calls of a removed tag takes the call, and hands it on after consent. */
  R.g.forEach(g => {
    var queue = [], name = g[0], stand = queue;
    if (name in top || !needs(g[1])) return;
    var take = path => (...args) => {
      queue.push(real => Reflect.apply(path ? real[path] : real, real, args));
      args.forEach(a => a && setTimeout(a.hitCallback || a.event_callback || needs));
    };
    if (!g[2]) stand = new Proxy(take(), {
      get: (f, key) => key in f || !key.big || key === 'then' ? f[key] : f[key] = take(key)
    });
    top[name] = stand;
    stands.push(() => {
      if (needs(g[1])) return true;
      if (top[name] === stand && !g[2]) delete top[name];
      var real = top[name];
      if (g[2] || !real) return !g[2];
      queue.splice(0).forEach(call => call(real));
    });
  });
  var handOver = () => stands = stands.filter(stand => stand());

  try {
    var types = trustedTypes, policy = types.createPolicy('consentd', { createHTML: String, createScriptURL: String });
    trust = ['HTML', 'ScriptURL'].map(kind => [types['is' + kind].bind(types), policy['create' + kind].bind(policy)]);
  } catch {}
  install(top);
  if (page) {
    clearSoon();
    top.addEventListener('pageshow', clearSoon);
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
