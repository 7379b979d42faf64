/*
 * verify_running.c - contract in verify_running.h.
 *
 * The job goes on in the admin when this process is stopped; who asks again meanwhile is told so.
 */
#include "verify_running.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "consentd/json.h"
#include "consentd/verify.h"

#define LOOK_MS 100 /* between two looks at how far it is */

static const char *text_of(const json_t *root, const char *key)
{
    const char *text = json_string_value(json_object_get(root, key));

    return text != NULL ? text : "";
}

static uint64_t number_of(const json_t *root, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(root, key));
}

static int status_of(const json_t *root)
{
    const char *result = text_of(root, "result");

    return strcmp(result, "ok") == 0         ? VERIFY_OK
           : strcmp(result, "tampered") == 0 ? VERIFY_TAMPERED
                                             : VERIFY_INCOMPLETE;
}

/* A line that is written over, for who watches. */
static void show(const json_t *root)
{
    if (!isatty(STDERR_FILENO))
        return;
    if (root == NULL)
        (void)fputs("\r\033[K", stderr);
    else
        (void)fprintf(stderr, "\r\033[Klog %" PRIu64 " of %" PRIu64 ", %" PRIu64 " records",
                      number_of(root, "hashed"), number_of(root, "leaves"),
                      number_of(root, "records"));
}

static int print(const json_t *root)
{
    const json_t *earlier = json_object_get(root, "earlier");
    int status = status_of(root);

    if (number_of(root, "leaves") > 0)
        printf("log         %" PRIu64 " of %" PRIu64
               " leaves of %s were hashed to the signed root\n",
               number_of(root, "hashed"), number_of(root, "leaves"), text_of(root, "origin"));
    if (strcmp(text_of(root, "depth"), "deep") == 0)
        printf("records     %" PRIu64 " were looked at; %" PRIu64
               " were opened, the keys of %" PRIu64 " are gone, %" PRIu64
               " were erased on request\n",
               number_of(root, "records"), number_of(root, "opened"), number_of(root, "keyless"),
               number_of(root, "erased"));
    for (size_t i = 0; i < json_array_size(earlier); i++) {
        const json_t *e = json_array_get(earlier, i);

        printf("earlier     %s ended %s; the next one went on from leaf %" PRIu64 "\n"
               "            %" PRIu64 " of its %" PRIu64 " leaves are in the log of today\n",
               text_of(e, "origin"), text_of(e, "ended"), number_of(e, "next_leaf"),
               number_of(e, "carried"), number_of(e, "leaves"));
        if (status_of(e) != VERIFY_OK)
            (void)ctl_fail("%s: %s", text_of(e, "origin"), text_of(e, "what"));
    }
    if (status != VERIFY_OK)
        (void)ctl_fail("%s", text_of(root, "what"));
    return status;
}

/* {"depth":…,"from":…,"to":…}. Heap. */
static char *question(const char *from, const char *to, bool deep)
{
    json_t *root =
        json_pack("{s:s, s:s*, s:s*}", "depth", deep ? "deep" : "log", "from", from, "to", to);
    char *text = json_dumps(root, JSON_COMPACT);

    json_decref(root);
    return text;
}

static json_t *begin(const struct ctl_args *args, const char *text, struct fault *f)
{
    json_t *root = NULL;
    struct buf out;

    buf_init(&out, CTL_ANSWER_MAX);
    if (ctl_ask(args, "POST", "/api/v1/verify", str_c(text), &out, f))
        root = json_load_text("answer", buf_str(&out), 0, f);
    buf_free(&out);
    return root;
}

int verify_running(const struct ctl_args *args, const char *from, const char *to, bool deep)
{
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    char *text = question(from, to, deep);
    int status = VERIFY_INCOMPLETE;
    struct fault f = {{0}};
    char target[64];
    json_t *root;

    root = begin(args, text, &f);
    (void)snprintf(target, sizeof(target), "/api/v1/verify/%" PRIu64, number_of(root, "id"));
    while (root != NULL && strcmp(text_of(root, "result"), "running") == 0) {
        show(root);
        (void)nanosleep(&pause, NULL);
        json_decref(root);
        root = ctl_ask_json(args, "GET", target, &f);
    }
    show(NULL);
    if (root != NULL)
        status = print(root);
    else
        (void)ctl_fail("%s", f.text);
    json_decref(root);
    free(text);
    return status;
}
