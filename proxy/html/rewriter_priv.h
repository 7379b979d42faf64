/*
 * rewriter_priv.h - the inside of the rewriter, shared by rewriter.c, judge.c, values.c.
 *
 * One tokenizer follows the tree rules with scripting off (noscript is markup). Beside it,
 * `hidden` remembers where another reading takes everything for text until the end tag of
 * a name: scripting on inside noscript; the tree-blind reading inside a title, style, …
 * in svg. As long as that end tag is hidden nowhere (in an attribute value, a comment, a
 * script) the other reading finds its markup only where the first one does. So what would
 * hide it is escaped or dropped, and one machine answers for all readings.
 */
#ifndef CONSENTD_HTML_REWRITER_PRIV_H
#define CONSENTD_HTML_REWRITER_PRIV_H

#include "consentd/rewriter.h"
#include "consentd/tag.h"
#include "consentd/tokenizer.h"
#include "names_priv.h"
#include "treesim_priv.h"

#define VALUE_MAX     ((size_t)4 << 20) /* one decoded value; the tag limit is reached first */
#define BASE_MAX      ((size_t)16 << 10)
#define LABEL_MAX     64 /* bytes of a rule set's or category's name in a comment */
#define REREAD_FACTOR 4  /* what may be read again, in page lengths */

/* What is held until its end is seen. */
enum hold_kind {
    HOLD_NONE = 0,
    HOLD_SCRIPT,     /* HTML script with executable type */
    HOLD_STYLE,      /* HTML style */
    HOLD_SVG_SCRIPT, /* script in foreign content: its text is markup */
    HOLD_SVG_STYLE,
    HOLD_RAW,   /* a raw text that another reading could take for markup */
    HOLD_CDATA, /* a CDATA section: the tree-blind reading takes it for markup */
};

struct hold {
    enum hold_kind kind;
    enum html_script_type type;
    uint8_t elem;          /* enum html_element */
    bool sets_blind;       /* its start tag opened hidden[HIDDEN_BLIND] */
    bool broken;           /* a tag inside it: what the text is depends on the reading */
    bool edited;           /* its start tag has cuts: rw->cuts, untouched until it leaves */
    bool doomed;           /* it goes whatever its text is: its href was denied */
    bool dropped;          /* what was held last has gone, with its end tag */
    struct html_note note; /* with doomed: why */
    uint8_t stand;         /* enum stand: what takes its place in the tree */
    unsigned depth;        /* simulator depth before its start tag */
    bool in_select;        /* the simulator's before its start tag, which may end a select */
    unsigned select_level;
    uint64_t start; /* position of the start tag's '<' */
    uint64_t text;  /* position behind the start tag */
};

/* What a tag that goes leaves behind so that the rest of the page stays where it was. */
enum stand { STAND_NONE = 0, STAND_HEAD, STAND_BODY };

struct hidden {
    char name[TOK_RAW_NAME_MAX];
    uint8_t len; /* 0: nothing is hidden from this reading */
};

enum { HIDDEN_BLIND = 0, HIDDEN_SCRIPTING, HIDDEN_CNT };

/* What to do with one tag. TAG_DOOM: it goes with its text, which is markup (svg script). */
enum verdict_kind { TAG_DROP = 0, TAG_DROP_RAW, TAG_DOOM, TAG_EDIT, TAG_KEEP };

struct cut {
    uint32_t start, end; /* bytes of the tag that go */
    uint32_t with;       /* what comes instead: offset into rewriter.patch */
    uint32_t with_len;
};

struct rewriter {
    struct html_ops ops;
    void *owner; /* not owned */
    struct html_limits limits;
    struct html_counts counts;
    bool failed;
    bool ended; /* no byte comes any more */

    struct tokenizer tok;
    struct treesim sim;
    struct hidden hidden[HIDDEN_CNT];
    struct hold hold;
    struct html_note note; /* of the verdict that drops */

    struct buf carry;   /* bytes from the last position not yet sent */
    const uint8_t *win; /* the window being run */
    uint64_t origin;    /* stream position of win[0] */
    size_t sent;        /* index in win: before it everything left or is gone */
    uint64_t text_from; /* position behind the last event */
    uint8_t text_kind;  /* enum tok_text of what follows it */
    bool skip;          /* dropping a raw text element until its end tag */
    bool skip_cdata;    /* what skip drops is a CDATA section */
    bool skip_tag;      /* dropping an oversize tag until its end */
    bool tail;          /* the head of the tag at hand has left: see oversize.c */
    bool tail_value;    /* its value is passing */
    bool waits;         /* on_body_start not called yet */
    bool frameset_gone; /* a frameset tag would be void but for a tag that went */
    bool amp_gone;      /* an AMP element's start tag went: its data and end tag follow */
    uint64_t tail_from; /* position where the rest of the tag begins (its closing quote) */

    struct tag_attr *attrs; /* attrs_cap entries, owned; grows up to limits.attrs_max */
    size_t attrs_cap;
    size_t attr_cnt;
    bool parsed;      /* attrs are those of the tag at hand */
    struct cut *cuts; /* cuts_cap entries, owned; at most one an attribute */
    size_t cuts_cap;
    size_t cut_cnt;
    struct buf patch; /* replacement texts of the cuts */
    struct buf value; /* decoded value at hand */
    struct buf other; /* second scratch: a CSS URL, a srcset candidate's text */
    struct buf base, base_alt;
    unsigned nest;   /* srcdoc depth of this rewriter */
    uint64_t reread; /* bytes read again so far */
};

