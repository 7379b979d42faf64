/*
 * What follows a choice that changes what may run. The banner loads this file when it is needed.
 *
 * Allowed now: what was held back runs where it stood, without a reload, if that is exact: only
 * pictures, frames, links and async scripts are missing, each where the proxy left its comment.
 * A script that others wait for, or an inline one (it may write into the document, or wait for
 * events that are over), makes it one reload that keeps the place in the page and what was typed.
 * Taken back: a reload only if something of what is denied now has run. A page whose own policy lets
 * this script not fetch the page again is loaded again in both cases.
 *
 * What was typed waits in sessionStorage for the moment of the reload, passwords never.
 */
(() => {
  var page = document, me = page.currentScript, key = 'consent.again', kept = sessionStorage.getItem(key);
  var strict = page.querySelector('[data-reload]'), folder = me.src.replace(/again\.js.*/, ''), guard = page.querySelector('script[data-consent-guard]');
  var fields = () => [...page.querySelectorAll('input, textarea, select')].filter(field =>
    !/^(password|file|hidden|submit|button|image|reset)$/.test(field.type) && !field.closest('[data-consent-banner]'));
  var state = field => field.options ? [...field.options].map(option => option.selected) :
    /^(checkbox|radio)$/.test(field.type) ? field.checked : field.value;
  var restore = (field, value) => {
    if (field.options) value.forEach((yes, i) => { if (field.options[i]) field.options[i].selected = yes; });
    else if (/^(checkbox|radio)$/.test(field.type)) field.checked = value;
    else field.value = value;
    field.dispatchEvent(new Event('input', { bubbles: true }));
    field.dispatchEvent(new Event('change', { bubbles: true }));
  };
  var reload = () => {
    sessionStorage.setItem(key, JSON.stringify({
      page: location.href, x: scrollX, y: scrollY,
      fields: fields().map(field => [field.name, field.type, state(field)])
    }));
    location.reload();
  };
  var back = () => {
    var saved = JSON.parse(kept), now = fields();
    if (saved.page !== location.href) return;
    saved.fields.forEach((one, i) => {
      var field = now[i];
      if (field && field.name === one[0] && field.type === one[1] && JSON.stringify(state(field)) !== JSON.stringify(one[2]))
        restore(field, one[2]);
    });
    scrollTo(saved.x, saved.y);
  };
  var add = (leaf, done, failed) => {
    var script = page.createElement('script');
    script.onload = () => done(script);
    script.onerror = failed;
    script.nonce = me.nonce;
    script.src = me.files ? me.files.createScriptURL(leaf) : folder + leaf;
    page.head.append(script);
    return script;
  };

  /* The comments of what the proxy took out and would not now. */
  var comments = names => {
    var found = [], walker = page.createTreeWalker(page, NodeFilter.SHOW_COMMENT), match;
    while (walker.nextNode()) {
      match = /^consentd: removed \S+ \((.+)\)/.exec(walker.currentNode.data);
      if (match && match[1].split(/[^a-z0-9-]+/).some(name => names.indexOf(name) >= 0)) found.push(walker.currentNode);
    }
    return found;
  };
  var address = element => element.src || element.href || element.data;
  /* The page as it is served now; what the companion would have stopped is what is missing here. */
  var missing = (places, run) => {
    var request = new XMLHttpRequest();
    request.open('GET', location.href);
    request.responseType = 'document';
    request.setRequestHeader('Accept', 'text/html');
    request.onerror = reload;
    request.onload = () => {
      var pieces = request.response ? [...request.response.querySelectorAll('script, img, iframe, link, embed, object, source, video, audio, input, track')].filter(element =>
        address(element) && !element.closest('noscript') && guard.denied(address(element))) : [];
      guard.blocked = false;
      var placeholders = [...page.querySelectorAll('iframe[data-consent-url]')].map(frame => frame.getAttribute('data-consent-url'));
      pieces = pieces.filter(element => placeholders.indexOf(element.getAttribute('src')) < 0);
      if (pieces.length !== places.length || pieces.some(element =>
        !/^(img|iframe|link)$/.test(element.localName) && !(element.localName === 'script' && element.async && !element.noModule))) reload();
      else run(pieces);
    };
    request.send();
  };
  /* Frames that are allowed now load; a new element, so that the way back skips the placeholder. */
  var load = () => page.querySelectorAll('iframe[data-consent-frame]').forEach(frame => {
    var address = frame.getAttribute('data-consent-url');
    if (!consent.state.grants[frame.getAttribute('data-consent-frame')] || !/^(https?:)?\/\//i.test(address)) return;
    var copy = frame.cloneNode();
    ['srcdoc', 'data-consent-url', 'data-consent-frame'].forEach(name => copy.removeAttribute(name));
    copy.src = address;
    if (frame.contentDocument || frame.hasAttribute('sandbox')) frame.replaceWith(copy);
  });
  var put = (place, piece) => {
    var copy = page.createElement(piece.localName);
    [...piece.attributes].forEach(attribute => { if (attribute.name !== 'nonce') copy.setAttribute(attribute.name, attribute.value); });
    if (guard) copy.nonce = guard.nonce;
    place.replaceWith(copy);
  };
  var allowed = (names, tell) => {
    var places = comments(names), blocked = guard && guard.blocked;
    var go = () => {
      if (places[0] && !blocked && !strict && guard && guard.denied) return missing(places, pieces => {
        tell();
        load();
        places.forEach((place, i) => put(place, pieces[i]));
      });
      tell();
      if (places[0] || blocked) reload();
      else load();
    };
    /* Tags are told before the page can start one on its own. */
    if (page.querySelector('script[data-consent-signals]')) go();
    else add('signals.js', go, go).setAttribute('data-consent-signals', '');
  };

  /* The companion of the new grants clears what was stored, and knows what was fetched. */
  var withdrawn = () => add('guard.js?v=' + Date.now(), script => {
    if (strict || performance.getEntriesByType('resource').some(entry => script.denied(entry.name))) return reload();
    fetch(location.href).then(answer => answer.text()).then(text => {
      if (/<!--consentd: removed|data-consent-frame=/.test(text)) reload();
    }, reload);
  }, reload);

  /*
   * What a service worker kept of the site was made for other grants. It goes, and comes back as it is now: the
   * referrer says that it is not for this page.
   */
  var renew = cache => cache.keys().then(all => Promise.all(all.map(request => cache.match(request).then(answer => {
    if (!answer || !/html|css|javascript/.test(answer.headers.get('Content-Type')) || new URL(request.url).host !== location.host) return;
    return cache.delete(request).then(() => () => cache.match(request).then(other => other || fetch(request, { referrer: me.src })
      .then(now => now.ok && cache.put(request, now))));
  })))).then(all => all.forEach(one => one && later.push(one)));
  /* The browser gets the worker's script anew, whose companion has the grants of now, and that takes the old one's place. */
  var replace = registration => new Promise(done => {
    var go = () => {
      var next = registration.waiting || registration.installing;
      if (!next || next.state === 'activated') return done();
      next.onstatechange = go;
      next.postMessage('consentd:grants');
    };
    registration.update().then(go, () => fetch(registration.active.scriptURL).then(answer => {
      if (answer.status === 204) registration.unregister(); /* a tracker's, and denied */
      done();
    }, done));
  });
  var later = [], wait = all => Promise.race([Promise.all(all).catch(() => {}), new Promise(done => { setTimeout(done, 3000); })]);
  /* Service workers follow the grants before anything else goes through them; a site without one does not wait. */
  var workers = then => {
    try {
      navigator.serviceWorker.getRegistrations().then(all => {
        if (!all[0]) return then();
        wait([caches.keys().then(names => Promise.all(names.map(name => caches.open(name).then(renew))))])
          .then(() => wait(all.map(replace))).then(() => wait(later.map(one => one()))).then(then);
      }, then);
    } catch {
      then();
    }
  };

  if (me.consent) {
    if (me.consent[0][0]) workers(() => allowed.apply(null, me.consent));
    else {
      me.consent[1]();
      workers(withdrawn);
    }
  } else if (kept) {
    sessionStorage.removeItem(key);
    if (page.readyState === 'complete') back();
    else addEventListener('load', back);
  }
})();
