/*
 * cookie.h - Cookie and Set-Cookie, read with distrust (RFC 6265bis, section 5).
 *
 * A Cookie field is split the way browsers and the RFC do: at every ';', trimmed, the name up
 * to the first '='. But the origin may read it in another way, and a cookie that consent denies
 * must be invisible to *every* reader. So a pair also says which other names a known
 * reader could see in it, and the caller drops the pair when any of them is denied:
 *
 *      pair                        also visible  to
 *      =_ga=1   and   _ga          _ga           browsers (nameless cookies), PHP, Node
 *      a="x; _ga=1"                _ga           most: split at ';' inside quotes too (an RFC 2109
 *                                                reader sees less, never another name)
 *      a=1, _ga=2                  _ga           RFC 2109 lists: Tomcat legacy, Perl CGI::Cookie
 *      a=1 _ga=2                   _ga           Python http.cookies (white space ends a value)
 *      %5Fga=1  _ga%00x=1          _ga           PHP decodes names and cuts them at NUL
 *      .ga=1  [ga=1  _ga[x]=1      _ga           PHP: . + [ and space become '_', [] an array
 *      <NBSP>_ga=1  <BOM>_ga=1     _ga           JavaScript trim(), Python strip()
 *      "_ga"=1                     _ga           readers that unquote names
 *      $Version=1  $Path=/         -             RFC 2965 switches: always COOKIE_DROP
 *
 * Names are case-sensitive in the RFC; ASP.NET folds them: whoever matches should fold.
 * Nothing here knows consent or rules.
 */
#ifndef CONSENTD_COOKIE_H
#define CONSENTD_COOKIE_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/arena.h"
#include "consentd/attr.h"
#include "consentd/headers.h"
#include "consentd/str.h"

enum {
    COOKIE_NAME_MAX = 1024,   /* bytes of a name that is looked at; longer: COOKIE_DROP */
    COOKIE_ALIAS_MAX = 256,   /* other names looked at in one pair; more: COOKIE_DROP */
    COOKIE_PAIRS_MAX = 32768, /* of one request: as many as a head of 64 KiB can hold */
};

enum cookie_trust {
    COOKIE_DROP = 0, /* no honest client sends it: controls, $names, oversized names */
    COOKIE_ODD,      /* readers may disagree: ask about every name of cookie_names_next() */
    COOKIE_PLAIN,    /* all known readers see `name`, and nothing else */
};

struct cookie_pair {
    struct str name;  /* up to the first '=', trimmed; empty for a nameless cookie */
    struct str value; /* trimmed, quotes kept */
    struct str raw;   /* the trimmed text between two ';': what is forwarded byte for byte */
    enum cookie_trust trust;
};

/* Takes the next pair off a Cookie field; empty ones are skipped. False at the end. */
bool cookie_next(struct str *rest, struct cookie_pair *out);

/* Iterator over every name that some reader could see in a pair. Private. */
struct cookie_names {
    struct str rest; /* not looked at yet */
    unsigned step;
    char tmp[COOKIE_NAME_MAX]; /* holds the last name given out */
};

/*
 * For a COOKIE_ODD or COOKIE_PLAIN pair. The first name is pair->name unless that is empty. Names
 * come normalised: decoded and trimmed as the readers above do. Some may not be names at all
 * (part of a value): deny a pair when a rule denies one of them, not because one is unknown.
 */
void cookie_names_init(struct cookie_names *it, const struct cookie_pair *pair);

/* False at the end. *name_out is valid until the next call. */
bool cookie_names_next(struct cookie_names *it, struct str *name_out);

/* Decides on one pair; true = keep. Not asked about COOKIE_DROP pairs, which always go. */
typedef bool cookie_keep_fn(void *arg, const struct cookie_pair *pair);

/*
 * Filters all Cookie fields of a request into at most one: the pairs kept, byte for byte and in
 * their order, joined with "; ". Each pair is asked for once, those beyond COOKIE_PAIRS_MAX not
 * at all: they go. None left: no field. Cookie2 is removed. Nothing is
 * copied when nothing changes. False: the arena is full; then all Cookie fields are removed.
 */
MUST_USE bool cookie_filter(struct headers *h, struct arena *a, cookie_keep_fn *keep, void *arg);

/*
 * Name, value and trust of a Set-Cookie field (6265bis 5.6). A nameless cookie (`=_ga=1` or
 * `_ga`) is sent back as `_ga=1` or `_ga`, so cookie_names_next() gives these names too. raw is
 * the name-value part. False: empty field, which sets nothing.
 */
bool set_cookie_name(struct str field, struct cookie_pair *out);

/*
 * Takes the next attribute off the part of a Set-Cookie field behind the first ';': pass the
 * field with *rest = field before the first call, which skips the name-value part.
 * False at the end.
 */
bool set_cookie_attr_next(struct str *rest, struct str *name_out, struct str *value_out);

#endif
