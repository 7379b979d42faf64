/*
 * record_priv.h - what the writer and the reader of J share: names and allowed characters.
 */
#ifndef LEDGER_RECORD_PRIV_H
#define LEDGER_RECORD_PRIV_H

#include <stdbool.h>

#include "consentd/record.h"

/* Letters, digits and . _ - : only, at most max bytes: such a text needs no JSON escape. */
bool record_text_ok(struct str s, size_t max);

/* A purpose's name: a-z 0-9 _ -, 1 to RECORD_NAME_MAX bytes. */
bool record_name_ok(struct str s);

enum consent_type consent_type_of(struct str name);
enum consent_by consent_by_of(struct str name);

#define RECORD_LANG_MAX   35 /* RFC 5646 4.4.1 */
#define RECORD_JUR_MAX    16
#define RECORD_HOST_MAX   253 /* RFC 1035 2.3.4 as text */
#define RECORD_METHOD_MAX 48

/* What is sealed: J, or its packed form (envelope.h). Each has a nonce and AAD of its own. */
enum record_form { RECORD_FORM_JSON = 0, RECORD_FORM_PACKED };

MUST_USE bool record_seal_as(const struct record_place *at, enum record_form form,
                             const uint8_t kek[32], const uint8_t r[32], struct str text,
                             uint8_t *out);
MUST_USE bool record_open_as(const struct record_place *at, enum record_form form,
                             const uint8_t kek[32], const uint8_t r[32], struct str sealed,
                             uint8_t *out);

#endif
