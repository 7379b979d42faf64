/*
 * cmd_config.c - consentctl config check | reference.
 */
#include <stdio.h>

#include "consentd/config.h"
#include "ctl_priv.h"

int cmd_config_check(struct ctl_args *args)
{
    struct fault f = {0};
    struct config *config;

    if (!ctl_options(args, NULL, 0))
        return CTL_USAGE;
    config = config_load(args->config, &f);
    if (config == NULL)
        return ctl_fail("%s", f.text);
    printf("%s: fine; %zu sites, %zu listeners (consentd -t also reads what it names)\n",
           args->config, config->site_cnt, config->listen_cnt);
    config_free(config);
    return CTL_OK;
}

int cmd_config_reference(struct ctl_args *args)
{
    struct buf out;
    bool ok;

    if (!ctl_options(args, NULL, 0))
        return CTL_USAGE;
    buf_init(&out, CONFIG_TEXT_MAX);
    ok = config_reference(&out);
    if (ok)
        fwrite(out.data, 1, out.len, stdout);
    buf_free(&out);
    return ok ? CTL_OK : ctl_fail("the reference is too long");
}
