/*
 * rules_dir.c - all rule sets of a folder, compiled: for the commands that need no daemon.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/config.h"
#include "consentd/file.h"
#include "consentd/mem.h"
#include "ctl_priv.h"

#define RULES_INSTALLED "/usr/share/consentd/rules"

struct dir {
    char *path; /* "DIR/sets" */
    char **names;
    size_t cnt, at;
    char file[1024];
    struct buf text;
    struct fault *f;
    bool failed;
};

static bool on_name(void *arg, const char *name)
{
    struct dir *d = arg;

    if (d->cnt >= RULES_SETS_MAX)
        return false;
    d->names = mem_realloc(d->names, (d->cnt + 1) * sizeof(*d->names));
    d->names[d->cnt++] = mem_strdup(name);
    return true;
}

static bool next_set(void *arg, struct str *name_out, struct str *text_out)
{
    struct dir *d = arg;

    if (d->at == d->cnt)
        return false;
    snprintf(d->file, sizeof(d->file), "%s/%s", d->path, d->names[d->at++]);
    buf_clear(&d->text);
    if (!file_read(d->file, RULESET_TEXT_MAX, &d->text, d->f)) {
        d->failed = true;
        return false;
    }
    *name_out = str_c(d->file);
    *text_out = buf_str(&d->text);
    return true;
}

char *ctl_rules_folder(const struct ctl_args *args, const char *dir)
{
    struct config *config;
    char *folder;

    if (dir != NULL)
        return mem_strdup(dir);
    config = config_load(args->config, NULL);
    folder = mem_strdup(config != NULL ? config->rules : RULES_INSTALLED);
    config_free(config);
    return folder;
}

struct rules *ctl_compile_rules(const char *folder, const struct rules_input *input,
                                struct fault *f)
{
    struct dir d = {.path = file_resolve(folder, "sets"), .f = f};
    struct rules *rules = NULL;

    buf_init(&d.text, RULESET_TEXT_MAX + 1);
    if (file_each(d.path, ".json", on_name, &d, f))
        rules = rules_load(next_set, &d, input, f);
    if (d.failed) {
        rules_give(rules);
        rules = NULL;
    }
    for (size_t i = 0; i < d.cnt; i++)
        free(d.names[i]);
    free(d.names);
    free(d.path);
    buf_free(&d.text);
    return rules;
}

struct rules *ctl_load_rules(const struct ctl_args *args, const char *dir, const char *const *hosts,
                             size_t host_cnt, struct fault *f)
{
    const struct rules_site site = {.name = "site", .hosts = hosts, .host_cnt = host_cnt};
    struct categories categories;
    const struct rules_input input = {.categories = &categories, .sites = &site, .site_cnt = 1};
    char *folder = ctl_rules_folder(args, dir);
    struct rules *rules;

    categories_init(&categories);
    categories.defined |= CATEGORY_ANALYTICS | CATEGORY_MARKETING | CATEGORY_PREFERENCES;
    rules = ctl_compile_rules(folder, &input, f);
    free(folder);
    return rules;
}
