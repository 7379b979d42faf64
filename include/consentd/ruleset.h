/*
 * ruleset.h - one vendor's knowledge: a file of rules/sets/, read and checked. layer: policy
 *
 * The form is rules/schema.json. Reading is strict: an unknown key is an error with the nearest
 * known one; an error names file, line, JSON path, what is wrong and what would be right. A set is
 * plain data; rules.h compiles many of them into something that can be asked.
 *
 * Immutable after parsing; all strings belong to the set. No I/O.
 */
#ifndef CONSENTD_RULESET_H
#define CONSENTD_RULESET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/category.h"
#include "consentd/fault.h"
#include "consentd/str.h"

struct pattern;

#define RULESET_TEXT_MAX     (1u << 20) /* bytes of one file */
#define RULESET_ID_MAX       64         /* bytes of an id with its NUL */
#define RULESET_COOKIES_MAX  512        /* also the limit of urls */
#define RULESET_INLINE_MAX   128
#define RULESET_CONTAINS_MAX 8 /* texts of one inline rule */
#define RULESET_QUERY_MAX    8 /* parameters of one url rule */
#define RULESET_AMP_MAX      64
#define RULESET_TYPE_MAX     64 /* bytes of a vendor's name in AMP, with its NUL */

/* How a name is given; the order is the precedence (decide.h). */
enum rule_kind {
    RULE_PREFIX = 0, /* starts with text */
    RULE_REGEX,      /* text is a pattern for the whole name */
    RULE_EXACT,      /* is text */
};

/* A cookie, or a key of localStorage or sessionStorage. */
struct rule_cookie {
    enum rule_kind kind;
    struct str text;
    struct pattern *pattern; /* owned by the set; compiled text of RULE_REGEX, else NULL */
    const char *lifetime;    /* "2y", "session", …; or NULL */
    uint16_t categories;     /* mask: the set's, or its own */
};

enum rule_path {
    RULE_PATH_ANY = 0, /* the host alone */
    RULE_PATH_PREFIX,  /* the path starts with text; may hold * */
    RULE_PATH_REGEX,   /* the pattern text is found in path?query */
    RULE_PATH_EXACT,   /* the path is text; may hold * */
};

struct rule_query {
    struct str name, glob;
};

struct rule_url {
    bool at_site;     /* "@site": any host of the site that asks */
    bool exact_host;  /* not the hosts below it */
    struct str host;  /* canonical; the part after the first label when label is set */
    struct str label; /* glob for the first label; empty: none */
    enum rule_path kind;
    struct str path;                            /* path, prefix or pattern */
    struct pattern *pattern;                    /* owned by the set; for RULE_PATH_REGEX */
    struct rule_query query[RULESET_QUERY_MAX]; /* all must match */
    unsigned query_cnt;
    uint16_t categories;
    const char *shown; /* "www.example.com/px*", for reports */
};

struct rule_inline {
    struct str contains[RULESET_CONTAINS_MAX]; /* all must occur */
    unsigned contains_cnt;
    struct str regex;        /* or empty */
    struct pattern *pattern; /* owned by the set; NULL without regex */
    bool config;             /* inert by itself: counts only in a script that can load something */
    uint16_t categories;
};

/* An element of AMP's, whose address only AMP's own list of vendors knows. */
struct rule_amp {
    struct str text; /* "amp-ad", or with the vendor's name there "amp-analytics facebookpixel" */
    uint16_t categories;
};

/* What takes what pages say to the vendor's script while that is denied. */
enum rule_stand {
    RULE_STAND_NONE = 0, /* "name": nothing has to */
    RULE_STAND_CALLED,   /* "name()": its functions, whichever, are called */
    RULE_STAND_LIST,     /* "name[]", "name.member[]": a list that is pushed to */
};

/* A name that the vendor's script puts on window. */
struct rule_global {
    struct str name;   /* letters, digits, "_" and "$" */
    struct str member; /* the same; empty: the global itself is the list */
    enum rule_stand stand;
};

struct ruleset {
    const char *id, *name, *vendor, *purpose; /* "" where a site's own rules leave it out */
    const char *privacy_policy;               /* or NULL */
    const char *embed; /* what its frames are: "video", "map", …; NULL: nothing a visitor sees */
    uint16_t categories; /* mask; any grant lets it pass */
    const struct rule_cookie *cookies;
    size_t cookie_cnt;
    const struct rule_url *urls;
    size_t url_cnt;
    const struct rule_inline *inlines;
    size_t inline_cnt;
    const struct rule_cookie *storage;
    size_t storage_cnt;
    const struct rule_global *globals;
    size_t global_cnt;
    const struct rule_amp *amps;
    size_t amp_cnt;
    uint8_t hash[32];              /* SHA-256 of the file's text */
    const char *file;              /* as given to ruleset_parse */
    struct ruleset_memory *memory; /* private: owns all of the above */
};

/*
 * Reads one file. `name` is the path for errors; the id must be its last part without ".json".
 * Categories are looked up in c. NULL with the reason; the caller owns the result.
 */
MUST_USE struct ruleset *ruleset_parse(const char *name, struct str text,
                                       const struct categories *c, struct fault *f);

/*
 * Reads a site's own rules: an array of sets of which only id and category are required. Fills
 * *sets_out (owned array of owned sets; free with ruleset_list_free). False with the reason.
 */
MUST_USE bool ruleset_parse_own(const char *name, struct str text, const struct categories *c,
                                struct ruleset ***sets_out, size_t *cnt_out, struct fault *f);

/* NULL is fine. */
void ruleset_free(struct ruleset *set);
void ruleset_list_free(struct ruleset **sets, size_t cnt);

#endif
