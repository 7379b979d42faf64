/*
 * cmd_subject.c - consentctl subject erase | hold | release | erasures.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "consentd/b64.h"
#include "consentd/config.h"
#include "consentd/erased.h"
#include "consentd/file.h"
#include "consentd/json.h"
#include "consentd/query_text.h"
#include "consentd/token.h"
#include "ctl_priv.h"

#define AT_SUBJECT 17 /* in a token's bytes */

/* The subject: its id, with "s_" before it or not, or a cookie, with its name or not. */
bool ctl_subject_of(const char *text, char out[CTL_SUBJECT_LEN + 1])
{
    uint8_t id[16], token[TOKEN_RAW_LEN];
    struct str s = str_c(text);
    ptrdiff_t equals = str_find_last_char(s, '=');

    if (equals >= 0) /* NAME=VALUE, as browsers show it */
        s = str_slice(s, (size_t)equals + 1, s.len);
    if (s.len == TOKEN_LEN && b64url_decode(s, token, sizeof(token)))
        memcpy(id, token + AT_SUBJECT, sizeof(id));
    else if (!query_subject_parse(s, id))
        return false;
    b64url_encode(out, id, sizeof(id));
    return true;
}

static const char *date_of(int64_t s, char out[32])
{
    time_t t = (time_t)s;
    struct tm tm;

    if (gmtime_r(&t, &tm) == NULL || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        out[0] = '\0';
    return out;
}

static int64_t number_of(const json_t *root, const char *key)
{
    return (int64_t)json_integer_value(json_object_get(root, key));
}

static void print_receipt(const json_t *root)
{
    const char *status = json_string_value(json_object_get(root, "status"));
    const char *request = json_string_value(json_object_get(root, "request"));
    char date[32];

    printf("status      %s\n", status != NULL ? status : "");
    if (request == NULL || request[0] == '\0')
        return;
    printf("request     %s\nasked       %s\nrecords     %" PRId64
           " in the journal; those that only "
           "Redis has follow\n",
           request, date_of(number_of(root, "ts") / 1000, date), number_of(root, "records"));
    if (number_of(root, "complete_by") == 0)
        printf("complete_by - (legal hold: the cookie is refused, the records stay)\n");
    else
        printf("complete_by %s\n", date_of(number_of(root, "complete_by"), date));
}

/* Asks the admin and prints the receipt. */
static int ask(const struct ctl_args *args, const char *method, const char *subject,
               const char *rest, bool json)
{
    char target[128];
    struct fault f = {{0}};
    struct buf out;
    json_t *root = NULL;

    snprintf(target, sizeof(target), "/api/v1/subjects/%s%s", subject, rest);
    buf_init(&out, CTL_ANSWER_MAX);
    if (ctl_ask(args, method, target, STR(""), &out, &f))
        root = json_load_text("answer", buf_str(&out), 0, &f);
    buf_free(&out);
    if (root == NULL)
        return ctl_fail("%s", f.text);
    if (json) {
        json_dumpf(root, stdout, JSON_COMPACT);
        putchar('\n');
    } else {
        print_receipt(root);
    }
    json_decref(root);
    return CTL_OK;
}

/* What cannot be taken back is asked for once more, on a terminal and in a script alike. */
static bool confirmed(bool yes)
{
    char line[16];

    if (yes)
        return true;
    fputs("The records can't be read again afterwards. Erase? [yes/no] ", stderr);
    return fgets(line, sizeof(line), stdin) != NULL && strcmp(line, "yes\n") == 0;
}

int cmd_subject_erase(struct ctl_args *args)
{
    const char *who = NULL;
    bool now = false, yes = false, json = false;
    const struct ctl_option options[] = {
        {"--now", NULL, &now}, {"--yes", NULL, &yes}, {"--json", NULL, &json}, {"", &who, NULL}};
    char subject[CTL_SUBJECT_LEN + 1];

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (who == NULL || !ctl_subject_of(who, subject)) {
        (void)ctl_fail("subject erase SUBJECT: 22 characters, or the value of the cookie");
        return CTL_USAGE;
    }
    if (!confirmed(yes))
        return ctl_fail("nothing was erased");
    return ask(args, "DELETE", subject, now ? "?now=1" : "", json);
}

static int hold(struct ctl_args *args, const char *method)
{
    const char *who = NULL;
    bool json = false;
    const struct ctl_option options[] = {{"--json", NULL, &json}, {"", &who, NULL}};
    char subject[CTL_SUBJECT_LEN + 1];

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (who == NULL || !ctl_subject_of(who, subject)) {
        (void)ctl_fail("SUBJECT: 22 characters, or the value of the cookie");
        return CTL_USAGE;
    }
    return ask(args, method, subject, "/hold", json);
}

int cmd_subject_hold(struct ctl_args *args)
{
    return hold(args, "POST");
}

int cmd_subject_release(struct ctl_args *args)
{
    return hold(args, "DELETE");
}

struct erased *ctl_erased(const struct config *config, struct fault *f)
{
    char *path = file_resolve(config->state_dir, ERASED_NAME);
    struct erased *list = erased_open(path, (uint8_t)config->ledger.node, f);

    free(path);
    return list;
}

int cmd_subject_erasures(struct ctl_args *args)
{
    struct fault f = {{0}};
    struct config *config;
    struct erased *list;

    if (!ctl_options(args, NULL, 0))
        return CTL_USAGE;
    config = config_load(args->config, &f);
    list = config != NULL ? ctl_erased(config, &f) : NULL;
    config_free(config);
    if (list == NULL)
        return ctl_fail("%s", f.text);
    if (erased_cnt(list) == 0) /* on stderr: a script gets no line */
        (void)fputs("nothing was erased, and nothing is held\n", stderr);
    for (size_t i = 0; i < erased_cnt(list); i++) {
        const struct erasure *x = erased_at(list, i);
        char request[B64_LEN(16) + 1], date[32];

        b64url_encode(request, x->request, 16);
        printf("%s  %s  %-8s  %u records, %u named in the log%s%s\n", request,
               date_of((int64_t)(x->ts_ms / 1000), date), x->by_operator ? "operator" : "subject",
               x->ref_cnt, x->logged, x->shredded ? ", journal rewritten" : "",
               x->held ? ", held" : "");
    }
    erased_free(list);
    return CTL_OK;
}
