/*
 * cmd_unsubscribe.c - consentctl unsubscribe link | check | filter | export: for the program that
 * sends the mail.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/clock.h"
#include "consentd/config.h"
#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/keyring.h"
#include "consentd/suppressed.h"
#include "consentd/unsub.h"
#include "ctl_priv.h"

#define ADDRESS_AND_LIST "a mail address, and a name of at most %d characters a-z 0-9 - _ ."

struct work {
    struct config *config;  /* owned */
    struct keyring *ring;   /* owned */
    struct suppressed *out; /* owned: who left */
    const struct config_site *site;
    struct fault f;
};

static bool read_keys(struct work *w)
{
    struct buf text;

    buf_init(&text, KEYRING_TEXT_MAX);
    if (file_read(w->config->keys, KEYRING_TEXT_MAX, &text, &w->f))
        w->ring = keyring_parse(w->config->keys, buf_str(&text), &w->f);
    if (text.data != NULL)
        crypto_wipe(text.data, text.len);
    buf_free(&text);
    if (w->ring == NULL)
        return false;
    if (keyring_active(w->ring, KEY_UNSUB) == NULL) {
        fault_set(&w->f, "%s: no active key for \"unsub\"", w->config->keys);
        return false;
    }
    return true;
}

static bool find_site(struct work *w, const char *name)
{
    if (name == NULL && w->config->site_cnt > 1) {
        fault_set(&w->f, "there are %zu sites: say which with --site NAME", w->config->site_cnt);
        return false;
    }
    for (size_t i = 0; i < w->config->site_cnt && w->site == NULL; i++) {
        if (name == NULL || strcmp(w->config->sites[i].name, name) == 0)
            w->site = &w->config->sites[i];
    }
    if (w->site == NULL)
        fault_set(&w->f, "there is no site \"%s\"", name);
    return w->site != NULL;
}

static bool work_begin(struct work *w, const struct ctl_args *args)
{
    char *path;

    *w = (struct work){0};
    w->config = config_load(args->config, &w->f);
    if (w->config == NULL || !read_keys(w))
        return false;
    path = file_resolve(w->config->state_dir, SUPPRESSED_NAME);
    w->out = suppressed_open(path, &w->f);
    free(path);
    return w->out != NULL;
}

static int work_end(struct work *w, int status)
{
    if (status != CTL_OK && w->f.text[0] != '\0')
        (void)ctl_fail("%s", w->f.text);
    suppressed_free(w->out);
    keyring_free(w->ring);
    config_free(w->config);
    return status;
}

int cmd_unsubscribe_link(struct ctl_args *args)
{
    const char *address = NULL, *list = NULL, *site = NULL;
    const struct ctl_option options[] = {
        {"--site", &site, NULL}, {"", &address, NULL}, {"", &list, NULL}};
    char token[UNSUB_TOKEN_MAX];
    struct work w;
    const char *host;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (list == NULL || !unsub_list_ok(str_c(list)) ||
        !unsub_address_ok(str_trim(str_c(address)))) {
        (void)ctl_fail("unsubscribe link ADDRESS LIST: " ADDRESS_AND_LIST, UNSUB_LIST_MAX);
        return CTL_USAGE;
    }
    if (!work_begin(&w, args) || !find_site(&w, site))
        return work_end(&w, CTL_FAILED);
    host = w.site->hosts.items[0];
    if (!unsub_token(w.ring, str_c(host), str_c(address), str_c(list), token)) {
        fault_set(&w.f, "no link could be made");
        return work_end(&w, CTL_FAILED);
    }
    printf("List-Unsubscribe: <https://%s%sunsubscribe?t=%s>\n"
           "List-Unsubscribe-Post: List-Unsubscribe=One-Click\n",
           host, w.site->prefix, token);
    return work_end(&w, CTL_OK);
}

/* When the address left the list, by any key that counts; 0: it has not. */
static uint64_t left(const struct work *w, struct str address, struct str list)
{
    uint64_t since = 0;
    uint8_t tag[UNSUB_TAG_LEN];

    for (size_t i = 0; i < keyring_cnt(w->ring) && since == 0; i++) {
        const struct key *key = keyring_at(w->ring, i);

        if (key->use == KEY_UNSUB && unsub_tag(key, address, tag))
            since = suppressed_since(w->out, tag, list);
    }
    return since;
}

int cmd_unsubscribe_check(struct ctl_args *args)
{
    const char *address = NULL, *list = NULL;
    const struct ctl_option options[] = {{"", &address, NULL}, {"", &list, NULL}};
    char when[CLOCK_TEXT_MAX];
    struct work w;
    uint64_t since;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (list == NULL || !unsub_list_ok(str_c(list)) ||
        !unsub_address_ok(str_trim(str_c(address)))) {
        (void)ctl_fail("unsubscribe check ADDRESS LIST: " ADDRESS_AND_LIST, UNSUB_LIST_MAX);
        return CTL_USAGE;
    }
    if (!work_begin(&w, args))
        return work_end(&w, CTL_USAGE);
    since = left(&w, str_c(address), str_c(list));
    if (since > 0)
        printf("unsubscribed %s\n", clock_format(since, when));
    else
        printf("subscribed\n");
    return work_end(&w, since > 0 ? CTL_FAILED : CTL_OK);
}

/* Addresses in, one a line; those that may be written to come out. */
int cmd_unsubscribe_filter(struct ctl_args *args)
{
    const char *list = NULL;
    const struct ctl_option options[] = {{"", &list, NULL}};
    char line[1024];
    struct work w;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (list == NULL || !unsub_list_ok(str_c(list))) {
        (void)ctl_fail("unsubscribe filter LIST <addresses: a name of at most %d characters a-z "
                       "0-9 - _ .",
                       UNSUB_LIST_MAX);
        return CTL_USAGE;
    }
    if (!work_begin(&w, args))
        return work_end(&w, CTL_FAILED);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        struct str address = str_c(line);

        while (address.len > 0 && ascii_is_space(address.ptr[address.len - 1]))
            address.len--;
        address = str_trim(address);
        if (address.len == 0)
            continue;
        if (!unsub_address_ok(address)) {
            (void)ctl_fail("\"%.*s\" is no address: left out", STR_ARGS(address));
            continue;
        }
        if (left(&w, address, str_c(list)) == 0)
            printf("%.*s\n", STR_ARGS(address));
    }
    if (ferror(stdin)) {
        fault_set(&w.f, "standard input can't be read to its end");
        return work_end(&w, CTL_FAILED);
    }
    return work_end(&w, CTL_OK);
}

int cmd_unsubscribe_export(struct ctl_args *args)
{
    const char *list = NULL;
    const struct ctl_option options[] = {{"", &list, NULL}};
    struct work w;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (list != NULL && !unsub_list_ok(str_c(list))) {
        (void)ctl_fail("unsubscribe export [LIST]: a name of at most %d characters a-z 0-9 - _ .",
                       UNSUB_LIST_MAX);
        return CTL_USAGE;
    }
    if (!work_begin(&w, args))
        return work_end(&w, CTL_FAILED);
    for (size_t i = 0; i < suppressed_cnt(w.out); i++) {
        const struct suppressed_entry *entry = suppressed_at(w.out, i);
        struct str rest = str_c(entry->key), tag;

        if (str_cut(&rest, ':', &tag) && (list == NULL || str_eq_c(rest, list)))
            printf("{\"address_tag\":\"%.*s\",\"list\":\"%.*s\",\"ts\":%" PRIu64 "}\n",
                   STR_ARGS(tag), STR_ARGS(rest), entry->ts_ms);
    }
    return work_end(&w, CTL_OK);
}
