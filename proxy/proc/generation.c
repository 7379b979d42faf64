/*
 * generation.c - contract in generation.h.
 */
#include "generation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/buf.h"
#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/mem.h"

#define FILE_MAX (16u << 20) /* bytes of one file that a configuration names */

/* --- packing --- */

struct packing {
    struct bundle *bundle;
    const struct config *config;
    struct fault *fault;
};

static bool pack_as(struct packing *p, const char *name, const char *path)
{
    struct buf data;
    bool ok;

    buf_init(&data, FILE_MAX + 65536);
    ok = file_read(path, FILE_MAX, &data, p->fault);
    if (ok && !bundle_add(p->bundle, str_c(name), buf_str(&data))) {
        fault_set(p->fault, "%s: the configuration's files are too large together", path);
        ok = false;
    }
    if (data.len > 0)
        crypto_wipe(data.data, data.len); /* it may have been a key */
    buf_free(&data);
    return ok;
}

static bool pack_file(struct packing *p, const char *path)
{
    return path == NULL || pack_as(p, path, path);
}

static bool on_set(void *arg, const char *name)
{
    struct packing *p = arg;
    char *dir = file_resolve(p->config->rules, "sets");
    char *path = file_resolve(dir, name);
    bool ok = pack_file(p, path);

    free(path);
    free(dir);
    return ok;
}

static bool pack_rules(struct packing *p)
{
    char *dir = file_resolve(p->config->rules, "sets");
    bool ok = file_each(dir, ".json", on_set, p, p->fault);

    free(dir);
    return ok;
}

static bool pack_sites(struct packing *p)
{
    for (size_t i = 0; i < p->config->site_cnt; i++) {
        if (!pack_file(p, p->config->sites[i].policy) ||
            !pack_file(p, p->config->sites[i].origin_ca))
            return false;
    }
    return true;
}

static bool pack_certificates(struct packing *p)
{
    for (size_t i = 0; i < p->config->listen_cnt; i++) {
        const struct config_tls *tls = &p->config->listens[i].tls;

        for (size_t c = 0; c < tls->cert_cnt; c++) {
            if (!pack_file(p, tls->certs[c].cert) || !pack_file(p, tls->certs[c].key))
                return false;
        }
    }
    return true;
}

static bool pack_state(struct packing *p)
{
    char *path = file_resolve(p->config->state_dir, "rules.json");
    bool ok = access(path, F_OK) != 0 && errno == ENOENT ? true : pack_as(p, BUNDLE_STATE, path);

    free(path);
    return ok;
}

/* Only the keys that the role may see. */
static bool pack_keys(struct packing *p, enum ipc_role role)
{
    unsigned uses = role == IPC_ROLE_WORKER ? 1u << KEY_TOK : 1u << KEY_IDX;
    struct keyring *ring;
    struct buf text;
    bool ok;

    if (role == IPC_ROLE_LEDGER)
        uses |= 1u << KEY_LOG;
    buf_init(&text, KEYRING_TEXT_MAX + 65536);
    ok = file_read(p->config->keys, KEYRING_TEXT_MAX, &text, p->fault);
    ring = ok ? keyring_parse(p->config->keys, buf_str(&text), p->fault) : NULL;
    if (ring != NULL) {
        crypto_wipe(text.data, text.len);
        buf_clear(&text);
    }
    ok = ring != NULL && keyring_export(ring, uses, &text) &&
         bundle_add(p->bundle, STR(BUNDLE_KEYS), buf_str(&text));
    if (text.len > 0)
        crypto_wipe(text.data, text.len);
    buf_free(&text);
    keyring_free(ring);
    return ok;
}

static bool pack_role(struct packing *p, enum ipc_role role)
{
    const struct config_ledger *ledger = &p->config->ledger;

    if (!pack_keys(p, role) || !pack_sites(p) || !pack_rules(p) || !pack_state(p))
        return false;
    if (role == IPC_ROLE_WORKER)
        return pack_certificates(p);
    if (!pack_file(p, ledger->redis_ca))
        return false;
    return ledger->redis_password_file == NULL ||
           pack_as(p, BUNDLE_REDIS, ledger->redis_password_file);
}

struct bundle *generation_pack(const char *config_path, enum ipc_role role, struct fault *f)
{
    struct packing p = {.bundle = bundle_new(), .fault = f};
    struct config *config = NULL;
    char *dir = file_dir_of(config_path);
    struct str text;
    bool ok;

    ok = pack_as(&p, BUNDLE_CONFIG, config_path) &&
         bundle_add(p.bundle, STR(BUNDLE_PATH), str_c(config_path)) &&
         bundle_get(p.bundle, STR(BUNDLE_CONFIG), &text);
    if (ok)
        config = config_parse(config_path, dir, text, f);
    p.config = config;
    ok = config != NULL && pack_role(&p, role);
    config_free(config);
    free(dir);
    if (ok)
        return p.bundle;
    bundle_free(p.bundle);
    return NULL;
}

/* --- loading --- */

