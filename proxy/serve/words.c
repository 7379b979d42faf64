/*
 * words.c - contract in consentd/words.h.
 */
#include "consentd/words.h"

#include "consentd/mem.h"
#include "page_priv.h"

struct words {
    struct site site; /* just enough of one for its languages */
    struct notice_words list;
    const char **tags, **keys; /* owned */
};

/* Keys of pages that are no part of the banner. */
static bool is_shown(const char *key)
{
    static const char *const others[] = {"me_", "act_", "unsub_", "notice_"};

    for (size_t i = 0; i < COUNT_OF(others); i++) {
        if (str_starts(str_c(key), str_c(others[i])))
            return false;
    }
    return true;
}

static const char *word(const void *arg, size_t tag, size_t key)
{
    const struct words *w = arg;

    return language_text(w->site.policy, languages_at(&w->site, tag), w->keys[key]);
}

struct words *words_new(const struct config_site *site, struct policy *policy, struct fault *f)
{
    struct words *w = mem_new(struct words);

    w->site.config = site;
    w->site.policy = policy;
    if (!languages_start(&w->site, f)) {
        words_free(w);
        return NULL;
    }
    w->tags = mem_calloc(languages_cnt(&w->site) + 1, sizeof(*w->tags));
    w->keys = mem_calloc(web_text_cnt + 1, sizeof(*w->keys));
    w->list = (struct notice_words){.tags = w->tags, .keys = w->keys, .text = word, .arg = w};
    for (size_t i = 0; i < languages_cnt(&w->site); i++)
        w->tags[w->list.tag_cnt++] = languages_at(&w->site, i)->tag;
    for (size_t i = 0; i < web_text_cnt; i++) {
        if (is_shown(web_text_keys[i]))
            w->keys[w->list.key_cnt++] = web_text_keys[i];
    }
    return w;
}

void words_free(struct words *w)
{
    if (w == NULL)
        return;
    languages_stop(&w->site);
    free(w->tags);
    free(w->keys);
    free(w);
}

const struct notice_words *words_list(const struct words *w)
{
    return &w->list;
}
