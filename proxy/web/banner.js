/*
 * The banner's behaviour. The form works without it; with it the page need not be left, and it is
 * loaded again only when something that is now allowed had been removed from it.
 */
(function () {
  'use strict';
  var root = document.querySelector('[data-consent-banner]');
  if (!root || window.consent) return;
  var form = root.querySelector('form');
  var choice = form.getAttribute('action'); /* form.action is the buttons of that name */
  var opener = root.querySelector('.cnsnt-open');
  var state = JSON.parse(root.getAttribute('data-state'));

  function id() {
    var bytes = crypto.getRandomValues(new Uint8Array(16));
    return btoa(String.fromCharCode.apply(null, bytes))
      .replace(/\+/g, '-').replace(/\//g, '_').replace(/=/g, '');
  }
  function boxes() {
    return Array.prototype.slice.call(form.querySelectorAll('input[type=checkbox]'));
  }
  function show(open) {
    form.hidden = !open;
    if (opener) opener.hidden = open;
  }
  /* True when a comment says that something of a category, allowed now, was removed. */
  function removed(grants) {
    var guard = document.querySelector('script[data-consent-guard]');
    if (guard && guard.blocked && Object.keys(grants).some(function (k) { return grants[k] && !state.grants[k]; })) return true;
    var walker = document.createTreeWalker(document, NodeFilter.SHOW_COMMENT);
    while (walker.nextNode()) {
      var m = /^consentd: removed \S+ \(([\w, -]+)\)/.exec(walker.currentNode.data);
      if (m && m[1].split(/[ ,]+/).some(function (name) { return grants[name]; })) return true;
    }
    return false;
  }
  /* again.js: the reload that keeps what was typed. */
  function more(withdrawn) {
    var script = document.createElement('script');
    script.src = choice.replace(/choice$/, 'again.js');
    if (withdrawn) script.setAttribute('data-withdrawn', '');
    script.onerror = function () { location.reload(); };
    document.head.appendChild(script);
  }
  try {
    if (sessionStorage.getItem('consent.again')) more();
  } catch (e) { /* a sandboxed document has none */ }
  function apply(answer) {
    var before = state.grants;
    var again = removed(answer.grants);
    state = { decided: true, grants: answer.grants };
    window.consent.state = state;
    boxes().forEach(function (box) { box.checked = !!answer.grants[box.name]; });
    show(false);
    document.dispatchEvent(new CustomEvent('consent:change', { detail: state }));
    var withdrawn = Object.keys(before).some(function (k) { return before[k] && !answer.grants[k]; });
    if (again || withdrawn) more(!again);
  }
  function send(action) {
    var grant = [], deny = [];
    boxes().forEach(function (box) {
      var yes = action === 'accept-all' || (action === 'save' && box.checked);
      (yes ? grant : deny).push(box.name);
    });
    var names = { 'accept-all': 'banner.accept_all', 'reject-all': 'banner.reject_all', save: 'panel.save' };
    return fetch(choice, {
      method: 'POST',
      credentials: 'same-origin',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ grant: grant, deny: deny, eid: id(), mth: names[action],
        doc: root.getAttribute('data-doc') })
    }).then(function (r) {
      if (!r.ok) throw new Error(String(r.status));
      return r.json();
    });
  }
  form.addEventListener('submit', function (event) {
    var button = event.submitter;
    if (!button || !window.fetch) return;
    event.preventDefault();
    send(button.value).then(apply, function () {
      /* The form itself is the second way: it shows what went wrong. */
      var action = document.createElement('input');
      action.type = 'hidden';
      action.name = 'action';
      action.value = button.value;
      form.appendChild(action);
      form.submit();
    });
  });
  function open() {
    show(true);
    var details = form.querySelector('details');
    if (details) details.open = true;
    form.querySelector('h2').focus();
  }
  document.addEventListener('click', function (event) {
    var target = event.target.closest && event.target.closest('[data-consent-action]');
    if (!target) return;
    var action = target.getAttribute('data-consent-action');
    if (action === 'open' || (action === 'settings' && target.tagName !== 'SUMMARY')) {
      event.preventDefault();
      open();
    } else if (action === 'close' && state.decided) {
      event.preventDefault();
      show(false);
    }
  });
  window.consent = { state: state, open: open };
})();
