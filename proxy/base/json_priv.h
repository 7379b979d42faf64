/*
 * json_priv.h - what json.c and json_line.c share.
 */
#ifndef CONSENTD_JSON_PRIV_H
#define CONSENTD_JSON_PRIV_H

#include <stdint.h>

#include "consentd/json.h"

/* Blanks line comments outside strings; lengths and line breaks stay. */
void json_blank_comments(char *text, size_t len);

/* jansson's iterators take a non-const object and do not change it. */
static inline json_t *json_unconst(const json_t *value)
{
    return (json_t *)(uintptr_t)value;
}

#endif