/* The rule sets of a bundle, one after the other. */
struct set_list {
    struct str names[RULES_SETS_MAX], texts[RULES_SETS_MAX];
    size_t cnt, next;
};

static bool on_item(void *arg, struct str name, struct str data)
{
    struct set_list *list = arg;

    if (!str_ends(name, STR(".json")) || list->cnt == RULES_SETS_MAX)
        return true;
    list->names[list->cnt] = name;
    list->texts[list->cnt++] = data;
    return true;
}

static bool next_set(void *arg, struct str *name_out, struct str *text_out)
{
    struct set_list *list = arg;

    if (list->next == list->cnt)
        return false;
    *name_out = list->names[list->next];
    *text_out = list->texts[list->next++];
    return true;
}

static bool load_policies(struct generation *g, struct categories *categories, struct fault *f)
{
    g->policies = mem_calloc(g->config->site_cnt, sizeof(struct policy *));
    for (size_t i = 0; i < g->config->site_cnt; i++) {
        const char *path = g->config->sites[i].policy;
        struct str text;

        if (path == NULL || !bundle_get(g->bundle, str_c(path), &text)) {
            fault_set(f, "sites[%zu].policy: required", i);
            return false;
        }
        g->policies[i] = policy_parse(path, text, f);
        if (g->policies[i] == NULL || !categories_merge(categories, &g->policies[i]->categories, f))
            return false;
    }
    return true;
}

static bool load_rules(struct generation *g, const struct categories *categories, struct fault *f)
{
    struct rules_site *sites = mem_calloc(g->config->site_cnt, sizeof(*sites));
    struct set_list *list = mem_new(struct set_list);
    char *prefix = file_resolve(g->config->rules, "sets/");
    const struct rules_input input = {.categories = categories,
                                      .sites = sites,
                                      .site_cnt = g->config->site_cnt,
                                      .match_limit = g->config->limits.pcre_match_limit};

    for (size_t i = 0; i < g->config->site_cnt; i++) {
        const struct config_site *site = &g->config->sites[i];

        sites[i] = (struct rules_site){.name = site->name,
                                       .hosts = site->hosts.items,
                                       .host_cnt = site->hosts.cnt,
                                       .own_json = site->rules_json,
                                       .own_name = g->config->path};
    }
    bundle_each(g->bundle, str_c(prefix), on_item, list);
    g->rules = rules_load(next_set, list, &input, f);
    free(prefix);
    free(list);
    free(sites);
    return g->rules != NULL;
}

static bool load_all(struct generation *g, struct fault *f)
{
    struct categories categories;
    struct str path, text, keys;
    struct str state = STR("");
    char *name, *dir;

    if (!bundle_get(g->bundle, STR(BUNDLE_PATH), &path) ||
        !bundle_get(g->bundle, STR(BUNDLE_CONFIG), &text) ||
        !bundle_get(g->bundle, STR(BUNDLE_KEYS), &keys)) {
        fault_set(f, "the bundle is not complete");
        return false;
    }
    name = str_dup(path);
    dir = file_dir_of(name);
    g->config = config_parse(name, dir, text, f);
    free(dir);
    free(name);
    if (g->config == NULL)
        return false;
    g->keyring = keyring_parse(g->config->keys, keys, f);
    categories_init(&categories);
    if (g->keyring == NULL || !load_policies(g, &categories, f) || !load_rules(g, &categories, f))
        return false;
    if (bundle_get(g->bundle, STR(BUNDLE_STATE), &text))
        state = text;
    g->state = rules_state_parse("rules.json", state, f);
    return g->state != NULL;
}

struct generation *generation_load(struct bundle *bundle, struct fault *f)
{
    struct generation *g = mem_new(struct generation);

    g->bundle = bundle;
    if (load_all(g, f))
        return g;
    generation_free(g);
    return NULL;
}

void generation_free(struct generation *g)
{
    if (g == NULL)
        return;
    rules_state_free(g->state);
    rules_give(g->rules);
    for (size_t i = 0; g->policies != NULL && i < g->config->site_cnt; i++)
        policy_free(g->policies[i]);
    free(g->policies);
    keyring_free(g->keyring);
    config_free(g->config);
    bundle_free(g->bundle);
    free(g);
}

struct snapshot *generation_snapshot(const struct generation *g, size_t site,
                                     const struct rules_state *state)
{
    static const enum rule_mode modes[] = {[CONFIG_MODE_ENFORCE] = RULE_ENFORCE,
                                           [CONFIG_MODE_REPORT] = RULE_REPORT,
                                           [CONFIG_MODE_OFF] = RULE_OFF};
    const struct config_site *config = &g->config->sites[site];
    struct snapshot_default *defaults = mem_calloc(config->rule_set_cnt + 1, sizeof(*defaults));
    struct snapshot *snapshot;

    for (size_t i = 0; i < config->rule_set_cnt; i++)
        defaults[i] =
            (struct snapshot_default){config->rule_sets[i].set, modes[config->rule_sets[i].mode]};
    snapshot = snapshot_new(g->rules, site, state != NULL ? state : g->state, defaults,
                            config->rule_set_cnt);
    free(defaults);
    return snapshot;
}
