/*
 * cmd_keys.c - consentctl keys init | list.
 */
#include <stdio.h>
#include <unistd.h>

#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/keyring.h"
#include "ctl_priv.h"

int cmd_keys_init(struct ctl_args *args)
{
    const char *path = NULL;
    const struct ctl_option options[] = {{"", &path, NULL}};
    struct fault f = {0};
    struct buf text;
    bool ok;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (path == NULL) {
        ctl_fail("keys init needs the name of the file");
        return CTL_USAGE;
    }
    if (access(path, F_OK) == 0)
        return ctl_fail("%s is there already; its keys are what all tokens hang on", path);
    buf_init(&text, KEYRING_TEXT_MAX);
    ok = keyring_generate(&text) && file_write_atomic(path, text.data, text.len, 0600, &f);
    if (text.data != NULL)
        crypto_wipe(text.data, text.len);
    buf_free(&text);
    if (!ok)
        return ctl_fail("%s", f.text);
    printf("%s: one key per use; keep it secret and backed up\n", path);
    return CTL_OK;
}

int cmd_keys_list(struct ctl_args *args)
{
    const char *path = NULL;
    const struct ctl_option options[] = {{"", &path, NULL}};
    struct fault f = {0};
    struct keyring *ring = NULL;
    struct buf text;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (path == NULL) {
        ctl_fail("keys list needs the name of the file");
        return CTL_USAGE;
    }
    buf_init(&text, KEYRING_TEXT_MAX);
    if (file_read(path, KEYRING_TEXT_MAX, &text, &f))
        ring = keyring_parse(path, buf_str(&text), &f);
    if (text.data != NULL)
        crypto_wipe(text.data, text.len);
    buf_free(&text);
    if (ring == NULL)
        return ctl_fail("%s", f.text);
    printf("KID  USE    STATE    NOT BEFORE\n");
    for (size_t i = 0; i < keyring_cnt(ring); i++) {
        const struct key *key = keyring_at(ring, i);

        printf("%3u  %-5s  %-7s  %llu\n", key->kid, key_use_name(key->use),
               key_state_name(key->state), (unsigned long long)key->not_before);
    }
    keyring_free(ring);
    return CTL_OK;
}
