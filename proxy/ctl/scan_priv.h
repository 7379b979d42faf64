/*
 * scan_priv.h - consentctl scan: a page in Chromium, state by state. layer: ctl
 *
 *   cmd_scan.c       options, the list of visits
 *   scan_visit.c     one visit: decide, load, gather what was requested, set and stored
 *   scan_judge.c     the states of consent, and what the rules say of a visit
 *   scan_report.c    the report as JSON;  scan_html.c  the same for people
 *   scan_cdp.c       the DevTools protocol over two pipes
 *   scan_chromium.c  the browser's process and its profile
 *
 * A visit and the report are JSON values from the beginning: what is gathered is what is written.
 */
#ifndef CONSENTD_SCAN_PRIV_H
#define CONSENTD_SCAN_PRIV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "consentd/buf.h"
#include "consentd/decide.h"
#include "consentd/fault.h"
#include "consentd/json.h"
#include "consentd/rules.h"

#define SCAN_LIST_MAX 3000  /* requests, cookies or keys of one visit */
#define SCAN_TEXT_MAX 2000  /* bytes of one URL in the report */
#define SCAN_LOAD_MS  30000 /* one load, from its start until nothing more is asked for */
#define SCAN_QUIET_MS 1000  /* so long nothing is asked for: the page is at rest */
#define SCAN_CALL_MS  20000 /* one answer of the browser */

/* --- scan_chromium.c --- */

struct chromium {
    pid_t pid;         /* leader of its own group; 0: none */
    int to, from;      /* the pipes of --remote-debugging-pipe */
    char profile[128]; /* a folder of its own, removed at the end; "" before it is made */
};

struct chromium_setup {
    const char *program; /* NULL: looked for in PATH */
    const char *resolve; /* host-resolver-rules of Chromium, or NULL */
    bool insecure;       /* certificates are not checked */
};

/* False with the reason; chromium_stop in any case. */
MUST_USE bool chromium_start(const struct chromium_setup *setup, struct chromium *out,
                             struct fault *f);

/*
 * Ends it, with all its processes, and removes the profile. Zeroed is fine. Does not return when a
 * signal to end came meanwhile.
 */
void chromium_stop(struct chromium *c);

/* A signal to end has come: whoever waits gives up. */
bool chromium_is_stopped(void);

/* --- scan_cdp.c --- */

struct cdp;

/* Something happened in a session ("" for the browser itself); params is borrowed. */
typedef void (*cdp_event_fn)(void *owner, const char *session, const char *method, json_t *params);

struct cdp *cdp_new(int to, int from); /* borrows both; never NULL */
void cdp_free(struct cdp *cdp);        /* NULL is fine */

/* Who is told of events from here on; NULL: nobody. */
void cdp_listen(struct cdp *cdp, cdp_event_fn fn, void *owner);

/*
 * Sends a command and waits for its answer; events are told meanwhile. Takes params (NULL: none).
 * The result, owned by the caller, or NULL with the reason.
 */
MUST_USE json_t *cdp_call(struct cdp *cdp, const char *session, const char *method, json_t *params,
                          struct fault *f);

/* The same when nothing of the answer matters; also from inside an event. */
void cdp_send(struct cdp *cdp, const char *session, const char *method, json_t *params);

/* Tells of events until ms are over; false: the browser is gone, or we are asked to. */
MUST_USE bool cdp_wait(struct cdp *cdp, unsigned ms);

/* Members of JSON objects, "" and 0 where there is none. */
const char *scan_text(const json_t *object, const char *key);
int64_t scan_number(const json_t *object, const char *key);

/* --- scan_judge.c --- */

enum scan_state {
    SCAN_DIRECT = 0, /* without consentd */
    SCAN_UNDECIDED,
    SCAN_REFUSED,
    SCAN_ANALYTICS,
    SCAN_ALL,
    SCAN_WITHDRAWN, /* everything granted, the page loaded, then refused */
    SCAN_GPC,       /* undecided, with Global Privacy Control */
    SCAN_STATE_CNT,
};

/* "undecided", …; as in --state and the report. */
const char *scan_state_name(enum scan_state state);

struct scan {
    struct cdp *cdp;
    const struct rules *rules;
    struct decider decider; /* grants: those of the visit */
    const char *url;        /* what is loaded */
    struct str host;        /* of the site, canonical */
};

/* The consent cookie by any of its names. */
bool scan_is_consent(const char *name);

/* The categories that are granted in this state. */
uint16_t scan_grants(const struct rules *rules, enum scan_state state);

/*
 * Adds to everything in the visit "set", "category" and "denied", and to the visit "counts"
 * ({"requests", "foreign", "denied_requests", "cookies", …}).
 */
void scan_judge(const struct scan *scan, json_t *visit);

/* What no rule set knows, of all visits: {"hosts": […], "cookies": […], "storage": […]}. */
json_t *scan_unclassified(const struct scan *scan, const json_t *visits);

/* --- scan_visit.c --- */

/*
 * One visit in a context of its own (no cookie of another one):
 *   {"state", "grants", "url", "status", "requests": [{"url", "host", "type", "initiator"}],
 *    "cookies": [{"name", "domain", "path", "expires", "http_only", "set_by"}],
 *    "storage": [{"store", "key"}], "errors": [TEXT], "complete", "image": base64 of a JPEG}
 * NULL with the reason.
 */
MUST_USE json_t *scan_visit(struct scan *scan, enum scan_state state, struct fault *f);

/* --- scan_report.c, scan_html.c --- */

/* Writes DIR/report.json, DIR/report.html and DIR/STATE.jpg. */
MUST_USE bool scan_write(const char *dir, json_t *report, struct fault *f);
MUST_USE bool scan_html(const json_t *report, struct buf *out);

/* What passed that is denied in its state, of all visits through consentd. */
unsigned scan_escaped(const json_t *report);

#endif
