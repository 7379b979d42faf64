/*
 * scan_visit.c - one visit of the page, in one state of consent.
 *
 *   new context -> [load, decide through the banner]* -> load, recording -> cookies, storage, image
 *
 * The decision is made where a visitor makes it: the banner's own controls are clicked. Frames of
 * other sites and workers are targets of their own; they are stopped at their start until the
 * recording of their requests is on.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/clock.h"
#include "consentd/mem.h"
#include "scan_priv.h"

#define ERRORS_MAX   50
#define STEP_MS      50
#define DECIDE_MS    10000
#define SESSION_MAX  64
#define IMAGE_FORMAT "jpeg"

struct visit {
    struct scan *scan;
    json_t *out;               /* owned: what scan_visit returns */
    json_t *open;              /* owned: ids of the requests that are under way */
    json_t *set_by_http;       /* owned: names of cookies that answers set */
    char context[SESSION_MAX]; /* id of the browser context */
    char session[SESSION_MAX]; /* of the page */
    bool recording;
    bool loaded;
    uint64_t last_ms; /* when something was asked for, or answered */
};

/* A copy of the text, cut where it is longer than the report wants it. */
static json_t *short_text(const char *text)
{
    struct str s = str_slice(str_c(text), 0, SCAN_TEXT_MAX);

    while (s.len > 0 && ((unsigned char)text[s.len] & 0xc0) == 0x80)
        s.len--; /* not inside a character */
    return json_stringn(s.ptr, s.len);
}

static json_t *list_of(struct visit *v, const char *key)
{
    json_t *list = json_object_get(v->out, key);

    return json_array_size(list) < SCAN_LIST_MAX ? list : NULL;
}

/* --- what happens in the page --- */

/* Who asked: the script on top of the stack, else the document. */
static const char *initiator_of(const json_t *initiator)
{
    const json_t *stack = json_object_get(initiator, "stack");

    for (unsigned depth = 0; stack != NULL && depth < 8; depth++) {
        const json_t *frames = json_object_get(stack, "callFrames");

        for (size_t i = 0; i < json_array_size(frames); i++) {
            const char *url = scan_text(json_array_get(frames, i), "url");

            if (url[0] != '\0' && strstr(url, "guard.js?v=") == NULL) /* the companion hands on */
                return url;
        }
        stack = json_object_get(stack, "parent");
    }
    return scan_text(initiator, "url");
}

static void on_request(struct visit *v, const char *url, const char *type, const json_t *params)
{
    json_t *list = list_of(v, "requests");
    json_t *entry;

    if (!v->recording || list == NULL || str_starts(str_c(url), STR("data:")) ||
        str_starts(str_c(url), STR("blob:")) || str_starts(str_c(url), STR("chrome")))
        return;
    entry = json_pack("{s:s}", "type", type);
    json_object_set_new(entry, "url", short_text(url));
    json_object_set_new(entry, "initiator",
                        short_text(initiator_of(json_object_get(params, "initiator"))));
    json_array_append_new(list, entry);
}

/* Set-Cookie lines as Chromium gives them: one text, a line each. */
static void on_set_cookie(struct visit *v, const json_t *headers)
{
    struct str rest = str_c(scan_text(headers, "set-cookie"));
    struct str line;

    if (rest.len == 0)
        rest = str_c(scan_text(headers, "Set-Cookie"));
    while (rest.len > 0 && str_cut(&rest, '\n', &line)) {
        struct str name;

        if (str_cut(&line, '=', &name) && json_object_size(v->set_by_http) < SCAN_LIST_MAX) {
            char *key = str_dup(str_trim(name));

            json_object_set_new(v->set_by_http, key, json_true());
            free(key);
        }
    }
}

static void on_error(struct visit *v, const char *text)
{
    json_t *list = json_object_get(v->out, "errors");

    if (v->recording && json_array_size(list) < ERRORS_MAX && text[0] != '\0')
        json_array_append_new(list, short_text(text));
}

