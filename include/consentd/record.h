/*
 * record.h - one consent event: its canonical text J, its commitment, its seal.
 *
 *   J       canonical JSON (RFC 8785, restricted): sorted ASCII keys, integers only
 *   r       32 random bytes: the blinding of the commitment and the seed of the key
 *   cmt     SHA-256("consentd.event.v1\0" || r || J)      what a public log may show
 *   DEK     HMAC-SHA256(KEK[yyyymm], "consentd.dek.v1\0" || r)
 *   sealed  AES-256-GCM(DEK, nonce 0, AAD, J) || tag
 *   AAD     "CE1" || node(1) || leaf(8) || yyyymm(4)
 *
 * Integers are big-endian. Without r neither the seal opens nor the commitment can be
 * tied to J, so forgetting r forgets the event while the log still verifies.
 *
 * Pure: no I/O, no clock, no randomness; r and the time are arguments.
 */
#ifndef CONSENTD_RECORD_H
#define CONSENTD_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/str.h"

#define RECORD_ID_LEN    16   /* bytes of an event id, a subject id, a document id, a subject tag */
#define RECORD_HASH_LEN  32   /* bytes of r, a commitment, a leaf hash, a key */
#define RECORD_JSON_MAX  1024 /* bytes of the J of a consent event */
#define RECORD_OPLOG_MAX 8192 /* bytes of the J of an operator record */
#define RECORD_PURPOSES  16   /* bits of a grant mask; bit 0 (essential) is never written */
#define RECORD_NAME_MAX  32   /* bytes of a purpose's name */
#define RECORD_LEAF_MAX  ((UINT64_C(1) << 56) - 1) /* a token has 7 bytes for it */

/* What happened. 0 is no event, so a cleared struct is refused. */
enum consent_act {
    CONSENT_ACT_NONE = 0,
    CONSENT_ACCEPT_ALL,
    CONSENT_REJECT_ALL,
    CONSENT_CUSTOM,
    CONSENT_WITHDRAW,
    CONSENT_RENEW,
    CONSENT_GPC,
    CONSENT_UNSUBSCRIBE,
    CONSENT_AMEND,
    CONSENT_EXPIRE,
    CONSENT_ERASE,
    CONSENT_ACT_CNT,
};

/* How it was said. */
enum consent_type {
    CONSENT_TYPE_NONE = 0,
    CONSENT_EXPLICIT,  /* a gesture that names the purposes */
    CONSENT_EXPRESSED, /* a gesture or signal that implies them (GPC) */
    CONSENT_TYPE_CNT,
};

/* Who said it. */
enum consent_by {
    CONSENT_BY_NONE = 0,
    CONSENT_BY_SUBJECT,
    CONSENT_BY_AGENT, /* the browser on the visitor's behalf: GPC */
    CONSENT_BY_OPERATOR,
    CONSENT_BY_CNT,
};

/*
 * One event. Texts are borrowed and may be empty ("" is left out of J): language is a
 * BCP 47 tag, jurisdiction a code such as EU, host the site's name, method such as
 * banner.accept_all. They consist of letters, digits and . _ - : only, so that J never
 * needs an escape; others are refused.
 */
struct consent_event {
    uint8_t eid[RECORD_ID_LEN];     /* event id; also the idempotency key */
    uint8_t subject[RECORD_ID_LEN]; /* the visitor's random id */
    uint8_t doc[RECORD_ID_LEN];     /* SHA-256 of the notice document, first half */
    uint64_t ts_ms;                 /* Unix ms; the ledger sets it */
    uint32_t expires_s;             /* Unix seconds */
    uint32_t epoch;                 /* policy epoch */
    enum consent_act act;
    enum consent_type type;
    enum consent_by by;
    uint16_t grant; /* category bits; bit 0 is ignored */
    uint16_t deny;  /* together with grant: all optional categories of the document */
    struct str method, lang, jurisdiction, host;
    bool gpc; /* Sec-GPC: 1 was seen */
    bool has_prev;
    uint8_t prev_node; /* with has_prev: the evidence pointer of the token presented */
    uint64_t prev_leaf;
};

/* A J read back. Texts point into the J given to record_parse. */
struct record_view {
    struct consent_event event; /* grant and deny are 0: read the names below */
    struct str grants[RECORD_PURPOSES], denies[RECORD_PURPOSES];
    unsigned grant_cnt, deny_cnt;
};

/* The kinds of J, told apart by their first key. */
enum record_kind {
    RECORD_UNKNOWN = 0,
    RECORD_EVENT,    /* {"act":… */
    RECORD_OPERATOR, /* {"op":{…},"ts":…,"v":1} */
    RECORD_NOTICE,   /* {"doc":{…},"ts":…,"v":1}: a notice document was published */
};

/*
 * Appends J. names[i] is the name of category bit i ([a-z0-9_-], NULL allowed for unset
 * bits). False: a field that is missing or not allowed, or J above RECORD_JSON_MAX.
 */
MUST_USE bool record_canonical(const struct consent_event *ev,
                               const char *const names[RECORD_PURPOSES], struct buf *out);

/* The J of an operator record around `op`, which must be canonical JSON of an object. */
MUST_USE bool record_operator(struct str op, uint64_t ts_ms, struct buf *out);

/* The J of a notice document that came into force; `doc` as above. */
MUST_USE bool record_notice(struct str doc, uint64_t ts_ms, struct buf *out);

/*
 * Reads a J strictly: exactly what record_canonical would have written, else
 * RECORD_UNKNOWN. For RECORD_OPERATOR and RECORD_NOTICE only view_out->event.ts_ms is set.
 */
MUST_USE enum record_kind record_parse(struct str json, struct record_view *view_out);

/*
 * As record_parse, and what is wrapped is in its canonical form too: no key twice, no other order,
 * so that nobody can read something else in it. For texts from elsewhere; allocates.
 */
MUST_USE enum record_kind record_read(struct str json, struct record_view *view_out);

/* Names as they stand in J; "" / 0 for what is not known. */
const char *consent_act_name(enum consent_act act);
enum consent_act consent_act_of(struct str name);
const char *consent_type_name(enum consent_type type);
const char *consent_by_name(enum consent_by by);

/* The month of a time as yyyymm (UTC), the id of the key that seals it. */
uint32_t record_month(uint64_t ts_ms);
uint32_t record_month_next(uint32_t month);
uint32_t record_month_prev(uint32_t month);
bool record_month_ok(uint32_t month);        /* 197001 to 999912 */
uint64_t record_month_start(uint32_t month); /* Unix ms of its first moment */

void record_commit(const uint8_t r[32], struct str json, uint8_t cmt_out[32]);
void record_leaf_hash(const uint8_t cmt[32], uint8_t leaf_out[32]); /* RFC 6962 2.1 */
void record_dek(const uint8_t kek[32], const uint8_t r[32], uint8_t dek_out[32]);
void record_sub_tag(const uint8_t idx_key[32], const uint8_t subject[16], uint8_t tag_out[16]);

/* Where a record is: bound into the seal, so that no record can pass for another. */
struct record_place {
    uint8_t node;
    uint64_t leaf;
    uint32_t month; /* yyyymm: which KEK */
};

/* Seals J into out: json.len + 16 bytes. */
MUST_USE bool record_seal(const struct record_place *at, const uint8_t kek[32], const uint8_t r[32],
                          struct str json, uint8_t *out);

/* Opens into out: sealed.len - 16 bytes. False: changed bytes, another key or another place. */
MUST_USE bool record_open(const struct record_place *at, const uint8_t kek[32], const uint8_t r[32],
                          struct str sealed, uint8_t *out);

#endif
