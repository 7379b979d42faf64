/*
 * ledger_notice.c - notice documents that come into force: kept, and made a leaf of the log.
 *
 *   start ─▶ another one than last time? ─▶ file ─▶ leaf (type 5), if it has none ─▶ history
 *
 * The leaf holds the document's hash, site, version and epoch; the document itself is a file here
 * and a key in Redis (ship_keep.c). A leaf counts for the records of one ledger.node: those of
 * another one get their own. A second that could not be recorded is tried again.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/b64.h"
#include "consentd/clock.h"
#include "consentd/crypto.h"
#include "consentd/json.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/notices.h"
#include "consentd/ship.h"
#include "ledger_priv.h"
#include "ship_priv.h"

/* A document of the configuration. */
struct pending {
    char *site, *version; /* owned */
    uint32_t epoch;
    uint8_t hash[32];
    size_t size;
    bool noted;           /* the history's last line for the site is this one */
    bool logged;          /* it has its leaf, which the history lacks as long as it is not noted */
    uint64_t ts_ms, leaf; /* with logged */
};

struct noticing {
    struct notices *store; /* owned */
    struct pending *items; /* owned; one per site */
    unsigned cnt;
    unsigned asked; /* the one whose leaf is on its way */
    bool asking;
};

static void note(struct ledger *l, struct pending *p, uint64_t ts_ms, uint64_t leaf)
{
    struct noticing *n = l->noticing;
    struct notice_use use = {.ts_ms = ts_ms,
                             .leaf = leaf,
                             .epoch = p->epoch,
                             .node = l->node,
                             .site = p->site,
                             .version = p->version};
    struct fault f = {{0}};

    memcpy(use.hash, p->hash, sizeof(use.hash));
    if (!notices_note(n->store, &use, &f)) {
        log_error("notice.unsaved", "reason=\"%s\"", f.text);
        return;
    }
    p->noted = true;
    log_info("notice.in_force", "site=%s version=%s epoch=%u leaf=%" PRIu64, p->site, p->version,
             p->epoch, leaf);
    if (l->ops.on_notice != NULL)
        l->ops.on_notice(l->owner, (unsigned)(p - n->items));
    if (l->ship != NULL)
        ship_keep(l->ship);
}

/* The text of the leaf: canonical, as it stands between {"doc": and the time. */
static bool print_doc(const struct pending *p, struct buf *out)
{
    char hash[65];

    hex_encode(hash, p->hash, 32);
    return buf_printf(out, "{\"epoch\":%" PRIu32 ",\"sha256\":\"%s\",\"site\":", p->epoch, hash) &&
           json_quote(str_c(p->site), out) &&
           buf_printf(out, ",\"size\":%zu,\"version\":", p->size) &&
           json_quote(str_c(p->version), out) && buf_append_char(out, '}');
}

void ledger_notice_work(struct ledger *l)
{
    struct noticing *n = l->noticing;
    const struct notice_use *known;
    struct pending *p;
    struct buf text;

    if (n == NULL || !l->ready || n->asking)
        return;
    while (n->asked < n->cnt && n->items[n->asked].noted)
        n->asked++;
    if (n->asked == n->cnt)
        return;
    p = &n->items[n->asked];
    if (p->logged) { /* the history could not be written: no second leaf for that */
        note(l, p, p->ts_ms, p->leaf);
        return;
    }
    known = notices_find_leaf(n->store, p->hash, l->node);
    if (known != NULL) { /* it was in force before: its leaf stands */
        note(l, p, clock_wall_ms(), known->leaf);
        return;
    }
    buf_init(&text, RECORD_OPLOG_MAX);
    if (print_doc(p, &text)) {
        n->asking = true;
        ledger_enqueue_notice(l, buf_str(&text));
    }
    buf_free(&text);
}

void ledger_notice_logged(struct ledger *l, const struct ledger_ack *ack)
{
    struct noticing *n = l->noticing;
    struct pending *p;

    if (n == NULL || !n->asking)
        return;
    n->asking = false;
    if (ack->status != LEDGER_RECORDED)
        return; /* the tick tries again */
    p = &n->items[n->asked];
    p->logged = true;
    p->ts_ms = ack->ts_ms;
    p->leaf = ack->leaf;
    note(l, p, p->ts_ms, p->leaf);
    if (p->noted)
        ledger_notice_work(l);
}