static void on_log(struct visit *v, const json_t *entry)
{
    struct buf text;

    if (strcmp(scan_text(entry, "level"), "error") != 0)
        return;
    buf_init(&text, 2 * SCAN_TEXT_MAX);
    if (buf_printf(&text, "%s %s", scan_text(entry, "text"), scan_text(entry, "url")))
        on_error(v, buf_cstr(&text));
    buf_free(&text);
}

static void on_attached(struct visit *v, const json_t *params)
{
    const char *session = scan_text(params, "sessionId");

    cdp_send(v->scan->cdp, session, "Network.enable", NULL);
    cdp_send(
        v->scan->cdp, session, "Target.setAutoAttach",
        json_pack("{s:b,s:b,s:b}", "autoAttach", 1, "waitForDebuggerOnStart", 1, "flatten", 1));
    cdp_send(v->scan->cdp, session, "Runtime.runIfWaitingForDebugger", NULL);
}

static void on_network(struct visit *v, const char *session, const char *event, json_t *params)
{
    const char *id = scan_text(params, "requestId");

    v->last_ms = clock_mono_ms();
    if (strcmp(event, "requestWillBeSent") == 0) {
        on_request(v, scan_text(json_object_get(params, "request"), "url"),
                   scan_text(params, "type"), params);
        json_object_set_new(v->open, id, json_true());
    } else if (strcmp(event, "webSocketCreated") == 0) {
        on_request(v, scan_text(params, "url"), "WebSocket", params);
    } else if (strcmp(event, "responseReceivedExtraInfo") == 0) {
        on_set_cookie(v, json_object_get(params, "headers"));
    } else if (strcmp(event, "responseReceived") == 0) {
        if (strcmp(scan_text(params, "type"), "Document") == 0 && v->recording &&
            strcmp(session, v->session) == 0 && scan_number(v->out, "status") == 0)
            json_object_set_new(
                v->out, "status",
                json_integer(scan_number(json_object_get(params, "response"), "status")));
        if (strcmp(scan_text(params, "type"), "EventSource") == 0)
            json_object_del(v->open, id); /* it never ends */
    } else if (strcmp(event, "loadingFinished") == 0 || strcmp(event, "loadingFailed") == 0) {
        json_object_del(v->open, id);
    }
}

static void on_event(void *owner, const char *session, const char *method, json_t *params)
{
    struct visit *v = owner;

    if (strncmp(method, "Network.", 8) == 0)
        on_network(v, session, method + 8, params);
    else if (strcmp(method, "Target.attachedToTarget") == 0)
        on_attached(v, params);
    else if (strcmp(method, "Page.loadEventFired") == 0)
        v->loaded = v->loaded || strcmp(session, v->session) == 0;
    else if (strcmp(method, "Page.javascriptDialogOpening") == 0)
        cdp_send(v->scan->cdp, session, "Page.handleJavaScriptDialog",
                 json_pack("{s:b}", "accept", 1));
    else if (strcmp(method, "Log.entryAdded") == 0)
        on_log(v, json_object_get(params, "entry"));
    else if (strcmp(method, "Runtime.exceptionThrown") == 0)
        on_error(
            v, scan_text(json_object_get(json_object_get(params, "exceptionDetails"), "exception"),
                         "description"));
}

/* --- steps --- */

/* A command of which only failure matters. */
static bool step(struct visit *v, const char *method, json_t *params, struct fault *f)
{
    json_t *result = cdp_call(v->scan->cdp, v->session, method, params, f);

    json_decref(result);
    return result != NULL;
}

