/*
 * cmd_verify.c - consentctl audit verify | prove | verify-proof, consentctl ledger vkey.
 *
 * What verification does is in consentd/verify.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/b64.h"
#include "consentd/clock.h"
#include "consentd/config.h"
#include "consentd/crypto.h"
#include "consentd/erased.h"
#include "consentd/file.h"
#include "consentd/journal_read.h"
#include "consentd/keks.h"
#include "consentd/keyring.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/record.h"
#include "consentd/restarts.h"
#include "consentd/tlog.h"
#include "consentd/verify.h"
#include "ctl_priv.h"
#include "verify_running.h"

#define KEYS_MAX 16

struct verify {
    struct config *config; /* owned; NULL with --offline */
    struct log_restarts restarts;
    char *path; /* owned; of the log's files */
    struct note_key keys[KEYS_MAX];
    unsigned key_cnt;
    struct tlog_dir dir;
    struct merkle_tree tree;
    struct buf checkpoint;
    struct erased *list; /* owned; of the requests */
};

static int say(enum verify_status status, const char *what, const char *why)
{
    (void)ctl_fail("%s: %s", what, why);
    return (int)status;
}

/* --- keys and places -------------------------------------------------------------------- */

static bool keys_from_ring(struct verify *v, struct fault *f)
{
    struct keyring *ring = NULL;
    struct buf text, origin;

    buf_init(&text, KEYRING_TEXT_MAX);
    buf_init(&origin, NOTE_NAME_MAX);
    if (file_read(v->config->keys, KEYRING_TEXT_MAX, &text, f))
        ring = keyring_parse(v->config->keys, buf_str(&text), f);
    if (text.data != NULL)
        crypto_wipe(text.data, text.len);
    if (ring != NULL && note_origin(v->config->ledger.name, restarts_node(&v->restarts), &origin))
        for (size_t i = 0; i < keyring_cnt(ring) && v->key_cnt < KEYS_MAX; i++) {
            const struct key *key = keyring_at(ring, i);

            if (key->use == KEY_LOG && key->state != KEY_REVOKED)
                v->key_cnt += note_key_of(buf_str(&origin), key->bytes, &v->keys[v->key_cnt]);
        }
    if (ring != NULL && v->key_cnt == 0)
        fault_set(f, "%s: no key for \"log\"", v->config->keys);
    keyring_free(ring);
    buf_free(&origin);
    buf_free(&text);
    return v->key_cnt > 0;
}

static bool key_from_text(struct verify *v, const char *vkey, struct fault *f)
{
    v->key_cnt = note_vkey_parse(str_c(vkey), &v->keys[0], f) ? 1 : 0;
    return v->key_cnt > 0;
}

/* The configuration's log, or with `offline` just a folder and a key. */
static bool verify_open(struct verify *v, const struct ctl_args *args, const char *offline,
                        const char *vkey, struct fault *f)
{
    log_set_level(LOG_LEVEL_ERROR);
    buf_init(&v->checkpoint, NOTE_CHECKPOINT_MAX);
    if (offline != NULL) {
        v->path = mem_strdup(offline);
    } else {
        v->config = config_load(args->config, f);
        if (v->config == NULL)
            return false;
        v->path = file_resolve(v->config->ledger.journal, "tlog");
        if (!restarts_read(v->config->ledger.journal, v->config->ledger.node, &v->restarts, f))
            return false;
    }
    v->dir.path = v->path;
    return vkey != NULL ? key_from_text(v, vkey, f) : keys_from_ring(v, f);
}

static void verify_close(struct verify *v)
{
    buf_free(&v->checkpoint);
    free(v->path);
    config_free(v->config);
    erased_free(v->list);
}

static bool read_checkpoint(struct verify *v, struct fault *f)
{
    char *path = file_resolve(v->path, "checkpoint");
    bool any = access(path, F_OK) == 0;

    free(path);
    if (!any)
        fault_set(f, "no checkpoint: nothing was signed yet");
    if (!any || !tlog_checkpoint(v->path, v->keys, v->key_cnt, &v->checkpoint, &v->tree, f))
        return false;
    v->dir.size = v->tree.size;
    return true;
}

