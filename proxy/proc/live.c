/*
 * live.c - policies, rules and keys out of a bundle: what a worker runs on, and what the
 * master makes once to find out whether a configuration is good.
 */
#include <stdio.h>
#include <stdlib.h>

#include "consentd/bundle.h"
#include "consentd/category.h"
#include "consentd/config.h"
#include "consentd/keyring.h"
#include "consentd/mem.h"
#include "consentd/notice.h"
#include "consentd/policy.h"
#include "consentd/words.h"
#include "proc_priv.h"

static bool load_policies(struct live *l, const struct config *c, const struct bundle *b,
                          struct categories *all, struct fault *f)
{
    struct str text;

    categories_init(all);
    l->policies = mem_calloc(c->site_cnt + 1, sizeof(struct policy *)); /* NULL at the end */
    for (size_t i = 0; i < c->site_cnt; i++) {
        const char *path = c->sites[i].policy;
        if (!bundle_get(b, str_c(path), &text)) {
            fault_set(f, "%s: not in the bundle", path);
            return false;
        }
        l->policies[i] = policy_parse(path, text, f);
        if (l->policies[i] == NULL)
            return false;
        if (!categories_merge(all, &l->policies[i]->categories, f)) {
            fault_prefix(f, "%s", path);
            return false;
        }
    }
    return true;
}

/* The rule files of a bundle as a list that rules_load() can walk. */
struct file_list {
    struct str *names, *texts; /* owned arrays, borrowed slices */
    size_t cnt, at;
};

static bool add_file(void *arg, struct str name, struct str data)
{
    struct file_list *list = arg;

    if (!str_ends(name, STR(".json")))
        return true;
    list->names = mem_realloc(list->names, (list->cnt + 1) * sizeof(*list->names));
    list->texts = mem_realloc(list->texts, (list->cnt + 1) * sizeof(*list->texts));
    list->names[list->cnt] = name;
    list->texts[list->cnt++] = data;
    return true;
}

static bool next_file(void *arg, struct str *name_out, struct str *text_out)
{
    struct file_list *list = arg;

    if (list->at == list->cnt)
        return false;
    *name_out = list->names[list->at];
    *text_out = list->texts[list->at++];
    return true;
}

/* What errors in a site's own rules call them. */
struct own_name {
    char text[512];
};

static bool load_rules(struct live *l, const struct config *c, const struct bundle *b,
                       const struct categories *all, struct fault *f)
{
    struct rules_site *sites = mem_calloc(c->site_cnt, sizeof(*sites));
    struct own_name *own_names = mem_calloc(c->site_cnt, sizeof(*own_names));
    struct file_list list = {0};
    struct str path = STR("");
    struct rules_input input = {
        .categories = all,
        .sites = sites,
        .site_cnt = c->site_cnt,
        .match_limit = c->limits.pcre_match_limit,
    };

    if (!bundle_get(b, STR(":config.path"), &path))
        path = STR("the configuration");
    for (size_t i = 0; i < c->site_cnt; i++) {
        const struct config_site *site = &c->sites[i];

        snprintf(own_names[i].text, sizeof(own_names[i].text), "%.*s: sites[%zu].rules",
                 STR_ARGS(path), i);
        sites[i] = (struct rules_site){
            .name = site->name,
            .hosts = site->hosts.items,
            .host_cnt = site->hosts.cnt,
            .own_json = site->rules_json,
            .own_name = own_names[i].text,
        };
    }
    bundle_each(b, str_c(c->rules), add_file, &list);
    if (list.cnt > 0)
        l->rules = rules_load(next_file, &list, &input, f);
    else
        fault_set(f, "%s/sets: no rule sets (*.json) there", c->rules);
    free(list.names);
    free(list.texts);
    free(sites);
    free(own_names);
    return l->rules != NULL;
}

/* What visitors are told is more than the policy: the banner's words, the rule sets' vendors. */
static bool build_notices(struct live *l, const struct config *c, struct fault *f)
{
    for (size_t i = 0; i < c->site_cnt; i++) {
        struct words *words = words_new(&c->sites[i], l->policies[i], f);
        bool ok = words != NULL && notice_build(l->policies[i], l->rules, i, words_list(words), f);

        words_free(words);
        if (!ok) {
            fault_prefix(f, "%s", c->sites[i].policy);
            return false;
        }
    }
    return true;
}

bool live_init(struct live *l, const struct config *c, const struct bundle *b, struct fault *f)
{
    struct categories all;
    struct str text;

    *l = (struct live){0};
    if (!bundle_get(b, STR(":keys"), &text)) {
        fault_set(f, "%s: not in the bundle", c->keys);
        return false;
    }
    l->keyring = keyring_parse(c->keys, text, f);
    return l->keyring != NULL && load_policies(l, c, b, &all, f) && load_rules(l, c, b, &all, f) &&
           build_notices(l, c, f);
}

void live_fini(struct live *l)
{
    rules_give(l->rules);
    keyring_free(l->keyring);
    for (size_t i = 0; l->policies != NULL && l->policies[i] != NULL; i++)
        policy_free(l->policies[i]);
    free(l->policies);
    *l = (struct live){0};
}

static enum rule_mode mode_of(enum config_mode mode)
{
    if (mode == CONFIG_MODE_OFF)
        return RULE_OFF;
    return mode == CONFIG_MODE_REPORT ? RULE_REPORT : RULE_ENFORCE;
}

struct snapshot *live_snapshot(const struct live *l, const struct config *c, size_t site,
                               const struct rules_state *state)
{
    const struct config_site *from = &c->sites[site];
    struct snapshot_default *defaults = mem_calloc(from->rule_set_cnt, sizeof(*defaults));

    for (size_t i = 0; i < from->rule_set_cnt; i++)
        defaults[i] = (struct snapshot_default){
            .set = from->rule_sets[i].set,
            .mode = mode_of(from->rule_sets[i].mode),
        };
    struct snapshot *made = snapshot_new(l->rules, site, state, defaults, from->rule_set_cnt);
    free(defaults);
    return made;
}