/* Until the page has loaded and asks for nothing any more; false: the browser is gone. */
static bool settle(struct visit *v, bool *complete_out)
{
    uint64_t deadline = clock_mono_ms() + SCAN_LOAD_MS;

    *complete_out = false;
    while (clock_mono_ms() < deadline) {
        if (!cdp_wait(v->scan->cdp, STEP_MS))
            return false;
        if (v->loaded && json_object_size(v->open) == 0 &&
            clock_mono_ms() - v->last_ms > SCAN_QUIET_MS) {
            *complete_out = true;
            break;
        }
    }
    return true;
}

/* The reason as Chromium names it, and what helps. */
static void load_failed(const struct visit *v, const char *error, struct fault *f)
{
    bool certificate = str_starts(str_c(error), STR("net::ERR_CERT"));

    fault_set(f, "%s cannot be loaded: %s%s", v->scan->url, error,
              certificate ? "; with --insecure any certificate will do" : "");
}

static bool load(struct visit *v, bool *complete_out, struct fault *f)
{
    json_t *result;
    const char *error;

    v->loaded = false;
    v->last_ms = clock_mono_ms();
    json_object_clear(v->open);
    result = cdp_call(v->scan->cdp, v->session, "Page.navigate",
                      json_pack("{s:s}", "url", v->scan->url), f);
    if (result == NULL) {
        if (cdp_wait(v->scan->cdp, 1)) /* else the browser is gone, and that is said */
            fault_set(f, "%s has not answered in %u s", v->scan->url, SCAN_CALL_MS / 1000);
        return false;
    }
    error = scan_text(result, "errorText");
    if (error[0] != '\0') {
        load_failed(v, error, f);
        json_decref(result);
        return false;
    }
    json_decref(result);
    if (settle(v, complete_out))
        return true;
    fault_set(f, "Chromium ended unexpectedly");
    return false;
}

/* The value of an expression in the page; NULL with the reason. */
static json_t *evaluate(struct visit *v, const char *expression, struct fault *f)
{
    json_t *result = cdp_call(
        v->scan->cdp, v->session, "Runtime.evaluate",
        json_pack("{s:s,s:b,s:b}", "expression", expression, "awaitPromise", 1, "returnByValue", 1),
        f);
    json_t *value = json_incref(json_object_get(json_object_get(result, "result"), "value"));

    if (result != NULL && value == NULL)
        fault_set(f, "the page answers nothing to a question of the scan");
    json_decref(result);
    return value;
}

static json_t *cookies_of(struct visit *v, struct fault *f)
{
    json_t *result = cdp_call(v->scan->cdp, "", "Storage.getCookies",
                              json_pack("{s:s}", "browserContextId", v->context), f);
    json_t *cookies = json_incref(json_object_get(result, "cookies"));

    json_decref(result);
    return cookies;
}

/* The consent cookie's value; "" without one. Heap. */
static char *consent_of(struct visit *v)
{
    struct fault ignored = {0};
    json_t *cookies = cookies_of(v, &ignored);
    char *value = NULL;

    for (size_t i = 0; i < json_array_size(cookies) && value == NULL; i++) {
        const json_t *cookie = json_array_get(cookies, i);

        if (scan_is_consent(scan_text(cookie, "name")))
            value = mem_strdup(scan_text(cookie, "value"));
    }
    json_decref(cookies);
    return value != NULL ? value : mem_strdup("");
}

