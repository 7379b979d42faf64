/*
 * shown.c - contract in consentd/shown.h.
 */
#include "consentd/shown.h"

#include <stdio.h>
#include <string.h>

#include "consentd/b64.h"

const char *shown_place_name(enum shown_place place)
{
    static const char *const names[SHOWN_PLACE_CNT] = {"banner", "preferences"};

    return place < SHOWN_PLACE_CNT ? names[place] : "";
}

static bool is_tag(const char lang[SHOWN_LANG_MAX])
{
    static const char tags[] = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    size_t len = strnlen(lang, SHOWN_LANG_MAX);

    return len > 0 && len < SHOWN_LANG_MAX && strspn(lang, tags) == len;
}

size_t shown_decode(struct str in, struct shown_entry out[SHOWN_ENTRIES_MAX])
{
    size_t cnt = in.len / sizeof(*out);

    if (cnt == 0 || cnt > SHOWN_ENTRIES_MAX || in.len % sizeof(*out) != 0)
        return 0;
    memcpy(out, in.ptr, in.len);
    for (size_t i = 0; i < cnt; i++)
        if (out[i].place >= SHOWN_PLACE_CNT || !is_tag(out[i].lang))
            return 0;
    return cnt;
}

void shown_names(const struct shown_entry *entry, char out[SHOWN_NAMES_EACH][SHOWN_NAME_MAX])
{
    char doc[B64_LEN(RECORD_ID_LEN) + 1];

    b64url_encode(doc, entry->doc, sizeof(entry->doc));
    (void)snprintf(out[0], SHOWN_NAME_MAX, "imp");
    (void)snprintf(out[1], SHOWN_NAME_MAX, "imp:ui:%s",
                   shown_place_name((enum shown_place)entry->place));
    (void)snprintf(out[2], SHOWN_NAME_MAX, "imp:lang:%.*s", SHOWN_LANG_MAX - 1, entry->lang);
    (void)snprintf(out[3], SHOWN_NAME_MAX, "imp:doc:%s", doc);
}
