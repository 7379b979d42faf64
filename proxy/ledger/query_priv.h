/*
 * query_priv.h - what the two stores share: filter, cursor, opening of a row.
 */
#ifndef LEDGER_QUERY_PRIV_H
#define LEDGER_QUERY_PRIV_H

#include "consentd/keks.h"
#include "consentd/query.h"

/* A place to continue from: the last row looked at. */
struct query_place {
    bool set;
    uint32_t month;
    uint64_t ts_ms, leaf;
};

/* Decodes spec->cursor; an empty one leaves set false. False: forged, or another filter's. */
bool query_cursor_read(const struct query_spec *spec, uint8_t node, struct query_place *out,
                       struct fault *f);
void query_cursor_write(const struct query_spec *spec, uint8_t node, const struct query_place *at,
                        char out[QUERY_CURSOR_LEN + 1]);

/* What a store has of a record. */
struct query_sealed {
    uint64_t leaf, ts_ms;
    uint32_t month;
    const uint8_t *r;   /* NULL: gone */
    const uint8_t *cmt; /* NULL: the store keeps none */
    bool is_envelope;   /* sealed is what Redis keeps (envelope.h), else what the journal does */
    struct str sealed;
};

#define QUERY_JSON_MAX RECORD_OPLOG_MAX

/* Opens a record into row_out; json is room for J (QUERY_JSON_MAX) that the row points to. */
void query_open(const struct query_log *log, const struct query_sealed *in, uint8_t *json,
                struct query_row *row_out);

/* Whether the row is asked for. */
bool query_matches(const struct query_spec *spec, const struct query_row *row);

/* Limit of the page. */
unsigned query_limit(const struct query_spec *spec);

#endif
