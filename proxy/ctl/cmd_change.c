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

/* An upgrade reads the configuration again: it is the outcome of a reload too. */
static bool is_ours(const json_t *outcome, const char *what, json_int_t after)
{
    const char *done = json_string_value(json_object_get(outcome, "what"));

    return json_integer_value(json_object_get(outcome, "number")) > after && done != NULL &&
           (strcmp(done, what) == 0 || strcmp(done, "upgrade") == 0);
}

json_t *ctl_change(const struct ctl_args *args, const char *what, struct fault *f)
{
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    uint64_t until = clock_mono_ms() + WAIT_MS;
    char target[64];
    json_t *root;

    snprintf(target, sizeof(target), "/api/v1/%s", what);
    root = ctl_ask_json(args, "POST", target, f);
    if (root == NULL)
        return NULL;
    json_int_t after = json_integer_value(json_object_get(root, "after"));
    json_decref(root);
    while (clock_mono_ms() < until) {
        (void)nanosleep(&pause, NULL);
        root = ctl_ask_json(args, "GET", "/api/v1/status", NULL);
        const json_t *outcome = json_object_get(root, "last_change");
        if (is_ours(outcome, what, after)) {
            const char *why = json_string_value(json_object_get(outcome, "reason"));

            if (json_is_true(json_object_get(outcome, "done")))
                return root;
            fault_set(f, "the %s was refused: %s", what, why != NULL ? why : "see the log");
            json_decref(root);
            return NULL;
        }
        json_decref(root);
    }
    fault_set(f, "the %s is not through after %d s; see consentctl status and the log", what,
              WAIT_MS / 1000);
    return NULL;
}

static int change(struct ctl_args *args, const char *what)
{
    struct fault f = {{0}};
    json_t *status;

    if (!ctl_options(args, NULL, 0))
        return CTL_USAGE;
    status = ctl_change(args, what, &f);
    if (status == NULL)
        return ctl_fail("%s", f.text);
    printf("done: version %s, generation %lld\n",
           json_string_value(json_object_get(status, "version")),
           (long long)json_integer_value(json_object_get(status, "generation")));
    json_decref(status);
    return CTL_OK;
}

int cmd_reload(struct ctl_args *args)
{
    return change(args, "reload");
}

int cmd_upgrade(struct ctl_args *args)
{
    return change(args, "upgrade");
}
