/*
 * ship_keep.c - keeps in Redis what is not part of a month: c:doc:<sha256>, the notice documents.
 *
 * One command in flight. After every connect each document is looked for and set when it is not
 * there; nothing here ever removes one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/b64.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/notice.h"
#include "ship_priv.h"

/* 1: it is there. The document does not travel. */
static const char look_script[] = "return redis.call('GET', KEYS[1]) and 1 or 0\n";

struct keeper {
    struct rlink *link;
    const struct notices *notices;
    bool up, busy;
    size_t at; /* uses of the history before it are done */
};

struct keeper *keeper_new(struct rlink *link, const struct notices *notices)
{
    struct keeper *k = mem_new(struct keeper);

    k->link = link;
    k->notices = notices;
    return k;
}

void keeper_free(struct keeper *k)
{
    free(k);
}

static void doc_key(const struct notice_use *use, char out[SHIP_KEY_MAX])
{
    memcpy(out, "c:doc:", 6);
    hex_encode(out + 6, use->hash, sizeof(use->hash));
}

/* A reply that is no error; after one the next connect tries again. */
static bool usable(struct keeper *k, const struct resp *reply, const char *what)
{
    k->busy = false;
    if (reply == NULL)
        return false;
    if (resp_type(reply) != RESP_ERROR)
        return true;
    log_error("notice.redis", "command=%s error=\"%.*s\"", what, STR_ARGS(resp_str(reply)));
    k->up = false;
    return false;
}

static void on_set(void *arg, const struct resp *reply)
{
    struct keeper *k = arg;

    if (!usable(k, reply, "SET"))
        return;
    k->at++;
    keeper_run(k);
}

static void set(struct keeper *k, const struct notice_use *use)
{
    char key[SHIP_KEY_MAX];
    struct fault f = {{0}};
    struct buf text;

    doc_key(use, key);
    buf_init(&text, NOTICE_MAX);
    if (notices_read(k->notices, use->hash, &text, &f)) {
        const struct str argv[] = {STR("SET"), str_c(key), buf_str(&text)};

        k->busy = rlink_command(k->link, argv, COUNT_OF(argv), on_set, k);
    } else {
        log_error("notice.unread", "reason=\"%s\"", f.text);
        k->at++;
    }
    buf_free(&text);
}

static void on_looked(void *arg, const struct resp *reply)
{
    struct keeper *k = arg;

    if (!usable(k, reply, "EVAL"))
        return;
    if (resp_int(reply) == 1)
        k->at++;
    else
        set(k, notices_at(k->notices, k->at));
    keeper_run(k);
}

void keeper_run(struct keeper *k)
{
    char key[SHIP_KEY_MAX];
    const struct str argv[] = {STR("EVAL"), str_c(look_script), STR("1"), str_make(key, 6 + 64)};

    if (!k->up || k->busy || k->at >= notices_cnt(k->notices))
        return;
    doc_key(notices_at(k->notices, k->at), key);
    k->busy = rlink_command(k->link, argv, COUNT_OF(argv), on_looked, k);
}

void keeper_up(struct keeper *k)
{
    k->up = true;
    k->busy = false;
    k->at = 0;
    keeper_run(k);
}

void keeper_down(struct keeper *k)
{
    k->up = k->busy = false;
}