/* Clicks a control of the banner and waits until the decision is taken. */
static bool decide(struct visit *v, const char *action, const char *grant, struct fault *f)
{
    static const char script[] =
        "(function (action, grant) {"
        " var root = document.querySelector('[data-consent-banner]');"
        " if (!root) return 'the page has no banner: is it served by consentd?';"
        " root.querySelectorAll('input[type=checkbox]').forEach(function (box) {"
        "  if (!box.disabled) box.checked = box.name === grant; });"
        " var control = root.querySelector('[data-consent-action=\"' + action + '\"]');"
        " if (!control) return 'the banner has no control for ' + action;"
        " control.click(); return ''; })('%s', '%s')";
    uint64_t deadline = clock_mono_ms() + DECIDE_MS;
    char *before = consent_of(v);
    bool changed = false, complete;
    struct buf text;
    json_t *answer;

    buf_init(&text, 4096);
    answer = buf_printf(&text, script, action, grant) ? evaluate(v, buf_cstr(&text), f) : NULL;
    buf_free(&text);
    if (answer != NULL && json_string_length(answer) > 0)
        fault_set(f, "%s", json_string_value(answer));
    else if (answer != NULL) {
        while (!changed && clock_mono_ms() < deadline && cdp_wait(v->scan->cdp, STEP_MS)) {
            char *now = consent_of(v);

            changed = now[0] != '\0' && strcmp(now, before) != 0;
            free(now);
        }
        if (!changed)
            fault_set(f, "the banner was asked for \"%s\" and no decision came", action);
    }
    json_decref(answer);
    free(before);
    return changed && settle(v, &complete);
}

static bool decisions(struct visit *v, enum scan_state state, struct fault *f)
{
    bool complete;

    switch (state) {
    case SCAN_REFUSED:
        return load(v, &complete, f) && decide(v, "reject-all", "", f);
    case SCAN_ANALYTICS:
        return load(v, &complete, f) && decide(v, "save", "analytics", f);
    case SCAN_ALL:
        return load(v, &complete, f) && decide(v, "accept-all", "", f);
    case SCAN_WITHDRAWN:
        return load(v, &complete, f) && decide(v, "accept-all", "", f) && load(v, &complete, f) &&
               decide(v, "reject-all", "", f);
    case SCAN_DIRECT:
    case SCAN_UNDECIDED:
    case SCAN_GPC:
    case SCAN_STATE_CNT:
        break;
    }
    return true;
}

static bool signal_gpc(struct visit *v, struct fault *f)
{
    static const char source[] =
        "Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', "
        "{get: function () { return true; }, configurable: true});";

    return step(v, "Network.setExtraHTTPHeaders", json_pack("{s:{s:s}}", "headers", "Sec-GPC", "1"),
                f) &&
           step(v, "Page.addScriptToEvaluateOnNewDocument", json_pack("{s:s}", "source", source),
                f);
}

/* An id of the browser's; one that is too long would be cut and is then not known to it. */
static void keep(char out[SESSION_MAX], const char *id)
{
    snprintf(out, SESSION_MAX, "%s", id);
}

/* A context, a page in it, and everything that is listened to. */
static bool begin(struct visit *v, struct fault *f)
{
    static const char *const domains[] = {"Network.enable", "Page.enable", "Log.enable",
                                          "Runtime.enable"};
    struct cdp *cdp = v->scan->cdp;
    json_t *result = cdp_call(cdp, "", "Target.createBrowserContext", NULL, f);
    char target[SESSION_MAX];

    keep(v->context, scan_text(result, "browserContextId"));
    json_decref(result);
    if (result == NULL)
        return false;
    result =
        cdp_call(cdp, "", "Target.createTarget",
                 json_pack("{s:s,s:s}", "url", "about:blank", "browserContextId", v->context), f);
    keep(target, scan_text(result, "targetId"));
    json_decref(result);
    if (result == NULL)
        return false;
    result = cdp_call(cdp, "", "Target.attachToTarget",
                      json_pack("{s:s,s:b}", "targetId", target, "flatten", 1), f);
    keep(v->session, scan_text(result, "sessionId"));
    json_decref(result);
    if (result == NULL)
        return false;
    for (size_t i = 0; i < COUNT_OF(domains); i++) {
        if (!step(v, domains[i], NULL, f))
            return false;
    }
    return true;
}

