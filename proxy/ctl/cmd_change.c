/*
 * cmd_change.c - consentctl reload | upgrade: asks for it and waits for what becomes of it.
 *
 * The admin that was asked is itself replaced meanwhile: between two answers it may be away.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "consentd/clock.h"
#include "consentd/json.h"
#include "ctl_priv.h"

#define WAIT_MS 90000 /* the rehearsal, and the new generation's time to be ready */
#define LOOK_MS 50

static json_t *ask(const struct ctl_args *args, const char *method, const char *target,
                   struct fault *f)
{
    struct buf out;
    json_t *root = NULL;

    buf_init(&out, CTL_ANSWER_MAX);
    if (ctl_ask(args, method, target, STR(""), &out, f))
        root = json_load_text("answer", buf_str(&out), 0, f);
    buf_free(&out);
    return root;
}

/* An upgrade reads the configuration again: it is the outcome of a reload too. */
static bool is_ours(const json_t *outcome, const char *what, json_int_t after)
{
    const char *done = json_string_value(json_object_get(outcome, "what"));

    return json_integer_value(json_object_get(outcome, "number")) > after && done != NULL &&
           (strcmp(done, what) == 0 || strcmp(done, "upgrade") == 0);
}

static int report(const json_t *status, const json_t *outcome, const char *what)
{
    const char *why = json_string_value(json_object_get(outcome, "reason"));

    if (!json_is_true(json_object_get(outcome, "done")))
        return ctl_fail("the %s was refused: %s", what, why != NULL ? why : "see the log");
    printf("done: version %s, generation %lld\n",
           json_string_value(json_object_get(status, "version")),
           (long long)json_integer_value(json_object_get(status, "generation")));
    return CTL_OK;
}

static int change(struct ctl_args *args, const char *what, const char *target)
{
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    uint64_t until = clock_mono_ms() + WAIT_MS;
    struct fault f = {{0}};
    json_t *root;

    if (!ctl_options(args, NULL, 0))
        return CTL_USAGE;
    root = ask(args, "POST", target, &f);
    if (root == NULL)
        return ctl_fail("%s", f.text);
    json_int_t after = json_integer_value(json_object_get(root, "after"));
    json_decref(root);
    while (clock_mono_ms() < until) {
        (void)nanosleep(&pause, NULL);
        root = ask(args, "GET", "/api/v1/status", &f);
        const json_t *outcome = json_object_get(root, "last_change");
        if (is_ours(outcome, what, after)) {
            int result = report(root, outcome, what);
            json_decref(root);
            return result;
        }
        json_decref(root);
    }
    return ctl_fail("the %s is not through after %d s; see consentctl status and the log", what,
                    WAIT_MS / 1000);
}

int cmd_reload(struct ctl_args *args)
{
    return change(args, "reload", "/api/v1/reload");
}

int cmd_upgrade(struct ctl_args *args)
{
    return change(args, "upgrade", "/api/v1/upgrade");
}
