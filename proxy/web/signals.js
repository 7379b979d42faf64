/*
 * What Google's and Microsoft's tags are told of the consent, before the first of them runs: the
 * proxy puts this first in pages in which such a tag may run. Queues are filled from the front, also
 * one that the page makes itself: so it holds whatever the page puts there. A tag of Google's may name
 * another queue (…&l=name): that is filled when the tag's element comes, and so before it runs.
 * The argument is appended:
 *   g  category -> granted    e  seconds that Analytics may keep its cookies
 */
(R => {
  var top = self, start = [], layers = ['dataLayer'];
  var word = yes => yes ? 'granted' : 'denied';
  var google = grants => {
    var ad = word(grants.marketing);
    return { ad_storage: ad, ad_user_data: ad, ad_personalization: ad, analytics_storage: word(grants.analytics) };
  };
  var last = JSON.stringify(google(R.g));
  var first = function () { start.push(arguments); };
  var list = top.dataLayer || [];
  first('consent', 'default', google({}));
  first('set', 'ads_data_redaction', true);
  first('set', { allow_google_signals: false, allow_ad_personalization_signals: false, cookie_expires: R.e });
  first('consent', 'update', google(R.g));
  list.unshift(...start);
  Reflect.defineProperty(top, 'dataLayer', {
    configurable: true,
    enumerable: true,
    get: () => list,
    set: value => {
      if (Array.isArray(value) && value !== list) value.unshift(...start);
      list = value;
    }
  });

  var tell = function () { layers.forEach(name => top[name].push(arguments)); };
  var meet = element => {
    try {
      var url = new URL(element.src), name = url.searchParams.get('l');
      if (!name || layers.includes(name) || !/\/(gtm\.js|gtag\/\w+)$/.test(url.pathname)) return;
      (top[name] ||= []).unshift(...start);
      layers.push(name);
    } catch { /* no script with an address, or no queue */ }
  };
  new MutationObserver(changes => changes.forEach(change => [change.target, ...change.addedNodes].forEach(node => {
    meet(node);
    if (node !== change.target) node.querySelectorAll?.('script').forEach(meet);
  }))).observe(document, { childList: true, subtree: true, attributeFilter: ['src'] });
  var microsoft = grants => {
    if (top.clarity) top.clarity('consentv2', { ad_Storage: word(grants.marketing), analytics_Storage: word(grants.analytics) });
  };
  if (R.g.analytics && !top.clarity) {
    top.clarity = function () { (top.clarity.q = top.clarity.q || []).push(arguments); };
  }
  if (R.g.analytics) microsoft(R.g);
  if (R.g.marketing) {
    top.uetq = top.uetq || [];
    if (top.uetq.unshift) top.uetq.unshift('consent', 'default', { ad_storage: 'denied' }, 'consent', 'update', { ad_storage: 'granted' });
  }
  document.addEventListener('consent:change', event => {
    var grants = event.detail.grants;
    if (JSON.stringify(google(grants)) === last) return;
    last = JSON.stringify(google(grants));
    start.pop(); /* who comes later finds what holds by then */
    first('consent', 'update', google(grants));
    tell('consent', 'update', google(grants));
    microsoft(grants);
    if (top.uetq) top.uetq.push('consent', 'update', { ad_storage: word(grants.marketing) });
  });
})
