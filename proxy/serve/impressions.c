/*
 * impressions.c - contract in impressions.h.
 *
 * The table is open-addressed and never more than half full; when it is, and the ledger can't be
 * told, what is new is not counted: these are statistics, and pages come first.
 */
#include "impressions.h"

#include <stdlib.h>
#include <string.h>

#include "consentd/ipc.h"
#include "consentd/ipc_msg.h"
#include "consentd/mem.h"
#include "consentd/timer.h"
#include "enforce_priv.h"

#define SLOTS (2 * SHOWN_ENTRIES_MAX) /* a power of two */

struct impressions {
    struct server *server; /* borrowed */
    struct timer report;
    unsigned used;
    struct shown_entry slots[SLOTS]; /* cnt 0: free */
};

static void on_report(void *arg)
{
    struct impressions *im = arg;

    impressions_send(im);
    if (im->used > 0)
        timer_set(&im->report, IMPRESSIONS_MS);
}

struct impressions *impressions_new(struct server *s)
{
    struct impressions *im = mem_new(struct impressions);

    im->server = s;
    timer_init(&im->report, s->loop, on_report, im);
    return im;
}

void impressions_free(struct impressions *im)
{
    if (im == NULL)
        return;
    timer_clear(&im->report);
    free(im);
}

void impressions_send(struct impressions *im)
{
    struct shown_entry entries[SHOWN_ENTRIES_MAX];
    size_t cnt = 0;

    for (size_t i = 0; i < SLOTS && cnt < im->used; i++)
        if (im->slots[i].cnt > 0)
            entries[cnt++] = im->slots[i];
    if (cnt == 0 || im->server->ledger == NULL ||
        !ipc_send(im->server->ledger, IPC_SHOWN, entries, cnt * sizeof(entries[0]), -1))
        return;
    memset(im->slots, 0, sizeof(im->slots));
    im->used = 0;
}

/* The slot of this notice, language and place, or the free one where it belongs. */
static struct shown_entry *slot_of(struct impressions *im, const uint8_t doc[RECORD_ID_LEN],
                                   enum shown_place place, const char *lang)
{
    uint32_t at;

    memcpy(&at, doc, sizeof(at)); /* a hash already */
    for (const char *c = lang; *c != '\0'; c++)
        at = at * 31 + (uint8_t)*c;
    for (at += place;; at++) {
        struct shown_entry *e = &im->slots[at % SLOTS];

        if (e->cnt == 0 || (memcmp(e->doc, doc, sizeof(e->doc)) == 0 && e->place == place &&
                            strcmp(e->lang, lang) == 0))
            return e;
    }
}

static bool is_fetched_ahead(const struct exchange *x)
{
    const struct header *field = headers_find_name(&x->req.headers, STR("Sec-Purpose"));

    if (field == NULL)
        field = headers_find_name(&x->req.headers, STR("Purpose"));
    return field != NULL && str_find(field->value, STR("prefetch")) >= 0;
}

void impressions_count(struct exchange *x, enum shown_place place)
{
    const struct enforce_worker *worker = x->server->enforce;
    struct impressions *im = worker->impressions;
    const char *lang = language_tag(x);
    struct shown_entry *e;

    if (enforcement_of(x)->decided || x->req.method_id == HTTP_METHOD_HEAD || is_fetched_ahead(x) ||
        strlen(lang) >= SHOWN_LANG_MAX)
        return;
    if (im->used == SHOWN_ENTRIES_MAX)
        impressions_send(im);
    e = slot_of(im, x->site->policy->doc_hash, place, lang);
    if (e->cnt == 0) {
        if (im->used == SHOWN_ENTRIES_MAX)
            return;
        memcpy(e->doc, x->site->policy->doc_hash, sizeof(e->doc));
        e->place = place;
        memcpy(e->lang, lang, strlen(lang) + 1);
        im->used++;
    }
    e->cnt += e->cnt < UINT32_MAX ? 1 : 0;
    if (!timer_is_set(&im->report))
        timer_set(&im->report, IMPRESSIONS_MS);
}