/* --- verify ----------------------------------------------------------------------------- */

/* A line that is written over, for who watches. */
static void on_progress(const char *what, uint64_t done, uint64_t all)
{
    if (what[0] == '\0')
        fprintf(stderr, "\r\x1b[K");
    else if (all > 0)
        fprintf(stderr, "\r\x1b[K%-12s %3u %%", what,
                (unsigned)(done < all ? done * 100 / all : 100));
    else
        fprintf(stderr, "\r\x1b[K%-12s %" PRIu64, what, done);
}

static int print_report(const struct verify_config *cfg, const struct verify_report *r, int status)
{
    if (r->leaves > 0)
        printf("checkpoints %" PRIu64 " of %s, the newest of %" PRIu64 " leaves\n", r->checkpoints,
               r->origin, r->leaves);
    if (status != VERIFY_OK)
        return say((enum verify_status)status, r->what, r->why);
    printf("log         every entry leads to the signed root\n");
    if (cfg->journal_dir != NULL)
        printf("journal     %" PRIu64 " records fit the log; %" PRIu64
               " were opened, the keys of %" PRIu64 " are gone, %" PRIu64
               " were erased on request\n",
               r->records, r->opened, r->keyless, r->erased);
    if (cfg->redis != NULL)
        printf("Redis       %" PRIu64 " entries fit the log, %" PRIu64 " were opened; %" PRIu64
               " references of subjects and %" PRIu64 " counters were computed again\n",
               r->entries, r->entries_opened, r->subjects_checked, r->counters);
    return status;
}

/* The subject tags' key, for the index. */
static bool idx_key(const struct config *config, uint8_t out[32], struct fault *f)
{
    struct keyring *ring = NULL;
    struct buf text;
    const struct key *key;

    buf_init(&text, KEYRING_TEXT_MAX);
    if (file_read(config->keys, KEYRING_TEXT_MAX, &text, f))
        ring = keyring_parse(config->keys, buf_str(&text), f);
    key = ring != NULL ? keyring_active(ring, KEY_IDX) : NULL;
    if (key != NULL)
        memcpy(out, key->bytes, 32);
    if (text.data != NULL)
        crypto_wipe(text.data, text.len);
    buf_free(&text);
    keyring_free(ring);
    return key != NULL;
}

/* Level 3: what Redis has. */
static int verify_deep(const struct verify *v, const struct verify_config *cfg,
                       struct verify_report *report)
{
    struct verify_config whole = *cfg;
    struct ctl_redis redis;
    uint8_t key[32] = {0};
    struct fault f = {{0}};
    int status;

    if (!ctl_redis_config(v->config, &redis, &f) || !idx_key(v->config, key, &f)) {
        status = say(VERIFY_USAGE, "--deep", f.text);
    } else {
        whole.redis = &redis.config;
        whole.site = v->config->ledger.name;
        whole.idx_key = key;
        status = print_report(&whole, report, (int)verify_run(&whole, report));
    }
    crypto_wipe(key, sizeof(key));
    ctl_redis_free(&redis);
    return status;
}

/* Changed is worse than incomplete, and that is worse than nothing. */
static int worse(int a, int b)
{
    return a == VERIFY_OK || (a == VERIFY_INCOMPLETE && b == VERIFY_TAMPERED) ? b : a;
}

