/*
 * notice_load.c - the notice document that consentd would make of a policy, byte by byte the same.
 */
#include <stdlib.h>

#include "consentd/config.h"
#include "consentd/file.h"
#include "consentd/mem.h"
#include "consentd/notice.h"
#include "consentd/words.h"
#include "ctl_priv.h"

static struct policy *read_policy(const char *path, struct fault *f)
{
    struct policy *policy = NULL;
    struct buf text;

    buf_init(&text, POLICY_TEXT_MAX);
    if (file_read(path, POLICY_TEXT_MAX, &text, f))
        policy = policy_parse(path, buf_str(&text), f);
    buf_free(&text);
    return policy;
}

/* The rule sets with all sites' own ones, as consentd compiles them. */
static struct rules *compile(const struct config *config, const struct categories *categories,
                             struct fault *f)
{
    struct rules_site *sites = mem_calloc(config->site_cnt, sizeof(*sites));
    const struct rules_input input = {
        .categories = categories,
        .sites = sites,
        .site_cnt = config->site_cnt,
        .match_limit = config->limits.pcre_match_limit,
    };
    struct rules *rules;

    for (size_t i = 0; i < config->site_cnt; i++)
        sites[i] = (struct rules_site){
            .name = config->sites[i].name,
            .hosts = config->sites[i].hosts.items,
            .host_cnt = config->sites[i].hosts.cnt,
            .own_json = config->sites[i].rules_json,
            .own_name = "the site's own rules",
        };
    rules = ctl_compile_rules(config->rules, &input, f);
    free(sites);
    return rules;
}

/* A name that is no rule set's: its cookies would be missing from what visitors are told. */
static void warn_of_sets(const char *file, const struct policy *policy, const struct rules *rules)
{
    for (size_t i = 0; i < policy->provider_cnt; i++)
        for (size_t k = 0; k < policy->providers[i].set_cnt; k++)
            if (rules_find(rules, str_c(policy->providers[i].sets[k])) < 0)
                (void)fprintf(
                    stderr,
                    "consentctl: %s: providers[%zu]: there is no rule set \"%s\": nothing "
                    "of it is told\n",
                    file, i, policy->providers[i].sets[k]);
}

struct policy *ctl_load_notice(const struct config *config, size_t site, const char *file,
                               struct fault *f)
{
    struct policy *made = NULL;
    struct rules *rules = NULL;
    struct words *words;
    struct categories all;
    bool ok = true;

    categories_init(&all);
    for (size_t i = 0; i < config->site_cnt && ok; i++) {
        const char *path = i == site && file != NULL ? file : config->sites[i].policy;
        struct policy *policy = read_policy(path, f);

        ok = policy != NULL && categories_merge(&all, &policy->categories, f);
        if (i == site)
            made = policy;
        else
            policy_free(policy);
    }
    rules = ok ? compile(config, &all, f) : NULL;
    if (rules != NULL && made != NULL)
        warn_of_sets(file != NULL ? file : config->sites[site].policy, made, rules);
    words = rules != NULL ? words_new(&config->sites[site], made, f) : NULL;
    ok = words != NULL && notice_build(made, rules, site, words_list(words), f);
    words_free(words);
    rules_give(rules);
    if (ok)
        return made;
    policy_free(made);
    return NULL;
}
