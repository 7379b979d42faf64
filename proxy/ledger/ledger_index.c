/*
 * ledger_index.c - the key that the subjects' tags are made with is always the same one.
 *
 * With another one a subject's older records have tags that nobody looks for: an erasure would be
 * promised and leave them, a visitor be told that there is nothing, a hold would hold nothing.
 * So a mark of the key stands beside the month keys, and where it is another key's, erasures, holds
 * and questions are unavailable. Decisions are recorded all the same.
 */
#include <stdlib.h>
#include <string.h>

#include "consentd/b64.h"
#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/log.h"
#include "ledger_priv.h"

#define MARK_NAME "index-key"
#define MARK_LEN  8 /* bytes: tells keys apart, and says nothing of them */

static const char label[] = "consentd.idx-mark.v1"; /* with its NUL */

bool ledger_index_check(struct ledger *l, struct fault *f)
{
    const struct str parts[] = {str_make(label, sizeof(label))};
    char *path = file_resolve(l->state_dir, MARK_NAME);
    uint8_t mac[CRYPTO_SHA256_LEN];
    char mark[2 * MARK_LEN + 1];
    struct buf known;
    bool ok = true;

    buf_init(&known, 64);
    crypto_hmac_once(l->idx_key, parts, COUNT_OF(parts), mac);
    hex_encode(mark, mac, MARK_LEN);
    if (journal_next_leaf(l->journal) == 0 || !file_read(path, 64, &known, NULL))
        ok = file_write_atomic(path, mark, 2 * MARK_LEN, 0600, f);
    else
        l->other_index = !str_eq_c(str_trim(buf_str(&known)), mark);
    if (l->other_index)
        log_error("ledger.index",
                  "reason=\"the records here are indexed with another key \\\"idx\\\": erasures, "
                  "holds and visitors' questions are unavailable\" cure=\"put that key back; or "
                  "remove %s when nobody can ask for older records\"",
                  path);
    buf_free(&known);
    free(path);
    return ok;
}