/* A log that ended, by what is left of it and by the log of today, which took over its entries. */
static int verify_earlier(const struct verify *v, const struct verify_config *today, unsigned i)
{
    char *path = restarts_folder(v->config->ledger.journal, &v->restarts, i);
    const struct log_restart *next = &v->restarts.items[i];
    struct note_key keys[KEYS_MAX];
    struct verify_config cfg = {.log_dir = path,
                                .keys = keys,
                                .key_cnt = v->key_cnt,
                                .later_dir = v->path,
                                .progress = today->progress};
    struct verify_report report;
    char when[CLOCK_TEXT_MAX];
    struct buf origin;
    int status;

    buf_init(&origin, NOTE_NAME_MAX);
    if (note_origin(v->config->ledger.name, restarts_node_at(&v->restarts, i), &origin))
        for (unsigned k = 0; k < v->key_cnt; k++)
            cfg.key_cnt =
                note_key_named(buf_str(&origin), v->keys[k].public_key, &keys[k]) ? v->key_cnt : 0;
    printf("earlier     %s ended %s; %s/consent/%u went on from leaf %" PRIu64 "\n",
           buf_cstr(&origin), clock_format(next->ts_ms, when), v->config->ledger.name, next->node,
           next->from);
    status = (int)verify_run(&cfg, &report);
    if (report.leaves > 0)
        printf("            %" PRIu64 " of its %" PRIu64 " leaves are in the log of today\n",
               report.carried, report.leaves);
    if (status != VERIFY_OK)
        (void)say((enum verify_status)status, report.what, report.why);
    buf_free(&origin);
    free(path);
    return status;
}

static int verify_here(struct verify *v, struct verify_config *cfg, bool deep)
{
    char *path = file_resolve(v->config->state_dir, "keks.json");
    struct verify_report report = {0};
    struct fault f = {{0}};
    struct keks *keks = keks_open(path, false, &f);
    int status;

    free(path);
    v->list = keks != NULL ? ctl_erased(v->config, &f) : NULL;
    cfg->journal_dir = v->config->ledger.journal;
    cfg->node = (uint8_t)v->config->ledger.node;
    cfg->log_node = restarts_node(&v->restarts);
    cfg->keks = keks;
    cfg->erased = v->list;
    if (v->list == NULL)
        status = say(VERIFY_INCOMPLETE, "the journal", f.text);
    else if (deep)
        status = verify_deep(v, cfg, &report);
    else
        status = print_report(cfg, &report, (int)verify_run(cfg, &report));
    keks_free(keks);
    for (unsigned i = v->restarts.cnt; i > 0; i--)
        status = worse(status, verify_earlier(v, cfg, i - 1));
    return status;
}

struct verify_args {
    const char *offline, *vkey, *from, *to;
    bool deep, running;
};

/* What contradicts itself; VERIFY_OK when nothing does. */
static int check_args(const struct verify_args *a, const struct verify_config *cfg)
{
    bool range = a->from != NULL || a->to != NULL;

    if (a->offline != NULL && a->vkey == NULL)
        return say(VERIFY_USAGE, "--offline DIR", "needs --vkey, the log's public key");
    if (a->offline != NULL && a->running)
        return say(VERIFY_USAGE, "--running", "asks consentd: not with --offline");
    if (a->offline != NULL && a->deep)
        return say(VERIFY_USAGE, "--deep", "asks Redis: not with --offline");
    if (a->running && a->vkey != NULL)
        return say(VERIFY_USAGE, "--vkey", "consentd uses its own: not with --running");
    if (a->running && !a->deep && range)
        return say(VERIFY_USAGE, "--from, --to", "limit the records of --deep, not the log");
    if (cfg->to_ms != 0 && cfg->to_ms <= cfg->from_ms)
        return say(VERIFY_USAGE, "--from, --to", "the range is empty: from must be before to");
    if (a->offline != NULL && access(a->offline, R_OK | X_OK) != 0)
        return say(VERIFY_USAGE, a->offline, strerror(errno));
    return VERIFY_OK;
}

