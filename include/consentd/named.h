/*
 * named.h - what is not there any more must be named by records of the log. layer: ledger
 *
 *   {"act":"erase","leaves":[…],"node":N,…}             leaves that were erased on request
 *   {"act":"month_dropped","kept_from":L,"month":M,"node":N}   what is kept begins at L
 *
 * The list of what went (erased.h) is a file that whoever has the machine can write to; these
 * records are leaves. Whoever reads records in the order of their leaves shows each operator's to
 * this and says which leaves were missing; at the end both are compared. For every way to verify:
 * files and Redis here, and the admin process by its queries. Pure.
 */
#ifndef CONSENTD_NAMED_H
#define CONSENTD_NAMED_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/str.h"
#include "consentd/verify.h"

#define NAMED_WHAT_MAX 40 /* of the name of a leaf or a month */

struct erased;
struct keks;
struct named;

/* What was read, and against what it is held. */
struct named_ask {
    const struct erased *list;
    const struct keks *keks;
    bool to_end;    /* every record from the first one that was read on */
    bool whole;     /* and that as far back as anything is kept */
    uint64_t first; /* with whole: the leaf that was read or missed first; UINT64_MAX: none */
};

struct named *named_new(uint8_t node); /* of the log that is read */
void named_free(struct named *n);      /* NULL is fine */

/* A record is there; J of an operator's that could be opened. */
void named_leaf(struct named *n, uint64_t leaf);
void named_read(struct named *n, struct str json);

/* A leaf that is erased, by the list; month: its own, or one that is not newer. */
void named_missing(struct named *n, uint64_t leaf, uint32_t month);

/*
 * VERIFY_OK; VERIFY_TAMPERED: nothing names what is gone; VERIFY_INCOMPLETE: not yet. `what` is the
 * leaf or the month, f the reason.
 */
MUST_USE enum verify_status named_judge(struct named *n, const struct named_ask *ask,
                                        char what[NAMED_WHAT_MAX], struct fault *f);

#endif
