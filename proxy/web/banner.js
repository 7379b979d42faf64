/*
 * The banner's behaviour. The form works without it; with it the page need not be left, the
 * settings open in a dialog, and frames that were held back load where they stand.
 *
 * proxy/web/minify.py shortens it: names of our own must not be those of globals.
 */
(() => {
  var page = document, root = page.querySelector('[data-consent-banner]');
  if (!root || window.consent) return;
  if (window !== top) return root.remove(); /* a frame that a service worker fetched looks like a page */
  var find = selector => root.querySelector(selector);
  var form = find('form'), opener = find('.cnsnt-open'), panel = find('.cnsnt-panel'), heading = find('h2'), cross = find('.cnsnt-x');
  var choice = form.getAttribute('action'); /* form.action is the buttons of that name */
  var state = JSON.parse(root.getAttribute('data-state'));
  var dialog = page.createElement('dialog'), before, sent, tabs = new BroadcastChannel('consentd');
  var names = { 'accept-all': 'banner.accept_all', 'reject-all': 'banner.reject_all', save: 'panel.save', allow: 'frame.allow' };
  var boxes = () => [...form.querySelectorAll('input')];
  /* 16 bytes in base64, of letters and digits alone. */
  var id = () => [...crypto.getRandomValues(new Uint8Array(21))].map(byte => (byte % 36).toString(36)).join('') + 'A';

  dialog.className = 'cnsnt-dialog';
  dialog.setAttribute('aria-labelledby', heading.id);
  [find('.cnsnt-more'), opener].forEach(link => {
    link.setAttribute('role', 'button');
    link.setAttribute('aria-haspopup', 'dialog');
  });
  root.insertBefore(dialog, form);

  /* The settings, in the dialog; or the first layer, or with a decision nothing but the way back. */
  var layer = settings => {
    panel.hidden = cross.hidden = !settings;
    form.hidden = !settings && state.decided;
    opener.hidden = !form.hidden;
    if (settings) dialog.append(form);
    else root.insertBefore(form, opener);
  };
  var open = () => {
    if (dialog.open) return;
    before = page.activeElement;
    boxes().forEach(box => { box.checked = state.decided && state.grants[box.name]; });
    layer(true);
    dialog.showModal();
    heading.focus();
  };
  dialog.addEventListener('close', () => {
    layer();
    (before?.checkVisibility?.() ? before : opener).focus({ preventScroll: true });
  });

  /* again.js: things that were held back run, or the page is loaded again and nothing typed is lost. */
  var files = { createScriptURL: leaf => choice.replace(/choice$/, leaf) };
  var more = data => {
    var script = page.createElement('script');
    if (window.trustedTypes && !files.name) files = trustedTypes.createPolicy('consentd-banner', files);
    script.consent = data;
    script.files = files;
    script.nonce = find('script')?.nonce || '';
    script.onerror = () => location.reload();
    script.src = files.createScriptURL('again.js');
    page.head.append(script);
  };
  var apply = answer => {
    var old = state, changed = yes => Object.keys(old.grants).filter(name => !!old.grants[name] !== yes && !!answer.grants[name] === yes);
    var inside = root.contains(page.activeElement);
    var fresh = changed(true), gone = changed(false);
    sent = 0;
    state = window.consent.state = { decided: answer.decided !== false, grants: answer.grants };
    boxes().forEach(box => { box.checked = state.decided && answer.grants[box.name]; });
    if (dialog.open) dialog.close();
    else {
      layer();
      if (inside) opener.focus({ preventScroll: true });
    }
    tabs.postMessage(0);
    var tell = () => page.dispatchEvent(new CustomEvent('consent:change', { detail: state }));
    if (fresh[0] || gone[0]) more([gone[0] ? [] : fresh, tell]);
    else tell();
  };
  var send = (action, name) => {
    var grant = [], deny = [];
    boxes().forEach(box => {
      var yes = action === 'accept-all' || (action === 'save' && box.checked) || (name && (box.name === name || state.grants[box.name]));
      (yes ? grant : deny).push(box.name);
    });
    return fetch(choice, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ grant: grant, deny: deny, eid: id(), mth: names[action], doc: root.getAttribute('data-doc') })
    }).then(answer => {
      if (!answer.ok) throw answer;
      return answer.json();
    });
  };
  /* The form itself is the second way: it shows what went wrong. */
  var submit = event => {
    var button = event.submitter, inner = event.target, name = inner !== form && inner.querySelector('input').name;
    event.preventDefault();
    if (sent === button.value) return; /* a double click is one choice */
    sent = button.value;
    send(sent, name).then(apply, () => {
      var action = page.createElement('input');
      action.type = 'hidden';
      action.name = 'action';
      action.value = button.value;
      inner.append(action);
      inner.submit();
    });
  };
  form.addEventListener('submit', submit);
  var wire = frame => {
    try {
      frame.contentDocument.addEventListener('submit', submit);
    } catch { /* sandboxed, or loaded */ }
  };
  page.querySelectorAll('iframe[data-consent-frame]').forEach(wire);
  page.addEventListener('load', event => {
    if (event.target.matches?.('iframe[data-consent-frame]')) wire(event.target);
  }, true);

  page.addEventListener('click', event => {
    var target = event.target.closest?.('[data-consent-action]'), action = target?.getAttribute('data-consent-action');
    if (/^(open|settings|close)$/.test(action)) {
      event.preventDefault();
      if (action !== 'close') open();
      else if (dialog.open) dialog.close();
    }
  });
  root.addEventListener('keydown', event => {
    if (event.key !== ' ' || event.target.getAttribute('role') !== 'button') return;
    event.preventDefault();
    event.target.click();
  });
  /* What has the focus is never behind the card: it moves to the other edge. */
  page.addEventListener('focusin', event => {
    if (form.hidden || root.contains(event.target)) return;
    var a = event.target.getBoundingClientRect(), b = form.getBoundingClientRect();
    if (a.right > b.left && a.left < b.right && a.bottom > b.top && a.top < b.bottom) root.classList.toggle('cnsnt-up');
  });
  /*
   * What does not know of a choice made since: a page beside this one, one that is shown again, also on another host
   * of the site, one that comes back, was made ahead of time, or was kept by a service worker.
   */
  var sync = was => fetch(choice.replace(/choice$/, 'state'), { cache: 'no-store' }).then(answer => answer.json()).then(now => {
    if (was === state && JSON.stringify([now.decided, now.grants]) !== JSON.stringify([was.decided, was.grants])) apply(now);
  }).catch(() => {}); /* no way to ask: the next time */
  addEventListener('pageshow', event => event.persisted && sync(state));
  page.addEventListener('visibilitychange', () => page.hidden || sync(state));
  tabs.onmessage = () => sync(state);
  try {
    if (navigator.serviceWorker.controller) sync(state);
  } catch { /* there are none here */ }
  /* Where a framework puts in another body, the banner comes along; a kept copy of it goes. */
  var keep = new MutationObserver(() => {
    page.querySelectorAll('[data-consent-banner]').forEach(other => { if (other !== root) other.remove(); });
    if (!root.isConnected && page.body) page.body.prepend(root);
    watch();
  }), seen;
  var watch = () => {
    if (seen === page.body) return;
    keep.disconnect();
    keep.observe(page.documentElement, { childList: true });
    if (seen = page.body) keep.observe(seen, { childList: true });
  };
  watch();

  window.consent = { state: state, open: open };
  try {
    if (sessionStorage.getItem('consent.again')) more();
  } catch { /* a sandboxed document has none */ }
})();