int cmd_audit_verify(struct ctl_args *args)
{
    struct verify v = {0};
    struct verify_config cfg = {0};
    struct verify_report report;
    struct verify_args a = {.deep = false};
    const struct ctl_option options[] = {
        {"--offline", &a.offline, NULL}, {"--running", NULL, &a.running}, {"--vkey", &a.vkey, NULL},
        {"--deep", NULL, &a.deep},       {"--from", &a.from, NULL},       {"--to", &a.to, NULL}};
    struct fault f = {{0}};
    int status;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return VERIFY_USAGE;
    if (!ctl_time(a.from, &cfg.from_ms) || !ctl_time(a.to, &cfg.to_ms))
        return say(VERIFY_USAGE, "--from, --to", "expected 2026-11-01 or 2026-11-01T00:00:00Z");
    status = check_args(&a, &cfg);
    if (status != VERIFY_OK || a.running)
        return a.running && status == VERIFY_OK ? verify_running(args, a.from, a.to, a.deep)
                                                : status;
    if (!verify_open(&v, args, a.offline, a.vkey, &f)) {
        status = say(VERIFY_USAGE, "audit verify", f.text);
        if (a.offline == NULL && geteuid() != 0)
            (void)fputs("who may not read these files asks the running consentd: --running\n",
                        stderr);
    } else {
        cfg.log_dir = v.path;
        cfg.keys = v.keys;
        cfg.key_cnt = v.key_cnt;
        cfg.progress = isatty(STDERR_FILENO) ? on_progress : NULL;
        status = a.offline != NULL ? print_report(&cfg, &report, (int)verify_run(&cfg, &report))
                                   : verify_here(&v, &cfg, a.deep);
    }
    verify_close(&v);
    return status;
}

/* --- proofs ------------------------------------------------------------------------------- */

/* r || J of a record, for the proof of somebody who may see it. */
static bool disclose(const struct verify *v, uint64_t leaf, struct buf *out, struct fault *f)
{
    char *path = file_resolve(v->config->state_dir, "keks.json");
    struct keks *keks = keks_open(path, false, f);
    struct journal_reader *rd =
        journal_reader_open(v->config->ledger.journal, (uint8_t)v->config->ledger.node, f);
    struct erased *list = ctl_erased(v->config, f);
    struct journal_record rec = {0};
    uint8_t json[RECORD_OPLOG_MAX];
    bool ok = keks != NULL && list != NULL && rd != NULL && journal_reader_seek(rd, leaf, f) &&
              journal_reader_next(rd, leaf + 1, &rec) == JOURNAL_STEP_RECORD && rec.leaf == leaf;
    const uint8_t *kek = ok ? keks_get(keks, rec.month) : NULL;
    struct record_place at = {.node = (uint8_t)rec.node, .leaf = leaf, .month = rec.month};

    if (keks != NULL && list != NULL && rd != NULL && !ok)
        fault_set(f, "leaf %" PRIu64 " is not in the journal any more", leaf);
    else if (ok && erased_has(list, leaf))
        fault_set(f, "leaf %" PRIu64 " was erased on request", leaf);
    else if (ok && (kek == NULL || rec.sealed.len > sizeof(json) ||
                    !record_open(&at, kek, rec.r, rec.sealed, json)))
        fault_set(f, "leaf %" PRIu64 " can't be opened: its key is gone", leaf);
    else if (ok)
        ok = buf_append(out, rec.r, sizeof(rec.r)) &&
             buf_append(out, json, rec.sealed.len - CRYPTO_GCM_TAG_LEN);
    ok = ok && out->len > 0;
    journal_reader_close(rd);
    erased_free(list);
    keks_free(keks);
    free(path);
    return ok;
}

static bool prove(struct verify *v, uint64_t leaf, bool disclosed, struct fault *f)
{
    const struct tlog_public log = {v->path, v->keys, v->key_cnt};
    struct buf extra, out;
    bool ok;

    buf_init(&extra, RECORD_OPLOG_MAX + 32);
    buf_init(&out, NOTE_PROOF_MAX);
    ok = read_checkpoint(v, f) && (!disclosed || disclose(v, leaf, &extra, f)) &&
         tlog_prove(&log, leaf, buf_str(&extra), &out, f);
    if (ok)
        ok = fwrite(out.data, 1, out.len, stdout) == out.len;
    buf_free(&extra);
    buf_free(&out);
    return ok;
}

