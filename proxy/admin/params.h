/*
 * params.h - the query part of a request's target: name=value&..., percent-decoded.
 */
#ifndef ADMIN_PARAMS_H
#define ADMIN_PARAMS_H

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/str.h"

#define PARAMS_MAX 32

struct params {
    char *text; /* owned; what the slices point into */
    struct {
        struct str name, value;
    } list[PARAMS_MAX];
    size_t cnt;
};

/* False and *f: too many, one twice, or a wrong escape. Free it in either case. */
MUST_USE bool params_parse(struct str query, struct params *out, struct fault *f);
void params_free(struct params *p);

/* The value and takes it off the list; an empty slice with NULL when it is not there. */
struct str params_take(struct params *p, const char *name);

/* "0" or "1", 0 when it is not there; takes it off the list. False and *f for anything else. */
MUST_USE bool params_flag(struct params *p, const char *name, bool *out, struct fault *f);

#endif