/* A crash came between the leaf and the history. */
void ledger_notice_seen(struct ledger *l, struct str json, uint64_t leaf, uint64_t ts_ms)
{
    struct noticing *n = l->noticing;
    struct buf text;

    buf_init(&text, RECORD_OPLOG_MAX);
    for (unsigned i = 0; n != NULL && i < n->cnt; i++) {
        struct pending *p = &n->items[i];

        buf_clear(&text);
        if (p->noted || !buf_append_c(&text, "{\"doc\":") || !print_doc(p, &text) ||
            !str_starts(json, buf_str(&text)))
            continue;
        p->logged = true;
        p->ts_ms = ts_ms;
        p->leaf = leaf;
    }
    buf_free(&text);
}

/* --- life ---------------------------------------------------------------------------------- */

static const json_t *policy_of(const json_t *root)
{
    const json_t *policy = json_object_get(root, "policy");

    return policy != NULL ? policy : root;
}

/* The configuration has it: what rotted is written again. */
static bool put(const struct notices *store, const struct pending *p, struct str document,
                struct fault *f)
{
    bool mended = false;
    bool ok = notices_put(store, p->hash, document, &mended, f);

    if (mended)
        notice_mended(p->hash, "the configuration");
    return ok;
}

static bool add(const struct ledger *l, const struct ledger_notice *in, struct fault *f)
{
    struct noticing *n = l->noticing;
    json_t *root = json_load_text(in->site, in->document, 0, f);
    const json_t *policy = policy_of(root);
    const char *version = json_string_value(json_object_get(policy, "version"));
    struct pending *p = &n->items[n->cnt];
    const struct notice_use *last;
    bool ok = root != NULL;

    if (ok && (version == NULL || strlen(version) > 255)) {
        fault_set(f, "%s: a notice document without a version of at most 255 bytes", in->site);
        ok = false;
    }
    if (ok) {
        p->site = mem_strdup(in->site);
        p->version = mem_strdup(version);
        p->epoch = (uint32_t)json_integer_value(json_object_get(policy, "epoch"));
        p->size = in->document.len;
        crypto_sha256(in->document.ptr, in->document.len, p->hash);
        last = notices_latest(n->store, p->site);
        p->noted = last != NULL && last->node == l->node &&
                   memcmp(last->hash, p->hash, sizeof(p->hash)) == 0;
        n->cnt++;
        ok = put(n->store, p, in->document, f);
    }
    json_decref(root);
    return ok;
}

bool ledger_notice_open(struct ledger *l, const struct ledger_config *cfg, struct fault *f)
{
    struct noticing *n;

    if (cfg->notices_path == NULL)
        return true;
    n = mem_new(struct noticing);
    l->noticing = n;
    n->items = mem_calloc(cfg->notice_cnt + 1, sizeof(*n->items));
    n->store = notices_open(cfg->notices_path, f);
    for (unsigned i = 0; n->store != NULL && i < cfg->notice_cnt; i++)
        if (!add(l, &cfg->notices[i], f))
            return false;
    return n->store != NULL;
}

void ledger_notice_close(struct ledger *l)
{
    struct noticing *n = l->noticing;

    if (n == NULL)
        return;
    for (unsigned i = 0; i < n->cnt; i++) {
        free(n->items[i].site);
        free(n->items[i].version);
    }
    notices_free(n->store);
    free(n->items);
    free(n);
    l->noticing = NULL;
}

const struct notices *ledger_notices(const struct ledger *l)
{
    return l->noticing != NULL ? l->noticing->store : NULL;
}

bool ledger_notice_get(const struct ledger *l, unsigned i, struct ledger_notice_msg *out)
{
    const struct noticing *n = l->noticing;

    if (n == NULL || i >= n->cnt || !n->items[i].noted)
        return false;
    *out = (struct ledger_notice_msg){
        .since_s = (uint32_t)((notices_since(n->store, n->items[i].site) + 999) / 1000)};
    memcpy(out->doc, n->items[i].hash, sizeof(out->doc));
    return true;
}
