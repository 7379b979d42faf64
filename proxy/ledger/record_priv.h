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

#endif
