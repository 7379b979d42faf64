/*
 * tag.c - contract in consentd/tag.h.
 */
#include "consentd/tag.h"

#include "entities_priv.h"
#include "names_priv.h"
#include "scan_priv.h"
#include "tokenizer_priv.h"

static uint32_t skip_space(struct str tag, uint32_t i)
{
    while (i < tag.len && tok_is_space((uint8_t)tag.ptr[i]))
        i++;
    return i;
}

/* At the quote of a value. */
static void read_quoted(struct str tag, uint32_t i, struct tag_attr *out)
{
    out->quote = tag.ptr[i];
    out->value = ++i;
    i = (uint32_t)scan_value((const uint8_t *)tag.ptr, i, tag.len, (uint8_t)out->quote,
                             &out->is_plain);
    out->value_len = i - out->value;
    out->end = i < tag.len ? i + 1 : i;
}

/* At the first byte of a value; sets value, value_len, quote, is_plain and end. */
static void read_value(struct str tag, uint32_t i, struct tag_attr *out)
{
    char c = i < tag.len ? tag.ptr[i] : '>';

    if (c == '"' || c == '\'') {
        read_quoted(tag, i, out);
        return;
    }
    out->value = i;
    out->is_plain = true;
    /* 13.2.5.35: at ">" the value is missing and the tag ends */
    for (; i < tag.len && tag.ptr[i] != '>' && !tok_is_space((uint8_t)tag.ptr[i]); i++)
        out->is_plain = out->is_plain && tag.ptr[i] != '&' && tag.ptr[i] != '\0';
    out->value_len = i - out->value;
    out->end = i;
}

static uint32_t skip_to_attr(struct str tag, uint32_t i)
{
    while (i < tag.len && (tok_is_space((uint8_t)tag.ptr[i]) || tag.ptr[i] == '/'))
        i++;
    return i;
}

bool tag_next(struct str tag, uint32_t *pos, struct tag_attr *out)
{
    uint32_t i = skip_to_attr(tag, *pos);
    uint32_t after;

    if (i >= tag.len || tag.ptr[i] == '>')
        return false;
    *out = (struct tag_attr){.start = i};
    /* a "=" here is part of the name: 13.2.5.32 */
    i = (uint32_t)scan_name((const uint8_t *)tag.ptr, i + 1, tag.len, SCAN_ATTR_NAME);
    out->name_len = i - out->start;
    out->end = out->value = i;
    if (i + 1 < tag.len && tag.ptr[i] == '=' && tag.ptr[i + 1] == '"') { /* nearly always */
        read_quoted(tag, i + 1, out);
    } else {
        after = skip_space(tag, i);
        if (after < tag.len && tag.ptr[after] == '=')
            read_value(tag, skip_space(tag, after + 1), out);
    }
    *pos = out->end;
    return true;
}

struct str tag_attr_name(struct str tag, const struct tag_attr *a)
{
    return str_slice(tag, a->start, a->name_len);
}

struct str tag_attr_value(struct str tag, const struct tag_attr *a)
{
    return str_slice(tag, a->value, a->value_len);
}

/* Duplicates matter only for names that the engine knows; handlers are compared by name. */
static bool has_earlier(struct str tag, const struct tag_attr *list, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (list[i].id == list[at].id &&
            str_eq_fold(tag_attr_name(tag, &list[i]), tag_attr_name(tag, &list[at])))
            return true;
    }
    return false;
}

size_t tag_parse(struct str tag, uint32_t name_end, struct tag_attr *out, size_t max,
                 struct tag_end *end_out)
{
    uint64_t seen = 0;
    size_t cnt = 0;
    struct tag_attr a;

    if (end_out != NULL)
        *end_out = (struct tag_end){0};
    while (tag_next(tag, &name_end, &a)) {
        if (cnt == max)
            return max + 1;
        a.id = (uint8_t)attr_lookup(tag_attr_name(tag, &a));
        out[cnt] = a;
        if (a.id != ATTR_OTHER) {
            out[cnt].is_duplicate = (seen >> a.id & 1) != 0 && has_earlier(tag, out, cnt);
            seen |= UINT64_C(1) << a.id;
        }
        cnt++;
    }
    if (end_out != NULL) {
        uint32_t at = skip_to_attr(tag, name_end);

        end_out->at = at < tag.len ? at : 0;
        end_out->self_closing = at > name_end && tag.ptr[at - 1] == '/';
    }
    return cnt;
}

bool tag_attr_decode(struct str tag, const struct tag_attr *a, struct buf *out)
{
    return entities_decode(tag_attr_value(tag, a), true, out);
}

bool tag_text_decode(struct str text, struct buf *out)
{
    return entities_decode(text, false, out);
}
