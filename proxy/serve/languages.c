/*
 * languages.c - the languages that a site's banner speaks: the policy's own and the built-in ones.
 *
 *   policy "en", "de"   proxy/web/i18n: ar de en …   ->  en  de  ar  es  fr …
 *
 * The policy's first language is the fallback. "languages" of the site replaces the list and its
 * order. What the policy says in a language wins over what is built in.
 */
#include "consentd/mem.h"
#include "page_priv.h"

#define LANGUAGES_MAX (POLICY_LANGUAGES_MAX + 64)

struct languages {
    struct language items[LANGUAGES_MAX];
    const char *tags[LANGUAGES_MAX];
    size_t cnt;
};

/* The built-in language of this tag, or of the one that it specialises: "de-AT" has "de". */
static const struct web_language *built_in(const char *tag)
{
    struct str rest = str_c(tag);

    while (rest.len > 0) {
        ptrdiff_t dash = str_find_last_char(rest, '-');

        for (size_t i = 0; i < web_language_cnt; i++) {
            if (str_eq_fold_c(rest, web_languages[i].tag))
                return &web_languages[i];
        }
        rest.len = dash > 0 ? (size_t)dash : 0;
    }
    return NULL;
}

/* Scripts that run from right to left, for languages that only the policy has. */
static bool is_right_to_left(const char *tag)
{
    static const char *const rtl[] = {"ar", "he", "fa", "ur", "ps", "sd", "ug", "yi", "dv", "ckb"};
    struct str language = str_c(tag);
    ptrdiff_t dash = str_find_char(language, '-');

    language.len = dash > 0 ? (size_t)dash : language.len;
    for (size_t i = 0; i < COUNT_OF(rtl); i++) {
        if (str_eq_fold_c(language, rtl[i]))
            return true;
    }
    return false;
}

static bool has(const struct languages *l, const char *tag)
{
    for (size_t i = 0; i < l->cnt; i++) {
        if (str_eq_fold_c(str_c(tag), l->tags[i]))
            return true;
    }
    return false;
}

static void add(struct languages *l, const struct policy *policy, const char *tag)
{
    struct language *language = &l->items[l->cnt];

    if (has(l, tag) || l->cnt == LANGUAGES_MAX)
        return;
    language->tag = tag;
    language->own = built_in(tag);
    language->rtl = language->own != NULL ? language->own->rtl : is_right_to_left(tag);
    for (size_t i = 0; i < policy->language_cnt; i++) {
        if (str_eq_fold_c(str_c(tag), policy->languages[i])) {
            language->in_policy = true;
            language->policy = (unsigned)i;
        }
    }
    l->tags[l->cnt++] = tag;
}

static bool fault_unknown(const struct site *site, const char *tag, struct fault *f)
{
    char known[256];
    size_t len = 0;

    for (size_t i = 0; i < web_language_cnt && len + 40 < sizeof(known); i++)
        len += (size_t)snprintf(known + len, sizeof(known) - len, " %s", web_languages[i].tag);
    fault_set(f,
              "site %s: languages: \"%s\" is neither in its policy nor built in; built in are:%s",
              site->config->name, tag, known);
    return false;
}

bool languages_start(struct site *site, struct fault *fault_out)
{
    const struct config_texts *wanted = &site->config->languages;
    const struct policy *policy = site->policy;
    struct languages *l;

    if (policy == NULL)
        return true;
    l = mem_new(struct languages);
    site->enforce = l;
    for (size_t i = 0; i < wanted->cnt; i++) {
        add(l, policy, wanted->items[i]);
        if (!l->items[l->cnt - 1].in_policy && l->items[l->cnt - 1].own == NULL)
            return fault_unknown(site, wanted->items[i], fault_out);
    }
    if (wanted->cnt > 0)
        return true;
    for (size_t i = 0; i < policy->language_cnt; i++)
        add(l, policy, policy->languages[i]);
    for (size_t i = 0; i < web_language_cnt; i++)
        add(l, policy, web_languages[i].tag);
    return true;
}

void languages_stop(struct site *site)
{
    free(site->enforce);
    site->enforce = NULL;
}

unsigned languages_choose(const struct site *site, struct str accept_language)
{
    const struct languages *l = site->enforce;

    return l != NULL ? language_choose(l->tags, l->cnt, accept_language) : 0;
}

size_t languages_cnt(const struct site *site)
{
    const struct languages *l = site->enforce;

    return l != NULL ? l->cnt : 0;
}

const struct language *languages_at(const struct site *site, size_t i)
{
    const struct languages *l = site->enforce;

    return &l->items[i];
}

const struct language *language_of(const struct exchange *x)
{
    const struct languages *l = x->site->enforce;

    return &l->items[enforcement_of(x)->language];
}

const char *language_tag(const struct exchange *x)
{
    return language_of(x)->tag;
}

const char *web_text(const struct web_language *language, const char *key)
{
    size_t low = 0;
    size_t high = web_text_cnt;

    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(key, web_text_keys[middle]);

        if (order == 0)
            return language->texts[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const char *language_text(const struct policy *policy, const struct language *language,
                          const char *key)
{
    const char *text = NULL;

    if (language->in_policy)
        text = policy_ui_given(policy, language->policy, key);
    if (text == NULL && language->own != NULL)
        text = web_text(language->own, key);
    if (text == NULL)
        text = policy_ui_given(policy, 0, key);
    return text != NULL ? text : web_text(built_in("en"), key);
}
