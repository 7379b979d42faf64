/*
 * jsload.h - the addresses that a script plainly loads from. layer: policy
 *
 *   new Image().src = "https://t.example/p?x=1";      fetch(`//t.example/c`)
 *                      └──────── found ───────┘              └── found ─┘
 *   var help = "see https://t.example/";              import x from "https://t.example/m.js"
 *               not found: a mention                              └────── found ──────┘
 *
 * Only string literals that stand where nothing but a load can follow: assigned to .src, given to
 * fetch, sendBeacon, import and their like or to open behind a method, or named by a static import.
 * What is put together at run time is the companion's. Works on text from jstext_strip; pure,
 * linear.
 */
#ifndef CONSENTD_JSLOAD_H
#define CONSENTD_JSLOAD_H

#include <stdbool.h>
#include <stddef.h>

#include "consentd/attr.h"
#include "consentd/str.h"

#define JSLOAD_ADDRESS_MAX 4096 /* bytes of an address that are looked at */

/*
 * The next absolute or scheme-relative address at or behind *pos (begin with 0), up to its
 * quote or the first ${; *pos moves behind its "//". False: there is none.
 */
MUST_USE bool jsload_next(struct str text, size_t *pos, struct str *address_out);

#endif
