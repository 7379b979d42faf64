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

struct manual {
    struct buf *out;
    bool ok;
};

/* A text within a line of mdoc(7): the backslash is its escape, a first dot its macro. */
static bool add_text(struct buf *out, const char *text)
{
    bool ok = text[0] != '.' || buf_append_c(out, "\\&");

    for (; *text != '\0' && ok; text++)
        ok = *text == '\\' ? buf_append_c(out, "\\e") : buf_append_char(out, *text);
    return ok;
}

static void add_key(void *arg, const struct config_doc *doc)
{
    struct manual *m = arg;
    const char *def = doc->default_value == NULL      ? "Required"
                      : doc->default_value[0] == '\0' ? "Unset by default"
                                                      : doc->default_value;
    bool plain = doc->default_value == NULL || doc->default_value[0] == '\0';

    m->ok = m->ok && buf_append_c(m->out, ".It Cm ") && add_text(m->out, doc->path) &&
            buf_append_c(m->out, "\n") && add_text(m->out, doc->doc) &&
            buf_printf(m->out, "\n(%s%s%s.\n%s", doc->type, doc->range[0] != '\0' ? ", " : "",
                       doc->range, plain ? "" : "Default: ") &&
            add_text(m->out, def) && buf_append_c(m->out, ".)\n");
}

/* consentd.json(5), from the table that the configuration is read by. */
static bool manual_page(struct buf *out)
{
    struct manual m = {.out = out, .ok = true};

    m.ok = buf_append_c(
        out, ".Dd November 24, 2026\n.Dt CONSENTD.JSON 5\n.Os\n.Sh NAME\n.Nm consentd.json\n"
             ".Nd configuration of consentd\n.Sh DESCRIPTION\nOne JSON object, in which\n"
             ".Li //\nbegins a comment.\nAn unknown key is an error that names the line and the "
             "nearest known key.\nRelative paths are relative to the folder of the file.\n"
             "Durations are written as\n.Li 100ms , 15s , 5m , 12h , 180d ;\nsizes as\n"
             ".Li 4096 , 64KiB , 1MiB .\n.Pp\nThe keys are:\n.Bl -tag -width Ds\n");
    config_each_key(add_key, &m);
    return m.ok &&
           buf_append_c(out, ".El\n.Sh FILES\n.Bl -tag -width Ds\n"
                             ".It Pa /etc/consentd/consentd.json\nThe configuration.\n"
                             ".It Pa /usr/share/consentd/conf/consentd.json\n"
                             "An example with every key.\n.El\n") &&
           buf_append_c(out, ".Sh EXAMPLES\nOne site behind TLS, its origin on this machine:\n"
                             ".Bd -literal\n{\n  \"keys\": \"/etc/consentd/keys.json\",\n"
                             "  \"listen\": [\n"
                             "    { \"address\": \"[::]:80\", \"redirect\": \"https\" },\n"
                             "    { \"address\": \"[::]:443\", \"tls\": { \"certificates\": [\n"
                             "      { \"cert\": \"tls/www.pem\", \"key\": \"tls/www.key\" } ] } }\n"
                             "  ],\n  \"sites\": [\n"
                             "    { \"name\": \"www\", \"hosts\": [\"www.example.com\"],\n"
                             "      \"origins\": [\"http://127.0.0.1:8080\"],\n"
                             "      \"policy\": \"policy.json\" }\n  ]\n}\n.Ed\n") &&
           buf_append_c(out, ".Sh SEE ALSO\n.Xr consentctl 1 ,\n.Xr consentd 8\n");
}

int cmd_config_reference(struct ctl_args *args)
{
    bool manual = false;
    const struct ctl_option options[] = {{"--man", NULL, &manual}};
    struct buf out;
    bool ok;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    buf_init(&out, CONFIG_TEXT_MAX);
    ok = manual ? manual_page(&out) : config_reference(&out);
    if (ok)
        fwrite(out.data, 1, out.len, stdout);
    buf_free(&out);
    return ok ? CTL_OK : ctl_fail("the reference is too long");
}
