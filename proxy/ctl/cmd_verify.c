/*
 * cmd_verify.c - consentctl audit verify | prove | verify-proof, consentctl ledger vkey.
 *
 * Verification trusts nothing but the public key: the checkpoint's signature, then every entry
 * hashed up to the root that was signed, then every record of the journal against its entry and,
 * where its key still exists, its text against its commitment. Of a place that does not fit the
 * first is named.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/b64.h"
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
#include "consentd/tlog.h"
#include "ctl_priv.h"

#define KEYS_MAX 16

/* What the shell gets from verify (LEDGER 2.2). */
enum verify_exit { VERIFY_OK = 0, VERIFY_TAMPERED = 1, VERIFY_INCOMPLETE = 2, VERIFY_USAGE = 3 };

struct verify {
    struct config *config; /* owned; NULL with --offline */
    char *path;            /* owned; of the log's files */
    struct note_key keys[KEYS_MAX];
    unsigned key_cnt;
    struct tlog_dir dir;
    struct merkle_tree tree;
    struct buf checkpoint;
    struct buf bundle; /* of entries, the last one that was read */
    uint64_t bundle_number;
    uint64_t records, opened, erased;
    uint64_t shredded;   /* erased on request */
    struct erased *list; /* owned; of the requests */
};

static int say(enum verify_exit status, const char *what, const char *why)
{
    fprintf(stderr, "consentctl: %s: %s\n", what, why);
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
    if (ring != NULL && note_origin(v->config->ledger.name, v->config->ledger.node, &origin))
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
    buf_init(&v->bundle, TLOG_BUNDLE_LEN);
    if (offline != NULL) {
        v->path = mem_strdup(offline);
    } else {
        v->config = config_load(args->config, f);
        if (v->config == NULL)
            return false;
        v->path = file_resolve(v->config->ledger.journal, "tlog");
    }
    v->dir.path = v->path;
    return vkey != NULL ? key_from_text(v, vkey, f) : keys_from_ring(v, f);
}

static void verify_close(struct verify *v)
{
    buf_free(&v->checkpoint);
    buf_free(&v->bundle);
    free(v->path);
    config_free(v->config);
    erased_free(v->list);
}

static bool read_checkpoint(struct verify *v, struct fault *f)
{
    if (!tlog_checkpoint(v->path, v->keys, v->key_cnt, &v->checkpoint, &v->tree, f))
        return false;
    v->dir.size = v->tree.size;
    return true;
}

static bool checkpoint_exists(const struct verify *v)
{
    char *file = file_resolve(v->path, "checkpoint");
    struct buf text;
    bool ok;

    buf_init(&text, NOTE_CHECKPOINT_MAX);
    ok = file_read(file, NOTE_CHECKPOINT_MAX, &text, NULL);
    buf_free(&text);
    free(file);
    return ok;
}

/* Entry number `leaf`, of a signed size; entries are asked for in order. */
static bool entry_of(struct verify *v, uint64_t leaf, uint8_t cmt[32], struct fault *f)
{
    size_t at = leaf % TLOG_TILE_WIDTH * TLOG_ENTRY_LEN;

    if (v->bundle.len == 0 || v->bundle_number != leaf / TLOG_TILE_WIDTH) {
        buf_clear(&v->bundle);
        v->bundle_number = leaf / TLOG_TILE_WIDTH;
        if (!tlog_read(&v->dir, TLOG_ENTRIES, v->bundle_number, &v->bundle, f)) {
            buf_clear(&v->bundle);
            return false;
        }
    }
    memcpy(cmt, v->bundle.data + at + TLOG_ENTRY_LEN - MERKLE_HASH_LEN, MERKLE_HASH_LEN);
    if (v->bundle.data[at] == 0 && v->bundle.data[at + 1] == MERKLE_HASH_LEN)
        return true;
    memset(cmt, 0, MERKLE_HASH_LEN); /* no entry of ours: it will not fit */
    return true;
}

/* --- the log ---------------------------------------------------------------------------- */

/* One tile of hashes against what they are made of: the entries, or the tiles below. */
struct level {
    uint8_t hashes[TLOG_TILE_LEN];
    unsigned cnt;
    uint64_t tiles; /* finished */
};