/* One tag under judgement. */
struct judged {
    struct str tag;
    uint32_t name_end;
    enum html_element elem;
    enum sim_space space;
    bool hiding;  /* the tag holds an end tag that another reading waits for */
    bool partial; /* a part of an oversize tag: attributes that decide may be elsewhere */
    enum verdict_kind verdict;
};

/* judge.c: fills rw->cuts; the verdict says whether they count. */
enum verdict_kind judge_tag(struct rewriter *rw, struct judged *j);
/* The value of the first attribute with this id, decoded into rw->other; false: none. */
bool judge_find(struct rewriter *rw, const struct judged *j, enum html_attr id, struct str *out);
bool judge_is_judged(enum html_element elem, enum html_attr attr, enum sim_space space);
enum html_action judge_inline(struct rewriter *rw, struct str text, enum html_script_type type,
                              const char *element, const char *attr);
bool judge_script_type(struct rewriter *rw, const struct judged *j, enum html_script_type *out);

/* values.c: DROP when any URL of the value is dropped. text is in rw->value. */
enum html_action value_url(struct rewriter *rw, const struct judged *j, struct str text,
                           enum html_attr attr, enum html_use use);
enum html_action value_list(struct rewriter *rw, const struct judged *j, struct str text,
                            enum html_attr attr, enum html_use use, const char *separators);
enum html_action value_srcset(struct rewriter *rw, const struct judged *j, struct str text,
                              enum html_attr attr);
enum html_action value_refresh(struct rewriter *rw, const struct judged *j, struct str text);
/* CSS: appends the text with dropped URLs as "none" to out; true when something was. */
bool value_css(struct rewriter *rw, enum html_element elem, enum html_attr attr, struct str text,
               struct buf *out);
/* An inner document: appends its filtered form; true when something changed. */
bool value_document(struct rewriter *rw, struct str text, struct buf *out);
/* Read as HTML content the text holds nothing to be dropped and begins nothing that goes on. */
bool value_is_inert(struct rewriter *rw, struct str text);
enum html_action value_ref(struct rewriter *rw, const struct html_ref *ref);

/* hold.c */
static inline bool hidden_active(const struct rewriter *rw)
{
    return (rw->hidden[HIDDEN_BLIND].len | rw->hidden[HIDDEN_SCRIPTING].len) != 0;
}

bool hidden_in(const struct rewriter *rw, struct str text); /* holds such an end tag */
/* The other readings that end inside the piece meet ours at its end and find nothing there. */
bool hidden_meet(struct rewriter *rw, struct str piece);
/*
 * What stands at window[start, end) and has to go hides the end tag at which the reading with
 * scripting on comes out of noscript: only what is before that end tag goes, and the page is
 * read again from there, for there the readings meet. False: there is none; nothing is done.
 */
bool hidden_switch(struct rewriter *rw, size_t start, size_t end);
/*
 * A comment or the like, in which another reading ends or which is too long to tell: it goes,
 * or what stands before that end does. False: it may stay.
 */
bool hidden_ends_in(struct rewriter *rw, size_t start, size_t end);
/*
 * One reading ignores this raw text element's tags here, in select (the old rules) or in a
 * frameset: when it has to go, only its start tag goes, and its text is markup.
 */
bool hold_unwraps(const struct rewriter *rw, uint8_t elem);
bool hold_finish(struct rewriter *rw, size_t text_end, size_t end);
void hold_over(struct rewriter *rw, size_t len);

/* rewriter.c */
/* rw->attrs of a tag; attr_cnt is limits.attrs_max + 1 when there are more. */
void rewriter_parse(struct rewriter *rw, struct str tag, uint32_t name_end,
                    struct tag_end *end_out);
/* The window index of a position. */
static inline size_t out_index(const struct rewriter *rw, uint64_t position)
{
    return position > rw->origin ? (size_t)(position - rw->origin) : 0;
}

/* output.c */
void out_send(struct rewriter *rw, struct str text);
void out_flush(struct rewriter *rw, size_t upto);   /* window bytes up to this index leave */
void out_edited(struct rewriter *rw, size_t start); /* the tag there without its cuts */
void out_comment(struct rewriter *rw);

/* body.c */
bool body_in_plain_html(const struct rewriter *rw); /* nothing is open that hides markup */
bool body_is_off(const struct rewriter *rw);        /* not yet in the body, or behind it */
void body_inject(struct rewriter *rw, size_t at);
void body_watch_text(struct rewriter *rw, size_t upto); /* what they say of the body's start */
void body_watch_tag(struct rewriter *rw, size_t start);
enum stand body_stand_for(const struct rewriter *rw, const struct judged *j);
void out_stand(struct rewriter *rw, enum stand stand);

/* xml.c */
struct str xml_local_name(struct str name);               /* behind the prefix; empty without one */
void xml_name_attrs(struct rewriter *rw, struct str tag); /* any prefix may mean XLink */
/* A processing instruction or declaration that fetches what is denied, or could hide it. */
bool xml_drops(struct rewriter *rw, struct str text);

/* oversize.c */
void oversize_begin(struct rewriter *rw, size_t len);
size_t oversize_value(struct rewriter *rw, size_t from, size_t len);
void oversize_tail(struct rewriter *rw, size_t end);

/* ASCII-case-insensitive search. */
bool value_contains(struct str text, struct str lower_needle);

/* scheme ("data:", lower case) as the URL standard finds it; *rest_out: what is behind it. */
bool value_has_scheme(struct str url, const char *scheme, struct str *rest_out);

/* The body of a data: URL behind "data:"; is it XML? False: none that could be read. */
bool value_data_body(struct str rest, struct buf *out, bool *xml_out);

#endif
