/*
 * ship_keep.c - keeps in Redis what is not part of a month: c:doc:<sha256>, the notice documents,
 * and c:supp, who left which mailing list.
 *
 * One command in flight. After every connect each document is looked for and set when it is not
 * there, or taken back from there when the file of it rotted; and the list is sent again when Redis
 * has less of it. Nothing here ever removes one.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/b64.h"
#include "consentd/crypto.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/notice.h"
#include "consentd/suppressed.h"
#include "ship_priv.h"

#define LEFT_AT_ONCE 200 /* lines of one HSET */

/* 1: it is there. The document does not travel. */
static const char look_script[] = "return redis.call('GET', KEYS[1]) and 1 or 0\n";

struct keeper {
    struct rlink *link;
    const struct notices *notices;
    const struct suppressed *left; /* NULL: no list */
    bool up, busy, counted;        /* counted: Redis said how much of the list it has */
    size_t at;                     /* uses of the history before it are done */
    size_t left_at, left_to;       /* lines before it are there; those in flight */
};

struct keeper *keeper_new(struct rlink *link, const struct notices *notices,
                          const struct suppressed *left)
{
    struct keeper *k = mem_new(struct keeper);

    k->link = link;
    k->notices = notices;
    k->left = left;
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

void notice_mended(const uint8_t hash[32], const char *source)
{
    char hex[65];

    hex_encode(hex, hash, 32);
    log_error("notice.mended",
              "document=%s reason=\"the file was gone, or not what its hash says\" "
              "cure=\"written again from %s\"",
              hex, source);
}

static void on_document(void *arg, const struct resp *reply)
{
    struct keeper *k = arg;
    const struct notice_use *use = notices_at(k->notices, k->at);
    struct fault f = {{0}};
    uint8_t hash[32];
    bool mended = false;
    struct str document;

    if (!usable(k, reply, "GET"))
        return;
    document = resp_str(reply);
    crypto_sha256(document.ptr, document.len, hash);
    if (memcmp(hash, use->hash, sizeof(hash)) != 0)
        fault_set(&f, "neither the file of a notice document nor its copy in Redis is whole");
    else if (notices_put(k->notices, use->hash, document, &mended, &f))
        notice_mended(use->hash, "Redis");
    if (f.text[0] != '\0')
        log_error("notice.unread", "reason=\"%s\"", f.text);
    k->at++;
    keeper_run(k);
}

/* Redis has the document; is the file of it whole? Asked once for each, at its first use. */
static void check_file(struct keeper *k, const struct notice_use *use)
{
    char key[SHIP_KEY_MAX] = "";
    const struct str argv[] = {STR("GET"), str_make(key, 6 + 64)};
    struct buf text;

    buf_init(&text, NOTICE_MAX);
    if (notices_find(k->notices, use->hash, sizeof(use->hash)) != use ||
        notices_read(k->notices, use->hash, &text, NULL)) {
        k->at++;
    } else {
        doc_key(use, key);
        k->busy = rlink_command(k->link, argv, COUNT_OF(argv), on_document, k);
    }
    buf_free(&text);
}

static void on_looked(void *arg, const struct resp *reply)
{
    struct keeper *k = arg;

    if (!usable(k, reply, "EVAL"))
        return;
    if (resp_int(reply) == 1)
        check_file(k, notices_at(k->notices, k->at));
    else
        set(k, notices_at(k->notices, k->at));
    keeper_run(k);
}

/* --- who left ------------------------------------------------------------------------------ */

static void on_left(void *arg, const struct resp *reply)
{
    struct keeper *k = arg;

    if (!usable(k, reply, "HSET"))
        return;
    k->left_at = k->left_to;
    keeper_run(k);
}

static void send_left(struct keeper *k)
{
    struct str argv[2 + 2 * LEFT_AT_ONCE] = {STR("HSET"), STR("c:supp")};
    char times[LEFT_AT_ONCE][24];
    size_t argc = 2;

    k->left_to = k->left_at;
    for (size_t i = 0; i < LEFT_AT_ONCE && k->left_to < suppressed_cnt(k->left); i++) {
        const struct suppressed_entry *entry = suppressed_at(k->left, k->left_to++);

        (void)snprintf(times[i], sizeof(times[i]), "%" PRIu64, entry->ts_ms);
        argv[argc++] = str_c(entry->key);
        argv[argc++] = str_c(times[i]);
    }
    k->busy = rlink_command(k->link, argv, argc, on_left, k);
}

static void on_counted(void *arg, const struct resp *reply)
{
    struct keeper *k = arg;

    if (!usable(k, reply, "HLEN"))
        return;
    k->counted = true;
    k->left_at = resp_int(reply) == (int64_t)suppressed_cnt(k->left) ? suppressed_cnt(k->left) : 0;
    keeper_run(k);
}

static void run_left(struct keeper *k)
{
    const struct str argv[] = {STR("HLEN"), STR("c:supp")};

    if (k->left == NULL)
        return;
    if (!k->counted)
        k->busy = rlink_command(k->link, argv, COUNT_OF(argv), on_counted, k);
    else if (k->left_at < suppressed_cnt(k->left))
        send_left(k);
}

void keeper_run(struct keeper *k)
{
    char key[SHIP_KEY_MAX];
    const struct str argv[] = {STR("EVAL"), str_c(look_script), STR("1"), str_make(key, 6 + 64)};

    if (!k->up || k->busy)
        return;
    if (k->at >= notices_cnt(k->notices)) {
        run_left(k);
        return;
    }
    doc_key(notices_at(k->notices, k->at), key);
    k->busy = rlink_command(k->link, argv, COUNT_OF(argv), on_looked, k);
}

void keeper_up(struct keeper *k)
{
    k->up = true;
    k->busy = k->counted = false;
    k->at = 0;
    keeper_run(k);
}

void keeper_down(struct keeper *k)
{
    k->up = k->busy = false;
}