static int check_tile(const struct verify *v, struct level *levels, unsigned level)
{
    struct level *l = &levels[level];
    struct fault f = {{0}};
    struct buf tile;
    char what[80];
    int status = VERIFY_OK;

    buf_init(&tile, TLOG_BUNDLE_LEN);
    if (!tlog_read(&v->dir, level, l->tiles, &tile, &f)) {
        status = say(VERIFY_INCOMPLETE, "the log", f.text);
    } else {
        for (unsigned i = 0; i < l->cnt && status == VERIFY_OK; i++) {
            size_t at = (size_t)i * MERKLE_HASH_LEN;

            if (memcmp(tile.data + at, l->hashes + at, MERKLE_HASH_LEN) == 0)
                continue;
            snprintf(what, sizeof(what), level == 0 ? "leaf %" PRIu64 : "leaves from %" PRIu64,
                     ((l->tiles * TLOG_TILE_WIDTH) + i) << (8 * level));
            status = say(VERIFY_TAMPERED, what, "the tile does not fit its entries");
        }
    }
    buf_free(&tile);
    l->tiles++;
    l->cnt = 0;
    return status;
}

/* One more hash of a level; a full tile is checked and is one hash of the next. */
static int add_hash(const struct verify *v, struct level *levels, unsigned level,
                    const uint8_t hash[32])
{
    struct level *l = &levels[level];
    struct merkle_frontier tile = {0};
    uint8_t up[MERKLE_HASH_LEN];
    int status;

    memcpy(l->hashes + (size_t)l->cnt++ * MERKLE_HASH_LEN, hash, MERKLE_HASH_LEN);
    if (l->cnt < TLOG_TILE_WIDTH)
        return VERIFY_OK;
    for (unsigned i = 0; i < TLOG_TILE_WIDTH; i++)
        merkle_append(&tile, l->hashes + (size_t)i * MERKLE_HASH_LEN);
    merkle_root(&tile, up);
    status = check_tile(v, levels, level);
    return status != VERIFY_OK || level + 1 == TLOG_ENTRIES ? status
                                                            : add_hash(v, levels, level + 1, up);
}

/* Every entry up to the root that was signed, and every tile on the way. */
static int check_log(struct verify *v)
{
    struct level *levels = mem_calloc(TLOG_ENTRIES, sizeof(*levels));
    struct merkle_frontier frontier = {0};
    struct fault f = {{0}};
    uint8_t cmt[32], leaf[32], root[32];
    int status = VERIFY_OK;

    for (uint64_t i = 0; i < v->tree.size && status == VERIFY_OK; i++) {
        if (!entry_of(v, i, cmt, &f)) {
            status = say(VERIFY_INCOMPLETE, "the log", f.text);
            break;
        }
        merkle_leaf(str_make(cmt, sizeof(cmt)), leaf);
        merkle_append(&frontier, leaf);
        status = add_hash(v, levels, 0, leaf);
    }
    for (unsigned level = 0; level < TLOG_ENTRIES && status == VERIFY_OK; level++)
        if (levels[level].cnt > 0)
            status = check_tile(v, levels, level);
    free(levels);
    if (status != VERIFY_OK)
        return status;
    merkle_root(&frontier, root);
    if (memcmp(root, v->tree.root, sizeof(root)) != 0)
        return say(VERIFY_TAMPERED, "the log", "the entries are not those that were signed");
    return VERIFY_OK;
}

/* --- the journal ------------------------------------------------------------------------ */

static bool text_fits(struct verify *v, const struct keks *keks, const struct journal_record *rec)
{
    const uint8_t *kek = keks_get(keks, rec->month);
    struct record_place at = {.node = (uint8_t)rec->node, .leaf = rec->leaf, .month = rec->month};
    uint8_t json[RECORD_OPLOG_MAX], cmt[32];

    if (erased_has(v->list, rec->leaf)) {
        v->shredded++;
        return true;
    }
    if (kek == NULL) {
        v->erased++;
        return true;
    }
    if (rec->sealed.len > sizeof(json) || !record_open(&at, kek, rec->r, rec->sealed, json))
        return false;
    record_commit(rec->r, str_make(json, rec->sealed.len - CRYPTO_GCM_TAG_LEN), cmt);
    v->opened++;
    return memcmp(cmt, rec->cmt, sizeof(cmt)) == 0;
}