int cmd_audit_prove(struct ctl_args *args)
{
    struct verify v = {0};
    const char *place = NULL;
    bool disclosed = false;
    const struct ctl_option options[] = {{"--disclose", NULL, &disclosed}, {"", &place, NULL}};
    struct str rest, node_text;
    uint64_t node = 0, leaf = 0;
    struct fault f = {{0}};
    int status = CTL_OK;
    bool ok;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    rest = str_c(place != NULL ? place : "");
    if (!str_cut(&rest, ':', &node_text) || !str_to_u64(node_text, UINT8_MAX, &node) ||
        !str_to_u64(rest, RECORD_LEAF_MAX, &leaf)) {
        (void)ctl_fail("audit prove NODE:LEAF, for example 1:42");
        return CTL_USAGE;
    }
    ok = verify_open(&v, args, NULL, NULL, &f);
    if (ok && node != restarts_node_of(&v.restarts, leaf)) {
        fault_set(&f, "this is the log of node %u", restarts_node(&v.restarts));
        ok = false;
    }
    if (!ok || !prove(&v, leaf, disclosed, &f))
        status = ctl_fail("%s", f.text);
    verify_close(&v);
    return status;
}

/* Of a file that anybody may have made; its text is JSON only when it was verified. */
static void print_json(struct str json)
{
    char *text = str_dup(json);

    ctl_put(stdout, text);
    (void)putchar('\n');
    free(text);
}

static bool check_proof(const struct note_key *key, struct str text, const uint8_t *commitment,
                        struct fault *f)
{
    struct tlog_shown shown;
    struct buf extra;
    bool ok;

    buf_init(&extra, NOTE_PROOF_MAX);
    ok = tlog_check(key, text, commitment, &extra, &shown, f);
    if (ok)
        printf("leaf %" PRIu64 " of %" PRIu64 " in %s\n", shown.index, shown.tree.size, key->name);
    if (ok && shown.json.len > 0)
        print_json(shown.json);
    buf_free(&extra);
    return ok;
}

int cmd_audit_verify_proof(struct ctl_args *args)
{
    struct verify v = {0};
    const char *file = NULL, *vkey = NULL, *commitment = NULL;
    const struct ctl_option options[] = {
        {"--vkey", &vkey, NULL}, {"--commitment", &commitment, NULL}, {"", &file, NULL}};
    struct fault f = {{0}};
    struct buf text;
    int status = VERIFY_OK;
    uint8_t given[32];

    if (!ctl_options(args, options, COUNT_OF(options)))
        return VERIFY_USAGE;
    if (file == NULL || vkey == NULL)
        return say(VERIFY_USAGE, "audit verify-proof FILE --vkey KEY", "both are needed");
    buf_init(&text, NOTE_PROOF_MAX);
    if (commitment != NULL && !hex_decode(str_c(commitment), given, sizeof(given)))
        status = say(VERIFY_USAGE, "--commitment", "expected 64 hex digits");
    else if (!key_from_text(&v, vkey, &f) || !file_read(file, NOTE_PROOF_MAX, &text, &f))
        status = say(VERIFY_USAGE, "audit verify-proof", f.text);
    else if (!check_proof(&v.keys[0], buf_str(&text), commitment != NULL ? given : NULL, &f))
        status = say(VERIFY_TAMPERED, file, f.text);
    buf_free(&text);
    return status;
}

int cmd_ledger_vkey(struct ctl_args *args)
{
    struct verify v = {0};
    struct fault f = {{0}};
    struct buf text;
    int status = CTL_OK;

    if (!ctl_options(args, NULL, 0))
        return CTL_USAGE;
    if (!verify_open(&v, args, NULL, NULL, &f))
        status = ctl_fail("%s", f.text);
    buf_init(&text, 1024);
    for (unsigned i = 0; i < v.key_cnt && status == CTL_OK; i++) {
        buf_clear(&text);
        if (note_vkey_print(&v.keys[i], &text))
            puts(buf_cstr(&text));
    }
    buf_free(&text);
    verify_close(&v);
    return status;
}
