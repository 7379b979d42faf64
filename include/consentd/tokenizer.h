/*
 * tokenizer.h - where tags, comments and texts begin and end (HTML 13.2.5; layer: html).
 *
 *   bytes:   text text <a href="x>y">text<!-- c -->text<script>if (a<b)…</script>
 *   events:            └── TOK_TAG ──┘   └COMMENT┘    └TOK_TAG┘         └TOK_TAG┘
 *
 * The state machine of the standard, reduced to what decides boundaries: it neither
 * builds tokens nor copies. It may be stopped after any byte and go on later; the
 * result is the same. The caller keeps the bytes from tok->start on (positions are
 * counts from the beginning of the stream) and reads a finished tag with tag.h.
 *
 * Everything between two events is text of the kind `text` said. The tree builder's
 * feedback is the caller's: after a start tag it may call tokenizer_set_text.
 *
 * Pure, fixed size, no allocation: a tokenizer may be copied to remember a state.
 */
#ifndef CONSENTD_TOKENIZER_H
#define CONSENTD_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/str.h"

/* How text is read; the standard's names. */
enum tok_text {
    TOK_DATA = 0,  /* tags, comments, character references */
    TOK_RCDATA,    /* title, textarea: only the end tag of that name; references */
    TOK_RAWTEXT,   /* style, xmp, iframe, …: only the end tag of that name */
    TOK_SCRIPT,    /* script: like RAWTEXT, with the escaped states */
    TOK_PLAINTEXT, /* nothing ends it */
    TOK_CDATA,     /* foreign content: ends with ]]> */
};

/* What has just ended. The bytes are [tok->start, tok->pos). */
enum tok_event {
    TOK_MORE = 0,   /* nothing: the window is used up */
    TOK_TAG,        /* start or end tag (tok->is_end) */
    TOK_COMMENT,    /* <!--…-->, <!--…--!>, <!-->, <!---> */
    TOK_BOGUS,      /* <!x…>, <?…>, </ …>, and <![CDATA[…> outside foreign content */
    TOK_DOCTYPE,    /* <!doctype…> */
    TOK_EMPTY_END,  /* </>: three bytes that the standard swallows */
    TOK_CDATA_OPEN, /* <![CDATA[ : answer with tokenizer_cdata before going on */
    TOK_CDATA_END,  /* ]]> */
    TOK_NAME,       /* names: the name of a start tag that matters; see tokenizer_take_tag */
    TOK_LONG,       /* tag_max bytes of a tag are there and it goes on; reported once */
};

/* Longest name of an element whose text is not data ("plaintext"). */
#define TOK_RAW_NAME_MAX 12

struct tokenizer {
    uint64_t pos;               /* bytes consumed so far */
    uint64_t start;             /* position of the '<' of the unfinished or just finished piece */
    uint64_t name_end;          /* tags: position behind the name */
    uint64_t attr;              /* unfinished tag: where its last attribute began */
    uint64_t limit_from;        /* where tag_max counts from: start, or set by the caller */
    uint64_t tag_max;           /* in: bytes of a tag after which TOK_LONG is reported; 0: never */
    uint32_t hash;              /* tags: element_hash of the name */
    uint32_t raw_hash;          /* the same of raw */
    uint8_t state;              /* private: enum tok_state */
    uint8_t text;               /* enum tok_text */
    uint8_t event;              /* enum tok_event of the last run */
    uint8_t elem;               /* tags: enum html_element, valid with TOK_TAG */
    uint8_t match;              /* private: bytes of a fixed word matched so far */
    uint8_t escape;             /* private: script data escaped level, 0 to 2 */
    uint8_t raw_len;            /* bytes of raw */
    uint8_t raw_elem;           /* enum html_element of the text's element */
    bool is_end;                /* an end tag */
    bool suspect;               /* an attribute name begins like one that matters on any element */
    bool self_closing;          /* the tag ended with "/>" */
    bool was_long;              /* TOK_LONG was reported for this tag */
    bool prefixes;              /* in: XML, a name may have a prefix, which is not looked at */
    bool quiet;                 /* in: report no tag that is of no interest (see tokenizer_run) */
    bool names;                 /* in: report TOK_NAME */
    char raw[TOK_RAW_NAME_MAX]; /* name whose end tag ends the text, lower case */
};

/* A tokenizer at the beginning of a stream, in the data state. */
void tokenizer_init(struct tokenizer *tok);

/*
 * Goes on at window[from] (stream position tok->pos) and stops behind the next event or
 * at len. Returns the index where it stopped; tok->event says why. With tok->quiet set,
 * only these are reported: tags that matter to a rewriter in HTML content (their element or
 * one of their attributes does), the end of a raw text, and CDATA; over the rest it goes on
 * by itself, many bytes at a time.
 */
MUST_USE size_t tokenizer_run(struct tokenizer *tok, const uint8_t *window, size_t from,
                              size_t len);

/*
 * Answer to TOK_NAME, not required: the caller has found the end of the tag itself (tag.h);
 * it is `rest` bytes away, with '>'. The event becomes TOK_TAG. Without this answer the
 * tokenizer goes on behind the name.
 */
void tokenizer_take_tag(struct tokenizer *tok, size_t rest, bool self_closing);

/* Answer to TOK_CDATA_OPEN: allowed in foreign content, a bogus comment elsewhere. */
void tokenizer_cdata(struct tokenizer *tok, bool allowed);

/* Reads what follows as text of this kind; its end tag has this name (at most 12 bytes). */
void tokenizer_set_text(struct tokenizer *tok, enum tok_text text, struct str name);

/* Forgets what is unfinished: reads again from this position on, as data. */
void tokenizer_back(struct tokenizer *tok, uint64_t pos);

/* In the data state with nothing begun: the only place where two readings can meet. */
bool tokenizer_is_resting(const struct tokenizer *tok);

/* A tag is begun and unfinished: its bytes from tok->start on must be kept. */
bool tokenizer_in_tag(const struct tokenizer *tok);

/* Something other than plain text is unfinished: also comments and half matched words. */
bool tokenizer_is_inside(const struct tokenizer *tok);

/* A comment, bogus comment or doctype is unfinished: nothing of it needs to be kept. */
bool tokenizer_is_streaming(const struct tokenizer *tok);

/* The unfinished tag is inside a quoted attribute value. */
bool tokenizer_in_quotes(const struct tokenizer *tok);

/* What the unfinished piece [start, pos) is if the stream ends here; TOK_MORE: text. */
enum tok_event tokenizer_end(const struct tokenizer *tok);

#endif