static int check_record(struct verify *v, const struct keks *keks, const struct journal_record *rec)
{
    struct fault f = {{0}};
    uint8_t cmt[32];
    char what[40];

    v->records++;
    snprintf(what, sizeof(what), "leaf %" PRIu64, rec->leaf);
    if (rec->leaf < v->tree.size) {
        if (!entry_of(v, rec->leaf, cmt, &f))
            return say(VERIFY_INCOMPLETE, what, f.text);
        if (memcmp(cmt, rec->cmt, sizeof(cmt)) != 0)
            return say(VERIFY_TAMPERED, what, "the journal's commitment is not the log's");
    }
    if (!text_fits(v, keks, rec))
        return say(VERIFY_TAMPERED, what, "the record does not fit its commitment");
    return VERIFY_OK;
}

static int walk_journal(struct verify *v, const struct keks *keks, struct journal_reader *rd)
{
    struct journal_record rec;
    uint64_t next = 0, from, to;
    enum journal_step step;
    char what[80];
    int status = VERIFY_OK;

    while (status == VERIFY_OK &&
           (step = journal_reader_next(rd, UINT64_MAX, &rec)) != JOURNAL_STEP_END) {
        if (step == JOURNAL_STEP_ERROR)
            return say(VERIFY_INCOMPLETE, "the journal", journal_reader_fault(rd));
        if (step == JOURNAL_STEP_GAP) {
            journal_reader_gap(rd, &from, &to);
            snprintf(what, sizeof(what), "leaves %" PRIu64 " to %" PRIu64, from, to - 1);
            return say(VERIFY_TAMPERED, what, "the journal can't be read there");
        }
        if (!journal_type_has_leaf(rec.type))
            continue;
        next = rec.leaf + 1;
        status = check_record(v, keks, &rec);
    }
    if (status == VERIFY_OK && next < v->tree.size) {
        snprintf(what, sizeof(what), "leaves from %" PRIu64 " on", next);
        return say(VERIFY_TAMPERED, what, "signed, and gone from the journal");
    }
    return status;
}

static int check_journal(struct verify *v)
{
    char *path = file_resolve(v->config->state_dir, "keks.json");
    struct fault f = {{0}};
    struct keks *keks = keks_open(path, false, &f);
    struct journal_reader *rd =
        keks == NULL
            ? NULL
            : journal_reader_open(v->config->ledger.journal, (uint8_t)v->config->ledger.node, &f);
    int status = VERIFY_INCOMPLETE;

    v->list = ctl_erased(v->config, &f);
    if (v->list == NULL || rd == NULL || !journal_reader_seek(rd, 0, &f))
        status = say(VERIFY_INCOMPLETE, "the journal", f.text);
    else
        status = walk_journal(v, keks, rd);
    journal_reader_close(rd);
    keks_free(keks);
    free(path);
    return status;
}

static int verify_all(struct verify *v)
{
    struct fault f = {{0}};
    int status;

    if (!checkpoint_exists(v))
        return say(VERIFY_INCOMPLETE, v->path, "no checkpoint: nothing was signed yet");
    if (!read_checkpoint(v, &f))
        return say(VERIFY_TAMPERED, "the checkpoint", f.text);
    printf("checkpoint  %s  %" PRIu64 " leaves\n", v->keys[0].name, v->tree.size);
    status = check_log(v);
    if (status != VERIFY_OK)
        return status;
    printf("log         every entry leads to the signed root\n");
    if (v->config == NULL)
        return VERIFY_OK;
    status = check_journal(v);
    if (status == VERIFY_OK)
        printf("journal     %" PRIu64 " records fit the log; %" PRIu64
               " were opened, the keys of %" PRIu64 " are gone, %" PRIu64
               " were erased on request\n",
               v->records, v->opened, v->erased, v->shredded);
    return status;
}

