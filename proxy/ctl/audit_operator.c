/*
 * audit_operator.c - contract in audit_operator.h.
 *
 * An operator record is an object whose members are its own affair (admin/oplog.c, the ledger's
 * erasures): who, from, result and what are columns, the rest follows as name=value.
 */
#include "audit_operator.h"

#include <stdlib.h>
#include <string.h>

#include "consentd/buf.h"
#include "consentd/json.h"

#define JSON_LINE_MAX 65536 /* bytes of a line */

/* Text of the record's own; what would move the cursor or colour the screen is a question mark. */
static void put_text(FILE *out, const char *text, int width)
{
    int len = 0;

    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        bool is_c1 = *c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0; /* a control in UTF-8 */

        (void)fputc(*c < ' ' || *c == 0x7f || is_c1 ? '?' : *c, out);
        c += is_c1 ? 1 : 0;
        len++;
    }
    for (; len < width; len++)
        (void)fputc(' ', out);
}

static const char *text_of(const json_t *op, const char *key)
{
    const char *text = json_string_value(json_object_get(op, key));

    return text != NULL && text[0] != '\0' ? text : "-";
}

/* " key=value", an object's members one by one. */
static void put_member(FILE *out, const char *key, json_t *value)
{
    const char *name;
    json_t *member;
    char *text;

    if (json_is_object(value)) {
        json_object_foreach (value, name, member)
            put_member(out, name, member);
        return;
    }
    text = json_is_string(value)
               ? NULL
               : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    (void)fputc(' ', out);
    put_text(out, key, 0);
    (void)fputc('=', out);
    put_text(out, text != NULL ? text : json_string_value(value), 0);
    free(text);
}

/* Shown in columns, or said by what was asked for. */
static bool is_column(const char *key)
{
    static const char *const keys[] = {"op",    "who",        "from",  "role",
                                       "route", "permission", "result"};

    for (size_t i = 0; i < COUNT_OF(keys); i++)
        if (strcmp(key, keys[i]) == 0)
            return true;
    return false;
}

/* The object under `key` of J; NULL: it is not what it should be, and printed as it is. */
static json_t *load(FILE *out, const struct query_row *row, const char *key, json_t **inner)
{
    json_t *root = json_load_text("record", row->json, 0, NULL);
    struct buf text;

    *inner = json_object_get(root, key);
    if (json_is_object(*inner))
        return root;
    json_decref(root);
    buf_init(&text, JSON_LINE_MAX);
    if (buf_append_str(&text, row->json) && buf_cstr(&text) != NULL)
        put_text(out, buf_cstr(&text), 0);
    buf_free(&text);
    return NULL;
}

void audit_operator_print(FILE *out, const struct query_row *row)
{
    json_t *op;
    json_t *root = load(out, row, "op", &op);
    const char *key, *route;
    json_t *value;

    if (root == NULL)
        return;
    route = json_string_value(json_object_get(op, "route"));
    put_text(out, text_of(op, "who"), 12);
    (void)fputs("  ", out);
    put_text(out, text_of(op, "from"), 12);
    (void)fputs("  ", out);
    put_text(out, text_of(op, "result"), 7);
    (void)fputs("  ", out);
    put_text(out, route != NULL ? route : text_of(op, "op"), 0);
    json_object_foreach (op, key, value)
        if (!is_column(key))
            put_member(out, key, value);
    json_decref(root);
}

void audit_notice_print(FILE *out, const struct query_row *row)
{
    json_t *doc;
    json_t *root = load(out, row, "doc", &doc);

    if (root == NULL)
        return;
    put_text(out, text_of(doc, "version"), 12);
    (void)fprintf(out, "  %5lld  %.16s  ",
                  (long long)json_integer_value(json_object_get(doc, "epoch")),
                  text_of(doc, "sha256"));
    put_text(out, text_of(doc, "site"), 0);
    json_decref(root);
}
