/*
 * What follows a choice that changes what already ran: one reload that keeps the place in the page
 * and what was typed; after a withdrawal only if something of what is denied now has run. The
 * banner loads this file when it is needed: after such a choice, and after the reload.
 *
 * What was typed waits in sessionStorage for the moment of the reload, passwords never.
 */
(function () {
  var me = document.currentScript, KEY = 'consent.again', kept = sessionStorage.getItem(KEY);
  function fields() {
    return [].filter.call(document.querySelectorAll('input, textarea, select'), function (field) {
      return !/^(password|file|hidden|submit|button|image|reset)$/.test(field.type) && !field.closest('[data-consent-banner]');
    });
  }
  function state(field) {
    if (field.options) return [].map.call(field.options, function (option) { return option.selected; });
    return /^(checkbox|radio)$/.test(field.type) ? field.checked : field.value;
  }
  function restore(field, value) {
    if (field.options) value.forEach(function (yes, i) { if (field.options[i]) field.options[i].selected = yes; });
    else if (/^(checkbox|radio)$/.test(field.type)) field.checked = value;
    else field.value = value;
    field.dispatchEvent(new Event('input', { bubbles: true }));
    field.dispatchEvent(new Event('change', { bubbles: true }));
  }
  function reload() {
    sessionStorage.setItem(KEY, JSON.stringify({
      page: location.href, x: scrollX, y: scrollY,
      fields: fields().map(function (field) { return [field.name, field.type, state(field)]; })
    }));
    location.reload();
  }
  function back() {
    var saved = JSON.parse(kept), now = fields();
    if (saved.page !== location.href) return;
    saved.fields.forEach(function (one, i) {
      var field = now[i];
      if (field && field.name === one[0] && field.type === one[1] && JSON.stringify(state(field)) !== JSON.stringify(one[2]))
        restore(field, one[2]);
    });
    scrollTo(saved.x, saved.y);
  }
  /* The companion of the new grants clears what was stored, and knows what was fetched. */
  function withdrawn() {
    var guard = document.createElement('script');
    guard.onerror = reload;
    guard.onload = function () {
      var ran = performance.getEntriesByType('resource').some(function (entry) { return guard.denied(entry.name); });
      if (ran) return reload();
      fetch(location.href, { credentials: 'same-origin' }).then(function (answer) { return answer.text(); }).then(function (page) {
        if (page.indexOf('<!--consentd: removed') >= 0) reload();
      }, reload);
    };
    guard.src = me.src.replace(/again\.js.*/, 'guard.js?v=' + Date.now());
    document.head.appendChild(guard);
  }
  if (kept) {
    sessionStorage.removeItem(KEY);
    if (document.readyState === 'complete') back();
    else addEventListener('load', back);
  } else if (me.hasAttribute('data-withdrawn')) withdrawn();
  else reload();
})();