int cmd_audit_verify(struct ctl_args *args)
{
    struct verify v = {0};
    const char *offline = NULL, *vkey = NULL;
    const struct ctl_option options[] = {{"--offline", &offline, NULL}, {"--vkey", &vkey, NULL}};
    struct fault f = {{0}};
    int status;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return VERIFY_USAGE;
    if (offline != NULL && vkey == NULL)
        return say(VERIFY_USAGE, "--offline DIR", "needs --vkey, the log's public key");
    status = verify_open(&v, args, offline, vkey, &f) ? verify_all(&v)
                                                      : say(VERIFY_USAGE, "audit verify", f.text);
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
    struct tlog_proof proof = {.index = leaf};
    struct buf extra, out;
    char *text = NULL;
    bool ok = read_checkpoint(v, f);

    buf_init(&extra, RECORD_OPLOG_MAX + 32);
    buf_init(&out, NOTE_PROOF_MAX);
    if (ok && leaf >= v->tree.size) {
        fault_set(f, "leaf %" PRIu64 " is not signed: the newest checkpoint has %" PRIu64 " leaves",
                  leaf, v->tree.size);
        ok = false;
    }
    ok = ok && (!disclosed || disclose(v, leaf, &extra, f));
    if (ok && disclosed) {
        text = mem_alloc(B64_PADDED_LEN(extra.len) + 1);
        b64_encode(text, extra.data, extra.len);
        proof.extra = str_c(text);
    }
    proof.checkpoint = buf_str(&v->checkpoint);
    if (ok && !merkle_prove(leaf, v->tree.size, tlog_fetch, &v->dir, &proof.path)) {
        fault_set(f, "%s: a tile is missing", v->path);
        ok = false;
    }
    if (ok && tlog_proof_print(&proof, &out))
        ok = fwrite(out.data, 1, out.len, stdout) == out.len;
    free(text);
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
    if (ok && node != v.config->ledger.node) {
        fault_set(&f, "this is the log of node %u", v.config->ledger.node);
        ok = false;
    }
    if (!ok || !prove(&v, leaf, disclosed, &f))
        status = ctl_fail("%s", f.text);
    verify_close(&v);
    return status;
}

/* The hash of the leaf that the proof is about. */
static bool leaf_of(const struct tlog_proof *proof, const char *commitment, struct buf *extra,
                    uint8_t leaf[32], struct fault *f)
{
    uint8_t cmt[32], given[32];

    if (commitment != NULL && !hex_decode(str_c(commitment), given, sizeof(given))) {
        fault_set(f, "--commitment \"%s\": expected 64 hex digits", commitment);
        return false;
    }
    if (proof->extra.len == 0 && commitment == NULL) {
        fault_set(f, "the proof discloses no record: say which with --commitment");
        return false;
    }
    if (proof->extra.len > 0) {
        if (!b64_decode(proof->extra, extra) || extra->len <= 32) {
            fault_set(f, "the proof's extra line is not r and a record in base64");
            return false;
        }
        record_commit(extra->data, str_slice(buf_str(extra), 32, extra->len), cmt);
        if (commitment != NULL && memcmp(cmt, given, sizeof(cmt)) != 0) {
            fault_set(f, "the disclosed record is not the one of --commitment");
            return false;
        }
    } else {
        memcpy(cmt, given, sizeof(cmt));
    }
    record_leaf_hash(cmt, leaf);
    return true;
}

static bool check_proof(struct verify *v, struct str text, const char *commitment, struct fault *f)
{
    struct tlog_proof proof;
    uint8_t leaf[32];
    struct buf extra;
    bool ok;

    buf_init(&extra, NOTE_PROOF_MAX);
    ok = tlog_proof_parse(text, &proof, f) &&
         checkpoint_verify(&v->keys[0], proof.checkpoint, &v->tree, f) &&
         leaf_of(&proof, commitment, &extra, leaf, f);
    if (ok && !merkle_check(leaf, proof.index, v->tree.size, &proof.path, v->tree.root)) {
        fault_set(f, "the record is not leaf %" PRIu64 " of the signed tree", proof.index);
        ok = false;
    }
    if (ok)
        printf("leaf %" PRIu64 " of %" PRIu64 " in %s\n", proof.index, v->tree.size,
               v->keys[0].name);
    if (ok && extra.len > 32)
        printf("%.*s\n", (int)(extra.len - 32), (const char *)extra.data + 32);
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

    if (!ctl_options(args, options, COUNT_OF(options)))
        return VERIFY_USAGE;
    if (file == NULL || vkey == NULL)
        return say(VERIFY_USAGE, "audit verify-proof FILE --vkey KEY", "both are needed");
    buf_init(&text, NOTE_PROOF_MAX);
    if (!key_from_text(&v, vkey, &f) || !file_read(file, NOTE_PROOF_MAX, &text, &f))
        status = say(VERIFY_USAGE, "audit verify-proof", f.text);
    else if (!check_proof(&v, buf_str(&text), commitment, &f))
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