static bool gather_cookies(struct visit *v, struct fault *f)
{
    json_t *cookies = cookies_of(v, f);
    json_t *list = json_object_get(v->out, "cookies");

    for (size_t i = 0; i < json_array_size(cookies) && i < SCAN_LIST_MAX; i++) {
        const json_t *c = json_array_get(cookies, i);
        const char *name = scan_text(c, "name");

        json_array_append_new(
            list, json_pack("{s:s,s:s,s:s,s:I,s:b,s:s}", "name", name, "domain",
                            scan_text(c, "domain"), "path", scan_text(c, "path"), "expires",
                            (json_int_t)scan_number(c, "expires"), "http_only",
                            json_is_true(json_object_get(c, "httpOnly")), "set_by",
                            json_object_get(v->set_by_http, name) != NULL ? "answer" : "script"));
    }
    json_decref(cookies);
    return cookies != NULL;
}

static bool gather_storage(struct visit *v, struct fault *f)
{
    static const char script[] =
        "(async function () { var out = [];"
        " ['localStorage', 'sessionStorage'].forEach(function (name) {"
        "  try { Object.keys(window[name]).forEach(function (key) { out.push([name, key]); }); }"
        "  catch (e) {} });"
        " try { (await indexedDB.databases()).forEach(function (db) {"
        "  out.push(['IndexedDB', db.name]); }); } catch (e) {}"
        " return out; })()";
    json_t *keys = evaluate(v, script, f);
    json_t *list = json_object_get(v->out, "storage");

    for (size_t i = 0; i < json_array_size(keys) && i < SCAN_LIST_MAX; i++) {
        const json_t *pair = json_array_get(keys, i);
        const char *store = json_string_value(json_array_get(pair, 0));
        const char *key = json_string_value(json_array_get(pair, 1));

        if (store != NULL && key != NULL) {
            json_t *entry = json_pack("{s:s}", "store", store);

            json_object_set_new(entry, "key", short_text(key));
            json_array_append_new(list, entry);
        }
    }
    json_decref(keys);
    return keys != NULL;
}

static bool gather_image(struct visit *v, struct fault *f)
{
    json_t *result = cdp_call(v->scan->cdp, v->session, "Page.captureScreenshot",
                              json_pack("{s:s,s:i}", "format", IMAGE_FORMAT, "quality", 80), f);

    if (result != NULL)
        json_object_set(v->out, "image", json_object_get(result, "data"));
    json_decref(result);
    return result != NULL;
}

static bool run(struct visit *v, enum scan_state state, struct fault *f)
{
    bool complete = false;

    if (!begin(v, f))
        return false;
    cdp_send(
        v->scan->cdp, v->session, "Target.setAutoAttach",
        json_pack("{s:b,s:b,s:b}", "autoAttach", 1, "waitForDebuggerOnStart", 1, "flatten", 1));
    if ((state == SCAN_GPC && !signal_gpc(v, f)) || !decisions(v, state, f))
        return false;
    v->recording = true;
    json_object_clear(v->set_by_http);
    if (!load(v, &complete, f))
        return false;
    v->recording = false;
    json_object_set_new(v->out, "complete", json_boolean(complete));
    return gather_cookies(v, f) && gather_storage(v, f) && gather_image(v, f);
}

json_t *scan_visit(struct scan *scan, enum scan_state state, struct fault *f)
{
    struct visit v = {.scan = scan, .open = json_object(), .set_by_http = json_object()};
    struct fault ignored = {0};
    bool ok;

    v.out = json_pack("{s:s,s:s,s:i,s:[],s:[],s:[],s:[]}", "state", scan_state_name(state), "url",
                      scan->url, "status", 0, "requests", "cookies", "storage", "errors");
    cdp_listen(scan->cdp, on_event, &v);
    ok = run(&v, state, f);
    cdp_listen(scan->cdp, NULL, NULL);
    if (v.context[0] != '\0')
        json_decref(cdp_call(scan->cdp, "", "Target.disposeBrowserContext",
                             json_pack("{s:s}", "browserContextId", v.context), &ignored));
    json_decref(v.open);
    json_decref(v.set_by_http);
    if (!ok) {
        json_decref(v.out);
        return NULL;
    }
    return v.out;
}
